"""Paint of the procedural pictures: noise, outlines, and shaded, textured areas.

Pictures are (H, W, 3) uint8 RGB arrays that are painted in place. Points are (x, y) in pixels,
outlines (P, 2) float arrays of points. Colours are RGB in [0, 255]. Whatever is random comes from
the ``numpy.random.Generator`` that is handed in, so that a seed names a picture.
"""

import dataclasses

import cv2
import numpy as np

SUBPIXEL_BITS = 4  # OpenCV takes outlines as fixed-point numbers with this many fractional bits
LIGHT = np.array([-0.45, -0.75, 0.5])  # towards the light: from above, a little from the left

TEXTURES = ("plain", "stripes", "spots", "scales", "mottled")


@dataclasses.dataclass(frozen=True)
class Area:
    """One shaded, textured piece of a picture."""

    outline: np.ndarray
    """(P, 2) float, its polygon."""
    colour: tuple
    """RGB in [0, 255]."""
    lower_colour: tuple | None = None
    """RGB that the colour turns into towards the polygon's lower end; None: it stays."""
    texture: str = "plain"
    """One of ``TEXTURES``."""
    contrast: float = 0.25
    """Strength of the texture, in [0, 1]."""
    relief: float = 0.55
    """How strongly it is shaded as a rounded body; 0 is flat."""


def noise(random, size, cell, octaves=4):
    """Smooth fractal noise.

    Args:
        random: numpy Generator.
        size: (height, width) in pixels.
        cell: size of the coarsest grain in pixels, one number or (vertical, horizontal).
        octaves: number of layers, each twice as fine and half as strong as the one before.

    Returns:
        (H, W) float32 with mean about 0 and values in [-1, 1].
    """
    height, width = size
    cell_y, cell_x = np.broadcast_to(np.asarray(cell, float), 2)
    total, strength, strengths = np.zeros(size, np.float32), 1.0, 0.0
    for _ in range(octaves):
        rows, columns = int(height / cell_y) + 2, int(width / cell_x) + 2
        grid = random.uniform(-1, 1, (rows, columns)).astype(np.float32)
        total += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        strengths += strength
        strength, cell_y, cell_x = strength / 2, max(cell_y / 2, 1), max(cell_x / 2, 1)
    return total / strengths


def smooth_step(values, low, high):
    """0 below ``low``, 1 above ``high``, a smooth cubic between them."""
    position = np.clip((values - low) / (high - low), 0, 1)
    return position * position * (3 - 2 * position)


def mix(first, second, weight):
    """``first`` where ``weight`` is 0, ``second`` where it is 1."""
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return first + (second - first) * weight


def vary(random, colour, spread):
    """A colour near another: every channel moved by at most ``spread``, in [0, 255]."""
    shift = random.uniform(-spread, spread) * 0.7 + random.uniform(-spread, spread, 3) * 0.3
    return tuple(np.clip(np.asarray(colour, float) + shift, 0, 255))


