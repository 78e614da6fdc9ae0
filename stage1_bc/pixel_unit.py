"""A second unit on the frozen backbone, that reads every pixel instead of the pooled image.

The classifier's gradient tells, image by image, where its answer came from. What is right in most
of these masks is common to all images, what is wrong differs from one to the next: a linear unit
that learns them all at once, with every pixel of the background images as "not target", keeps the
first and averages out the second. Its own answers, sharpened along the images' edges, teach it a
second time. Making a mask then takes one forward pass and no gradient.
"""

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cutting import cut, normalise
from stage1_bc.gradient_maps import gradient_map, unit_maximum
from stage1_bc.sharpening import SIDE, objects, shrink, shrink_images

GRID = 14  # side of the grid of feature vectors that the unit reads
RIDGE = 0.01  # penalty on the weights of standardised features
SEED_DELTA = 0.80  # threshold of the gradient masks that it learns first, the paper's best


class PixelUnit(nn.Module):
    """One linear unit over the outputs of several frozen layers, at every pixel of a grid.

    Args:
        backbone: Backbone; frozen, and not part of this module's state.
    """

    def __init__(self, backbone):
        super().__init__()
        extractor = create_feature_extractor(backbone.layers, list(backbone.pixel_taps))
        self.frozen = (backbone, extractor)  # in a tuple: the weights are the classifier's to keep
        with torch.no_grad():
            device = backbone.mean.device
            width = self.read(torch.zeros(1, 3, 64, 64, device=device)).shape[-1]
        self.register_buffer("weight", torch.zeros(width))
        self.register_buffer("bias", torch.zeros(()))

    @torch.no_grad()
    def read(self, images):
        """The layers' outputs on the grid: (N, 3, H, W) float in [0, 1] to (N, GRID ** 2, D)."""
        backbone, extractor = self.frozen
        outputs = extractor((images - backbone.mean) / backbone.std)
        grids = [functional.interpolate(  # in float: of half precision there is none on the CPU
            output.float(), (GRID, GRID), mode="bilinear", antialias=True)
            for output in outputs.values()]
        return torch.cat(grids, 1).flatten(2).transpose(1, 2)

    def forward(self, features):
        """Likeness to target, about 0 to 1, of (N, GRID ** 2, D) features as (N, GRID, GRID)."""
        with torch.autocast(features.device.type, enabled=False):
            return (features.float() @ self.weight + self.bias).unflatten(1, (GRID, GRID))


def pixel_map(classifier, images, recipe, size):
    """One map an image from the classifier's pixel unit; as ``gradient_map`` in all else.

    Raises:
        ValueError: the classifier has no pixel unit.
    """
    if classifier.pixel_unit is None:
        raise ValueError("this recipe needs a background classifier with a pixel unit; train it "
                         "with bcct train-bc --bc-set pixel_unit=true")
    total = _answers(classifier, images)
    if recipe.mirror:
        total = total + _answers(classifier, images.flip(3)).flip(2)
    return _upsample(total.clamp_min(0), size)


def train_pixel_unit(classifier, targets, backgrounds, seed_recipe):
    """Give a trained classifier its pixel unit.

    Args:
        classifier: BackgroundClassifier; ``pixel_unit`` is set.
        targets: iterable of (N, 3, H, W) float RGB in [0, 1], on the classifier's device.
        backgrounds: the same for background images.
        seed_recipe: Recipe of the gradient masks that it learns first.
    """
    device = classifier.unit.weight.device
    unit = PixelUnit(classifier.backbone).to(device)

    def read(images):
        features = unit.read(images).half().cpu()
        if not features.isfinite().all():
            raise FloatingPointError("the backbone's layers give values beyond 65,504, too large "
                                     "for a pixel unit: take the recipe guided-layers, or other "
                                     "--weights")
        return features

    def look(images):
        maps = gradient_map(classifier, images, seed_recipe, images.shape[2:]).cpu()
        masks = cut(normalise(maps.numpy(), seed_recipe), SEED_DELTA, seed_recipe).mask
        return (_on_grid(masks), unit_maximum(shrink(maps)), shrink_images(images).cpu(),
                read(images))

    with (torch.autocast(device.type, enabled=False),  # moments of half precision are none
          one_thread_per_operation() as threads):  # the same bits whatever the number of cores
        labels, seeds, frames, features = map(
            torch.cat, zip(*map_in_order(look, targets, device, threads)))
        moments = _Moments(
            features, torch.cat(list(map_in_order(read, backgrounds, device, threads))))
        moments.fit(unit, labels)
        answers = _upsample(unit.cpu()(features).clamp_min(0), (SIDE, SIDE))
        sharpened = objects(frames, unit_maximum(answers) + seeds)
        moments.fit(unit, _on_grid(sharpened))
    classifier.pixel_unit = unit.to(device)


class _Moments:
    """First and second moments of the features; targets and backgrounds weigh the same."""

    def __init__(self, targets, backgrounds):
        self.targets = targets  # (n, GRID ** 2, D) half
        self.mean, self.second = 0, 0
        for features in (targets, backgrounds):
            weight = 0.5 / (features.shape[0] * features.shape[1])
            for part in features.split(64):
                flat = part.flatten(0, 1).float()
                self.mean = self.mean + weight * flat.sum(0).double()
                self.second = self.second + weight * (flat.T @ flat).double()

    def fit(self, unit, labels):
        """Ridge regression of labels (n, GRID ** 2) in [0, 1]; backgrounds are 0 everywhere."""
        weight = 0.5 / labels.numel()
        product = sum((part.flatten(0, 1).float().T @ label.flatten()).double()
                      for part, label in zip(self.targets.split(64), labels.split(64))) * weight
        level = labels.double().sum() * weight
        covariance = self.second - torch.outer(self.mean, self.mean)
        scale = covariance.diagonal().clamp_min(1e-12).sqrt()
        standardised = covariance / torch.outer(scale, scale)
        standardised = standardised + RIDGE * torch.eye(len(scale), dtype=torch.double)
        solution = torch.linalg.solve(standardised, (product - self.mean * level) / scale) / scale
        unit.weight.copy_(solution)
        unit.bias.copy_(level - solution @ self.mean)


def _answers(classifier, images):
    return classifier.pixel_unit(classifier.pixel_unit.read(images))


def _on_grid(masks):
    """Share of each grid cell that a mask covers: (N, H, W) bool to (N, GRID ** 2) float."""
    masks = torch.from_numpy(masks).float()[:, None]
    return functional.adaptive_avg_pool2d(masks, GRID).flatten(1)


def _upsample(maps, size):
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
