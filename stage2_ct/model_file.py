"""A trained model in one file, which loads without running code and needs no other file."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import torch

from common.config import digest
from common.files import load_checkpoint, save_checkpoint
from stage2_ct.model import LocalizationMethod
from stage2_ct.run import method_of_state
from stage2_ct.training_config import TrainingConfig
from stage2_ct.variants import VARIANTS

MODEL_KIND = "bcct model"
MODEL_FORMAT = 1
PREPROCESSING = ("EXIF orientation applied, transparency over white, 8-bit RGB, squashed to "
                 "input_size x input_size with antialiased bilinear interpolation, divided by 255; "
                 "the network itself subtracts the mean that its weights expect and divides by "
                 "the deviation")


@dataclasses.dataclass(frozen=True)
class PackedModel:
    """All that localizing needs of a trained run."""

    localization: dict[str, Any]
    """``tau`` with its ``source`` and ``note``, ``score_map``, ``variant``, ``input_size``."""
    description: dict[str, Any]
    """What was trained, as in the run's manifest: backbone, settings, classes, digests."""
    origin: dict[str, Any]
    """Where it came from: the run, its data set and its masks."""
    weights: dict[str, torch.Tensor]
    """The method's state dict."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return tuple(self.description["classes"])

    @property
    def config(self) -> TrainingConfig:
        """How it was trained, and what its boxes are cut from."""
        return TrainingConfig(**self.description["config"],
                              score_map=self.localization["score_map"])

    def build(self) -> LocalizationMethod:
        """The trained method; see ``BackgroundSupervised``."""
        variant = self.localization["variant"]
        if variant not in VARIANTS:
            raise ValueError(f"the model is of the variant {variant!r}, which this version does "
                             "not know; install a newer version")
        return method_of_state(variant, self.description, self.config, self.weights)

    def digest(self) -> str:
        """Hexadecimal digest of the weights and of all else that boxes depend on."""
        return digest(self.localization, self.description, self._weights_digest())

    def digest_of_training(self) -> str:
        """The same without what was chosen after training: tau, score map and input size."""
        return digest(self.description, self._weights_digest())

    def _weights_digest(self):
        weights = hashlib.sha256()
        for name in sorted(self.weights):
            tensor = self.weights[name].cpu().contiguous()
            weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            weights.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        return weights.hexdigest()


def write_model(path: Path, model: PackedModel) -> None:
    """Write a model file, whole or not at all.

    Raises:
        OSError: it cannot be written; names it.
    """
    save_checkpoint(path, {
        "kind": MODEL_KIND, "format": MODEL_FORMAT, "preprocessing": PREPROCESSING,
        "localization": model.localization, "description": model.description,
        "origin": model.origin,
        "weights": {name: tensor.contiguous().cpu() for name, tensor in model.weights.items()}})


def read_model(path: Path) -> PackedModel:
    """Read a model file.

    Raises:
        ValueError: it is damaged, no model, or of a newer format; says what to do.
    """
    content = load_checkpoint(path)
    if not isinstance(content, dict) or content.get("kind") != MODEL_KIND:
        hint = ("; it is a training run's checkpoint: give the run's folder"
                if isinstance(content, dict) and "epoch" in content else "")
        raise ValueError(f"{path} is not a model that bcct pack wrote{hint}")
    if content["format"] > MODEL_FORMAT:
        raise ValueError(f"{path} is a model of format {content['format']}, this version reads "
                         f"formats up to {MODEL_FORMAT}: install a newer version of bcct, or pack "
                         "the run again with this one")
    return PackedModel(content["localization"], content["description"], content["origin"],
                       content["weights"])