def smooth_outline(points, closed=True, steps=8):
    """A Catmull-Rom curve through points.

    Args:
        points: (P, 2) floats, P >= 3.
        closed: join the last point to the first.
        steps: points of the result for each given point.

    Returns:
        (P * steps, 2) float64 when closed, else ((P - 1) * steps + 1, 2).
    """
    points = np.asarray(points, float)
    ends = points[[-1]], points[:2]
    if not closed:
        ends = 2 * points[[0]] - points[[1]], 2 * points[[-1]] - points[[-2]]
    padded = np.concatenate([ends[0], points, ends[1]])
    before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    time = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    before, start, end, after = (each[:, None] for each in (before, start, end, after))
    curve = 0.5 * (2 * start + (end - before) * time
                   + (2 * before - 5 * start + 4 * end - after) * time ** 2
                   + (3 * start - before - 3 * end + after) * time ** 3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def ellipse(centre, radii, turn=0.0, points=40):
    """Outline of an ellipse; ``turn`` in degrees, clockwise as seen in the picture."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return rotate(circle * radii, turn) + centre


def blob(random, centre, radii, roughness, corners=9):
    """Outline of a rounded, irregular shape such as a pebble or a bush."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    angles += random.uniform(-0.3, 0.3, corners) * (2 * np.pi / corners)
    reach = 1 + random.uniform(-roughness, roughness, corners)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    return smooth_outline(circle * radii + centre)


def ribbon(spine, widths):
    """Outline of a band along a line.

    Args:
        spine: (P, 2) floats, the middle line.
        widths: width of the band at its start and at its end, or at each of the P points.

    Returns:
        (2 * P, 2) float64.
    """
    spine = np.asarray(spine, float)
    if len(widths) != len(spine):
        widths = np.linspace(widths[0], widths[-1], len(spine))
    along = np.gradient(spine, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = along[:, ::-1] * [-1, 1] * np.asarray(widths, float)[:, None] / 2
    return np.concatenate([spine + across, (spine - across)[::-1]])


def rotate(points, degrees):
    """Points rotated about the origin, clockwise as seen in the picture."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(points, float) @ np.array([[cosine, sine], [-sine, cosine]])


def fill(picture, outline, colour):
    """Fill an outline with one flat colour, with smooth edges."""
    fixed = np.round(np.asarray(outline) * 2 ** SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(picture, [fixed], tuple(float(value) for value in colour), cv2.LINE_AA,
                 SUBPIXEL_BITS)


def paint(picture, area, random, coverage=None):
    """Paint an area: colour, texture, and the shading of a rounded body.

    Args:
        picture: (H, W, 3) uint8, changed in place.
        area: Area.
        random: numpy Generator; how much is drawn from it does not depend on the outline.
        coverage: (H, W) uint8 to note in, as the largest so far, how far (0 to 255) each pixel is
            covered; or None.
    """
    random = np.random.default_rng(random.integers(2 ** 63))
    height, width = picture.shape[:2]
    x0, y0 = np.maximum(np.floor(area.outline.min(axis=0)).astype(int) - 2, 0)
    x1, y1 = np.minimum(np.ceil(area.outline.max(axis=0)).astype(int) + 3, (width, height))
    if x0 >= x1 or y0 >= y1:
        return
    alpha = np.zeros((y1 - y0, x1 - x0), np.uint8)
    fill(alpha, area.outline - [x0, y0], (255,))
    if coverage is not None:
        np.maximum(coverage[y0:y1, x0:x1], alpha, out=coverage[y0:y1, x0:x1])
    window = picture[y0:y1, x0:x1]
    weight = alpha[..., None].astype(np.float32) / 255
    window[:] = np.rint(mix(window, _filling(area, alpha, random), weight))


def _filling(area, alpha, random):
    """Colours of an area's window, (h, w, 3) float32 in [0, 255]."""
    height, width = alpha.shape
    colours = np.asarray(area.colour, np.float32)
    if area.lower_colour is not None:
        height_below = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        colours = mix(colours, area.lower_colour, smooth_step(height_below, 0.4, 0.75))
    light = 1 + area.contrast * _texture(area.texture, alpha.shape, random)
    if area.relief:
        light = light * _shading(alpha, area.relief)
    return np.clip(colours * light[..., None], 0, 255)


def _texture(name, size, random):
    """Relative brightness of a texture: (H, W) float32 in about [-1, 1]."""
    grain = max(max(size) / 5, 4)
    rough = noise(random, size, grain)
    if name == "plain":
        return rough
    if name == "mottled":
        return 2 * smooth_step(rough, -0.15, 0.15) - 1
    if name == "spots":
        return 1 - 2 * smooth_step(noise(random, size, grain / 2, octaves=1), 0.15, 0.3)
    y, x = np.mgrid[:size[0], :size[1]].astype(np.float32)
    turn = random.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if name == "stripes":
        return np.tanh(3 * np.sin(2 * np.pi * across / grain + 2 * rough))
    if name != "scales":
        raise ValueError(f"texture {name!r} is none of {', '.join(TEXTURES)}")
    row = np.floor(across / (0.5 * grain))
    arc = (along / grain + 0.5 * (row % 2)) % 1 - 0.5
    return 1 - 2 * ((across / (0.5 * grain)) % 1 + 4 * arc ** 2) / 2 + 0.3 * rough


def _shading(alpha, relief):
    """Lambert shading of the rounded body over a polygon: (H, W) float32 around 1."""
    padded = cv2.copyMakeBorder((alpha > 127).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    radius = max(float(depth.max()), 1.0)
    inward = np.clip(depth / radius, 0, 1)
    bulge = cv2.GaussianBlur(np.sqrt(inward * (2 - inward)) * radius, (0, 0), 0.12 * radius + 0.5)
    slope_x, slope_y = cv2.Sobel(bulge, -1, 1, 0) / 8, cv2.Sobel(bulge, -1, 0, 1) / 8
    facing = LIGHT[2] - LIGHT[0] * slope_x - LIGHT[1] * slope_y
    facing /= np.sqrt(1 + slope_x ** 2 + slope_y ** 2) * np.linalg.norm(LIGHT)
    return 1 + relief * (facing - 0.45)
