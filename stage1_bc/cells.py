"""The grid of cells that units for pixels read, and maps and masks on it."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.nn import functional

GRID = 14  # side of the grid of feature vectors that the units read
COVERED = 0.5  # share of a cell from which on a label takes it for the object


def on_one_grid(outputs: Iterable[torch.Tensor], side: int = GRID) -> torch.Tensor:
    """Outputs of several layers, each (N, C, h, w), side by side: (N, side ** 2, D) float32."""
    grids = [functional.interpolate(  # in float: of half precision there is none on the CPU
        output.float(), (side, side), mode="bilinear", antialias=True) for output in outputs]
    return torch.cat(grids, 1).flatten(2).transpose(1, 2)


def on_grid(masks: np.ndarray) -> torch.Tensor:
    """Share of each grid cell that a mask, or a map in [0, 1], covers: (N, H, W) to (N, GRID ** 2)
    float."""
    covered = torch.from_numpy(masks).float()[:, None]
    return functional.adaptive_avg_pool2d(covered, GRID).flatten(1)


def resize_maps(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps at another size, interpolated: (N, h, w) float to (N, *size) float."""
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
