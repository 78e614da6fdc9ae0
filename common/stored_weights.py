"""Network weights that other programs have stored, as a plain state dict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# Under which names checkpoints keep the state dict, and what wrappers put before its keys.
HOLDERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net")
PREFIXES = ("module.", "_orig_mod.", "model.")


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
