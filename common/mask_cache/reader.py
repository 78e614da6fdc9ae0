"""The reader of the mask cache: binary masks in HDF5 shards, addressed by image id.

A cache is a folder with ``shard-00000.h5`` onwards (``shards``), ``index.h5``, which says where in
them each mask lies (``index``), and ``manifest.json``, which says that all of it is there
(``manifest``). Its key is the digest of what the masks depend on.

**The key covers the image ids and the sizes of the files, not their bytes**: reading 1.28 million
images whenever a command starts would take longer than many training runs. The bytes are therefore
checked when they are read anyway. Making masks records each file's CRC-32; whatever uses a mask
with its image compares it, and ``bcct masks`` and ``bcct verify --data`` compare all. Each names
the image that has changed.
"""

import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.datasets import Dataset
from common.files import file_crc32
from common.mask_cache.hdf5_files import DamagedFile, longest_stored, opened
from common.mask_cache.index import MaskIndex, decode_mask
from common.mask_cache.manifest import INDEX, damaged_files, original_of, read_manifest
from common.mask_cache.shards import MaskCacheError, delta_name, read_ids, shard_path
from common.system_errors import MISSING, cannot_read

DEFAULT_DELTA = 0.80  # the paper's best (Table 3)


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

    def __init__(self, folder: str | Path, delta: float | None = None, check: bool = True):
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.key = self.manifest["key"]
        self.deltas = tuple(self.manifest["deltas"])
        self.mask_size = tuple(self.manifest["provenance"]["mask_size"])
        height, width = self.mask_size
        self._longest = longest_stored(height * -(-width // 8))
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
                                 f"{delta_name(delta)}; run {self._command} with --delta "
                                 f"{delta_name(delta)} to add it")
        return delta

    def _open_index(self):
        try:
            self._index = MaskIndex(self.folder / INDEX, len(self))
            self._index.places(delta_name(self.delta))
        except (*MISSING, DamagedFile) as error:
            raise self._damaged(INDEX, error) from error

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open_index()

    def __len__(self) -> int:
        return self.manifest["count"]

    def __iter__(self) -> Iterator[str]:
        """The image ids, sorted."""
        for index in range(len(self.manifest["shards"])):
            path = shard_path(self.folder, index)
            try:
                with opened(path) as (file, content):
                    ids = read_ids(file, content)
            except (*MISSING, DamagedFile) as error:
                raise self._damaged(path.name, error) from error
            yield from ids

    def __contains__(self, image_id: object) -> bool:
        return self._index.find(image_id) is not None

    def __getitem__(self, image_id: str) -> np.ndarray:
        """The (H, W) bool mask of an image; KeyError naming an image the cache does not hold."""
        return self.read(image_id)[0]

    def read(self, image_id: str,
             delta: float | None = None) -> tuple[np.ndarray, bool, np.ndarray]:
        """An image's mask with its flag and its box.

        Returns:
            (mask (H, W) bool, valid bool, box (4,) int16) as in ``CutMasks``.

        Raises:
            KeyError: the cache does not hold this image.
            MaskCacheError: it does not hold this delta, or the image's shard is damaged.
        """
        name = delta_name(self.delta if delta is None else self._choose(delta))
        stored, places, position = self._stored(image_id, name)
        if zlib.crc32(stored) != places["crc32"][position]:
            self.manifest = read_manifest(self.folder)  # a new delta may have been added since
            self._open_index()
            stored, places, position = self._stored(image_id, name)
            if zlib.crc32(stored) != places["crc32"][position]:
                raise self._damaged(self._shard_of(position).name,
                                    f"the mask of {image_id!r} does not match its checksum")
        try:
            mask = decode_mask(stored, self.mask_size)
        except DamagedFile as error:  # its checksum is right: it was written so
            raise self._damaged(self._shard_of(position).name, error) from error
        return mask, bool(places["valid"][position]), places["box"][position]

    def is_valid(self, image_id: str) -> bool:
        """Whether an image's mask is valid; False for an image that could not be read.

        Raises:
            KeyError: the cache does not hold this image.
        """
        position = self._position(image_id)
        return bool(self._index.places(delta_name(self.delta))["valid"][position])

    def check_image(self, image_id: str, path: str | Path, content: bytes) -> None:
        """Make sure that an image file is the one its mask was made from.

        Args:
            image_id: the image's id.
            path: its file.
            content: the file's bytes.

        Raises:
            KeyError: the cache does not hold this image.
            MaskCacheError: the file has changed since; the message says what to do.
        """
        self.check_crc32(image_id, path, zlib.crc32(content))

    def check_crc32(self, image_id: str, path: str | Path, checksum: int) -> None:
        """``check_image`` by the CRC-32 of the file's bytes, an int."""
        position = self._position(image_id)
        if self._index.file_crc32[position] not in (0, checksum):
            raise MaskCacheError(
                f"the image {image_id!r} ({path}) has changed since its mask was made; put the old "
                f"file back, or {self.how_to_remake(self.shard_file(image_id))}")

    def require_images(self, dataset: Dataset) -> None:
        """Make sure that the masks are those of a data set's images.

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
            f"make masks for these with {self._command}")

    @property
    def model(self) -> str | None:
        """The trained model that made the masks (bcct refine-masks), its run's folder or its file;
        None where a background classifier did."""
        return self.manifest["about"].get("model")

    @property
    def any_valid(self) -> bool:
        """Whether at least one mask is valid at this delta."""
        return self.manifest["valid"][delta_name(self.delta)] > 0

    def require_valid(self) -> None:
        """Make sure that there is anything to learn from at this delta.

        Raises:
            MaskCacheError: not one mask is valid; says what to do.
        """
        name = delta_name(self.delta)
        if not self.any_valid:
            raise MaskCacheError(
                f"not one of the {len(self)} masks in {self.folder} is valid at delta {name}: "
                "their maps are the same everywhere, or nothing large enough reaches that "
                f"threshold; run {self._command} with a lower --delta, "
                + ("or a lower --tau" if self.model else "another --recipe or other --weights"))

    def image_crc32(self, image_id: str) -> int:
        """CRC-32 of the image file that a mask was made from, an int; 0 where it is not known."""
        return int(self._index.file_crc32[self._position(image_id)])

    def how_to_remake(self, *names: str) -> str:
        """How to make sound files of the cache again, as half a sentence."""
        original = original_of(self.folder, self.manifest)
        remedy = (f"remove {' '.join(names)} from {original or self.folder} and run "
                  f"{self._command} again, which makes only what is missing")
        return f"{remedy}, and copy that folder again" if original else remedy

    def shard_file(self, image_id: str) -> str:
        """Name of the shard that holds an image's masks."""
        return self._shard_of(self._position(image_id)).name

    def stats(self) -> dict:
        """Area and validity over the whole cache at this delta.

        Returns:
            dict: ``count``, ``valid`` (fraction of images), ``mean_area`` (fraction of the frame,
            over valid masks) and ``area_histogram`` (20 counts over area 0 to 1).
        """
        pixels = self.mask_size[0] * self.mask_size[1]
        found = [(mask.sum() / pixels, valid) for mask, valid, _ in map(self.read, self)]
        valid_areas = np.array([area for area, valid in found if valid])
        return {"count": len(found), "valid": len(valid_areas) / len(found),
                "mean_area": float(valid_areas.mean()) if len(valid_areas) else 0.0,
                "area_histogram": np.histogram(valid_areas, bins=20, range=(0, 1))[0].tolist()}

    def grid(self, image_ids: Sequence[str], dataset: Dataset | None = None,
             columns: int = 8) -> np.ndarray:
        """A picture of some masks in rows, drawn over their images where a data set is given.

        Args:
            image_ids: list of image ids.
            dataset: Dataset to take images and boxes from; None shows the masks alone.
            columns: masks per row.

        Returns:
            (H, W, 3) uint8 RGB; see ``common.mask_cache.contact_sheet.grid``.

        Raises:
            KeyError: the cache does not hold an image.
            MaskCacheError: an image has changed since its mask was made.
        """
        from common.mask_cache import contact_sheet  # here: training does not need it
        return contact_sheet.grid(self, image_ids, dataset, columns=columns)

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
        size, offset = int(places["size"][position]), int(places["offset"][position])
        try:
            if size > self._longest or offset > sys.maxsize:
                raise DamagedFile("it leads to bytes that are no mask")
            file = os.open(path, os.O_RDONLY)
            try:
                return os.pread(file, size, offset), places, position
            finally:
                os.close(file)
        except MISSING as error:
            raise self._damaged(path.name, "it is missing") from error
        except DamagedFile as error:
            raise self._damaged(INDEX, error) from error
        except OSError as error:
            raise cannot_read(path, error) from error

    @property
    def _command(self):
        """The command that made the masks, without its options."""
        return " ".join(self.manifest["about"].get("command", "bcct masks").split()[:2])

    def _damaged(self, name, reason):
        original = original_of(self.folder, self.manifest)
        remedy = (f"copy it again from {original}" if original else
                  f"run {self._command} again: only this file is made again")
        return MaskCacheError(f"{self.folder / name} is damaged ({reason}); {remedy}")
