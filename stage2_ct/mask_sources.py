"""Where the training step gets its masks from.

A source is called with the TrainingBatch and its images on the device, and gives
``(masks (N, 1, H, W) float, valid (N,) bool)`` there, or ``(None, None)``. What it learns on the
way, if anything, travels in ``state_dict``. The training loop does not know which source it has.
"""


class _Stateless:
    """A source that learns nothing on the way."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class NoMasks(_Stateless):
    """For methods that learn from labels alone."""

    def __call__(self, batch, images):
        return None, None


class CachedMasks(_Stateless):
    """Masks that came with the batch, from a mask cache."""

    def __call__(self, batch, images):
        device = images.device
        return (batch.masks.to(device, non_blocking=True).float(),
                batch.valid.to(device, non_blocking=True))


class MadeMasks:
    """Masks made now from the augmented images (section 4.2).

    Args:
        maker: called with (N, 3, H, W) float images; gives (masks (N, 1, H, W) bool tensor,
            valid (N,) bool tensor). With ``state_dict`` and ``load_state_dict``.
    """

    def __init__(self, maker):
        self.maker = maker

    def __call__(self, batch, images):
        masks, valid = self.maker(images)
        return masks.to(images.device).float(), valid.to(images.device)

    def state_dict(self):
        return self.maker.state_dict()

    def load_state_dict(self, state):
        self.maker.load_state_dict(state)
