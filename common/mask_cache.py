"""The mask cache: HDF5 shards of binary masks, addressed by image id.

A cache is a folder with ``manifest.json`` and ``shard-00000.h5`` onwards. Shard k holds records
``k * shard_size`` to ``(k + 1) * shard_size`` of the sorted image ids, whoever writes it. The
manifest is written last: a folder without one is incomplete.

A shard is plain HDF5: ``image_id`` (N,) UTF-8; for each delta a group named with two decimals
that holds ``mask`` (N, H, ceil(W / 8)) uint8, bits packed along the last axis, ``valid`` (N,)
bool and ``box`` (N, 4) int16, x0 y0 x1 y1 with x1, y1 exclusive; root attributes
``format_version``, ``mask_height``, ``mask_width`` and ``recipe`` (JSON); and, only where images
could not be read, ``unreadable`` (JSON, image id to reason): their masks are empty and invalid.
"""

import bisect
import collections
import dataclasses
import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np

from common.config import digest
from common.files import read_json, replacing, write_json

FORMAT_VERSION = 1
SHARD_SIZE = 1024  # about 0.3 MB of masks a delta: a killed run repeats at most this many images
OPEN_SHARDS = 64  # handles a process keeps: far below the usual limit of 1,024 open files
DEFAULT_DELTA = 0.80  # the paper's best (Table 3)
MANIFEST = "manifest.json"


class MaskCacheError(ValueError):
    """A cache that is missing, incomplete, damaged or of something else; says what to do."""


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

    def key(self):
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


def delta_name(delta):
    """The name of a delta's group in a shard, such as ``0.80``."""
    return f"{delta:.2f}"


