"""Networks of timm as backbones: convolutional ones and vision transformers.

timm gives the output of each stage of a network as maps, whatever passes between its layers:
maps, tokens with or without class tokens, or maps with the channels last. Gradients at those
outputs need a tensor that the rest of the network depends on, and the maps are copies. So a hook
behind each stage that is read replaces its output by one that is made from the maps.
"""

import contextvars
import copy
import difflib
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from common.config import ConfigError
from common.feature_extractor import Backbone, Extractor, Outputs, Scaling
from common.stored_weights import imagenet_member, load_state, names_file, read_state

PREFIX = "timm:"
# Arguments by which a network takes images of other sizes than it was trained for; it gets the
# first that it knows.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})

# Maps of the stages that the running ``forward_with_taps`` reads; each thread has its own.
_recorded: contextvars.ContextVar[dict[int, torch.Tensor | None] | None] = contextvars.ContextVar(
    "recorded", default=None)


class StagedNetwork(nn.Module):
    """A network of timm up to its last feature map.

    Args:
        network: a network as ``timm.create_model`` builds it.
        taps: indices of the stages whose outputs can be read on the way.
    """

    def __init__(self, network: nn.Module, taps: Sequence[int]):
        super().__init__()
        self.network: Any = network
        self.taps = tuple(taps)
        self.stages = [dict(stage) for stage in network.feature_info]
        self.patch = self.stages[0]["reduction"] if hasattr(network, "patch_embed") else 1
        for index in taps:
            network.get_submodule(self.stages[index]["module"]).register_forward_hook(
                functools.partial(self._tap, index))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The last stage's maps, normalised if the network normalises them: (N, C, h, w) float."""
        return self.maps(images, [len(self.stages) - 1], norm=True)[0]

    def maps(self, images: torch.Tensor, stages: Sequence[int],
             norm: bool = False) -> list[torch.Tensor]:
        """Outputs of some stages, each (N, c, h, w) float; no gradient can be taken at them.

        Images that cannot be cut into whole patches are stretched until they can.
        """
        size = [math.ceil(side / self.patch) * self.patch for side in images.shape[2:]]
        if size != list(images.shape[2:]):
            images = functional.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.network.forward_intermediates(
            images, indices=list(stages), norm=norm, stop_early=True, intermediates_only=True)

    def _tap(self, index, module, inputs, output):
        """Hook behind a stage: record its maps, and let the output depend on them."""
        recorded = _recorded.get()
        if recorded is None or index not in recorded:
            return None
        channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        prefix = getattr(self.network, "num_prefix_tokens", 0) if output.ndim == 3 else 0
        if output.ndim == 3:  # tokens, of a square image
            side = math.isqrt(output.shape[1] - prefix)
            maps = output[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
        else:
            maps = output.permute(0, 3, 1, 2) if channels_last else output
        if torch.is_grad_enabled() and not maps.requires_grad:
            maps.requires_grad_()
        recorded[index] = maps
        if output.ndim == 3:
            tokens = maps.flatten(2).transpose(1, 2)
            return torch.cat([output[:, :prefix], tokens], 1) if prefix else tokens
        return maps.permute(0, 2, 3, 1) if channels_last else maps


class _Maps(nn.Module):
    """The outputs of some stages, by name."""

    def __init__(self, staged, names):
        super().__init__()
        self.staged, self.names = staged, names

    def forward(self, images):
        return dict(zip(self.names, self.staged.maps(images, list(map(int, self.names)))))


class TimmBackbone(Backbone):
    """A network of timm, whose layers are its stages.

    Nothing in it depends on whether it is trained: batch norm runs on its stored statistics as in
    every backbone, and nothing is dropped at random.

    Args:
        name: ``timm:NAME``.
        network: as ``timm.create_model`` builds it.
        probe_side: see ``Backbone``; that of the only images it takes, if there are no others.
    """

    def __init__(self, name: str, network: Any, probe_side: int = Backbone.probe_side):
        stages, data = list(network.feature_info), _data_config(network)
        taps = _spread(len(stages))
        network.prune_intermediate_layers([len(stages) - 1], prune_norm=False, prune_head=True)
        super().__init__(
            name, nn.Sequential(StagedNetwork(network, taps)), stages[-1]["num_chs"],
            stages[-1]["reduction"], taps,
            scaling=Scaling(tuple(data["mean"]), tuple(data["std"])))
        self.probe_side = probe_side

    @property
    def staged(self) -> Any:
        """The network; see ``StagedNetwork``."""
        return self.layers[0]

    def forward_with_taps(self, images: torch.Tensor,
                          taps: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """As for ``Backbone``, of square images; the indices are those of stages."""
        recorded: dict[int, Any] = dict.fromkeys(taps)
        token = _recorded.set(recorded)
        try:
            features = self(images)
        finally:
            _recorded.reset(token)
        return features, [recorded[index] for index in taps]

    def extractor(self, features: bool, pixels: bool = True) -> Extractor:
        """As for ``Backbone``; the tail's input is the scaled images."""
        if features:
            return lambda images: Outputs(*self.forward_with_taps(images, self.taps),
                                          self.scaled(images))
        return lambda images: Outputs(None, self._maps(images) if pixels else [],
                                      self.scaled(images))

    def tail(self) -> nn.Module:
        """As for ``Backbone``: the whole network, since timm has no way to enter it at a stage.

        Only the weights of its last stages, a quarter of all, require gradients.
        """
        stages = len(self.staged.stages)
        changed = copy.deepcopy(self).requires_grad_(True)
        changed.freeze(stages - max(1, stages // 4))
        return _Maps(changed.staged, self.pixel_taps)

    def _maps(self, images):
        """Outputs of ``pixel_taps``, list of (N, c, h, w) float; no gradient reaches them."""
        return self.staged.maps(self.scaled(images), self.taps)

    def freeze(self, count: int) -> None:
        """Exclude all that comes before the end of a stage, the ``count``-th, from training.

        Raises:
            ValueError: there are not so many stages.
        """
        stages, network = self.staged.stages, self.staged.network
        if count > len(stages):
            raise ValueError(f"{self.name} has {len(stages)} stages, so the first {count} cannot "
                             "be frozen (--set frozen_layers=N)")
        if count == 0:
            return
        stage, modules = stages[count - 1]["module"], list(network.named_modules())
        last = max(index for index, (name, _) in enumerate(modules)
                   if f"{name}.".startswith(f"{stage}."))
        for _, module in modules[:last + 1]:  # in the order in which the network uses them
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> "TimmBackbone":
        super().train(mode)
        self.layers.eval()
        return self

    @torch.no_grad()
    def require_taps(self) -> None:
        """Refuse networks of whose stages the outputs are not what timm gives as their maps.

        Raises:
            ValueError: it is one of them.
        """
        images = torch.rand(1, 3, self.probe_side, self.probe_side,
                            generator=torch.Generator().manual_seed(0))
        maps = self._maps(images)
        try:
            _, tapped = self.forward_with_taps(images, self.taps)
            same = all(map(torch.equal, tapped, maps))
        except (AttributeError, TypeError, RuntimeError):  # no tensor, or not one like the maps
            same = False
        if not same:
            raise _unsuitable(self.name)


def is_timm(name: str) -> bool:
    """Whether a backbone's name is that of a network of timm, ``timm:NAME``."""
    return name.startswith(PREFIX)


def tagged_name(name: str) -> str:
    """``timm:NAME.TAG``, with the tag of timm's usual weights where none is given.

    So that whatever is made with ``timm:NAME`` says which weights these were, and keeps its scaling
    when a later timm prefers others.

    Raises:
        ConfigError: timm is not installed, or has no such network or weights; names similar ones.
    """
    timm, short = _timm(), name.removeprefix(PREFIX)
    architecture, _, tag = short.partition(".")
    if not timm.is_model(architecture):
        similar = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(PREFIX + one for one in similar)}?" if similar else (
            ": timm.list_models() lists them")
        raise ConfigError(f"timm {timm.__version__} has no network '{architecture}'{hint}")
    try:
        known = timm.get_pretrained_cfg(short)
    except RuntimeError as error:
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(f"timm {timm.__version__} has no weights '{tag}' of {architecture}; it "
                          f"has {', '.join(tags) or 'none'}") from error
    return f"{PREFIX}{architecture}" + (f".{known.tag}" if known and known.tag else "")


def require_word(weights: str | Path) -> None:
    """ValueError if a word for weights, not a path, is one for torchvision's networks."""
    if imagenet_member(weights) not in (None, "V1"):
        raise ValueError(f"--weights {weights} is for torchvision's networks: timm's weights are "
                         "named with the network, as in timm:resnet50.a1_in1k")


def own_side(name: str) -> int:
    """Side of the square images that a network was made for, in pixels."""
    return _data_config(_on_meta(name, False)[0])["input_size"][1]


@functools.lru_cache
def accepts_side(side: int, name: str, fine: bool = False) -> bool:
    """Whether a network takes squares of a side in pixels; found out without computing anything.

    Raises:
        ValueError: the network cannot be a backbone, or none with ``fine``.
    """
    staged = _on_meta(name, fine)[1]
    try:
        return staged(torch.zeros(1, 3, side, side, device="meta")).numel() > 0
    except (AssertionError, RuntimeError, ValueError):  # what networks say of other sizes
        return False


@functools.lru_cache(maxsize=4)
def _on_meta(name, fine):
    """(network, the same as a StagedNetwork), without memory for the weights."""
    with torch.device("meta"):
        network = _create(name, fine).eval()
    side = _data_config(network)["input_size"][1]
    try:
        staged = StagedNetwork(network, _spread(len(network.feature_info)))
        staged(torch.zeros(1, 3, side, side, device="meta"))
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        raise _unsuitable(name) from error
    return network, staged


def build(name: str, weights: str | Path, fine: bool = False) -> TimmBackbone:
    """Build a network of timm as a backbone; arguments as for ``build_backbone``.

    Raises:
        ValueError: the network cannot be a backbone, or the weights do not fit or cannot be had.
    """
    from_file = names_file(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as for torchvision's: "none" names one network
        probe_side = Backbone.probe_side if accepts_side(Backbone.probe_side, name, fine) else (
            own_side(name))
        if weights == "none" or from_file:
            network = _create(name, fine)
        else:
            require_word(weights)
            network = _pretrained(name, fine)
    backbone = TimmBackbone(name, network, probe_side)
    if from_file:
        load_state(network, _converted(read_state(weights), network), weights, name)
    backbone.eval().require_taps()
    return backbone


def _timm() -> ModuleType:
    """timm, or a ConfigError that says how to install it."""
    try:
        import timm
    except ImportError as error:
        raise ConfigError("a backbone timm:NAME needs the package timm: pip install 'bcct[timm]'"
                          ) from error
    return timm


def _create(name, fine, **options):
    """timm's network without a head, for images of any size where it has a way for that.

    Raises:
        ValueError: it cannot keep its last stage at twice the resolution.
    """
    if not fine:
        return _create_for_any_size(name, options)
    stride = _on_meta(name, False)[1].stages[-1]["reduction"] // 2
    try:
        return _create_for_any_size(name, {**options, "output_stride": stride})
    except (AssertionError, TypeError) as error:
        raise ValueError(f"{name} cannot keep its last stage at twice the resolution: leave "
                         "--set fine=true out") from error


def _create_for_any_size(name, options):
    timm = _timm()
    for more in ANY_SIZE:
        try:
            return timm.create_model(name.removeprefix(PREFIX), num_classes=0, **options, **more)
        except TypeError as error:  # an argument that this network does not have
            if not any(argument in str(error) for argument in more):
                raise


def _pretrained(name, fine):
    """timm's network with its pretrained weights, from timm's cache or from the network."""
    known = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    place = known and (known.hf_hub_id or known.url)
    if not place:
        raise ValueError(f"timm has no pretrained weights of {name}: give a file with --weights "
                         "PATH, or say --weights none")
    try:
        return _create(name, fine, pretrained=True)
    except (OSError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"the pretrained weights of {name} could not be fetched ({reason}); give "
                         f"a file with --weights PATH, such as model.safetensors of {place} on the "
                         "Hugging Face Hub") from error


def _converted(state, network):
    """A state dict with timm's names, where timm knows how to convert that of the authors."""
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return convert(state, network)
    except (AttributeError, KeyError, RuntimeError):  # of another network, which loading it tells
        return state


def _data_config(network):
    """What the network's weights expect of images: ``mean``, ``std``, ``input_size``."""
    from timm.data import resolve_model_data_config

    return resolve_model_data_config(network)


def _spread(count):
    """Three stages spread evenly over the second half of ``count``, the last among them."""
    return tuple(dict.fromkeys(
        round(place) - 1 for place in (math.ceil(count / 2), (math.ceil(count / 2) + count) / 2,
                                       count)))


def _unsuitable(name):
    return ValueError(f"{name} cannot be a backbone here: timm does not give the outputs of its "
                      "stages as maps that gradients can be taken at; take another network, such "
                      "as timm:resnet50 or timm:vit_small_patch16_224")
