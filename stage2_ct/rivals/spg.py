"""Self-produced guidance, SPG (Zhang et al., ECCV 2018).

A class map is certain of some pixels and uncertain of most. The certain ones teach a branch that
separates foreground from background (SPG-B), whose certain pixels teach a second one, and those
that both are certain of teach a third (SPG-C) on the class head's own features. The class head
(SPG-A), which gives the score map, learns where the object is through those features. Without B and
C it is a plain CAM: SPG-plain. Thresholds and wiring follow the authors' published code.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from common.backbones import Backbone
from stage2_ct.losses import classification_loss
from stage2_ct.model import (LocalizationMethod, Prediction, class_head, initialise, maps_of,
                             stretch, upsample)
from stage2_ct.training_config import TrainingConfig

IGNORED = 255.0  # label of a pixel that supervises nothing


@dataclasses.dataclass(frozen=True)
class Certainty:
    """Thresholds at which a map in [0, 1] is certain of a pixel."""

    foreground: float
    """Higher values are foreground."""
    background: float
    """Lower values are background; those between are ignored."""
    fewest: int = 30
    """With fewer foreground pixels than this, those above ``fallback`` times the image's maximum
    are taken."""
    fallback: float = 0.7
    """See ``fewest``."""


OF_CLASS_MAP = Certainty(0.7, 0.05)
OF_LATE_BRANCH = Certainty(0.5, 0.05)
OF_BOTH_BRANCHES = Certainty(0.7, 0.1)


class SelfProducedGuidance(LocalizationMethod):
    """A class head and three one-channel branches that it teaches step by step.

    The branches of SPG-B read the backbone's third last and second last tapped layers, which for
    Inception v3 are those of the source; their filters are half as many as the class head's.

    Arguments as for ``BackgroundSupervised``.
    """

    def __init__(self, backbone: Backbone, classes: int, config: TrainingConfig):
        super().__init__()
        self.backbone = backbone
        self.class_block = class_head(backbone.channels, config.width, classes)
        self.taps = backbone.taps[-3:-1]
        if len(self.taps) < 2:
            raise ValueError(f"spg reads two layers before the last; {backbone.name} has too few: "
                             "take another --backbone or --variant")
        filters = max(1, config.width // 2)
        self.shared = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(), nn.Conv2d(filters, 1, 1))
        self.entries = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU())
            for channels in _channels(backbone, self.taps))
        self.context = nn.Sequential(
            nn.Conv2d(config.width, filters, 3, padding=1), nn.ReLU(), nn.Conv2d(filters, 1, 1))
        for entry in self.entries:
            initialise([*entry.children(), *self.shared])
        initialise(self.context)

    def forward(self, images: torch.Tensor, labels: torch.Tensor,
                masks: torch.Tensor | None = None,
                valid: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The classification loss and the three branches' losses; masks are ignored."""
        size = images.shape[2:]
        features, tapped = self.backbone.forward_with_taps(images, self.taps)
        hidden = self.class_block[:-1](features)  # (N, width, h, w)
        class_maps = self.class_block[-1](hidden)  # (N, C, h, w)
        early, late = (upsample(self.shared(entry(each)).float(), size)
                       for entry, each in zip(self.entries, tapped))  # (N, 1, H, W) logits
        context = upsample(self.context(hidden).float(), size)
        attention = stretch(upsample(maps_of(class_maps, labels).float(), size))
        both = (early.sigmoid() + late.sigmoid()) / 2
        return {"classification": classification_loss(class_maps.mean(dim=(2, 3)), labels),
                "late branch": guidance_loss(late, label_regions(attention, OF_CLASS_MAP)),
                "early branch": guidance_loss(
                    early, label_regions(late.sigmoid(), OF_LATE_BRANCH)),
                "context branch": guidance_loss(context, label_regions(both, OF_BOTH_BRANCHES))}

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction: logits and class maps of the class head alone (source, section 3.2)."""
        class_maps = self.class_block(self.backbone(images))
        return Prediction(class_maps.mean(dim=(2, 3)), class_maps)


@torch.no_grad()
def label_regions(maps: torch.Tensor, certainty: Certainty) -> torch.Tensor:
    """Foreground, background, and pixels of neither.

    Args:
        maps: (N, 1, H, W) float in [0, 1].

    Returns:
        (N, 1, H, W) float: 1, 0 or ``IGNORED``.
    """
    foreground = maps > certainty.foreground
    few = foreground.sum(dim=(2, 3), keepdim=True) < certainty.fewest
    highest = maps.amax(dim=(2, 3), keepdim=True)
    foreground = torch.where(few, maps > certainty.fallback * highest, foreground)
    labels = torch.where(foreground, 1.0, IGNORED)
    return torch.where(maps < certainty.background, 0.0, labels)


def guidance_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, the mean over all pixels of a batch that are not ignored.

    Args:
        logits: (N, 1, H, W) float.
        labels: (N, 1, H, W) float: 1, 0 or ``IGNORED``.
    """
    sure = labels != IGNORED
    losses = functional.binary_cross_entropy_with_logits(
        logits, labels.clamp(max=1), reduction="none")
    return (losses * sure).sum() / sure.sum().clamp(min=1)


@torch.no_grad()
def _channels(backbone, taps):
    """Channels of a backbone's tapped layers."""
    images = torch.zeros(1, 3, backbone.probe_side, backbone.probe_side)
    _, tapped = backbone.forward_with_taps(images, taps)
    return [each.shape[1] for each in tapped]
