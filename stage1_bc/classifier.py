"""The background classifier (BC): a frozen backbone and one fully connected unit."""

import hashlib

import torch
from torch import nn

from common.backbones import build_backbone
from common.config import digest, lookup
from stage1_bc.pixel_unit import PixelUnit

HEADS = {
    "pooled": "the unit reads globally average-pooled features",
    "flattened": "the unit reads every pixel of the feature map",
    "fc7": "the unit reads the backbone's own frozen fc7 (VGG-16 and AlexNet)",
}

PIXEL_UNITS = ("pixel_unit", "evidence_unit")


class BackgroundClassifier(nn.Module):
    """Tells target images from background images (paper, section 3.2).

    The paper replaces "the final fully connected layer with a binary classifier", which can be
    read three ways; each is a head in ``HEADS``.

    It may also have a ``pixel_unit`` (``stage1_bc.pixel_unit``) and an ``evidence_unit``
    (``stage1_bc.evidence``), which its logit does not use.

    Args:
        backbone: Backbone; frozen here.
        head: key of ``HEADS``.
        image_size: side of the square input in pixels; only the flattened head depends on it.
    """

    def __init__(self, backbone, head="pooled", image_size=224):
        super().__init__()
        lookup("head", head, HEADS)
        self.backbone = backbone.requires_grad_(False).eval()
        self.head = head
        self.image_size = image_size
        with torch.no_grad():
            width = self.features(torch.zeros(1, 3, image_size, image_size)).shape[1]
        self.unit = nn.Linear(width, 1)
        self.pixel_unit = None
        self.evidence_unit = None

    def forward(self, images):
        """Logit of "holds a target".

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            (N,) float.
        """
        return self.unit(self.features(images)).squeeze(1)

    def features(self, images):
        """What the unit reads, (N, D) float; constant in training, so computed once an image."""
        return self.read(self.backbone(images))

    def read(self, feature_map):
        """The head's reading of a feature map: (N, C, h, w) float to (N, D) float."""
        if self.head == "pooled":
            return feature_map.mean(dim=(2, 3))
        if self.head == "flattened":
            return feature_map.flatten(1)
        return self.backbone.fully_connected(feature_map)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def checkpoint(self, about):
        """The head and how to rebuild the rest, as plain values and tensors.

        Args:
            about: dict of plain values a reader wants to know, such as accuracies.
        """
        return {"backbone": self.backbone.name, "head": self.head, "image_size": self.image_size,
                "unit": _on_cpu(self.unit),
                **{name: unit and _on_cpu(unit) for name, unit in self.pixel_units().items()},
                "backbone_digest": state_digest(self.backbone), "about": about}

    def digest(self):
        """Hex digest of everything its logits and its maps depend on."""
        taught = [(name, state_digest(unit)) for name, unit in self.pixel_units().items() if unit]
        return digest(self.head, self.image_size, state_digest(self.backbone),
                      state_digest(self.unit), taught)

    def pixel_units(self):
        """dict from the name of a unit for pixels to the PixelUnit, None where it is not taught."""
        return {name: getattr(self, name) for name in PIXEL_UNITS}


def build_classifier(backbone, weights, head="pooled", image_size=224):
    """A BackgroundClassifier with an untrained unit; arguments as for ``build_backbone``."""
    built = build_backbone(backbone, weights, fully_connected=head == "fc7")
    return BackgroundClassifier(built, head, image_size)


def load_classifier(checkpoint, weights):
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
    for name in PIXEL_UNITS:
        if checkpoint.get(name) is not None:  # a checkpoint may be older than the unit
            unit = PixelUnit(classifier.backbone)
            unit.load_state_dict(checkpoint[name])
            setattr(classifier, name, unit)
    return classifier.eval()


def _on_cpu(module):
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


def state_digest(module):
    """Hex digest of a module's parameters and buffers, by name and value."""
    return digest([(name, list(tensor.shape), _bytes_digest(tensor))
                   for name, tensor in sorted(module.state_dict().items())])


def _bytes_digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
