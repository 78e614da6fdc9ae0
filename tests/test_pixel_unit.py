import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.backbones import build_backbone
from stage1_bc import first_labels
from stage1_bc import moments as moments_module
from stage1_bc.cells import GRID, on_grid
from stage1_bc.classifier import build_classifier, load_classifier
from stage1_bc.classifier_training import ClassifierConfig, train_unit
from stage1_bc.cutting import largest_above
from stage1_bc.first_labels import label_seeds, read_seeds
from stage1_bc.maker import MaskMaker
from stage1_bc.moments import RIDGE, Moments
from stage1_bc.pixel_map import pixel_map
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from tests.networks import moments_of, small_backbone, small_classifier, teach_units


@pytest.mark.parametrize("sparing", [False, True])
def test_the_unit_is_the_ridge_regression_it_says(sparing):
    random = np.random.default_rng(0)
    unit = PixelUnit(small_backbone())
    width = len(unit.weight)
    targets = random.normal(2, 3, (3, GRID ** 2, width)).astype(np.float16)
    backgrounds = random.normal(0, 1, (2, GRID ** 2, width)).astype(np.float16)
    labels = random.random((3, GRID ** 2)).astype(np.float32)
    spared = random.random((3, GRID ** 2)) < 0.4
    moments = Moments(torch.from_numpy(targets), torch.from_numpy(backgrounds))
    moments.fit(unit, torch.from_numpy(labels), torch.from_numpy(spared) if sparing else None)

    # The same as weighted least squares with rows for the penalty, on standardised features.
    pixels = np.concatenate([targets.reshape(-1, width), backgrounds.reshape(-1, width)])
    pixels = pixels.astype(np.float64)
    of_targets = np.where(spared, labels, 1).ravel() if sparing else np.ones(labels.size)
    # A spared cell is all object: what of it is not says nothing.
    answers = np.where(spared, labels > 0, labels) if sparing else labels
    answers = np.concatenate([answers.ravel(), np.zeros(2 * GRID ** 2)])
    weights = np.concatenate([0.5 * of_targets / of_targets.sum(),
                              np.full(2 * GRID ** 2, 0.5 / (2 * GRID ** 2))])
    mean = weights @ pixels
    scale = np.sqrt(weights @ (pixels - mean) ** 2)
    rows = np.concatenate([np.sqrt(weights)[:, None] * (pixels - mean) / scale,
                           np.sqrt(RIDGE) * np.eye(width)])
    level = weights @ answers
    right = np.concatenate([np.sqrt(weights) * (answers - level), np.zeros(width)])
    solution = np.linalg.lstsq(rows, right, rcond=None)[0] / scale
    assert np.allclose(unit.weight.numpy(), solution, atol=1e-4)
    assert unit.bias.item() == pytest.approx(level - solution @ mean, abs=1e-4)


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "resnet50"])
def test_the_unit_reads_the_outputs_of_the_layers_it_names(name):
    backbone = build_backbone(name, "none")
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    _, outputs = backbone.forward_with_taps(images, tuple(map(int, backbone.pixel_taps)))
    grids = [torch.nn.functional.interpolate(output, (GRID, GRID), mode="bilinear", antialias=True)
             for output in outputs]
    expected = torch.cat(grids, 1).flatten(2).transpose(1, 2)
    assert torch.allclose(PixelUnit(backbone).read(images), expected, atol=1e-5)


def test_the_unit_reads_inside_a_block():
    backbone = build_backbone("mobilenet_v2", "none")
    assert len(PixelUnit(backbone).weight) == 64 + 576 + 160  # 14.conv.0 expands 96 sixfold


def test_a_grid_cell_holds_the_share_that_the_mask_covers():
    mask = np.zeros((1, 28, 28), bool)
    mask[0, :1, :2] = True  # half of the first 2x2 cell
    shares = on_grid(mask)
    assert shares[0, 0] == 0.5 and shares[0, 1:].sum() == 0


@pytest.fixture(scope="module")
def taught():
    """A classifier trained on bright squares before dark noise, its pixel unit taught too."""
    generator = torch.Generator().manual_seed(0)
    classifier = small_classifier(image_size=32)
    backgrounds, targets = torch.rand(2, 24, 3, 32, 32, generator=generator) * 0.2
    targets[:, :, 8:24, 8:24] += 0.7
    with torch.no_grad():
        features = [classifier.features(images) for images in (targets, backgrounds)]
    train_unit(classifier, *features, ClassifierConfig(steps=300))
    teach_units(classifier, targets, backgrounds, 9)
    return classifier, targets


