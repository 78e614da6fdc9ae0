"""Tables as pictures: bars for methods side by side, curves over a setting."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from common.files import replacing

OURS, PAPERS = "#1b6ca8", "#b8b8b8"


def draw_bars(path: str | Path, lines: Sequence[dict]) -> None:
    """GT-known and Top-1 error of the measured rows; the quoted errors in a panel of their own.

    Args:
        path: of a PNG file.
        lines: dicts with ``method``, ``source``, ``gt_known`` and ``top1_error`` in percent.
    """
    measured = [line for line in lines if line["source"] == "measured"]
    quoted = [line for line in lines if line["source"] == "quoted"]
    error = "Top-1 localization error (%)"
    panels = ((measured, "gt_known", "measured here:\nGT-known (%)", OURS),
              (measured, "top1_error", f"measured here:\n{error}", OURS),
              (quoted, "top1_error", f"quoted from the paper:\n{error}", PAPERS))
    figure = Figure(figsize=(13, 1.5 + 0.35 * max(len(measured), len(quoted), 1)),
                    layout="constrained")
    for axes, (rows, name, title, colour) in zip(figure.subplots(1, 3), panels):
        bars = axes.barh(range(len(rows)), [row[name] or 0 for row in rows], color=colour)
        axes.bar_label(bars, fmt="%.1f", padding=2)
        axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 105)
        axes.set_title(title, fontsize=9)
    save(path, figure)


def draw_curves(path: str | Path, x_label: str,
                curves: Sequence[tuple[str, Sequence, Sequence, str]],
                logarithmic: bool = False) -> None:
    """Percentages over a setting.

    Args:
        path: of a PNG file.
        curves: sequence of (name, xs, percentages, matplotlib format such as ``"o-"``).
        logarithmic: whether the setting's axis is.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, xs, percentages, style in curves:
        axes.plot(xs, percentages, style, label=name)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel("%")
    axes.grid(alpha=0.3)
    axes.legend()
    save(path, figure)


def save(path: str | Path, figure: Figure) -> None:
    """Write a matplotlib Figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
