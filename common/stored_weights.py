"""Network weights that other programs have stored, as a plain state dict."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.files import file_sha256, load_checkpoint

# Under which names checkpoints keep the state dict, and what wrappers put before its keys.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")


def names_file(weights: str | Path) -> bool:
    """Whether weights are the path of a file, and not one of the words ``none`` and ``imagenet``
    or ``imagenet:NAME``."""
    return weights != "none" and imagenet_member(weights) is None


def imagenet_member(weights: str | Path) -> str | None:
    """Which of torchvision's weights of a network are meant, "V1" by default; None if none are.

    Args:
        weights: as for ``build_backbone``; "imagenet:IMAGENET1K_V2" and "imagenet:V2" are the same.
    """
    word, _, member = str(weights).partition(":")
    if word != "imagenet":
        return None
    return member.upper().removeprefix("IMAGENET1K_") or "V1"


def weights_identity(weights: str | Path) -> str:
    """The identity of a set of weights: a word, or the digest of a file's bytes.

    Raises:
        ValueError: no such file.
    """
    if names_file(weights):
        return file_sha256(weights_file(weights))
    member = imagenet_member(weights)
    return str(weights) if member is None else "imagenet" if member == "V1" else (
        f"imagenet:{member}")


def weights_file(weights: str | Path) -> Path:
    """The file of some weights; ValueError where there is none."""
    if not Path(weights).is_file():
        raise ValueError(f"weights {weights}: no such file (or say imagenet, or none)")
    return Path(weights)


def absolute_weights(weights: str | Path) -> str:
    """Weights as they are named from any folder: words stay, a path becomes absolute."""
    return os.path.abspath(weights) if names_file(weights) else str(weights)


def read_state(weights: str | Path) -> dict[str, torch.Tensor]:
    """The state dict in a file that ``torch.save`` or safetensors wrote; see ``plain_state``.

    Raises:
        ValueError: there is no such file, it is damaged, or safetensors is not installed.
    """
    path = weights_file(weights)
    if path.suffix != ".safetensors":
        return plain_state(load_checkpoint(path))
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError(f"{path} needs the package safetensors: pip install 'bcct[timm]'"
                         ) from error
    try:
        return plain_state(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it again") from error


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor], weights: object, name: str,
               prefix: str = "") -> None:
    """Load what a module needs of a state dict; floats take the module's own precision.

    Args:
        module: a network or a part of one; keys that it lacks are left out.
        state: the state dict.
        weights: where it comes from, for messages.
        name: of the network, for messages.
        prefix: what the keys of this part begin with in the state dict.

    Raises:
        ValueError: keys are missing (names some), or tensors are of another size or not finite.
    """
    wanted = {key for key, tensor in module.state_dict().items() if not tensor.is_meta}
    found = {key.removeprefix(prefix): tensor for key, tensor in state.items()
             if key.startswith(prefix)}
    missing = sorted(f"{prefix}{key}" for key in wanted - set(found))
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ValueError(f"weights {weights} do not fit {name}: {len(missing)} keys are "
                         f"missing ({shown})")
    require_finite({key: found[key] for key in wanted}, weights)
    try:
        module.load_state_dict({key: found[key] for key in wanted}, strict=False)
    except RuntimeError as error:
        raise ValueError(f"weights {weights} do not fit {name}: "
                         f"{str(error).splitlines()[-1].strip()}") from error


def plain_state(stored: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, out of a checkpoint that wraps it.

    Args:
        stored: a state dict or a dict that holds one, its keys with or without the prefixes of
            ``DataParallel``, ``torch.compile`` and Lightning.

    Returns:
        dict from the network's own names to tensors.
    """
    while (inner := next((stored[name] for name in HOLDERS
                          if isinstance(stored.get(name), Mapping)), None)) is not None:
        stored = inner
    return {_without_prefixes(name): value for name, value in stored.items()
            if isinstance(value, torch.Tensor)}


def _without_prefixes(name):
    while prefix := next((each for each in PREFIXES if name.startswith(each)), ""):
        name = name.removeprefix(prefix)
    return name


def require_finite(state: Mapping[str, torch.Tensor], source: object) -> None:
    """Refuse weights with NaN or infinity.

    Args:
        state: dict from names to tensors.
        source: where they come from, for the message.

    Raises:
        ValueError: names the first tensor that has some.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"weights {source}: {name} holds NaN or infinity, so that nothing can "
                             "be computed with them; fetch or train them again")


def download(weights: Any, name: str) -> dict[str, torch.Tensor]:
    """torchvision's weights of a network, from where it keeps them or from the network.

    Args:
        weights: a member of one of torchvision's enumerations of weights.
        name: of the network, for the message.

    Returns:
        The state dict.

    Raises:
        ValueError: they could not be fetched; says what to do without a network.
    """
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # the latter for a file that is not the right one
        kept = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(
            f"the ImageNet weights of {name} could not be fetched ({error}); give a file with "
            f"--weights PATH, or put {weights.url} into {kept}, where torchvision looks "
            "first (TORCH_HOME moves it)") from error
