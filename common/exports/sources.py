"""Annotations from a mask cache, and from the folder that ``bcct localize`` writes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.boxes import rescale, whole_pixels
from common.exports.annotated_pictures import (AnnotatedObject, AnnotatedPicture, Annotations,
                                               ExportError)
from common.images import image_size
from common.localized import LOCALIZED, LocalizedFolder, LocalizedPicture
from common.mask_cache.checks import require_unchanged
from common.mask_cache.manifest import MANIFEST
from common.mask_cache.reader import MaskCache
from common.mask_cache.summary import dataset_of_masks


def open_annotations(source: str | os.PathLike, data: str | os.PathLike | None = None,
                     kind: str | None = None, delta: float | None = None) -> Annotations:
    """The annotations in a folder.

    Args:
        source: a mask cache, or the folder of ``bcct localize``.
        data: folder of the pictures, where it is not the one that is recorded.
        kind: layout of the data set that a mask cache was made from; None for the recorded one.
        delta: threshold of a mask cache with several.

    Raises:
        ExportError: the folder is neither, or the pictures of a mask cache are not where they were,
            or ``data`` is no folder, or ``kind`` or ``delta`` is given for what has neither.
        MaskCacheError: the cache is damaged, or a picture has changed since.
    """
    folder = Path(source)
    if data is not None and not Path(data).is_dir():
        raise ExportError(f"there is no folder {data} of pictures")
    if (folder / LOCALIZED).is_file():
        manifest = LocalizedFolder(folder).manifest()
        if not manifest["finished"]:
            raise ExportError(f"{folder} is not finished: run the same bcct localize again, which "
                              "goes on where it stopped")
        if kind is not None or delta is not None:
            raise ExportError(f"{folder} is of bcct localize and has one threshold and no layout: "
                              "leave out --delta and --dataset")
        return open_localized(folder, manifest if data is None else {**manifest, "root": data})
    if not folder.is_dir() or not ((folder / MANIFEST).is_file() or list(folder.glob("*.h5"))):
        raise ExportError(f"{folder} is neither a mask cache nor a folder that bcct localize wrote")
    return _open_masks(MaskCache(folder, delta), data, kind)


def open_localized(folder: Path, facts: dict[str, Any]) -> Annotations:
    """The annotations that ``bcct localize`` found.

    Args:
        folder: its folder; results and masks are there.
        facts: ``classes``, ``root`` and ``model`` of its manifest.
    """
    held = LocalizedFolder(folder)
    cache = MaskCache(held.masks)
    image_ids = [picture.image_id for picture in held.pictures()]

    def read():
        for picture in held.pictures():
            yield _annotated(picture, cache.read(picture.image_id)[0])
    return Annotations(Path(facts["root"]), tuple(facts["classes"]), image_ids, read,
                       f"bcct localize, run {facts['model']['run']}")


def _annotated(picture: LocalizedPicture, mask: np.ndarray) -> AnnotatedPicture:
    """A localized picture with the mask of all its objects taken apart."""
    parts = [mask] if len(picture.objects) == 1 else _components(mask)
    objects = tuple(AnnotatedObject(picture.label, each.box, _with_box(parts, each.frame_box),
                                    picture.size, each.score) for each in picture.objects)
    return AnnotatedPicture(picture.image_id, picture.size, objects, picture.label,
                            picture.probability)


def _components(mask):
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [labels == label for label in range(1, count)]


def _with_box(parts, box):
    """The mask among several whose box it is."""
    x0, y0, x1, y1 = box
    for part in parts:
        inside = part[y0:y1, x0:x1]
        if inside.sum() == part.sum() and inside[[0, -1]].any(1).all() and (
                inside[:, [0, -1]].any(0).all()):
            return part
    raise ExportError(f"no mask has the box {box}: the results and the masks are not of one run")


def _open_masks(cache: MaskCache, data, kind) -> Annotations:
    root = data or cache.manifest["about"].get("data")
    if root is None or not Path(root).is_dir():
        where = f"are not in {root} any more" if root else "are in a folder that it does not record"
        raise ExportError(f"the pictures of the mask cache {cache.folder} {where}, and their sizes "
                          "are needed: give their folder with --data")
    dataset = dataset_of_masks(cache, root, kind)
    require_unchanged(cache, dataset.records)
    cache.require_valid()
    # An invalid mask says nothing: a picture without an object would be one that shows no target.
    records = [record for record in dataset.records if cache.is_valid(record.image_id)]

    def read() -> Iterator[AnnotatedPicture]:
        for record in records:
            mask, _, frame_box = cache.read(record.image_id)
            size, label = image_size(record.path), dataset.classes[record.label]
            box = whole_pixels(rescale(frame_box, mask.shape, size), size)
            yield AnnotatedPicture(record.image_id, size,
                                   (AnnotatedObject(label, box, mask, size),), label)
    folder = dataset.records[0].folder  # image ids are relative to it, not to the data set's own
    return Annotations(folder, tuple(dataset.classes), [record.image_id for record in records],
                       read, f"masks {cache.folder.name}, delta {cache.delta:.2f}",
                       _left_out(cache, dataset.records, len(records), root))


def _left_out(cache, present, written, root):
    """Sentences on the pictures of a cache that are not exported."""
    unreadable = sum(record.image_id in cache.manifest["unreadable"] for record in present)
    counts = {f"are not in {root}": len(cache) - len(present),
              "could not be read when masks were made": unreadable,
              "have an invalid mask": len(present) - unreadable - written}
    return tuple(f"left out: {count:,} of {len(cache):,} pictures, which {why}"
                 for why, count in counts.items() if count)
