import json
import shutil

import cv2
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from common.boxes import mask_to_box
from common.config import digest
from common.datasets import open_dataset
from common.files import file_crc32, file_sha256, write_json
from common.mask_cache.manifest import write_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import (CutMasks, MaskCacheError, Provenance, shard_path,
                                      shard_slices, write_shard)
from pipelines.__main__ import cli

SIZE, SHARD_SIZE = (6, 11), 4


def write_pictures(root):
    """Ten pictures in two classes; gives their Dataset."""
    random = np.random.default_rng(0)
    for number in range(10):
        path = root / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    return open_dataset("folder", root, "all")


def masks_of(count, seed):
    """Masks with the boxes and flags that are theirs."""
    mask = np.random.default_rng(seed).random((count, *SIZE)) < 0.3
    mask[0] = False
    return CutMasks(mask, mask.mean(axis=(1, 2)) >= 0.2, np.stack(list(map(mask_to_box, mask))))


def write_cache(folder, images, cut, unreadable=None, signal="input",
                command="bcct masks --like-that"):
    """A cache of those masks."""
    provenance = Provenance(images.digest(), "classifier",
                            {"signal": signal, "smallest_area": 0.2}, SIZE)
    ids = [record.image_id for record in images.records]
    checksums = [file_crc32(record.path) for record in images.records]
    for index, part in enumerate(shard_slices(len(ids), SHARD_SIZE)):
        write_shard(shard_path(folder, index), ids[part], {
            delta: CutMasks(masks.mask[part], masks.valid[part], masks.box[part]).packed()
            for delta, masks in cut.items()}, provenance,
            {name: why for name, why in (unreadable or {}).items() if name in ids[part]},
            checksums[part])
    write_manifest(folder, provenance, ids, list(cut), SHARD_SIZE,
                   about={"dataset": "folder", "split": "all", "command": command,
                          "folder": str(folder)})


@pytest.fixture
def cache(tmp_path):
    images = write_pictures(tmp_path / "images")
    write_cache(tmp_path / "cache", images, {0.7: masks_of(10, 1), 0.8: masks_of(10, 2)})
    return tmp_path / "cache"


def verify(*arguments):
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


def test_a_sound_cache(cache, tmp_path):
    result = verify(cache)
    assert result.exit_code == 0, result.output
    assert "10 images, 2 delta(s), 3 shard(s): nothing is wrong" in result.output
    assert verify(cache, "--data", tmp_path / "images").exit_code == 0


def test_a_flipped_bit_is_named_with_the_command(cache):
    random = np.random.default_rng(0)
    for _ in range(30):
        path = sorted(cache.glob("*.h5"))[random.integers(4)]
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        result = verify(cache)
        assert result.exit_code == 1 and f"{path.name}: its checksum" in result.output
        assert f"remove {path.name} from" in result.output
        assert "bcct masks --like-that" in result.output
        path.write_bytes(content)
    assert verify(cache).exit_code == 0


@pytest.mark.parametrize("signal, recipe", [("pixels", "linear"), ("network", "default")])
def test_masks_of_the_former_default_are_made_again_by_its_name_of_today(tmp_path, signal, recipe):
    images = write_pictures(tmp_path / "images")
    write_cache(tmp_path / "cache", images, {0.8: masks_of(10, 1)}, signal=signal,
                command="bcct masks --recipe default --split all")
    shard_path(tmp_path / "cache", 1).unlink()
    assert f"bcct masks --recipe {recipe} --split all" in verify(tmp_path / "cache").output


def test_a_copy_is_told_from_the_folder_that_the_command_writes(cache, tmp_path):
    shutil.copytree(cache, tmp_path / "copy")
    shard_path(tmp_path / "copy", 1).write_bytes(b"rotten")
    output = verify(tmp_path / "copy").output
    assert "is a copy, to which the command below does not write" in output
    assert f"copy shard-00001.h5 from {cache}" in output and "bcct masks --like-that" in output
    with pytest.raises(MaskCacheError, match=f"damaged .*; copy it again from {cache}"):
        MaskCache(tmp_path / "copy")
    assert MaskCache(cache).how_to_remake("a.h5").startswith(f"remove a.h5 from {cache} and run")
    shutil.copy(shard_path(cache, 1), shard_path(tmp_path / "copy", 1))
    assert verify(tmp_path / "copy").exit_code == 0
    remedy = MaskCache(tmp_path / "copy").how_to_remake("a.h5")
    assert f"remove a.h5 from {cache} and" in remedy and "copy that folder again" in remedy
    (tmp_path / "link").symlink_to(cache)
    shard_path(cache, 1).write_bytes(b"rotten")
    assert "remove shard-00001.h5 from" in verify(tmp_path / "link").output


