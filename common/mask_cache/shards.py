"""The shards of a mask cache: HDF5 files of binary masks.

Shard k holds records ``k * shard_size`` to ``(k + 1) * shard_size`` of the sorted image ids,
whichever process writes it. It is plain HDF5: ``image_id`` (N,) UTF-8; for each delta a group named
with two decimals that holds ``mask`` (N, H, ceil(W / 8)) uint8, bits packed along the last axis,
``valid`` (N,) bool and ``box`` (N, 4) int16, x0 y0 x1 y1 with x1, y1 exclusive; root attributes
``format_version``, ``mask_height``, ``mask_width`` and ``recipe`` (JSON). Two attributes of
``image_id`` record what the masks were made from: ``file_crc32`` (N,) uint32, the CRC-32 of each
image file (0 where unknown), and, only if images could not be read, ``unreadable`` (JSON, image id
to reason): their masks are empty and invalid.
"""

import contextlib
import dataclasses
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from common.config import digest
from common.files import read_whole, write_bytes
from common.mask_cache.hdf5_files import (CHECKSUM, DEFLATE, DamagedFile, Layout, member, opened,
                                          stored_array, stored_attribute, stored_strings)
from common.mask_cache.index import Places, mask_places
from common.system_errors import MISSING

FORMAT_VERSION = 1
SHARD_NAME = "shard-{:05d}.h5"
DELTA_NAME = re.compile(r"\d\.\d\d")
SHARD_SIZE = 1024  # about 0.3 MB of masks per delta; a killed run repeats at most this many images


class MaskCacheError(ValueError):
    """A cache is missing, incomplete, damaged or another one; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a cache's masks depend on; its digest is the cache's key."""

    dataset: str
    """Digest of the image list (``Dataset.digest``)."""
    classifier: str
    """Digest of the background classifier (its head and its backbone's weights) or of the trained
    model that makes the masks."""
    recipe: dict
    """The recipe's fields as plain values; of a trained model, its score map, tau and input size.
    """
    mask_size: tuple[int, int]
    """(height, width) of a mask in pixels."""
    format_version: int = FORMAT_VERSION
    """Version of the shard format."""

    def key(self) -> str:
        """Twelve hex digits that change with anything the masks depend on."""
        return digest(dataclasses.asdict(self))[:12]


@dataclasses.dataclass(frozen=True)
class CutMasks:
    """Masks of N images at one delta."""

    mask: np.ndarray
    """(N, H, W) bool."""
    valid: np.ndarray
    """(N,) bool: False where the map was constant or the component too small to trust."""
    box: np.ndarray
    """(N, 4) int16, x0 y0 x1 y1, half-open, in pixels of the mask; zeros for an empty mask."""

    def packed(self) -> "PackedMasks":
        """The same as PackedMasks."""
        return PackedMasks(np.packbits(self.mask, axis=-1), self.valid, self.box)


