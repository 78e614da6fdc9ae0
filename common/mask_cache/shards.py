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

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from common.config import digest
from common.files import write_bytes

FORMAT_VERSION = 1
SHARD_SIZE = 1024  # about 0.3 MB of masks per delta; a killed run repeats at most this many images


class MaskCacheError(ValueError):
    """A cache is missing, incomplete, damaged or another one; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a cache's masks depend on; its digest is the cache's key."""

    dataset: str
    """Digest of the image list (``Dataset.digest``)."""
    classifier: str
    """Digest of the background classifier: its head and its backbone's weights."""
    recipe: dict
    """The recipe's fields as plain values."""
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
    return Path(folder) / f"shard-{index:05d}.h5"


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

    Returns:
        Shard.

    Raises:
        MaskCacheError: it is missing, damaged, or not of these images and this provenance.
    """
    try:
        with h5py.File(path, "r") as file:
            if read_ids(file) != list(image_ids):
                raise MaskCacheError(f"{path} holds other images")
            if dict(file.attrs) != _root_attributes(provenance):
                raise MaskCacheError(f"{path} was made in another way")
            cut = {float(name): _read_masks(group, len(image_ids), provenance.mask_size)
                   for name, group in file.items() if name != "image_id"}
            return Shard(cut, file["image_id"].attrs["file_crc32"], read_unreadable(file))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, MaskCacheError):
            raise
        raise MaskCacheError(f"{path} is damaged ({error})") from error


def _read_masks(group, count, size):
    """PackedMasks of a delta's group; a type or a shape that is not theirs is a ValueError."""
    masks = PackedMasks.empty(count, size)
    for name, values in (("mask", masks.bits), ("valid", masks.valid), ("box", masks.box)):
        if (group[name].dtype, group[name].shape) != (values.dtype, values.shape):
            raise ValueError(f"{group.name}/{name} is {group[name].dtype} {group[name].shape}")
        group[name].read_direct(values)
    return masks


def read_whole_shard(path: str | Path, image_ids: Sequence[str], provenance: Provenance) -> Shard:
    """``read_shard`` of a shard without a recorded checksum: every byte is as written.

    HDF5 has checksums for most of a file, not for all. So the shard is encoded again, which takes
    0.1 s per delta and 1,000 masks; another version of zlib may give other bytes.

    Raises:
        MaskCacheError: as for ``read_shard``, or a byte differs.
    """
    shard = read_shard(path, image_ids, provenance)
    again = shard_bytes(image_ids, shard.cut, provenance, shard.unreadable, shard.file_crc32)
    if Path(path).read_bytes() != again:
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


def read_ids(file: h5py.File) -> list[str]:
    """The image ids of an open shard, a list of str."""
    return list(file["image_id"].asstr("utf-8", "surrogateescape")[()])


def read_unreadable(file: h5py.File) -> dict[str, str]:
    """The images of an open shard that could not be read, a dict from id to reason."""
    return json.loads(file["image_id"].attrs.get("unreadable", "{}"))
