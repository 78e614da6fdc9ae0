"""Batch sizes for a device, and batches that do not fit into its memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result", torch.Tensor, tuple[torch.Tensor, ...])

FEWEST, MOST = 16, 256  # images per batch on a GPU; larger ones are no faster
# On the CPU, where several batches are computed at once: larger ones are no faster either, and
# where the peaks of two of them coincide, the memory that they take is what counts.
ON_CPU = 8
BYTES_PER_IMAGE = 2 ** 29  # of device memory; VGG-16 takes a quarter of it in the backward pass


def batch_size_for(device: str | torch.device) -> int:
    """Images per pass of a network that is not trained, by the memory of a torch device."""
    if torch.device(device).type != "cuda":
        return ON_CPU
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(FEWEST, min(MOST, memory // BYTES_PER_IMAGE))


def in_parts(function: Callable[[torch.Tensor], Result], images: torch.Tensor) -> Result:
    """Compute a function of a batch, in halves, quarters ... where the whole does not fit.

    Args:
        function: called with some of the images, (n, ...); returns a tensor (n, ...), or a
            tuple of such.
        images: (N, ...) tensor.

    Returns:
        (N, ...) tensor or tuple of such, as if the function had been called once.

    Raises:
        torch.OutOfMemoryError: not even one image fits.
    """
    try:
        return function(images)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler: the error keeps tensors alive
    middle = len(images) // 2
    parts = in_parts(function, images[:middle]), in_parts(function, images[middle:])
    return tuple(map(torch.cat, zip(*parts))) if isinstance(parts[0], tuple) else torch.cat(parts)