@dataclasses.dataclass(frozen=True)
class PackedMasks:
    """CutMasks in an eighth of the memory, as a shard holds them."""

    bits: np.ndarray
    """(N, H, ceil(W / 8)) uint8, the masks packed along the last axis."""
    valid: np.ndarray
    """(N,) bool, as in CutMasks."""
    box: np.ndarray
    """(N, 4) int16, as in CutMasks."""

    @classmethod
    def empty(cls, count: int, size: tuple[int, int]) -> "PackedMasks":
        """Of so many empty, invalid masks of a size (height, width) in pixels."""
        height, width = size
        return cls(np.zeros((count, height, -(-width // 8)), np.uint8), np.zeros(count, bool),
                   np.zeros((count, 4), np.int16))

    def put(self, rows: np.ndarray, masks: "PackedMasks") -> None:
        """Write other PackedMasks to some rows, an (n,) array of int."""
        self.bits[rows], self.valid[rows], self.box[rows] = masks.bits, masks.valid, masks.box

    def unpacked(self, width: int) -> CutMasks:
        """The same as CutMasks of a width in pixels."""
        return CutMasks(np.unpackbits(self.bits, axis=-1, count=width).astype(bool), self.valid,
                        self.box)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Everything in a shard of N images."""

    cut: dict[float, PackedMasks]
    """Delta to PackedMasks."""
    file_crc32: np.ndarray
    """(N,) uint32, CRC-32 of the image files; 0 where not known."""
    unreadable: dict[str, str]
    """Id to reason, of the images that could not be read."""


def delta_name(delta: float) -> str:
    """The name of a delta's group in a shard, such as ``0.80``."""
    return f"{delta:.2f}"


def shard_slices(count: int, shard_size: int = SHARD_SIZE) -> list[slice]:
    """The slices of the sorted image ids that make the shards, in order."""
    return [slice(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def shard_path(folder: str | Path, index: int) -> Path:
    """Path of a cache's shard number ``index``."""
    return Path(folder) / SHARD_NAME.format(index)


def write_shard(path: str | Path, image_ids: Sequence[str], cut: Mapping[float, PackedMasks],
                provenance: Provenance, unreadable: Mapping[str, str] | None = None,
                file_crc32: np.ndarray | None = None) -> None:
    """Write one shard, whole or not at all.

    Args:
        path: the shard's final path.
        others: as for ``shard_bytes``.

    Raises:
        OSError: it cannot be written; names the folder.
    """
    write_bytes(path, shard_bytes(image_ids, cut, provenance, unreadable, file_crc32))


def shard_bytes(image_ids: Sequence[str], cut: Mapping[float, PackedMasks],
                provenance: Provenance, unreadable: Mapping[str, str] | None = None,
                file_crc32: np.ndarray | None = None) -> bytes:
    """The bytes of a shard, always the same for the same masks.

    Args:
        image_ids: list of N str, sorted.
        cut: dict from delta to PackedMasks of those images, in their order.
        provenance: Provenance of the cache.
        unreadable: dict from the ids of images that could not be read to the reason.
        file_crc32: (N,) CRC-32 of the image files; None where they are not known.
    """
    # Built in memory, less than a megabyte: on a full disk HDF5 cannot even close its file.
    content = io.BytesIO()
    with h5py.File(content, "w", libver=("v110", "v110")) as file:
        file.attrs.update(_root_attributes(provenance))
        names = [image_id.encode("utf-8", "surrogateescape") for image_id in image_ids]
        ids = file.create_dataset("image_id", data=names, dtype=h5py.string_dtype("utf-8"))
        ids.attrs["file_crc32"] = np.array(
            [0] * len(image_ids) if file_crc32 is None else file_crc32, np.uint32)
        if unreadable:
            ids.attrs["unreadable"] = json.dumps(unreadable, sort_keys=True)
        for delta in sorted(cut):
            group = file.create_group(delta_name(delta))
            bits = cut[delta].bits
            group.create_dataset("mask", data=bits, chunks=(1, *bits.shape[1:]),
                                 compression="gzip", compression_opts=4, fletcher32=True)
            group.create_dataset("valid", data=cut[delta].valid, fletcher32=True,
                                 chunks=(len(image_ids),))
            group.create_dataset("box", data=cut[delta].box.astype(np.int16), fletcher32=True,
                                 chunks=(len(image_ids), 4))
    return content.getvalue()


def _root_attributes(provenance):
    height, width = provenance.mask_size
    return {"format_version": provenance.format_version, "mask_height": height,
            "mask_width": width, "recipe": json.dumps(provenance.recipe, sort_keys=True)}


def read_shard(path: str | Path, image_ids: Sequence[str], provenance: Provenance) -> Shard:
    """Read a whole shard, HDF5's own checksums included; 40 ms per delta and 1,000 masks.

    Raises:
        MaskCacheError: it is missing, damaged, or not of these images and this provenance.
        CannotRead: the system does not give its bytes, which says nothing about them.
    """
    with shard_opened(path) as (file, content):
        if read_ids(file, content) != list(image_ids):
            raise DamagedFile("it holds other images")
        _require_attributes(file, _root_attributes(provenance))
        cut = {float(name): _read_masks(file, name, content, len(image_ids),
                                        provenance.mask_size) for name in delta_groups(file)}
        return Shard(cut, read_checksums(file), read_unreadable(file))


@contextlib.contextmanager
def shard_opened(path: str | Path) -> Iterator[tuple[h5py.File, bytes]]:
    """Context of a shard and of its bytes; see ``hdf5_files.opened``.

    Yields:
        (h5py.File, bytes).

    Raises:
        MaskCacheError: it is missing, or the body met anything that is not as it should be.
        CannotRead: the system does not give its bytes, which says nothing about them.
    """
    try:
        with opened(path) as shard:
            yield shard
    except MISSING as error:
        raise MaskCacheError(f"{path} is missing") from error
    except DamagedFile as error:
        raise MaskCacheError(f"{path} is damaged ({error})") from error


def _require_attributes(file, wanted):
    if set(file.attrs) != set(wanted) or any(
            stored_attribute(file, name, ()) != value for name, value in wanted.items()):
        raise DamagedFile("it was made in another way")


def delta_groups(file: h5py.File) -> list[str]:
    """Names of the deltas whose masks an open shard holds."""
    names = [name for name in file if name != "image_id"]
    for name in names:
        if not DELTA_NAME.fullmatch(name) or not 0 < float(name) <= 1:
            raise DamagedFile(f"it holds {name[:100]!r}, which is no delta")
    return names


def read_places(file: h5py.File, name: str, content: bytes, size: tuple[int, int]) -> Places:
    """Where the masks of one delta lie in an open shard, with their flags and boxes.

    Args:
        file: the shard.
        name: the delta's.
        content: its bytes.
        size: (height, width) of a mask in pixels.

    Returns:
        dict of arrays as in the index.

    Raises:
        DamagedFile: they are not stored as ``write_shard`` stores them.
    """
    group, count = member(file, name), member(file, "image_id").shape[0]
    height, width = size
    row = -(-width // 8)
    masks = stored_array(group, "mask", Layout(np.dtype(np.uint8), (count, height, row), (
        1, height, row), (DEFLATE, CHECKSUM)), content)
    return {**mask_places(masks, content), **{
        field: stored_array(group, field, Layout(np.dtype(kind), (count, *rest), (count, *rest), (
            CHECKSUM,)), content)[()] for field, kind, rest in (
                ("valid", "?", ()), ("box", "i2", (4,)))}}


def _read_masks(file, name, content, count, size):
    """PackedMasks of a delta's group."""
    places = read_places(file, name, content, size)
    bits = PackedMasks.empty(count, size).bits
    file[name]["mask"].read_direct(bits)
    return PackedMasks(bits, places["valid"], places["box"])


def read_whole_shard(path: str | Path, image_ids: Sequence[str], provenance: Provenance) -> Shard:
    """``read_shard`` of a shard without a recorded checksum: every byte is as written.

    HDF5 has checksums for most of a file, not for all. So the shard is encoded again, which takes
    0.1 s per delta and 1,000 masks; another version of zlib may give other bytes.

    Raises:
        MaskCacheError: as for ``read_shard``, or a byte differs.
    """
    shard = read_shard(path, image_ids, provenance)
    again = shard_bytes(image_ids, shard.cut, provenance, shard.unreadable, shard.file_crc32)
    if read_whole(path) != again:
        raise MaskCacheError(f"{path} is damaged (its bytes are not those of its masks)")
    return shard


def shard_is_done(path: str | Path, image_ids: Sequence[str], deltas: Iterable[float],
                  provenance: Provenance) -> bool:
    """Whether a shard exists, is sound to the byte, and holds exactly these images and deltas."""
    try:
        held = read_whole_shard(path, image_ids, provenance).cut
    except MaskCacheError:
        return False
    return set(map(delta_name, held)) == set(map(delta_name, deltas))


def read_ids(file: h5py.File, content: bytes) -> list[str]:
    """The image ids of an open shard, a list of str.

    Args:
        file: the shard.
        content: its bytes.

    Raises:
        DamagedFile: there are none, or one is no path below a data set.
    """
    image_ids = stored_strings(file, "image_id", content)
    if not image_ids:
        raise DamagedFile("it holds no image")
    for image_id in image_ids:
        if not image_id or image_id[0] == "/" or "\0" in image_id or (
                ".." in image_id and ".." in image_id.split("/")):
            raise DamagedFile(f"{image_id[:100]!r} is no path below a data set")
    return image_ids


def read_checksums(file: h5py.File) -> np.ndarray:
    """CRC-32 of the image files of an open shard, (N,) uint32; 0 where not known."""
    ids = member(file, "image_id")
    checksums = stored_attribute(ids, "file_crc32", ids.shape)
    if checksums.dtype != np.uint32:
        raise DamagedFile(f"file_crc32 is {checksums.dtype}")
    return checksums


def read_unreadable(file: h5py.File) -> dict[str, str]:
    """The images of an open shard that could not be read, a dict from id to reason."""
    ids = member(file, "image_id")
    if "unreadable" not in ids.attrs:
        return {}
    reasons = json.loads(stored_attribute(ids, "unreadable", ()))
    if not isinstance(reasons, dict) or not all(
            isinstance(reason, str) for reason in reasons.values()):
        raise DamagedFile("the attribute unreadable is no table of reasons")
    return reasons
