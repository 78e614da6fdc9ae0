"""Stage 2 as the commands share it: which run, which masks supervise it, where it is kept."""

import contextlib
import dataclasses
import functools
from pathlib import Path

import numpy as np
import torch
import tqdm

from common import processes
from common.backbones import build_backbone, weights_identity
from common.config import digest, override, to_dict
from common.files import load_checkpoint, read_json, write_json
from common.loading import consecutive, load_frames, to_float
from common.locks import writing_alone
from common.mask_cache import MaskCache
from common.mask_shards import MaskCacheError
from common.threads import in_order, one_thread_an_operation
from pipelines.progress import progress_bar
from pipelines.stage1 import Stage1, mask_maker, open_masks, warn
from stage1_bc.classifier import build_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.online import JointMaker, OnlineMaker
from stage1_bc.recipe import RECIPES
from stage2_ct.data import EpochBatches, TrainingImages, training_loader
from stage2_ct.mask_sources import CachedMasks, MadeMasks, NoMasks
from stage2_ct.training import Run, fit
from stage2_ct.variants import VARIANTS, TrainingConfig

JOINT_BACKGROUNDS = 8  # background images that join each batch when both models learn at once


@dataclasses.dataclass(frozen=True)
class Stage2:
    """What a stage-2 command was asked for."""

    stage1: Stage1
    """The background classifier and recipe whose masks supervise."""
    backbone: str
    weights: str
    variant: str = "bc-ct"
    masks: str = "cached"
    delta: float = 0.80
    seed: int = 0
    config: TrainingConfig = TrainingConfig()
    """How it learns, overrides applied."""
    options: dict = dataclasses.field(default_factory=dict, compare=False)
    """The command line's options, by which another command can be given the same job."""

    @classmethod
    def from_options(cls, **options):
        """The job of a command line, from the names and values of ``pipelines.options.STAGE2``."""
        sizes = [f"image_size={options['image_size']}"]
        config = override(VARIANTS[options["variant"]].config, [*sizes, *options["train_set"]])
        shared = {name: options[name] for name in (
            "dataset", "data", "background", "cache", "head", "bc_set", "device", "workers",
            "batch_size", "recipe", "recipe_set")}
        stage1 = Stage1(backbone=options["bc_backbone"] or options["backbone"],
                        weights=options["bc_weights"] or options["weights"],
                        seed=options["bc_seed"], image_size=config.image_size,
                        precision=options.get("precision", "float32"), **shared)
        own = {name: options[name] for name in (
            "backbone", "weights", "variant", "masks", "delta", "seed")}
        return cls(stage1, config=config, **own, options={
            name: str(value) if isinstance(value, Path) else value
            for name, value in options.items()})

    @classmethod
    def from_run(cls, folder):
        """The job that made a run's folder.

        Raises:
            ValueError: the folder is not a run's.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise ValueError(f"{folder} is not a training run: it has no config.json")
        options = read_json(path)["options"]
        paths = {name: Path(options[name]) for name in ("data", "background", "cache")}
        return cls.from_options(**{**options, **paths})

    def with_seed(self, seed):
        """The same job with another seed of stage 2; the masks stay those of stage 1's seed."""
        return dataclasses.replace(self, seed=seed, options={**self.options, "seed": seed})

    @property
    def trained_variant(self):
        """The variant whose runs these are: its own, or that of another which trains alike."""
        return VARIANTS[self.variant].trained_as or self.variant

    @property
    def uses_masks(self):
        """Whether the variant learns from masks."""
        return VARIANTS[self.variant].uses_masks

    @property
    def names_a_folder(self):
        """Whether the masks are those of a cache that is named by its folder."""
        return self.uses_masks and self.masks not in ("cached", "online", "joint")

    @functools.cached_property
    def cache(self):
        """The MaskCache that supervises, or None where masks are made on the way or not used."""
        if not self.uses_masks or self.masks in ("online", "joint"):
            return None
        if self.masks == "cached":
            return open_masks(self.stage1, "train", self.delta)
        cache = MaskCache(self.masks, self.delta)
        cache.require_images(self.stage1.targets)
        return cache

    @functools.cached_property
    def unreadable(self):
        """The training images that cannot be read and are left out, a dict from id to reason.

        The mask cache knows them, also where it does not supervise. Without one, all are decoded
        once, in the run's first start.
        """
        if self.cache is not None:
            return self.cache.manifest["unreadable"]
        path = self.run.folder / "config.json"
        if path.is_file() and "unreadable" in (config := read_json(path)):
            return config["unreadable"]
        with contextlib.suppress(MaskCacheError):
            return open_masks(self.stage1, "train", self.delta).manifest["unreadable"]
        return processes.first_says(lambda: find_unreadable(self.stage1))

    @functools.cached_property
    def description(self):
        """Everything that the run depends on, as plain values."""
        masks = None
        if self.cache is not None:
            masks = self.cache.key
        elif self.uses_masks:
            masks = [self.masks, to_dict(self.stage1.chosen_recipe), str(
                self.stage1.classifier_path.name)]
        return {"variant": self.trained_variant, "config": self.config.of_training(),
                "seed": self.seed,
                "backbone": self.backbone, "weights": weights_identity(self.weights),
                "dataset": self.stage1.targets.digest(), "masks": masks,
                "delta": self.delta if masks else None,
                "classes": list(self.stage1.targets.classes)}

    @property
    def run(self):
        """The Run; its folder is named after the variant, the seed and all that it depends on."""
        key = digest(self.description)[:12]
        return Run(self.stage1.cache / "ct" / f"{self.trained_variant}-s{self.seed}-{key}")

    def build_method(self):
        """The untrained method, its new layers drawn from the seed."""
        torch.manual_seed(self.seed)
        backbone = build_backbone(self.backbone, self.weights, fine=self.config.fine)
        classes = len(self.stage1.targets.classes)
        method = VARIANTS[self.variant].method(backbone, classes, self.config)
        return method.to(self.stage1.device, memory_format=torch.channels_last)

    def mask_source(self):
        """The source of the masks that the training step asks."""
        if not self.uses_masks:
            return NoMasks()
        if self.masks == "online":
            return MadeMasks(OnlineMaker(mask_maker(self.stage1), self.delta))
        if self.masks == "joint":
            job = self.stage1
            classifier = build_classifier(job.backbone, job.weights, job.head, job.image_size)
            torch.nn.init.zeros_(classifier.unit.bias)
            recipe = job.chosen_recipe
            if recipe.reads_pixels:  # taught by finished masks: there are none yet
                recipe = RECIPES["guided-layers"]
            maker = MaskMaker(classifier, recipe, (job.image_size,) * 2, job.device)
            return MadeMasks(JointMaker(maker, self.delta, _endless_backgrounds(job)))
        return CachedMasks()


