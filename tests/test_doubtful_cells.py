import dataclasses

import pytest
import torch

from common.compute import Compute
from common.config import ConfigError, override
from common.datasets import open_backgrounds, open_dataset
from stage1_bc import classifier_training
from stage1_bc.classifier import build_classifier
from stage1_bc.classifier_training import ClassifierConfig, train_units
from stage1_bc.doubtful_cells import CLUSTERS, doubtful_cells
from stage1_bc.pixel_unit import GRID, Moments
from stage1_bc.reading import read_images
from tests.examples import write_inputs

SIDE = 32
HAND = slice(120, 180)  # cells


class Answering:
    """In place of a network for pixels: the same answer everywhere."""

    mean = torch.zeros(1)

    def __call__(self, features):
        return torch.full((len(features), GRID, GRID), 0.9)


def moments_with_hands(hands):
    """(Moments, masks) of 12 images: 100 cells of a bird in each, of twenty kinds, and in some of
    them sixty of a hand. Each kind of cell has features of its own."""
    ground, hand, *bird = torch.eye(22)
    cells = ground.repeat(12, GRID ** 2, 1)
    cells[:, :100] = torch.stack(bird).repeat(5, 1)
    cells[list(hands), HAND] = hand
    masks = torch.zeros(12, GRID ** 2, dtype=torch.bool)
    masks[:, :100] = True
    masks[list(hands), HAND] = True
    moments = Moments(cells.half(), cells[:2].half())
    return moments, masks.unflatten(1, (GRID, GRID)).numpy()


def found(hands, labels, count=1):
    moments, masks = moments_with_hands(hands)
    return doubtful_cells(Answering(), moments, masks, labels, count, seed=0)


def test_cells_of_what_few_masks_of_a_class_hold_are_doubtful():
    cells = found(hands=[0, 7], labels=[0] * 6 + [1] * 6)
    assert cells[[0, 7], HAND].all() and cells.sum() == 120


def test_what_every_mask_of_a_class_holds_is_no_more_doubtful_than_the_rest():
    assert not found(hands=[4], labels=[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])[4, HAND].any()


def test_no_cell_is_doubtful_where_masks_cover_next_to_nothing():
    moments, masks = moments_with_hands([0])
    masks[:] = False
    masks[0, 0, :GRID] = True
    assert GRID < CLUSTERS
    assert not doubtful_cells(Answering(), moments, masks, [0] * 12, 2, seed=0).any()


def test_units_learn_doubtful_cells_as_background_and_readings_stay_as_they_are(
        tmp_path, monkeypatch):
    write_inputs(tmp_path)
    targets = open_dataset("cub", tmp_path / "cub", "train").records
    backgrounds = open_backgrounds(tmp_path / "backgrounds").records
    config = ClassifierConfig(image_size=SIDE, steps=5, pixel_unit=True)
    compute = Compute("cpu", 4, 0)

    def doubt(network, moments, masks, labels, count, seed):
        cells = torch.zeros(len(moments.targets), GRID ** 2, dtype=torch.bool)
        cells[:, :GRID * count] = True
        return cells
    monkeypatch.setattr(classifier_training, "doubtful_cells", doubt)

    def answers(doubted, readings):
        classifier = build_classifier("tiny", "none", image_size=SIDE)
        train_units(classifier, readings, dataclasses.replace(config, doubted=doubted), compute)
        return readings.moments.answers(classifier.pixel_unit)
    readings = read_images(build_classifier("tiny", "none", image_size=SIDE), targets, backgrounds,
                           config, compute)
    plain = answers(0, readings)
    assert answers(3, readings)[:, :3].mean() < plain[:, :3].mean()
    assert readings.moments.named is None and torch.equal(answers(0, readings), plain)


@pytest.mark.parametrize("value", ["-1", "x"])
def test_a_number_of_clusters_is_at_least_0(value):
    with pytest.raises(ConfigError, match="doubted"):
        override(ClassifierConfig(), [f"doubted={value}"])
