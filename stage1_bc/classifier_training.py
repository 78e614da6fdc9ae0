"""Training the background classifier on features that are computed once."""

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from common.boxes import LARGEST_SIDE
from common.compute import Compute
from common.config import LARGEST_SEED, check_choice, check_ranges
from common.datasets import Record
from common.loading import consecutive, load_again, load_frames, to_float
from common.progress import silent
from common.threads import one_thread_per_operation
from stage1_bc.agreement import label_by_agreement
from stage1_bc.classifier import HEADS, BackgroundClassifier
from stage1_bc.composites import read_composites
from stage1_bc.doubtful_cells import doubtful_cells
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.first_labels import label_seeds, read_seeds, train_pixel_unit
from stage1_bc.mask_clusters import CLUSTER_COUNT, NotTarget
from stage1_bc.pixel_network import train_pixel_network
from stage1_bc.reading import Readings, read_images
from stage1_bc.recipe import PIXEL_UNITS
from stage1_bc.tuned_network import label_by_masks, train_tuned_network


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """How the background classifier learns."""

    head: str = "pooled"
    """What the unit reads: pooled, flattened or fc7."""
    image_size: int = 224
    """Side of the square input, in pixels."""
    steps: int = 2000
    """Optimizer steps."""
    batch_size: int = 64
    """Feature vectors per step; each is a target or a background with equal probability."""
    learning_rate: float = 0.01
    """Adam's step size, falling to zero along a cosine."""
    weight_decay: float = 0.05
    """L2 penalty on the unit's weights."""
    held_back: float = 0.1
    """Fraction of each kind kept for validation; at least one image is."""
    max_targets: int = 20000
    """Target images used at most; more are sampled down to this many."""
    pixel_unit: bool = False
    """Also train the linear unit that reads every pixel, which the recipes "linear", "pixels",
    "colours" and "agreement" need."""
    evidence_unit: bool = False
    """Also teach a unit that reads every pixel from the classifier's evidence, which the recipes
    "evidence" and "agreement" need."""
    pixel_network: bool = False
    """Also train the network that reads every pixel, which the recipes "frozen" and "network"
    need."""
    tuned_network: bool = False
    """Also tune a copy of the backbone's last layers, which the recipe "default" needs. It learns
    the masks of a second network for pixels, which is taught by what a linear and an evidence unit
    agree on. With doubtful clusters, another network for pixels finds these. These helpers are not
    stored."""
    pixel_targets: int = 1000
    """Target images that units for pixels learn from at most; a sample where there are more."""
    doubtful_clusters: int = 0
    """Number of clusters that count as background for the tuned network, its teacher and the linear
    unit whose scores enter the teacher's labels: the most doubtful of 48 clusters of the cells that
    masks by the network for pixels cover, those that few masks of a class contain or that look
    little like a target; the recipe "default" sets 2. Without effect where these masks cover fewer
    than 48 cells in all; see docs/masks-log.md."""
    seed: int = 0
    """Seed of the split, of the draws and of first weights."""

    def __post_init__(self):
        check_choice(self, "head", HEADS)
        check_ranges(self, image_size=(1, LARGEST_SIDE), learning_rate=(0, math.inf),
                     weight_decay=(0, math.inf), held_back=(0, 0.9), seed=(0, LARGEST_SEED),
                     doubtful_clusters=(0, CLUSTER_COUNT - 1),
                     **dict.fromkeys(("steps", "batch_size", "max_targets", "pixel_targets"),
                                     (1, math.inf)))

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units for pixels that it asks for."""
        return tuple(name for name in PIXEL_UNITS if getattr(self, name))

    def with_units(self, names: Collection[str]) -> "ClassifierConfig":
        """The same with these units for pixels, and no others."""
        wanted: dict[str, Any] = {name: name in names for name in PIXEL_UNITS}
        return dataclasses.replace(self, **wanted)


def split(count: int, config: ClassifierConfig) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation, (train, held back), both arrays of int.

    Raises:
        ValueError: too few images to hold any back.
    """
    held = max(1, round(count * config.held_back))
    if count - held < 1:
        raise ValueError(f"{count} image(s) are too few to train on and hold some back; "
                         "at least two of each kind are needed")
    order = np.random.default_rng(config.seed).permutation(count)
    return order[held:], order[:held]