def train(job):
    """Train a method, or go on where its run stopped; gives the trained method.

    Images that cannot be read are left out; ``job.unreadable`` names them. One run at a time
    trains in a folder: another waits, and finds it done.
    """
    with writing_alone(job.run.folder, processes.rank(), processes.meet, warn):
        return _train(job)


def _train(job):
    """``train`` for whoever holds the run's folder."""
    records = [record for record in job.stage1.targets.records
               if record.image_id not in job.unreadable]
    rank, world = processes.rank(), processes.world_size()
    if world > 1 and job.masks == "joint":
        raise ValueError("joint masks are learnt by one process; start bcct without torchrun")
    config, device = job.config, job.stage1.device
    batches = EpochBatches(len(records), config.batch_size, job.seed, rank, world)
    loader = training_loader(TrainingImages(records, config, job.cache), batches,
                             job.stage1.workers, device)
    method, source = job.build_method(), job.mask_source()
    if rank == 0:
        write_json(job.run.folder / "config.json",
                   {"description": job.description,
                    "options": {**job.options, "variant": job.trained_variant},
                    "unreadable": job.unreadable})

    def progress(epoch, batches):
        name = f"{job.variant} s{job.seed} epoch {epoch + 1}/{config.epochs}"
        return tqdm.tqdm(batches, desc=name, unit=" batches", disable=True if rank else None,
                         leave=False, dynamic_ncols=True)
    fit(method, source, loader, config, job.run, device, job.description, progress)
    return method.eval()


