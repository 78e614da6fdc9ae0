"""A whole experiment: masks, then one variant after another over them, then one table."""

import time

import click

from common.files import write_json
from evaluation.mask_figures import mask_figures
from evaluation.report import write_report
from pipelines.jobs.evaluating import (evaluate, localization_of, record_where_same,
                                       report_of_runs)
from pipelines.jobs.training_job import trained
from pipelines.paper.measuring import FIGURES, mask_rates, percent
from stage1_bc.stage1_job import ensure_classifier, make_masks


def run_experiment(rows, folder):
    """Train and evaluate several variants, and print their table; finished work is kept.

    Args:
        rows: dict from a row's name to its list of TrainingJob, which differ in their seed only;
            all of them over the same Images. The last one's report shows the first row next to
            it; the last row's masks are those whose figures head the summary.
        folder: where ``report/`` is written, and ``summary.json``: in percent, ``mask_strict`` and
            ``mask_bc_star`` of the test images' masks, ``centre_box_gt_known``,
            ``full_image_gt_known``, and ``variants`` (row to its figures, means over its seeds);
            and ``seconds``.
    """
    start = time.perf_counter()
    job = next(iter(rows.values()))[0]
    localization = localization_of(job)
    evaluated, masks = {}, {}
    for name, jobs in rows.items():
        masks[name] = _prepare_masks(jobs[0])
        evaluated[name] = evaluate([trained(each) for each in jobs], localization,
                                   record_where_same)
    first, last = list(evaluated.values())[0], list(evaluated.values())[-1]
    report = report_of_runs(last, localization, first)
    without_model = {name: percent(result.metrics["gt_known"].value)
                     for name, result in report.references.items()}
    summary = {
        **mask_rates(report.masks),
        "full_image_gt_known": without_model["full_image"],
        "centre_box_gt_known": without_model["centred_square"],
        "variants": {name: _figures(one.entry, masks[name]) for name, one in evaluated.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_json(folder / "summary.json", summary)
    page = write_report(folder / "report", report)
    click.echo(f"{summary_table(summary)}\nwrote {folder / 'summary.json'}\nlook at {page}")


def _prepare_masks(job):
    """Make the masks of a row's training and test images; returns their figures."""
    stored = ensure_classifier(job.stage1)
    click.echo(f"{job.stage1.settings.backbone}: {stored.accuracy()}")
    make_masks(job.stage1, stored, "train", [job.delta])
    return mask_figures(job.images.split("test"),
                        make_masks(job.stage1, stored, "test", [job.delta]), job.delta)


def _figures(entry, masks):
    """A row's figures in percent: mean over its seeds, and deviation if there are several."""
    means = {name: entry.over_seeds.get(name, (figure.value, 0))
             for name, figure in entry.result.metrics.items()}
    row = {name: percent(means[name][0]) for name in FIGURES}
    if len(entry.seeds) > 1:
        row["gt_known_std"] = percent(means["gt_known"][1])
    return {**row, "seeds": list(entry.seeds), "tau": round(entry.result.tau.tau, 2),
            **mask_rates(masks)}


def summary_table(summary):
    """The summary as lines of text."""
    lines = [f"{'':34}{'GT-known':>10}{'Top-1 loc':>11}{'Top-1 cls':>11}{'tau':>7}{'masks':>8}"]
    for name, row in summary["variants"].items():
        lines.append(f"{name:34}{row['gt_known']:>10.1f}{row['top1_loc']:>11.1f}"
                     f"{row['top1_cls']:>11.1f}{row['tau']:>7.2f}{row['mask_strict']:>8.1f}")
    lines.append(f"{'centred square, no model':34}{summary['centre_box_gt_known']:>10.1f}")
    lines.append(f"{'full image, no model':34}{summary['full_image_gt_known']:>10.1f}")
    lines.append(f"{'stage-1 masks, strict':34}{summary['mask_strict']:>10.1f}")
    lines.append(f"{'stage-1 masks, BC* (looser rule)':34}{summary['mask_bc_star']:>10.1f}")
    return "\n".join(lines)
