"""Making masks with a trained background classifier and a recipe."""

from collections.abc import Iterable

import numpy as np
import torch

from common.mask_cache.shards import CutMasks
from common.memory import in_parts
from common.precision import autocast
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.cutting import cut, normalise
from stage1_bc.gradient_maps import gradient_map
from stage1_bc.pixel_map import pixel_map
from stage1_bc.recipe import Recipe
from stage1_bc.sharpening import sharpen


class MaskMaker:
    """Makes masks from images with a trained background classifier.

    Args:
        size: (height, width) of a mask in pixels.
        precision: torch dtype that the network computes in.
    """

    def __init__(self, classifier: BackgroundClassifier, recipe: Recipe, size: tuple[int, int],
                 device: str | torch.device = "cpu", precision: torch.dtype = torch.float32):
        self.classifier = classifier.to(device).to(memory_format=torch.channels_last).eval()
        self.recipe = recipe
        self.size = self.input_size = tuple(size)
        self.device = device
        self.precision = precision

    def maps(self, images: torch.Tensor) -> np.ndarray:
        """Normalised maps: gradient maps, or whatever signal the recipe names.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            (N, height, width) float32 array in [0, 1].
        """
        images = images.to(self.device, memory_format=torch.channels_last)
        maps = in_parts(self._maps, images)
        if self.recipe.sharpen:
            maps = sharpen(images, maps, self.recipe.sharpen, self.recipe.sharpen_by)
        return normalise(maps.cpu().numpy(), self.recipe)

    def _maps(self, images):
        """Maps before sharpening, (N, height, width) float32 tensor."""
        make_map = pixel_map if self.recipe.reads_pixels else gradient_map
        with torch.enable_grad(), autocast(self.device, self.precision):
            return make_map(self.classifier, images, self.recipe, self.size).detach().float()

    def masks(self, images: torch.Tensor, deltas: Iterable[float]) -> dict[float, CutMasks]:
        """Masks at several thresholds from one gradient map per image.

        Args:
            images: (N, 3, H, W) float RGB in [0, 1].

        Returns:
            dict from delta to CutMasks.
        """
        maps = self.maps(images)
        return {delta: cut(maps, delta, self.recipe) for delta in deltas}
