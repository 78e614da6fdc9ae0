"""Sources of the training step's masks; the training loop does not know which one it has."""

from typing import Any, Protocol

import torch

from stage2_ct.data import TrainingBatch

Masks = tuple[torch.Tensor | None, torch.Tensor | None]


class MaskSource(Protocol):
    """Gives the masks of a batch; what it learns in training is in its ``state_dict``."""

    def __call__(self, batch: TrainingBatch, images: torch.Tensor) -> Masks:
        """Masks of a batch.

        Args:
            batch: TrainingBatch as the loader gave it.
            images: (N, 3, H, W) float RGB in [0, 1], the same images on the device.

        Returns:
            (masks (N, 1, H, W) float, valid (N,) bool) on the device, or (None, None).
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it has learnt."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from an earlier ``state_dict``."""
        ...


class _Stateless:
    """A source that learns nothing."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class NoMasks(_Stateless):
    """For methods that learn from labels only."""

    def __call__(self, batch: TrainingBatch, images: torch.Tensor) -> Masks:
        return None, None


class CachedMasks(_Stateless):
    """Masks that came with the batch, from a mask cache."""

    def __call__(self, batch: TrainingBatch, images: torch.Tensor) -> Masks:
        device = images.device
        return (batch.masks.to(device, non_blocking=True).float(),
                batch.valid.to(device, non_blocking=True))


class MadeMasks:
    """Masks made now from the augmented images (section 4.2).

    Args:
        maker: called with (N, 3, H, W) float images; returns (masks (N, 1, H, W) bool tensor,
            valid (N,) bool tensor). With ``state_dict`` and ``load_state_dict``.
    """

    def __init__(self, maker: Any):
        self.maker = maker

    def __call__(self, batch: TrainingBatch, images: torch.Tensor) -> Masks:
        masks, valid = self.maker(images)
        return masks.to(images.device).float(), valid.to(images.device)

    def state_dict(self) -> dict[str, Any]:
        return self.maker.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.maker.load_state_dict(state)
