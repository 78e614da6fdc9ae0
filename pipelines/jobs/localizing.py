"""Localizing with trained runs: which images, which masks for tau, and which figures."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.compute import Compute
from common.datasets import Dataset, Record
from common.mask_cache.reader import MaskCache
from evaluation import localization
from evaluation.evaluator import Result
from evaluation.localization import Protocol, mask_truths, validation_truths
from evaluation.threshold import TauChoice
from evaluation.truth import Truth, truths_from_dataset
from pipelines.jobs.inputs import Images
from pipelines.jobs.mask_choice import masks_of_run
from pipelines.jobs.progress_bar import progress_bar
from stage2_ct.prediction import default_input_side, scored_batches
from stage2_ct.run import TrainedRun


class Localization:
    """Runs evaluated on the same images by the same protocol.

    Everything is listed, opened or chosen once, on first use.

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

    def readable(self) -> list[Record]:
        """The images that have not turned out to be unreadable yet."""
        return [record for record in self.dataset.records
                if record.image_id not in (self.unreadable or {})]

    def masks(self, trained: TrainedRun) -> MaskCache:
        """The training images' masks for a run."""
        folder = trained.run.folder.resolve()
        if folder not in self._masks:
            roots = dict.fromkeys((folder.parent.parent / "masks", *self.mask_roots))
            self._masks[folder] = self.named_masks or masks_of_run(
                trained.manifest, self.images, roots)
        return self._masks[folder]

    def tuning(self, trained: TrainedRun) -> list[Truth] | None:
        """What tau is chosen on: boxes of masks or of training images; None if it is a number."""
        if self.protocol.tau_from == "masks":
            masks = self.masks(trained)
            masks.require_valid()
            if masks.folder not in self._tuning:
                self._tuning[masks.folder] = mask_truths(
                    masks, self.images.split("train").records)
            return self._tuning[masks.folder]
        return self._validation if self.protocol.tau_from == "val" else None

    @functools.cached_property
    def _validation(self) -> list[Truth]:
        return validation_truths(self.images.split("train"), self.protocol.boxes_per_class,
                                 self.unreadable)

    def scored(self, trained: TrainedRun, records: Sequence[Record], description: str, **options):
        """``scored_batches`` of a run under the protocol."""
        side = self.protocol.input_size or default_input_side(trained.config.image_size)
        return scored_batches(
            trained.method, records, self.protocol.score_map or trained.config.score_map,
            trained.config.image_size, side, self.compute, progress=progress_bar,
            description=f"{description} ({trained.variant})", **options)


def localize_run(trained: TrainedRun, over: Localization) -> Result:
    """Figures of a trained run.

    Raises:
        BadImage: an image cannot be read and nothing takes its reason.
        MaskCacheError: there are no masks to choose tau on, or an image has changed since its mask
            was made.
    """
    return localization.localize(
        functools.partial(over.scored, trained), over.dataset, over.truths, over.protocol,
        trained.config.image_size, lambda: choose_run_tau(trained, over), over.unreadable)


def choose_run_tau(trained: TrainedRun, over: Localization) -> TauChoice:
    """The tau of a trained run by a protocol other than ``test``; errors as ``localize_run``."""
    protocol = over.protocol
    needs_training_images = protocol.stated_tau is None
    return localization.choose_tau(
        functools.partial(over.scored, trained),
        over.images.split("train") if needs_training_images else None, over.tuning(trained),
        protocol, trained.config.image_size,
        over.masks(trained) if protocol.tau_from == "masks" else None, over.unreadable)
