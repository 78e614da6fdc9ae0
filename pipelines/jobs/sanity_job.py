"""Masks of classifiers that know less, measured side by side (``bcct recipes --sanity``)."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from common.datasets import Dataset, Record, open_backgrounds
from common.files import write_json
from common.loading import consecutive, load_frames, to_float
from common.threads import map_in_order, one_thread_per_operation
from evaluation.bootstrap import paired_difference
from evaluation.evaluator import MaskEvaluator, Result
from evaluation.truth import truths_from_dataset
from pipelines.jobs.terminal import progress_bar
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES, UNITS_READ
from stage1_bc.sanity import TRAINED, sanity_classifiers
from stage1_bc.stage1_job import Stage1Job, new_classifier

SANITY = ("default", "evidence", "agreement", "guided-layers", "pixels")
HEADER = ("| recipe | classifier | strict | 95 % | mean IoU | 95 % | strict, minus trained | 95 % |"
          "\n|---|---|---|---|---|---|---|---|")
ROW = ("| {recipe} | {classifier} | {strict[value]:.1f} | {strict[low]:.1f} - {strict[high]:.1f} | "
       "{mean_iou[value]:.3f} | {mean_iou[low]:.3f} - {mean_iou[high]:.3f} | "
       "{strict_difference[value]:+.1f} | "
       "{strict_difference[low]:+.1f} to {strict_difference[high]:+.1f} |")


def print_sanity(job: Stage1Job, recipes: Sequence[str], dataset: Dataset, split: str,
                 delta: float, wrong_background: Path | None, seeds: int) -> None:
    """Print and save the rows as they are measured; ``dataset`` is of the split."""
    wrong = open_backgrounds(wrong_background).records if wrong_background else ()
    rows = []
    click.echo(HEADER)
    for row in sanity_rows(job, recipes, dataset, delta, wrong, seeds):
        click.echo(ROW.format(**row))
        rows.append(row)
        write_json(job.cache / "sanity.json", {
            "backbone": job.settings.backbone, "split": split, "delta": delta,
            "seed": job.settings.config.seed, "background": str(job.backgrounds.root),
            "wrong_background": wrong_background and str(wrong_background), "rows": rows})


def sanity_rows(job: Stage1Job, recipes: Sequence[str], dataset: Dataset, delta: float,
                wrong_backgrounds: Sequence[Record], random_units: int) -> Iterator[dict]:
    """Measure every recipe with each of ``sanity_classifiers``; no mask is kept.

    Yields:
        dict for one recipe and classifier: their names (``recipe``, ``classifier``), ``images``,
        and Figures as dicts: ``strict`` and ``strict_difference`` in per cent, ``mean_iou`` and
        ``mean_iou_difference`` as fractions. A difference is to the trained classifier on the
        same images, its interval that of the paired difference.
    """
    units = {unit for name in recipes for unit in UNITS_READ.get(RECIPES[name].signal, ())}
    reference = {}
    for name, classifier in sanity_classifiers(
            lambda: new_classifier(job.settings), job.images.split("train").records,
            job.backgrounds.records, job.settings.config.with_units(units), job.compute,
            wrong_backgrounds, random_units, progress_bar):
        results = measure_recipes(job, classifier, recipes, dataset, delta)
        if name == TRAINED:
            reference = results
        for recipe, result in results.items():
            yield {"recipe": recipe, "classifier": name,
                   **_figures(result, reference[recipe])}


def measure_recipes(job: Stage1Job, classifier: BackgroundClassifier, recipes: Sequence[str],
                    dataset: Dataset, delta: float) -> dict[str, Result]:
    """Figures of the masks that each recipe makes; one that cannot be decoded has an empty mask."""
    settings, compute = job.settings, job.compute
    makers = {name: MaskMaker(classifier, RECIPES[name], settings.size, compute.device)
              for name in recipes}
    truths = truths_from_dataset(dataset)
    evaluators = {name: MaskEvaluator(truths) for name in recipes}

    def masks(batch):
        if not batch.positions:
            return batch, {name: () for name in makers}
        images = to_float(batch.images)
        return batch, {name: maker.masks(images, [delta])[delta].mask
                       for name, maker in makers.items()}

    batches = load_frames(dataset.records, settings.size,
                          consecutive(len(dataset.records), compute.batch_size), compute.workers)
    with one_thread_per_operation() as threads, progress_bar(
            len(dataset.records), "masks") as advance:
        for batch, made in map_in_order(masks, batches, compute.device, threads):
            for name, evaluator in evaluators.items():
                for position, mask in zip(batch.positions, made[name]):
                    evaluator.accumulate(mask, dataset.records[position].image_id)
                for position, _ in batch.bad:
                    evaluator.accumulate(np.zeros(settings.size, bool),
                                         dataset.records[position].image_id)
            advance(len(batch.positions) + len(batch.bad))
    return {name: evaluator.compute() for name, evaluator in evaluators.items()}


def _figures(result, reference):
    """The figures of one row."""
    ious, trained = (np.array(list(one.iou_by_image.values())) for one in (result, reference))
    return {"images": result.with_boxes,
            "strict": _rounded(result.metrics["mask_strict"], 100, 2),
            "mean_iou": _rounded(result.metrics["mean_iou"], 1, 4),
            "strict_difference": _rounded(paired_difference(ious >= 0.5, trained >= 0.5), 100, 2),
            "mean_iou_difference": _rounded(paired_difference(ious, trained), 1, 4)}


def _rounded(figure, scale, digits):
    return {name: round(scale * value, digits)
            for name, value in dataclasses.asdict(figure).items()}
