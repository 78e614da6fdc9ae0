"""The report as one page: a template filled in, every picture within it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2
import numpy as np

from common.boxes import largest_component
from evaluation import data_uris
from evaluation.charts import Line, Mark, epoch_chart, line_chart
from evaluation.outlines import outline_path
from evaluation.report_content import Report

KINDS = {"best": "best", "median": "median", "worst": "worst", "more": "more of each class"}


@dataclass(frozen=True)
class FigureColumn:
    """One column of the table; figures as in ``report.json``, tau None for masks."""

    name: str
    figures: dict
    over_seeds: dict
    tau: dict | None
    kind: str


@dataclass(frozen=True)
class Pane:
    """One view of a gallery item, ready for the template; box is x, y, width, height."""

    name: str
    heat: str
    box: tuple[float, ...]
    outline: str
    iou: float | None
    predicted: str | None
    right: bool | None


@dataclass(frozen=True)
class Card:
    """One gallery item, ready for the template; boxes are x, y, width, height."""

    image_id: str
    kind: str
    label: int
    class_name: str
    photograph: str
    width: int
    height: int
    truth: tuple[tuple[float, ...], ...]
    panes: tuple[Pane, ...]


def render(report: Report, figures: dict, definitions: Mapping[str, tuple[str, str]]) -> str:
    """The page as text.

    Args:
        report: Report, for the pictures.
        figures: ``evaluation.report.summary`` of it, for everything else.
        definitions: {figure: (title, sentence)} in the order of the table.

    Returns:
        str of HTML that refers to nothing outside itself.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation", "."), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    columns = _columns(figures)
    cards = [_card(report, item) for item in report.gallery]
    shown = [name for name in definitions if any(name in column.figures for column in columns)]
    return environment.get_template("report.html.jinja").render(
        figures=figures, columns=columns, definitions=definitions, kinds=KINDS, cards=cards,
        rows=[name for name in shown if name not in _repeated(report, figures)],
        headlines=_headlines(figures, _repeated(report, figures)), first=_first_sentences(figures),
        classes=sorted({(card.label, card.class_name) for card in cards}),
        tau_chart=_tau_chart(figures) if figures["curves"] else None,
        iou_chart=_iou_chart(report, figures) if figures["curves"] else None,
        training_chart=_training_chart(report), colour_bar=data_uris.colour_bar(),
        gradients=[{"image_id": item.image_id, "pictures": [
            ("Image", data_uris.thumbnail(item.image)),
            ("Plain backbone", data_uris.grey(item.plain)),
            ("Background classifier", data_uris.grey(item.bc)),
            ("Mask", data_uris.black_and_white(item.mask))]} for item in report.gradients])


def _repeated(report, figures):
    """Rows that say what others say: Top-5 of at most five classes, MaxBoxAccV2 at IoU 0.5 where
    it is MaxBoxAcc."""
    repeated = set()
    if report.class_names and len(report.class_names) <= 5:
        repeated |= {"top5_loc", "top5_cls"}
    methods = [figures, *([figures["beside"]] if figures["beside"] else []),
               *figures["references"].values()]
    if all(each["metrics"].get("max_box_acc") == each["metrics"].get("max_box_acc_v2_50")
           for each in methods):
        repeated.add("max_box_acc_v2_50")
    return repeated


def _headlines(figures, left_out):
    """(figure's name, its values, differences in words) of the first figures to look at."""
    metrics = {**figures["metrics"], **(figures["agreement"] or {})}
    names = ["gt_known", "top1_loc", "top1_cls", "max_box_acc_v2"]
    if "gt_known" not in metrics:
        names = ["top1_cls", "top5_cls", "mask_mean_iou", "mask_half"]
    others = {"the centred square": figures["references"].get("centred_square")}
    if figures["beside"]:
        others[figures["beside"]["name"]] = figures["beside"]
    return [(name, metrics[name], [
        f"{metrics[name]['value'] - held['metrics'][name]['value']:+.1f} points over {other}"
        for other, held in others.items()
        if held is not None and metrics[name]["value"] is not None
        and held["metrics"].get(name, {}).get("value") is not None])
        for name in names if name in metrics and name not in left_out]


