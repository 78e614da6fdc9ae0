"""Gradient maps of the background classifier (paper, section 3.2, Eq. 1) and their relatives."""

import contextlib
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from common.backbones import Backbone
from stage1_bc.guided import GuidedBackpropagation
from stage1_bc.recipe import Recipe

if TYPE_CHECKING:  # the classifier imports the units that it may have, which use this module
    from stage1_bc.classifier import BackgroundClassifier

FRAME = 224  # the side that a recipe's blur is stated for, in pixels


def backbone_gradient(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    """Gradient map of the plain backbone, which has never seen a background image (Fig. 3).

    The feature map itself is sent back as upstream gradient.

    Args:
        images: (N, 3, H, W) float RGB in [0, 1].

    Returns:
        (N, H, W) float, the largest absolute value over RGB.
    """
    images = images.detach().requires_grad_()
    features = backbone(images)
    return _reduce(torch.autograd.grad(features, images, features.detach())[0], "max")


def gradient_map(classifier: "BackgroundClassifier", images: torch.Tensor, recipe: Recipe,
                 size: Sequence[int]) -> torch.Tensor:
    """One map per image, high where the classifier sees the target.

    Args:
        classifier: BackgroundClassifier on the images' device.
        images: (N, 3, H, W) float RGB in [0, 1].
        size: (height, width) of the map in pixels.

    Returns:
        (N, height, width) float32, at least 0, not normalised.
    """
    total = torch.zeros((), device=images.device)
    for scale in recipe.scales:
        maps = _maps_at_one_scale(classifier, at_scale(images, scale, size), recipe, size)
        if len(maps) * len(recipe.scales) > 1:  # summed maps need equal weights
            maps = [unit_maximum(one) for one in maps]
        total = total + sum(maps)
    return total


def at_scale(images: torch.Tensor, scale: float, size: Sequence[int]) -> torch.Tensor:
    """Images (N, 3, H, W) float squashed to a scale times ``size`` (height, width) in pixels."""
    side = [round(length * scale) for length in size]
    if list(images.shape[2:]) == side:
        return images
    return functional.interpolate(images, side, mode="bilinear", antialias=True)


def unit_maximum(maps: torch.Tensor) -> torch.Tensor:
    """Each map (N, h, w) divided by its largest value; a map of zeros stays one."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def _maps_at_one_scale(classifier, images, recipe, size):
    """The maps that a recipe adds up, each averaged over noise and mirror, (N, height, width)."""
    sums = 0
    for sample in range(recipe.samples):
        noisy = images if recipe.samples == 1 else _add_noise(images, recipe.noise, sample)
        raw = _raw_maps(classifier, noisy, recipe)
        sums = [_fit(one, recipe, size) + total for one, total in zip(raw, sums or [0] * len(raw))]
        if recipe.mirror:
            raw = _raw_maps(classifier, noisy.flip(3), recipe)
            sums = [_fit(one.flip(2), recipe, size) + total for one, total in zip(raw, sums)]
    return sums


def _raw_maps(classifier, images, recipe):
    """The maps that a recipe adds up, each (N, h, w) at its own resolution."""
    backbone = classifier.backbone
    taps = () if recipe.signal == "input" else backbone.taps
    images = images.detach()
    if recipe.signal != "layers":
        images.requires_grad_()
    with GuidedBackpropagation() if recipe.guided else contextlib.nullcontext():
        feature_map, activations = backbone.forward_with_taps(images, taps)
        logits = classifier.unit(classifier.read(feature_map))
    leaves = activations if recipe.signal == "layers" else [images, *activations]
    # Eq. 1 sends the logit itself back as upstream gradient. With a single unit that scales the
    # whole map, which changes no mask that Eq. 2 cuts.
    gradients = torch.autograd.grad(logits.sum(), leaves)
    maps = []
    if recipe.signal != "layers":
        maps.append(_reduce(gradients[0], recipe.reduction))
        gradients = gradients[1:]
    for activation, gradient in zip(activations, gradients):
        # LayerCAM (Jiang et al., 2021): each pixel of a channel has its own weight.
        maps.append((gradient.clamp_min(0) * activation.detach()).sum(1).clamp_min(0))
    return maps


def _reduce(gradient, reduction):
    """One channel from the gradient's three: (N, 3, H, W) to (N, H, W)."""
    if reduction == "max":
        return gradient.abs().amax(1)
    if reduction == "sum":
        return gradient.abs().sum(1)
    return gradient.square().sum(1)


def _fit(maps, recipe, size):
    """A map at the mask's size, blurred: (N, h, w) to (N, height, width).

    Both are linear and act on each axis separately, so that together they are one small matrix per
    axis. A convolution as wide as the blur would cost more than the network.
    """
    sigma = recipe.blur * size[0] / FRAME
    rows, columns = (_fit_matrix(length, target, sigma).to(maps.device, non_blocking=True)
                     for length, target in zip(maps.shape[1:], size))
    return rows @ maps.float() @ columns.T


@functools.lru_cache
@torch.autocast("cpu", enabled=False)  # it is kept, for maps of any precision
def _fit_matrix(length, target, sigma):
    """The (target, length) matrix that interpolates a signal linearly and then blurs it."""
    units = torch.eye(length)[:, None]  # (length, 1, length): each unit signal by itself
    if length != target:
        units = functional.interpolate(units, target, mode="linear", align_corners=False)
    if sigma > 0:
        reach = min(round(3 * sigma), target - 1)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        kernel = (kernel / kernel.sum()).view(1, 1, -1)
        units = functional.conv1d(functional.pad(units, (reach, reach), mode="reflect"), kernel)
    return units[:, 0].T


def _add_noise(images, standard_deviation, sample):
    """The image plus Gaussian noise; the same noise for every image in any batch."""
    generator = torch.Generator().manual_seed(sample)
    noise = torch.randn(images.shape[1:], generator=generator)
    return images + standard_deviation * noise.to(images.device, non_blocking=True)
