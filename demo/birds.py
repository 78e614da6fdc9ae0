"""Crested birds of six kinds, the objects of the embedded data set.

The kinds differ in nothing but the crest on the head. Lengths are in units of half the body's
length until a bird is placed, then in pixels.
"""

import dataclasses

import numpy as np

from demo.painting import (Area, ellipse, paint, ribbon, rotate,
                           smooth_outline, vary)

CLASSES = ("Spear_crested_Bird", "Fan_crested_Bird", "Plume_crested_Bird",
           "Horned_Bird", "Comb_crested_Bird", "Shield_crested_Bird")
CREST_COLOURS = ((196, 48, 40), (240, 206, 66), (40, 34, 44),
                 (242, 240, 236), (228, 128, 36), (120, 74, 176))
PLUMAGE = (  # back and belly
    ((112, 84, 60), (206, 186, 152)), ((90, 98, 108), (190, 194, 196)),
    ((60, 84, 120), (214, 170, 120)), ((104, 108, 62), (214, 204, 130)),
    ((140, 74, 52), (220, 196, 176)), ((48, 50, 56), (150, 146, 142)),
    ((176, 150, 112), (236, 226, 206)), ((66, 110, 108), (206, 214, 196)),
    ((150, 120, 60), (110, 86, 66)), ((196, 192, 186), (228, 226, 220)))


@dataclasses.dataclass(frozen=True)
class Bird:
    """A bird's outlines in the order of painting, without colours."""

    pieces: tuple
    """(role, outline) pairs; a role is one of ``paint_bird``'s coats, or the label
    whose crest it is a piece of."""
    foot: np.ndarray = None
    """(x, y) of the point between the feet."""
    unit: float = 1.0
    """Half the length of the body."""


def random_bird(random):
    """A bird in a random pose that looks to the right, its body about the origin, its unit 1."""
    tilt, plump = random.uniform(-38, 18), random.uniform(0.5, 0.72)
    head_radius, gaze = random.uniform(0.38, 0.48), random.uniform(-22, 15)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    egg = np.stack([np.cos(angles), plump * np.sin(angles) * (1 + 0.22 * np.cos(angles))], axis=1)
    shoulder = rotate([[0.72, -0.3 * plump]], tilt)[0]
    head = shoulder + [random.uniform(0.0, 0.35), -random.uniform(0.3, 0.85)]
    neck = ribbon([shoulder - [0.2, -0.1], (shoulder + head) / 2, head],
                  (1.2 * plump, 1.7 * head_radius, 1.5 * head_radius))
    wing = smooth_outline([[0.6, -0.2], [0.0, -0.42], [-0.8, -0.2],
                           [-random.uniform(1.0, 1.5), random.uniform(-0.1, 0.1)],
                           [-0.4, 0.22], [0.3, random.uniform(0.15, 0.35)]])
    feathers = [ribbon([[-0.1, y], [-0.5, y * 0.6], [-0.95, y * 0.2 - 0.05]], (0.05, 0.03))
                for y in (-0.15, 0.0, 0.13)]
    legs, foot = _legs(random, tilt, plump)
    pieces = [("tail", _tail(random, tilt)), *legs, ("back", neck), ("body", rotate(egg, tilt)),
              ("wing", rotate(wing, tilt)), *(("feather", rotate(each, tilt)) for each in feathers),
              *(((role, rotate(outline, gaze) * head_radius + head)
                 for role, outline in _head(random)))]
    return Bird(tuple(pieces), foot)


def _tail(random, tilt):
    length, spread = random.uniform(0.6, 1.5), random.uniform(0.3, 0.6)
    outline = np.array([[-0.6, -0.2], [-0.9 - length, -spread / 2], [-1 - length, 0],
                        [-0.9 - length, spread / 2], [-0.6, 0.2]])
    root = rotate([[-0.6, 0]], tilt)
    return rotate(outline - [-0.6, 0], tilt + random.uniform(-25, 20)) + root


def _legs(random, tilt, plump):
    """Two legs that stand upright whatever the body's tilt, and the point between the feet."""
    hips = rotate([[-0.1, 0.7 * plump], [0.22, 0.72 * plump]], tilt)
    ground = hips[:, 1].max() + random.uniform(0.3, 0.8)
    pieces = []
    for x, y in hips:
        pieces.append(("leg", ribbon([[x, y], [x - 0.06, (y + ground) / 2], [x + 0.02, ground]],
                                     (0.11, 0.07))))
        pieces.append(("leg", ribbon([[x - 0.12, ground], [x + 0.05, ground - 0.03],
                                      [x + 0.26, ground + 0.02]], (0.05, 0.07, 0.04))))
    return pieces, np.array([hips[:, 0].mean(), ground])


