"""Stage 2 as commands use it: finding the masks and the run, and training."""

import contextlib
import dataclasses
import os
from collections.abc import Callable

import torch
import tqdm

from common import processes
from common.backbones import require_side, require_weights, takes_side
from common.compute import Compute
from common.config import digest, override
from common.loading import find_unreadable
from common.locks import write_lock
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from common.stored_weights import absolute_weights, weights_identity
from pipelines.jobs.artefacts import RUNS
from pipelines.jobs.inputs import Images
from pipelines.jobs.mask_choice import find_masks, open_named_masks
from pipelines.jobs.progress_bar import progress_bar
from pipelines.jobs.stage1_job import Stage1Job, build_maker, ensure_classifier, warn
from stage1_bc.classifier import build_classifier
from stage1_bc.online import OnlineMaker, joint_maker
from stage2_ct.data import EpochBatches, TrainingImages, training_loader
from stage2_ct.mask_sources import CachedMasks, MadeMasks, NoMasks
from stage2_ct.prediction import default_input_side
from stage2_ct.run import Run, build_method, stored_runs
from stage2_ct.training_config import TrainingConfig
from stage2_ct.training_loop import fit
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
    def from_options(cls, train_set, variant, masks, delta, seed, **stage1) -> "TrainingJob":
        """The job of a command line; arguments as in ``pipelines.jobs.options.STAGE2``.

        ``stage1`` is for ``Stage1Job.from_options``.
        """
        config = override(VARIANTS[variant].config,
                          [f"image_size={stage1['image_size']}", *train_set])
        _require_sizes(stage1["backbone"], config)
        require_weights(stage1["backbone"], stage1["weights"])
        job = Stage1Job.from_options(**{**stage1, "image_size": config.image_size})
        return cls(job, stage1["backbone"], stage1["weights"], variant, masks, delta, seed, config)

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


def _require_sizes(backbone, config):
    """Refuse a network that cannot be trained and then localize with larger images."""
    side, larger = config.image_size, default_input_side(config.image_size)
    require_side(side, backbone, config.fine)
    if not takes_side(larger, backbone, config.fine):
        raise ValueError(f"{backbone} takes images of {side} x {side} pixels, and not the enlarged "
                         f"ones of {larger} x {larger} that localizing needs: train another "
                         "--backbone; this one can still make the masks (--bc-backbone)")


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
        return self.cache if self.job.uses_masks and self.job.masks not in (
            "online", "joint") else None


def plan(job: TrainingJob) -> PlannedRun:
    """Find a job's masks and its run.

    Raises:
        ArtefactError, MaskCacheError: the masks that it learns from are not there, or none of
            them is valid.
    """
    cache = _masks_of(job)
    description = _describe(job, cache)
    planned = PlannedRun(job, cache, description, _run_of(job, description))
    if planned.supervision is not None:
        planned.supervision.require_valid()
    return planned


def _masks_of(job: TrainingJob) -> MaskCache | None:
    if job.masks not in SOURCES:
        return open_named_masks(job.masks, job.stage1.cache, job.delta, job.images)
    try:
        return find_masks(job.stage1, "train", job.delta)
    except MaskCacheError:
        if job.uses_masks and job.masks == "cached":
            raise
        return None


def _describe(job: TrainingJob, cache: MaskCache | None) -> dict:
    masks = None
    if job.uses_masks and job.masks in ("online", "joint"):
        facts = job.stage1.settings.facts()
        masks = [job.masks, facts["recipe"], digest(facts)[:12]]
    elif job.uses_masks:
        masks = cache.key
    return {"variant": job.trained_variant, "config": job.config.of_training(), "seed": job.seed,
            "backbone": job.backbone, "weights": weights_identity(job.weights),
            "dataset": job.images.digest("train"), "masks": masks,
            "delta": job.delta if masks else None,
            "classes": list(job.images.split("train").classes)}


def _run_of(job: TrainingJob, description: dict) -> Run:
    """The run in CACHE that has this description, whatever it is called, or the one to make."""
    root = job.stage1.cache / RUNS
    new = Run(root / f"{job.trained_variant}-s{job.seed}-{digest(description)[:12]}")
    if new.folder.is_dir():
        return new
    return next((run for run, manifest in stored_runs(root)
                 if manifest["description"] == description), new)


