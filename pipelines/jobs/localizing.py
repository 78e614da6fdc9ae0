"""Localizing with trained runs: tau first, then the figures."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.compute import Compute
from common.datasets import Dataset, Record
from common.mask_cache.reader import MaskCache
from evaluation.evaluator import Evaluator, Result
from evaluation.threshold import (TauChoice, choose_validation, fixed_tau,
                                  tau_from_boxes, tau_from_masks, tau_oracle)
from evaluation.truth import Truth, truth_from_mask, truths_from_dataset
from pipelines.jobs.inputs import Images
from pipelines.jobs.mask_choice import masks_of_run
from pipelines.jobs.progress import progress_bar
from stage2_ct.prediction import default_input_side, scored_batches
from stage2_ct.run import TrainedRun

LOCALIZING = 2  # raised whenever tau, a score map or a box is found in another way than before
TAU_IMAGES = 500  # training images that tau is chosen on: more change it by less than a step


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How boxes are cut and judged."""

    split: str = "test"
    """Images that the figures are of: train, test or all."""
    score_map: str | None = None
    """What a box is cut from, see ``stage2_ct.score_maps``; None for the variant's own."""
    box_rule: str = "largest"
    """Name of the box rule."""
    tau_from: str = "masks"
    """masks, val, test (an oracle) or a number."""
    boxes_per_class: int = 5
    """Annotated boxes per class that ``val`` may look at, of training images."""
    input_size: int | None = None
    """Side in pixels of the square that an image is squashed to; None for 9/7 of training's."""

    @property
    def stated_tau(self) -> float | None:
        """The number that ``tau_from`` is, or None."""
        return None if self.tau_from in ("masks", "val", "test") else float(self.tau_from)


class Localization:
    """Runs, images and a protocol: what the figures of a report come from.

    Everything that is listed, opened or chosen is so once, on first use.

    Args:
        images: Images; the runs' data set or another of the same classes.
        protocol: Protocol.
        compute: Compute.
        mask_roots: folders of mask caches to look through.
        masks: MaskCache of the training images that tau comes from; None for each run's own.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out. None raises at the first.
    """

    def __init__(self, images: Images, protocol: Protocol, compute: Compute,
                 mask_roots: Iterable[Path] = (), masks: MaskCache | None = None,
                 unreadable: dict | None = None):
        self.images, self.protocol, self.compute = images, protocol, compute
        self.mask_roots, self.named_masks = tuple(mask_roots), masks
        self.unreadable = unreadable
        self._masks, self._tuning = {}, {}

    @property
    def dataset(self) -> Dataset:
        """The images that the figures are of."""
        return self.images.split(self.protocol.split)

    @functools.cached_property
    def truths(self) -> list[Truth]:
        """The ground truth of those that can be read."""
        return truths_from_dataset(self.dataset, self.unreadable)

    def masks(self, trained: TrainedRun) -> MaskCache:
        """The training images' masks for a run."""
        folder = trained.run.folder.resolve()
        if folder not in self._masks:
            roots = dict.fromkeys((folder.parent.parent / "masks", *self.mask_roots))
            self._masks[folder] = self.named_masks or masks_of_run(
                trained.manifest, self.images, roots)
        return self._masks[folder]

    def tuning(self, trained: TrainedRun) -> list[Truth] | None:
        """What tau is chosen on: boxes of masks or of training images; None where on nothing."""
        if self.protocol.tau_from == "masks":
            masks = self.masks(trained)
            if masks.folder not in self._tuning:
                self._tuning[masks.folder] = mask_truths(
                    masks, self.images.split("train").records)
            return self._tuning[masks.folder]
        return self._validation if self.protocol.tau_from == "val" else None

    @functools.cached_property
    def _validation(self) -> list[Truth]:
        truths = {truth.image_id: truth for truth in truths_from_dataset(
            self.images.split("train"), self.unreadable)}
        chosen = set(choose_validation(truths.values(), self.protocol.boxes_per_class))
        return [truth for image_id, truth in truths.items() if image_id in chosen]

    def readable(self) -> list[Record]:
        """The images that have not turned out to be unreadable yet."""
        return [record for record in self.dataset.records
                if record.image_id not in (self.unreadable or {})]

    def scored(self, trained: TrainedRun, records: Sequence[Record], description: str, **options):
        """``scored_batches`` of a run under the protocol."""
        side = self.protocol.input_size or default_input_side(trained.config.image_size)
        return scored_batches(
            trained.method, records, self.protocol.score_map or trained.config.score_map,
            trained.config.image_size, side, self.compute, progress=progress_bar,
            description=description, **options)


def mask_truths(cache: MaskCache, records: Sequence[Record]) -> list[Truth]:
    """Truths of up to 500 training images, drawn at random, from their valid cached masks."""
    order = np.random.default_rng(0).permutation(len(records))
    valid = (index for index in order if cache.read(records[index].image_id)[1])
    chosen = sorted(itertools.islice(valid, TAU_IMAGES))
    return [truth_from_mask(record.image_id, cache[record.image_id], record.label)
            for record in (records[index] for index in chosen)]


def localize(trained: TrainedRun, localization: Localization) -> Result:
    """Figures of a trained run.

    Raises:
        BadImage: an image cannot be read and nothing takes its reason.
        MaskCacheError: there are no masks to choose tau on, or an image has changed since its mask
            was made.
    """
    evaluator = Evaluator(localization.truths, class_names=localization.dataset.classes,
                          **_settings(trained, localization.protocol))
    evaluator = _accumulate(trained, localization, localization.readable(), evaluator,
                            f"localizing {trained.variant}")
    if localization.protocol.tau_from == "test":
        return evaluator.compute(tau_oracle(evaluator))
    return evaluator.compute(choose_tau(trained, localization))


def choose_tau(trained: TrainedRun, localization: Localization) -> TauChoice:
    """The TauChoice of a protocol other than ``test``, from training images only."""
    protocol = localization.protocol
    if protocol.stated_tau is not None:
        return fixed_tau(protocol.stated_tau)
    truths = localization.tuning(trained)
    chosen = {truth.image_id for truth in truths}
    records = [record for record in localization.images.split("train").records
               if record.image_id in chosen]
    cache = localization.masks(trained) if protocol.tau_from == "masks" else None
    evaluator = _accumulate(trained, localization, records,
                            Evaluator(truths, **_settings(trained, protocol)), "choosing tau",
                            cache)
    return tau_from_boxes(evaluator) if cache is None else tau_from_masks(evaluator)


def _settings(trained, protocol):
    stated = {} if protocol.stated_tau is None else {"tau": protocol.stated_tau}
    return {"rule": protocol.box_rule, "size": (trained.config.image_size,) * 2, **stated}


def _accumulate(trained, localization, records, evaluator, description, cache=None):
    """Feed an Evaluator with a run's score maps of the true classes and its rankings.

    Returns:
        The Evaluator, or one without the images that turned out to be unreadable.
    """
    bad = None if localization.unreadable is None else {}
    for batch, maps, ranking in localization.scored(trained, records, description, cache=cache,
                                                    unreadable=bad):
        evaluator.accumulate_many(
            (one, record.image_id, dict(zip(("rank", "predicted", "score"), figures)))
            for one, record, figures in zip(maps, batch, zip(*ranking)))
    if not bad:
        return evaluator
    localization.unreadable.update(bad)
    return evaluator.without(bad)
