"""The classification model (CT): class maps and a one-channel mask branch."""

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional

from common.backbones import Backbone


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Output of a localization method for N images."""

    logits: torch.Tensor
    """(N, C) float, before the softmax."""
    class_maps: torch.Tensor
    """(N, C, h, w) float, one channel per class, not normalised."""
    mask_logits: torch.Tensor | None = None
    """(N, 1, h, w) float, the mask map A before its sigmoid; None without a mask branch."""


class LocalizationMethod(nn.Module):
    """What training and localizing need of a method; ``forward`` gives the losses of a batch."""

    backbone: Backbone

    def predict(self, images: torch.Tensor) -> Prediction:
        """Prediction for (N, 3, H, W) float RGB in [0, 1]."""
        raise NotImplementedError


def convolution_block(channels: int, width: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions of ``width`` filters and one 1x1 to ``outputs`` (section 5.1)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, outputs, 1))


def class_head(channels: int, width: int, classes: int) -> nn.Sequential:
    """The initialised class block that every method shares: features to class maps."""
    block = convolution_block(channels, width, classes)
    initialise(block)
    return block


MASK_INPUTS = ("class maps", "features")


class ClassificationModel(nn.Module):
    """Backbone, class maps, global average pooling; and a mask branch.

    Paper, sections 4.1 and 5.1. The paper's mask branch reads the class maps; it may read the
    features instead that the class block makes them from. Section 4.1 puts a fully connected layer
    behind the pooling; section 5.1 does not, and with one a class map no longer adds up to its
    class's logit, so it is an option and off by default.

    Args:
        classes: number of classes C.
        width: filters of the class block's 3x3 convolutions; 1024 in the paper.
        mask_width: the same of the mask branch; None for no mask branch, as in a plain CAM.
        mask_input: what the mask branch reads, one of ``MASK_INPUTS``.
        last_layer: whether to put section 4.1's fully connected layer behind the pooling.
    """

    def __init__(self, backbone: Backbone, classes: int, width: int = 1024,
                 mask_width: int | None = None, mask_input: str = "class maps",
                 last_layer: bool = False):
        super().__init__()
        self.backbone = backbone
        self.class_block = class_head(backbone.channels, width, classes)
        self.reads_features = mask_input == "features"
        self.mask_block = None
        if mask_width is not None:
            read = width if self.reads_features else classes
            self.mask_block = convolution_block(read, mask_width, 1)
            initialise(self.mask_block)
        self.last_layer = nn.Linear(classes, classes) if last_layer else None

    def forward(self, images: torch.Tensor) -> Prediction:
        """Class logits, class maps and mask logits.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].
        """
        features = self.class_block[:-1](self.backbone(images))  # (N, width, h, w)
        class_maps = self.class_block[-1](features)  # (N, C, h, w)
        logits = class_maps.mean(dim=(2, 3))  # (N, C)
        if self.last_layer is not None:
            logits = self.last_layer(logits)
        mask_logits = None
        if self.mask_block is not None:
            mask_logits = self.mask_block(features if self.reads_features else class_maps)
        return Prediction(logits, class_maps, mask_logits)


def upsample(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps (N, K, h, w) at the image's size (height, width), bilinear."""
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def stretch(maps: torch.Tensor) -> torch.Tensor:
    """Each of the maps (N, K, H, W) moved and scaled to the range 0 to 1; a constant one to 0."""
    lowest = maps.amin(dim=(2, 3), keepdim=True)
    span = maps.amax(dim=(2, 3), keepdim=True) - lowest
    return torch.where(span > 0, (maps - lowest) / span.clamp_min(1e-12), 0.0)


def maps_of(class_maps: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The map of one class per image: (N, C, h, w) and (N,) int64 to (N, 1, h, w)."""
    rows = torch.arange(len(classes), device=classes.device)
    return class_maps[rows, classes][:, None]


def initialise(block: Iterable[nn.Module]) -> None:
    """Draw a block's weights below He's scale, the last convolution's small.

    The features of a network pretrained without batch norm are large; at full scale the first steps
    diverge.

    Args:
        block: iterable of layers, the last convolution among them being the output.
    """
    convolutions = [layer for layer in block if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            layer.weight.mul_(0.5)
    nn.init.normal_(convolutions[-1].weight, std=0.01)