def _head(random):
    """Pieces of a head of radius 1 that looks to the right, the crests of all classes included."""
    bill = random.uniform(1.5, 2.4)
    thick = random.uniform(0.22, 0.42)
    pieces = [("back", ellipse((0, 0), (1.05, 1.0)))]
    pieces += [(label, outline) for label, crest in enumerate(_crests()) for outline in crest]
    return pieces + [
        ("beak", np.array([[0.8, -thick], [bill, 0.18], [0.75, thick + 0.1]])),
        ("eye", ellipse((0.42, -0.18), (0.2, 0.2), points=16)),
        ("glint", ellipse((0.48, -0.26), (0.07, 0.07), points=8))]


def _crests():
    """For each of ``CLASSES`` the outlines of the crest on a head of radius 1."""
    feather = smooth_outline([[0.3, 0], [1.2, -0.22], [1.9, 0], [1.2, 0.22]])
    return (
        [np.array([[0.55, -0.7], [0.0, -1.6], [-1.5, -2.6], [-0.9, -1.2], [-0.7, -0.5]])],
        [rotate(feather, turn) + [0, -0.35] for turn in (-150, -122, -94, -66, -38)],
        [ribbon([[0.0, -0.8], [0.0, -1.5], [0.35, -2.0]], (0.3, 0.22)),
         ellipse((0.7, -2.0), (0.62, 0.42), 20)],
        [np.array([[0.75, -0.6], [0.6, -2.2], [0.1, -0.9]]),
         np.array([[-0.15, -0.9], [-0.65, -2.2], [-0.85, -0.5]])],
        [ellipse((x, y), (0.44, 0.5)) for x, y in ((0.62, -0.95), (0.0, -1.25), (-0.62, -0.95))],
        [smooth_outline([[1.0, -0.25], [0.95, -1.45], [0.0, -1.7], [-0.95, -1.45], [-1.0, -0.3],
                         [0.0, -0.75]])])


def place(random, bird, size):
    """The bird mirrored or not, enlarged, and moved to a random place inside the frame."""
    mirror = random.choice((-1.0, 1.0))
    points = np.concatenate([outline for _, outline in bird.pieces]) * [mirror, 1]
    upper_left, extent = points.min(axis=0), np.ptp(points, axis=0)
    frame = np.array(size[::-1], float)
    # The sides' geometric mean is uniform, so that small boxes are as frequent as large ones.
    side = random.uniform(0.40, 0.76)
    scale = min(side * np.sqrt(frame.prod() / extent.prod()), *(0.95 * frame / extent))
    corner = random.uniform(0.02 * frame, 0.98 * frame - scale * extent)
    shift = corner - scale * upper_left

    def moved(outline):
        return outline * [mirror, 1] * scale + shift

    return Bird(tuple((role, moved(outline)) for role, outline in bird.pieces),
                moved(bird.foot), scale)


def paint_bird(picture, bird, label, random, coverage, part):
    """Paint the bird with the crest of one class, and note which pixels it and its crest cover."""
    back, belly = (vary(random, colour, 18) for colour in PLUMAGE[random.integers(len(PLUMAGE))])
    wing = np.asarray(back) * random.uniform(0.6, 0.95)
    bare = vary(random, ((70, 60, 54), (214, 150, 60), (120, 110, 100))[random.integers(3)], 15)
    barring = ("plain", "scales", "stripes", "spots")[random.integers(4)]
    coats = {  # colour, lower colour, texture, contrast, relief
        "tail": (wing, None, "plain", 0.3, 0.2), "leg": (bare, None, "plain", 0.1, 0.2),
        "back": (back, None, "plain", 0.3, 0.5), "body": (back, belly, "mottled", 0.1, 0.6),
        "wing": (wing, None, barring, 0.25, 0.4),
        "feather": (wing * 0.6, None, "plain", 0.1, 0), "beak": (bare, None, "plain", 0.1, 0.4),
        "eye": ((18, 14, 12), None, "plain", 0, 0), "glint": ((250, 250, 250), None, "plain", 0, 0)}
    crest_paint = np.random.default_rng(random.integers(2 ** 63))  # as many draws for every crest
    crest = vary(crest_paint, CREST_COLOURS[label], 14), None, "plain", 0.2, 0.4
    for role, outline in bird.pieces:
        if role in coats:
            paint(picture, Area(outline, *coats[role]), random, coverage)
        elif role == label:
            paint(picture, Area(outline, *crest), crest_paint, coverage)
            paint(np.zeros_like(picture), Area(outline, *crest), crest_paint, part)
