"""The files of an evaluation: ``report.json``, ``boxes.csv`` and ``report.html``.

The builder takes plain data and depends on no stage and no method. The same input gives the same
bytes: no file holds a date, a duration or a path.
"""

import csv
import io
import math
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

from common.files import write_bytes, write_json
from evaluation.evaluator import Result
from evaluation.page import render
from evaluation.report_content import Report
from evaluation.truth import EvaluationError, first_names

KEYS = {
    "title": "what was evaluated, in words",
    "dataset": "the data set's name",
    "split": "which of its images",
    "images": "number of images",
    "images_with_boxes": "number of those with a known box: the base of every localization figure",
    "box_rule": "how a score map becomes a box: largest (ours) or wsol (Choe et al.'s)",
    "tau": "threshold on the score map, one for all images: value; source, one of masks, val, "
           "test (oracle), fixed; note, how it was chosen; image_ids, the images whose annotated "
           "boxes were looked at for it",
    "oracle": "the tau that is best on the test images themselves: tau; gt_known there, in "
              "percent; behind, by how many points gt_known at the tau above is less; null without "
              "boxes",
    "metrics": "every figure by its plain name: value, with low and high, the ends of its 95 % "
               "bootstrap interval over images; in percent",
    "over_seeds": "mean and std, the sample standard deviation, of every figure over the seeds; "
                  "in percent; empty for a single seed",
    "seeds": "seeds of the trained models; the figures under metrics are the first one's",
    "masks": "figures of stage 1's masks of the same images: mask_strict and bc_star; null when "
             "not handed in",
    "references": "rows without a model by name, each with metrics, tau and images as here",
    "agreement": "how well the boxes agree with those of stage 1's masks of the same images, no "
                 "annotated box looked at: mask_mean_iou and mask_half; null without such masks",
    "per_class": "images, and in percent gt_known, mean_iou, top1_loc and top1_cls of each class; "
                 "null where not known",
    "training": "the lines of the training log, one for each epoch; empty when not handed in",
    "made": "command and date of the evaluation, as handed in; empty otherwise",
    "beside": "the method compared with this one, with its name, metrics, tau, seeds, over_seeds, "
              "hashes and settings as here; null for none",
    "curves": "tau and the percentage of boxes that reach IoU 0.3, 0.5 and 0.7 there; iou and the "
              "percentage of boxes at the tau above that reach it; null without boxes",
    "definitions": "what each figure means, by its plain name",
    "unreadable": "images that could not be read and count in no figure, each with the reason",
    "warnings": "sentences with counts on what was left out",
    "name": "the method's name",
    "settings": "what the method was made with",
    "hashes": "digests of what the figures depend on, such as masks and checkpoints",
    "versions": "versions of what computed them",
    "keys": "this list",
}

DEFINITIONS = {
    "gt_known": ("GT-known localization", "Box with IoU of at least 0.5 with a true box, the class "
                 "given."),
    "gt_known_single": ("GT-known, one object", "The same over images with one true box."),
    "gt_known_several": ("GT-known, several objects", "The same over images with several true "
                         "boxes, any of which counts."),
    "top1_loc": ("Top-1 localization", "The most probable class is right, and the box cut from its "
                 "own score map has IoU of at least 0.5."),
    "top5_loc": ("Top-5 localization", "The right class is among the five most probable, and the "
                 "box cut from its own score map has IoU of at least 0.5."),
    "top1_cls": ("Top-1 classification", "The most probable class is right."),
    "top5_cls": ("Top-5 classification", "The right class is among the five most probable."),
    "mean_iou": ("Mean IoU", "Mean IoU of the box with the best true box."),
    "max_box_acc": ("MaxBoxAcc", "IoU of at least 0.5 at the tau that is best on these images: an "
                    "upper bound (Choe et al., CVPR 2020)."),
    "max_box_acc_v2": ("MaxBoxAccV2", "Mean of MaxBoxAcc at IoU 0.3, 0.5 and 0.7, the best of all "
                       "contours' boxes counting (Choe et al., TPAMI 2022)."),
    "max_box_acc_v2_30": ("MaxBoxAccV2 at IoU 0.3", "Its first part."),
    "max_box_acc_v2_50": ("MaxBoxAccV2 at IoU 0.5", "Its second part."),
    "max_box_acc_v2_70": ("MaxBoxAccV2 at IoU 0.7", "Its third part."),
    "pxap": ("PxAP", "Area under the precision-recall curve of all pixels (Choe et al., CVPR "
             "2020)."),
    "mask_strict": ("Masks, strict", "Box of the mask's largest component with IoU of at least "
                    "0.5."),
    "mask_mean_iou": ("Mean IoU with the masks", "Mean IoU of the box with that of the image's "
                      "stage-1 mask: no annotated box is looked at."),
    "mask_half": ("Agreement with the masks", "Box with IoU of at least 0.5 with that of the "
                  "image's stage-1 mask."),
    "bc_star": ("Masks, BC*", "IoU of at least 0.5, or the box covers the whole object: the "
                "paper's looser rule."),
}


