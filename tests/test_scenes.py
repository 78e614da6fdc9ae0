"""The embedded data set: what is known about its pictures is true of them."""

import json

import cv2
import numpy as np
import pytest

from common.boxes import mask_to_box
from common.datasets import open_backgrounds, open_dataset
from demo.painting import TEXTURES, Area, ellipse, noise, paint, ribbon, rotate, smooth_outline
from demo.scenes import CLASSES, render_scene, write_dataset

SIZE = 100, 130  # height, width
SEEDS = range(3)


def grown(mask):
    """A mask and its neighbours: the soft rim of an outline reaches one pixel further."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)


def differs(first, second):
    return (first.image != second.image).any(axis=-1)


@pytest.mark.parametrize("label", [0, None])
def test_the_same_seed_gives_the_same_picture(label):
    first, again = render_scene(7, SIZE, label), render_scene(7, SIZE, label)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.shape == (*SIZE, 3) and first.image.dtype == np.uint8
    assert differs(first, render_scene(8, SIZE, label)).mean() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_mask_and_box_hold_the_object_and_nothing_else(seed):
    scene, empty = render_scene(seed, SIZE, label=1), render_scene(seed, SIZE)
    changed = differs(scene, empty)
    assert not changed[~grown(scene.mask)].any()
    assert changed[scene.mask].mean() > 0.95
    x0, y0, x1, y1 = scene.box
    assert scene.mask[y0:y1, x0:x1].sum() == scene.mask.sum()
    assert all(side.any() for side in (scene.mask[y0, x0:x1], scene.mask[y1 - 1, x0:x1],
                                       scene.mask[y0:y1, x0], scene.mask[y0:y1, x1 - 1]))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("label", range(1, len(CLASSES)))
def test_classes_differ_in_the_part_only(seed, label):
    first, second = render_scene(seed, SIZE, 0), render_scene(seed, SIZE, label)
    changed = differs(first, second)
    assert changed.any()
    assert not changed[~grown(first.part | second.part)].any()
    assert second.part.any() and not (second.part & ~second.mask).any()
    assert second.part.sum() < 0.35 * second.mask.sum()


def test_a_background_picture_holds_no_object():
    scene = render_scene(3, SIZE)
    assert not scene.mask.any() and not scene.part.any()
    assert scene.box.tolist() == [0, 0, 0, 0]


def test_objects_vary_in_size_and_place_and_stay_inside():
    boxes = np.array([render_scene(seed, SIZE, seed % 6).box for seed in range(18)], float)
    assert (boxes[:, :2] > 0).all() and (boxes[:, 2:] < SIZE[::-1]).all()
    share = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (SIZE[0] * SIZE[1])
    assert 0.1 < share.min() < 0.25 and 0.4 < share.max() < 0.65
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 / SIZE[::-1]
    assert (np.ptp(middle, axis=0) > 0.25).all()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "scenes"
    return root, *write_dataset(root, train=7, test=5, backgrounds=3, processes=1)


def test_layout_line_by_line(dataset):
    _, birds, _ = dataset

    def lines(name):
        return (birds / name).read_text(encoding="utf-8").splitlines()

    assert lines("classes.txt")[0] == "1 001.Spear_crested_Bird" and len(lines("classes.txt")) == 6
    assert lines("images.txt")[7] == "8 002.Fan_crested_Bird/Fan_crested_Bird_0002.jpg"
    assert lines("image_class_labels.txt")[7] == "8 2"
    assert [line.split()[1] for line in lines("train_test_split.txt")] == ["1"] * 7 + ["0"] * 5
    number, x, y, width, height = lines("bounding_boxes.txt")[0].split()
    picture = cv2.imread(str(birds / "images" / lines("images.txt")[0].split()[1]))
    box = render_scene((0, 0, 0), picture.shape[:2], 0).box
    assert number == "1"
    assert [float(x), float(y), float(x) + float(width), float(y) + float(height)] == box.tolist()


def test_the_readers_open_what_is_written(dataset):
    _, birds, background = dataset
    train, test = open_dataset("cub", birds, "train"), open_dataset("cub", birds, "test")
    assert (len(train.records), len(test.records)) == (7, 5)
    assert train.classes == tuple(f"{n:03d}.{name}" for n, name in enumerate(CLASSES, start=1))
    assert all(len(record.boxes) == 1 for record in train.records)
    assert len(open_backgrounds(background).records) == 3
    sizes = {cv2.imread(str(record.path)).shape[:2] for record in train.records + test.records}
    assert len(sizes) > 6 and all(140 <= side <= 200 for size in sizes for side in size)


def test_an_identical_set_is_left_alone_and_another_one_replaced(dataset, tmp_path):
    root = tmp_path / "scenes"
    write_dataset(root, train=1, test=1, backgrounds=1, processes=1)
    first = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")}
    mark = root / "mark"
    mark.touch()
    write_dataset(root, train=1, test=1, backgrounds=1, processes=1)
    assert mark.exists()
    write_dataset(root, train=1, test=1, backgrounds=1, seed=1, processes=1)
    assert not mark.exists()
    assert first != {path.relative_to(root): path.read_bytes() for path in root.rglob("*.jpg")}
    assert json.loads((root / "scenes.json").read_text())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_a_folder_of_someone_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="scenes.json"):
        write_dataset(tmp_path, train=1, test=1, backgrounds=1, processes=1)
    assert (tmp_path / "thesis.txt").exists()


def test_curves_pass_through_their_points():
    corners = np.array([[0, 0], [4, 0], [4, 3]], float)
    np.testing.assert_allclose(smooth_outline(corners, steps=5)[::5], corners)
    open_curve = smooth_outline(corners, closed=False, steps=5)
    np.testing.assert_allclose(open_curve[::5], corners)
    assert len(open_curve) == 11


def test_ribbon_is_as_wide_as_asked():
    band = ribbon([[0, 0], [5, 0], [10, 0]], (2, 4))
    np.testing.assert_allclose(band[[0, 1, 2]] - band[[5, 4, 3]], [[0, 2], [0, 3], [0, 4]])


def test_turning_is_clockwise_in_the_picture():
    np.testing.assert_allclose(rotate([[1, 0]], 90), [[0, 1]], atol=1e-12)


def test_noise_is_seeded_and_bounded():
    first, again = (noise(np.random.default_rng(0), (40, 60), 20) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (40, 60) and np.abs(first).max() <= 1 and first.std() > 0.05


@pytest.mark.parametrize("texture", TEXTURES)
def test_paint_stays_inside_its_outline(texture):
    picture, coverage = np.zeros((50, 60, 3), np.uint8), np.zeros((50, 60), np.uint8)
    area = Area(ellipse((20, 25), (12, 9)), (200, 180, 160), texture=texture)
    paint(picture, area, np.random.default_rng(0), coverage)
    assert mask_to_box(coverage > 127).tolist() == [8, 16, 33, 35]
    assert not picture[coverage == 0].any() and picture[coverage == 255].any(axis=-1).all()


def test_paint_outside_the_picture_changes_nothing():
    picture = np.zeros((20, 20, 3), np.uint8)
    paint(picture, Area(ellipse((90, 5), (4, 4)), (255, 255, 255)), np.random.default_rng(0))
    assert not picture.any()


def test_an_unknown_texture_is_named():
    area = Area(ellipse((5, 5), (4, 4)), (0, 0, 0), texture="tweed")
    with pytest.raises(ValueError, match="tweed"):
        paint(np.zeros((9, 9, 3), np.uint8), area, np.random.default_rng(0))
