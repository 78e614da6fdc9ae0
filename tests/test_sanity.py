import json
import shutil

import pytest
import torch
from torch import nn

from common.compute import Compute
from common.datasets import open_backgrounds, open_dataset
from evaluation.truth import EvaluationError
from stage1_bc.classifier import build_classifier
from stage1_bc.classifier_training import ClassifierConfig, train_classifier
from stage1_bc.recipe import PIXEL_UNITS
from stage1_bc.sanity import sanity_classifiers
from tests.examples import TINY, run, write_inputs

SIDE = 32
CONFIG = ClassifierConfig(image_size=SIDE, steps=50).with_units(PIXEL_UNITS)
COMPUTE = Compute("cpu", 5, 0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def build():
    torch.manual_seed(0)
    return build_classifier("tiny", "none", image_size=SIDE)


@pytest.fixture(scope="module")
def found(inputs):
    """The classifiers by name, "wrong backgrounds" being the right ones once more."""
    targets = open_dataset("cub", inputs / "cub", "train").records
    backgrounds = open_backgrounds(inputs / "backgrounds").records
    return dict(sanity_classifiers(build, targets, backgrounds, CONFIG, COMPUTE, backgrounds, 2))


def test_every_kind_of_classifier_is_there_in_order(found):
    assert list(found) == ["trained", "random unit 0", "random unit 1", "ones", "no backgrounds",
                           "wrong backgrounds"]


def test_the_trained_classifier_is_the_one_that_masks_are_made_with(inputs, found):
    classifier = build()
    train_classifier(classifier, open_dataset("cub", inputs / "cub", "train").records,
                     open_backgrounds(inputs / "backgrounds").records, CONFIG, COMPUTE)
    assert found["trained"].digest() == classifier.digest()
    assert found["wrong backgrounds"].digest() == classifier.digest()  # they are the same here


def test_a_replaced_unit_is_what_it_says_and_teaches_other_units_for_pixels(found):
    ones, random = found["ones"].unit, found["random unit 1"].unit
    assert ones.bias == 0 and (ones.weight == 1).all()
    torch.manual_seed(1)
    fresh = nn.Linear(ones.in_features, 1)
    assert torch.equal(random.weight, fresh.weight) and torch.equal(random.bias, fresh.bias)
    learned = [found[name].evidence_unit.weight for name in ("trained", "random unit 1", "ones")]
    assert not any(torch.allclose(one, other) for one, other in zip(learned, learned[1:]))


def test_without_backgrounds_a_grey_square_is_the_only_background(found):
    grey = torch.full((1, 3, SIDE, SIDE), 128 / 255)
    assert found["no backgrounds"](grey) < 0
    # A ridge regression: the cells of grey squares are half of the weight and all of them zero.
    unit = found["no backgrounds"].pixel_unit
    assert unit(unit.read(grey)).abs().mean() < 0.1


def test_random_units_leave_the_random_state_alone(inputs):
    targets = open_dataset("cub", inputs / "cub", "train").records
    backgrounds = open_backgrounds(inputs / "backgrounds").records
    config = ClassifierConfig(image_size=SIDE, steps=1)  # no units for pixels either
    classifiers = sanity_classifiers(build, targets, backgrounds, config, COMPUTE)
    next(classifiers)
    build()
    before = torch.get_rng_state()
    name, classifier = next(classifiers)  # builds once more, from the same seed
    assert name == "random unit 0" and torch.equal(torch.get_rng_state(), before)
    assert not any(classifier.pixel_units().values())


def test_recipes_with_classifiers_that_know_less(inputs, tmp_path):
    given = ["recipes", "--data", inputs / "cub", "--background", inputs / "backgrounds", *TINY,
             "--cache", tmp_path, "--recipe", "guided-layers", "--recipe", "evidence"]
    output = run(*given, "--sanity", "--sanity-seeds", "2", "--wrong-background",
                 inputs / "backgrounds").output
    table = json.loads((tmp_path / "sanity.json").read_text())
    rows = {(row["classifier"], row["recipe"]): row for row in table["rows"]}
    assert len(rows) == len(table["rows"]) == 12 and not (tmp_path / "masks").exists()
    assert table["split"] == "test" and rows["trained", "evidence"]["images"] == 4

    run(*given)
    expected = json.loads((tmp_path / "recipes.json").read_text())["rows"]
    for recipe, figures in expected.items():
        for classifier in ("trained", "wrong backgrounds"):  # these are the right ones here
            row = rows[classifier, recipe]
            assert row["strict"]["value"] == figures["strict"]
            assert [row["strict"]["low"], row["strict"]["high"]] == figures["interval"]
            assert row["mean_iou"]["value"] == figures["mean_iou"]
            assert set(row["strict_difference"].values()) == {0}
            assert set(row["mean_iou_difference"].values()) == {0}
        for classifier in ("random unit 0", "random unit 1", "ones", "no backgrounds"):
            row = rows[classifier, recipe]
            difference = row["mean_iou"]["value"] - figures["mean_iou"]
            assert row["mean_iou_difference"]["value"] == pytest.approx(difference, abs=2e-4)
            assert f"| {recipe} | {classifier} | {row['strict']['value']:.1f} |" in output
    assert any(row["mean_iou_difference"]["value"] for row in rows.values())


def test_an_image_that_cannot_be_read_counts_as_a_miss(tmp_path):
    write_inputs(tmp_path)
    for record in open_dataset("cub", tmp_path / "cub", "test").records:
        record.path.write_bytes(record.path.read_bytes()[:-300])  # its header is whole
    run("recipes", "--sanity", "--recipe", "guided-layers", "--data", tmp_path / "cub",
        "--background", tmp_path / "backgrounds", *TINY, "--cache", tmp_path / "cache")
    rows = json.loads((tmp_path / "cache" / "sanity.json").read_text())["rows"]
    assert [row["classifier"] for row in rows] == [
        "trained", "random unit 0", "ones", "no backgrounds"]
    assert all(row["images"] == 4 and row["mean_iou"]["high"] == 0 for row in rows)


@pytest.mark.parametrize("sanity", [["--sanity"], []])
def test_without_boxes_nothing_is_trained(tmp_path, sanity):
    write_inputs(tmp_path)
    for split in ("train", "test"):
        shutil.copytree(tmp_path / "cub" / "images", tmp_path / "discs" / split)
    with pytest.raises(EvaluationError, match="none of the 12 readable images of folder has one"):
        run("recipes", *sanity, "--data", tmp_path / "discs", "--background",
            tmp_path / "backgrounds", *TINY, "--cache", tmp_path / "cache")
    assert not (tmp_path / "cache" / "bc").exists()


@pytest.mark.parametrize("sanity", [["--sanity"], []])
def test_an_image_without_a_whole_header_is_named_and_not_measured(tmp_path, sanity):
    write_inputs(tmp_path)
    broken = open_dataset("cub", tmp_path / "cub", "test").records[0]
    broken.path.write_bytes(b"no picture")
    result = run("recipes", *sanity, "--recipe", "guided-layers", "--data", tmp_path / "cub",
                 "--background", tmp_path / "backgrounds", *TINY, "--cache", tmp_path / "cache")
    assert f"{broken.image_id!r}: " in result.output
    assert "its mask is not measured" in result.output
    assert "| guided-layers | " in result.output
