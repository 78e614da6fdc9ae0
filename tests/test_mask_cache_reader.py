import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
from PIL import Image

from common.datasets import Dataset, Record
from common.mask_cache import contact_sheet
from common.mask_cache.manifest import write_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import (CutMasks, MaskCacheError, Provenance, shard_is_done,
                                      shard_path, shard_slices, write_shard)

SIZE = (6, 11)  # a width that is no multiple of eight
IMAGE_IDS = [f"bird {number}/ä{number}.jpg" for number in range(5)]
PROVENANCE = Provenance(dataset="d", classifier="c", recipe={"gamma": 0.5}, mask_size=SIZE)


def random_masks(count, seed):
    random = np.random.default_rng(seed)
    return CutMasks(random.random((count, *SIZE)) < 0.5, random.random(count) < 0.7,
                    random.integers(0, 6, (count, 4)).astype(np.int16))


def write_cache(folder, shard_size=2, deltas=(0.7, 0.85)):
    made = {delta: random_masks(len(IMAGE_IDS), seed) for seed, delta in enumerate(deltas)}
    for index, part in enumerate(shard_slices(len(IMAGE_IDS), shard_size)):
        cut = {delta: CutMasks(masks.mask[part], masks.valid[part], masks.box[part]).packed()
               for delta, masks in made.items()}
        write_shard(shard_path(folder, index), IMAGE_IDS[part], cut, PROVENANCE)
    write_manifest(folder, PROVENANCE, IMAGE_IDS, deltas, shard_size)
    return made


def test_masks_come_back_whatever_the_width(tmp_path):
    made = write_cache(tmp_path)
    for delta in (0.7, 0.85):
        cache = MaskCache(tmp_path, delta)
        for row, image_id in enumerate(IMAGE_IDS):
            mask, valid, box = cache.read(image_id)
            assert np.array_equal(mask, made[delta].mask[row])
            assert np.array_equal(cache[image_id], mask)
            assert valid == made[delta].valid[row]
            assert np.array_equal(box, made[delta].box[row])


def test_a_shard_is_readable_with_h5py_alone(tmp_path):
    made = write_cache(tmp_path)
    with h5py.File(tmp_path / "shard-00001.h5") as file:
        assert set(file) == {"image_id", "0.70", "0.85"}
        assert [name.decode("utf-8") for name in file["image_id"][()]] == IMAGE_IDS[2:4]
        group = file["0.70"]
        assert group["mask"].dtype == np.uint8 and group["mask"].shape == (2, 6, 2)
        assert group["mask"].chunks == (1, 6, 2) and group["mask"].fletcher32
        assert group["mask"].compression == "gzip"
        assert group["valid"].dtype == bool and group["box"].dtype == np.int16
        assert np.array_equal(np.unpackbits(group["mask"][0], axis=-1)[:, :11],
                              made[0.7].mask[2])
        assert set(file["image_id"].attrs) == {"file_crc32"}
        assert dict(file.attrs).keys() == {"format_version", "mask_height", "mask_width", "recipe"}
        assert (file.attrs["mask_height"], file.attrs["mask_width"]) == SIZE
        assert json.loads(file.attrs["recipe"]) == {"gamma": 0.5}


