"""Clusters of masked cells that are probably not the target, chosen without asking a person.

A person who looks through the sheet of ``bcct check-masks`` names rows such as hands, faces and
feeders. Most of these are among the first rows: they are in few masks of a class, or look little
like a target. So the first few can be taken without a look: the tuned network, its teacher and the
linear unit whose scores enter the teacher's labels learn them as background. Where they show a rare
part of the target, masks lose that part.
"""

from collections.abc import Sequence

import numpy as np
import torch

from common.threads import one_thread_per_operation
from stage1_bc.cells import COVERED, on_grid
from stage1_bc.mask_clusters import CLUSTER_COUNT, fit_clusters
from stage1_bc.moments import Moments
from stage1_bc.pixel_network import PixelNetwork
from stage1_bc.recurring import MaskedCells, assign_masked, recurring_parts


@torch.no_grad()
def doubtful_cells(network: PixelNetwork, moments: Moments, masks: np.ndarray,
                   labels: Sequence[int], count: int, seed: int) -> torch.Tensor:
    """Cells of n target images that belong to the most doubtful clusters, in masks or outside.

    Args:
        network: PixelNetwork, whose answers say what is like a target.
        moments: Moments of the images.
        masks: (n, h, w) bool.
        labels: sequence of int, the class of each image.
        count: how many clusters, the first of ``recurring_parts``.
        seed: of the clusters.

    Returns:
        (n, GRID ** 2) bool; none where masks cover fewer cells than there are clusters.
    """
    device = network.mean.device
    with torch.autocast(device.type, enabled=False), one_thread_per_operation():
        cells = MaskedCells(moments.targets, on_grid(masks) >= COVERED,
                            moments.answers(network, device).flatten(1))
        masked = cells.features[cells.covered]
        if len(masked) < CLUSTER_COUNT:
            return torch.zeros_like(cells.covered)
        clusters = fit_clusters(masked, CLUSTER_COUNT, seed)
        parts = recurring_parts(assign_masked(clusters, cells), cells, labels)
        return clusters.cells(moments.targets, [part.number for part in parts[:count]])
