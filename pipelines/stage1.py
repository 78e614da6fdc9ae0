"""Stage 1 as the commands share it: which classifier, which masks, where they are kept."""

import dataclasses
import functools
import os
import shlex
from pathlib import Path

import click
import torch

from common import processes
from common.backbones import weights_identity
from common.config import digest, override, to_dict
from common.datasets import open_backgrounds, open_dataset
from common.files import load_checkpoint, save_checkpoint
from common.loading import consecutive, default_workers, load_frames, to_float
from common.locks import writing_alone
from common.mask_cache import MaskCache
from common.mask_checks import outdated, refuse_changed
from common.mask_manifest import MANIFEST, held_deltas
from common.mask_shards import MaskCacheError, Provenance, delta_name
from common.memory import batch_size_for
from common.precision import PRECISIONS
from pipelines.progress import progress_bar
from stage1_bc.classifier import build_classifier, load_classifier
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.maker import MaskMaker
from stage1_bc.pixel_unit import train_pixel_unit
from stage1_bc.recipe import RECIPES, UNITS_READ
from stage1_bc.training import ClassifierConfig, compute_features, sample_targets, train_unit
from stage1_bc.writing import write_masks


@dataclasses.dataclass(frozen=True)
class Stage1:
    """What a stage-1 command was asked for."""

    dataset: str
    data: Path
    background: Path
    cache: Path
    backbone: str
    weights: str
    head: str = "pooled"
    bc_set: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    batch_size: int | None = None
    recipe: str = "default"
    recipe_set: tuple[str, ...] = ()
    image_size: int = 224
    precision: str = "float32"

    def __post_init__(self):
        if self.device == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
            object.__setattr__(self, "device", chosen)
        if self.workers is None:
            object.__setattr__(self, "workers", default_workers(self.device))
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", batch_size_for(self.device))

    @property
    def classifier_config(self):
        """ClassifierConfig of the background classifier."""
        units = UNITS_READ.get(self.chosen_recipe.signal, ())
        config = ClassifierConfig(head=self.head, image_size=self.image_size, seed=self.seed,
                                  pixel_unit="pixel_unit" in units,
                                  evidence_unit="evidence_unit" in units)
        return override(config, self.bc_set)

    @property
    def chosen_recipe(self):
        """The Recipe, overrides applied."""
        return override(RECIPES[self.recipe], self.recipe_set)

    def images(self, split):
        """The Dataset of a split of the target images."""
        return open_dataset(self.dataset, self.data, split)

    @functools.cached_property
    def targets(self):
        """The Dataset that the classifier learns from: the training images."""
        return self.images("train")

    @functools.cached_property
    def backgrounds(self):
        """The Dataset of background images."""
        return open_backgrounds(self.background)

    @functools.cached_property
    def classifier_path(self):
        """Where the classifier's checkpoint is, or will be."""
        # Backgrounds are few, and nothing else notices that one of them has changed.
        key = digest(self.targets.digest(), self.backgrounds.content_digest(), self.backbone,
                     weights_identity(self.weights), to_dict(self.classifier_config))[:12]
        name = f"{self.dataset}-{self.backbone}-{self.head}-s{self.seed}-{key}.pt"
        return self.cache / "bc" / name

    def provenance(self, split):
        """Provenance of a split's masks; needs the classifier's checkpoint.

        Raises:
            MaskCacheError: the classifier is not trained yet.
        """
        if not self.classifier_path.is_file():
            raise MaskCacheError(f"there is no background classifier {self.classifier_path} yet; "
                                 "run make masks (or bcct masks) with the same settings first")
        return Provenance(
            dataset=self.images(split).digest(),
            classifier=load_checkpoint(self.classifier_path)["digest"],
            recipe=self._how_masks_are_made, mask_size=(self.image_size, self.image_size))

    @property
    def _how_masks_are_made(self):
        """The recipe's fields, and the precision where it is not the usual one."""
        fields = to_dict(self.chosen_recipe)
        return fields if self.precision == "float32" else {**fields, "precision": self.precision}

    def mask_folder(self, split):
        """Where a split's masks are, or will be."""
        key = self.provenance(split).key()
        return (self.cache / "masks" /
                f"{self.dataset}-{split}-{self.backbone}-{self.recipe}-{key}")

    def masks_command(self, split, deltas):
        """The command line that makes a split's masks, for people to copy, in any folder."""
        data, background, cache = map(os.path.abspath, (self.data, self.background, self.cache))
        weights = self.weights
        if weights not in ("imagenet", "none"):
            weights = os.path.abspath(weights)
        options = {"dataset": self.dataset, "data": data, "background": background,
                   "cache": cache, "backbone": self.backbone, "weights": weights,
                   "head": self.head, "bc-set": self.bc_set, "image-size": self.image_size,
                   "seed": self.seed, "recipe": self.recipe, "recipe-set": self.recipe_set,
                   "precision": self.precision, "split": split,
                   "delta": tuple(map(delta_name, sorted(deltas)))}
        words = [word for name, value in options.items()
                 for one in (value if isinstance(value, tuple) else (value,))
                 for word in (f"--{name}", str(one))]
        return shlex.join(["bcct", "masks", *words])