@one_thread_per_operation()  # the same bits for any number of cores
def train_unit(classifier: BackgroundClassifier, targets: torch.Tensor, backgrounds: torch.Tensor,
               config: ClassifierConfig) -> dict[str, float]:
    """Train the unit with binary cross-entropy (paper, Eq. 3).

    Targets (label 1) and backgrounds (label 0) are drawn with equal probability, however many
    there are of each (section 3.2). The features are standardised while learning and the scaling
    is folded into the unit afterwards, so that the classifier stays one fully connected unit.

    Args:
        classifier: BackgroundClassifier; its unit is changed in place.
        targets: (n, D) float32, features of target images.
        backgrounds: (m, D) float32, features of background images.

    Returns:
        dict of fractions: ``target_accuracy`` and ``background_accuracy`` on the images held
        back, and how many of each those are.
    """
    generator = torch.Generator().manual_seed(config.seed)
    train_targets, held_targets = (targets[part] for part in split(len(targets), config))
    train_backgrounds, held_backgrounds = (
        backgrounds[part] for part in split(len(backgrounds), config))

    mean = (train_targets.mean(0) + train_backgrounds.mean(0)) / 2
    scale = 1 / torch.cat([train_targets - mean, train_backgrounds - mean]).std(0).clamp_min(1e-6)
    weight = torch.zeros(targets.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam(
        [weight, bias], lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for _ in range(config.steps):
        labels = torch.randint(2, (config.batch_size,), generator=generator)
        pick = torch.rand(config.batch_size, generator=generator)
        batch = torch.where(labels[:, None] == 1,
                            train_targets[(pick * len(train_targets)).long()],
                            train_backgrounds[(pick * len(train_backgrounds)).long()])
        logits = ((batch - mean) * scale) @ weight + bias
        loss = functional.binary_cross_entropy_with_logits(logits, labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    with torch.no_grad():
        folded = weight * scale
        classifier.unit.weight.copy_(folded[None])
        classifier.unit.bias.copy_(bias - (folded * mean).sum())
        device = classifier.unit.weight.device
        return {
            "target_accuracy":
                float((classifier.unit(held_targets.to(device)) > 0).float().mean()),
            "background_accuracy":
                float((classifier.unit(held_backgrounds.to(device)) <= 0).float().mean()),
            "held_back_targets": len(held_targets),
            "held_back_backgrounds": len(held_backgrounds),
        }


def train_classifier(classifier: BackgroundClassifier, targets: Sequence[Record],
                     backgrounds: Sequence[Record], config: ClassifierConfig, compute: Compute,
                     progress: Callable = silent, not_target: NotTarget | None = None) -> dict:
    """Train a background classifier's units from records of images.

    Images that cannot be read are left out.

    Args:
        classifier: BackgroundClassifier with untrained units; moved to the device, changed in
            place.
        targets: sequence of Record of target images; at most ``config.max_targets`` are used.
        backgrounds: sequence of Record of background images.
        progress: see ``common.progress``.
        not_target: clusters that the units for pixels learn as background; None for none.

    Returns:
        dict of plain values: how many of each kind were used (``targets``, ``backgrounds``), the
        accuracies of ``train_unit``, and ``unreadable``, from a path to the reason.

    Raises:
        ValueError: not one image of a kind can be read, or too few to hold any back.
        FloatingPointError: what the backbone or the unit gives is no longer finite.
    """
    readings = read_images(classifier, targets, backgrounds, config, compute, progress, not_target)
    accuracies = train_units(classifier, readings, config, compute, progress)
    return {"targets": len(readings.targets), "backgrounds": len(readings.backgrounds),
            **accuracies, "unreadable": readings.unreadable}


def train_units(classifier: BackgroundClassifier, readings: Readings, config: ClassifierConfig,
                compute: Compute, progress: Callable = silent) -> dict[str, float]:
    """Train the classifier's unit, and the units for pixels that ``config`` names.

    Args:
        classifier, config, compute, progress: as for ``train_classifier``.
        readings: Readings of the images.

    Returns:
        What ``train_unit`` returns.
    """
    accuracies = train_unit(classifier, readings.targets, readings.backgrounds, config)
    if not all(values.isfinite().all() for values in classifier.unit.parameters()):
        raise FloatingPointError("the background classifier's weights are no longer finite; train "
                                 "it with a lower --bc-set learning_rate")
    teach_pixels(classifier, readings, config, compute, progress)
    return accuracies


def teach_pixels(classifier: BackgroundClassifier, readings: Readings, config: ClassifierConfig,
                 compute: Compute, progress: Callable = silent) -> None:
    """Teach the units that read every pixel, where ``config`` names any.

    Args:
        classifier: BackgroundClassifier on the device, its unit trained; the units for pixels
            are set.
        readings, config, compute, progress: as for ``train_units``.

    Raises:
        BadImage: an image that was read before cannot be read any more.
    """
    if readings.moments is None:
        return
    moments = readings.moments

    def images():
        with progress(len(readings.sampled), "units for pixels") as advance:
            for batch in load_again(readings.sampled, (config.image_size,) * 2,
                                    compute.batch_size, compute.workers):
                advance(len(batch.positions))
                yield to_float(batch.images.to(compute.device)).contiguous(
                    memory_format=torch.channels_last)
    if config.units != ("evidence_unit",):  # that unit learns from no first labels
        seeds = read_seeds(classifier, images())
        first = label_seeds(classifier, seeds, moments)
    if config.pixel_unit:
        classifier.pixel_unit = train_pixel_unit(classifier, moments, first.cells)
    if config.evidence_unit:
        classifier.evidence_unit = train_evidence_unit(classifier, images(), moments)
    if config.pixel_network:
        classifier.pixel_network = train_pixel_network(classifier, moments, first.cells,
                                                       config.seed, progress)
    if config.tuned_network:
        assert readings.tail_inputs is not None  # ``read_images`` sees to it
        if config.doubtful_clusters:
            network = classifier.pixel_network or train_pixel_network(
                classifier, moments, first.cells, config.seed, progress)
            moments = _with_doubtful(network, readings, first, config)
            first = label_seeds(classifier, seeds, moments)
        # Without the doubtful cells: an evidence unit that learns them labels birds nearly as well
        # where the classifier is random (docs/masks-log.md). What a person has named stays.
        agreed = label_by_agreement(classifier, images(), readings.moments, first)
        teacher = train_pixel_network(classifier, moments, agreed, config.seed, progress)
        cells, masks = label_by_masks(teacher, moments, first.frames)
        composites = read_composites(classifier, readings.sampled, masks,
                                     readings.kept_backgrounds, compute, config.seed, progress)
        classifier.tuned_network = train_tuned_network(
            classifier, moments, readings.tail_inputs, cells, composites, config.seed, progress)


def _with_doubtful(network, readings, first, config):
    """The moments with the cells named that are doubtful in the masks of a network for pixels."""
    moments = readings.moments
    _, masks = label_by_masks(network, moments, first.frames)
    labels = [record.label for record in readings.sampled]
    return moments.with_named(doubtful_cells(network, moments, masks, labels,
                                             config.doubtful_clusters, config.seed))


@torch.no_grad()
def background_accuracy(classifier: BackgroundClassifier, records: Sequence[Record],
                        compute: Compute) -> tuple[float, int]:
    """How many background images a trained classifier recognizes as such.

    Args:
        records: sequence of Record; unreadable images are left out.

    Returns:
        (their fraction, number of images that it is of).
    """
    classifier.to(compute.device)
    logits = [classifier(to_float(batch.images.to(compute.device))).cpu()
              for batch in load_frames(records, (classifier.image_size,) * 2,
                                       consecutive(len(records), compute.batch_size),
                                       compute.workers) if batch.positions]
    right = torch.cat(logits) <= 0
    return float(right.float().mean()), len(right)
