"""Backgrounds of the procedural pictures: sky, meadow, water, foliage, woodland and shore.

Every habitat has a perch, a branch or a stone under a given point, for something to sit on; a
picture without an object is the same picture with the perch left empty. So nothing but the object
tells the two kinds of pictures apart.
"""

import cv2
import numpy as np

from demo.painting import (Area, blob, fill, mix, noise, paint, ribbon,
                           rotate, smooth_outline, smooth_step, vary)

GREENS = ((70, 110, 45), (95, 135, 55), (120, 150, 70), (55, 90, 50), (140, 160, 80))
AUTUMN = ((170, 110, 50), (190, 150, 70), (150, 80, 45), (200, 170, 90))
BARKS = ((92, 74, 58), (120, 104, 88), (70, 58, 50), (140, 128, 112))
STONES = ((128, 124, 118), (150, 140, 126), (104, 104, 108), (160, 152, 144))
PETALS = ((235, 220, 90), (240, 240, 235), (200, 110, 170), (220, 90, 70), (130, 110, 200))


def paint_habitat(random, size, perch, unit):
    """A background picture.

    Args:
        random: numpy Generator; it also chooses the habitat.
        size: (height, width) in pixels.
        perch: (x, y) in pixels of the point where a branch or a stone offers a seat.
        unit: size in pixels of what would sit there; the branch and the stone go with it.

    Returns:
        (H, W, 3) uint8.
    """
    scenery, seat = HABITATS[random.integers(len(HABITATS))]
    picture = scenery(random, size)
    blur = random.uniform(0.2, 2.0) * min(size) / 300
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    seat(random, picture, np.asarray(perch, float), unit)
    return picture


def _pick(random, colours, spread=22):
    return vary(random, colours[random.integers(len(colours))], spread)


def _gradient(size, upper, lower, curve=1.0):
    """Vertical gradient between two colours: (H, W, 3) float32."""
    weight = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None] ** curve
    return np.broadcast_to(mix(upper, lower, weight), (*size, 3)).copy()


def _as_picture(colours):
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def _sky(random, size):
    """Clear to cloudy sky, often over hills."""
    height, width = size
    blue = vary(random, (105, 155, 215), 35)
    colours = _gradient(size, blue, vary(random, (205, 220, 230), 20))
    billows = noise(random, size, (height / 3, width / 2), octaves=6)
    low = random.uniform(-0.1, 0.25)
    clouds = smooth_step(billows, low, low + 0.3)[..., None]
    shade = 235 + 45 * noise(random, size, height / 3)[..., None]
    colours = mix(colours, shade, 0.9 * clouds)
    ground = height * random.uniform(0.75, 1.2)
    far = vary(random, (110, 140, 160), 20)
    for step in range(3):
        ridge = ground + height * 0.12 * (step + noise(random, (1, width), width / 2, 6)[0])
        hills = np.clip(np.arange(height)[:, None] - ridge, 0, 1)[..., None]
        colour = mix(far, _pick(random, GREENS), (step + 1) / 3)
        rough = 1 + 0.3 * noise(random, size, height / 12)[..., None]
        colours = mix(colours, colour * rough, hills)
    return _as_picture(colours)


def _meadow(random, size):
    """Blades of grass and flowers before blurred greenery."""
    height, width = size
    colours = _gradient(size, _pick(random, GREENS, 35), _pick(random, GREENS))
    colours = colours * (1 + 0.35 * noise(random, size, height / 4, 5)[..., None])
    picture = cv2.GaussianBlur(_as_picture(colours), (0, 0), height / 60)
    blade_green = _pick(random, GREENS)
    top = random.uniform(0.0, 0.6)
    for depth in np.sort(random.uniform(top, 1.15, 260)):
        length = height * random.uniform(0.08, 0.22) * (0.4 + depth)
        root = np.array([random.uniform(0, width), depth * height + length / 2])
        lean = random.normal(0, 0.35) * length
        spine = [root, root + [lean * 0.3, -0.6 * length], root + [lean, -length]]
        colour = np.asarray(vary(random, blade_green, 30)) * (0.55 + 0.5 * depth)
        fill(picture, ribbon(spine, (length * 0.06, length * 0.05, 0.5)), np.clip(colour, 0, 255))
    petals = _pick(random, PETALS)
    for _ in range(random.poisson(9)):
        centre = random.uniform((0, top * height), (width, height))
        radius = height * random.uniform(0.008, 0.022)
        _flower(picture, centre, radius, vary(random, petals, 15))
    return picture


