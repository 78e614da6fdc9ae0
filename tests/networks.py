"""Small networks for tests: a few layers, nothing to download."""

import cv2
import numpy as np
import torch
from torch import nn

from common.backbones import Backbone
from stage1_bc.agreement import label_by_agreement
from stage1_bc.cells import GRID, on_grid
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.composites import Composites, paste
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.first_labels import label_seeds, read_seeds, train_pixel_unit
from stage1_bc.moments import Moments, TailInputs, half_precision
from stage1_bc.pixel_network import train_pixel_network
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.tuned_network import label_by_masks, train_tuned_network

NO_COMPOSITES = Composites(torch.zeros(0), torch.zeros(0, GRID ** 2))


def small_backbone(seed=0, channels=6):
    """A Backbone of seven layers with stride 4."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, channels, 3, padding=1))
    for layer in layers[::3]:
        nn.init.kaiming_normal_(layer.weight)
    return Backbone("tiny", layers, channels, stride=4, taps=(2, 5, 6),
                    tail_start=6).eval()


def small_classifier(head="pooled", image_size=16, seed=0):
    """A BackgroundClassifier on that backbone, its unit random."""
    return BackgroundClassifier(small_backbone(seed), head, image_size).eval()


def teach_units(classifier, targets, backgrounds, batch_size):
    """Teach all units for pixels from target images, taken in batches, and background images.

    Returns:
        (Moments of the images, FirstLabels).
    """
    moments, targets = moments_of(classifier, targets, backgrounds), targets.split(batch_size)
    first = label_seeds(classifier, read_seeds(classifier, targets), moments)
    classifier.pixel_unit = train_pixel_unit(classifier, moments, first.cells)
    classifier.evidence_unit = train_evidence_unit(classifier, targets, moments)
    classifier.pixel_network = train_pixel_network(classifier, moments, first.cells, seed=0)
    inputs = TailInputs(*(classifier.pixel_network.look(images).tail_input.half()
                          for images in (torch.cat(targets), backgrounds)))
    agreed = label_by_agreement(classifier, targets, moments, first)
    teacher = train_pixel_network(classifier, moments, agreed, seed=0)
    cells, masks = label_by_masks(teacher, moments, first.frames)
    composites = composites_of(classifier, torch.cat(targets), masks, backgrounds)
    classifier.tuned_network = train_tuned_network(classifier, moments, inputs, cells, composites,
                                                   seed=0)
    return moments, first


def composites_of(classifier, targets, masks, backgrounds):
    """Composites of images in memory, one for each target with a mask."""
    generator, pasted = np.random.default_rng(0), []
    targets, backgrounds = ((images * 255).byte().permute(0, 2, 3, 1).numpy()
                            for images in (targets, backgrounds))
    for target, mask, background in zip(targets, masks, backgrounds):
        if mask.any():
            size = target.shape[1::-1]
            pasted.append(paste(target, cv2.resize(mask.astype(np.float32), size), background,
                                generator))
    if not pasted:
        return NO_COMPOSITES
    images, covered = map(np.stack, zip(*pasted))
    look = classifier.pixel_network.look(
        torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    return Composites(look.tail_input.half(), on_grid(covered))


def moments_of(classifier, targets, backgrounds, not_target=None):
    """The Moments of two batches of images, read in full precision as ``read_images`` does."""
    unit = PixelUnit(classifier.backbone)
    with torch.autocast("cpu", enabled=False):
        return Moments(*(half_precision(unit.read(images)) for images in (targets, backgrounds)),
                       not_target)
