"""Thirty-two kinds of things to pretrain on: fruits, plants, sea creatures, insects, tools,
vehicles, furniture. No bird is among them, nor anything with a bird's crest.

Every kind is a function from a random generator to ``(part, outline)`` pairs about the origin,
in units of roughly half the thing's size, x to the right and y down. ``part`` 0, 1 or 2 names the
colour; colours and textures are drawn apart from the kind, so they do not give it away.
"""

import numpy as np

from demo.painting import ellipse, ribbon, rotate, smooth_outline


def _bar(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def _ring(outlines):
    """A solid outline with a hole: out along the first, back along the second."""
    outer, inner = outlines
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])


def _mirrored(points):
    """An outline whose right half is given from top to bottom, completed on the left."""
    points = np.asarray(points, float)
    return np.concatenate([points, points[::-1] * [-1, 1]])


def _spokes(outline, count, start=0.0):
    return [rotate(outline, start + 360 * step / count) for step in range(count)]


def apple(random):
    body = _mirrored([[0, -0.6], [0.5, -0.8], [0.95, -0.3], [0.75, 0.5], [0.3, 0.85], [0, 0.75]])
    leaf = rotate(ellipse((0.3, 0), (0.35, 0.14)), random.uniform(-60, 0)) + [0, -0.8]
    stalk = ribbon([[0, -0.6], [0.05, -0.9], [0.1, -1.1]], (0.1, 0.1))
    return [(0, smooth_outline(body)), (1, stalk), (2, leaf)]


def pear(random):
    waist = random.uniform(0.25, 0.4)
    body = _mirrored([[0, -1.0], [waist, -0.8], [waist + 0.1, -0.3], [0.8, 0.4], [0.4, 0.95]])
    return [(0, smooth_outline(body)), (1, ribbon([[0, -0.9], [0.1, -1.3]], (0.1, 0.08)))]


def banana(random):
    angles = np.linspace(0.15, random.uniform(0.75, 0.95), 14) * np.pi
    spine = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [(0, ribbon(spine, 0.1 + 0.4 * np.sin(np.linspace(0, np.pi, 14))))]


def cherries(random):
    spread = random.uniform(0.4, 0.6)
    return [(1, ribbon([[-spread, 0.4], [-0.2, -0.4], [0.1, -0.9]], (0.07, 0.07))),
            (1, ribbon([[spread, 0.5], [0.3, -0.3], [0.1, -0.9]], (0.07, 0.07))),
            (0, ellipse((-spread, 0.5), (0.42, 0.42))), (0, ellipse((spread, 0.6), (0.42, 0.42)))]


def mushroom(random):
    cap = smooth_outline([[-1, 0.1], [-0.7, -0.6], [0, -0.9], [0.7, -0.6], [1, 0.1], [0, 0.2]])
    foot = random.uniform(0.3, 0.5)
    return [(1, ribbon([[0, 0], [0, 0.6], [0, 1.1]], (0.4, foot, foot + 0.1))), (0, cap)]


def cactus(random):
    low = random.uniform(0, 0.3)
    arm = [[0.1, low], [0.6, low], [0.62, -0.5]]
    return [(0, ribbon([[0, 1.1], [0, 0], [0, -1.1]], (0.5, 0.55, 0.4))),
            (0, ribbon(smooth_outline(arm, False), (0.28, 0.25))),
            (0, ribbon(smooth_outline(np.array(arm) * [-1, 1] + [0, 0.3], False), (0.28, 0.25)))]


def blossom(random):
    petals = _spokes(smooth_outline([[0, 0], [0.6, -0.35], [1.1, 0], [0.6, 0.35]]),
                     random.integers(5, 9))
    return [(0, petal) for petal in petals] + [(1, ellipse((0, 0), (0.32, 0.32)))]


def acorn(random):
    nut = smooth_outline([[-0.6, -0.2], [-0.5, 0.6], [0, 1.1], [0.5, 0.6], [0.6, -0.2]])
    cup = smooth_outline([[-0.8, -0.1], [-0.5, -0.7], [0, -0.85], [0.5, -0.7], [0.8, -0.1]])
    return [(0, nut), (1, cup), (1, ribbon([[0, -0.8], [0.1, -1.2]], (0.14, 0.1)))]


def fish(random):
    fin = random.uniform(0.4, 0.7)
    return [(1, np.array([[-0.7, 0], [-1.3, -0.55], [-1.1, 0], [-1.3, 0.55]])),
            (1, np.array([[-0.3, -0.4], [-0.1, -0.4 - fin], [0.4, -0.35]])),
            (0, smooth_outline([[-0.9, 0], [-0.1, -0.5], [0.7, -0.35], [1, 0], [0.7, 0.35],
                                [-0.1, 0.5]])), (2, ellipse((0.65, -0.1), (0.09, 0.09)))]


def starfish(random):
    arm = smooth_outline([[0, -0.3], [0.7, -0.2], [1.1, 0], [0.7, 0.2], [0, 0.3]])
    return [(0, each) for each in _spokes(arm, 5)] + [(0, ellipse((0, 0), (0.4, 0.4)))]


