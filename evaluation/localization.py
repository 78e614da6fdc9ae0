"""Figures of anything that gives score maps, with tau chosen by a protocol."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from common.datasets import Dataset, Record
from common.mask_cache.reader import MaskCache
from evaluation.evaluator import Evaluator, Result
from evaluation.threshold import (TauChoice, choose_validation, fixed_tau, tau_from_boxes,
                                  tau_from_masks, tau_oracle)
from evaluation.truth import Truth, truth_from_mask, truths_from_dataset

LOCALIZING = 2  # raised whenever tau, score maps or boxes are computed in another way
TAU_IMAGES = 500  # training images that tau is chosen on: more change it by less than a step

Scorer = Callable
"""Called with (records, description, **options) as ``stage2_ct.prediction.scored_batches`` is with
its own: yields (records, (N, H, W) score maps, (ranks, predicted classes, probabilities))."""


@dataclass(frozen=True)
class Protocol:
    """How boxes are cut and judged."""

    split: str = "test"
    """Images that the figures are of: train, test or all."""
    score_map: str | None = None
    """What a box is cut from; None for the method's own."""
    box_rule: str = "largest"
    """Name of the box rule, see ``common.box_rules``."""
    tau_from: str = "masks"
    """masks, val, test (an oracle) or a number."""
    boxes_per_class: int = 5
    """Annotated boxes per class that ``val`` may look at, of training images."""
    input_size: int | None = None
    """Side in pixels of the square that an image is squashed to; None for the method's own."""

    @property
    def stated_tau(self) -> float | None:
        """The number that ``tau_from`` is, or None."""
        return None if self.tau_from in ("masks", "val", "test") else float(self.tau_from)


def mask_truths(cache: MaskCache, records: Sequence[Record]) -> list[Truth]:
    """Truths of up to 500 training images, drawn at random, from their valid cached masks."""
    order = np.random.default_rng(0).permutation(len(records))
    valid = (index for index in order if cache.read(records[index].image_id)[1])
    chosen = sorted(itertools.islice(valid, TAU_IMAGES))
    return [truth_from_mask(record.image_id, cache[record.image_id], record.label)
            for record in (records[index] for index in chosen)]


def validation_truths(dataset: Dataset, per_class: int, unreadable: dict | None) -> list[Truth]:
    """Truths of a few training images per class, whose boxes may be looked at to choose tau."""
    truths = {truth.image_id: truth for truth in truths_from_dataset(dataset, unreadable)}
    chosen = set(choose_validation(truths.values(), per_class))
    return [truth for image_id, truth in truths.items() if image_id in chosen]


def localize(scorer: Scorer, dataset: Dataset, truths: Sequence[Truth], protocol: Protocol,
             frame: int, choose_tau: Callable, unreadable: dict | None = None) -> Result:
    """Figures of score maps.

    Args:
        scorer: see ``Scorer``.
        dataset: the images that the figures are of.
        truths: Truth of each of them that can be read.
        protocol: Protocol.
        frame: side of the score maps, in pixels.
        choose_tau: called without arguments after the maps have been scored, unless tau is the
            oracle's; gives a TauChoice.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out. None raises at the first.

    Raises:
        BadImage: an image cannot be read and ``unreadable`` is None.
    """
    evaluator = Evaluator(truths, class_names=dataset.classes, **_settings(protocol, frame))
    records = [record for record in dataset.records if record.image_id not in (unreadable or {})]
    evaluator = _accumulate(scorer, records, "localizing", evaluator, unreadable)
    return evaluator.compute(tau_oracle(evaluator) if protocol.tau_from == "test"
                             else choose_tau())


def choose_tau(scorer: Scorer, dataset: Dataset | None, tuning: Sequence[Truth] | None,
               protocol: Protocol, frame: int, masks: MaskCache | None = None,
               unreadable: dict | None = None) -> TauChoice:
    """The TauChoice of a protocol other than ``test``, from training images only.

    Args:
        scorer, protocol, frame, unreadable: as for ``localize``.
        dataset: the training images; None where tau is a number.
        tuning: truths by ``mask_truths`` or ``validation_truths``; None where tau is a number.
        masks: the MaskCache that ``tuning`` comes from, whose images must be unchanged.

    Raises:
        MaskCacheError: an image has changed since its mask was made.
    """
    if protocol.stated_tau is not None or dataset is None or tuning is None:
        return fixed_tau(float(protocol.tau_from))
    chosen = {truth.image_id for truth in tuning}
    records = [record for record in dataset.records if record.image_id in chosen]
    evaluator = _accumulate(scorer, records, "choosing tau",
                            Evaluator(tuning, **_settings(protocol, frame)), unreadable, masks)
    return tau_from_boxes(evaluator) if masks is None else tau_from_masks(evaluator)


def _settings(protocol, frame):
    stated = {} if protocol.stated_tau is None else {"tau": protocol.stated_tau}
    return {"rule": protocol.box_rule, "size": (frame, frame), **stated}


def _accumulate(scorer, records, description, evaluator, unreadable, masks=None):
    """Feed an Evaluator with score maps of the true classes and with rankings.

    Returns:
        The Evaluator, or one without the images that turned out to be unreadable.
    """
    bad = None if unreadable is None else {}
    for batch, maps, ranking in scorer(records, description, cache=masks, unreadable=bad):
        evaluator.accumulate_many(
            (one, record.image_id, dict(zip(("rank", "predicted", "score"), figures)))
            for one, record, figures in zip(maps, batch, zip(*ranking)))
    if not bad:
        return evaluator
    unreadable.update(bad)
    return evaluator.without(bad)
