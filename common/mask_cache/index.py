"""The index of a mask cache: where each mask lies in its shard, and which bytes must be there.

It is derived from the shards, so that a mask is read with one ``read`` of a few hundred bytes in a
cache of any size; opening a shard with HDF5 and reading from it costs 25 times as much.

Plain HDF5. Over the images sorted by id: ``file_crc32`` (N,) uint32, of the image files; for each
delta a group with ``offset`` (N,) uint64 and ``size`` (N,) uint32 of the stored mask in its shard,
``crc32`` (N,) uint32 of those bytes, ``valid`` (N,) bool and ``box`` (N, 4) int16. To find an id's
place in that order: ``id_hash`` (N,) uint64, sorted, and ``position`` (N,) uint32.
"""

import functools
import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from common.files import write_bytes
from common.mask_cache.hdf5_files import DamagedFile, Layout, inflate, member, opened, stored_array

Places = dict[str, np.ndarray]  # the arrays of a delta's group
# Type, and what follows the number of images in the shape.
PLACE_FIELDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "offset": ("u8", ()), "size": ("u4", ()), "crc32": ("u4", ()), "valid": ("?", ()),
    "box": ("i2", (4,))}


class MaskIndex:
    """An index in memory: 16 bytes per image, and 25 more for each delta that is read.

    Args:
        path: the index file.
        count: number of images that it must have.

    Raises:
        FileNotFoundError, CannotRead: as for ``read_whole``.
        DamagedFile: it is no index of so many images.
    """

    def __init__(self, path: str | Path, count: int):
        self.path, self.count = path, count
        with opened(path) as (file, content):
            self.id_hash, self.position, self.file_crc32 = (
                stored_array(file, name, Layout(np.dtype(kind), (count,)), content)[()]
                for name, kind in (("id_hash", "u8"), ("position", "u4"), ("file_crc32", "u4")))
        if (self.id_hash[1:] <= self.id_hash[:-1]).any() or (self.position >= count).any():
            raise DamagedFile("its ids are not sorted, or lead to no image")
        self._places = {}
        self.find = functools.lru_cache(1)(self._find)  # training asks twice for each image

    def _find(self, image_id):
        """An image's place in the sorted ids, or None."""
        wanted = np.uint64(id_hash(image_id))
        found = np.searchsorted(self.id_hash, wanted)
        if found == len(self.id_hash) or self.id_hash[found] != wanted:
            return None
        return int(self.position[found])

    def places(self, name: str) -> Places:
        """The arrays of a delta's group, a dict; errors as when it is opened."""
        if name not in self._places:
            with opened(self.path) as (file, content):
                group = member(file, name)
                self._places[name] = {
                    field: stored_array(group, field, Layout(np.dtype(kind), (
                        self.count, *rest)), content)[()]
                    for field, (kind, rest) in PLACE_FIELDS.items()}
        return self._places[name]


def id_hash(image_id: str) -> int:
    """64 bits of an id; among 1.28 million, two share them with probability 1 in 20 million."""
    return int.from_bytes(hashlib.blake2b(
        image_id.encode("utf-8", "surrogateescape"), digest_size=8).digest())


def mask_places(dataset: h5py.Dataset, content: bytes) -> Places:
    """Where the masks of one delta lie in a shard.

    Args:
        dataset: the shard's masks, stored as ``write_shard`` stores them.
        content: the shard's bytes.

    Returns:
        dict of arrays as in the index, without ``valid`` and ``box``.

    Raises:
        DamagedFile: a mask is missing, not compressed, outside of the file, shares its bytes with
            another or unpacks to another size.
    """
    count, size = len(dataset), int(np.prod(dataset.shape[1:]))
    places: Places = {
        "offset": np.zeros(count, np.uint64), "size": np.zeros(count, np.uint32),
        "crc32": np.zeros(count, np.uint32)}

    chunks = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        row, start = chunk.chunk_offset[0], chunk.byte_offset
        places["offset"][row], places["size"][row] = start, 0 if chunk.filter_mask else chunk.size
        stored = content[start:start + chunk.size]
        places["crc32"][row] = zlib.crc32(stored)
        inflate(stored[:-4], size)  # so that HDF5, which has no such limit, may unpack it
    order = np.argsort(places["offset"])
    ends = (places["offset"] + places["size"])[order]
    if not places["size"].all():
        raise DamagedFile("it holds a mask that is missing or not compressed")
    if (ends[:-1] > places["offset"][order][1:]).any() or ends[-1] > len(content):
        raise DamagedFile("it holds masks that share bytes or lie outside of it")
    return places


def index_bytes(image_ids: Sequence[str], file_crc32: np.ndarray,
                places: Mapping[str, Places]) -> bytes:
    """The bytes of an index file.

    Args:
        image_ids: list of N str, sorted.
        file_crc32: (N,) uint32.
        places: dict from a delta's name to a dict of arrays over all N images.

    Raises:
        ValueError: an image id occurs twice.
    """
    hashes = np.array([id_hash(image_id) for image_id in image_ids], np.uint64)
    order = np.argsort(hashes, kind="stable")
    if (np.diff(hashes[order]) == 0).any():
        first = order[:-1][np.diff(hashes[order]) == 0][0]
        raise ValueError(f"the image id {image_ids[first]!r} occurs twice")
    content = io.BytesIO()
    with h5py.File(content, "w", libver=("v110", "v110")) as file:
        # create_dataset and create_group store no time, so that the bytes are always the same.
        file.create_dataset("id_hash", data=hashes[order])
        file.create_dataset("position", data=order.astype(np.uint32))
        file.create_dataset("file_crc32", data=file_crc32)
        for name, arrays in places.items():
            group = file.create_group(name)
            for field in PLACE_FIELDS:
                group.create_dataset(field, data=arrays[field])
    return content.getvalue()


def write_index(path: str | Path, image_ids: Sequence[str], file_crc32: np.ndarray,
                places: Mapping[str, Places]) -> None:
    """Write an index file, whole or not at all; arguments as for ``index_bytes``."""
    write_bytes(path, index_bytes(image_ids, file_crc32, places))


def decode_mask(stored: bytes, size: tuple[int, int]) -> np.ndarray:
    """The (H, W) bool mask of a shard's stored bytes: deflated bits and HDF5's Fletcher-32."""
    height, width = size
    row = -(-width // 8)
    packed = np.frombuffer(inflate(stored[:-4], height * row), np.uint8).reshape(height, row)
    return np.unpackbits(packed, axis=-1, count=width).view(bool)