def train(planned: PlannedRun, on_epoch: Callable | None = None) -> Run:
    """Train a run, or resume it where it stopped.

    Images that cannot be read are left out; the run's manifest names them. One process group at a
    time trains in a folder; another waits and then finds it done. ``on_epoch`` is as for ``fit``.
    """
    with write_lock(planned.run.folder, processes.rank(), processes.barrier, warn):
        return _train(planned, on_epoch)


def _train(planned: PlannedRun, on_epoch: Callable | None) -> Run:
    job, run, compute = planned.job, planned.run, planned.job.compute
    unreadable = _unreadable(planned)
    records = [record for record in job.images.split("train").records
               if record.image_id not in unreadable]
    rank, world = processes.rank(), processes.world_size()
    if world > 1 and job.uses_masks and job.masks == "joint":
        raise ValueError("joint masks are learnt by one process; start bcct without torchrun")
    batches = EpochBatches(len(records), job.config.batch_size, job.seed, rank, world)
    loader = training_loader(TrainingImages(records, job.config, planned.supervision), batches,
                             compute.workers, compute.device)
    method = build_method(job.variant, job.backbone, job.weights,
                          len(planned.description["classes"]), job.config, job.seed)
    method.to(compute.device, memory_format=torch.channels_last)
    source, known = _mask_source(job), None
    if rank == 0:
        with contextlib.suppress(ValueError):  # tau of a run that is there already stays
            known = run.manifest().get("localization")
        run.write_manifest(_manifest(planned, unreadable) | (
            {"localization": known} if known else {}))

    def progress(epoch, batches):
        name = f"{job.variant} s{job.seed} epoch {epoch + 1}/{job.config.epochs}"
        return tqdm.tqdm(batches, desc=name, unit=" batches", disable=True if rank else None,
                         leave=False, dynamic_ncols=True)
    fit(method, source, loader, job.config, run, compute.device, planned.description, progress,
        on_epoch)
    return run


def _manifest(planned: PlannedRun, unreadable: dict) -> dict:
    """The run's manifest: everything that later commands need."""
    job, cache = planned.job, planned.cache
    settings = job.stage1.settings
    return {"description": planned.description, "score_map": job.config.score_map,
            "data": {"kind": job.images.split("train").name,
                     "folder": os.path.abspath(job.images.root)},
            "weights": absolute_weights(job.weights),
            "masks": None if cache is None else {
                "folder": os.path.abspath(cache.folder), "key": cache.key, "delta": job.delta},
            "mask_settings": {"recipe_name": settings.recipe_name, "delta": job.delta,
                              "weights": settings.weights, "facts": settings.facts()},
            "unreadable": unreadable}


def _unreadable(planned: PlannedRun) -> dict[str, str]:
    """The training images that cannot be read and are left out, from id to reason.

    The mask cache lists them, even if it does not supervise. Without one, all images are decoded
    once, when the run starts for the first time.
    """
    if planned.cache is not None:
        return planned.cache.manifest["unreadable"]
    with contextlib.suppress(ValueError):
        return planned.run.manifest()["unreadable"]
    return processes.broadcast_from_first(lambda: find_unreadable(
        planned.job.images.split("train").records, planned.job.compute.workers, progress_bar))


def _mask_source(job: TrainingJob):
    """The source of the training step's masks."""
    if not job.uses_masks:
        return NoMasks()
    stage1, settings = job.stage1, job.stage1.settings
    if job.masks == "online":
        maker = build_maker(stage1, ensure_classifier(stage1))
        return MadeMasks(OnlineMaker(maker, job.delta))
    if job.masks == "joint":
        stage1.description()  # refuses a command line without backgrounds
        classifier = build_classifier(settings.backbone, settings.weights, settings.config.head,
                                      settings.config.image_size)
        return MadeMasks(joint_maker(classifier, settings.recipe, job.delta,
                                     stage1.backgrounds.records, settings.config.seed,
                                     stage1.compute.device))
    return CachedMasks()