def test_the_same_masks_give_the_same_bytes(tmp_path):
    write_cache(tmp_path / "a")
    write_cache(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_reading_from_the_index_is_reading_with_h5py(tmp_path):
    write_cache(tmp_path)
    cache = MaskCache(tmp_path, 0.85)
    for index in range(3):
        with h5py.File(shard_path(tmp_path, index)) as file:
            for row, name in enumerate(file["image_id"].asstr()[()]):
                mask, valid, box = cache.read(name)
                group = file["0.85"]
                assert np.array_equal(np.packbits(mask, axis=-1), group["mask"][row])
                assert valid == group["valid"][row] and np.array_equal(box, group["box"][row])


def test_a_mask_that_rots_while_the_cache_is_open_is_noticed(tmp_path):
    write_cache(tmp_path)
    cache = MaskCache(tmp_path)
    path = shard_path(tmp_path, 0)
    path.write_bytes(bytes(len(path.read_bytes())))
    with pytest.raises(MaskCacheError, match="shard-00000.h5 is damaged .*does not match "
                                             "its checksum"):
        cache[IMAGE_IDS[1]]
    assert cache[IMAGE_IDS[2]].shape == SIZE


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    twice = [IMAGE_IDS[0], IMAGE_IDS[0]]
    write_shard(shard_path(tmp_path, 0), twice, {0.8: random_masks(2, 0).packed()}, PROVENANCE)
    with pytest.raises(ValueError, match="bird 0/ä0.jpg' occurs twice"):
        write_manifest(tmp_path, PROVENANCE, twice, [0.8])


def test_names_that_are_not_unicode(tmp_path):
    names = sorted(["a\udcff.jpg", "é\nb.jpg", "\uff00.jpg"])
    write_shard(shard_path(tmp_path, 0), names, {0.8: random_masks(3, 0).packed()}, PROVENANCE)
    write_manifest(tmp_path, PROVENANCE, names, [0.8])
    cache = MaskCache(tmp_path)
    assert list(cache) == names
    for row, name in enumerate(names):
        assert np.array_equal(cache[name], random_masks(3, 0).mask[row])


def test_grid_is_a_picture_of_the_masks(tmp_path):
    write_cache(tmp_path)
    cache = MaskCache(tmp_path, 0.7)
    picture = cache.grid(IMAGE_IDS[:3], columns=2)
    assert picture.ndim == 3 and picture.dtype == np.uint8
    assert np.array_equal(picture, contact_sheet.grid(cache, IMAGE_IDS[:3], columns=2))
    with pytest.raises(KeyError, match="zebra"):
        cache.grid(["zebra"])


def test_the_grid_shows_the_images_of_a_data_set(tmp_path):
    write_cache(tmp_path / "cache")
    (tmp_path / IMAGE_IDS[0]).parent.mkdir()
    Image.new("RGB", (8, 8), (0, 0, 200)).save(tmp_path / IMAGE_IDS[0], "PNG")
    images = Dataset("folder", tmp_path, "all", ("bird 0",), (Record(IMAGE_IDS[0], tmp_path, 0),))
    cache = MaskCache(tmp_path / "cache")
    picture = cache.grid(IMAGE_IDS[:1], images)
    assert [0, 0, 200] in picture.reshape(-1, 3).tolist()
    assert [0, 0, 200] not in cache.grid(IMAGE_IDS[:1]).reshape(-1, 3).tolist()


def test_iteration_length_and_membership(tmp_path):
    write_cache(tmp_path)
    cache = MaskCache(tmp_path)
    assert list(cache) == IMAGE_IDS and len(cache) == 5
    assert IMAGE_IDS[3] in cache
    for stranger in ("a", "bird 2/zzz.jpg", "zebra.jpg", ""):
        assert stranger not in cache
        with pytest.raises(KeyError, match="holds no image"):
            cache[stranger]


def test_an_unfinished_cache_is_refused(tmp_path):
    write_cache(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(MaskCacheError, match="is not finished.*run bcct masks"):
        MaskCache(tmp_path)
    with pytest.raises(MaskCacheError, match="does not exist"):
        MaskCache(tmp_path / "nowhere")


def test_a_delta_that_is_not_there_is_refused_with_the_command(tmp_path):
    write_cache(tmp_path)
    with pytest.raises(MaskCacheError, match="holds delta 0.70, 0.85 but not 0.80.*--delta 0.80"):
        MaskCache(tmp_path, 0.8)
    assert MaskCache(tmp_path).delta == 0.7
    with pytest.raises(MaskCacheError, match="holds delta 0.70, 0.85 but not 0.80"):
        MaskCache(tmp_path).read(IMAGE_IDS[0], 0.8)


def test_the_default_delta_is_the_papers_where_there_is_one(tmp_path):
    write_cache(tmp_path, deltas=(0.7, 0.8, 0.9))
    assert MaskCache(tmp_path).delta == 0.8


def test_any_flipped_byte_is_noticed_before_a_mask_is_used(tmp_path):
    write_cache(tmp_path, shard_size=5)
    path = shard_path(tmp_path, 0)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for offset in random.integers(len(content), size=200):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(MaskCacheError, match="shard-00000.h5 is damaged"):
            MaskCache(tmp_path)[IMAGE_IDS[0]]
    path.write_bytes(content)
    assert MaskCache(tmp_path)[IMAGE_IDS[0]].shape == SIZE


def test_a_shard_is_done_only_with_the_same_images_and_deltas(tmp_path):
    write_cache(tmp_path)
    path = shard_path(tmp_path, 0)
    assert shard_is_done(path, IMAGE_IDS[:2], (0.7, 0.85), PROVENANCE)
    assert not shard_is_done(path, IMAGE_IDS[1:3], (0.7, 0.85), PROVENANCE)
    assert not shard_is_done(path, IMAGE_IDS[:2], (0.7,), PROVENANCE)
    path.write_bytes(path.read_bytes()[:1000])
    assert not shard_is_done(path, IMAGE_IDS[:2], (0.7, 0.85), PROVENANCE)
    assert not shard_is_done(tmp_path / "shard-00009.h5", IMAGE_IDS[:2], (0.7, 0.85), PROVENANCE)


def test_a_shard_is_done_only_with_every_byte_as_written(tmp_path):
    write_cache(tmp_path)
    path = shard_path(tmp_path, 0)
    content = path.read_bytes()
    for offset in range(0, len(content), 31):
        damaged = bytearray(content)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        assert not shard_is_done(path, IMAGE_IDS[:2], (0.7, 0.85), PROVENANCE), offset
    path.write_bytes(content)
    assert shard_is_done(path, IMAGE_IDS[:2], (0.7, 0.85), PROVENANCE)


def test_the_key_changes_with_everything_the_masks_depend_on():
    keys = {PROVENANCE.key()} | {
        dataclasses.replace(PROVENANCE, **{field: value}).key() for field, value in [
            ("dataset", "x"), ("classifier", "x"), ("recipe", {"gamma": 0.6}),
            ("mask_size", (11, 6)), ("format_version", 2)]}
    assert len(keys) == 6


def test_stats(tmp_path):
    made = write_cache(tmp_path)[0.7]
    stats = MaskCache(tmp_path, 0.7).stats()
    areas = made.mask.mean(axis=(1, 2))[made.valid]
    assert stats["count"] == 5 and stats["valid"] == made.valid.mean()
    assert stats["mean_area"] == pytest.approx(areas.mean())
    assert sum(stats["area_histogram"]) == made.valid.sum()


def test_readers_wait_for_no_lock(tmp_path):
    made = write_cache(tmp_path)
    with contextlib.ExitStack() as held:
        for path in tmp_path.iterdir():  # another process would hold them in the same way
            file = held.enter_context(open(path, "rb+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        cache = MaskCache(tmp_path, 0.7)
        assert list(cache) == IMAGE_IDS
        assert np.array_equal(cache[IMAGE_IDS[4]], made[0.7].mask[4])


def _read_in_child(cache, image_id, queue):
    queue.put(cache[image_id].tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_open_cache_can_be_handed_to_other_processes(tmp_path, method):
    made = write_cache(tmp_path)
    cache = MaskCache(tmp_path, 0.7)
    cache[IMAGE_IDS[0]]  # a handle is open in this process
    assert pickle.loads(pickle.dumps(cache))[IMAGE_IDS[4]].shape == SIZE
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=_read_in_child, args=(cache, IMAGE_IDS[4], queue))
                for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert results == [made[0.7].mask[4].tolist()] * 2
