"""Caches whose checksums are right and whose content is hostile, in bounded memory and time."""

import json
import shutil
import zlib

import h5py
import numpy as np
import pytest

from benchmarks import crafted_caches, fault_injection
from common.mask_cache import shards
from common.mask_cache.hdf5_files import DamagedFile, Layout, inflate, opened, stored_array
from common.mask_cache.manifest import MANIFEST
from common.mask_cache.manifest_rules import BadManifest, check_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, shard_opened


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fault_injection.write_tiny_pictures(folder / "pictures")
    fault_injection.make_tiny_masks(folder / "pictures", folder / "cache")
    return folder / "cache"


def test_a_hundred_crafted_caches_are_survived(whole, tmp_path):
    crafted_caches.survive_in_child(whole, tmp_path, range(100))


def test_most_of_them_are_refused(whole, tmp_path):
    """What is not refused is a value that means nothing, or a bit that changes none."""
    refused = 0
    for seed in range(40):
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        crafted_caches.craft(folder, np.random.default_rng(seed))
        try:
            cache = MaskCache(folder)
            for image_id in cache:
                cache.read(image_id)
            list(crafted_caches.check_shard(folder, cache.manifest, 3))
        except (MaskCacheError, KeyError):
            refused += 1
    assert refused >= 15


@pytest.mark.parametrize("first, size", [(0, 0), (1, 256), (1, 2 ** 63), (0, 2 ** 40)])
def test_a_heap_of_strings_that_leads_nowhere_is_refused(whole, tmp_path, first, size):
    """HDF5 follows the sizes in it, for ever where one is 0."""
    content = bytearray((whole / "shard-00003.h5").read_bytes())
    start = content.index(b"GCOL") + 16
    content[start:start + 2] = first.to_bytes(2, "little")
    content[start + 8:start + 16] = size.to_bytes(8, "little")
    path = tmp_path / "shard-00003.h5"
    path.write_bytes(content)
    with pytest.raises(MaskCacheError, match="shard-00003.h5 is damaged .*its strings"):
        with shard_opened(path) as (file, raw):
            shards.read_ids(file, raw)


@pytest.mark.parametrize("spoil", crafted_caches.SPOILERS[:-1])
@pytest.mark.parametrize("name", ["image_id", "0.80", "0.80/mask", "0.80/valid"])
def test_an_object_that_is_another_is_refused_with_the_files_name(whole, tmp_path, name, spoil):
    path = tmp_path / "shard-00000.h5"
    path.write_bytes((whole / "shard-00000.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
        spoil(file, name, np.random.default_rng(0))
    with pytest.raises(MaskCacheError, match="shard-00000.h5 is damaged"):
        with shard_opened(path) as (file, content):
            ids = shards.read_ids(file, content)
            assert shards.read_checksums(file).shape == (len(ids),)
            shards.read_places(file, "0.80", content, (16, 16))


def test_a_stream_that_unpacks_to_more_is_stopped():
    with pytest.raises(DamagedFile, match="does not hold 8 bytes"):
        inflate(zlib.compress(bytes(2 ** 26)), 8)
    assert inflate(zlib.compress(b"12345678"), 8) == b"12345678"
    for broken in (b"", b"no stream", zlib.compress(b"12345678")[:-3]):
        with pytest.raises(DamagedFile):
            inflate(broken, 8)


def test_arrays_that_claim_what_is_not_there_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("never written", (2 ** 50,), "u1")
        file.create_dataset("sound", data=np.arange(4, dtype=np.uint8))
    with pytest.raises(DamagedFile, match="claims bytes"):
        with opened(tmp_path / "a.h5") as (file, content):
            stored_array(file, "never written", Layout(np.dtype("u1"), (2 ** 50,)), content)
    with opened(tmp_path / "a.h5") as (file, content):
        assert stored_array(file, "sound", Layout(np.dtype("u1"), (4,)), content)[3] == 3


@pytest.mark.parametrize("field, value", [
    ("count", 2 ** 60), ("count", -1), ("count", True), ("shard_size", 0), ("shards", []),
    ("deltas", [0.805]), ("deltas", []), ("deltas", ["0.80"]), ("valid", {}),
    ("unreadable", {"a": 1}), ("index", {"file": "../../x", "sha256": "0" * 64}), ("about", [])])
def test_a_manifest_with_a_hostile_field_is_refused(whole, field, value):
    manifest = json.loads((whole / MANIFEST).read_text())
    check_manifest(manifest, "index.h5", "shard-{:05d}.h5")
    manifest[field] = value
    with pytest.raises((BadManifest, KeyError)):
        check_manifest(manifest, "index.h5", "shard-{:05d}.h5")
