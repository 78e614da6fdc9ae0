"""A training run's folder: it states what was trained and holds everything to use it.

``config.json`` is the run's manifest, ``log.jsonl`` has a line per epoch, ``last.pt`` is the
checkpoint of the last finished epoch. A copied, moved or renamed run works as the original does.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.artefacts import ArtefactError
from common.backbones import build_backbone
from common.config import digest
from common.datasets import DatasetError
from common.datasets.listed_once import Images
from common.files import (load_checkpoint, read_json, read_whole, save_checkpoint, write_bytes,
                          write_json)
from common.progress import ignore
from stage2_ct.model import LocalizationMethod
from stage2_ct.prediction import default_input_side
from stage2_ct.training_config import TrainingConfig
from stage2_ct.variants import VARIANTS

MANIFEST = "config.json"
NO_LOSSES = ("epoch", "seconds", "precision", "backbone_rate", "head_rate")  # in a log's line
KIND = "run"


@dataclass(frozen=True)
class Run:
    """A run's folder and the files in it."""

    folder: Path
    """Where the run is kept."""

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last finished epoch."""
        return self.folder / "last.pt"

    def manifest(self) -> dict:
        """The run's manifest; ``stage2_ct.run_training`` writes it.

        Raises:
            ValueError: the folder is not a run's, or of another version.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"{self.folder} is not a training run: it has no {MANIFEST}")
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
            raise ValueError(f"{path} is not the manifest of a training run of this version; train "
                             "it again with bcct train-ct")
        return manifest

    def write_manifest(self, manifest: dict) -> None:
        """Write the run's manifest, whole or not at all."""
        write_json(self.folder / MANIFEST, {"kind": KIND, **manifest})

    def save(self, epoch: int, parts: dict, description: dict) -> None:
        """Save everything that the next epoch depends on.

        Args:
            epoch: number of epochs done.
            parts: dict from a name to an object with ``state_dict``.
            description: dict of plain values, saved with it.
        """
        states = {name: part.state_dict() for name, part in parts.items()}
        save_checkpoint(self.checkpoint, {"epoch": epoch, "description": description, **states})

    def restore(self, parts: dict) -> int:
        """Load the last epoch's state where there is one; gives the epochs already done."""
        if not self.checkpoint.is_file():
            return 0
        state = load_checkpoint(self.checkpoint)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["epoch"]

    def log(self, line: dict) -> None:
        """Append an epoch's line, whole or not at all; replaces one of the same epoch."""
        lines = [*(held for held in self.logged() if held["epoch"] < line["epoch"]), line]
        write_bytes(self.folder / "log.jsonl", b"".join(
            json.dumps(each, sort_keys=True).encode() + b"\n" for each in lines))

    def logged(self) -> list[dict]:
        """The lines of the log.

        Raises:
            ValueError: it is damaged; names the file.
        """
        path = self.folder / "log.jsonl"
        lines = read_whole(path).splitlines() if path.is_file() else []
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): put it back from a copy, or remove it; "
                             "the trained model does not need it") from error


def losses_of(line: dict) -> dict[str, float]:
    """The losses by name in a line of a run's log."""
    return {name: value for name, value in line.items() if name not in NO_LOSSES}


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, loaded: everything that localizing needs."""

    run: Run
    manifest: dict
    variant: str
    """The run's variant, or one that is trained as it is."""
    config: TrainingConfig
    method: LocalizationMethod
    """The trained method in evaluation mode; see ``BackgroundSupervised``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the method's outputs."""
        return tuple(self.manifest["description"]["classes"])

    def images(self, data: Path | None = None, dataset: str | None = None,
               notify: Callable[[str], object] = ignore) -> Images:
        """The run's data set, or another one whose classes are among the run's.

        Args:
            data, dataset: folder and layout of the other one.
            notify: as for ``Images``.

        Raises:
            ArtefactError: the run's data set is not where it was, and no other is named.
        """
        return recorded_images(self.manifest["data"], data, dataset, notify, self.classes)

    def training_images(self, images: Images, notify: Callable[[str], object] = ignore) -> Images:
        """The data set that it learnt from, which other ``images`` may be evaluated beside.

        Args:
            images: the data set that a command line names.
            notify: as for ``Images``.

        Returns:
            ``images`` if they are that data set, wherever it is now, or if the run's own is no
            longer where it was.
        """
        own = Path(self.manifest["data"]["folder"])
        if not own.is_dir() or own.resolve() == images.root.resolve():
            return images
        try:
            same = images.digest("train") == self.manifest["description"]["dataset"]
        except DatasetError:  # they have no training images
            same = False
        return images if same else self.images(notify=notify)

    @property
    def localizes_by(self) -> dict:
        """``variant``, ``score_map`` and ``input_size`` that other pictures are localized by."""
        own = {"variant": self.manifest["description"]["variant"],
               "score_map": self.manifest["score_map"],
               "input_size": default_input_side(self.config.image_size)}
        recorded = self.manifest.get("localization", {})
        return {name: recorded.get(name, value) for name, value in own.items()}

    @property
    def seed(self) -> int:
        """The seed that it was trained with."""
        return self.manifest["description"]["seed"]


