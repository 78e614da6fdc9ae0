"""Training the background classifier on features that are computed once."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch.nn import functional

from common.boxes import LARGEST_SIDE
from common.compute import Compute
from common.config import LARGEST_SEED, check_choice, check_ranges
from common.datasets import Record
from common.loading import consecutive, load_frames, to_float
from common.memory import in_parts
from common.progress import silent
from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.classifier import HEADS, BackgroundClassifier
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.mask_clusters import NotTarget
from stage1_bc.pixel_unit import Moments, train_pixel_unit
from stage1_bc.recipe import RECIPES


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
    """Fraction of each kind kept for validation."""
    max_targets: int = 20000
    """Target images used at most; more are sampled down to this many."""
    pixel_unit: bool = False
    """Also train the unit that reads every pixel, which the recipe "pixels" needs."""
    evidence_unit: bool = False
    """Also teach a unit that reads every pixel from the classifier's evidence, which the recipes
    "evidence" and "agreement" need."""
    pixel_targets: int = 1000
    """Target images that a unit for pixels learns from at most; a sample where there are more."""
    seed: int = 0
    """Seed of the split, of the draws and of the unit's first weights."""

    def __post_init__(self):
        check_choice(self, "head", HEADS)
        check_ranges(self, image_size=(1, LARGEST_SIDE), learning_rate=(0, math.inf),
                     weight_decay=(0, math.inf), held_back=(0, 0.9), seed=(0, LARGEST_SEED),
                     **dict.fromkeys(("steps", "batch_size", "max_targets", "pixel_targets"),
                                     (1, math.inf)))


def sample_targets(count: int, most: int, seed: int) -> np.ndarray:
    """Indices of the target images to use: all, or a sorted random sample of ``most``."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def compute_features(classifier: BackgroundClassifier, batches: Iterable[torch.Tensor],
                     device: str | torch.device) -> torch.Tensor:
    """What the unit reads, once per image; the same bits for any number of cores.

    Args:
        classifier: BackgroundClassifier on ``device``.
        batches: iterable of (N, 3, H, W) uint8 RGB.

    Returns:
        (images, D) float32 on the CPU.
    """
    @torch.no_grad()  # in each thread: it is a setting of the thread
    def features(images):
        return in_parts(classifier.features, to_float(images.to(device))).float().cpu()
    with one_thread_per_operation() as threads:
        return torch.cat(list(map_in_order(features, batches, device, threads)))


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

    Each image passes through the frozen backbone once. Images that cannot be read are left out.

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
    classifier.to(compute.device).to(memory_format=torch.channels_last)
    unreadable = {}
    chosen = sample_targets(len(targets), config.max_targets, config.seed)
    features = [_features(classifier, records, config, compute, description, unreadable, progress)
                for records, description in (([targets[index] for index in chosen], "targets"),
                                             (backgrounds, "backgrounds"))]
    accuracies = train_unit(classifier, features[0], features[1], config)
    if not all(values.isfinite().all() for values in classifier.unit.parameters()):
        raise FloatingPointError("the background classifier's weights are no longer finite; train "
                                 "it with a lower --bc-set learning_rate")
    if config.pixel_unit or config.evidence_unit:
        readable = [record for record in targets if str(record.path) not in unreadable]
        teach_pixels(classifier, readable, backgrounds, config, compute, progress,
                     not_target=not_target)
    return {"targets": len(features[0]), "backgrounds": len(features[1]), **accuracies,
            "unreadable": unreadable}


def _features(classifier, records, config, compute, description, unreadable, progress):
    """What the unit reads, once per readable record, (n, D) float32."""
    batches = load_frames(records, (config.image_size,) * 2,
                          consecutive(len(records), compute.batch_size), compute.workers)
    readable = 0
    with progress(len(records), description) as advance:
        def images():
            nonlocal readable
            for batch in batches:
                unreadable.update({str(error.path): error.reason for _, error in batch.bad})
                readable += len(batch.positions)
                advance(len(batch.positions) + len(batch.bad))
                if batch.positions:
                    yield batch.images
            if readable == 0:
                raise ValueError(f"none of the {len(records)} {description} can be read; the first "
                                 f"is {records[0].path}")
        features = compute_features(classifier, images(), compute.device)
    if not features.isfinite().all():
        raise FloatingPointError(
            f"the backbone makes NaN or infinity of some {description}, from which the background "
            "classifier cannot learn: its --weights are of another network, or damaged")
    return features


def teach_pixels(classifier: BackgroundClassifier, targets: Sequence[Record],
                 backgrounds: Sequence[Record], config: ClassifierConfig, compute: Compute,
                 progress: Callable = silent, moments: Moments | None = None,
                 not_target: NotTarget | None = None) -> Moments:
    """Teach the units that read every pixel a sample of the targets and all backgrounds.

    Args:
        classifier: BackgroundClassifier on the device, its unit trained; the units for pixels that
            ``config`` names are set.
        targets, backgrounds, config, compute, progress: as for ``train_classifier``.
        moments: what this function returned for the same images; saves time.
        not_target: as for ``train_classifier``.

    Returns:
        Moments of the images.
    """
    chosen = [targets[index] for index in
              sample_targets(len(targets), config.pixel_targets, config.seed)]
    units = config.pixel_unit + config.evidence_unit
    unread = 0 if moments is not None else len(backgrounds)
    with progress(units * len(chosen) + unread, "units for pixels") as advance:
        def images(records):
            for batch in load_frames(records, (config.image_size,) * 2,
                                     consecutive(len(records), compute.batch_size),
                                     compute.workers):
                advance(len(batch.positions) + len(batch.bad))
                if batch.positions:
                    yield to_float(batch.images.to(compute.device)).contiguous(
                        memory_format=torch.channels_last)
        if config.pixel_unit:
            moments = train_pixel_unit(classifier, images(chosen), images(backgrounds),
                                       RECIPES["guided-layers"], moments, not_target)
        if config.evidence_unit:
            moments = train_evidence_unit(
                classifier, images(chosen), images(backgrounds), moments, not_target)
    assert moments is not None, "config names no unit for pixels"
    return moments


@torch.no_grad()
def background_accuracy(classifier: BackgroundClassifier, records: Sequence[Record],
                        compute: Compute) -> float:
    """Fraction of background images that a trained classifier recognizes as such.

    Args:
        records: sequence of Record; unreadable images are left out.
    """
    classifier.to(compute.device)
    logits = [classifier(to_float(batch.images.to(compute.device))).cpu()
              for batch in load_frames(records, (classifier.image_size,) * 2,
                                       consecutive(len(records), compute.batch_size),
                                       compute.workers) if batch.positions]
    return float((torch.cat(logits) <= 0).float().mean())
