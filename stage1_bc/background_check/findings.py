"""What a check of background images found, as plain values for ``report.json``."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from common.stored_weights import weights_identity
from stage1_bc.background_check.cross_fit import fold_count
from stage1_bc.background_check.duplicates import look_alikes, same_bytes
from stage1_bc.background_check.examination import Examination
from stage1_bc.background_check.shortcuts import Comparison, compare
from stage1_bc.stage1_job import Stage1Job

MEASURES = {"size in pixels": "pixels", "sharpness (variance of the Laplacian)": "sharpness",
            "fine detail (finest part of the spectrum)": "fine_detail"}


def background_report(backgrounds: Examination, targets: Examination, others: Examination,
                      logits: tuple[np.ndarray, np.ndarray], job: Stage1Job) -> dict:
    """Everything that was found.

    Args:
        backgrounds, targets, others: what was examined; others are the remaining images of the
            data set.
        logits: ((n,) of the targets, (m,) of the backgrounds), from ``cross_fit``.
        job: what was compared and how.

    Returns:
        dict of plain values.
    """
    settings, frame = job.settings, job.settings.config.image_size
    ranked = _ranked(backgrounds, logits[1])
    return {
        "about": {"folder": str(job.backgrounds.root), "data": str(job.images.root),
                  "dataset": job.images.split("train").name, "backbone": settings.backbone,
                  "weights": weights_identity(settings.weights),
                  "classifier": dataclasses.asdict(settings.config),
                  "folds": fold_count(*map(len, logits))},
        "pictures": {"backgrounds": len(backgrounds.records), "targets": len(targets.records),
                     "other_images": len(others.records)},
        "unreadable": _reasons(backgrounds),
        "unreadable_in_data_set": _reasons(targets) | _reasons(others),
        **find_duplicates(backgrounds, targets, others),
        "ranked": ranked,
        "believed_targets": [one for one in ranked if one["logit"] > 0],
        "believed_backgrounds": [one for one in _ranked(targets, logits[0])[::-1]
                                 if one["logit"] <= 0],
        "enlarged": {"frame": frame, **{
            name: int((examined.shorter_sides < frame).sum())
            for name, examined in (("targets", targets), ("backgrounds", backgrounds))}},
        "comparisons": [
            {**dataclasses.asdict(one), "telling": one.telling, "sentence": one.sentence()}
            for one in compare_measures(targets, backgrounds)],
    }


def compare_measures(targets: Examination, backgrounds: Examination) -> list[Comparison]:
    """What could separate targets from backgrounds apart from their content."""
    return [compare(name, getattr(targets, field), getattr(backgrounds, field))
            for name, field in MEASURES.items()]


def find_duplicates(backgrounds: Examination, targets: Examination, others: Examination) -> dict:
    """Pictures that occur twice among the backgrounds, or in the data set too.

    Returns:
        dict of lists of plain values: ``same_bytes`` and ``same_bytes_in_data_set`` of lists of
        image ids; ``look_alikes`` and ``look_alikes_in_data_set`` of dicts.
    """
    own, data = backgrounds.records, targets.records + others.records
    names = [record.image_id for record in own + data]
    groups = same_bytes([record.path for record in own + data], first=len(own))
    same = {pair for group in groups for pair in _pairs(group)}
    hashes = np.concatenate([targets.hashes, others.hashes])
    within = [(first, second, bits) for first, second, bits in look_alikes(backgrounds.hashes)
              if (first, second) not in same]
    across = [(first, len(own) + second, bits)
              for first, second, bits in look_alikes(backgrounds.hashes, hashes)
              if (first, len(own) + second) not in same]
    inside = [[index for index in group if index < len(own)] for group in groups]
    return {
        "same_bytes": [[names[index] for index in group] for group in inside if len(group) > 1],
        "look_alikes": _named(within, names),
        "same_bytes_in_data_set": [[names[index] for index in group] for group in groups
                                   if group[-1] >= len(own)],
        "look_alikes_in_data_set": _named(across, names),
    }


def _pairs(group: list[int]) -> list[tuple[int, int]]:
    return [(first, second) for place, first in enumerate(group) for second in group[place + 1:]]


def _named(pairs: list[tuple[int, int, int]], names: Sequence[str]) -> list[dict]:
    return [{"first": names[first], "second": names[second], "bits": bits}
            for first, second, bits in pairs]


def _ranked(examination: Examination, logits: np.ndarray) -> list[dict]:
    """Pictures by logit, the highest first."""
    return [{"image_id": examination.records[index].image_id, "logit": float(logits[index])}
            for index in np.argsort(-logits, kind="stable")]


def _reasons(examination: Examination) -> dict[str, str]:
    return {record.image_id: error.reason for record, error in examination.bad}
