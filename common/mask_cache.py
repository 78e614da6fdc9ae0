"""The mask cache: HDF5 shards of binary masks, addressed by image id.

A cache is a folder with ``shard-00000.h5`` onwards, ``index.h5`` and ``manifest.json``. Shard k
holds records ``k * shard_size`` to ``(k + 1) * shard_size`` of the sorted image ids, whoever
writes it. The index (``common.mask_index``) says where each mask lies. The manifest has counts and
checksums and is written last: a folder without one is incomplete.

A shard is plain HDF5: ``image_id`` (N,) UTF-8; for each delta a group named with two decimals
that holds ``mask`` (N, H, ceil(W / 8)) uint8, bits packed along the last axis, ``valid`` (N,)
bool and ``box`` (N, 4) int16, x0 y0 x1 y1 with x1, y1 exclusive; root attributes
``format_version``, ``mask_height``, ``mask_width`` and ``recipe`` (JSON). Two attributes of
``image_id`` say what the masks were made from: ``file_crc32`` (N,) uint32, the CRC-32 of each image
file (0 where it is not known), and, only where images could not be read, ``unreadable`` (JSON,
image id to reason): their masks are empty and invalid.

**The key covers the image ids and the sizes of the files, not their bytes**: to read 1.28 million
images whenever a command starts would take longer than many a training run. So the bytes are
checked where they are read anyway. Making masks records each file's CRC-32; training compares it
with the file that it decodes, and so does ``bcct verify --data``; either names the image that has
changed.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import shutil
import zlib
from pathlib import Path

import h5py
import numpy as np

from common.config import digest
from common.files import file_crc32, read_json, sync_folder, write_bytes, write_json
from common.mask_index import (PLACE_FIELDS, MaskIndex, decode_mask, shard_places,
                               write_index)

FORMAT_VERSION = 1
SHARD_SIZE = 1024  # about 0.3 MB of masks a delta: a killed run repeats at most this many images
DEFAULT_DELTA = 0.80  # the paper's best (Table 3)
MANIFEST = "manifest.json"
INDEX = "index.h5"
ADDING = "adding"  # the folder inside a cache where a further delta is made ready


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


@dataclasses.dataclass(frozen=True)
class Shard:
    """All that a shard says of its N images."""

    cut: dict
    """Delta to CutMasks."""
    file_crc32: np.ndarray
    """(N,) uint32, CRC-32 of the image files; 0 where not known."""
    unreadable: dict
    """Id to reason, of the images that could not be read."""


def delta_name(delta):
    """The name of a delta's group in a shard, such as ``0.80``."""
    return f"{delta:.2f}"


