"""Stage 1 from images to masks: finding or training the classifier, making a split's masks."""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from common import processes
from common.artefacts import (CLASSIFIERS, CLUSTERS, MASKS, ArtefactError, file_name,
                              resolve)
from common.backbones import weights_source
from common.compute import Compute, choose_compute
from common.config import digest
from common.datasets import Record
from common.datasets.listed_once import Backgrounds, Images
from common.files import require_writable
from common.locks import write_lock
from common.mask_cache.finding import folder_of_masks
from common.mask_cache.manifest import held_deltas
from common.mask_cache.shards import Provenance, delta_name
from common.mask_cache.updating import update_masks
from common.precision import PRECISIONS
from common.progress import Reports
from common.stored_weights import absolute_weights, weights_identity
from stage1_bc.classifier import BackgroundClassifier, build_classifier
from stage1_bc.classifier_file import (StoredClassifier, read_classifier, save_classifier,
                                       stored_classifiers)
from stage1_bc.classifier_training import train_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.mask_clusters import NotTarget, load_not_target
from stage1_bc.mask_settings import MaskSettings, mask_settings, plain_config
from stage1_bc.online import OnlineMaker, joint_maker, joint_settings
from stage1_bc.recipe import RECIPES

CLUSTERS_FILE = "clusters.pt"  # in the folder that bcct check-masks writes


@dataclasses.dataclass(frozen=True)
class Stage1Job:
    """What a command that makes masks was asked for."""

    images: Images
    backgrounds: Backgrounds | None
    settings: MaskSettings
    compute: Compute
    cache: Path
    """CACHE, the folder for everything that is made."""
    not_target: NotTarget | None = None
    """What a person has named as not the target."""
    reports: Reports = Reports()
    """Where it tells what it does."""

    @classmethod
    def from_options(cls, data: Path, dataset: str | None, background: Path | None, cache: Path,
                     device: str, workers: int | None, batch_size: int | None,
                     not_target: tuple[str, tuple[int, ...]] | None = None,
                     images: Images | None = None, reports: Reports = Reports(),
                     **settings: Any) -> "Stage1Job":
        """The job of a command line, ``settings`` those of ``mask_settings``.

        Jobs over the same data set may share its Images, ``images``, so that it is listed once.
        """
        chosen = mask_settings(**settings)
        named = None
        if not_target is not None:
            named = named_clusters(not_target, cache, chosen)
            chosen = dataclasses.replace(chosen, not_target=named.digest)
            chosen.require_possible()
        return cls(images or Images(dataset, data, reports.say),
                   Backgrounds(background) if background else None, chosen,
                   choose_compute(device, batch_size, workers), cache, named, reports)

    def description(self) -> dict:
        """Everything that the background classifier depends on, as plain values.

        Raises:
            ValueError: there are no background images.
        """
        if self.backgrounds is None:
            raise ValueError("give --background: a folder of background images (BACKGROUND=... "
                             "with make)")
        targets = self.images.digest("train")
        if self.settings.config.doubtful_clusters:  # the classes say what is doubtful
            targets = digest(targets, self.images.classes_digest("train"))
        return {"targets": targets, "backgrounds": self.backgrounds.digest,
                "backbone": self.settings.backbone,
                "weights": weights_identity(self.settings.weights),
                "config": self.settings.classifier_fields}

    def masks_command(self, split: str, deltas: Iterable[float]) -> str:
        """The command line that makes a split's masks, to be copied and run from any folder."""
        settings, config = self.settings, self.settings.config
        plain = plain_config(config.head, config.image_size, config.seed, settings.recipe)
        background = self.backgrounds and os.path.abspath(self.backgrounds.root)
        words = {"dataset": self.images.split(split).name,
                 "data": os.path.abspath(self.images.root),
                 "background": background or "BACKGROUNDS", "cache": os.path.abspath(self.cache),
                 "backbone": settings.backbone,
                 "weights": absolute_weights(settings.weights), "head": config.head,
                 "bc-set": _overrides(plain, config), "image-size": config.image_size,
                 "bc-seed": config.seed, "recipe": settings.recipe_name,
                 "recipe-set": _overrides(RECIPES[settings.recipe_name], settings.recipe),
                 "precision": settings.precision,
                 "not-target": () if self.not_target is None else str(self.not_target),
                 "split": split,
                 "delta": tuple(map(delta_name, sorted(deltas)))}
        return shlex.join(["bcct", "masks", *(
            word for name, value in words.items()
            for one in (value if isinstance(value, tuple) else (value,))
            for word in (f"--{name}", str(one)))])


