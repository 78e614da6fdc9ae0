"""Stage 2 as commands use it: what a run is to be, its masks, and its training."""

import dataclasses
import os
from collections.abc import Callable

import tqdm

from common import processes
from common.artefacts import RUNS
from common.backbones import require_weights
from common.compute import Compute
from common.config import ConfigError, digest, override
from common.datasets.listed_once import Images
from common.locks import write_lock
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from common.stored_weights import absolute_weights, weights_identity
from pipelines.jobs.options import require_options
from pipelines.jobs.terminal import TERMINAL, progress_bar, warn
from stage1_bc.mask_choice import SeveralFit, find_masks, open_named_masks
from stage1_bc.mask_settings import MaskSettings
from stage1_bc.online import joint_settings
from stage1_bc.stage1_job import Stage1Job, training_maker
from stage2_ct.mask_sources import CachedMasks, MadeMasks, NoMasks
from stage2_ct.prediction import require_sizes
from stage2_ct.run import Run, TrainedRun, load_run, run_of
from stage2_ct.run_training import train_run, unreadable_images
from stage2_ct.training_config import TrainingConfig
from stage2_ct.variants import VARIANTS

SOURCES = ("cached", "online", "joint")  # words for --masks; anything else names a cache


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """What a command that trains in stage 2 was asked for."""

    stage1: Stage1Job
    """Images, machine and folder of the command, and how the masks that it looks for are made."""
    backbone: str
    weights: str
    variant: str = "bc-ct"
    masks: str = "cached"
    """A word of ``SOURCES``, or the name of a mask cache."""
    delta: float = 0.80
    seed: int = 0
    config: TrainingConfig = TrainingConfig()
    """How it learns, overrides applied."""

    @classmethod
    def from_options(cls, backbone, weights, image_size, train_set, variant, masks, delta, seed,
                     **others) -> "TrainingJob":
        """The job of a command line; arguments as in ``pipelines.jobs.options.STAGE2``."""
        config = override(VARIANTS[variant].config, [f"image_size={image_size}", *train_set])
        require_sizes(backbone, config)
        require_weights(backbone, weights)
        stage1 = Stage1Job.from_options(reports=TERMINAL, backbone=backbone, weights=weights,
                                        image_size=config.image_size, **others)
        return cls(stage1, backbone, weights, variant, masks, delta, seed, config)

    @property
    def images(self) -> Images:
        """The data set."""
        return self.stage1.images

    @property
    def compute(self) -> Compute:
        """What it may use of the machine."""
        return self.stage1.compute

    @property
    def trained_variant(self) -> str:
        """The variant whose runs are used: its own, or another that is trained in the same way."""
        return VARIANTS[self.variant].trained_as or self.variant

    @property
    def uses_masks(self) -> bool:
        """Whether the variant learns from masks."""
        return VARIANTS[self.variant].uses_masks

    @property
    def makes_masks(self) -> bool:
        """Whether masks are made during training."""
        return self.uses_masks and self.masks in ("online", "joint")

    @property
    def making(self) -> MaskSettings:
        """How masks are made during training, see ``joint_settings``."""
        settings = self.stage1.settings
        return joint_settings(settings) if self.masks == "joint" else settings

    def description(self) -> dict:
        """What the trained model depends on, apart from masks and classes, as plain values."""
        return {"variant": self.trained_variant, "config": self.config.of_training(),
                "seed": self.seed, "backbone": self.backbone,
                "weights": weights_identity(self.weights), "dataset": self.images.digest("train")}


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A TrainingJob with its masks and its run."""

    job: TrainingJob
    cache: MaskCache | None
    """The training images' masks, for supervision or only for tau; None if there are none."""
    description: dict
    """Everything that the trained model depends on, as plain values."""
    run: Run

    @property
    def supervision(self) -> MaskCache | None:
        """The cache that supervises; None where masks are made during training or not used."""
        return self.cache if self.job.uses_masks and not self.job.makes_masks else None


def plan(job: TrainingJob) -> PlannedRun:
    """Find a job's masks and its run; MaskCacheError where those that it needs are not there."""
    cache = _masks_of(job)
    description = _describe(job, cache)
    planned = PlannedRun(job, cache, description, run_of(description, job.stage1.cache / RUNS))
    require_score_map(planned.run, job)
    if planned.supervision is not None:
        planned.supervision.require_valid()
    return planned


def _masks_of(job: TrainingJob) -> MaskCache | None:
    if job.masks not in SOURCES:
        return open_named_masks(job.masks, job.stage1.cache, job.delta, job.images)
    try:
        return find_masks(job.stage1, "train", job.delta)
    except MaskCacheError as error:
        if job.uses_masks and job.masks == "cached":
            raise
        if isinstance(error, SeveralFit) and processes.rank() == 0:
            warn("tau will not be chosen from masks: several caches fit; bcct evaluate RUN --masks "
                 "NAME chooses it from one" if job.makes_masks else
                 f"tau will not be chosen from masks: {error}")
        return None


