"""The convolutional part of torchvision's networks, and timm's, behind one builder."""

import bisect
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from common import timm_backbones, tiny
from common.config import ConfigError, lookup
from common.feature_extractor import Backbone, Scaling
from common.stored_weights import (download, imagenet_member, load_state, names_file, read_state,
                                   weights_file)
from common.timm_backbones import is_timm

LARGEST_OF_THE_SMALLEST = 512  # pixels: no network needs larger images than that


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
    tail_start: int
    """Index of the first layer that ``Backbone.tail`` copies: the first whose output has
    the stride 16 (tiny: 8)."""
    pixel_taps: tuple[str, ...] | None = None
    """Modules whose outputs a unit reads at every pixel, by their names among the layers ("14" or
    "14.conv.0"); None for ``taps``."""
    drop_last: int = 0
    """Layers left out at the end: a final pooling that only the classifier wants."""
    strided: bool = False
    """Whether it is a strided convolution that halves the feature map last, not a pooling layer."""
    scaling: Scaling = Scaling()
    """What its usual weights expect of an image."""


def _torchvision(name, **arguments):
    return lambda: torchvision.models.get_model(name, weights=None, **arguments)


def _tiny():
    return nn.ModuleDict({"features": tiny.tiny_features()})


ARCHITECTURES = {
    "vgg16": Architecture(
        _torchvision("vgg16"), ("features",), 512, 16, (15, 22, 25, 27, 29), 24, drop_last=1),
    "alexnet": Architecture(
        _torchvision("alexnet"), ("features",), 256, 16, (4, 7, 9, 11), 6, drop_last=1),
    # Up to inception4e, as in CAM (Zhou et al., 2016): 14x14 maps.
    "googlenet": Architecture(
        _torchvision("googlenet", aux_logits=False, init_weights=False),
        ("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b",
         "maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        832, 16, (6, 8, 10, 11, 12), 8, scaling=Scaling((0.5,) * 3, (0.5,) * 3)),
    # Up to Mixed_6e, as in SPG.
    "inception_v3": Architecture(
        _torchvision("inception_v3", aux_logits=False, init_weights=False),
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1",
         "Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b",
         "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        768, 16, (3, 6, 9, 13, 14), 10, scaling=Scaling((0.5,) * 3, (0.5,) * 3)),
    "squeezenet1_1": Architecture(
        _torchvision("squeezenet1_1"), ("features",), 512, 16, (3, 4, 7, 11, 12), 9,
        pixel_taps=("7", "10", "12")),
    "mobilenet_v2": Architecture(
        _torchvision("mobilenet_v2"), ("features",), 1280, 32, (11, 12, 13), 7,
        pixel_taps=("10", "14.conv.0", "16"), strided=True),
    "resnet50": Architecture(
        _torchvision("resnet50"),
        ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
        2048, 32, (4, 5, 6, 7), 6, strided=True),
    "tiny": Architecture(_tiny, ("features",), tiny.CHANNELS, tiny.STRIDE, (9, 12, 14, 16), 10),
}


def build_backbone(name: str, weights: str | Path = "imagenet", fine: bool = False,
                   fully_connected: bool = False,
                   scaled_as: str | Path | None = None) -> Backbone:
    """Build a backbone and load its weights.

    Args:
        name: key of ``ARCHITECTURES``, or ``timm:NAME``.
        weights: ``"imagenet"`` (torchvision or timm downloads them; with torchvision
            ``"imagenet:NAME"`` for others of its weights, such as ``"imagenet:FEATURES"`` for
            VGG-16's original ones), ``"none"`` (random), or the path of a state dict: of the whole
            network or of its convolutional part, in single or half precision.
        fine: keep the last stage at twice the resolution: the last pooling gets stride 1, as
            ACoL does with VGG-16 (28x28 for 224x224), or where convolutions do the halving, the
            last of them, and those behind it are dilated so that each still sees what it saw.
        fully_connected: also keep the network's own fc6 and fc7 (VGG-16 and AlexNet).
        scaled_as: the weights, or their identity, whose input scaling it takes, where their values
            are loaded afterwards; None for ``weights``.

    Returns:
        Backbone in evaluation mode.

    Raises:
        ConfigError: no such network.
        ValueError: the network cannot do what is asked, or the weights do not fit it (names the
            missing keys).
    """
    name = full_name(name)
    if is_timm(name):
        _require_no_fully_connected(name, fully_connected)
        backbone = timm_backbones.build(name, weights, fine)
        _not_in_place(backbone.layers)
        return backbone.eval()
    architecture = ARCHITECTURES[name]
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
        _load(name, weights, parts)
    _not_in_place(layers)
    scaling = _scaling(name, weights if scaled_as is None else scaled_as)
    return Backbone(name, layers, architecture.channels, stride, architecture.taps,
                    architecture.pixel_taps, architecture.tail_start, scaling,
                    classifier).eval()


def full_name(name: str) -> str:
    """The name of a backbone; of a network of timm, with the name of its pretrained weights.

    Raises:
        ConfigError: no such network; names similar ones.
    """
    if is_timm(name):
        return timm_backbones.tagged_name(name)
    try:
        lookup("backbone", name, ARCHITECTURES)
    except ConfigError as error:
        raise ConfigError(f"{error}, and timm:NAME for any of timm's networks") from error
    return name


def require_weights(name: str, weights: str | Path) -> None:
    """Refuse weights that a backbone cannot have, before anything is read.

    Raises:
        ValueError: there is no such file, or there are no such weights of this network.
    """
    if names_file(weights):
        weights_file(weights)
    elif is_timm(name):
        timm_backbones.require_word(weights)
    else:
        _member(name, weights)


def weights_source(name: str, weights: str | Path) -> str:
    """Where a backbone's weights come from, in words for a log."""
    if names_file(weights):
        return f"weights of {name}: {weights}"
    if imagenet_member(weights) is None:
        return f"weights of {name}: random"
    if is_timm(name):
        return f"weights of {name}: timm's pretrained weights"
    return f"weights of {name}: torchvision's {_member(name, weights)}"


def _member(name, weights) -> Any:
    """torchvision's enumerated weights of a network that ``weights`` names; None for no such word.

    Raises:
        ValueError: there are none of this name.
    """
    member = imagenet_member(weights)
    if member is None:
        return None
    if name == "tiny":
        raise ValueError("tiny has no ImageNet weights: use --weights demo/tiny.pth")
    known = {imagenet_member(f"imagenet:{one.name}"): one
             for one in torchvision.models.get_model_weights(name)}
    if member not in known:
        raise ValueError(f"{name} has no weights {weights}: torchvision has "
                         f"{', '.join(f'imagenet:{each}' for each in known)}")
    return known[member]


def _scaling(name, weights):
    """What some weights of a network of torchvision expect of an image.

    torchvision states it with each of its weights. The usual ones are those of the table: two
    networks scale again inside when torchvision builds them for its weights, and not here.
    """
    if imagenet_member(weights) in (None, "V1"):
        return ARCHITECTURES[name].scaling
    transforms = _member(name, weights).transforms()
    return Scaling(tuple(transforms.mean), tuple(transforms.std))


def _without_memory(name, fine, fully_connected):
    """(whole network, its layers, fc6 and fc7 or None) without any memory for their weights."""
    architecture = ARCHITECTURES[name]
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
    name = full_name(name)
    if is_timm(name):
        _require_no_fully_connected(name, fully_connected)
        return timm_backbones.accepts_side(side, name, fine)
    parts = [part for part in _without_memory(name, fine, fully_connected)[1:] if part is not None]
    try:
        return nn.Sequential(*parts).eval()(
            torch.zeros(1, 3, side, side, device="meta")).numel() > 0
    except RuntimeError:  # what torch says when nothing is left of an image
        return False


def require_side(side: int, name: str, fine: bool = False, fully_connected: bool = False) -> None:
    """Refuse images that are too small for a backbone, or not of the one size that it takes.

    Raises:
        ValueError: names the smallest side, or the one that the network was made for.
    """
    if takes_side(side, name, fine, fully_connected):
        return
    if is_timm(name):
        made_for = timm_backbones.own_side(name)
        raise ValueError(f"{name} does not take images of {side} x {side} pixels; it was made for "
                         f"{made_for} x {made_for} (--image-size {made_for})")
    smallest = smallest_side(name, fine, fully_connected)
    raise ValueError(f"images of {side} x {side} pixels are too small for {name}, of which nothing "
                     f"would be left; the smallest are {smallest} x {smallest} (--image-size)")


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
    _require_no_fully_connected(name, name not in ("vgg16", "alexnet"))
    last_linear = [index for index, layer in enumerate(network.classifier)
                   if isinstance(layer, nn.Linear)][-1]
    return nn.Sequential(network.features[-1], network.avgpool, nn.Flatten(),
                         *list(network.classifier)[:last_linear])


def _require_no_fully_connected(name, asked):
    """Refuse fc6 and fc7 of a network that has none, if they are asked for."""
    if asked:
        raise ValueError(f"{name} has no fc6 and fc7: a head on them is for vgg16 and alexnet")


def _initialise(module):
    """Random weights that keep the signal's scale through many rectified layers."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_parameters()


def _load(name, weights, parts):
    """Load the named parts of a network from a state dict, wherever it comes from."""
    member = _member(name, weights)
    state = read_state(weights) if member is None else download(member, name)
    for part, module in parts:
        load_state(module, state, weights, name, f"{part}.")


def _not_in_place(layers):
    """Rectifiers that leave their input alone, so that a tapped output stays what it was."""
    for module in layers.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
