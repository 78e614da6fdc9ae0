"""Stage 1 as several commands plan it: which background classifier, and which masks."""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from common import processes
from common.backbones import weights_identity
from common.compute import Compute, choose_compute
from common.config import digest, override, to_dict
from common.files import load_checkpoint, save_checkpoint
from common.locks import write_lock
from common.mask_cache.checks import outdated, refuse_changed
from common.mask_cache.manifest import held_deltas, read_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, Provenance, delta_name
from common.mask_cache.writer import write_masks
from common.precision import PRECISIONS
from pipelines.jobs import artefacts
from pipelines.jobs.inputs import Backgrounds, Images
from pipelines.jobs.progress import progress_bar
from stage1_bc.classifier import (BackgroundClassifier, build_classifier,
                                  load_classifier)
from stage1_bc.classifier_training import ClassifierConfig, train_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES, Recipe


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """How masks are made: all that a command line decides about stage 1, apart from the images."""

    backbone: str
    weights: str
    """As for ``build_backbone``."""
    config: ClassifierConfig
    """Of the background classifier."""
    recipe_name: str
    recipe: Recipe
    """With overrides applied."""
    precision: str = "float32"

    @property
    def recipe_fields(self) -> dict:
        """The recipe's fields, and the precision where it is not the usual one."""
        fields = to_dict(self.recipe)
        return fields if self.precision == "float32" else {**fields, "precision": self.precision}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a mask in pixels."""
        return (self.config.image_size,) * 2

    def facts(self) -> dict:
        """What a mask cache's manifest records of these settings; see ``recorded_facts``."""
        return {"backbone": self.backbone, "weights": weights_identity(self.weights),
                "classifier": to_dict(self.config), "recipe": self.recipe_fields,
                "mask_size": list(self.size)}


def mask_settings(backbone, weights, bc_backbone, bc_weights, bc_seed, head, bc_set, image_size,
                  recipe="default", recipe_set=(), precision="float32") -> MaskSettings:
    """The MaskSettings of a command line; arguments as in ``pipelines.jobs.options``."""
    chosen = override(RECIPES[recipe], recipe_set)
    config = override(ClassifierConfig(
        head=head, image_size=image_size, seed=bc_seed, pixel_unit=chosen.signal == "pixels"),
        bc_set)
    return MaskSettings(bc_backbone or backbone, bc_weights or weights, config, recipe, chosen,
                        precision)


def recorded_facts(manifest: dict) -> dict:
    """``MaskSettings.facts`` of the masks in a cache, from its manifest; None where unknown."""
    about, provenance = manifest["about"], manifest["provenance"]
    classifier = dict(about.get("classifier", {}))
    weights = classifier.pop("weights", None)
    return {"backbone": about.get("backbone"), "weights": weights, "classifier": classifier,
            "recipe": provenance["recipe"], "mask_size": list(provenance["mask_size"])}


@dataclasses.dataclass(frozen=True)
class Stage1Job:
    """What a command that makes masks was asked for."""

    images: Images
    backgrounds: Backgrounds | None
    settings: MaskSettings
    compute: Compute
    cache: Path
    """CACHE, the folder for everything that is made."""

    @classmethod
    def from_options(cls, data, dataset, background, cache, device, workers, batch_size,
                     **settings) -> "Stage1Job":
        """The job of a command line; arguments as in ``pipelines.jobs.options``."""
        return cls(Images(dataset, data), Backgrounds(background) if background else None,
                   mask_settings(**settings), choose_compute(device, batch_size, workers), cache)

    def description(self) -> dict:
        """Everything that the background classifier depends on, as plain values."""
        if self.backgrounds is None:
            raise click.UsageError("give --background: a folder of background images (BACKGROUND="
                                   "... with make)")
        return {"targets": self.images.digest("train"), "backgrounds": self.backgrounds.digest,
                "backbone": self.settings.backbone,
                "weights": weights_identity(self.settings.weights),
                "config": to_dict(self.settings.config)}

    def masks_command(self, split: str, deltas: Iterable[float]) -> str:
        """The command line that makes a split's masks, for people to copy, in any folder."""
        settings, config = self.settings, self.settings.config
        plain = ClassifierConfig(head=config.head, image_size=config.image_size, seed=config.seed,
                                 pixel_unit=settings.recipe.signal == "pixels")
        background = self.backgrounds and os.path.abspath(self.backgrounds.root)
        weights = settings.weights
        if weights not in ("imagenet", "none"):
            weights = os.path.abspath(weights)
        words = {"dataset": self.images.split(split).name,
                 "data": os.path.abspath(self.images.root),
                 "background": background or "BACKGROUNDS", "cache": os.path.abspath(self.cache),
                 "backbone": settings.backbone, "weights": weights, "head": config.head,
                 "bc-set": _overrides(plain, config), "image-size": config.image_size,
                 "bc-seed": config.seed, "recipe": settings.recipe_name,
                 "recipe-set": _overrides(RECIPES[settings.recipe_name], settings.recipe),
                 "precision": settings.precision, "split": split,
                 "delta": tuple(map(delta_name, sorted(deltas)))}
        return shlex.join(["bcct", "masks", *(
            word for name, value in words.items()
            for one in (value if isinstance(value, tuple) else (value,))
            for word in (f"--{name}", str(one)))])