def train_classifier(job):
    """Train the background classifier and save its checkpoint.

    Returns:
        dict of its accuracies, and of the images that could not be read and were left out,
        ``unreadable``: path to reason.
    """
    unreadable = {}
    classifier = build_classifier(job.backbone, job.weights, job.head, job.image_size)
    classifier.to(job.device, memory_format=torch.channels_last)
    targets, backgrounds = job.targets.records, job.backgrounds.records
    config = job.classifier_config
    chosen = sample_targets(len(targets), config.max_targets, config.seed)
    if len(chosen) < len(targets):
        click.echo(f"{len(targets)} target images: {len(chosen)} of them are sampled")
    features = [_features(classifier, [targets[index] for index in chosen], job, "targets",
                          unreadable),
                _features(classifier, backgrounds, job, "backgrounds", unreadable)]
    accuracies = train_unit(classifier, *features, config)
    if config.pixel_unit or config.evidence_unit:
        _teach_pixels(classifier, job, [record for record in targets
                                        if str(record.path) not in unreadable])
    about = {"targets": len(features[0]), "backgrounds": len(features[1]), **accuracies,
             "unreadable": unreadable}
    save_checkpoint(job.classifier_path, {**classifier.checkpoint(about),
                                          "config": to_dict(job.classifier_config),
                                          "digest": classifier.digest()})
    return about


def _teach_pixels(classifier, job, targets):
    """Train the classifier's units for pixels on readable target images and all backgrounds."""
    config = job.classifier_config
    chosen = [targets[index] for index in
              sample_targets(len(targets), config.pixel_targets, config.seed)]
    units = config.pixel_unit + config.evidence_unit
    total = units * (len(chosen) + len(job.backgrounds.records))
    with progress_bar(total, "units for pixels") as advance:
        def images(records):
            for batch in load_frames(records, (job.image_size,) * 2,
                                     consecutive(len(records), job.batch_size), job.workers):
                advance(len(batch.positions) + len(batch.bad))
                if batch.positions:
                    yield to_float(batch.images.to(job.device)).contiguous(
                        memory_format=torch.channels_last)
        if config.pixel_unit:
            train_pixel_unit(classifier, images(chosen), images(job.backgrounds.records),
                             RECIPES["guided-layers"])
        if config.evidence_unit:
            train_evidence_unit(classifier, images(chosen), images(job.backgrounds.records))


def _features(classifier, records, job, description, unreadable):
    """What the classifier's unit reads, for every readable record once, (n, D) float32."""
    batches = load_frames(records, (job.image_size,) * 2,
                          consecutive(len(records), job.batch_size), job.workers)
    left_out = len(unreadable)
    with progress_bar(len(records), description) as advance:
        def images():
            for batch in batches:
                unreadable.update({str(error.path): error.reason for _, error in batch.bad})
                advance(len(batch.positions) + len(batch.bad))
                if batch.positions:
                    yield batch.images
            if len(unreadable) - left_out == len(records):
                raise ValueError(f"none of the {len(records)} {description} can be read; the first "
                                 f"is {records[0].path}")
        return compute_features(classifier, images(), job.device)


