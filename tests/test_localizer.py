"""Localizing pictures from Python: the boxes of ``bcct evaluate``, from a run or a model file."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import bcct
from common.boxes import mask_to_box, resize_mask, whole_pixels
from common.images import BadImage, read_image
from stage2_ct.found_objects import SMALLEST_OBJECT, cut_objects
from stage2_ct.localizer import load_model
from stage2_ct.model_file import MODEL_FORMAT, read_model, write_model
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained run's folder next to its inputs; its masks and backgrounds are gone."""
    folder = tmp_path_factory.mktemp("localizer")
    write_inputs(folder)
    make_masks(folder)
    output = run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY,
                 *SMALL).output
    assert "tau 0." in output and ", from masks: " in output
    shutil.move(output.split("wrote ")[-1].strip(), folder / "run")
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / "backgrounds")
    return folder


@pytest.fixture(scope="module")
def model(trained):
    return bcct.load(trained / "run", "cpu")


def test_boxes_are_those_of_evaluate_to_the_last_pixel(trained, model):
    run("evaluate", trained / "run", "--tau-from", model.tau, "--data", trained / "cub", "--out",
        trained / "report", "--workers", "0")
    with open(trained / "report" / "boxes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [trained / "cub" / "images" / row["image_id"] for row in rows]
    found = model.localize(paths)
    same_class = [(row, one) for row, one in zip(rows, found) if row["class"] == one.label]
    assert len(same_class) >= 1
    for row, one in same_class:
        exact = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
        assert one.box == whole_pixels(exact, one.size)
        assert one.probability == pytest.approx(float(row["score"]), abs=1e-6)
    assert [row["predicted_class"] for row in rows] == [one.label for one in found]


def test_a_box_is_that_of_its_mask_in_the_pictures_own_size(trained, model):
    path = next((trained / "cub" / "images").rglob("*.jpg"))
    found = model.localize(path)
    assert found.size == (48, 64) and found.mask.shape == (48, 64) and found.mask.dtype == bool
    assert found.box == tuple(mask_to_box(found.mask).tolist())
    assert 0 < found.score <= 1 and 0 < found.probability <= 1
    assert found.drawn().shape == (48, 64, 3)


def test_arrays_paths_and_lists_of_either(trained, model):
    path = next((trained / "cub" / "images").rglob("*.jpg"))
    array = read_image(path)
    one, other = model.localize([str(path), array])
    assert one.box == model.localize(path).box and other.box == model.localize(array).box
    assert np.abs(np.subtract(one.box, other.box)).max() <= 4  # as far as decoding differs
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8 RGB, not \(4, 4\)"):
        model.localize(np.zeros((4, 4), np.uint8))
    with pytest.raises(TypeError, match="not int"):
        model.localize([3])
    for given in (3, None, Image.new("RGB", (8, 8))):
        with pytest.raises(TypeError, match=f"a picture is a path .*, not {type(given).__name__}"):
            model.localize(given)
    with pytest.raises(BadImage, match="nowhere.jpg"):
        model.localize(trained / "nowhere.jpg")


def test_a_picture_of_one_pixel_and_a_long_one(model):
    tiny = model.localize(np.full((1, 1, 3), 200, np.uint8))
    assert tiny.size == (1, 1) and tiny.box in (None, (0, 0, 1, 1))
    long = model.localize(np.random.default_rng(0).integers(0, 255, (3, 20_000, 3), np.uint8))
    assert long.box[2] <= 20_000 and long.box[3] <= 3 and long.mask.shape == (3, 20_000)


def test_a_packed_model_needs_no_other_file(trained, model, tmp_path):
    write_model(tmp_path / "model.pt", load_model(trained / "run"))
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert content["origin"]["run"] == "run"
    assert "the mean that its weights expect" in content["preprocessing"]
    shutil.copy(tmp_path / "model.pt", tmp_path / "renamed.bin")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    packed = bcct.load(tmp_path / "renamed.bin", "cpu")
    assert torch.equal(torch.rand(3), expected)  # loading leaves the caller's random numbers alone
    paths = sorted((trained / "cub" / "images").rglob("*.jpg"))
    assert [one.box for one in packed.localize(paths)] == [
        one.box for one in model.localize(paths)]
    assert packed.model.digest() == load_model(trained / "run").digest()
    assert packed.classes == ("001.Disc", "002.Disc")


def test_models_that_cannot_be_loaded_say_why(trained, tmp_path):
    with pytest.raises(ValueError, match="there is no model .*nowhere"):
        bcct.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="give the run's folder"):
        read_model(trained / "run" / "last.pt")
    torch.save({"kind": "bcct model", "format": MODEL_FORMAT + 1}, tmp_path / "newer.pt")
    with pytest.raises(ValueError, match="install a newer version"):
        bcct.load(tmp_path / "newer.pt")
    shutil.copytree(trained / "run", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "config.json").read_text())
    del manifest["localization"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="has no tau yet.* run bcct evaluate"):
        bcct.load(tmp_path / "run")
    assert bcct.load(tmp_path / "run", tau=0.5).tau == 0.5
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        bcct.load(tmp_path / "run", tau=1.5)


def two_squares():
    """A score map with two objects: 8x8 pixels of 0.9 and 6x6 of 0.7; one pixel of 1 is noise."""
    score_map = np.zeros((40, 40), np.float32)
    score_map[2:10, 3:11] = 0.9
    score_map[20:26, 30:36] = 0.7
    score_map[38, 2] = 1
    return score_map


def test_one_object_or_many():
    one, = cut_objects(two_squares(), 0.5)
    assert one.box == (3, 2, 11, 10) and one.mask.sum() == 64
    first, second = cut_objects(two_squares(), 0.5, "many")
    assert first.box == one.box and second.box == (30, 20, 36, 26)
    assert second.mask.sum() == 36 >= SMALLEST_OBJECT * 1600
    assert len(cut_objects(two_squares(), 0.8, "many")) == 1
    assert cut_objects(np.zeros((8, 8), np.float32), 0.5, "many") == []


def test_the_score_is_one_for_a_sharp_object_and_less_where_tau_matters():
    sharp, weak = cut_objects(two_squares(), 0.6, "many")
    assert sharp.score == 1.0  # cut at 0.3 to 0.9 as at 0.6
    # The weak square is there from 0.3 to 0.7 (float32 of 0.7 against 0.7), not at 0.8 and 0.9.
    assert weak.score == pytest.approx(4 / 6)


def test_whole_pixels_go_with_the_nearest_pixels_of_a_mask():
    random = np.random.default_rng(0)
    for _ in range(50):
        frame = np.zeros((32, 32), bool)
        x0, y0 = random.integers(0, 20, 2)
        x1, y1 = x0 + random.integers(1, 12), y0 + random.integers(1, 12)
        frame[y0:y1, x0:x1] = True
        size = tuple(random.integers(32, 90, 2).tolist())
        box = bcct.rescale([x0, y0, x1, y1], (32, 32), size)
        assert whole_pixels(box, size) == tuple(mask_to_box(resize_mask(frame, size)).tolist())
