"""Masks in every number format, by every recipe, head and backbone."""

import numpy as np
import pytest
import torch

from common.backbones import ARCHITECTURES, smallest_side
from common.precision import PRECISIONS
from stage1_bc.classifier import build_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from tests.networks import small_classifier, teach_units

SIDE = 32


def pictures(side, count=3, seed=0):
    """Bright squares on dark noise, and the noise alone."""
    random = torch.Generator().manual_seed(seed)
    dark = 0.3 * torch.rand(count, 3, side, side, generator=random)
    bright = dark.clone()
    bright[:, :, side // 4:side // 2, side // 4:3 * side // 4] = 0.9
    return bright, dark


def taught(classifier, side):
    bright, dark = pictures(side)
    teach_units(classifier, bright, dark, len(bright))
    return classifier


@pytest.fixture(scope="module", params=["pooled", "flattened"])
def classifier(request):
    return taught(small_classifier(request.param, SIDE), SIDE)


def made(classifier, recipe, precision, side, count=3):
    """(maps, masks) of bright squares."""
    maker = MaskMaker(classifier, RECIPES[recipe], (side, side), "cpu", PRECISIONS[precision])
    images = pictures(side, count, seed=1)[0]
    return maker.maps(images), maker.masks(images, [0.8])[0.8]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_and_head_works_in_every_precision(classifier, recipe, precision):
    maps, masks = made(classifier, recipe, precision, SIDE)
    reference, _ = made(classifier, recipe, "float32", SIDE)
    assert maps.dtype == np.float32 and np.isfinite(maps).all() and masks.valid.all()
    assert np.abs(maps - reference).mean() < 0.05


@pytest.mark.parametrize("backbone", sorted(set(ARCHITECTURES) - {"tiny"}))
def test_every_backbone_works_in_half_precision(backbone):
    side = max(SIDE, smallest_side(backbone))
    classifier = build_classifier(backbone, "none", image_size=side).eval()
    classifier.pixel_unit = PixelUnit(classifier.backbone)
    classifier.pixel_unit.weight.fill_(1e-3)
    for precision in ("bfloat16", "float16"):
        for recipe in ("pixels", "guided-layers"):
            maps = made(classifier, recipe, precision, side, count=1)[0]
            assert np.isfinite(maps).all() and maps.max() == 1, (precision, recipe)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_pixel_unit_learns_in_full_precision_also_where_half_is_asked_for(precision):
    with torch.autocast("cpu", precision):
        half = taught(small_classifier("pooled", SIDE), SIDE)
    full = taught(small_classifier("pooled", SIDE), SIDE)
    assert torch.equal(half.pixel_unit.weight, full.pixel_unit.weight)
    assert torch.equal(half.pixel_network.hidden.weight, full.pixel_network.hidden.weight)
    assert full.pixel_unit.weight.any()


def test_features_that_half_precision_cannot_hold_are_refused():
    classifier = small_classifier("pooled", SIDE)
    with torch.no_grad():
        classifier.backbone.layers[0].weight.mul_(1e8)
    with pytest.raises(FloatingPointError, match="beyond 65,504.*recipe guided-layers"):
        taught(classifier, SIDE)
