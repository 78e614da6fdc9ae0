"""Where a command computes: device, batch size for inference, decoding processes."""

import dataclasses

import torch

from common.loading import default_workers
from common.memory import batch_size_for


@dataclasses.dataclass(frozen=True)
class Compute:
    """What a command may use of the machine; no result depends on it."""

    device: str
    """torch device, such as ``cpu`` or ``cuda:1``."""
    batch_size: int
    """Images per forward pass where nothing is trained."""
    workers: int
    """Processes that decode images; 0 decodes in the main process."""


def choose_compute(device: str = "auto", batch_size: int | None = None,
                   workers: int | None = None) -> Compute:
    """A Compute; what is left open is chosen for this machine.

    Args:
        device: a torch device, or "auto" for a GPU where there is one.
        batch_size: images per forward pass; None for as many as the device's memory suggests.
        workers: decoding processes; None for as many as suit the device.

    Raises:
        ValueError: the device does not exist here; says which do.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _require_device(device)
    return Compute(device, batch_size or batch_size_for(device),
                   default_workers(device) if workers is None else workers)


def _require_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: there is no such kind of device; use cpu, cuda, "
                         "cuda:1 ... or auto") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= (device.index or 0):
            raise ValueError(f"--device {name}: PyTorch sees {count} GPU(s) on this machine; use "
                             "--device cpu, or install a GPU driver and a CUDA build of PyTorch")
    elif device.type not in ("cpu", "mps", "xpu"):
        raise ValueError(f"--device {name}: this program computes on cpu and cuda devices")