def named_clusters(given: tuple[str, tuple[int, ...]], cache: Path,
                   settings: MaskSettings) -> NotTarget:
    """The clusters that ``--not-target`` names.

    Args:
        given: (path or beginning of a name in CACHE/clusters, numbers).
        cache: CACHE.
        settings: whose background classifier learns them.
    """
    path = resolve(given[0], cache / CLUSTERS, "folder of bcct check-masks")
    return load_not_target(path / CLUSTERS_FILE if path.is_dir() else path, given[1],
                           settings.backbone, weights_identity(settings.weights))


def _overrides(plain: Any, config: Any) -> tuple[str, ...]:
    """The assignments that turn one dataclass into another of its class."""
    return tuple(
        f"{field.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != getattr(plain, field.name))


def classifier_name(job: Stage1Job) -> str:
    """A unique name for the job's background classifier."""
    description, config = job.description(), job.settings.config
    key = digest(description["targets"], description["backgrounds"], job.settings.backbone,
                 description["weights"], description["config"])[:12]
    return file_name(f"{job.images.split('train').name}-{job.settings.backbone}-{config.head}-"
                     f"s{config.seed}-{key}")


def train_and_save(job: Stage1Job) -> StoredClassifier:
    """Train the background classifier and save its file; the caller holds the lock.

    Raises:
        ArtefactError: the settings name clusters that are not the target, and the job has only
            their digest, as one that is read from a run's manifest.
    """
    settings = job.settings
    if settings.not_target and job.not_target is None:
        raise ArtefactError(
            "the background classifier learns clusters that --not-target named, and it is not in "
            f"{job.cache / CLASSIFIERS} any more; make it again with bcct train-bc, the same "
            "settings and that --not-target")
    job.reports.say(weights_source(settings.backbone, settings.weights))
    classifier = new_classifier(settings)
    targets, most = job.images.split("train").records, settings.config.pixel_targets
    if settings.config.units and len(targets) > most:
        job.reports.say(f"the units for pixels learn from a sample of {most:,} of the "
                        f"{len(targets):,} images (--bc-set pixel_targets={most})")
    about = train_classifier(classifier, targets, job.backgrounds.records, settings.config,
                             job.compute, job.reports.progress, job.not_target)
    return save_classifier(job.cache / CLASSIFIERS / f"{classifier_name(job)}.pt", classifier,
                           about, job.description())


def ensure_classifier(job: Stage1Job) -> StoredClassifier:
    """The job's background classifier; the first process trains it if there is none yet."""
    return read_classifier(processes.broadcast_from_first(lambda: _ensure_file(job)))


def _ensure_file(job: Stage1Job) -> Path:
    found = find_classifier(job)
    if found is None:  # only then is the folder written: it may be read-only
        with lock_classifiers(job):
            found = find_classifier(job)  # another run may have trained it meanwhile
            if found is None:
                require_writable(job.cache / MASKS)  # where what it is for will go
                job.reports.say(f"no background classifier of these images and settings in "
                                f"{job.cache / CLASSIFIERS} yet: training it")
                found = train_and_save(job)
    return found.path


def find_classifier(job: Stage1Job) -> StoredClassifier | None:
    """The classifier in CACHE that these images and settings made, by its own description."""
    description = job.description()
    return next((stored for stored in stored_classifiers(job.cache / CLASSIFIERS)
                 if stored.checkpoint["description"] == description), None)


def lock_classifiers(job: Stage1Job) -> AbstractContextManager:
    """Context in which no other run trains a classifier in the same cache."""
    return write_lock(job.cache / CLASSIFIERS, notify=job.reports.warn)


def build_maker(job: Stage1Job, stored: StoredClassifier) -> MaskMaker:
    """A MaskMaker with the job's trained classifier."""
    settings = job.settings
    return MaskMaker(stored.build(settings.weights), settings.recipe, settings.size,
                     job.compute.device, PRECISIONS[settings.precision])


def training_maker(job: Stage1Job, kind: str, delta: float) -> OnlineMaker:
    """What makes masks while stage 2 trains.

    Args:
        job: Stage1Job with background images.
        kind: ``online``, by the job's trained classifier, or ``joint``, by one that learns along.
        delta: threshold of Eq. 2.
    """
    if kind == "online":
        return OnlineMaker(build_maker(job, ensure_classifier(job)), delta)
    settings = joint_settings(job.settings)
    return joint_maker(new_classifier(settings), settings.recipe, delta, job.backgrounds.records,
                       settings.config.seed, job.compute.device, job.reports.warn)


def new_classifier(settings: MaskSettings) -> BackgroundClassifier:
    """An untrained BackgroundClassifier."""
    return build_classifier(settings.backbone, settings.weights, settings.config.head,
                            settings.config.image_size)


@dataclasses.dataclass(frozen=True)
class MaskTask:
    """The masks of a split, as a job asks for them, and the folder that they are kept in."""

    job: Stage1Job
    """What was asked for."""
    stored: StoredClassifier
    """The job's classifier."""
    split: str
    """train, test or all."""
    deltas: tuple[float, ...]
    """Thresholds."""
    provenance: Provenance
    """What the masks depend on."""
    folder: Path
    """Their folder; it may be still to make."""

    @property
    def records(self) -> tuple[Record, ...]:
        """Record of each image of the split."""
        return self.job.images.split(self.split).records

    def about(self) -> dict:
        """What the manifest says of the masks besides what they depend on."""
        job, folder = self.job, self.folder
        return {**job.settings.about(), "dataset": job.images.split(self.split).name,
                "split": self.split, "data": os.path.abspath(job.images.root),
                "command": job.masks_command(self.split, {*held_deltas(folder), *self.deltas}),
                "classifier_file": os.path.abspath(self.stored.path),
                "folder": os.path.abspath(folder),
                "backgrounds": self.stored.checkpoint["description"]["backgrounds"]}


def plan_masks(job: Stage1Job, stored: StoredClassifier, split: str,
               deltas: Iterable[float]) -> MaskTask:
    """The MaskTask of a split; finds the folder of masks that were finished before."""
    dataset, settings = job.images.split(split), job.settings
    provenance = Provenance(
        dataset=job.images.digest(split), classifier=stored.checkpoint["digest"],
        recipe=settings.recipe_fields, mask_size=settings.size)
    folder = folder_of_masks(
        provenance, job.cache / MASKS,
        f"{dataset.name}-{split}-{settings.backbone}-{settings.recipe_name}")
    return MaskTask(job, stored, split, tuple(deltas), provenance, folder)


def make_masks(job: Stage1Job, stored: StoredClassifier, split: str,
               deltas: Sequence[float]) -> Path:
    """Make a split's masks that are missing, damaged, or of images that have become readable.

    Args:
        stored: its classifier.
        split: train, test or all.
        deltas: thresholds.

    Returns:
        Path of their folder.

    Raises:
        MaskCacheError: images have changed since masks were made of them; names them.
    """
    task = plan_masks(job, stored, split, deltas)
    update_masks(task.records, lambda: build_maker(job, stored), deltas, task.folder,
                 task.provenance, job.compute, task.about(), job.reports.progress,
                 job.reports.warn)
    return task.folder
