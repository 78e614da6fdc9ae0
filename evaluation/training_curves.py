"""Losses and learning rates of training runs as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from common.files import replacing

NOT_DRAWN = ("epoch", "seconds", "precision")


def draw_training_curves(path: Path, runs: Mapping[str, Sequence[dict]]) -> Path:
    """Draw one panel for each loss and one for the learning rates; a colour for each run.

    Args:
        path: the picture, PNG, PDF or SVG by its ending.
        runs: name of each run to the lines of its log, dicts with ``epoch``.

    Returns:
        The path.

    Raises:
        ValueError: no run has finished an epoch.
    """
    if not any(runs.values()):
        raise ValueError(f"nothing to draw: none of {', '.join(runs)} has finished an epoch")
    names = list(dict.fromkeys(name for lines in runs.values() for line in lines for name in line
                               if name not in NOT_DRAWN and not name.endswith("_rate")))
    figure = Figure(figsize=(4.2 * (len(names) + 1), 3.4), layout="constrained")
    panels = figure.subplots(1, len(names) + 1, squeeze=False)
    for number, (run, lines) in enumerate(runs.items()):
        for panel, name in zip(panels[0], names):
            _draw(panel, lines, name, label=run, color=f"C{number % 10}")
        for name, style in (("head_rate", "-"), ("backbone_rate", "--")):
            _draw(panels[0][-1], lines, name, color=f"C{number % 10}", linestyle=style)
    for panel, title in zip(panels[0], [*(f"{name} loss" for name in names),
                                        "learning rates (dashed: backbone)"]):
        panel.set(title=title, xlabel="epoch")
        panel.grid(alpha=0.3)
    panels[0][-1].set_yscale("log")
    panels[0][0].legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png", dpi=120)
    return path


def _draw(panel, lines, name, **style):
    held = [(line["epoch"], line[name]) for line in lines if name in line]
    if held:
        panel.plot(*zip(*held), marker="." if len(held) < 30 else None, **style)
