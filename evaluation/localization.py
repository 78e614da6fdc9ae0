"""Figures of anything that gives score maps, with tau chosen by a protocol."""

import abc
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets import Dataset, Record
from common.datasets.listed_once import Images
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from evaluation.evaluator import Evaluator, Result
from evaluation.tau_sources import tau_from_boxes, tau_from_masks, tau_oracle
from evaluation.threshold import TauChoice, choose_validation, fixed_tau
from evaluation.truth import Truth, truth_from_mask, truths_from_dataset

LOCALIZING = 2  # raised whenever tau, score maps or boxes are computed in another way
TAU_IMAGES = 500  # training images that tau is chosen on: more change it by less than a step


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


class Localization(abc.ABC):
    """Models localize the same images by the same protocol; a subclass says how a model does it.

    Everything is listed, opened or chosen once, on first use.

    Args:
        images: Images; the models' data set or another of the same classes.
        mask_roots: folders of mask caches to look through.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out. None raises at the first.
    """

    def __init__(self, images: Images, protocol: Protocol, mask_roots: Iterable[Path] = (),
                 unreadable: dict | None = None):
        self.images, self.protocol, self.unreadable = images, protocol, unreadable
        self.mask_roots = tuple(mask_roots)
        self._tuning: dict = {}

    @abc.abstractmethod
    def scored(self, model: Any, records: Sequence[Record], description: str,
               **options: Any) -> Iterator[tuple]:
        """Yield (records, (N, H, W) score maps, (ranks, predicted classes, probabilities)).

        ``options`` are ``cache``, a MaskCache whose images must be unchanged, and ``unreadable``;
        see ``stage2_ct.prediction.scored_batches``.
        """

    @abc.abstractmethod
    def frame(self, model: Any) -> int:
        """Side of a model's score maps, in pixels."""

    @abc.abstractmethod
    def masks(self, model: Any) -> MaskCache:
        """The masks of a model's training images."""

    def training_images(self, model: Any) -> Images:
        """The data set whose training images tau is chosen on: ``images``, or a model's own."""
        return self.images

    @property
    def dataset(self) -> Dataset:
        """The images that the figures are of."""
        return self.images.split(self.protocol.split)

    @functools.cached_property
    def truths(self) -> list[Truth]:
        """The ground truth of those that can be read."""
        return truths_from_dataset(self.dataset, self.unreadable)

    def readable(self) -> list[Record]:
        """The images that have not turned out to be unreadable yet."""
        return [record for record in self.dataset.records
                if record.image_id not in (self.unreadable or {})]

    def readable_truths(self) -> list[Truth]:
        """The ground truth of the images that have not turned out to be unreadable."""
        return [truth for truth in self.truths if truth.image_id not in (self.unreadable or {})]

    def localize(self, model: Any) -> Result:
        """Figures of a model; tau is chosen after the images have been scored.

        Raises:
            BadImage: an image cannot be read and nothing takes its reason.
            MaskCacheError: there are no masks to choose tau on, or an image has changed since its
                mask was made.
        """
        self.tuning(model)  # what is missing there is said before the work starts
        evaluator = self._evaluator(model, self.readable_truths(), self.dataset.classes)
        evaluator = self._accumulate(model, self.readable(), "localizing", evaluator)
        return evaluator.compute(tau_oracle(evaluator) if self.protocol.tau_from == "test"
                                 else self.choose_tau(model))

    def choose_tau(self, model: Any) -> TauChoice:
        """tau by a protocol other than ``test``, from training images only; errors as above."""
        tuning = self.tuning(model)
        if tuning is None:
            return fixed_tau(float(self.protocol.tau_from))
        from_masks = self.protocol.tau_from == "masks"
        chosen = {truth.image_id for truth in tuning}
        records = [record for record in self.training_images(model).split("train").records
                   if record.image_id in chosen]
        evaluator = self._accumulate(model, records, "choosing tau",
                                     self._evaluator(model, tuning),
                                     self.masks(model) if from_masks else None)
        return tau_from_masks(evaluator) if from_masks else tau_from_boxes(evaluator)

    def tuning(self, model: Any) -> list[Truth] | None:
        """What tau is chosen on: boxes of masks or of training images; None if it is a number."""
        if self.protocol.tau_from not in ("masks", "val"):
            return None
        masks = None
        if self.protocol.tau_from == "masks":
            masks = self.masks(model)
            masks.require_valid()
        dataset = self.training_images(model).split("train")
        key = dataset.root, None if masks is None else masks.folder
        if key not in self._tuning:
            self._tuning[key] = mask_truths(masks, dataset.records) if masks is not None else (
                validation_truths(dataset, self.protocol.boxes_per_class, self.unreadable))
        return self._tuning[key]

    def _evaluator(self, model, truths, class_names=None):
        return Evaluator(truths, self.protocol.box_rule, tau=self.protocol.stated_tau,
                         size=(self.frame(model),) * 2, class_names=class_names)

    def _accumulate(self, model, records, description, evaluator, masks=None):
        """Feed an Evaluator with score maps of the true classes and with rankings.

        Returns:
            The Evaluator, or one without the images that turned out to be unreadable.
        """
        bad = None if self.unreadable is None else {}
        for batch, maps, ranking in self.scored(model, records, description, cache=masks,
                                                unreadable=bad):
            evaluator.accumulate_many(
                (one, record.image_id, dict(zip(("rank", "predicted", "score"), figures)))
                for one, record, figures in zip(maps, batch, zip(*ranking)))
        if not bad:
            return evaluator
        self.unreadable.update(bad)
        return evaluator.without(bad)


def mask_truths(cache: MaskCache, records: Sequence[Record]) -> list[Truth]:
    """Truths of up to 500 training images, drawn at random, from their valid cached masks.

    Raises:
        MaskCacheError: the cache holds a valid mask of none of them.
    """
    order = np.random.default_rng(0).permutation(len(records))
    valid = (index for index in order if records[index].image_id in cache
             and cache.read(records[index].image_id)[1])
    chosen = sorted(itertools.islice(valid, TAU_IMAGES))
    if not chosen:
        raise MaskCacheError(f"{cache.folder} holds a valid mask of none of these training images; "
                             "name other masks with --masks, or give --tau-from a number")
    return [truth_from_mask(record.image_id, cache[record.image_id], record.label)
            for record in (records[index] for index in chosen)]


def validation_truths(dataset: Dataset, per_class: int, unreadable: dict | None) -> list[Truth]:
    """Truths of a few training images per class, whose boxes may be looked at to choose tau."""
    truths = {truth.image_id: truth for truth in truths_from_dataset(dataset, unreadable)}
    chosen = set(choose_validation(truths.values(), per_class))
    return [truth for image_id, truth in truths.items() if image_id in chosen]
