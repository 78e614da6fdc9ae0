"""Line charts as inline SVG, coloured by the page's style sheet so that they follow its theme."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 26, 42  # room around the plot, in the SVG's units


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: stands in the legend.
        x, y: sequences of the same length, fractions in [0, 1].
        style: class of the style sheet, ``line-1`` to ``line-4`` or ``line-quiet``.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str


@dataclass(frozen=True)
class Mark:
    """A vertical line at ``x``, a fraction, with its name next to it."""

    name: str
    x: float


def line_chart(lines: Sequence[Line], title: str, x_label: str, y_label: str,
               marks: Sequence[Mark] = ()) -> Markup:
    """A chart of fractions against fractions.

    Args:
        title: text for screen readers.
        x_label, y_label: names of the axes.

    Returns:
        Markup of one ``svg`` element, 460 by 280 units, as wide as its surroundings.
    """
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(title)}">', *_grid()]
    parts += [_text(_x(0.5), HEIGHT - 6, x_label, "middle"),
              f'<text class="label" text-anchor="middle" transform="translate(11 {_y(0.5)}) '
              f'rotate(-90)">{escape(y_label)}</text>']
    for mark in marks:
        parts += [f'<path class="mark" d="M{_x(mark.x)} {_y(0)}V{_y(1)}"/>', _name(mark, marks)]
    for line in lines:
        points = " ".join(f"{_x(x)},{_y(y)}" for x, y in zip(line.x, line.y))
        parts.append(f'<polyline class="{escape(line.style)}" points="{points}"/>')
    return Markup("".join(parts) + "</svg>")


def _grid():
    for step in range(0, 11, 2):
        value = step / 10
        width = "axis" if step == 0 else "grid"
        yield f'<path class="{width}" d="M{_x(0)} {_y(value)}H{_x(1)}"/>'
        yield _text(LEFT - 6, _y(value) + 4, f"{10 * step}", "end")
        yield _text(_x(value), HEIGHT - BOTTOM + 16, f"{value:g}", "middle")


def _name(mark, marks):
    """A mark's name above the plot, on the side away from other marks where there is room."""
    leftmost = len(marks) > 1 and mark.x == min(each.x for each in marks)
    left = mark.x > 0.75 or (leftmost and mark.x > 0.25)
    return _text(_x(mark.x) + (3 if left else -3), TOP - 8, mark.name, "end" if left else "start")


def epoch_chart(lines: Sequence[Line], title: str, y_label: str) -> Markup:
    """A chart of values against epochs, from 0 to the largest value.

    Args:
        lines: sequence of Line whose ``x`` are epochs from 1 and whose ``y`` are at least 0.
        title: text for screen readers.
        y_label: name of the vertical axis.

    Returns:
        Markup of one ``svg`` element, as by ``line_chart``.
    """
    last = max(max(line.x) for line in lines)
    top = _round_up(max(max(line.y) for line in lines))
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(title)}">']
    for step in range(0, 5):
        value = step / 4
        parts += [f'<path class="{"grid" if step else "axis"}" d="M{_x(0)} {_y(value)}H{_x(1)}"/>',
                  _text(LEFT - 6, _y(value) + 4, f"{value * top:g}", "end")]
    for epoch in sorted({1, round((1 + last) / 2), last}):
        parts.append(_text(_x(_place(epoch, last)), HEIGHT - BOTTOM + 16, f"{epoch}", "middle"))
    parts += [_text(_x(0.5), HEIGHT - 6, "epoch", "middle"),
              f'<text class="label" text-anchor="middle" transform="translate(11 {_y(0.5)}) '
              f'rotate(-90)">{escape(y_label)}</text>']
    for line in lines:
        points = " ".join(f"{_x(_place(x, last))},{_y(y / top)}" for x, y in zip(line.x, line.y))
        parts.append(f'<polyline class="{escape(line.style)}" points="{points}"/>')
    return Markup("".join(parts) + "</svg>")


def _place(epoch, last):
    """Where an epoch from 1 lies on the axis, a fraction."""
    return (epoch - 1) / max(1, last - 1)


def _round_up(value):
    """The next of 1, 2, 4, 6, 8 times a power of ten that is not less than a value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value))


def _text(x, y, content, anchor):
    return f'<text class="label" x="{x}" y="{y}" text-anchor="{anchor}">{escape(content)}</text>'


def _x(fraction):
    return round(LEFT + float(fraction) * (WIDTH - LEFT - RIGHT), 1)


def _y(fraction):
    return round(HEIGHT - BOTTOM - float(fraction) * (HEIGHT - TOP - BOTTOM), 1)
