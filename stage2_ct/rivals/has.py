"""Hide-and-Seek (Singh and Lee, ICCV 2017): a plain CAM that trains on images with hidden patches.

With the most discriminative part hidden, the network has to find others.
"""

import dataclasses
from collections.abc import Sequence

import torch

from common.feature_extractor import IMAGENET_MEAN, Backbone
from stage2_ct.bc_ct import PlainClassActivation
from stage2_ct.training_config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Hiding:
    """Which patches are hidden (section 3.1 of the source)."""

    side: int = 32
    """Side of a square patch in input pixels: HaS-32."""
    probability: float = 0.5
    """Probability that a patch is hidden, independently for each patch, image and epoch."""


HAS_32 = Hiding()


class HideAndSeek(PlainClassActivation):
    """A plain CAM whose training images have random patches hidden; whole images afterwards.

    Arguments as for ``BackgroundSupervised``. What is hidden in a step depends on the seed that
    the method was built with and on the number of steps before; both are saved in its checkpoint,
    so that a resumed run hides the same patches as an uninterrupted one.
    """

    seed: torch.Tensor
    colour: torch.Tensor
    steps: torch.Tensor

    def __init__(self, backbone: Backbone, classes: int, config: TrainingConfig):
        super().__init__(backbone, classes, config)
        self.hiding = HAS_32
        self.register_buffer("seed", torch.randint(2 ** 31, ()))
        self.register_buffer("colour", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1),
                             persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._note_place()
        self.register_load_state_dict_post_hook(lambda module, keys: module._note_place())

    def _note_place(self) -> None:
        """Keep the next draw's seed on the host: read in each step from a buffer, which lies on
        the device, it would make the host wait for that."""
        self.next_draw = int(self.seed) + int(self.steps)

    def forward(self, images: torch.Tensor, labels: torch.Tensor,
                masks: torch.Tensor | None = None,
                valid: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """The classification loss of a batch with hidden patches; masks are ignored."""
        generator = torch.Generator().manual_seed(self.next_draw)
        self.next_draw += 1
        self.steps += 1
        hidden = draw_hidden(images.shape, self.hiding, generator).to(images.device,
                                                                      non_blocking=True)
        # The mean colour of ImageNet's photographs: hidden patches then excite the first layer as
        # the average image does (section 3.2 of the source).
        images = hide(images, hidden, self.hiding.side, self.colour)
        return super().forward(images, labels)


def draw_hidden(shape: Sequence[int], hiding: Hiding, generator: torch.Generator) -> torch.Tensor:
    """Draw which patches of N images are hidden.

    Args:
        shape: (N, 3, H, W); patches at the right and at the bottom may be cut off.
        generator: torch.Generator on the CPU.

    Returns:
        (N, ceil(H / side), ceil(W / side)) bool.
    """
    rows, columns = (-(-length // hiding.side) for length in shape[2:])
    return torch.rand(shape[0], rows, columns, generator=generator) < hiding.probability


def hide(images: torch.Tensor, hidden: torch.Tensor, side: int,
         colour: torch.Tensor) -> torch.Tensor:
    """Images with some patches in one colour.

    Args:
        images: (N, 3, H, W) float RGB.
        hidden: (N, rows, columns) bool, one patch per element, from the upper left.
        side: side of a patch in pixels.
        colour: (1, 3, 1, 1) float RGB.

    Returns:
        (N, 3, H, W) float RGB; the images stay as they were.
    """
    height, width = images.shape[2:]
    pixels = hidden.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width]
    return torch.where(pixels[:, None], colour, images)
