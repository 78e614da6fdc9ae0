"""What the units learn from: one forward pass of the frozen backbone over each image."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from common.compute import Compute
from common.datasets import Record
from common.loading import FrameBatch, consecutive, load_frames, to_float
from common.memory import in_parts
from common.progress import silent
from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cells import on_one_grid
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.mask_clusters import NotTarget
from stage1_bc.moments import KEPT_BACKGROUNDS, Moments, TailInputs, evenly_spread, half_precision

if TYPE_CHECKING:  # that module imports this one
    from stage1_bc.classifier_training import ClassifierConfig


@dataclasses.dataclass(frozen=True)
class Readings:
    """What was read from the images that could be read."""

    targets: torch.Tensor
    """(n, D) float32, what the classifier's unit reads of each target."""
    backgrounds: torch.Tensor
    """(m, D) float32, the same of each background."""
    moments: Moments | None
    """Of what units for pixels read of a sample of the targets and of all backgrounds; None where
    no such unit is wanted."""
    tail_inputs: TailInputs | None
    """What the tuned network learns from: of that sample and of a thousand of the backgrounds at
    most; None where no such network is wanted."""
    sampled: tuple[Record, ...]
    """The targets of that sample, in the order of the moments."""
    kept_backgrounds: tuple[Record, ...]
    """The backgrounds that the tail inputs are of; () where there are none."""
    unreadable: dict[str, str]
    """From the path of each image that could not be read to the reason."""


def sample_targets(count: int, most: int, seed: int) -> np.ndarray:
    """Indices of the target images to use: all, or a sorted random sample of ``most``."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read_images(classifier: BackgroundClassifier, targets: Sequence[Record],
                backgrounds: Sequence[Record], config: "ClassifierConfig", compute: Compute,
                progress: Callable = silent, not_target: NotTarget | None = None) -> Readings:
    """Read what the units that ``config`` names learn from; the same bits for any number of cores.

    Args:
        classifier: BackgroundClassifier; moved to the device.
        targets, backgrounds, config, compute, progress, not_target: as for ``train_classifier``.

    Raises:
        ValueError: not one image of a kind can be read.
        FloatingPointError: the backbone's outputs are not finite, or too large for a unit.
    """
    classifier.to(compute.device).to(memory_format=torch.channels_last)
    with torch.autocast(torch.device(compute.device).type, enabled=False):  # too coarse for moments
        return _read_both(classifier, targets, backgrounds, config, compute, progress, not_target)


def _read_both(classifier, targets, backgrounds, config, compute, progress, not_target):
    """As ``read_images``, in the precision that is on."""
    chosen = [targets[index] for index in sample_targets(
        len(targets), config.max_targets, config.seed)]
    unreadable = {}

    def read(records, description, of_pixels=None, of_tail=None):
        return _read(classifier, records, _rows(of_pixels), _rows(of_tail), config, compute,
                     unreadable, lambda: progress(len(records), description), description)
    if not config.units:
        of_targets, of_backgrounds = (read(records, description)[0] for records, description
                                      in ((chosen, "targets"), (backgrounds, "backgrounds")))
        return Readings(of_targets, of_backgrounds, None, None, (), (), unreadable)
    sample = sample_targets(len(chosen), config.pixel_targets, config.seed)
    spread = evenly_spread(len(backgrounds), KEPT_BACKGROUNDS)
    tuned = config.tuned_network
    of_targets, target_pixels, target_tail = read(
        chosen, "targets", sample, sample if tuned else None)
    of_backgrounds, background_pixels, background_tail = read(
        backgrounds, "backgrounds", np.arange(len(backgrounds)), spread if tuned else None)

    def readable(records, indices):
        return tuple(record for record in (records[index] for index in indices)
                     if str(record.path) not in unreadable)
    with one_thread_per_operation():
        moments = Moments(target_pixels, background_pixels, not_target, compute.device)
    inputs = TailInputs(target_tail, background_tail) if tuned else None
    return Readings(of_targets, of_backgrounds, moments, inputs, readable(chosen, sample),
                    readable(backgrounds, spread) if tuned else (), unreadable)


def _rows(indices):
    return frozenset(() if indices is None else indices.tolist())


def _read(classifier, records, of_pixels, of_tail, config, compute, unreadable, progress,
          description):
    """What is read of the readable ones among some records: by the classifier's unit,
    (n, D) float32; by units for pixels, of those in ``of_pixels``, (s, GRID ** 2, D) half; by the
    backbone's tail, of those in ``of_tail``, (t, c, h, w) half. Both are sets of indices."""
    reader = _joint_reader(classifier) if of_pixels else _classifier_reader(classifier)

    @torch.no_grad()  # in each thread: it is a setting of the thread
    def read(batch: FrameBatch):
        of_unit, *others = in_parts(reader, to_float(batch.images.to(compute.device)))
        rows = ([row for row, position in enumerate(batch.positions) if position in wanted]
                for wanted in (of_pixels, of_tail))
        return of_unit.float().cpu(), *(values[row].half().cpu()
                                        for values, row in zip(others, rows))

    def readable(advance):
        found = False
        for batch in load_frames(records, (config.image_size,) * 2,
                                 consecutive(len(records), compute.batch_size), compute.workers):
            unreadable.update({str(error.path): error.reason for _, error in batch.bad})
            advance(len(batch.positions) + len(batch.bad))
            if batch.positions:
                found = True
                yield batch
        if not found:
            raise ValueError(f"none of the {len(records)} {description} can be read; the first "
                             f"is {records[0].path}")
    with progress() as advance, one_thread_per_operation() as threads:
        of_unit, *others = map(torch.cat, zip(*map_in_order(
            read, readable(advance), compute.device, threads)))
    if not of_unit.isfinite().all():
        raise FloatingPointError(
            f"the backbone makes NaN or infinity of some {description}, from which the background "
            "classifier cannot learn: its --weights are of another network, or damaged")
    return of_unit, *map(half_precision, others)


def _classifier_reader(classifier):
    """A function of images: what the classifier's unit reads, and nothing for other units."""
    def read(images):
        nothing = images.new_zeros(len(images), 0)
        return classifier.features(images), nothing, nothing
    return read


def _joint_reader(classifier):
    """A function of images: what the classifier's unit reads, what units for pixels read, and
    what the backbone's tail reads."""
    extract = classifier.backbone.extractor(features=True)

    def read(images):
        outputs = extract(images)
        return (classifier.read(outputs.features), on_one_grid(outputs.pixels),
                outputs.tail_input)
    return read
