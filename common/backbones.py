"""The convolutional part of torchvision's networks, behind one builder."""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torchvision
from torch import nn

from common import tiny
from common.config import lookup
from common.files import file_sha256, load_checkpoint
from common.stored_weights import download, plain_state, require_finite

LARGEST_OF_THE_SMALLEST = 512  # pixels: no network needs larger images than that
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Where a torchvision network's convolutional layers are and what they give."""

    network: Callable[[], nn.Module]
    """Builds the whole network without weights."""
    stages: tuple[str, ...]
    """Its children that make the feature map, in order; one Sequential is taken apart."""
    channels: int
    """Channels of the feature map."""
    stride: int
    """Input pixels per pixel of the feature map."""
    taps: tuple[int, ...]
    """Layers whose output a layer-wise gradient map reads, first to last."""
    pixel_taps: tuple[str, ...] | None = None
    """Modules whose outputs a unit reads at every pixel, by their names among the layers ("14" or
    "14.conv.0"); None for ``taps``."""
    drop_last: int = 0
    """Layers left out at the end: a final pooling that only the classifier wants."""
    strided: bool = False
    """Whether it is a strided convolution that halves the feature map last, not a pooling layer."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean of each RGB channel that the weights expect to be taken off, in [0, 1]."""
    std: tuple[float, ...] = IMAGENET_STD
    """Standard deviation of each RGB channel that the weights expect, in [0, 1]."""


def _torchvision(name, **arguments):
    return lambda: torchvision.models.get_model(name, weights=None, **arguments)


def _tiny():
    return nn.ModuleDict({"features": tiny.tiny_features()})


