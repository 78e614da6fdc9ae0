"""What both stages share: readers, boxes, backbones, configuration, the mask cache."""

from typing import TYPE_CHECKING

import cv2

from common.lazy import lazy_names

if TYPE_CHECKING:
    from common.backbones import ARCHITECTURES, Backbone, build_backbone
    from common.boxes import iou, largest_component, mask_to_box, rescale
    from common.config import ConfigError, override
    from common.datasets import Dataset, DatasetError, Record, open_backgrounds, open_dataset
    from common.images import BadImage, image_size, read_image

# OpenCV's own threads do not survive a fork, and data loaders fork: a worker process that used what
# is left of them would hang. Instead, each thread or process works on whole images.
cv2.setNumThreads(1)

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "backbones": ("ARCHITECTURES", "Backbone", "build_backbone"),
    "boxes": ("iou", "largest_component", "mask_to_box", "rescale"),
    "config": ("ConfigError", "override"),
    "datasets": ("Dataset", "DatasetError", "Record", "open_backgrounds", "open_dataset"),
    "images": ("BadImage", "image_size", "read_image"),
})
