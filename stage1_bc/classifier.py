"""The background classifier (BC): a frozen backbone and one fully connected unit."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from common.backbones import Backbone, build_backbone
from common.config import digest, lookup
from stage1_bc.pixel_network import PixelNetwork
from stage1_bc.pixel_unit import PixelReader, PixelUnit
from stage1_bc.tuned_network import TunedNetwork

HEADS = {
    "pooled": "the unit reads globally average-pooled features",
    "flattened": "the unit reads every pixel of the feature map",
    "fc7": "the unit reads the backbone's own frozen fc7 (VGG-16 and AlexNet)",
}

UNIT_KINDS: dict[str, type[PixelReader]] = {
    "pixel_unit": PixelUnit, "evidence_unit": PixelUnit, "pixel_network": PixelNetwork,
    "tuned_network": TunedNetwork}


class BackgroundClassifier(nn.Module):
    """Distinguishes target images from background images (paper, section 3.2).

    The paper replaces "the final fully connected layer with a binary classifier", which can be
    read three ways; each is a head in ``HEADS``.

    It may also have units that read every pixel, which its logit does not use: a ``pixel_unit``
    (``stage1_bc.pixel_unit``), an ``evidence_unit`` (``stage1_bc.evidence``), a ``pixel_network``
    (``stage1_bc.pixel_network``) and a ``tuned_network`` (``stage1_bc.tuned_network``).

    Args:
        backbone: Backbone; frozen here.
        head: key of ``HEADS``.
        image_size: side of the square input in pixels; only the flattened head depends on it.
    """

    def __init__(self, backbone: Backbone, head: str = "pooled", image_size: int = 224):
        super().__init__()
        lookup("head", head, HEADS)
        self.backbone = backbone.requires_grad_(False).eval()
        self.head = head
        self.image_size = image_size
        with torch.no_grad():
            width = self.features(torch.zeros(1, 3, image_size, image_size)).shape[1]
        self.unit = nn.Linear(width, 1)
        self.pixel_unit: PixelUnit | None = None
        self.evidence_unit: PixelUnit | None = None
        self.pixel_network: PixelNetwork | None = None
        self.tuned_network: TunedNetwork | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logit of "holds a target".

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            (N,) float.
        """
        return self.unit(self.features(images)).squeeze(1)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the unit reads, (N, D) float; constant in training, so computed once per image."""
        return self.read(self.backbone(images))

    def read(self, feature_map: torch.Tensor) -> torch.Tensor:
        """The head's reading of a feature map: (N, C, h, w) float to (N, D) float."""
        if self.head == "pooled":
            return feature_map.mean(dim=(2, 3))
        if self.head == "flattened":
            return feature_map.flatten(1)
        assert self.backbone.fully_connected is not None  # the backbone was built for this head
        return self.backbone.fully_connected(feature_map)

    def train(self, mode: bool = True) -> "BackgroundClassifier":
        super().train(mode)
        self.backbone.eval()
        return self

    def checkpoint(self, about: dict) -> dict:
        """The head, and what is needed to rebuild the rest, as plain values and tensors.

        Args:
            about: dict of plain values for a reader, such as accuracies.
        """
        return {"backbone": self.backbone.name, "head": self.head, "image_size": self.image_size,
                "unit": _on_cpu(self.unit),
                **{name: unit and _on_cpu(unit) for name, unit in self.pixel_units().items()},
                "backbone_digest": state_digest(self.backbone), "about": about}

    def digest(self) -> str:
        """Hex digest of everything its logits and its maps depend on."""
        named = {"pixel_unit": "", "evidence_unit": "evidence ", "pixel_network": "network ",
                 "tuned_network": "tuned "}
        parts = [named[name] + state_digest(unit)
                 for name, unit in self.pixel_units().items() if unit is not None]
        return digest(self.head, self.image_size, state_digest(self.backbone),
                      state_digest(self.unit), *parts)

    def pixel_units(self) -> dict[str, PixelReader | None]:
        """The units that read every pixel, by name; None where one is not taught."""
        return {name: getattr(self, name) for name in UNIT_KINDS}


def build_classifier(backbone: str, weights: str | Path, head: str = "pooled",
                     image_size: int = 224) -> BackgroundClassifier:
    """A BackgroundClassifier with an untrained unit; arguments as for ``build_backbone``."""
    built = build_backbone(backbone, weights, fully_connected=head == "fc7")
    return BackgroundClassifier(built, head, image_size)


def load_classifier(checkpoint: dict, weights: str | Path) -> BackgroundClassifier:
    """Rebuild a BackgroundClassifier from its checkpoint and the backbone's weights.

    Raises:
        ValueError: the weights are not those that the unit was trained on.
    """
    classifier = build_classifier(
        checkpoint["backbone"], weights, checkpoint["head"], checkpoint["image_size"])
    if state_digest(classifier.backbone) != checkpoint["backbone_digest"]:
        raise ValueError(f"the background classifier was trained on other weights than {weights}; "
                         "give those, or train it again with bcct train-bc")
    classifier.unit.load_state_dict(checkpoint["unit"])
    for name, kind in UNIT_KINDS.items():
        if checkpoint.get(name) is not None:  # a checkpoint may be older than the unit
            unit = kind(classifier.backbone)
            unit.load_state_dict(checkpoint[name])
            setattr(classifier, name, unit)
    return classifier.eval()


def _on_cpu(module):
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


def state_digest(module: nn.Module) -> str:
    """Hex digest of a module's parameters and buffers, by name and value."""
    return digest([(name, list(tensor.shape), _bytes_digest(tensor))
                   for name, tensor in sorted(module.state_dict().items())])


def _bytes_digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
