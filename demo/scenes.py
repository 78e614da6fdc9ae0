"""The embedded data set: pictures of crested birds, in CUB-200-2011's layout.

The classes differ in nothing but the crest; body, colours, pose, size, place and background are
drawn alike for all. That is the situation the paper is about (section 1): what tells the classes
apart is a small part of the object, and the backgrounds are shared with the background pictures,
which are the same kind of scenes without a bird.
"""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from common.boxes import mask_to_box
from common.files import read_json, write_bytes, write_json
from demo import birds, habitats, painting
from demo.birds import CLASSES

SUPERSAMPLING = 2  # pictures are painted this many times larger, then reduced
VISIBLE = 0.25  # a pixel belongs to the object from this share of its area on
SHORTEST, LONGEST = 140, 200  # range of a written picture's sides in pixels
JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class Scene:
    """One picture and what is known about it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    mask: np.ndarray
    """(H, W) bool, the pixels of the object, its part among them; all False without one."""
    part: np.ndarray
    """(H, W) bool, the visible pixels of the part that names the class."""

    @property
    def box(self):
        """(4,) int16 box of the entire object in pixels; all 0 without one."""
        return mask_to_box(self.mask)


def render_scene(seed, size, label=None):
    """Paint one picture. Equal arguments give equal bytes.

    Two labels under one seed give the same picture but for the crest; no label gives the same
    picture without the bird.

    Args:
        seed: int or sequence of ints.
        size: (height, width) in pixels.
        label: index into ``CLASSES``, or None for a background picture.

    Returns:
        Scene.
    """
    layout, habitat, plumage, camera = np.random.default_rng(seed).spawn(4)
    large = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    bird = birds.place(layout, birds.random_bird(layout), large)
    picture = habitats.paint_habitat(habitat, large, bird.foot, bird.unit)
    coverage, part = np.zeros(large, np.uint8), np.zeros(large, np.uint8)
    if label is not None:
        birds.paint_bird(picture, bird, label, plumage, coverage, part)
    image = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    coverage, part = (cv2.resize(each, size[::-1], interpolation=cv2.INTER_AREA) >= 255 * VISIBLE
                      for each in (coverage, part))
    return Scene(_photograph(camera, image), coverage, part)


def _photograph(random, image):
    """A camera's exposure, white balance and sensor noise."""
    gain = random.uniform(0.82, 1.15) * random.uniform(0.96, 1.04, 3)
    grain = random.normal(0, random.uniform(1, 4), image.shape)
    return np.clip(np.rint(image * gain + grain), 0, 255).astype(np.uint8)


def write_dataset(root, train=240, test=180, backgrounds=120, seed=0, processes=2):
    """Write the data set, unless the same one is already there.

    Everything is written under a temporary name beside ``root`` and renamed at the end, so that
    ``root`` is either whole or absent.

    Args:
        root: folder to make. ``root/birds`` follows CUB-200-2011's layout, ``root/background``
            holds the background pictures, ``root/scenes.json`` tells what was asked for.
        train, test, backgrounds: numbers of pictures; the classes take turns.
        seed: int, names the data set.
        processes: number of processes that paint.

    Returns:
        (Path of ``root/birds``, Path of ``root/background``).

    Raises:
        ValueError: ``root`` exists and was not written by this function.
    """
    root = Path(root)
    request = {"train": train, "test": test, "backgrounds": backgrounds, "seed": seed,
               "renderer": _renderer_digest()}
    if root.exists() and not (root / "scenes.json").is_file():
        raise ValueError(f"{root} exists and is not an embedded data set (it has no scenes.json); "
                         "remove it or choose another folder")
    if not root.exists() or read_json(root / "scenes.json") != request:
        temporary = root.with_name(root.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        _write_birds(temporary / "birds", train, test, seed, processes)
        _write_pictures([(temporary / "background" / f"background_{index:04d}.jpg",
                          (seed, 1, index), None) for index in range(1, backgrounds + 1)],
                        "painting backgrounds", processes)
        write_json(temporary / "scenes.json", request)
        if root.exists():
            shutil.rmtree(root)
        os.replace(temporary, root)
    return root / "birds", root / "background"


def _renderer_digest():
    """Digest of the code that paints, so that changed code makes a new data set."""
    digest = hashlib.sha256()
    for path in (painting.__file__, habitats.__file__, birds.__file__, __file__):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _write_birds(folder, train, test, seed, processes):
    """Pictures and the five text files of CUB-200-2011's layout."""
    names, jobs = [], []
    for index in range(train + test):
        label, number = index % len(CLASSES), index // len(CLASSES) + 1
        name = f"{label + 1:03d}.{CLASSES[label]}/{CLASSES[label]}_{number:04d}.jpg"
        names.append(name)
        jobs.append((folder / "images" / name, (seed, 0, index), label))
    boxes = _write_pictures(jobs, "painting birds", processes)
    corners = [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    lines = {
        "classes": [f"{label + 1} {label + 1:03d}.{name}" for label, name in enumerate(CLASSES)],
        "images": _numbered(names),
        "image_class_labels": _numbered(index % len(CLASSES) + 1 for index in range(len(names))),
        "train_test_split": _numbered(int(index < train) for index in range(len(names))),
        "bounding_boxes": _numbered(" ".join(f"{value:.1f}" for value in box) for box in corners)}
    for name, content in lines.items():
        write_bytes(folder / f"{name}.txt", ("\n".join(content) + "\n").encode())


def _numbered(values):
    return [f"{number} {value}" for number, value in enumerate(values, start=1)]


def _write_pictures(jobs, title, processes):
    """Paint and write (path, seed, label) jobs; gives the box of each."""
    calls = (joblib.delayed(_write_picture)(*job) for job in jobs)
    boxes = joblib.Parallel(n_jobs=processes, return_as="generator")(calls)
    return list(tqdm(boxes, title, len(jobs), unit="picture", disable=None))


def _write_picture(path, seed, label):
    height, width = np.random.default_rng((*seed, 2)).integers(SHORTEST, LONGEST + 1, 2)
    scene = render_scene(seed, (int(height), int(width)), label)
    encoded, data = cv2.imencode(".jpg", scene.image[..., ::-1],
                                 [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise OSError(f"{path} could not be encoded as JPEG")
    write_bytes(path, data.tobytes())
    return scene.box