def pick_gallery(result: Result, each: int = 8, worst: int = 50,
                 limit: int = 96) -> tuple[tuple[str, str], ...]:
    """Which images a gallery shows: the best, median and worst boxes, then every class in turn.

    Where no image has a box, every class in turn.

    Args:
        result: Result to pick by.
        each: number of best and of median ones.
        worst: number of worst ones, the most instructive.
        limit: number of all; the rest are each class's median one, then its neighbours.

    Returns:
        tuple of (image id, kind); kind is ``best``, ``median``, ``worst`` or ``more``.
    """
    ious = result.iou_by_image
    rows = sorted((row for row in result.rows if row.image_id in ious or not ious),
                  key=lambda row: (-ious.get(row.image_id, 0), row.image_id))
    if not ious:
        each = worst = 0
    each, worst = (min(number, math.ceil(len(rows) / 3)) for number in (each, worst))
    middle = max(0, len(rows) // 2 - each // 2)
    picked = {}
    for kind, some in (("best", rows[:each]), ("worst", rows[::-1][:worst]),
                       ("median", rows[middle:middle + each])):
        for row in some:
            picked.setdefault(row.image_id, kind)
    by_class = {}
    for row in rows:
        if row.image_id not in picked:
            by_class.setdefault(row.label, []).append(row)
    while by_class and len(picked) < limit:
        for label in sorted(by_class, key=lambda label: -1 if label is None else label):
            left = by_class[label]
            if len(picked) < limit:
                picked[left.pop(len(left) // 2).image_id] = "more"
        by_class = {label: left for label, left in by_class.items() if left}
    order = ("best", "median", "worst", "more")
    return tuple(sorted(list(picked.items())[:limit], key=lambda item: order.index(item[1])))


def require_report_folder(folder: Path) -> None:
    """Make sure that a report replaces nothing but a report.

    Raises:
        EvaluationError: the folder holds a boxes.csv that no report has written, such as a data
            set's annotations or the boxes of ``bcct localize``.
    """
    if (folder / "boxes.csv").exists() and not (folder / "report.json").exists():
        raise EvaluationError(f"{folder / 'boxes.csv'} is not of a report, which would replace it; "
                              "name another folder for the report (--out).")


def write_report(folder: str | Path, report: Report) -> Path:
    """Write ``report.json``, ``boxes.csv`` and ``report.html``.

    ``report.json`` explains its own keys under ``keys``. ``boxes.csv`` has one line per image:
    image_id; x0, y0, x1, y1 of the predicted box, half-open, in pixels of the original image; its
    best_iou; class; predicted_class; score, the probability of the predicted class. What is not
    known is left empty.

    Args:
        folder: made if need be.

    Returns:
        Path of ``report.html``.

    Raises:
        EvaluationError: see ``require_report_folder``.
    """
    folder = Path(folder)
    require_report_folder(folder)
    figures = summary(report)
    write_json(folder / "report.json", figures)
    write_bytes(folder / "boxes.csv", _boxes(report))
    page = render(report, figures, DEFINITIONS)
    write_bytes(folder / "report.html", page.encode("utf-8", errors="replace"))
    return folder / "report.html"


def summary(report: Report) -> dict:
    """The content of ``report.json``; ``KEYS`` explains each key.

    Returns:
        dict of plain values; every figure in percent, NaN as None.
    """
    result = report.method.result
    names = {*result.metrics, *report.agreement,
             *(report.masks.metrics if report.masks else ())}
    return {
        "title": report.title, "dataset": report.dataset, "split": report.split,
        "images_with_boxes": result.with_boxes, "box_rule": result.box_rule,
        "oracle": _oracle(result) if result.tau_curve else None,
        **_method(report.method),
        "masks": _figures(report.masks.metrics) if report.masks else None,
        "agreement": _figures(report.agreement) if report.agreement else None,
        "references": {name: _found(row) for name, row in report.references.items()},
        "beside": _method(report.beside) if report.beside else None,
        "curves": _curves(result) if result.tau_curve else None,
        "per_class": _per_class(report),
        "training": list(report.training), "made": dict(report.made),
        "definitions": {name: DEFINITIONS[name][1] for name in sorted(names)},
        "unreadable": dict(report.unreadable),
        "warnings": _warnings(report), "versions": versions(), "keys": KEYS,
    }


def _curves(result):
    return {**{name: [_percent(value) if name != "tau" else round(float(value), 6)
                      for value in values] for name, values in result.tau_curve.items()},
            "iou": [round(float(value), 6) for value in result.iou_curve["iou"]],
            "share": [_percent(value) for value in result.iou_curve["share"]]}


def _per_class(report):
    """Figures of each class, in the order of the labels."""
    by_label = {}
    for row in report.method.result.rows:
        if row.label is not None:
            by_label.setdefault(row.label, []).append(row)
    table = []
    for label, rows in sorted(by_label.items()):
        ious = [row.iou for row in rows if row.iou is not None]
        ranked = [row for row in rows if row.rank is not None]
        boxed = [row for row in ranked if row.iou is not None]
        table.append({
            "class": str(class_name(report, label)), "images": len(rows),
            "gt_known": _mean_percent([iou >= 0.5 for iou in ious]),
            "mean_iou": _mean_percent(ious),
            "top1_loc": _mean_percent([row.iou >= 0.5 and row.rank == 0 for row in boxed]),
            "top1_cls": _mean_percent([row.rank == 0 for row in ranked])})
    return table


def _mean_percent(values):
    return _percent(float(np.mean(values))) if values else None


def figures_as_text(report: Report) -> str:
    """The figures in percent with their intervals, one per line, of both methods."""
    lines = []
    for method in filter(None, (report.method, report.beside)):
        result = method.result
        lines.append(f"{method.name}: {result.images} images, box rule {result.box_rule}, tau "
                     f"{result.tau.tau:.2f} from {result.tau.source}")
        for name, figure in result.metrics.items():
            line = (f"  {name:20}{100 * figure.value:7.2f}   [{100 * figure.low:.2f}, "
                    f"{100 * figure.high:.2f}]")
            if name in method.over_seeds:
                mean, deviation = method.over_seeds[name]
                line += (f"   {100 * mean:.2f} +- {100 * deviation:.2f} over seeds "
                         f"{', '.join(map(str, method.seeds))}")
            lines.append(line)
        lines.extend(f"  {warning}" for warning in result.warnings)
    lines.extend(f"  {name:20}{100 * figure.value:7.2f}   [{100 * figure.low:.2f}, "
                 f"{100 * figure.high:.2f}]" for name, figure in report.agreement.items())
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on, where installed."""
    found = {"python": platform.python_version()}
    for package in ("bcct", "numpy", "opencv-python-headless", "torch", "torchvision"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _method(method):
    return {"name": method.name, **_found(method.result), "seeds": list(method.seeds),
            "over_seeds": {name: {"mean": _percent(mean), "std": _percent(deviation)}
                           for name, (mean, deviation) in method.over_seeds.items()},
            "hashes": dict(method.hashes), "settings": dict(method.settings)}


def _found(result):
    return {"images": result.images, "metrics": _figures(result.metrics),
            "tau": {"value": round(result.tau.tau, 6), "source": result.tau.source,
                    "note": result.tau.note, "image_ids": list(result.tau.image_ids)}}


def _figures(metrics):
    return {name: {"value": _percent(figure.value), "low": _percent(figure.low),
                   "high": _percent(figure.high)} for name, figure in metrics.items()}


def _warnings(report):
    """Each warning once: images left out, the method, the compared method, and the masks."""
    results = [report.method.result, report.beside and report.beside.result, report.masks]
    warnings = [warning for result in results if result for warning in result.warnings]
    if report.unreadable:
        warnings.insert(0, f"{len(report.unreadable)} image(s) could not be read and count in no "
                        f"figure: {first_names(sorted(report.unreadable))}.")
    return list(dict.fromkeys(warnings))


def _oracle(result):
    best = float(np.max(result.tau_curve["iou_50"]))
    return {"tau": round(result.oracle_tau, 6), "gt_known": _percent(best),
            "behind": _percent(best - result.metrics["gt_known"].value)}


def _percent(fraction):
    return None if math.isnan(fraction) else round(100 * float(fraction), 4)


def _boxes(report):
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["image_id", "x0", "y0", "x1", "y1", "best_iou", "class", "predicted_class",
                     "score"])
    for row in report.method.result.rows:
        writer.writerow([row.image_id, *(round(edge, 4) for edge in row.box),
                         _or_empty(row.iou, 6), class_name(report, row.label),
                         class_name(report, row.predicted), _or_empty(row.score, 6)])
    return lines.getvalue().encode("utf-8", errors="surrogateescape")


def class_name(report: Report, label: int | None) -> str | int:
    """A class's name, its number where the class has none, nothing where there is no class."""
    if label is None:
        return ""
    return report.class_names[label] if label < len(report.class_names) else label


def _or_empty(value, digits):
    return "" if value is None else round(value, digits)
