"""A whole experiment: masks, then one variant after another over them, then one table."""

import time

import click

from common.files import write_json
from evaluation.references import reference_rows
from evaluation.truth import truths_from_dataset
from pipelines.localize import localize, mask_figures
from pipelines.stage1 import ensure_classifier, make_masks
from pipelines.stage2 import load_trained, train
from pipelines.train_bc import describe


def run_experiment(jobs, summary_path):
    """Train and evaluate several variants over the same masks; what is there already is kept.

    Args:
        jobs: dict from a row's name to its Stage2; all share one Stage1 and one delta.
        summary_path: where ``summary.json`` is written.

    Returns:
        The summary, a dict in percent: ``mask_strict`` and ``mask_bc_star`` of the test images'
        masks, ``centre_box_gt_known``, ``variants`` (name to ``gt_known``, ``top1_loc``,
        ``top1_cls``, ``top5_loc`` and ``tau``), and ``seconds``.
    """
    start = time.perf_counter()
    first = next(iter(jobs.values()))
    stage1, delta = first.stage1, first.delta
    click.echo(describe(ensure_classifier(stage1)))
    folders = {split: make_masks(stage1, split, [delta]) for split in ("train", "test")}
    test = stage1.images("test")
    masks = mask_figures(test, folders["test"], delta)
    references = reference_rows(truths_from_dataset(test), size=(stage1.image_size,) * 2)
    results = {}
    for name, job in jobs.items():
        train(job)
        results[name] = localize(job, load_trained(job))
    summary = {
        "mask_strict": percent(masks, "mask_strict"),
        "mask_bc_star": percent(masks, "bc_star"),
        "full_image_gt_known": percent(references["full_image"], "gt_known"),
        "centre_box_gt_known": percent(references["centred_square"], "gt_known"),
        "variants": {name: {**{figure: percent(result, figure) for figure in
                               ("gt_known", "top1_loc", "top5_loc", "top1_cls", "top5_cls")},
                            "tau": result.tau.tau}
                     for name, result in results.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_json(summary_path, summary)
    return summary


def percent(result, name):
    """A Result's figure in percent, to a hundredth."""
    return round(100 * result.metrics[name].value, 2)


def table(summary):
    """The summary as lines of text."""
    lines = [f"{'':34}{'GT-known':>10}{'Top-1 loc':>11}{'Top-1 cls':>11}{'tau':>7}"]
    for name, figures in summary["variants"].items():
        lines.append(f"{name:34}{figures['gt_known']:>10.1f}{figures['top1_loc']:>11.1f}"
                     f"{figures['top1_cls']:>11.1f}{figures['tau']:>7.2f}")
    lines.append(f"{'centred square, no model':34}{summary['centre_box_gt_known']:>10.1f}")
    lines.append(f"{'full image, no model':34}{summary['full_image_gt_known']:>10.1f}")
    lines.append(f"{'stage-1 masks, strict':34}{summary['mask_strict']:>10.1f}")
    lines.append(f"{'stage-1 masks, BC* (looser rule)':34}{summary['mask_bc_star']:>10.1f}")
    return "\n".join(lines)