def load_trained(job):
    """The method of a finished run.

    Raises:
        ValueError: the run has not been trained to its last epoch.
    """
    path = job.run.checkpoint
    if not path.is_file():
        raise ValueError(f"there is no trained model {path}; run make train-ct (or bcct train-ct) "
                         "with the same settings first")
    state = load_checkpoint(path)
    if state["epoch"] < job.config.epochs:
        raise ValueError(f"{path} stopped after epoch {state['epoch']} of {job.config.epochs}; "
                         "go on with bcct train-ct --resume")
    method = job.build_method()
    method.load_state_dict(state["method"])
    return method.eval()


def predict(job, method, records, side, description, look, cache=None, unreadable=None):
    """What is seen in the predictions of a trained method, batch by batch.

    Several batches are under way at once, so that whoever takes one works beside the network. On
    the CPU the figures are the same to the last bit whatever the number of cores.

    Args:
        job: Stage2.
        method: trained method on the job's device.
        records: sequence of Record.
        side: of the square that images are squashed to, in pixels.
        description: what the progress bar says.
        look: called with a list of Record and their Prediction, in a thread.
        cache: MaskCache whose images these must still be; None compares nothing.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; None
            ends at the first.

    Yields:
        (list of at most ``batch_size`` Record, what ``look`` gave for them).
    """
    stage1 = job.stage1
    count = len(records)
    batches = load_frames(records, (side, side), consecutive(count, stage1.batch_size),
                          stage1.workers, checksums=cache is not None)

    @torch.no_grad()
    def see(batch):
        seen = [records[index] for index in batch.positions]
        if not seen:
            return batch, seen, None
        images = to_float(batch.images.to(stage1.device))
        images = images.contiguous(memory_format=torch.channels_last)
        return batch, seen, look(seen, method.predict(images))
    with progress_bar(count, description) as advance, one_thread_an_operation() as threads:
        for batch, seen, found in in_order(see, batches, stage1.device, threads):
            for index, error in batch.bad:
                if unreadable is None:
                    raise error
                unreadable[records[index].image_id] = error.reason
            advance(len(batch.positions) + len(batch.bad))
            if cache is not None:
                for record, index in zip(seen, batch.positions):
                    cache.check_crc32(record.image_id, record.path, batch.file_crc32[index])
            if seen:
                yield seen, found


def find_unreadable(stage1):
    """Decode every training image once; gives a dict from the ids of bad ones to the reason."""
    records, found = stage1.targets.records, {}
    # A small frame: the whole file is still read, and damage found wherever it is.
    batches = load_frames(records, (32, 32), consecutive(len(records), 64), stage1.workers)
    with progress_bar(len(records), "looking for bad images") as advance:
        for batch in batches:
            found.update({records[index].image_id: error.reason for index, error in batch.bad})
            advance(len(batch.positions) + len(batch.bad))
    return found


def _endless_backgrounds(job):
    """A function that gives the next few background images, in a new order each round."""
    records = job.backgrounds.records

    def batches():
        random = np.random.default_rng(job.seed)
        while True:
            order = random.permutation(len(records)).tolist()
            chosen = [order[start:start + JOINT_BACKGROUNDS]
                      for start in range(0, len(order), JOINT_BACKGROUNDS)]
            for batch in load_frames(records, (job.image_size,) * 2, chosen, 0):
                yield to_float(batch.images)
    stream = batches()
    return lambda: next(stream)