def test_missing_and_unknown_shards(cache):
    shard_path(cache, 1).rename(shard_path(cache, 7))
    result = verify(cache)
    assert result.exit_code == 1
    assert "shard-00001.h5: it is missing" in result.output
    assert "shard-00007.h5: the manifest does not know it" in result.output


@pytest.mark.parametrize("field, row", [("box", 5), ("valid", 6), ("mask", 0)])
def test_a_mask_that_belies_its_box_or_flag(tmp_path, field, row):
    images = write_pictures(tmp_path / "images")
    cut = masks_of(10, 1)
    getattr(cut, field)[row] = getattr(cut, field)[row] == 0
    write_cache(tmp_path / "cache", images, {0.8: cut})
    result = verify(tmp_path / "cache")
    image_id = images.records[row].image_id
    assert result.exit_code == 1
    assert f"the mask of {image_id!r} at delta 0.80 does not match" in result.output
    assert f"remove shard-0000{row // SHARD_SIZE}.h5" in result.output


def test_a_changed_an_added_and_a_removed_image(cache, tmp_path):
    images = tmp_path / "images"
    changed = images / "class 1" / "3.png"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1  # of the same size: the key stays
    changed.write_bytes(content)
    shutil.copy(changed, images / "class 0" / "new.png")
    (images / "class 0" / "4.png").unlink()
    result = verify(cache, "--data", images)
    assert result.exit_code == 1
    for sentence in ("'class 1/3.png' has changed since", "'class 0/new.png' of the data set has "
                     "no mask", "'class 0/4.png' is not in the data set"):
        assert sentence in result.output
    with pytest.raises(MaskCacheError, match="1 not in the cache .*'class 0/new.png'.*1 not in the "
                       "data set .*'class 0/4.png'.*1 changed since .*'class 1/3.png'"):
        MaskCache(cache).require_images(open_dataset("folder", images, "all"))
    with pytest.raises(MaskCacheError, match="'class 1/3.png' .* has changed.*put the old file "
                       "back, or remove .*shard-00001.h5"):
        MaskCache(cache).check_image("class 1/3.png", changed, bytes(content))


def test_an_image_that_can_be_read_now_is_a_finding(tmp_path):
    images = write_pictures(tmp_path / "images")
    path = images.records[5].path
    whole = path.read_bytes()
    damaged = whole[:40] + bytes(len(whole) - 40)  # of the same size: the key stays
    path.write_bytes(damaged)
    cut = masks_of(10, 1)
    for field in ("mask", "valid", "box"):
        getattr(cut, field)[5] = 0
    write_cache(tmp_path / "cache", images, {0.8: cut}, {images.records[5].image_id: "damaged"})
    assert verify(tmp_path / "cache", "--data", tmp_path / "images").exit_code == 0
    path.write_bytes(whole)
    result = verify(tmp_path / "cache", "--data", tmp_path / "images")
    assert result.exit_code == 1 and "remove shard-00001.h5" in result.output
    assert f"{images.records[5].image_id!r} can be read now, but could not" in result.output
    path.write_bytes(bytes(len(whole)))  # as bad as before, but not in the same way
    assert "has changed" in verify(tmp_path / "cache", "--data", tmp_path / "images").output


def test_an_index_and_counts_that_do_not_match(cache):
    manifest = json.loads((cache / "manifest.json").read_text())
    with h5py.File(cache / "index.h5", "r+") as file:
        file["0.80/box"][3] = [0, 0, 1, 1]
    manifest["index"]["sha256"] = file_sha256(cache / "index.h5")
    manifest["valid"]["0.70"] += 1
    del manifest["digest"]
    write_json(cache / "manifest.json", {**manifest, "digest": digest(manifest)})
    result = verify(cache)
    assert result.exit_code == 1
    assert "index.h5: it does not match the shards" in result.output
    assert "manifest.json: its counts are not those of the shards" in result.output


def test_an_unfinished_cache_is_refused(cache):
    (cache / "manifest.json").unlink()
    with pytest.raises(MaskCacheError, match="is not finished"):
        raise verify(cache).exception