def _flower(picture, centre, radius, colour):
    for turn in range(0, 360, 72):
        petal = rotate(smooth_outline([[0, 0], [0.9, -0.5], [1.4, 0], [0.9, 0.5]], steps=3), turn)
        fill(picture, petal * radius + centre, colour)
    fill(picture, rotate([[-.4, -.4], [.4, -.4], [.4, .4], [-.4, .4]], 20) * radius + centre,
         (225, 175, 60))


def _water(random, size):
    """Rippled water with glints and reeds."""
    height, width = size
    deep = vary(random, ((50, 90, 115), (70, 100, 95), (85, 125, 150))[random.integers(3)], 20)
    colours = _gradient(size, np.asarray(deep) * 1.35, deep)
    ripples = noise(random, size, (height / 14, width / 2.5), octaves=4)
    swell = noise(random, size, (height / 3, width / 2), octaves=3)
    colours = colours * (1 + 0.4 * ripples + 0.3 * swell)[..., None]
    glints = smooth_step(ripples + 0.4 * swell, 0.3, 0.5)[..., None]
    picture = _as_picture(mix(colours, (225, 235, 235), 0.6 * glints))
    green, clump = _pick(random, GREENS), random.uniform(0, width)
    for _ in range(random.poisson(16)):
        root = np.array([random.normal(clump, width * 0.12), height * random.uniform(0.8, 1.1)])
        length, lean = height * random.uniform(0.3, 0.9), random.normal(0, 0.12)
        spine = [root, root + [lean * length * 0.3, -length * 0.6], root + [lean * length, -length]]
        fill(picture, ribbon(spine, (width * 0.014, width * 0.01, 0.5)), vary(random, green, 30))
    return picture


def _leaf(random, picture, tip, length, colour):
    """A pointed leaf with a midrib that hangs somewhere from ``tip``."""
    half = length * random.uniform(0.18, 0.32)
    outline = smooth_outline([[0, 0], [0.3 * length, -half], [length, 0], [0.3 * length, half]],
                             steps=5)
    turn = random.uniform(0, 360)
    fill(picture, rotate(outline, turn) + tip, colour)
    rib = rotate([[0, 0], [0.5 * length, 0], [0.95 * length, 0]], turn) + tip
    fill(picture, ribbon(rib, (0.05 * length, 0.3)), np.asarray(colour) * 0.75)


def _foliage(random, size):
    """Layers of leaves, dark and blurred behind, light before."""
    height, width = size
    green = _pick(random, GREENS if random.random() < 0.8 else AUTUMN)
    colours = np.asarray(green) * 0.45 * (1 + 0.8 * noise(random, size, height / 3, 4)[..., None])
    picture = _as_picture(colours)
    for depth in (0.55, 0.8, 1.0):
        for _ in range(random.integers(15, 60)):
            tip = random.uniform((0, 0), (width, height))
            length = height * random.uniform(0.1, 0.24)
            colour = np.clip(np.asarray(vary(random, green, 30)) * depth * 1.15, 0, 255)
            _leaf(random, picture, tip, length, colour)
        if depth < 1:
            picture = cv2.GaussianBlur(picture, (0, 0), height / 90)
    return picture


def _woodland(random, size):
    """Trunks before soft light and undergrowth."""
    height, width = size
    colours = _gradient(size, vary(random, (165, 180, 140), 35), _pick(random, GREENS, 30), 0.8)
    colours = colours * (1 + 0.45 * noise(random, size, height / 5, 5)[..., None])
    picture = cv2.GaussianBlur(_as_picture(colours), (0, 0), height / 50)
    bark = _pick(random, BARKS)
    for _ in range(random.integers(2, 6)):
        x, lean = random.uniform(0, width), random.normal(0, 0.06) * height
        thick = width * random.uniform(0.03, 0.11)
        spine = [[x, -5], [x + lean, height * 0.5], [x + lean * 1.5, height + 5]]
        paint(picture, Area(ribbon(spine, (thick * 0.8, thick)), vary(random, bark, 20),
                            contrast=0.5, relief=0.4), random)
        picture = cv2.GaussianBlur(picture, (0, 0), height / 220)
    fern = _pick(random, GREENS)
    for _ in range(random.integers(10, 50)):
        tip = np.array([random.uniform(0, width), height * (1 - random.exponential(0.13))])
        _leaf(random, picture, tip, height * random.uniform(0.05, 0.14), vary(random, fern, 25))
    return picture


