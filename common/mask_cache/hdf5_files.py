"""Reading HDF5 that somebody else may have written: from memory, without locks, within bounds.

A file is read as a whole by the operating system and opened by HDF5 from memory. So no lock is
asked for, what the system refuses is told apart from damage, and links to other files lead nowhere.
Before an array is read, its type, shape, storage and filters must be those that this package
writes: checksums that are right say nothing about who wrote a file, and a few kilobytes can claim
petabytes.
"""

import contextlib
import dataclasses
import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d

from common.files import read_whole

CHECKSUM, DEFLATE = h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_DEFLATE
STRING_PLACE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""How HDF5 stores where a string lies."""
HEAP = b"GCOL\1\0\0\0"
"""How a heap of strings begins."""
HEAP_OBJECT = struct.Struct("<H6xQ")
"""Header of an object in a heap of strings: its index, and its size in bytes."""


class DamagedFile(ValueError):
    """A file is not as this package writes it; the text says in what, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a dataset is stored."""

    dtype: np.dtype
    """Type of an element; object for strings."""
    shape: tuple[int, ...]
    """Its shape."""
    chunks: tuple[int, ...] | None = None
    """Shape of a chunk; None where the array lies in one piece."""
    filters: tuple[int, ...] = ()
    """HDF5's numbers of the filters that each chunk passes through."""


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[tuple[h5py.File, bytes]]:
    """Context of an HDF5 file and of its bytes.

    Yields:
        (h5py.File, bytes).

    Raises:
        FileNotFoundError, NotADirectoryError, CannotRead: as for ``read_whole``.
        DamagedFile: it is no HDF5, or the body met anything that is not as it should be.
    """
    content = read_whole(path)
    _require_sound_heaps(content)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            yield file, content
    except (KeyboardInterrupt, SystemExit, GeneratorExit, DamagedFile):
        raise
    except BaseException as error:  # HDF5 tells of damage by errors of many types
        raise DamagedFile(_first_line(error)) from error