def jellyfish(random):
    arms = [(1, ribbon(smooth_outline([[x, 0], [x + 0.15, 0.4], [x - 0.12, 0.8], [x, 1.2]], False),
                       (0.12, 0.05))) for x in np.linspace(-0.6, 0.6, random.integers(4, 7))]
    return arms + [(0, smooth_outline([[-0.85, 0.1], [-0.6, -0.7], [0, -0.95], [0.6, -0.7],
                                       [0.85, 0.1], [0, 0.0]]))]


def turtle(random):
    flippers = [(1, rotate(ellipse((0.95, 0), (0.42, 0.16)), turn)) for turn in (35, 145, 215, 325)]
    return flippers + [(1, ellipse((1.0, 0), (0.32, 0.22))), (0, ellipse((0, 0), (0.9, 0.68))),
                       (2, ellipse((0, 0), (0.5, 0.36)))]


def crab(random):
    legs = [(1, ribbon([[side * 0.5, y], [side, y - 0.25], [side * 1.25, y + 0.2]], (0.12, 0.05)))
            for side in (-1, 1) for y in (0.05, 0.25, 0.45)]
    claws = [(1, smooth_outline(np.array([[0.5, -0.2], [0.9, -0.95], [0.75, -0.55], [1.3, -0.8],
                                          [0.9, -0.2]]) * [side, 1])) for side in (-1, 1)]
    return legs + claws + [(0, ellipse((0, 0.1), (0.75, random.uniform(0.42, 0.55))))]


def butterfly(random):
    reach = random.uniform(0.9, 1.2)
    wings = [(part, smooth_outline(np.array(points) * [side * reach, 1])) for side in (-1, 1)
             for part, points in ((1, [[0, 0], [0.7, 0.1], [0.8, 0.7], [0.3, 0.8]]),
                                  (0, [[0, 0.1], [0.3, -0.8], [1.0, -0.9], [0.9, -0.1]]))]
    return wings + [(2, ellipse((0, 0), (0.1, 0.65)))]


def snail(random):
    foot = smooth_outline([[-1.2, 0.65], [0.6, 0.35], [0.95, -0.2], [1.2, -0.1], [1.0, 0.65]])
    horns = [(1, ribbon([[1.05, -0.1], [1.05 + lean, -0.6]], (0.07, 0.07))) for lean in (0, 0.3)]
    return horns + [(1, foot), (0, ellipse((-0.15, 0), (0.75, 0.7))),
                    (2, ellipse((-0.05, 0.05), (0.4, 0.36))), (0, ellipse((0, 0.08), (0.2, 0.18)))]


def beetle(random):
    legs = [(2, ribbon([[0, y], [side * 0.7, y - 0.15], [side * 1.0, y + 0.25]], (0.1, 0.06)))
            for side in (-1, 1) for y in (-0.35, 0.1, 0.5)]
    return legs + [(2, ellipse((0, -0.8), (0.35, 0.3))), (0, ellipse((0, 0.1), (0.65, 0.85))),
                   (2, ribbon([[0, -0.6], [0, 0.95]], (0.05, 0.05)))]


def caterpillar(random):
    waves = random.uniform(0.15, 0.35)
    return [(step % 2, ellipse((x, waves * np.sin(3 * x)), (0.3, 0.34)))
            for step, x in enumerate(np.linspace(-1.1, 1.1, 7))]


def cup(random):
    handle = _ring([ellipse((0.75, 0), (0.42, 0.45)), ellipse((0.75, 0), (0.24, 0.27))])
    return [(1, handle), (0, _mirrored([[0.75, -0.8], [random.uniform(0.5, 0.75), 0.8]])),
            (2, ellipse((0, -0.8), (0.75, 0.18)))]


def bottle(random):
    wide = random.uniform(0.35, 0.5)
    return [(0, _mirrored([[0.14, -1.2], [0.14, -0.6], [wide, -0.2], [wide, 1.1]])),
            (1, _bar(-wide, 0.1, wide, 0.6)), (2, _bar(-0.18, -1.35, 0.18, -1.1))]


def lamp(random):
    flare = random.uniform(0.6, 0.9)
    return [(1, _bar(-0.06, -0.3, 0.06, 1.0)), (1, ellipse((0, 1.05), (0.5, 0.13))),
            (0, _mirrored([[0.3, -1.1], [flare, -0.1]]))]


def chair(random):
    legs = [(1, ribbon([[x, 0.2], [x * 1.15, 1.15]], (0.12, 0.09)))
            for x in (-0.5, -0.25, 0.4, 0.6)]
    return legs + [(0, np.array([[-0.6, 0.1], [0.4, 0.1], [0.7, 0.32], [-0.5, 0.32]])),
                   (0, ribbon([[-0.55, 0.2], [-0.65, -1.1]], (0.3, random.uniform(0.2, 0.45))))]


def dining_table(random):
    height = random.uniform(0.6, 0.9)
    return [(1, _bar(x - 0.07, -0.3, x + 0.07, height)) for x in (-0.95, -0.6, 0.6, 0.95)] + [
        (0, np.array([[-0.8, -0.55], [0.8, -0.55], [1.2, -0.25], [-1.2, -0.25]]))]