def recorded_images(recorded: dict, data: Path | None, dataset: str | None,
                    notify: Callable[[str], object],
                    classes: Sequence[str] | None = None) -> Images:
    """The data set that a run's manifest records, or another one that a command line names.

    Args:
        recorded: ``kind`` and ``folder`` of the run's data set.
        data, dataset: folder and layout of the other one, or None.
        notify, classes: as for ``Images``.

    Raises:
        ArtefactError: the run's data set is not where it was, and no other is named.
    """
    if data is None and not Path(recorded["folder"]).is_dir():
        raise ArtefactError(f"the data set of this run is not in {recorded['folder']} any "
                            "more; give --data")
    return Images(dataset or (recorded["kind"] if data is None else None),
                  Path(data or recorded["folder"]), notify, classes)


def stored_runs(root: Path) -> Iterator[tuple[Run, dict]]:
    """Yield (Run, manifest) of each training run in a folder; other folders are passed over."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        try:
            yield Run(folder), Run(folder).manifest()
        except ValueError:  # and not what the system refuses: that says nothing about a file
            continue


def run_of(description: dict, root: Path) -> Run:
    """The run in a folder that has a description, whatever it is called, or the one to make."""
    variant, seed = description["variant"], description["seed"]
    new = Run(root / f"{variant}-s{seed}-{digest(description)[:12]}")
    if new.folder.is_dir():
        return new
    return next((run for run, manifest in stored_runs(root)
                 if manifest["description"] == description), new)


def load_run(folder: Path | str, device: str = "cpu", variant: str | None = None) -> TrainedRun:
    """Load a finished run from its folder and from nothing else.

    Args:
        folder: the run's folder, wherever it is.
        variant: another variant that shares this run's training, such as ``bc-ct-class-map`` for
            a run of ``bc-ct``; None for the run's own.

    Raises:
        ValueError: the folder is not a run's, the run is not finished or damaged, or the variant
            is trained otherwise.
    """
    run = Run(Path(folder))
    manifest = run.manifest()
    description = manifest["description"]
    variant = variant or description["variant"]
    if variant != description["variant"] and (
            VARIANTS[variant].trained_as != description["variant"]):
        raise ValueError(f"{folder} is a run of {description['variant']}, which is not trained as "
                         f"{variant} is; leave --variant out")
    config = TrainingConfig(**description["config"], score_map=manifest["score_map"])
    if variant != description["variant"]:
        config = TrainingConfig(**description["config"],
                                score_map=VARIANTS[variant].config.score_map)
    method = method_of_state(variant, description, config, _finished_state(run, config.epochs))
    method.to(device).to(memory_format=torch.channels_last)
    return TrainedRun(run, manifest, variant, config, method.eval())


def method_of_state(variant: str, description: dict, config: TrainingConfig,
                    state: dict) -> LocalizationMethod:
    """A trained method; the random numbers of the program that loads it stay as they are.

    Args:
        variant: key of ``VARIANTS``.
        description: of the run, see ``Run.manifest``.
        config: of the method.
        state: the method's state dict.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):  # new layers are drawn before the state is loaded
        method = build_method(variant, description["backbone"], "none", len(description["classes"]),
                              config, description["seed"], scaled_as=description["weights"])
    method.load_state_dict(state)
    return method


def build_method(variant: str, backbone: str, weights: str, classes: int, config: TrainingConfig,
                 seed: int, scaled_as: str | None = None) -> LocalizationMethod:
    """An untrained method, its new layers drawn from the seed.

    Args:
        variant: key of ``VARIANTS``.
        backbone: the backbone's name, see ``build_backbone``.
        weights: the backbone's weights, see there.
        classes: number of classes.
        seed: of the new layers' weights, and of all that is drawn after them.
        scaled_as: identity of the weights that the method was trained from, where its state is
            loaded afterwards; see ``build_backbone``.

    Raises:
        ValueError: the backbone has fewer layers than are to be frozen.
    """
    torch.manual_seed(seed)
    network = build_backbone(backbone, weights, fine=config.fine, scaled_as=scaled_as)
    network.freeze(config.frozen_layers)
    return VARIANTS[variant].method(network, classes, config)


def _finished_state(run: Run, epochs: int) -> dict:
    """The method's state dict after the last epoch."""
    if not run.checkpoint.is_file():
        raise ValueError(f"there is no trained model {run.checkpoint}; run make train-ct (or bcct "
                         "train-ct) with the same settings first")
    state = load_checkpoint(run.checkpoint)
    if state["epoch"] < epochs:
        raise ValueError(f"{run.checkpoint} stopped after epoch {state['epoch']} of {epochs}; "
                         "resume it with bcct train-ct --resume")
    return state["method"]
