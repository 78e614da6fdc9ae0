"""A mask cache made by independent parts."""

import re
import shutil

import numpy as np
import pytest

from benchmarks import fault_injection as faults
from benchmarks.fault_injection import (PICTURES, SHARD_SIZE, finish_tiny_masks, finished_shards,
                                        make_tiny_masks, make_tiny_part, start_child)
from common.mask_cache.manifest import ADDING, MANIFEST
from common.mask_cache.parts import MaskPart, UnfinishedParts, ranges
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, shard_path

SHARDS = PICTURES // SHARD_SIZE  # 15, which 7 parts share as 3, 2, 2, 2, 2, 2, 2


def same(folder, whole):
    """Whether two finished caches have the same files with the same bytes."""
    return faults.whole_cache(folder) == faults.whole_cache(whole)


def test_parts_divide_the_shards():
    assert list(MaskPart(2, 7).shards(15)) == [2, 9]
    assert sorted(index for number in range(7) for index in MaskPart(number, 7).shards(15)) == list(
        range(15))
    assert not MaskPart(15, 16).shards(15)


@pytest.mark.parametrize("numbers, text", [
    ([], ""), ([4], "4"), ([0, 1], "0-1"), ([0, 3, 4, 5, 9], "0,3-5,9")])
def test_numbers_as_an_array_takes_them(numbers, text):
    assert ranges(numbers) == text


def test_parts_in_any_order_two_at_once_one_killed_one_twice(whole, pictures, tmp_path):
    folder = tmp_path / "cache"
    order = np.random.default_rng(0).permutation(7).tolist()
    at_once = [start_child(pictures, folder, number, 7, target=make_tiny_part)
               for number in order[:2]]
    killed = start_child(pictures, folder, order[2], 7, target=make_tiny_part, dies_at=3)
    for child in (*at_once, killed):
        child.join(60)
    assert [child.exitcode for child in (*at_once, killed)] == [0, 0, -9]
    for number in order[3:]:
        make_tiny_part(pictures, folder, number, 7)
    assert make_tiny_part(pictures, folder, order[3], 7) == []  # the second time
    with pytest.raises(MaskCacheError, match="not finished"):
        MaskCache(folder)
    make_tiny_part(pictures, folder, order[2], 7)
    finish_tiny_masks(pictures, folder, 7)
    assert same(folder, whole)


def test_killed_parts_leave_the_bytes_of_a_run_never_stopped(whole, pictures, tmp_path):
    folder, random = tmp_path / "cache", np.random.default_rng(1)
    assert faults.kill_and_resume_parts(pictures, folder, random) > 0
    assert same(folder, whole)


