"""Synthetic photographs of CUB-200-2011's size, for benchmarks without a data set."""

import cv2
import joblib
import numpy as np

from common.files import read_json, write_json

SIZE = (375, 500)  # (height, width) in pixels of most pictures of CUB-200-2011
QUALITY = 85  # with which a file takes about as many bytes as one of CUB's, 95 kB
CLASSES = 10
PAINTED = 64  # different pictures per data set; the others are copies


def synthetic_photograph(random, size=SIZE):
    """Noise with a photograph's spectrum and a bright ellipse on it.

    The amplitude falls as one over the spatial frequency, as in natural images (Field, 1987), so
    that decoding and compressing take as long as for a photograph.

    Args:
        random: numpy Generator.
        size: (height, width) in pixels.

    Returns:
        ((H, W, 3) uint8 RGB, box of the ellipse (x, y, width, height) in pixels).
    """
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    fall = 1 / np.maximum(frequency, 1 / max(size))
    waves = [np.fft.irfft2(np.fft.rfft2(random.standard_normal(size)) * fall, size)
             for _ in range(4)]
    light, *colours = (wave / wave.std() for wave in waves)
    picture = np.stack([118 + 48 * light + 18 * colour for colour in colours], axis=-1)
    radii = random.uniform(0.15, 0.35, 2) * (width, height)
    centre = random.uniform(0.4, 0.6, 2) * (width, height)
    shape = np.zeros(size, np.uint8)
    cv2.ellipse(shape, (centre.tolist(), (2 * radii).tolist(), 0.0), 1, -1)
    picture[shape > 0] += random.uniform(-70, 70, 3)
    return picture.clip(0, 255).astype(np.uint8), (*(centre - radii), *(2 * radii))


def write_pictures(folder, train, test, backgrounds, size=SIZE):
    """Write a data set in CUB-200-2011's layout, and background images; once.

    Args:
        folder: where ``cub/`` and ``backgrounds/`` are written.
        train, test: target images of each split, dealt out over ``CLASSES`` classes.
        backgrounds: background images.
        size: (height, width) of each in pixels.

    Returns:
        (folder of the data set, folder of the background images).
    """
    cub, background = folder / "cub", folder / "backgrounds"
    wanted = {"train": train, "test": test, "backgrounds": backgrounds, "size": list(size)}
    finished = folder / "finished.json"
    if finished.is_file() and read_json(finished) == wanted:
        return cub, background
    names = [f"{number % CLASSES + 1:03d}.Kind/{number:05d}.jpg" for number in range(train + test)]
    paths = [cub / "images" / name for name in names]
    paths += [background / f"{number:05d}.jpg" for number in range(backgrounds)]
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
    painted = joblib.Parallel(n_jobs=-1, prefer="threads")(
        joblib.delayed(_painted)(seed, size) for seed in range(min(PAINTED, len(paths))))
    for number, path in enumerate(paths):
        path.write_bytes(painted[number % PAINTED][0])
    boxes = [painted[number % PAINTED][1] for number in range(len(names))]
    tables = {
        "images": names,
        "image_class_labels": [number % CLASSES + 1 for number in range(len(names))],
        "train_test_split": [int(number < train) for number in range(len(names))],
        "bounding_boxes": [" ".join(f"{edge:.1f}" for edge in box) for box in boxes],
        "classes": [f"{number + 1:03d}.Kind" for number in range(CLASSES)],
    }
    for name, values in tables.items():
        lines = [f"{number} {value}\n" for number, value in enumerate(values, 1)]
        (cub / f"{name}.txt").write_text("".join(lines))
    write_json(finished, wanted)
    return cub, background


def _painted(seed, size):
    """(bytes of a JPEG, box)."""
    picture, box = synthetic_photograph(np.random.default_rng(seed), size)
    content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return content.tobytes(), box
