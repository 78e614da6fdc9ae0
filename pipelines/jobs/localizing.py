"""Localizing with a trained method: tau first, then the figures."""

import dataclasses
import itertools

import numpy as np
import torch

from evaluation.evaluator import Evaluator
from evaluation.threshold import (choose_validation, fixed_tau, tau_from_boxes,
                                  tau_from_masks, tau_oracle)
from evaluation.truth import truth_from_mask, truths_from_dataset
from pipelines.stage1 import open_masks
from pipelines.stage2 import predict
from stage2_ct.score_maps import score_maps

# Random crops show objects larger in training than they are in a whole image; seen this much larger
# they look alike again (Touvron et al., NeurIPS 2019). Chosen on training images held out.
ENLARGEMENT = 9 / 7
LOCALIZING = 2  # raised whenever tau, a score map or a box is found in another way than before
TAU_IMAGES = 500  # training images that tau is chosen on: more change it by less than a step


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How boxes are cut and judged."""

    split: str = "test"
    """Images that the figures are of: train, test or all."""
    score_map: str | None = None
    """What a box is cut from: class, mask or product; None for the variant's own."""
    box_rule: str = "largest"
    """Name of the box rule."""
    tau_from: str = "masks"
    """masks, val, test (an oracle) or a number."""
    boxes_per_class: int = 5
    """Annotated boxes a class that ``val`` may look at, of training images."""
    input_size: int | None = None
    """Side of the square that an image is squashed to, in pixels; None for 9/7 of training's."""

    def input_side(self, config):
        """That side for a method trained with a TrainingConfig."""
        return self.input_size or round(ENLARGEMENT * config.image_size)


def localize(job, method, protocol=Protocol(), unreadable=None):
    """Figures of a trained method.

    Args:
        job: Stage2.
        method: its trained method.
        protocol: Protocol.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out. None ends at the first.

    Returns:
        Result.

    Raises:
        BadImage: an image cannot be read and ``unreadable`` is None.
        MaskCacheError: an image that tau is chosen on has changed since its mask was made.
    """
    dataset = job.stage1.images(protocol.split)
    evaluator = Evaluator(truths_from_dataset(dataset, unreadable), class_names=dataset.classes,
                          **_evaluator_settings(job, protocol))
    readable = [record for record in dataset.records if record.image_id not in (unreadable or {})]
    evaluator = _accumulate(job, method, readable, protocol, evaluator,
                            f"localizing {job.variant}", unreadable)
    if protocol.tau_from == "test":
        return evaluator.compute(tau_oracle(evaluator))
    return evaluator.compute(choose_tau(job, method, protocol, unreadable))


def choose_tau(job, method, protocol, unreadable=None):
    """The TauChoice of a protocol, from training images only; arguments as for ``localize``."""
    if protocol.tau_from == "masks":
        return _tau_from_masks(job, method, protocol, unreadable)
    if protocol.tau_from == "val":
        return _tau_from_boxes(job, method, protocol, unreadable)
    return fixed_tau(float(protocol.tau_from))


def _tau_from_masks(job, method, protocol, unreadable):
    """Tau that agrees best with the training images' cached masks; no box is looked at."""
    cache = _training_masks(job)
    truths = mask_truths(job)
    chosen = {truth.image_id for truth in truths}
    records = [record for record in job.stage1.targets.records if record.image_id in chosen]
    evaluator = Evaluator(truths, **_evaluator_settings(job, protocol))
    return tau_from_masks(_accumulate(job, method, records, protocol, evaluator, "choosing tau",
                                      unreadable, cache))


def _training_masks(job):
    """The MaskCache of a job's training images, whether they supervise it or not."""
    return job.cache if job.cache is not None else open_masks(job.stage1, "train", job.delta)


def mask_truths(job):
    """Truths of up to 500 training images, drawn at random, from their valid cached masks."""
    cache, records = _training_masks(job), job.stage1.targets.records
    order = np.random.default_rng(0).permutation(len(records))
    valid = (index for index in order if cache.read(records[index].image_id)[1])
    chosen = sorted(itertools.islice(valid, TAU_IMAGES))
    return [truth_from_mask(record.image_id, cache[record.image_id], record.label)
            for record in (records[index] for index in chosen)]


def _tau_from_boxes(job, method, protocol, unreadable):
    """Tau that localizes most of a stated number of training images with boxes."""
    truths = {truth.image_id: truth
              for truth in truths_from_dataset(job.stage1.targets, unreadable)}
    chosen = set(choose_validation(truths.values(), protocol.boxes_per_class))
    records = [record for record in job.stage1.targets.records if record.image_id in chosen]
    evaluator = Evaluator([truths[record.image_id] for record in records],
                          **_evaluator_settings(job, protocol))
    return tau_from_boxes(_accumulate(job, method, records, protocol, evaluator, "choosing tau",
                                      unreadable))


def _evaluator_settings(job, protocol):
    tau = {}
    if protocol.tau_from not in ("masks", "val", "test"):
        tau = {"tau": float(protocol.tau_from)}
    return {"rule": protocol.box_rule, "size": (job.config.image_size,) * 2, **tau}


def _accumulate(job, method, records, protocol, evaluator, description, unreadable, cache=None):
    """Feed an Evaluator with a method's score maps of the true classes and its rankings.

    Returns:
        The Evaluator, or one without the images that turned out to be unreadable.
    """
    bad = None if unreadable is None else {}
    for batch, maps, ranking in scored_batches(job, method, records, protocol, description, cache,
                                               bad):
        evaluator.accumulate_many(
            (one, record.image_id, dict(zip(("rank", "predicted", "score"), figures)))
            for one, record, figures in zip(maps, batch, zip(*ranking)))
    if not bad:
        return evaluator
    unreadable.update(bad)
    return evaluator.without(bad)


def scored_batches(job, method, records, protocol, description, cache=None, unreadable=None):
    """Score maps of the true classes, and how the true class ranks, batch by batch.

    Args:
        job: Stage2.
        method: trained method.
        records: sequence of Record.
        protocol: Protocol.
        description: what the progress bar says.
        cache, unreadable: as for ``pipelines.stage2.predict``.

    Yields:
        (list of N Record, (N, H, W) float32 array in [0, 1], (ranks, predicted classes,
        their probabilities) as lists of N).
    """
    size = (job.config.image_size,) * 2

    def score(batch, prediction):
        logits = prediction.logits.float()
        labels = torch.tensor([record.label for record in batch], device=logits.device)
        maps = score_maps(prediction, protocol.score_map or job.config.score_map, labels, size)
        if not logits.isfinite().all():
            raise ValueError(f"{job.run.checkpoint} gives logits that are not finite; train it "
                             "again with lower learning rates")
        # Ties count against the true class: a model that says nothing is not always right.
        ranks = (logits >= logits.gather(1, labels[:, None])).sum(1) - 1
        scores, predicted = logits.softmax(1).max(1)
        return maps.cpu().numpy(), (ranks.tolist(), predicted.tolist(), scores.tolist())
    for batch, found in predict(job, method, records, protocol.input_side(job.config), description,
                                score, cache, unreadable):
        yield batch, *found
