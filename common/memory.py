"""Batch sizes for a device, and batches that do not fit into its memory."""

from collections.abc import Callable

import torch

FEWEST, MOST = 16, 256  # images per batch; larger ones are no faster
BYTES_PER_IMAGE = 2 ** 29  # of device memory; VGG-16 takes a quarter of it in the backward pass


def batch_size_for(device: str | torch.device) -> int:
    """Images per pass of a network that is not trained, by the memory of a torch device."""
    if torch.device(device).type != "cuda":
        return FEWEST
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(FEWEST, min(MOST, memory // BYTES_PER_IMAGE))


def in_parts(function: Callable[[torch.Tensor], torch.Tensor],
             images: torch.Tensor) -> torch.Tensor:
    """Compute a function of a batch, in halves, quarters ... where the whole does not fit.

    Args:
        function: called with some of the images, (n, ...); returns a tensor (n, ...).
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
    torch.cuda.empty_cache()  # outside the handler: the error keeps tensors alive
    middle = len(images) // 2
    return torch.cat([in_parts(function, images[:middle]), in_parts(function, images[middle:])])