def test_a_cell_is_disputed_where_a_plain_cut_differs_from_grabcuts_object(taught, monkeypatch):
    classifier, targets = taught
    moments = moments_of(classifier, targets, targets.clamp_max(0.2))

    def plain(frames, scores):
        return largest_above(scores, first_labels.DISPUTED_CUT)
    monkeypatch.setattr(first_labels, "objects", plain)
    seeds = read_seeds(classifier, targets.split(9))
    agreed = label_seeds(classifier, seeds, moments).cells
    assert not agreed.disputed.any() and 0 < agreed.covered.mean() < 1
    monkeypatch.setattr(first_labels, "objects", lambda *given: plain(*given) & False)
    apart = label_seeds(classifier, seeds, moments).cells
    assert not apart.covered.any()
    assert torch.equal(apart.disputed, agreed.covered > first_labels.DISPUTED)


def test_some_backgrounds_are_kept_evenly_spread(monkeypatch):
    monkeypatch.setattr(moments_module, "KEPT_BACKGROUNDS", 3)
    backgrounds = torch.arange(5.0)[:, None, None].expand(5, GRID ** 2, 2).half()
    kept = Moments(torch.zeros(1, GRID ** 2, 2).half(), backgrounds).backgrounds
    assert kept[:, 0, 0].tolist() == [0, 2, 4]
    assert len(Moments(kept, backgrounds[:2]).backgrounds) == 2


def best_overlap(classifier, targets, name):
    """Mean IoU with the square at the best of several fractions of the maximum."""
    truth = np.zeros((32, 32), bool)
    truth[8:24, 8:24] = True
    maker = MaskMaker(classifier, dataclasses.replace(RECIPES[name], gamma=1.0), (32, 32))
    made = maker.masks(targets, [0.3, 0.4, 0.5, 0.6, 0.7])
    return max(((masks.mask & truth).sum((1, 2)) / (masks.mask | truth).sum((1, 2))).mean()
               for masks in made.values())


def test_taught_units_find_the_object_better_than_the_masks_that_taught_them(taught):
    classifier, targets = taught
    assert best_overlap(classifier, targets, "guided-layers") < 0.4
    assert best_overlap(classifier, targets, "linear") > 0.45
    assert best_overlap(classifier, targets, "network") > 0.5


def test_the_unit_travels_in_the_checkpoint_and_in_the_digest(taught):
    classifier, targets = taught
    bare = small_classifier(image_size=32)
    bare.unit.load_state_dict(classifier.unit.state_dict())
    assert bare.digest() != classifier.digest()
    checkpoint = classifier.checkpoint({})
    assert checkpoint["pixel_unit"].keys() == {"weight", "bias"}
    assert bare.checkpoint({})["pixel_unit"] is None


def test_a_recipe_for_pixels_asks_for_the_unit():
    maker = MaskMaker(small_classifier(), RECIPES["linear"], (16, 16))
    with pytest.raises(ValueError, match="--bc-set pixel_unit=true"):
        maker.maps(torch.rand(1, 3, 16, 16))


def test_a_checkpoint_with_the_unit_rebuilds_it():
    classifier = build_classifier("tiny", "none", image_size=32)
    classifier.pixel_unit = PixelUnit(classifier.backbone)
    classifier.pixel_unit.weight.normal_(generator=torch.Generator().manual_seed(0))
    loaded = load_classifier(classifier.checkpoint({}), "none")
    assert torch.equal(loaded.pixel_unit.weight, classifier.pixel_unit.weight)
    assert loaded.digest() == classifier.digest()


def test_maps_at_two_scales_are_multiplied():
    classifier = small_classifier()
    classifier.pixel_unit = PixelUnit(classifier.backbone)
    random = torch.Generator().manual_seed(0)
    classifier.pixel_unit.weight.uniform_(generator=random)
    images = torch.rand(2, 3, 16, 16, generator=random)

    def made(image, *scales):
        recipe = dataclasses.replace(RECIPES["pixels"], scales=scales)
        return pixel_map(classifier, image, recipe, (GRID, GRID))
    larger = functional.interpolate(images, (24, 24), mode="bilinear")
    small, large = made(images, 1.0), made(larger, 1.0)
    assert not torch.allclose(small, large, atol=0.05) and (small * large > 0).any()
    assert torch.allclose(made(images, 1.5), large, atol=1e-5)
    assert torch.allclose(made(images, 1.0, 1.5), (small * large).sqrt(), atol=1e-5)
