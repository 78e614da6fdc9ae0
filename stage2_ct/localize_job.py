"""Localizing many pictures into a folder, part by part, so that a stopped run goes on."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.boxes import mask_to_box
from common.datasets import Record
from common.files import file_crc32
from common.images import image_size
from common.localized import LocalizedFolder, LocalizedObject, LocalizedPicture
from common.locks import write_lock
from common.mask_cache.manifest import write_manifest
from common.mask_cache.shards import (SHARD_SIZE, CutMasks, PackedMasks, Provenance, shard_path,
                                      shard_slices, write_shard)
from common.picture_files import PictureFiles
from stage2_ct.localizer import FrameResult, Localizer


@dataclasses.dataclass(frozen=True)
class LocalizeJob:
    """Which pictures a model localizes, and where its results go."""

    localizer: Localizer
    files: PictureFiles
    folder: LocalizedFolder
    part_size: int = SHARD_SIZE
    """Pictures in a part; a stopped run repeats at most so many."""

    @property
    def provenance(self) -> Provenance:
        """What the masks depend on."""
        model = self.localizer
        return Provenance(self.files.digest, self.model_digest, {
            "score_map": model.score_map, "tau": model.tau, "objects": model.objects,
            "input_size": model.side}, (model.frame, model.frame))

    @property
    def model_digest(self) -> str:
        """Digest of the model."""
        return self.localizer.model.digest()

    @property
    def delta(self) -> float:
        """tau as a mask cache names a threshold: with two decimals, and at least 0.01."""
        return max(0.01, round(self.localizer.tau, 2))

    def description(self) -> dict[str, Any]:
        """All that the results depend on, as plain values."""
        return {"masks": self.provenance.key(), "part_size": self.part_size}


def localize_pictures(job: LocalizeJob, overwrite: bool, progress: Callable,
                      notify: Callable[[str], object]) -> dict[str, str]:
    """Localize the pictures and write boxes and masks; the formats come after.

    Args:
        overwrite: whether results of another run in the folder are removed.
        progress: see ``common.progress``.
        notify: called with sentences for the user.

    Returns:
        Reason by id of the pictures that could not be read.

    Raises:
        LocalizedError: the folder holds something else.
    """
    job.folder.holds_stopped_run(job.description(), overwrite)  # or refuses, before it is locked
    parts = shard_slices(len(job.files.records), job.part_size)
    with (write_lock(job.folder.folder, notify=notify),
          progress(len(job.files.records), "localizing", "pictures") as advance):
        resumed = job.folder.start(job.description(), overwrite)
        for index, part in enumerate(parts):
            records = job.files.records[part]
            if resumed and job.folder.part_is_done(index):
                advance(len(records))
            else:
                _localize_part(job, index, records, advance)
        unreadable = job.folder.gather(len(parts))
        write_manifest(job.folder.masks, job.provenance,
                       [record.image_id for record in job.files.records], [job.delta],
                       job.part_size, _about_masks(job))
    return unreadable


def _localize_part(job, index, records, advance):
    """Localize the pictures of one part; its masks are written first, then its results."""
    @contextlib.contextmanager
    def counted(total, description, unit="images"):
        yield advance
    frame, unreadable, pictures = job.localizer.frame, {}, []
    place = {record.image_id: row for row, record in enumerate(records)}
    masks = PackedMasks.empty(len(records), (frame, frame))
    checksums = np.zeros(len(records), np.uint32)
    for batch, results in job.localizer.localized_batches(records, unreadable, counted):
        rows = np.array([place[record.image_id] for record in batch])
        masks.put(rows, _union_masks(results, frame))
        for row, record, result in zip(rows, batch, results):
            checksums[row] = file_crc32(record.path)
            pictures.append(localized_picture(job.localizer, record, result))
    for record in records:
        if record.image_id in unreadable:
            checksums[place[record.image_id]] = file_crc32(record.path)
    write_shard(shard_path(job.folder.masks, index), [record.image_id for record in records],
                {job.delta: masks}, job.provenance, unreadable, checksums)
    job.folder.write_part(index, pictures, unreadable)


def _union_masks(results: Sequence[FrameResult], frame: int) -> PackedMasks:
    """PackedMasks of N pictures, each of all its objects."""
    union = np.zeros((len(results), frame, frame), bool)
    for mask, result in zip(union, results):
        for each in result.objects:
            mask |= each.mask
    boxes = np.stack([mask_to_box(mask) for mask in union])
    return CutMasks(union, np.asarray(union.any(axis=(1, 2))), boxes).packed()


def localized_picture(localizer: Localizer, record: Record,
                      result: FrameResult) -> LocalizedPicture:
    """What is written of a picture; reads the header of its file."""
    found = localizer.in_picture(result, record.path, image_size(record.path))
    objects = tuple(LocalizedObject(one.box, one.score, each.box)
                    for one, each in zip(found.objects, result.objects))
    return LocalizedPicture(found.size, found.label, found.probability, objects, record.image_id)


def _about_masks(job: LocalizeJob) -> dict[str, Any]:
    model = job.localizer.model
    return {"dataset": "pictures", "split": "all", "data": os.fspath(job.files.root),
            "recipe": f"tau {job.localizer.tau:.2f} on the {job.localizer.score_map} map",
            "backbone": model.description["backbone"], "run": model.origin.get("run"),
            "folder": os.path.abspath(job.folder.masks)}


def facts_of(job: LocalizeJob, unreadable: dict[str, str]) -> dict[str, Any]:
    """What the manifest says for people and for the exports."""
    model = job.localizer.model
    return {"model": {"digest": job.model_digest, "run": model.origin.get("run"),
                      "variant": model.localization["variant"],
                      "backbone": model.description["backbone"]},
            "localization": {**model.localization, "tau": job.localizer.tau,
                             "score_map": job.localizer.score_map},
            "classes": list(job.localizer.classes), "objects": job.localizer.objects,
            "root": os.fspath(Path(job.files.root)), "count": len(job.files.records),
            "unreadable": unreadable}