def _first_sentences(figures):
    """What was done and how well, for a reader who has never seen such a report."""
    name, images, boxed = figures["name"], figures["images"], figures["images_with_boxes"]
    what = (f"The model {name}, trained on image labels"
            f"{' and stage-1 masks' if figures['hashes'].get('masks') else ''} but no boxes, "
            f"was run on each of {images:,} images of {figures['dataset']} "
            f"({figures['split']}).") if figures["hashes"] else (
        f"{name} was run on each of {images:,} images of {figures['dataset']}.")
    if not boxed:
        return (f"{what} None of them has an annotated box, so this report says how well they are "
                "classified, and how well boxes and stage-1 masks agree where there are masks.")
    known = figures["metrics"]["gt_known"]["value"]
    sentence = f"{what} {known:.1f} % of the boxes overlap the true one by half or more (IoU 0.5)"
    square = figures["references"].get("centred_square")
    if square:
        sentence += (f"; a square in the middle of every image does in "
                     f"{square['metrics']['gt_known']['value']:.1f} %")
    return sentence + "."


def _columns(figures):
    methods = [figures] + ([figures["beside"]] if figures["beside"] else [])
    columns = [FigureColumn(method["name"], method["metrics"], method["over_seeds"], method["tau"],
                            "method") for method in methods]
    columns += [FigureColumn(name.replace("_", " ").capitalize().replace("gaussian", "Gaussian"),
                             row["metrics"], {}, row["tau"], "reference")
                for name, row in figures["references"].items()]
    if figures["agreement"]:
        first = columns[0]
        columns[0] = FigureColumn(first.name, {**first.figures, **figures["agreement"]},
                                  first.over_seeds, first.tau, first.kind)
    if figures["masks"]:
        columns.append(FigureColumn("Stage-1 masks", figures["masks"], {}, None, "method"))
    return columns


def _card(report, item):
    height, width = item.truth.size
    methods = filter(None, (report.method, report.beside))
    label = item.truth.label
    return Card(item.truth.image_id, item.kind, label, _name_of_class(report, label),
                data_uris.thumbnail(item.image), width, height,
                tuple(_rectangle(box) for box in item.truth.boxes),
                tuple(_pane(report, view, method.result, item.truth.size)
                      for view, method in zip(item.views, methods)))


def _pane(report, view, found, size):
    row = view.row
    known = row.predicted is not None
    outline = ""
    if found.tau is not None:
        outline = outline_path(largest_component(view.score_map >= np.float32(found.tau.tau)), size)
    return Pane(view.name, data_uris.heat(view.score_map), _rectangle(row.box), outline,
                None if row.iou is None else math.floor(100 * row.iou),  # 49.8 % is a miss
                _name_of_class(report, row.predicted) if known else None,
                row.predicted == row.label if known else None)


def _rectangle(box):
    """x, y, width and height of an SVG rectangle, to a tenth of a pixel."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return tuple(round(value, 1) for value in (x0, y0, x1 - x0, y1 - y0))


def _name_of_class(report, label):
    return report.class_names[label] if 0 <= label < len(report.class_names) else f"class {label}"


def _tau_chart(figures):
    curves, tau = figures["curves"], figures["tau"]
    lines = [Line(f"IoU ≥ 0.{level // 10}", curves["tau"], _fractions(curves[f"iou_{level}"]),
                  style) for level, style in ((30, "line-3"), (50, "line-1"), (70, "line-2"))]
    marks = [Mark(f"τ {tau['value']:.2f}", tau["value"])]
    if abs(figures["oracle"]["tau"] - tau["value"]) >= 0.005:
        marks.append(Mark(f"oracle {figures['oracle']['tau']:.2f}", figures["oracle"]["tau"]))
    return {"svg": line_chart(lines, "Share of boxes against the threshold", "threshold τ",
                              "boxes that reach the IoU, %", marks), "lines": lines}


def _iou_chart(report, figures):
    results = [(report.method.name, report.method.result, "line-1")]
    if report.beside:
        results.append((report.beside.name, report.beside.result, "line-4"))
    if "centred_square" in report.references:
        results.append(("Centred square", report.references["centred_square"], "line-quiet"))
    lines = [Line(name, result.iou_curve["iou"], result.iou_curve["share"], style)
             for name, result, style in results]
    return {"svg": line_chart(lines, "Share of boxes against the IoU they reach", "IoU reached",
                              "boxes at the chosen τ, %", [Mark("0.5", 0.5)]), "lines": lines}


def _training_chart(report):
    """The losses of each epoch; None without a log of at least two."""
    logged = report.training
    if len(logged) < 2:
        return None
    names = [name for name in logged[0] if isinstance(logged[0][name], float)
             and name != "seconds" and not name.endswith("_rate")]
    epochs = [line["epoch"] for line in logged]
    lines = [Line(f"{name} loss", epochs, [line[name] for line in logged], f"line-{number}")
             for number, name in enumerate(names[:4], 1)]
    return {"svg": epoch_chart(lines, "Losses of training by epoch", "loss"), "lines": lines}


def _fractions(percentages):
    return [value / 100 for value in percentages]
