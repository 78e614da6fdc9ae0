"""The convolutional part of a network, as both stages use it."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Outputs(NamedTuple):
    """Outputs of a frozen backbone for N images, all from one pass."""

    features: torch.Tensor | None
    """(N, channels, h, w) float, the last layer's; None where they were not asked for."""
    pixels: list[torch.Tensor]
    """(N, c, h, w) float of each of ``pixel_taps``, in their order; [] where they were not asked
    for."""
    tail_input: torch.Tensor
    """(N, c, h, w) float, what ``Backbone.tail`` reads."""


Extractor = Callable[[torch.Tensor], Outputs]


@dataclasses.dataclass(frozen=True)
class Scaling:
    """What weights expect of each RGB channel of an image in [0, 1]."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean that is taken off."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation that the rest is divided by."""


class Backbone(nn.Module):
    """A convolutional feature extractor that takes plain RGB.

    Batch-norm layers always run on their stored statistics: batches here are small, stage 1 is
    frozen, and a step then gives the same result however a batch is split over processes.

    Args:
        name: what ``build_backbone`` calls it.
        layers: the layers in order; their indices are what ``taps`` name.
        channels: channels of the feature map.
        stride: input pixels per pixel of the feature map.
        taps: the layers that a layer-wise gradient map reads, first to last.
        pixel_taps: the modules among ``layers``, by name, that a unit reads at every pixel; None
            for ``taps``.
        tail_start: index of the first layer of ``tail``.
        scaling: what is done to the pixels before the first layer.
        fully_connected: from the feature map to fc7's output, or None.

    The arguments are also its attributes, except ``scaling``, which is ``mean`` and ``std``.
    """

    probe_side = 96
    """Side in pixels of a square that it takes, to find out the sizes of its outputs."""
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, layers: nn.Sequential, channels: int, stride: int,
                 taps: Sequence[int], pixel_taps: Sequence[str] | None = None,
                 tail_start: int = 1, scaling: Scaling = Scaling(),
                 fully_connected: nn.Sequential | None = None):
        super().__init__()
        self.name = name
        self.layers = layers
        self.channels = channels
        self.stride = stride
        self.taps = tuple(taps)
        self.pixel_taps = tuple(pixel_taps or map(str, taps))
        self.tail_start = tail_start
        self.fully_connected = fully_connected
        for buffer in ("mean", "std"):
            values = torch.tensor(getattr(scaling, buffer)).view(1, 3, 1, 1)
            self.register_buffer(buffer, values, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of RGB images.

        Args:
            images: (N, 3, H, W) float in [0, 1].

        Returns:
            (N, channels, about H / stride, about W / stride) float.
        """
        return self.layers(self.scaled(images))

    def scaled(self, images: torch.Tensor) -> torch.Tensor:
        """RGB images in [0, 1] as the first layer expects them."""
        return (images - self.mean) / self.std

    def forward_with_taps(self, images: torch.Tensor,
                          taps: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features, and the outputs of the layers with the indices ``taps``.

        Where gradients are recorded, they reach every tapped output; below the first one nothing
        is recorded unless the images or the weights themselves want a gradient.

        Returns:
            ((N, channels, h, w) float, list of (N, c, h, w) float in the order of ``taps``).
        """
        outputs = {}
        hidden = self.scaled(images)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if index in taps:
                if torch.is_grad_enabled() and not hidden.requires_grad:
                    hidden.requires_grad_()
                outputs[index] = hidden
        return hidden, [outputs[index] for index in taps]

    def extractor(self, features: bool, pixels: bool = True) -> Extractor:
        """A function of RGB images in [0, 1] that gives Outputs; it shares the layers.

        Args:
            features: whether to go on to the last layer, for what ``forward`` gives.
            pixels: whether to go on to the last of ``pixel_taps``.
        """
        last, before_tail = str(len(self.layers) - 1), str(self.tail_start - 1)
        taps = self.pixel_taps if pixels else ()
        wanted = (*taps, before_tail, *([last] if features else []))
        module = create_feature_extractor(self.layers, list(dict.fromkeys(wanted)))

        def extract(images):
            outputs = module(self.scaled(images))
            return Outputs(outputs[last] if features else None,
                           [outputs[tap] for tap in taps], outputs[before_tail])
        return extract

    def tail(self) -> nn.Module:
        """A copy of the layers from ``tail_start`` on; its weights require gradients.

        Returns:
            Module from ``Outputs.tail_input`` to a dict of (N, c, h, w) float: the outputs of
            those of ``pixel_taps`` that lie in it, and of the last layer.
        """
        names = [tap for tap in self.pixel_taps if int(tap.split(".")[0]) >= self.tail_start]
        layers = copy.deepcopy(self.layers[self.tail_start:]).requires_grad_(True)
        last = str(len(self.layers) - 1)
        return create_feature_extractor(layers, list(dict.fromkeys((*names, last)))).eval()

    def freeze(self, count: int) -> None:
        """Exclude the first ``count`` of ``layers`` from training; no gradient reaches them.

        Raises:
            ValueError: there are not so many layers.
        """
        if count > len(self.layers):
            raise ValueError(f"{self.name} has {len(self.layers)} layers, so the first {count} "
                             "cannot be frozen (--set frozen_layers=N)")
        self.layers[:count].requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self
