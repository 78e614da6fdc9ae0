import dataclasses

import pytest
import torch

from common.compute import Compute
from common.datasets import open_backgrounds, open_dataset
from stage1_bc import agreement, classifier_training
from stage1_bc.agreement import label_by_agreement
from stage1_bc.cells import GRID
from stage1_bc.classifier import build_classifier, state_digest
from stage1_bc.classifier_training import ClassifierConfig, train_units
from stage1_bc.composites import read_composites
from stage1_bc.doubtful_cells import doubtful_cells
from stage1_bc.first_labels import label_seeds
from stage1_bc.mask_clusters import CLUSTER_COUNT
from stage1_bc.moments import Moments
from stage1_bc.reading import read_images
from tests.examples import write_inputs

SIDE = 32
BIRD, HAND, POST, IN_MASK = slice(100), slice(120, 180), slice(180, 196), slice(150)  # cells


class Answering:
    """In place of a network for pixels: a bird and a hand look like a target, a post less so."""

    mean = torch.zeros(1)

    def __call__(self, features):
        answers = features.float() @ torch.tensor([0.0, 0.9, 0.3, *[0.8] * 20])
        return answers.unflatten(1, (GRID, GRID))


def moments_of(hands):
    """(Moments, masks) of 12 images, with a bird and a post in each and a hand in some.

    A bird has twenty kinds of cells, the rest one each. Masks cover the bird, the post and half of
    the hand.
    """
    ground, hand, post, *bird = torch.eye(23)
    cells = ground.repeat(12, GRID ** 2, 1)
    cells[:, BIRD] = torch.stack(bird).repeat(5, 1)
    cells[:, POST] = post
    cells[hands, HAND] = hand
    masks = torch.zeros(12, GRID ** 2, dtype=torch.bool)
    masks[:, BIRD] = masks[:, POST] = True
    masks[hands, HAND.start:IN_MASK.stop] = True
    return Moments(cells.half(), cells[:2].half()), masks.unflatten(1, (GRID, GRID)).numpy()


def doubtful(count, labels):
    moments, masks = moments_of([0, 7])
    return doubtful_cells(Answering(), moments, masks, labels, count, seed=0)


@pytest.mark.parametrize("labels", [[0] * 12, [0] * 6 + [1] * 6, range(12)])
def test_what_few_masks_hold_is_doubtful_in_masks_or_outside(labels):
    cells = doubtful(1, labels)
    assert cells[[0, 7], HAND].all() and cells.sum() == 120


def test_the_next_is_what_looks_little_like_a_target():
    cells = doubtful(2, [0] * 12)
    assert cells[[0, 7], HAND].all() and cells[:, POST].all() and not cells[:, BIRD].any()