def _describe(job: TrainingJob, cache: MaskCache | None) -> dict:
    masks = None
    if job.makes_masks:
        masks = made_masks(job)
    elif job.uses_masks:
        masks = cache.key
    return {**job.description(), "masks": masks, "delta": job.delta if masks else None,
            "classes": list(job.images.split("train").classes)}


def made_masks(job: TrainingJob) -> list:
    """What masks that are made during training depend on, as plain values."""
    require_options({"background": job.stage1.backgrounds}, "background")
    facts = job.making.facts()
    return [job.masks, facts["recipe"], digest(facts, job.stage1.backgrounds.digest)[:12]]


def note_on_recipe(job: TrainingJob) -> str | None:
    """A sentence where joint masks are made by another recipe than the job names."""
    named, used = job.stage1.settings, job.making
    if not job.makes_masks or used is named:
        return None
    return (f"joint masks are made by the recipe {used.recipe_name}: {named.recipe_name} needs "
            "units that are taught by finished masks")


def train(planned: PlannedRun, on_epoch: Callable | None = None) -> Run:
    """Train a run, or resume it where it stopped.

    Images that cannot be read are left out; the run's manifest names them. One process group at a
    time trains in a folder; another waits and then finds it done. ``on_epoch`` is as for ``fit``.
    """
    job, run = planned.job, planned.run
    records, rank = job.images.split("train").records, processes.rank()

    def progress(epoch, batches):
        name = f"{job.variant} s{job.seed} epoch {epoch + 1}/{job.config.epochs}"
        return tqdm.tqdm(batches, desc=name, unit=" batches", disable=True if rank else None,
                         leave=False, dynamic_ncols=True)
    with write_lock(run.folder, rank, processes.barrier, warn):
        unreadable = unreadable_images(run, records, planned.cache, job.compute.workers,
                                       progress_bar)
        if processes.world_size() > 1 and job.makes_masks and job.masks == "joint":
            raise ValueError("joint masks are learnt by one process; start bcct without torchrun")
        train_run(run, _manifest(planned, unreadable), job.variant, job.config, records,
                  planned.supervision, lambda: _mask_source(job), job.compute, progress, on_epoch)
    return run


def trained(job: TrainingJob) -> TrainedRun:
    """The finished run of a job; trains it, or finishes its training, first if needed."""
    return load_run(train(plan(job)).folder, job.compute.device, job.variant)


def _manifest(planned: PlannedRun, unreadable: dict) -> dict:
    """The run's manifest: everything that later commands need."""
    job, cache = planned.job, planned.cache
    settings = job.stage1.settings
    own = job.config if job.variant == job.trained_variant else VARIANTS[job.trained_variant].config
    return {"description": planned.description, "score_map": own.score_map,
            "data": {"kind": job.images.split("train").name,
                     "folder": os.path.abspath(job.images.root)},
            "weights": absolute_weights(job.weights),
            "masks": None if cache is None else {
                "folder": os.path.abspath(cache.folder), "key": cache.key, "delta": job.delta,
                "backgrounds": cache.manifest["about"].get("backgrounds")},
            "background": os.path.abspath(job.stage1.backgrounds.root) if job.makes_masks else None,
            "mask_settings": {"recipe_name": settings.recipe_name, "delta": job.delta,
                              "weights": settings.weights, "facts": settings.facts(),
                              "model": _model_of(planned.supervision)},
            "unreadable": unreadable}


def _model_of(masks: MaskCache | None) -> dict | None:
    """The trained model that made the masks, and where it was cut; None for other masks."""
    if masks is None or masks.model is None:
        return None
    return {"model": masks.model, **masks.manifest["provenance"]["recipe"]}


def _mask_source(job: TrainingJob):
    """The source of the training step's masks."""
    if not job.uses_masks:
        return NoMasks()
    if job.makes_masks:
        return MadeMasks(training_maker(job.stage1, job.masks, job.delta))
    return CachedMasks()


def require_score_map(run: Run, job: TrainingJob) -> None:
    """Refuse a score map that a job's --set names and that is not the run's.

    Raises:
        ConfigError: says how to change the run's.
    """
    try:
        held, asked = run.manifest()["score_map"], job.config.score_map
    except ValueError:  # a run that is still to be made
        return
    usual = VARIANTS[job.variant].config.score_map
    if job.variant == job.trained_variant and asked not in (held, usual):
        raise ConfigError(f"the run {run.folder.name} cuts its boxes from the score map {held}; "
                          f"training settings do not change that to {asked}: use bcct evaluate "
                          f"--score-map {asked}, and --record to keep it")