def _shore(random, size):
    """Sand or gravel with pebbles."""
    height, width = size
    sand = vary(random, (190, 172, 140), 30)
    colours = _gradient(size, np.asarray(sand) * 1.08, np.asarray(sand) * 0.85)
    drifts = noise(random, size, (height / 6, width / 2), octaves=3)
    grains = random.uniform(-1, 1, size).astype(np.float32)
    picture = _as_picture(colours * (1 + 0.3 * drifts + 0.1 * grains)[..., None])
    for y in np.sort(random.uniform(0, height, random.integers(6, 40))):
        radius = width * random.uniform(0.012, 0.05) * (0.6 + y / height)
        pebble = blob(random, (random.uniform(0, width), y), (radius, radius * 0.65), 0.18)
        fill(picture, pebble + [0.15 * radius, 0.3 * radius], np.asarray(sand) * 0.55)
        paint(picture, Area(pebble, _pick(random, STONES), relief=0.5, contrast=0.2), random)
    return picture


def _branch(random, picture, perch, unit):
    """A branch that comes in from one side and ends in twigs beyond the perch."""
    height, width = picture.shape[:2]
    thick = unit * random.uniform(0.12, 0.24)
    side = 1 if random.random() < 0.5 else -1
    seat = perch + [0, thick * 0.45]
    start = np.array([-thick if side > 0 else width + thick,
                      np.clip(seat[1] + height * random.normal(0.05, 0.12), 0, height)])
    reach = random.uniform(0.3, 0.9) * width
    end = seat + [side * reach, random.normal(-0.08, 0.15) * reach]
    spine = smooth_outline([start, (start + 2 * seat) / 3 + random.normal(0, 0.04 * unit, 2),
                            seat, (seat + end) / 2 + random.normal(0, 0.06 * unit, 2), end],
                           closed=False)
    bark, green = _pick(random, BARKS), _pick(random, GREENS)
    for root in spine[random.integers(0, len(spine), random.integers(0, 5))]:
        turn, length = random.uniform(15, 60) * random.choice((-1, 1)), unit * random.uniform(.4, 1)
        twig = rotate([[0, 0], [side * 0.5 * length, 0], [side * length, 0]], turn) + root
        fill(picture, ribbon(twig, (thick * 0.4, thick * 0.12)), np.asarray(bark) * 0.85)
        _leaf(random, picture, twig[-1], unit * random.uniform(0.2, 0.35), vary(random, green, 25))
    for tip in spine[random.integers(0, len(spine), random.integers(0, 7))]:
        _leaf(random, picture, tip, unit * random.uniform(0.2, 0.35), vary(random, green, 25))
    paint(picture, Area(ribbon(spine, (thick * 1.3, thick * 0.5)), bark, contrast=0.45), random)


def _stones(random, picture, perch, unit):
    """A stone under the perch, and smaller ones about it."""
    height, width = picture.shape[:2]
    radii = unit * np.array([random.uniform(0.5, 1.1), random.uniform(0.25, 0.5)])
    shift = random.uniform(-0.3, 0.3) * radii[0]
    stones = [(perch + [shift, radii[1] * 0.85], radii)]
    for _ in range(random.poisson(1.5)):
        centre = (random.uniform(0, width), random.uniform(perch[1], height + 1))
        stones.append((np.array(centre), radii * random.uniform(0.25, 0.6)))
    colour = _pick(random, STONES)
    for centre, reach in sorted(stones, key=lambda stone: stone[0][1]):
        outline = blob(random, centre, reach, 0.12)
        texture, contrast = (("plain", 0.3), ("mottled", 0.1))[random.integers(2)]
        paint(picture, Area(outline, vary(random, colour, 20), None, texture, contrast), random)


HABITATS = ((_sky, _branch), (_meadow, _stones), (_water, _stones), (_foliage, _branch),
            (_woodland, _branch), (_shore, _stones))