def ensure_classifier(job):
    """Train the background classifier unless its checkpoint is there.

    Returns:
        dict as from ``train_classifier``.
    """
    if not job.classifier_path.is_file():  # otherwise the folder may well be read-only
        with alone_with_classifiers(job):
            if not job.classifier_path.is_file():  # another run may have trained it meanwhile
                click.echo(f"no background classifier {job.classifier_path} yet: training it")
                return train_classifier(job)
    return load_checkpoint(job.classifier_path)["about"]


def alone_with_classifiers(job):
    """Context in which no other run trains a classifier in the same cache."""
    return writing_alone(job.classifier_path.parent, waiting=warn)


def warn(sentence):
    """Tell the user, beside the results."""
    click.echo(sentence, err=True)


def mask_maker(job):
    """A MaskMaker with the trained classifier."""
    classifier = load_classifier(load_checkpoint(job.classifier_path), job.weights)
    return MaskMaker(classifier, job.chosen_recipe, (job.image_size,) * 2, job.device,
                     PRECISIONS[job.precision])


def make_masks(job, split, deltas):
    """Make a split's masks where any are missing, damaged or of an image that reads only now.

    Returns:
        Path of their folder.

    Raises:
        MaskCacheError: images have changed since masks were made of them; names them.
    """
    processes.first_says(lambda: ensure_classifier(job))
    folder = job.mask_folder(split)
    were_there = processes.first_says(  # all must go the same way, whatever other runs write
        lambda: (folder / MANIFEST).is_file() and _among(deltas, held_deltas(folder)))
    # Where nothing has to be written, the folder may well be read-only.
    if not processes.first_says(lambda: _hold(folder, deltas)):
        _write_masks(job, split, deltas, folder)
    if were_there and (shards := processes.first_says(lambda: _look_again(job, split, folder))):
        _write_masks(job, split, deltas, folder, shards)
    return folder


def _write_masks(job, split, deltas, folder, anew=()):
    """Make what is missing or damaged, and the shards ``anew``."""
    records = job.images(split).records
    world = processes.world_size()
    command = job.masks_command(split, {*held_deltas(folder), *deltas})
    with progress_bar(len(records), f"masks ({split})") as advance:
        write_masks(records, mask_maker(job), deltas, folder, job.provenance(split),
                    job.batch_size, job.workers,
                    progress=lambda images: advance(images * world),  # the others are as far
                    about={"backbone": job.backbone, "dataset": job.dataset, "split": split,
                           "recipe": job.recipe, "command": command,
                           "classifier": {"weights": weights_identity(job.weights),
                                          **to_dict(job.classifier_config)},
                           "folder": os.path.abspath(folder)},
                    say=warn, anew=anew)


def _look_again(job, split, folder):
    """Compare the bytes of all images with those that their masks were made from.

    Returns:
        Names of the shards to make anew, because an image that could not be read now can, or is
        another.

    Raises:
        MaskCacheError: an image that has a mask has changed.
    """
    cache, records = MaskCache(folder, check=False), job.images(split).records
    with progress_bar(len(records), "comparing images") as advance:
        problems = list(outdated(cache, records, advance))
    refuse_changed(cache, problems)
    for record, problem in problems:
        warn(f"the image {record.image_id!r} {problem}: its shard is made anew")
    return sorted({cache.shard_file(record.image_id) for record, _ in problems})


def _hold(folder, deltas):
    """Whether a folder has finished, sound masks of these deltas."""
    try:
        held = MaskCache(folder).deltas
    except MaskCacheError:
        return False
    return _among(deltas, held)


def _among(deltas, held):
    return set(map(delta_name, deltas)) <= set(map(delta_name, held))


def open_masks(job, split, delta):
    """The MaskCache of a split, or a MaskCacheError with the command that makes it."""
    folder = job.mask_folder(split)
    if not (folder / MANIFEST).is_file():
        raise MaskCacheError(
            f"there are no finished masks {folder}; make them with make masks and the same "
            f"settings, or with: {job.masks_command(split, [delta])}")
    return MaskCache(folder, delta)
