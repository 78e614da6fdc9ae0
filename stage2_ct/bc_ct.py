"""The paper's method, BC-CT, and plain CAM, which is the same model without masks."""


import torch

from common.backbones import Backbone
from stage2_ct.losses import MASK_LOSSES, classification_loss
from stage2_ct.model import ClassificationModel, LocalizationMethod, Prediction
from stage2_ct.training_config import TrainingConfig


class BackgroundSupervised(LocalizationMethod):
    """A classification model that learns from labels and masks (Eq. 6).

    Args:
        classes: number of classes.
        config: TrainingConfig; uses its mask fields, ``width`` and ``last_layer``.
    """

    def __init__(self, backbone: Backbone, classes: int, config: TrainingConfig):
        super().__init__()
        self.mask_loss = MASK_LOSSES[config.mask_loss]
        self.mask_weight = config.mask_weight
        self.model = ClassificationModel(
            backbone, classes, config.width, config.mask_width, config.mask_input,
            config.last_layer)
        self.backbone = backbone

    def forward(self, images: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor,
                valid: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses of a batch by name; their sum is what training minimises.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].
            labels: (N,) int64.
            masks: (N, 1, H, W) float, 0 or 1.
            valid: (N,) bool, which masks may supervise.
        """
        prediction = self.model(images)
        mask_loss = self.mask_loss(prediction.mask_logits, masks, valid)
        return {"classification": classification_loss(prediction.logits, labels),
                "mask": self.mask_weight * mask_loss}

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction for (N, 3, H, W) float RGB in [0, 1]."""
        return self.model(images)


class PlainClassActivation(LocalizationMethod):
    """Class activation maps (Zhou et al., 2016): the same classifier, from labels alone.

    Arguments as for ``BackgroundSupervised``.
    """

    def __init__(self, backbone: Backbone, classes: int, config: TrainingConfig):
        super().__init__()
        self.model = ClassificationModel(
            backbone, classes, config.width, last_layer=config.last_layer)
        self.backbone = backbone

    def forward(self, images: torch.Tensor, labels: torch.Tensor,
                masks: torch.Tensor | None = None,
                valid: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The classification loss of a batch; masks are ignored."""
        return {"classification": classification_loss(self.model(images).logits, labels)}

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction without mask logits."""
        return self.model(images)