def shard_slices(count, shard_size=SHARD_SIZE):
    """The slices of the sorted image ids that make the shards, in order."""
    return [slice(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def shard_path(folder, index):
    """Path of a cache's shard number ``index``."""
    return Path(folder) / f"shard-{index:05d}.h5"


# Shards


def write_shard(path, image_ids, cut, provenance, unreadable=None, file_crc32=None):
    """Write one shard, whole or not at all.

    Args:
        path: the shard's final path.
        image_ids: list of N str, sorted.
        cut: dict from delta to CutMasks of those images, in their order.
        provenance: Provenance of the cache.
        unreadable: dict from the ids of images that could not be read to the reason.
        file_crc32: (N,) CRC-32 of the image files; None where they are not known.

    Raises:
        OSError: it cannot be written; names the folder.
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
            packed = np.packbits(cut[delta].mask, axis=-1)  # (N, H, ceil(W / 8))
            group.create_dataset("mask", data=packed, chunks=(1, *packed.shape[1:]),
                                 compression="gzip", compression_opts=4, fletcher32=True)
            group.create_dataset("valid", data=cut[delta].valid, fletcher32=True,
                                 chunks=(len(image_ids),))
            group.create_dataset("box", data=cut[delta].box.astype(np.int16), fletcher32=True,
                                 chunks=(len(image_ids), 4))
    write_bytes(path, content.getvalue())


def _root_attributes(provenance):
    height, width = provenance.mask_size
    return {"format_version": provenance.format_version, "mask_height": height,
            "mask_width": width, "recipe": json.dumps(provenance.recipe, sort_keys=True)}


def read_shard(path, image_ids, provenance):
    """Read a whole shard, HDF5's own checksums included; 40 ms a delta and 1,000 masks.

    Returns:
        Shard.

    Raises:
        MaskCacheError: it is missing, damaged, or not of these images and this provenance.
    """
    width = provenance.mask_size[1]
    try:
        with h5py.File(path, "r") as file:
            if read_ids(file) != list(image_ids):
                raise MaskCacheError(f"{path} holds other images")
            if dict(file.attrs) != _root_attributes(provenance):
                raise MaskCacheError(f"{path} was made in another way")
            cut = {float(name): CutMasks(
                np.unpackbits(group["mask"][()], axis=-1, count=width).astype(bool),
                group["valid"][()], group["box"][()])
                for name, group in file.items() if name != "image_id"}
            return Shard(cut, file["image_id"].attrs["file_crc32"], _unreadable(file))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, MaskCacheError):
            raise
        raise MaskCacheError(f"{path} is damaged ({error})") from error


def shard_is_done(path, image_ids, deltas, provenance):
    """Whether a shard exists, is sound, and holds exactly these images and deltas."""
    try:
        held = read_shard(path, image_ids, provenance).cut
    except MaskCacheError:
        return False
    return set(map(delta_name, held)) == set(map(delta_name, deltas))


def read_ids(file):
    """The image ids of an open shard, a list of str."""
    return list(file["image_id"].asstr("utf-8", "surrogateescape")[()])


def _unreadable(file):
    return json.loads(file["image_id"].attrs.get("unreadable", "{}"))


# The manifest


@dataclasses.dataclass
class Survey:
    """What the shards of a cache hold together."""

    shards: list
    """Of each shard a dict: ``file``, ``count``, ``first_image_id`` and ``sha256``."""
    image_ids: list
    """All image ids, in the order of the shards."""
    file_crc32: np.ndarray
    """(N,) uint32."""
    places: dict
    """Delta's name to the arrays of its group in the index."""
    unreadable: dict
    """Image id to reason."""


def survey(folder, count, deltas):
    """Read what a manifest and an index are made of.

    Args:
        folder: the cache.
        count: number of shards.
        deltas: iterable of float, those in the shards.

    Raises:
        OSError, KeyError, ValueError: a shard is not as ``write_shard`` writes it.
    """
    names = [delta_name(delta) for delta in deltas]
    shards, image_ids, checksums, unreadable = [], [], [np.zeros(0, np.uint32)], {}
    parts = {name: {field: [] for field in PLACE_FIELDS} for name in names}
    for index in range(count):
        path = shard_path(folder, index)
        content = path.read_bytes()
        with h5py.File(io.BytesIO(content), "r") as file:
            ids = read_ids(file)
            checksums.append(file["image_id"].attrs["file_crc32"])
            unreadable.update(_unreadable(file))
            for name, places in shard_places(file, content, names).items():
                for field in PLACE_FIELDS:
                    parts[name][field].append(places[field])
        shards.append({"file": path.name, "count": len(ids), "first_image_id": ids[0],
                       "sha256": hashlib.sha256(content).hexdigest()})
        image_ids += ids
    places = {name: {field: np.concatenate(arrays) for field, arrays in fields.items()}
              for name, fields in parts.items()}
    return Survey(shards, image_ids, np.concatenate(checksums), places, unreadable)


def write_manifest(folder, provenance, image_ids, deltas, shard_size=SHARD_SIZE, about=None):
    """Close a cache: index, count, checksum, and say what the masks depend on.

    Args:
        folder: the cache, with every shard in place.
        provenance: Provenance of the cache.
        image_ids: list of str, sorted, of the whole cache.
        deltas: iterable of float, those in the shards.
        about: dict of further facts for a reader, such as names and the command.

    Returns:
        The manifest, a dict.

    Raises:
        MaskCacheError: the shards do not hold these images.
    """
    folder = Path(folder)
    found = survey(folder, len(shard_slices(len(image_ids), shard_size)), deltas)
    if found.image_ids != list(image_ids):
        raise MaskCacheError(f"the shards in {folder} do not hold the images that they should; "
                             "remove the folder and run bcct masks again")
    write_index(folder / INDEX, found.image_ids, found.file_crc32, found.places)
    manifest = {
        "about": about or {},
        "count": len(image_ids),
        "deltas": sorted(deltas),
        "index": {"file": INDEX, "sha256": sha256(folder / INDEX)},
        "key": provenance.key(),
        "provenance": {**dataclasses.asdict(provenance), "mask_size": list(provenance.mask_size)},
        "shard_size": shard_size,
        "shards": found.shards,
        "unreadable": found.unreadable,
        "valid": {name: int(places["valid"].sum()) for name, places in found.places.items()},
    }
    manifest["digest"] = digest(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder):
    """The manifest of a finished cache, a dict.

    Raises:
        MaskCacheError: no such cache, an unfinished one, or a damaged manifest.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        state = "is not finished" if path.parent.is_dir() else "does not exist"
        raise MaskCacheError(f"mask cache {folder} {state} (no {MANIFEST}); "
                             "run bcct masks to make or resume it")
    if (path.parent / ADDING / MANIFEST).is_file():
        raise MaskCacheError(f"mask cache {folder} was stopped while a new delta was put in place; "
                             "run bcct masks again, which takes seconds")
    try:
        manifest = read_json(path)
        sound = manifest["digest"] == digest({name: value for name, value in manifest.items()
                                              if name != "digest"})
        version = manifest["provenance"]["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise MaskCacheError(f"{path} is damaged or of an earlier version ({error!r}); run bcct "
                             "masks again: sound shards are kept") from error
    if version != FORMAT_VERSION:
        raise MaskCacheError(f"mask cache {folder} has format version {version}, this "
                             f"program reads {FORMAT_VERSION}; make the masks again")
    if not sound or manifest["key"] != Provenance(**manifest["provenance"]).key():
        raise MaskCacheError(f"{path} is damaged (it does not match its own checksum); run bcct "
                             "masks again: sound shards are kept")
    return manifest


def damaged_files(folder, manifest):
    """The files of a cache that do not have the manifest's checksums.

    Args:
        folder: the cache.
        manifest: dict, from ``read_manifest``.

    Returns:
        list of (name, reason); empty for a sound cache.
    """
    def reason(entry):
        try:
            if sha256(Path(folder) / entry["file"]) != entry["sha256"]:
                return "its checksum is not the manifest's"
        except OSError as error:
            return error.strerror or str(error)
        return None
    entries = [*manifest["shards"], manifest["index"]]
    with concurrent.futures.ThreadPoolExecutor() as threads:  # hashing frees the interpreter
        return [(entry["file"], found) for entry, found in
                zip(entries, threads.map(reason, entries)) if found]


def held_deltas(folder):
    """The deltas of a cache that has been finished, whatever has happened to it since; else ()."""
    folder = Path(folder)
    try:
        return tuple(read_manifest(folder)["deltas"])
    except MaskCacheError:
        if not (folder / MANIFEST).is_file():
            return ()
    held = set()  # the manifest is damaged: its shards still know
    for path in folder.glob("shard-*.h5"):
        try:
            with h5py.File(path, "r") as file:
                held |= {float(name) for name in file if name != "image_id"}
        except (OSError, ValueError):
            continue
    return tuple(sorted(held))


def adopt_added(folder):
    """Put the files made ready in ``folder/adding`` in the place of the cache's own.

    Until this starts, the cache stays as it was; once it has started, a manifest in ``adding``
    says so, nobody opens the cache, and whoever writes to it next ends this first.
    """
    folder, added = Path(folder), Path(folder) / ADDING
    if not (added / MANIFEST).is_file():
        return
    for path in sorted(added.glob("*.h5")):
        os.replace(path, folder / path.name)
    sync_folder(folder)
    os.replace(added / MANIFEST, folder / MANIFEST)
    sync_folder(folder)
    shutil.rmtree(added)


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Reading


class MaskCache:
    """Reads the masks of one cache.

    Opening compares the checksum of every file with the manifest's, half a second for 1.28
    million masks; after that each read compares the CRC-32 of the few hundred bytes it uses. No
    file stays open, so that a cache can be pickled and forked, and its readers share no lock.

    Args:
        folder: path of the cache.
        delta: the threshold whose masks are read; the default is 0.80 where the cache has it,
            else the cache's first.
        check: whether to compare the files' checksums now.

    Raises:
        MaskCacheError: no such cache, an unfinished or damaged one, or one without that delta.
    """

    def __init__(self, folder, delta=None, check=True):
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.key = self.manifest["key"]
        self.deltas = tuple(self.manifest["deltas"])
        self.mask_size = tuple(self.manifest["provenance"]["mask_size"])
        self.delta = self._choose(delta)
        if check:
            for name, reason in damaged_files(folder, self.manifest):
                raise self._damaged(name, reason)
        self._open_index()

    def _choose(self, delta):
        if delta is None:
            delta = DEFAULT_DELTA if DEFAULT_DELTA in self.deltas else self.deltas[0]
        if delta_name(delta) not in map(delta_name, self.deltas):
            held = ", ".join(map(delta_name, self.deltas))
            raise MaskCacheError(f"mask cache {self.folder} holds delta {held} but not "
                                 f"{delta_name(delta)}; run bcct masks with --delta "
                                 f"{delta_name(delta)} to add it")
        return delta

    def _open_index(self):
        try:
            self._index = MaskIndex(self.folder / INDEX)
        except (OSError, KeyError) as error:
            raise self._damaged(INDEX, error) from error

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open_index()

    def __len__(self):
        return self.manifest["count"]

    def __iter__(self):
        """The image ids, sorted."""
        for index in range(len(self.manifest["shards"])):
            path = shard_path(self.folder, index)
            try:
                with h5py.File(path, "r") as file:
                    ids = read_ids(file)
            except (OSError, KeyError) as error:
                raise self._damaged(path.name, error) from error
            yield from ids

    def __contains__(self, image_id):
        return self._index.find(image_id) is not None

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
        name = delta_name(self.delta if delta is None else delta)
        stored, places, position = self._stored(image_id, name)
        if zlib.crc32(stored) != places["crc32"][position]:
            self.manifest = read_manifest(self.folder)  # a new delta may have joined since
            self._open_index()
            stored, places, position = self._stored(image_id, name)
            if zlib.crc32(stored) != places["crc32"][position]:
                raise self._damaged(self._shard_of(position).name,
                                    f"the mask of {image_id!r} has not its checksum")
        mask = decode_mask(stored, self.mask_size)
        return mask, bool(places["valid"][position]), places["box"][position]

    def check_image(self, image_id, path):
        """Make sure that an image file is the one its mask was made from.

        Args:
            image_id: the image's id.
            path: its file.

        Raises:
            KeyError: the cache does not hold this image.
            MaskCacheError: the file's bytes have changed since; says what to do.
        """
        position = self._position(image_id)
        expected = self._index.file_crc32[position]
        if expected and file_crc32(path) != expected:
            raise MaskCacheError(
                f"the image {image_id!r} ({path}) has changed since its mask was made; put the old "
                f"file back, or remove {self._shard_of(position)} and run bcct masks again")

    def require_images(self, dataset):
        """Make sure that the masks are those of a data set's images.

        Args:
            dataset: Dataset.

        Raises:
            MaskCacheError: they are of other images; names some that differ.
        """
        if self.manifest["provenance"]["dataset"] == dataset.digest():
            return
        paths = {record.image_id: record.path for record in dataset.records}
        held = set(self)
        differences = {
            "not in the cache": sorted(paths.keys() - held),
            "not in the data set": sorted(held - paths.keys()),
            "changed since": [
                image_id for image_id in sorted(held & paths.keys())
                if file_crc32(paths[image_id]) not in (0, self.image_crc32(image_id))]}
        listed = "; ".join(f"{len(ids)} {words} (the first is {ids[0]!r})"
                           for words, ids in differences.items() if ids)
        raise MaskCacheError(
            f"the masks in {self.folder} were made for other images than {dataset.root} "
            f"({dataset.split}) holds: {listed or 'a file could not be read then or now'}; "
            "make masks for these with bcct masks")

    def image_crc32(self, image_id):
        """CRC-32 of the image file that a mask was made from, an int; 0 where it is not known."""
        return int(self._index.file_crc32[self._position(image_id)])

    def shard_file(self, image_id):
        """Name of the shard that holds an image's masks."""
        return self._shard_of(self._position(image_id)).name

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

    def grid(self, image_ids, columns=8):
        """A picture of some masks side by side.

        Args:
            image_ids: list of image ids.
            columns: masks a row.

        Returns:
            (rows * (H + 2), columns * (W + 2)) uint8 array: masks white, the rest black, a grey
            line of 2 pixels behind each mask.
        """
        height, width = self.mask_size
        rows = -(-len(image_ids) // columns)
        picture = np.full((rows * (height + 2), columns * (width + 2)), 128, np.uint8)
        for number, image_id in enumerate(image_ids):
            top, left = number // columns * (height + 2), number % columns * (width + 2)
            picture[top:top + height, left:left + width] = 255 * self[image_id]
        return picture

    def _position(self, image_id):
        position = self._index.find(image_id)
        if position is None:
            raise KeyError(f"mask cache {self.folder} holds no image {image_id!r}")
        return position

    def _shard_of(self, position):
        return shard_path(self.folder, position // self.manifest["shard_size"])

    def _stored(self, image_id, name):
        """The stored bytes of a mask, its delta's arrays, and its row in them."""
        position = self._position(image_id)
        places = self._index.places(name)
        path = self._shard_of(position)
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(int(places["offset"][position]))
                return file.read(int(places["size"][position])), places, position
        except OSError as error:
            raise self._damaged(path.name, error) from error

    def _damaged(self, name, reason):
        return MaskCacheError(f"{self.folder / name} is damaged ({reason}); run bcct masks again: "
                              "only this file is made anew")
