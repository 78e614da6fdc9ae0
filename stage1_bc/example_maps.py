"""Gradient maps of a few images next to the masks that were cut from them, as in Fig. 3."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from common.datasets import Record
from common.images import read_image
from common.loading import to_float
from common.mask_cache.reader import MaskCache
from stage1_bc.cutting import cut
from stage1_bc.gradient_maps import backbone_gradient
from stage1_bc.mask_settings import maker_of_masks


def example_maps(masks: MaskCache, records: Sequence[Record],
                 device: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the map of the plain backbone, that of the classifier, and the mask, of each image.

    All (H, W) of the cache's mask size, float32, float32 and bool.

    Args:
        masks: MaskCache, whose background classifier must still be there.
        records: a few images, computed in one batch.

    Raises:
        ValueError, OSError: as for ``maker_of_masks``.
    """
    maker = maker_of_masks(masks, device)
    frames = np.stack([read_image(record.path, maker.size) for record in records])
    images = to_float(torch.from_numpy(frames).permute(0, 3, 1, 2)).to(maker.device)
    plain = backbone_gradient(maker.classifier.backbone, images).cpu().numpy()
    maps = maker.maps(images)
    return zip(plain, maps, cut(maps, masks.delta, maker.recipe).mask)
