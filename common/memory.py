"""Batches that may be larger than the device's memory."""

from collections.abc import Callable

import torch

FEWEST, MOST = 16, 256  # images a batch: more bring no speed
BYTES_PER_IMAGE = 2 ** 29  # of the device's memory: VGG-16 takes a quarter of it, on the way back


def batch_size_for(device: str | torch.device) -> int:
    """Images a pass of a network that learns nothing, by the memory of a torch device."""
    if torch.device(device).type != "cuda":
        return FEWEST
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(FEWEST, min(MOST, memory // BYTES_PER_IMAGE))


def in_parts(function: Callable[[torch.Tensor], torch.Tensor],
             images: torch.Tensor) -> torch.Tensor:
    """A function of a batch, computed in halves, quarters ... where the whole does not fit.

    Args:
        function: called with some of the images, (n, ...); gives a tensor (n, ...).
        images: (N, ...) tensor.

    Returns:
        (N, ...) tensor, as if the function had been called once.

    Raises:
        torch.OutOfMemoryError: not even one image fits.
    """
    try:
        return function(images)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    torch.cuda.empty_cache()  # outside of the handler: the error holds on to what it found
    middle = len(images) // 2
    return torch.cat([in_parts(function, images[:middle]), in_parts(function, images[middle:])])