def test_what_is_missing_is_named_as_an_array_takes_it(whole, pictures, tmp_path):
    folder = tmp_path / "cache"
    with pytest.raises(UnfinishedParts, match="15 shard.*--part K/7.*: 0-6$"):
        finish_tiny_masks(pictures, folder, 7)
    assert not folder.exists()
    shutil.copytree(whole, folder)
    (folder / MANIFEST).unlink()
    for index in (1, 8, 12):
        shard_path(folder, index).unlink()
    damaged = bytearray(shard_path(folder, 4).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard_path(folder, 4).write_bytes(damaged)
    with pytest.raises(UnfinishedParts) as raised:
        finish_tiny_masks(pictures, folder, 7)
    assert raised.value.array == "1,4-5"
    with pytest.raises(UnfinishedParts, match="of 15 parts.*: 1,4,8,12$"):
        finish_tiny_masks(pictures, folder)  # without a number, a part is a shard
    before = finished_shards(folder)
    made = [make_tiny_part(pictures, folder, number, 7) for number in (1, 4, 5)]
    assert made == [[1, 8], [4], [12]]
    finish_tiny_masks(pictures, folder, 7)
    assert same(folder, whole)
    assert {name for name, identity in finished_shards(folder).items()
            if before.get(name) != identity} == {
                shard_path(folder, index).name for index in (1, 4, 8, 12)}


def test_a_part_without_a_shard_is_done_at_once(pictures, tmp_path):
    assert make_tiny_part(pictures, tmp_path / "cache", 99, 100) == []
    assert not (tmp_path / "cache").exists()


def test_more_parts_than_shards(whole, pictures, tmp_path):
    folder = tmp_path / "cache"
    for number in range(20):
        make_tiny_part(pictures, folder, number, 20)
    finish_tiny_masks(pictures, folder, 20)
    assert same(folder, whole)


def test_a_finished_cache_is_left_alone_and_its_damage_repaired(whole, pictures, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(whole, folder)
    before, manifest = finished_shards(folder), (folder / MANIFEST).stat().st_mtime_ns
    for number in range(7):
        assert make_tiny_part(pictures, folder, number, 7) == []
    finish_tiny_masks(pictures, folder, 7)
    assert finished_shards(folder) == before
    assert (folder / MANIFEST).stat().st_mtime_ns == manifest
    shard_path(folder, 3).write_bytes(b"rotten")
    (folder / "index.h5").write_bytes(b"rotten")
    with pytest.raises(UnfinishedParts, match=": 3$"):
        finish_tiny_masks(pictures, folder, 7)
    assert make_tiny_part(pictures, folder, 2, 7) == []
    assert make_tiny_part(pictures, folder, 3, 7) == [3]
    finish_tiny_masks(pictures, folder, 7)
    assert same(folder, whole)


def test_a_shard_made_again_with_other_bytes_is_taken(whole, pictures, tmp_path):
    folder, changed = tmp_path / "cache", tmp_path / "pictures"
    shutil.copytree(whole, folder)
    shutil.copytree(pictures, changed)
    path = changed / sorted(each.name for each in pictures.iterdir())[3 * SHARD_SIZE]
    path.write_bytes(path.read_bytes() + b" ")  # the same picture in another file
    shard_path(folder, 3).unlink()
    assert make_tiny_part(changed, folder, 3, 7) == [3]
    assert make_tiny_part(changed, folder, 3, 7) == []
    finish_tiny_masks(changed, folder, 7)
    checksums = [{entry["file"]: entry["sha256"] for entry in MaskCache(each).manifest["shards"]}
                 for each in (folder, whole)]
    assert {name for name in checksums[0] if checksums[0][name] != checksums[1][name]} == {
        shard_path(folder, 3).name}


def test_a_further_delta_is_made_ready_while_the_masks_stay_in_use(whole, pictures, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(whole, folder)
    for number in range(7):
        make_tiny_part(pictures, folder, number, 7, deltas=(0.9,))
        assert MaskCache(folder).deltas == (0.7, 0.8)
    finish_tiny_masks(pictures, folder, 7, deltas=(0.9,))
    assert MaskCache(folder).deltas == (0.7, 0.8, 0.9) and not (folder / ADDING).exists()
    make_tiny_masks(pictures, tmp_path / "at once", deltas=(0.7, 0.8, 0.9))
    assert same(folder, tmp_path / "at once")


def test_parts_of_other_deltas_are_not_taken_for_finished(pictures, tmp_path):
    folder = tmp_path / "cache"
    make_tiny_part(pictures, folder, 0, 2, deltas=(0.7,))
    with pytest.raises(UnfinishedParts, match="at delta 0.70, 0.80: .*: 0-1$"):
        finish_tiny_masks(pictures, folder, 2)


def test_a_shard_whose_images_are_all_unreadable_is_finished(pictures, tmp_path):
    broken = tmp_path / "pictures"
    shutil.copytree(pictures, broken)
    (broken / "006.png").write_bytes((broken / "006.png").read_bytes()[:60])  # as 007 is
    folder = tmp_path / "parts"
    assert make_tiny_part(broken, folder, 3, 7) == [3, 10]
    assert make_tiny_part(broken, folder, 3, 7) == []
    for number in (0, 1, 2, 4, 5, 6):
        make_tiny_part(broken, folder, number, 7)
    finish_tiny_masks(broken, folder, 7)
    assert list(MaskCache(folder).manifest["unreadable"]) == ["006.png", "007.png"]
    make_tiny_masks(broken, tmp_path / "whole")
    assert same(folder, tmp_path / "whole")


def _make_beside(pictures, folder, sentences, part):
    notify = sentences.put
    if part is None:
        make_tiny_masks(pictures, folder, notify=notify)
    else:
        make_tiny_part(pictures, folder, *part, notify=notify)


def test_runs_that_would_write_the_same_shards_take_turns(whole, pictures, tmp_path):
    folder, sentences = tmp_path / "cache", faults.CONTEXT.Queue()
    # Part 1/7 twice, a part of another division that shares shards with it, and a whole run.
    children = [start_child(pictures, folder, sentences, part, target=_make_beside)
                for part in ((1, 7), (1, 7), (0, 2), None)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert same(folder, whole)
    assert re.search("process .* waits: another run is writing to", sentences.get(timeout=10))