def shard_slices(count, shard_size=SHARD_SIZE):
    """The slices of the sorted image ids that make the shards, in order."""
    return [slice(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def shard_path(folder, index):
    """Path of a cache's shard number ``index``."""
    return Path(folder) / f"shard-{index:05d}.h5"


def write_shard(path, image_ids, cut, provenance, unreadable=None):
    """Write one shard, whole or not at all.

    Args:
        path: the shard's final path.
        image_ids: list of N str, sorted.
        cut: dict from delta to CutMasks of those images, in their order.
        provenance: Provenance of the cache.
        unreadable: dict from the ids of images that could not be read to the reason.
    """
    height, width = provenance.mask_size
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs["format_version"] = provenance.format_version
        file.attrs["mask_height"] = height
        file.attrs["mask_width"] = width
        file.attrs["recipe"] = json.dumps(provenance.recipe, sort_keys=True)
        if unreadable:
            file.attrs["unreadable"] = json.dumps(unreadable, sort_keys=True)
        file.create_dataset("image_id", data=list(image_ids), dtype=h5py.string_dtype("utf-8"))
        for delta in sorted(cut):
            group = file.create_group(delta_name(delta))
            packed = np.packbits(cut[delta].mask, axis=-1)  # (N, H, ceil(W / 8))
            group.create_dataset("mask", data=packed, chunks=(1, *packed.shape[1:]),
                                 compression="gzip", compression_opts=4, fletcher32=True)
            group.create_dataset("valid", data=cut[delta].valid, fletcher32=True,
                                 chunks=(len(image_ids),))
            group.create_dataset("box", data=cut[delta].box.astype(np.int16), fletcher32=True,
                                 chunks=(len(image_ids), 4))


def shard_is_done(path, image_ids, deltas):
    """Whether a shard exists, can be read, and holds exactly these images and deltas."""
    try:
        with h5py.File(path, "r") as file:
            return (_read_ids(file) == list(image_ids)
                    and set(file) == {"image_id", *map(delta_name, deltas)})
    except (OSError, KeyError):
        return False


def write_manifest(folder, provenance, image_ids, deltas, shard_size=SHARD_SIZE, about=None):
    """Close a cache: count, checksum, and say what the masks depend on.

    Args:
        folder: the cache, with every shard in place.
        provenance: Provenance of the cache.
        image_ids: list of str, sorted, of the whole cache.
        deltas: iterable of float, those in the shards.
        about: dict of further facts for a reader, such as names and the command.

    Returns:
        The manifest, a dict.
    """
    shards, unreadable = [], {}
    valid = collections.Counter()
    for index, part in enumerate(shard_slices(len(image_ids), shard_size)):
        path = shard_path(folder, index)
        with h5py.File(path, "r") as file:
            for delta in deltas:
                valid[delta_name(delta)] += int(file[delta_name(delta)]["valid"][()].sum())
            unreadable.update(json.loads(file.attrs.get("unreadable", "{}")))
        shards.append({"file": path.name, "count": part.stop - part.start,
                       "first_image_id": image_ids[part.start], "sha256": _sha256(path)})
    manifest = {
        "about": about or {},
        "count": len(image_ids),
        "deltas": sorted(deltas),
        "key": provenance.key(),
        "provenance": dataclasses.asdict(provenance),
        "shard_size": shard_size,
        "shards": shards,
        "unreadable": unreadable,
        "valid": dict(valid),
    }
    write_json(Path(folder) / MANIFEST, manifest)
    return manifest


class MaskCache:
    """Reads the masks of one cache.

    Shards are opened when first needed, in each process by itself: an open HDF5 handle neither
    pickles nor survives a fork. A shard's checksum is compared once, when it is opened.

    Args:
        folder: path of the cache.
        delta: the threshold whose masks are read; the default is 0.80 where the cache has it,
            else the cache's first.

    Raises:
        MaskCacheError: no such cache, an unfinished one, or one without that delta.
    """

    def __init__(self, folder, delta=None):
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            state = "is not finished" if self.folder.is_dir() else "does not exist"
            raise MaskCacheError(f"mask cache {self.folder} {state} (no {MANIFEST}); "
                                 "run bcct masks to make or resume it")
        self.manifest = read_json(path)
        version = self.manifest["provenance"]["format_version"]
        if version != FORMAT_VERSION:
            raise MaskCacheError(f"mask cache {self.folder} has format version {version}, this "
                                 f"program reads {FORMAT_VERSION}; make the masks again")
        self.key = self.manifest["key"]
        self.deltas = tuple(self.manifest["deltas"])
        self.mask_size = tuple(self.manifest["provenance"]["mask_size"])
        self.delta = self._choose(delta)
        self._first_ids = [shard["first_image_id"] for shard in self.manifest["shards"]]
        self._forget_handles()

    def _choose(self, delta):
        if delta is None:
            delta = DEFAULT_DELTA if DEFAULT_DELTA in self.deltas else self.deltas[0]
        if delta_name(delta) not in map(delta_name, self.deltas):
            held = ", ".join(map(delta_name, self.deltas))
            raise MaskCacheError(f"mask cache {self.folder} holds delta {held} but not "
                                 f"{delta_name(delta)}; run bcct masks with --delta "
                                 f"{delta_name(delta)} to add it")
        return delta

    def _forget_handles(self):
        self._process = os.getpid()
        self._files = collections.OrderedDict()  # shard index -> (h5py.File, {image id: row})

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["_files"], state["_process"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._forget_handles()

    def __len__(self):
        return self.manifest["count"]

    def __iter__(self):
        """The image ids, sorted."""
        for index in range(len(self._first_ids)):
            yield from self._shard(index)[1]

    def __contains__(self, image_id):
        return self._find(image_id) is not None

    def __getitem__(self, image_id):
        """The (H, W) bool mask of an image; KeyError naming an image the cache does not hold."""
        return self.read(image_id)[0]

    def read(self, image_id, delta=None):
        """An image's mask with its flag and its box.

        Returns:
            (mask (H, W) bool, valid bool, box (4,) int16) as in ``CutMasks``.

        Raises:
            KeyError: the cache does not hold this image.
            MaskCacheError: its shard is damaged.
        """
        found = self._find(image_id)
        if found is None:
            raise KeyError(f"mask cache {self.folder} holds no image {image_id!r}")
        shard, row = found
        file = self._shard(shard)[0]
        group = file[delta_name(self.delta if delta is None else delta)]
        try:
            packed = group["mask"][row]
            valid, box = bool(group["valid"][row]), group["box"][row]
        except OSError as error:
            raise self._damaged(shard, error) from error
        mask = np.unpackbits(packed, axis=-1, count=self.mask_size[1]).astype(bool)
        return mask, valid, box

    def stats(self):
        """Area and validity over the whole cache at this delta.

        Returns:
            dict: ``count``, ``valid`` (fraction of images), ``mean_area`` (fraction of the frame,
            over valid masks) and ``area_histogram`` (20 counts over area 0 to 1).
        """
        areas, flags = [], []
        pixels = self.mask_size[0] * self.mask_size[1]
        for image_id in self:
            mask, valid, _ = self.read(image_id)
            areas.append(mask.sum() / pixels)
            flags.append(valid)
        areas, flags = np.array(areas), np.array(flags)
        valid_areas = areas[flags]
        return {"count": len(areas), "valid": float(flags.mean()),
                "mean_area": float(valid_areas.mean()) if len(valid_areas) else 0.0,
                "area_histogram": np.histogram(valid_areas, bins=20, range=(0, 1))[0].tolist()}

    def _find(self, image_id):
        shard = bisect.bisect_right(self._first_ids, image_id) - 1
        if shard < 0:
            return None
        row = self._shard(shard)[1].get(image_id)
        return None if row is None else (shard, row)

    def _shard(self, index):
        """The open file of a shard and the rows of its images."""
        if self._process != os.getpid():
            self._forget_handles()
        if index in self._files:
            self._files.move_to_end(index)
            return self._files[index]
        path = shard_path(self.folder, index)
        try:
            if _sha256(path) != self.manifest["shards"][index]["sha256"]:
                raise self._damaged(index, "its checksum is not the manifest's")
            file = h5py.File(path, "r")
            rows = {image_id: row for row, image_id in enumerate(_read_ids(file))}
        except OSError as error:
            raise self._damaged(index, error) from error
        self._files[index] = file, rows
        if len(self._files) > OPEN_SHARDS:
            self._files.popitem(last=False)[1][0].close()
        return file, rows

    def _damaged(self, index, reason):
        return MaskCacheError(f"{shard_path(self.folder, index)} is damaged ({reason}); remove it "
                              "and run bcct masks again: only this shard is made anew")


def _read_ids(file):
    return list(file["image_id"].asstr("utf-8", "surrogateescape")[()])


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
