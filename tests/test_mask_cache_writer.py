import dataclasses
import errno
import os
import resource
import shutil
import subprocess

import numpy as np
import pytest
import torch

from benchmarks import fault_injection as faults
from benchmarks.fault_injection import (PICTURES, SHARD_SIZE, finished_shards, make_tiny_masks,
                                        shards, start_child)
from common.mask_cache import writer as writing
from common.mask_cache.manifest import ADDING, MANIFEST, adopt_added
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, shard_path
from common.mask_cache.writer import write_masks
from stage1_bc.classifier import build_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES

SHARDS = PICTURES // SHARD_SIZE


def test_twenty_kills_leave_the_bytes_of_a_run_never_stopped(whole, pictures, tmp_path):
    random = np.random.default_rng(0)
    kills = rounds = 0
    while kills < 20:
        folder = tmp_path / str(rounds)
        kills += faults.kill_and_resume(lambda: [start_child(pictures, folder)], folder, random)
        assert shards(folder) == shards(whole)
        assert (folder / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()
        assert not list(folder.glob("*.tmp"))
        rounds += 1


def test_the_unreadable_picture_is_named(whole):
    cache = MaskCache(whole)
    assert list(cache.manifest["unreadable"]) == ["007.png"]
    mask, valid, _ = cache.read("007.png")
    assert not mask.any() and not valid
    assert cache.manifest["valid"]["0.80"] == PICTURES - 1


def test_a_finished_cache_is_left_alone_and_a_damaged_shard_made_again(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    before, content = finished_shards(folder), shards(folder)
    make_tiny_masks(pictures, folder)
    assert finished_shards(folder) == before
    shard_path(folder, 3).write_bytes(b"rotten")
    shard_path(folder, 5).unlink()
    said = []
    make_tiny_masks(pictures, folder, notify=said.append)
    after = finished_shards(folder)
    assert {name for name in after if after[name] != before[name]} == {
        "shard-00003.h5", "shard-00005.h5"}
    assert shards(folder) == content
    assert len(said) == 2 and "shard-00003.h5 is damaged" in said[0]


def test_a_lost_or_damaged_index_or_manifest_is_made_again(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    content, manifest = shards(folder), (folder / MANIFEST).read_bytes()
    before = finished_shards(folder)
    for harm in (lambda: (folder / "index.h5").unlink(),
                 lambda: (folder / MANIFEST).write_bytes(manifest[:-40]),
                 lambda: (folder / MANIFEST).write_bytes(
                     manifest.replace(b'"count": 30', b'"count": 31')),
                 lambda: (folder / MANIFEST).unlink()):
        harm()
        with pytest.raises(MaskCacheError):
            MaskCache(folder)
        make_tiny_masks(pictures, folder)
        assert (shards(folder), (folder / MANIFEST).read_bytes()) == (content, manifest)
        assert finished_shards(folder) == before


def test_a_damaged_manifest_loses_no_delta(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / MANIFEST).write_text("{")
    make_tiny_masks(pictures, folder, deltas=(0.8,))
    assert MaskCache(folder).deltas == (0.7, 0.8) and shards(folder) == shards(whole)


def test_a_lost_manifest_loses_no_delta_and_no_shard(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / MANIFEST).unlink()
    shard_path(folder, 4).unlink()
    before = finished_shards(folder)
    make_tiny_masks(pictures, folder, deltas=(0.8,))
    assert MaskCache(folder).deltas == (0.7, 0.8) and shards(folder) == shards(whole)
    assert before.items() < finished_shards(folder).items()


def test_a_further_delta_joins_the_shards_of_a_run_that_was_stopped(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / MANIFEST).unlink()
    shard_path(folder, 4).unlink()
    content = bytearray(shard_path(folder, 6).read_bytes())
    content[-1] ^= 1
    shard_path(folder, 6).write_bytes(content)
    make_tiny_masks(pictures, folder, deltas=(0.9,))
    make_tiny_masks(pictures, tmp_path / "at once", deltas=(0.7, 0.8, 0.9))
    assert shards(folder) == shards(tmp_path / "at once") and not (folder / ADDING).exists()


def test_a_delta_is_added_without_touching_the_masks_in_use(whole, pictures, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    in_use = MaskCache(folder, 0.8)
    masks = {image_id: in_use[image_id] for image_id in in_use}
    random = np.random.default_rng(1)
    for _ in range(4):  # killed while the new delta is made: the cache is what it was
        child = start_child(pictures, folder, deltas=(0.9,))
        faults.wait_for_shards([child], folder / ADDING, random.integers(6))
        if child.is_alive():
            child.kill()
            child.join()
            if not (folder / ADDING / MANIFEST).exists():
                assert MaskCache(folder).deltas in ((0.7, 0.8), (0.7, 0.8, 0.9))
    make_tiny_masks(pictures, folder, deltas=(0.9,))
    assert MaskCache(folder).deltas == (0.7, 0.8, 0.9)
    assert not (folder / ADDING).exists()
    for image_id, mask in masks.items():  # also for a reader that was open all the while
        assert np.array_equal(in_use[image_id], mask)
    make_tiny_masks(pictures, tmp_path / "at once", deltas=(0.7, 0.8, 0.9))
    assert shards(folder) == shards(tmp_path / "at once")


@pytest.mark.parametrize("moved", [1, 7, SHARDS])
def test_a_swap_that_was_killed_is_refused_and_then_ended(whole, pictures, tmp_path, moved,
                                                          monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "adopt_added", lambda folder: None)
        with pytest.raises(MaskCacheError):
            make_tiny_masks(pictures, folder, deltas=(0.9,))
    os.replace(folder / ADDING / "index.h5", folder / "index.h5")
    for index in range(moved):
        os.replace(shard_path(folder / ADDING, index), shard_path(folder, index))
    with pytest.raises(MaskCacheError, match="new delta was put in place; run bcct masks .* again"):
        MaskCache(folder)
    adopt_added(folder)
    assert MaskCache(folder).deltas == (0.7, 0.8, 0.9) and not (folder / ADDING).exists()


def test_a_changed_image_is_not_put_beside_older_masks_of_it(whole, pictures, tmp_path):
    folder, changed = tmp_path / "copy", tmp_path / "pictures"
    shutil.copytree(whole, folder)
    shutil.copytree(pictures, changed)
    shutil.copy(changed / "001.png", changed / "002.png")
    with pytest.raises(MaskCacheError, match="'002.png' has changed since its masks"):
        make_tiny_masks(changed, folder, deltas=(0.9,))
    assert MaskCache(folder).deltas == (0.7, 0.8)


@pytest.mark.parametrize("deltas", [(0.805,), (0.8, 0.8001)])
def test_a_delta_that_a_shard_cannot_name_is_refused(pictures, tmp_path, deltas):
    with pytest.raises(ValueError, match="two decimals"):
        make_tiny_masks(pictures, tmp_path / "cache", deltas=deltas)


def _make_beside(pictures, folder, sentences):
    make_tiny_masks(pictures, folder, notify=lambda sentence: sentences.put(sentence))


def test_a_second_process_waits_and_says_so(whole, pictures, tmp_path):
    sentences = faults.CONTEXT.Queue()
    children = [start_child(pictures, tmp_path / "cache", sentences, target=_make_beside)
                for _ in range(3)]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert shards(tmp_path / "cache") == shards(whole)
    assert "another run is writing to" in sentences.get(timeout=10)


# How many threads and workers


class _Recording(MaskMaker):
    """A MaskMaker that keeps the bytes of its maps, before delta hides their last bits."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = []

    def maps(self, images):
        maps = super().maps(images)
        self.seen.append(maps.tobytes())
        return maps


def test_the_bytes_depend_on_no_number_of_threads_or_workers(pictures, tmp_path):
    torch.manual_seed(0)
    classifier = build_classifier("mobilenet_v2", "none", image_size=64)  # sums that threads split
    records, made = faults.records_in(pictures)[:6], {}
    before = torch.get_num_threads()
    for threads, workers in ((1, 0), (2, 2)):
        maker = _Recording(classifier, RECIPES["blurred"], (64, 64))
        torch.set_num_threads(threads)
        try:
            write_masks(records, maker, (0.5,), tmp_path / str(threads),
                        dataclasses.replace(faults.PROVENANCE, mask_size=(64, 64)),
                        batch_size=2, workers=workers, shard_size=4)
        finally:
            torch.set_num_threads(before)
        made[threads] = sorted(maker.seen), shards(tmp_path / str(threads))
    assert made[1] == made[2] and len(made[1][0]) == 3


# What a disk may do


def _make_with_small_files(pictures, folder, limit, report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        make_tiny_masks(pictures, folder)
    except OSError as error:
        report.put((error.errno, str(error)))


def test_a_disk_that_takes_no_more_leaves_no_half_shard(whole, pictures, tmp_path):
    folder, report = tmp_path / "cache", faults.CONTEXT.Queue()
    size = shard_path(whole, 0).stat().st_size
    child = start_child(pictures, folder, size // 2, report, target=_make_with_small_files)
    number, sentence = report.get(timeout=60)
    child.join()
    assert number == errno.EFBIG and str(folder) in sentence and "run the same command" in sentence
    assert [path.name for path in folder.iterdir()] == [".lock"]
    make_tiny_masks(pictures, folder)
    assert shards(folder) == shards(whole)


def test_a_full_file_system(whole, pictures, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", tmp_path],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine does not let the tests mount one: {mounted.stderr.strip()}")
    try:
        folder = tmp_path / "cache"
        with pytest.raises(OSError, match="No space left on device.*make room") as raised:
            make_tiny_masks(pictures, folder)
        assert raised.value.errno == errno.ENOSPC and str(folder) in str(raised.value)
        made = shards(folder)
        assert 0 < len(made) < SHARDS and made.items() < shards(whole).items()
        before = finished_shards(folder)
        subprocess.run(["mount", "-o", "remount,size=4m", tmp_path], check=True)
        make_tiny_masks(pictures, folder)
        assert shards(folder) == shards(whole)
        assert before.items() < finished_shards(folder).items()
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert MaskCache(folder)["001.png"].shape == (16, 16)
        with pytest.raises(OSError, match="Read-only file system.*allow writing") as raised:
            make_tiny_masks(pictures, folder, deltas=(0.9,))
        assert str(folder) in str(raised.value)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_folder_that_cannot_be_made_is_named(pictures, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file/cache.*run the same command again"):
        make_tiny_masks(pictures, tmp_path / "file" / "cache")
