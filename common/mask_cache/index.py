"""The index of a mask cache: where each mask lies in its shard, and which bytes must be there.

It is derived from the shards, so that a mask is read with one ``read`` of a few hundred bytes in a
cache of any size; opening a shard with HDF5 and reading from it costs 25 times as much.

Plain HDF5. Over the images sorted by id: ``file_crc32`` (N,) uint32, of the image files; for each
delta a group with ``offset`` (N,) uint64 and ``size`` (N,) uint32 of the stored mask in its shard,
``crc32`` (N,) uint32 of those bytes, ``valid`` (N,) bool and ``box`` (N, 4) int16. To find an id's
place in that order: ``id_hash`` (N,) uint64, sorted, and ``position`` (N,) uint32. It is read
without HDF5's file lock: it is replaced as a whole, never written in place.
"""

import functools
import hashlib
import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from common.files import write_bytes

Places = dict[str, np.ndarray]  # the arrays of a delta's group
PLACE_FIELDS = ("offset", "size", "crc32", "valid", "box")


class MaskIndex:
    """An index in memory: 17 bytes per image, and 25 more for each delta that is read.

    Args:
        path: the index file.

    Raises:
        OSError: there is no such file, or it is no HDF5.
    """

    def __init__(self, path: str | Path):
        self.path = path
        with h5py.File(path, "r", locking=False) as file:
            self.id_hash, self.position = file["id_hash"][()], file["position"][()]
            self.file_crc32 = file["file_crc32"][()]
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
        """The arrays of a delta's group, a dict."""
        if name not in self._places:
            with h5py.File(self.path, "r", locking=False) as file:
                self._places[name] = {field: file[name][field][()] for field in PLACE_FIELDS}
        return self._places[name]


def id_hash(image_id: str) -> int:
    """64 bits of an id; among 1.28 million, two share them with probability 1 in 20 million."""
    return int.from_bytes(hashlib.blake2b(
        image_id.encode("utf-8", "surrogateescape"), digest_size=8).digest())


def shard_places(file: h5py.File, content: bytes, names: Iterable[str]) -> dict[str, Places]:
    """Where the masks of one shard lie.

    Args:
        file: the shard, an open h5py.File.
        content: its bytes.
        names: the delta groups.

    Returns:
        dict from name to a dict of arrays as in the index.

    Raises:
        ValueError: a mask is not stored as ``write_shard`` stores it.
    """
    return {name: _group_places(file[name], content) for name in names}


def _group_places(group, content):
    count = len(group["mask"])
    places = {"offset": np.zeros(count, np.uint64), "size": np.zeros(count, np.uint32),
              "crc32": np.zeros(count, np.uint32), "valid": group["valid"][()],
              "box": group["box"][()]}

    def note(chunk):
        row, start, end = chunk.chunk_offset[0], chunk.byte_offset, chunk.byte_offset + chunk.size
        places["offset"][row], places["size"][row] = start, 0 if chunk.filter_mask else chunk.size
        places["crc32"][row] = zlib.crc32(content[start:end])
    group["mask"].id.chunk_iter(note)
    if not places["size"].all():
        raise ValueError("it holds a mask that is missing or not compressed")
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
    packed = np.frombuffer(zlib.decompress(stored[:-4]), np.uint8).reshape(height, -1)
    return np.unpackbits(packed, axis=-1, count=width).view(bool)
