"""Figures of a mask cache: its masks against the boxes of their images."""

import dataclasses
from pathlib import Path

import numpy as np

from common.boxes import iou, largest_component, mask_to_box, rescale
from common.datasets import Dataset
from common.mask_cache.checks import require_unchanged
from common.mask_cache.reader import MaskCache
from evaluation import metrics
from evaluation.bootstrap import Figure, bootstrap
from evaluation.evaluator import MaskEvaluator, Result
from evaluation.truth import EvaluationError, truths_from_dataset

SCORED = 5000  # images compared with their boxes: enough for a figure to within 1.4 points


def measurable(dataset: Dataset, unreadable: dict[str, str]) -> Dataset:
    """The images of a data set that masks can be measured with: those whose headers can be read.

    Args:
        unreadable: dict that takes the reason of each of the others, by its id.

    Raises:
        EvaluationError: not one of them has a box.
    """
    truths = truths_from_dataset(dataset, unreadable)
    if not any(truth.boxes for truth in truths):
        raise EvaluationError(f"masks are measured with boxes, and none of the {len(truths)} "
                              f"readable images of {dataset.name} has one; docs/own-data.md says "
                              "where boxes are read from")
    return dataclasses.replace(dataset, records=tuple(
        record for record in dataset.records if record.image_id not in unreadable))


def mask_figures(dataset: Dataset, folder: str | Path, delta: float) -> Result:
    """BC* and the strict rate of a mask cache over all images of a data set.

    Args:
        folder: the cache.
        delta: threshold whose masks are scored.

    Raises:
        MaskCacheError: the cache is damaged, or an image has changed since its mask was made.
    """
    return _figures(MaskCache(folder, delta), dataset)


def score_masks(cache: MaskCache, dataset: Dataset, seed: int = 0) -> Result | None:
    """The same over the readable images with boxes only, a random sample where there are many.

    Args:
        dataset: Dataset of images that the cache holds.
        seed: of the sample, drawn where more than SCORED images have boxes.

    Returns:
        Result, or None where no box is known.

    Raises:
        MaskCacheError: an image has changed since its mask was made.
    """
    unreadable = cache.manifest["unreadable"]
    records = [record for record in dataset.records
               if record.boxes and record.image_id not in unreadable]
    if not records:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(len(records))[:SCORED])
    return _figures(cache, dataclasses.replace(
        dataset, records=tuple(records[index] for index in chosen)))


def agreement_with_masks(cache: MaskCache, dataset: Dataset, result: Result) -> dict[str, Figure]:
    """How well boxes agree with those of stage 1's masks; no annotated box is looked at.

    Args:
        cache: MaskCache of the images.
        dataset: Dataset of the images.
        result: Result whose rows have the boxes.

    Returns:
        ``mask_mean_iou`` and ``mask_half``, see ``evaluation.report.DEFINITIONS``, over the images
        with a valid mask; {} where there is none.

    Raises:
        MaskCacheError: an image has changed since its mask was made.
    """
    require_unchanged(cache, dataset.records)
    sizes = {truth.image_id: truth.size for truth in truths_from_dataset(dataset)}
    ious = []
    for row in result.rows:
        mask, valid, _ = cache.read(row.image_id)
        if valid:
            box = mask_to_box(largest_component(mask))
            ious.append(iou(rescale(box, mask.shape, sizes[row.image_id]), row.box))
    if not ious:
        return {}
    return bootstrap(lambda weights: {
        "mask_mean_iou": metrics.mean(weights, np.array(ious)),
        "mask_half": metrics.mean(weights, np.array(ious) >= 0.5)}, len(ious))


def figure_lines(result: Result | None) -> list[str]:
    """Figures of masks as lines of text, for below ``summary_lines``; none without a Result."""
    if result is None:
        return []
    strict, star = result.metrics["mask_strict"], result.metrics["bc_star"]
    return [f"boxes       {strict.value:.1%} strict ({strict.low:.1%} to {strict.high:.1%}), "
            f"{star.value:.1%} BC* (looser rule), over {result.with_boxes:,} images"]


def _figures(cache: MaskCache, dataset: Dataset) -> Result:
    require_unchanged(cache, dataset.records)
    evaluator = MaskEvaluator(truths_from_dataset(dataset))
    for record in dataset.records:
        evaluator.accumulate(cache[record.image_id], record.image_id)
    return evaluator.compute()