def _overrides(plain, config) -> tuple[str, ...]:
    """The assignments that turn one dataclass into another of its class."""
    return tuple(
        f"{field.name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != getattr(plain, field.name))


@dataclasses.dataclass(frozen=True)
class StoredClassifier:
    """A background classifier's file, loaded."""

    path: Path
    checkpoint: dict

    @property
    def about(self) -> dict:
        """Its accuracies, and the images that could not be read; see ``train_classifier``."""
        return self.checkpoint["about"]

    def build(self, weights: str) -> BackgroundClassifier:
        """The classifier itself, on the backbone's weights."""
        return load_classifier(self.checkpoint, weights)


def describe_classifier(about: dict) -> str:
    """One sentence on a classifier's accuracy."""
    return (f"background classifier: held-back accuracy {about['target_accuracy']:.1%} on "
            f"{about['held_back_targets']} targets, {about['background_accuracy']:.1%} on "
            f"{about['held_back_backgrounds']} backgrounds")


def classifier_name(job: Stage1Job) -> str:
    """A name for the job's background classifier that no other has."""
    description, config = job.description(), job.settings.config
    key = digest(description["targets"], description["backgrounds"], job.settings.backbone,
                 description["weights"], description["config"])[:12]
    return (f"{job.images.split('train').name}-{job.settings.backbone}-{config.head}-"
            f"s{config.seed}-{key}")


def train_and_save(job: Stage1Job) -> StoredClassifier:
    """Train the background classifier and save its file, while no other run trains one there."""
    description, settings = job.description(), job.settings
    path = job.cache / artefacts.CLASSIFIERS / f"{classifier_name(job)}.pt"
    classifier = build_classifier(settings.backbone, settings.weights, settings.config.head,
                                  settings.config.image_size)
    about = train_classifier(classifier, job.images.split("train").records,
                             job.backgrounds.records, settings.config, job.compute, progress_bar)
    save_checkpoint(path, {**classifier.checkpoint(about), "config": description["config"],
                           "description": description, "digest": classifier.digest()})
    return StoredClassifier(path, load_checkpoint(path))


def find_classifier(job: Stage1Job) -> StoredClassifier | None:
    """The classifier in CACHE that these images and settings made, by its own description."""
    description = job.description()
    for path, checkpoint in artefacts.classifiers(job.cache / artefacts.CLASSIFIERS):
        if checkpoint["description"] == description:
            return StoredClassifier(path, checkpoint)
    return None


def ensure_classifier(job: Stage1Job) -> StoredClassifier:
    """The job's background classifier; the first process trains it where there is none yet."""
    path = processes.broadcast_from_first(lambda: _ensure_file(job))
    return StoredClassifier(path, load_checkpoint(path))


def _ensure_file(job: Stage1Job) -> Path:
    found = find_classifier(job)
    if found is None:  # only then is the folder written: it may be read-only
        with lock_classifiers(job):
            found = find_classifier(job)  # another run may have trained it meanwhile
            if found is None:
                click.echo(f"no background classifier of these images and settings in "
                           f"{job.cache / artefacts.CLASSIFIERS} yet: training it")
                found = train_and_save(job)
    return found.path


def lock_classifiers(job: Stage1Job):
    """Context in which no other run trains a classifier in the same cache."""
    return write_lock(job.cache / artefacts.CLASSIFIERS, notify=warn)


def warn(sentence: str) -> None:
    """Tell the user, on the error stream."""
    click.echo(sentence, err=True)


def build_maker(stored: StoredClassifier, settings: MaskSettings, compute: Compute) -> MaskMaker:
    """A MaskMaker with a trained classifier."""
    return MaskMaker(stored.build(settings.weights), settings.recipe, settings.size,
                     compute.device, PRECISIONS[settings.precision])


def make_masks(job: Stage1Job, stored: StoredClassifier, split: str,
               deltas: Sequence[float]) -> Path:
    """Make a split's masks where any are missing, damaged or of an image that reads only now.

    Args:
        job: Stage1Job.
        stored: its classifier.
        split: train, test or all.
        deltas: thresholds.

    Returns:
        Path of their folder.

    Raises:
        MaskCacheError: images have changed since masks were made of them; names them.
    """
    provenance = Provenance(
        dataset=job.images.digest(split), classifier=stored.checkpoint["digest"],
        recipe=job.settings.recipe_fields, mask_size=job.settings.size)
    folder, missing, finished = processes.broadcast_from_first(
        lambda: _state_of_masks(job, split, provenance.key(), deltas))
    # Where nothing has to be written, the folder may well be read-only.
    if missing:
        _write_masks(job, stored, split, deltas, folder, provenance)
    if finished and (shards := processes.broadcast_from_first(
            lambda: _shards_to_remake(job, split, folder))):
        _write_masks(job, stored, split, deltas, folder, provenance, shards)
    return folder


def _state_of_masks(job, split, key, deltas) -> tuple[Path, bool, bool]:
    """The masks' folder, whether some are missing or damaged, whether they were finished once."""
    settings, name = job.settings, job.images.split(split).name
    root = job.cache / artefacts.MASKS
    folder = next((folder for folder, manifest in artefacts.mask_caches(root)
                   if manifest["key"] == key),
                  root / f"{name}-{split}-{settings.backbone}-{settings.recipe_name}-{key}")
    try:
        manifest = read_manifest(folder)
    except MaskCacheError:
        return folder, True, False
    finished = set(map(delta_name, deltas)) <= set(map(delta_name, manifest["deltas"]))
    try:
        MaskCache(folder)
    except MaskCacheError:
        return folder, True, finished
    return folder, not finished, finished


def _write_masks(job, stored, split, deltas, folder, provenance, remake=()):
    """Make what is missing or damaged, and the shards of ``remake``."""
    dataset, settings = job.images.split(split), job.settings
    command = job.masks_command(split, {*held_deltas(folder), *deltas})
    world = processes.world_size()
    about = {"backbone": settings.backbone, "dataset": dataset.name, "split": split,
             "recipe": settings.recipe_name, "command": command,
             "classifier": {"weights": weights_identity(settings.weights),
                            **to_dict(settings.config)},
             "classifier_file": os.path.abspath(stored.path), "weights": settings.weights,
             "backgrounds": stored.checkpoint["description"]["backgrounds"],
             "folder": os.path.abspath(folder)}
    with progress_bar(len(dataset.records), f"masks ({split})") as advance:
        write_masks(dataset.records, build_maker(stored, settings, job.compute), deltas, folder,
                    provenance, job.compute.batch_size, job.compute.workers, about=about,
                    progress=lambda images: advance(images * world),  # the others are as far
                    notify=warn, remake=remake)


def _shards_to_remake(job, split, folder) -> list[str]:
    """Shards whose images read otherwise than when their masks were made, by all files' bytes.

    Raises:
        MaskCacheError: an image that has a mask has changed.
    """
    cache, records = MaskCache(folder, check=False), job.images.split(split).records
    with progress_bar(len(records), "comparing images") as advance:
        problems = list(outdated(cache, records, advance))
    refuse_changed(cache, problems)
    for record, problem in problems:
        warn(f"the image {record.image_id!r} {problem}: its shard is made again")
    return sorted({cache.shard_file(record.image_id) for record, _ in problems})