def test_what_every_mask_of_a_class_holds_is_not_doubtful():
    cells = doubtful(1, [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    assert not cells[:, HAND].any() and cells[:, POST].all()


def test_no_cell_is_doubtful_where_masks_cover_next_to_nothing():
    moments, masks = moments_of([0])
    masks[:] = False
    masks[0, 0, :GRID] = True
    assert GRID < CLUSTER_COUNT
    assert not doubtful_cells(Answering(), moments, masks, [0] * 12, 2, seed=0).any()


def test_cells_that_a_person_has_named_stay_named():
    moments, _ = moments_of([0])
    first, second = torch.rand(2, 12, GRID ** 2) > 0.5
    named = moments.with_named(first)
    assert torch.equal(named.with_named(second).named, first | second)
    assert moments.named is None and torch.equal(named.named, first)


@pytest.fixture
def readings(tmp_path):
    """(Readings of small images, ClassifierConfig without doubtful clusters)."""
    write_inputs(tmp_path)
    config = ClassifierConfig(image_size=SIDE, steps=5, pixel_unit=True, evidence_unit=True,
                              pixel_network=True, tuned_network=True)
    return read_images(build_classifier("tiny", "none", image_size=SIDE),
                       open_dataset("cub", tmp_path / "cub", "train").records,
                       open_backgrounds(tmp_path / "backgrounds").records, config,
                       Compute("cpu", 4, 0)), config


def test_the_tuned_network_learns_doubtful_cells_as_background(readings, monkeypatch):
    readings, config = readings
    doubtful = torch.zeros(len(readings.sampled), GRID ** 2, dtype=torch.bool)
    doubtful[:, :5 * GRID] = True
    asked, taught = [], []

    def doubt(network, moments, masks, labels, count, seed):
        asked.append((state_digest(network), moments.named, masks.shape[0], labels, count))
        return doubtful if count > 1 else torch.zeros_like(doubtful)

    def noting(function):
        def call(*given):
            taught.append((function.__name__,
                           next(part for part in given if isinstance(part, Moments)).named))
            return function(*given)
        return call

    def compose(classifier, records, masks, *others):
        taught.append(("read_composites", masks[:, :5 * masks.shape[1] // GRID - 1].any()))
        return read_composites(classifier, records, masks, *others)
    monkeypatch.setattr(classifier_training, "doubtful_cells", doubt)
    monkeypatch.setattr(classifier_training, "read_composites", compose)
    for name in ("label_seeds", "train_pixel_unit", "train_evidence_unit", "train_pixel_network",
                 "label_by_agreement", "label_by_masks", "train_tuned_network"):
        monkeypatch.setattr(classifier_training, name, noting(getattr(classifier_training, name)))
    for name in ("train_pixel_unit", "train_evidence_unit"):
        monkeypatch.setattr(agreement, name, noting(getattr(agreement, name)))

    def train(**settings):
        taught.clear()
        classifier = build_classifier("tiny", "none", image_size=SIDE)
        train_units(classifier, readings, dataclasses.replace(config, **settings),
                    Compute("cpu", 4, 0))
        return {name: unit and state_digest(unit)
                for name, unit in classifier.pixel_units().items()}
    doubting = train(doubtful_clusters=3)
    labels = [record.label for record in readings.sampled]
    assert len(set(labels)) > 1
    assert asked == [(doubting["pixel_network"], None, len(labels), labels, 3)]
    assert taught[:5] == [(name, None) for name in (
        "label_seeds", "train_pixel_unit", "train_evidence_unit", "train_pixel_network",
        "label_by_masks")]
    names, named = zip(*taught[5:])
    assert names == ("label_seeds", "label_by_agreement", "train_pixel_unit", "train_evidence_unit",
                     "train_pixel_network", "label_by_masks", "read_composites",
                     "train_tuned_network")
    assert named[1:4] == (None, None, None)  # evidence and what it spares: no doubtful cell
    assert all(torch.equal(cells, doubtful)
               for cells in (named[0], named[4], named[5], named[7]))
    assert not named[6]  # no composite holds a doubtful cell

    plain = train(doubtful_clusters=0)  # the readings have stayed as they were
    composed = taught.pop(-2)
    assert len(asked) == 1 and all(named is None for _, named in taught)
    assert composed == ("read_composites", True)

    # No cell is doubtful; the network that says so is not kept.
    alone = train(doubtful_clusters=1, pixel_unit=False, evidence_unit=False, pixel_network=False)
    assert asked[1][0] == plain["pixel_network"] and alone["pixel_network"] is None
    assert alone["tuned_network"] == plain.pop("tuned_network") != doubting["tuned_network"]
    assert plain.items() < doubting.items()


def test_the_evidence_unit_learns_what_a_person_has_named_and_no_doubtful_cell(readings,
                                                                               monkeypatch):
    readings, config = readings
    by_person, doubtful = torch.zeros(2, len(readings.sampled), GRID ** 2, dtype=torch.bool)
    by_person[:, :GRID] = doubtful[:, -5 * GRID:] = True
    seeds, agreements = [], []

    def label(classifier, maps, moments):
        seeds.append((moments.named, label_seeds(classifier, maps, moments)))
        return seeds[-1][1]

    def agree(classifier, images, moments, first):
        agreements.append((moments.named, first))
        return label_by_agreement(classifier, images, moments, first)
    monkeypatch.setattr(classifier_training, "doubtful_cells", lambda *_: doubtful)
    monkeypatch.setattr(classifier_training, "label_seeds", label)
    monkeypatch.setattr(classifier_training, "label_by_agreement", agree)
    train_units(build_classifier("tiny", "none", image_size=SIDE),
                dataclasses.replace(readings, moments=readings.moments.with_named(by_person)),
                dataclasses.replace(config, doubtful_clusters=2), Compute("cpu", 4, 0))
    (before, _), (after, first) = seeds
    assert torch.equal(before, by_person) and torch.equal(after, by_person | doubtful)
    (learnt, scores), = agreements
    assert torch.equal(learnt, by_person) and scores is first
