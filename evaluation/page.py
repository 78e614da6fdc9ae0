"""The report as one page: a template filled in, every picture within it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jinja2

from evaluation import data_uris
from evaluation.charts import Line, Mark, line_chart

if TYPE_CHECKING:  # the report imports this module to be rendered
    from evaluation.report import Report

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


def render(report: "Report", figures: dict, definitions: Mapping[str, tuple[str, str]]) -> str:
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
    return environment.get_template("report.html.jinja").render(
        figures=figures, columns=columns, definitions=definitions, kinds=KINDS, cards=cards,
        rows=[name for name in definitions if any(name in column.figures for column in columns)],
        headlines=[name for name in ("gt_known", "top1_loc", "top1_cls", "max_box_acc_v2")
                   if name in figures["metrics"]],
        classes=sorted({(card.label, card.class_name) for card in cards}),
        tau_chart=_tau_chart(figures), iou_chart=_iou_chart(report, figures),
        gradients=[{"image_id": item.image_id, "pictures": [
            ("Image", data_uris.thumbnail(item.image)),
            ("Plain backbone", data_uris.grey(item.plain)),
            ("Background classifier", data_uris.grey(item.bc)),
            ("Mask", data_uris.black_and_white(item.mask))]} for item in report.gradients])


def _columns(figures):
    methods = [figures] + ([figures["beside"]] if figures["beside"] else [])
    columns = [FigureColumn(method["name"], method["metrics"], method["over_seeds"], method["tau"],
                            "method") for method in methods]
    columns += [FigureColumn(name.replace("_", " ").capitalize().replace("gaussian", "Gaussian"),
                             row["metrics"], {}, row["tau"], "reference")
                for name, row in figures["references"].items()]
    if figures["masks"]:
        columns.append(FigureColumn("Stage-1 masks", figures["masks"], {}, None, "method"))
    return columns


def _card(report, item):
    height, width = item.truth.size
    label = item.truth.label
    return Card(item.truth.image_id, item.kind, label, _class_name(report, label),
                data_uris.thumbnail(item.image), width, height,
                tuple(_rectangle(box) for box in item.truth.boxes),
                tuple(_pane(report, view) for view in item.views))


def _pane(report, view):
    row = view.row
    known = row.predicted is not None
    return Pane(view.name, data_uris.heat(view.score_map), _rectangle(row.box),
                None if row.iou is None else round(100 * row.iou),
                _class_name(report, row.predicted) if known else None,
                row.predicted == row.label if known else None)


def _rectangle(box):
    """x, y, width and height of an SVG rectangle, to a tenth of a pixel."""
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return tuple(round(value, 1) for value in (x0, y0, x1 - x0, y1 - y0))


def _class_name(report, label):
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


def _fractions(percentages):
    return [value / 100 for value in percentages]
