"""Trained runs localize a data set: by which network, at which size, with which masks for tau."""

from collections.abc import Iterable
from pathlib import Path

from common.artefacts import MASKS
from common.compute import Compute
from common.datasets.listed_once import Images
from common.mask_cache.reader import MaskCache
from evaluation.localization import Localization, Protocol
from pipelines.jobs.terminal import progress_bar
from pipelines.jobs.training_job import TrainingJob
from stage1_bc.mask_choice import masks_of_run
from stage2_ct.prediction import default_input_side, scored_batches
from stage2_ct.run import TrainedRun


class RunLocalization(Localization):
    """Localization by TrainedRuns.

    Args:
        images, protocol, mask_roots, unreadable: as for ``Localization``.
        compute: Compute.
        masks: MaskCache of the training images that tau comes from; None for each run's own.
    """

    def __init__(self, images: Images, protocol: Protocol, compute: Compute,
                 mask_roots: Iterable[Path] = (), masks: MaskCache | None = None,
                 unreadable: dict | None = None):
        super().__init__(images, protocol, mask_roots, unreadable)
        self.compute = compute
        self._named_masks, self._masks = masks, {}

    def masks(self, model: TrainedRun) -> MaskCache:
        """The masks of a run's training images."""
        folder = model.run.folder.resolve()
        if folder not in self._masks:
            roots = dict.fromkeys((folder.parent.parent / "masks", *self.mask_roots))
            self._masks[folder] = self._named_masks or masks_of_run(
                model.manifest, self.images, roots)
        return self._masks[folder]

    def frame(self, model: TrainedRun) -> int:
        """The side that a run was trained at."""
        return model.config.image_size

    def facts(self, model: TrainedRun) -> dict:
        """Which score map a run's boxes are cut from, and the side of its input in pixels."""
        return {"score_map": self.protocol.score_map or model.config.score_map,
                "input_size": self.protocol.input_size or default_input_side(self.frame(model))}

    def scored(self, model: TrainedRun, records, description, **options):
        """``scored_batches`` of a run under the protocol."""
        facts = self.facts(model)
        return scored_batches(
            model.method, records, facts["score_map"], self.frame(model), facts["input_size"],
            self.compute, progress=progress_bar,
            description=f"{description} ({model.variant})", **options)


def localization_of(job: TrainingJob, **options) -> RunLocalization:
    """How the commands that train evaluate a job's runs: test images, tau from masks."""
    return RunLocalization(job.images, Protocol(), job.compute, [job.stage1.cache / MASKS],
                           **options)