def stored_array(group: h5py.Group, name: str, layout: Layout, content: bytes) -> h5py.Dataset:
    """A dataset of a group that is stored as it should be, ready to be read.

    Args:
        group: the file or one of its groups.
        name: the dataset's.
        layout: how it must be stored.
        content: the file's bytes.

    Raises:
        DamagedFile: it is stored otherwise.
    """
    dataset = member(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise DamagedFile(f"{name} is no dataset")
    if (dataset.dtype, dataset.shape) != (layout.dtype, layout.shape):
        raise DamagedFile(f"{dataset.name} is {dataset.dtype} {dataset.shape}, not {layout.dtype} "
                          f"{layout.shape}")
    made = dataset.id.get_create_plist()
    filters = tuple(made.get_filter(index)[0] for index in range(made.get_nfilters()))
    kind = h5d.CONTIGUOUS if layout.chunks is None else h5d.CHUNKED
    if (made.get_layout(), filters, dataset.chunks, made.get_external_count()) != (
            kind, layout.filters, layout.chunks, 0):
        raise DamagedFile(f"{dataset.name} is not stored as this program stores it")
    if layout.chunks is None:
        _require_inside(dataset, content)
    elif layout.filters == (CHECKSUM,):
        _require_whole_chunk(dataset, content)
    return dataset


def stored_strings(group: h5py.Group, name: str, content: bytes) -> list[str]:
    """A dataset of UTF-8 strings, (N,), as a list.

    Raises:
        DamagedFile: it is stored otherwise, or claims more than its file holds.
    """
    dataset = member(group, name)
    if not isinstance(dataset, h5py.Dataset) or h5py.check_string_dtype(dataset.dtype) is None:
        raise DamagedFile(f"{name} holds no strings")
    if dataset.ndim != 1 or dataset.shape[0] * STRING_PLACE.itemsize > len(content):
        raise DamagedFile(f"{name} has the shape {dataset.shape}")
    stored_array(group, name, Layout(dataset.dtype, dataset.shape), content)
    places = np.frombuffer(content, STRING_PLACE, dataset.shape[0], dataset.id.get_offset())
    if places["length"].sum(dtype=np.uint64) > len(content):
        raise DamagedFile(f"{name} has longer strings than the file has bytes")
    for address in np.unique(places["address"][places["length"] > 0]).tolist():
        _require_sound_heap(content, address)
    return list(dataset.asstr("utf-8", "surrogateescape")[()])


def stored_attribute(owner: h5py.Group | h5py.Dataset, name: str, shape: tuple[int, ...]) -> Any:
    """An attribute's value, if it has the shape that it should have.

    Raises:
        DamagedFile: it is missing or of another shape.
    """
    if name not in owner.attrs:
        raise DamagedFile(f"{owner.name} has no attribute {name}")
    if owner.attrs.get_id(name).shape != shape:
        raise DamagedFile(f"the attribute {name} of {owner.name} has another shape")
    return owner.attrs[name]


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What a group itself holds under a name.

    Raises:
        DamagedFile: nothing, or a link to another place or file.
    """
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise DamagedFile(f"{group.name} holds no {name} of its own")
    return group[name]


def inflate(stored: bytes, size: int) -> bytes:
    """The bytes that a chunk's deflate stream holds, at most one more than expected of it.

    Args:
        stored: the chunk without HDF5's checksum.
        size: how many bytes it must hold.

    Raises:
        DamagedFile: it holds fewer or more, or is no such stream.
    """
    stream = zlib.decompressobj()
    try:
        held = stream.decompress(stored, size + 1)
    except zlib.error as error:
        raise DamagedFile(str(error)) from error
    if len(held) != size or not stream.eof:
        raise DamagedFile(f"a chunk does not hold {size} bytes")
    return held


def longest_stored(size: int) -> int:
    """The most bytes that a chunk of so many takes in a file, deflated and with its checksum."""
    return size + size // 1000 + 64


def _require_inside(dataset, content):
    """The bytes of an array in one piece must all lie in its file."""
    item = STRING_PLACE if dataset.dtype == object else dataset.dtype
    size, start = math.prod(dataset.shape) * item.itemsize, dataset.id.get_offset()
    if size and (start is None or dataset.id.get_storage_size() != size
                 or start + size > len(content)):
        raise DamagedFile(f"{dataset.name} claims bytes that the file does not have")


def _require_sound_heaps(content):
    """Whatever looks like a heap of strings must be one, before HDF5 opens the file."""
    address = content.find(HEAP)
    while address >= 0:
        _require_sound_heap(content, address)
        address = content.find(HEAP, address + len(HEAP))


def _require_sound_heap(content, address):
    """A heap of strings must be a chain of objects that fills it: HDF5 follows it blindly, and for
    ever where an object takes no space (HDF5's format specification, global heap)."""
    heap = content[address:address + HEAP_OBJECT.size]
    if not heap.startswith(HEAP) or len(heap) < HEAP_OBJECT.size:
        raise DamagedFile("its strings are not where they should be")
    size = int.from_bytes(heap[8:], "little")
    end, place = address + size, address + HEAP_OBJECT.size
    while end <= len(content) and place + HEAP_OBJECT.size <= end:
        index, taken = HEAP_OBJECT.unpack_from(content, place)
        if index == 0:  # free space up to the end, its header included
            place += taken if taken >= HEAP_OBJECT.size else len(content)
        else:
            place += HEAP_OBJECT.size + -(-taken // 8) * 8
    if not place <= end <= len(content):
        raise DamagedFile("its strings claim bytes that they do not have")


def _require_whole_chunk(dataset, content):
    """An array in a single chunk that is not compressed must have all of its bytes."""
    chunk = dataset.id.get_chunk_info(0)
    if dataset.chunks != dataset.shape or chunk.filter_mask or (
            chunk.size != dataset.nbytes + 4 or chunk.byte_offset + chunk.size > len(content)):
        raise DamagedFile(f"{dataset.name} claims bytes that the file does not have")


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