def house(random):
    peak = random.uniform(0.8, 1.2)
    roof = np.array([[-1.05, -0.15], [0, -peak], [1.05, -0.15]])
    return [(0, _bar(-0.8, -0.2, 0.8, 0.9)), (1, roof),
            (2, _bar(-0.2, 0.35, 0.15, 0.9)), (2, _bar(0.35, 0.1, 0.65, 0.4)),
            (2, _bar(-0.65, 0.1, -0.35, 0.4))]


def car(random):
    roof = random.uniform(0.4, 0.6)
    wheels = [(part, ellipse((x, 0.35), (reach, reach))) for x in (-0.65, 0.65)
              for part, reach in ((2, 0.27), (1, 0.12))]
    return [(0, smooth_outline([[-1.2, 0.3], [-1.15, -0.1], [-0.6, -0.2], [-0.35, -roof - 0.1],
                                [0.35, -roof - 0.1], [0.7, -0.2], [1.2, -0.05], [1.2, 0.3]])),
            (1, np.array([[-0.45, -0.2], [-0.28, -roof], [0.28, -roof], [0.5, -0.2]]))] + wheels


def lorry(random):
    wheels = [(2, ellipse((x, 0.55), (0.22, 0.22))) for x in (-0.85, -0.35, 0.75)]
    return [(0, _bar(-1.2, -random.uniform(0.4, 0.7), 0.4, 0.45)),
            (1, np.array([[0.45, -0.3], [0.85, -0.3], [1.15, 0.05], [1.15, 0.45], [0.45, 0.45]]))
            ] + wheels


def boat(random):
    mast = random.uniform(0.9, 1.2)
    return [(2, _bar(-0.05, -mast, 0.05, 0.4)),
            (1, np.array([[0.1, -mast], [0.1, 0.2], [0.85, 0.2]])),
            (1, np.array([[-0.1, -0.8 * mast], [-0.1, 0.2], [-0.7, 0.2]])),
            (0, np.array([[-1.1, 0.35], [1.2, 0.35], [0.8, 0.85], [-0.8, 0.85]]))]


def balloon(random):
    return [(2, ribbon([[x, 0.3], [x * 0.5, 1.0]], (0.04, 0.04))) for x in (-0.5, 0.5)] + [
        (1, _bar(-0.25, 0.95, 0.25, 1.3)),
        (0, smooth_outline([[0, -1.1], [0.75, -0.75], [0.85, -0.1], [0.3, 0.6], [-0.3, 0.6],
                            [-0.85, -0.1], [-0.75, -0.75]]))]


def umbrella(random):
    scallops = [[x, 0.0 if step % 2 else -0.15]
                for step, x in enumerate(np.linspace(1.1, -1.1, 9))]
    dome = [[np.cos(angle) * -1.1, -np.sin(angle) * random.uniform(0.93, 0.97)]
            for angle in np.linspace(0.05, np.pi - 0.05, 14)]
    handle = smooth_outline([[0, -0.9], [0, 0.8], [0.15, 1.05], [0.35, 0.85]], False)
    return [(1, ribbon(handle, (0.08, 0.1))), (0, np.array(dome + scallops))]


def key(random):
    teeth = [(0, _bar(x, 0, x + 0.14, random.uniform(0.25, 0.5))) for x in (0.65, 0.95)]
    return [(0, _ring([ellipse((-0.7, 0), (0.5, 0.5)), ellipse((-0.75, 0), (0.24, 0.24))])),
            (0, _bar(-0.25, -0.1, 1.2, 0.1))] + teeth


def hammer(random):
    head = random.uniform(0.2, 0.32)
    return [(1, _bar(-0.1, -0.7, 0.1, 1.2)),
            (0, np.array([[-0.9, -0.75], [-0.3, -0.75 - head], [0.6, -0.75 - head],
                          [0.6, -0.75 + head], [-0.3, -0.75 + head]]))]


def ring_cake(random):
    hole = random.uniform(0.28, 0.45)
    return [(0, _ring([ellipse((0, 0), (1.0, 0.85)), ellipse((0, -0.03), (hole, hole * 0.8))])),
            (1, _ring([ellipse((0, -0.04), (0.85, 0.7)),
                       ellipse((0, -0.03), (hole + 0.1, hole * 0.8 + 0.1))]))]


def hat(random):
    crown = random.uniform(0.35, 0.6)
    return [(0, ellipse((0, 0.45), (1.2, 0.3))),
            (0, _mirrored([[crown, -0.7], [0.62, 0.4]])), (1, _mirrored([[.6, 0.1], [0.63, 0.4]]))]


KINDS = (apple, pear, banana, cherries, mushroom, cactus, blossom, acorn, fish, starfish, jellyfish,
         turtle, crab, butterfly, snail, beetle, caterpillar, cup, bottle, lamp, chair,
         dining_table, house, car, lorry, boat, balloon, umbrella, key, hammer, ring_cake, hat)