ARCHITECTURES = {
    "vgg16": Architecture(
        _torchvision("vgg16"), ("features",), 512, 16, (15, 22, 25, 27, 29), drop_last=1),
    "alexnet": Architecture(
        _torchvision("alexnet"), ("features",), 256, 16, (4, 7, 9, 11), drop_last=1),
    # Up to inception4e, as in CAM (Zhou et al., 2016): 14x14 maps.
    "googlenet": Architecture(
        _torchvision("googlenet", aux_logits=False, init_weights=False),
        ("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b",
         "maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        832, 16, (6, 8, 10, 11, 12), mean=(0.5,) * 3, std=(0.5,) * 3),
    # Up to Mixed_6e, as in SPG.
    "inception_v3": Architecture(
        _torchvision("inception_v3", aux_logits=False, init_weights=False),
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1",
         "Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b",
         "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        768, 16, (3, 6, 9, 13, 14), mean=(0.5,) * 3, std=(0.5,) * 3),
    "squeezenet1_1": Architecture(
        _torchvision("squeezenet1_1"), ("features",), 512, 16, (3, 4, 7, 11, 12),
        pixel_taps=("7", "10", "12")),
    "mobilenet_v2": Architecture(
        _torchvision("mobilenet_v2"), ("features",), 1280, 32, (11, 12, 13),
        pixel_taps=("10", "14.conv.0", "16"), strided=True),
    "resnet50": Architecture(
        _torchvision("resnet50"),
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
        2048, 32, (4, 5, 6, 7), strided=True),
    "tiny": Architecture(_tiny, ("features",), tiny.CHANNELS, tiny.STRIDE, (9, 12, 14, 16)),
}


class Backbone(nn.Module):
    """A convolutional feature extractor that takes plain RGB.

    Batch-norm layers always run on their stored statistics: batches here are small, stage 1 is
    frozen, and a step then gives the same result however a batch is split over processes.

    Attributes:
        name: str, its key in ``ARCHITECTURES``.
        layers: nn.Sequential, the layers in order; their indices are what ``taps`` name.
        channels: int, channels of the feature map.
        stride: int, input pixels per pixel of the feature map.
        taps: tuple of int, the layers that a layer-wise gradient map reads.
        pixel_taps: tuple of str, the modules among ``layers`` that a unit reads at every pixel.
        fully_connected: nn.Sequential from the feature map to fc7's output, or None.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, layers: nn.Sequential, stride: int,
                 fully_connected: nn.Sequential | None = None):
        super().__init__()
        architecture = ARCHITECTURES[name]
        self.name = name
        self.layers = layers
        self.channels = architecture.channels
        self.stride = stride
        self.taps = architecture.taps
        self.pixel_taps = architecture.pixel_taps or tuple(map(str, architecture.taps))
        self.fully_connected = fully_connected
        for buffer in ("mean", "std"):
            values = torch.tensor(getattr(architecture, buffer)).view(1, 3, 1, 1)
            self.register_buffer(buffer, values, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of RGB images.

        Args:
            images: (N, 3, H, W) float in [0, 1].

        Returns:
            (N, channels, about H / stride, about W / stride) float.
        """
        return self.layers((images - self.mean) / self.std)

    def forward_with_taps(self, images: torch.Tensor,
                          taps: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features, and the outputs of the layers with the indices ``taps``.

        Where gradients are recorded, they reach every tapped output; below the first one nothing
        is recorded unless the images or the weights themselves want a gradient.

        Returns:
            ((N, channels, h, w) float, list of (N, c, h, w) float in the order of ``taps``).
        """
        outputs = {}
        hidden = (images - self.mean) / self.std
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if index in taps:
                if torch.is_grad_enabled() and not hidden.requires_grad:
                    hidden.requires_grad_()
                outputs[index] = hidden
        return hidden, [outputs[index] for index in taps]

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


def build_backbone(name: str, weights: str | Path = "imagenet", fine: bool = False,
                   fully_connected: bool = False) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        name: key of ``ARCHITECTURES``.
        weights: ``"imagenet"`` (torchvision downloads them, honouring TORCH_HOME), ``"none"``
            (random), or the path of a state dict: of the whole network or of its convolutional
            part, in single or half precision.
        fine: keep the last stage at twice the resolution: the last pooling gets stride 1, as
            ACoL does with VGG-16 (28x28 for 224x224), or where convolutions do the halving, the
            last of them, and those behind it are dilated so that each still sees what it saw.
        fully_connected: also keep the network's own fc6 and fc7 (VGG-16 and AlexNet).

    Returns:
        Backbone in evaluation mode.

    Raises:
        ConfigError: no such network.
        ValueError: the network cannot do what is asked, or the weights do not fit it (names the
            missing keys).
    """
    architecture = lookup("backbone", name, ARCHITECTURES)
    network, layers, classifier = _without_memory(name, fine, fully_connected)
    stride = architecture.stride // 2 if fine else architecture.stride
    parts = [(stage, getattr(network, stage)) for stage in architecture.stages]
    if fully_connected:
        parts.append(("classifier", network.classifier))
    for module in (layers, classifier):
        if module is not None:
            module.to_empty(device="cpu")
    if weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # "none" names one network, so that what is made with it has a key
            for module in filter(None, (layers, classifier)):
                _initialise(module)
    else:
        _load(name, weights, architecture, parts)
    _not_in_place(layers)
    return Backbone(name, layers, stride, classifier).eval()


def _without_memory(name, fine, fully_connected):
    """(whole network, its layers, fc6 and fc7 or None) without any memory for their weights."""
    architecture = lookup("backbone", name, ARCHITECTURES)
    with torch.device("meta"):  # VGG-16's unused classifier alone would take 0.5 GB
        network = architecture.network()
    layers = _stages(network, architecture)
    if fine:
        (_dilate if architecture.strided else _refine_last_pool)(layers)
    return network, layers, _fully_connected(name, network) if fully_connected else None


def smallest_side(name: str, fine: bool = False, fully_connected: bool = False) -> int:
    """Side of the smallest square that a backbone takes, in pixels; arguments as to build it."""
    return 1 + bisect.bisect_left(
        range(1, LARGEST_OF_THE_SMALLEST), True,
        key=lambda side: takes_side(side, name, fine, fully_connected))


@functools.lru_cache
def takes_side(side: int, name: str, fine: bool = False, fully_connected: bool = False) -> bool:
    """Whether anything is left of a square of a side in pixels behind a backbone's last layer.

    Found out without computing anything; the other arguments are as for ``build_backbone``.
    """
    parts = [part for part in _without_memory(name, fine, fully_connected)[1:] if part is not None]
    try:
        return nn.Sequential(*parts).eval()(
            torch.zeros(1, 3, side, side, device="meta")).numel() > 0
    except RuntimeError:  # what torch says when nothing is left of an image
        return False


def require_side(side: int, name: str, fine: bool = False, fully_connected: bool = False) -> None:
    """Refuse images that are too small for a backbone.

    Raises:
        ValueError: names the smallest side.
    """
    if not takes_side(side, name, fine, fully_connected):
        smallest = smallest_side(name, fine, fully_connected)
        raise ValueError(f"images of {side} x {side} pixels are too small for {name}, of which "
                         f"nothing would be left; the smallest are {smallest} x {smallest} "
                         "(--image-size)")


def weights_identity(weights: str | Path) -> str:
    """The identity of a set of weights: a word, or the digest of a file's bytes.

    Raises:
        ValueError: no such file.
    """
    if weights in ("imagenet", "none"):
        return weights
    return file_sha256(weights_file(weights))


def weights_file(weights: str | Path) -> Path:
    """The file of some weights; ValueError where there is none."""
    if not Path(weights).is_file():
        raise ValueError(f"weights {weights}: no such file (or say imagenet, or none)")
    return Path(weights)


def _stages(network, architecture):
    """The convolutional layers of a network as one flat Sequential."""
    if len(architecture.stages) == 1:
        layers = list(getattr(network, architecture.stages[0]).children())
    else:
        layers = [getattr(network, stage) for stage in architecture.stages]
    return nn.Sequential(*layers[:len(layers) - architecture.drop_last])


def _refine_last_pool(layers):
    """Let the last pooling layer keep the size."""
    last = max(index for index, layer in enumerate(layers)
               if isinstance(layer, nn.MaxPool2d) and layer.stride == 2)
    layers[last] = nn.MaxPool2d(3, stride=1, padding=1)


def _dilate(layers):
    """Let the last halving layer keep the size, with the same receptive field behind it."""
    halving = max(index for index, layer in enumerate(layers)
                  if any(map(_halves, _convolutions(layer))))
    behind = False
    for convolution in _convolutions(layers[halving:]):
        if _halves(convolution):
            convolution.stride, behind = (1, 1), True
        elif behind and convolution.kernel_size != (1, 1):
            convolution.dilation = (2, 2)
            convolution.padding = tuple(2 * margin for margin in convolution.padding)


def _convolutions(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _halves(convolution):
    return convolution.stride == (2, 2)


def _fully_connected(name, network):
    """Pooling, fc6 and fc7 of VGG-16 or AlexNet, up to fc7's rectified output."""
    if name not in ("vgg16", "alexnet"):
        raise ValueError(f"{name} has no fc6 and fc7: a head on them is for vgg16 and alexnet")
    last_linear = [index for index, layer in enumerate(network.classifier)
                   if isinstance(layer, nn.Linear)][-1]
    return nn.Sequential(network.features[-1], network.avgpool, nn.Flatten(),
                         *list(network.classifier)[:last_linear])


def _initialise(module):
    """Random weights that keep the signal's scale through many rectified layers."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()


def _load(name, weights, architecture, parts):
    """Load the named parts of a network from a state dict, wherever it comes from."""
    if weights == "imagenet":
        if name == "tiny":
            raise ValueError("tiny has no ImageNet weights: use --weights demo/tiny.pth")
        state = download(torchvision.models.get_model_weights(name).IMAGENET1K_V1, name)
    else:
        state = plain_state(load_checkpoint(weights_file(weights)))
    for part, module in parts:
        wanted = {key for key, tensor in module.state_dict().items() if not tensor.is_meta}
        found = {key.removeprefix(part + "."): tensor for key, tensor in state.items()
                 if key.startswith(part + ".")}
        missing = sorted(f"{part}.{key}" for key in wanted - set(found))
        if missing:
            shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise ValueError(f"weights {weights} do not fit {name}: {len(missing)} keys are "
                             f"missing ({shown})")
        require_finite({key: found[key] for key in wanted}, weights)
        try:
            # Floats are cast to the module's own precision by the copy.
            module.load_state_dict({key: found[key] for key in wanted}, strict=False)
        except RuntimeError as error:
            raise ValueError(f"weights {weights} do not fit {name}: "
                             f"{str(error).splitlines()[-1].strip()}") from error


def _not_in_place(layers):
    """Rectifiers that leave their input alone, so that a tapped output stays what it was."""
    for module in layers.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
