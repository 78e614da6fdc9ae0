"""Adversarial complementary learning, ACoL (Zhang et al., CVPR 2018).

Two class heads read the same features. Where the first one's class map is high, the second one's
features are erased, so that it has to find other parts of the object.
"""


import torch

from common.backbones import Backbone
from stage2_ct.losses import classification_loss
from stage2_ct.model import LocalizationMethod, Prediction, class_head, maps_of, stretch
from stage2_ct.training_config import TrainingConfig

ERASE_FROM = 0.6  # of the normalised class map: the threshold that the source found best


class AdversarialErasing(LocalizationMethod):
    """Two class heads; the features that the first one uses most are erased for the second.

    Arguments as for ``BackgroundSupervised``.
    """

    def __init__(self, backbone: Backbone, classes: int, config: TrainingConfig):
        super().__init__()
        self.backbone = backbone
        self.first = class_head(backbone.channels, config.width, classes)
        self.second = class_head(backbone.channels, config.width, classes)

    def forward(self, images: torch.Tensor, labels: torch.Tensor,
                masks: torch.Tensor | None = None,
                valid: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The classification losses of both heads (source, algorithm 1); masks are ignored."""
        first, second = self._class_maps(images, labels)
        return {"classification": classification_loss(first.mean(dim=(2, 3)), labels),
                "erased classification": classification_loss(second.mean(dim=(2, 3)), labels)}

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction: the first head's logits, and the larger of both heads' normalised maps.

        No label is known here, so the predicted class decides what the second head does not see.
        (The published code hands in the true label.)
        """
        first, second = self._class_maps(images)
        return Prediction(first.mean(dim=(2, 3)), torch.maximum(stretch(first), stretch(second)))

    def _class_maps(self, images, labels=None):
        """Both heads' class maps, (N, C, h, w) each; without labels, of the predicted classes."""
        features = self.backbone(images)  # (N, channels, h, w)
        first = self.first(features)
        if labels is None:
            labels = first.mean(dim=(2, 3)).argmax(1)
        return first, self.second(erase(features, maps_of(first, labels)))


def erase(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Features without the pixels where a map, stretched to [0, 1], reaches ``ERASE_FROM``.

    Args:
        features: (N, K, h, w) float.
        maps: (N, 1, h, w) float.

    Returns:
        (N, K, h, w) float, zero where erased; no gradient reaches the maps.
    """
    return features * (stretch(maps.detach()) < ERASE_FROM)
