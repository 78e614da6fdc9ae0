import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stage1_bc.cutting import cut, normalise
from stage1_bc.gradient_maps import gradient_map
from stage1_bc.guided import GuidedBackpropagation
from stage1_bc.recipe import RECIPES, Recipe
from tests.networks import small_classifier


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def input_gradient(classifier, images):
    """Gradient of the logits on the images, (N, 3, H, W)."""
    images = images.detach().requires_grad_()
    return torch.autograd.grad(classifier(images).sum(), images)[0]


def test_the_gradient_against_finite_differences(images):
    classifier, images = small_classifier().double(), images.double()
    gradient = input_gradient(classifier, images)
    step = 1e-6
    for position in [(0, 0, 3, 5), (0, 2, 15, 0), (1, 1, 8, 8)]:
        moved = images.clone()
        moved[position] += step
        with torch.no_grad():
            difference = (classifier(moved) - classifier(images)).sum() / step
        assert gradient[position] == pytest.approx(difference.item(), rel=1e-4, abs=1e-9)


def test_the_upstream_gradient_of_equation_1_changes_no_mask(images):
    classifier = small_classifier()
    wanted = images.clone().requires_grad_()
    logits = classifier(wanted)
    scaled = torch.autograd.grad(logits, wanted, grad_outputs=logits.detach())[0]
    plain = input_gradient(classifier, images)
    assert torch.allclose(scaled, plain * logits.detach()[:, None, None, None], atol=1e-7)
    recipe = RECIPES["paper"]
    masks = [cut(normalise(gradient.abs().amax(1).numpy(), recipe), 0.3, recipe).mask
             for gradient in (scaled, plain)]
    assert masks[0].any() and np.array_equal(*masks)


def test_the_paper_recipe_is_the_absolute_input_gradient_to_the_letter(images):
    classifier = small_classifier()
    maps = gradient_map(classifier, images, RECIPES["paper"], (16, 16))
    assert torch.allclose(maps, input_gradient(classifier, images).abs().amax(1))


@pytest.mark.parametrize("reduction, expected", [
    ("max", lambda gradient: gradient.abs().amax(1)),
    ("sum", lambda gradient: gradient.abs().sum(1)),
    ("square", lambda gradient: gradient.square().sum(1)),
])
def test_reductions(images, reduction, expected):
    classifier = small_classifier()
    recipe = Recipe(signal="input", reduction=reduction, mirror=False, blur=0)
    assert torch.allclose(gradient_map(classifier, images, recipe, (16, 16)),
                          expected(input_gradient(classifier, images)))


def test_guided_backpropagation_by_hand():
    values = torch.tensor([-1.0, 2.0, 3.0, 7.0], requires_grad=True)
    upstream = torch.tensor([5.0, -1.0, 4.0, 2.0])
    with GuidedBackpropagation():
        relu = functional.relu(values)
        in_place = nn.ReLU(inplace=True)(values * 1)
        relu6 = nn.ReLU6()(values)
    assert relu.tolist() == in_place.tolist() == [0, 2, 3, 7]
    assert relu6.tolist() == [0, 2, 3, 6]
    assert torch.autograd.grad(relu, values, upstream)[0].tolist() == [0, 0, 4, 2]
    assert torch.autograd.grad(in_place, values, upstream)[0].tolist() == [0, 0, 4, 2]
    assert torch.autograd.grad(relu6, values, upstream)[0].tolist() == [0, 0, 4, 0]


def test_guided_backpropagation_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError), GuidedBackpropagation():
        1 / 0
    values = torch.tensor([1.0], requires_grad=True)
    assert torch.autograd.grad(functional.relu(values), values, torch.tensor([-3.0]))[0] == -3


def test_a_layer_map_is_rectified_gradient_times_activation(images):
    classifier = small_classifier()
    classifier.backbone.taps = (5,)
    recipe = Recipe(signal="layers", mirror=False, blur=0)
    activation = classifier.backbone.layers[:6]((images - classifier.backbone.mean)
                                                / classifier.backbone.std).detach()
    activation.requires_grad_()
    logits = classifier.unit(classifier.read(classifier.backbone.layers[6:](activation)))
    gradient = torch.autograd.grad(logits.sum(), activation)[0]
    expected = (gradient.clamp_min(0) * activation).sum(1).clamp_min(0).detach()
    expected = functional.interpolate(expected[:, None], (16, 16), mode="bilinear")[:, 0]
    maps = gradient_map(classifier, images, recipe, (16, 16))
    assert torch.allclose(maps, expected, atol=1e-7)


def test_the_mirrored_map_of_the_mirror_image_is_averaged_in(images):
    classifier = small_classifier()
    recipe = Recipe(signal="layers", mirror=True)
    maps = gradient_map(classifier, images, recipe, (16, 16))
    mirrored = gradient_map(classifier, images.flip(3), recipe, (16, 16)).flip(2)
    assert torch.allclose(maps, mirrored, atol=1e-6)


def test_smoothgrad_is_the_same_for_an_image_in_any_batch(images):
    classifier = small_classifier()
    together = gradient_map(classifier, images, RECIPES["smoothgrad"], (16, 16))
    alone = gradient_map(classifier, images[1:], RECIPES["smoothgrad"], (16, 16))
    assert torch.allclose(together[1:], alone, rtol=1e-4)


def test_half_precision_leaves_nothing_behind(images):
    classifier, recipe, size = small_classifier(), RECIPES["guided-layers"], (19, 19)
    with torch.autocast("cpu", torch.bfloat16):  # a size that no other test has
        gradient_map(classifier, images, recipe, size)
    assert gradient_map(classifier, images, recipe, size).dtype == torch.float32


def test_maps_of_images_do_not_depend_on_their_batch(images):
    classifier = small_classifier()
    together = gradient_map(classifier, images, RECIPES["guided-layers"], (16, 16))
    alone = gradient_map(classifier, images[1:], RECIPES["guided-layers"], (16, 16))
    assert torch.allclose(together[1:], alone, rtol=1e-4)
