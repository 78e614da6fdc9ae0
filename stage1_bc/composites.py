"""Composites: target objects, cut out along their masks and pasted on background images.

They show the tuned network the target at other places and sizes, in front of what is known not to
be the target. The mask that cut the object is the label, so it is right for every pixel outside
the object, which the mask of a photograph may not be (Dwibedi et al., *Cut, paste and learn*,
2017).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from common.boxes import mask_to_box
from common.compute import Compute
from common.datasets import Record
from common.loading import load_again, to_float
from common.memory import in_parts
from common.progress import silent
from common.threads import map_in_order, one_thread_per_operation
from stage1_bc.cells import GRID, on_grid
from stage1_bc.moments import half_precision

if TYPE_CHECKING:  # the classifier imports what imports this module
    from stage1_bc.classifier import BackgroundClassifier

PER_TARGET = 2  # composites of each target image
SCALES = 0.6, 1.3  # smallest and largest change of an object's size; uniform in the logarithm
MARGIN = 0.18  # least distance of the middle of an object's box from the border, in sides
EDGE = 0.0067  # standard deviation of the blur of a mask's edge, as a share of the side


class Composites(NamedTuple):
    """What the tuned network learns from composites."""

    tail_inputs: torch.Tensor
    """(k, c, h, w) half, what the backbone's tail reads of them."""
    covered: torch.Tensor
    """(k, GRID ** 2) float, share of each cell that the object covers."""


def paste(frame: np.ndarray, mask: np.ndarray, background: np.ndarray,
          generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paste what a mask covers on a background: at a random place and size, mirrored or not.

    Args:
        frame: (side, side, 3) uint8 RGB image that the mask is of.
        mask: (side, side) float32 in [0, 1], at least 0.5 somewhere.
        background: (side, side, 3) uint8 RGB.

    Returns:
        (composite, (side, side, 3) uint8 RGB; its mask, (side, side) float32 in [0, 1]).
    """
    side = len(mask)
    left, top, right, bottom = mask_to_box(mask >= 0.5)
    height = np.exp(generator.uniform(*np.log(SCALES)))
    width = height * generator.choice((-1, 1))  # mirrored where it is negative
    x, y = generator.uniform(MARGIN, 1 - MARGIN, 2) * side
    moves = np.array([[width, 0, x - width * (left + right) / 2],
                      [0, height, y - height * (top + bottom) / 2]])
    moved, covered = (cv2.warpAffine(values, moves, (side, side)) for values in (frame, mask))
    opacity = cv2.GaussianBlur(covered, (0, 0), EDGE * side)[..., None]
    pasted = opacity * moved + (1 - opacity) * background[:, ::generator.choice((-1, 1))]
    return pasted.round().astype(np.uint8), covered


def read_composites(classifier: "BackgroundClassifier", targets: Sequence[Record],
                    masks: np.ndarray, backgrounds: Sequence[Record], compute: Compute, seed: int,
                    progress: Callable = silent) -> Composites:
    """Make composites and read them with the frozen part of the backbone.

    Args:
        classifier: BackgroundClassifier, on the device.
        targets: n Record of target images.
        masks: (n, h, w) bool; an image with an empty mask gives no composite.
        backgrounds: sequence of Record.
        seed: of all draws; the composites do not depend on batches or threads.
        progress: see ``common.progress``.

    Raises:
        BadImage: an image cannot be read any more.
        FloatingPointError: the backbone's outputs are too large to be kept.
    """
    extract = classifier.backbone.extractor(features=False, pixels=False)

    @torch.no_grad()  # in each thread: it is a setting of the thread
    def read(batch):
        images, covered = batch
        return (in_parts(lambda part: extract(part).tail_input,
                         to_float(images.to(compute.device))).half().cpu(), on_grid(covered))

    used = np.tile(np.flatnonzero(masks.any((1, 2))), PER_TARGET)
    if not len(used):
        return Composites(torch.zeros(0), torch.zeros(0, GRID ** 2))
    with (progress(len(used), "composites") as advance,
          torch.autocast(torch.device(compute.device).type, enabled=False),
          one_thread_per_operation() as threads):  # the same bits for any number of cores
        batches = _load(used, targets, masks, backgrounds, classifier.image_size, compute, seed,
                        advance)
        inputs, covered = map(torch.cat, zip(*map_in_order(read, batches, compute.device,
                                                           threads)))
    return Composites(half_precision(inputs), covered)


def _load(used, targets, masks, backgrounds, side, compute, seed, advance
          ) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """Batches of (n, 3, side, side) uint8 composites and (n, side, side) float32 masks of the
    target images that ``used`` names."""
    generator = np.random.default_rng(seed)
    partners = generator.integers(len(backgrounds), size=len(used))
    records = [record for target, background in zip(used, partners)
               for record in (targets[target], backgrounds[background])]
    for batch in load_again(records, (side, side), 2 * compute.batch_size, compute.workers):
        frames = batch.images.permute(0, 2, 3, 1).numpy()
        chosen = used[np.array(batch.positions[::2]) // 2]
        pasted, covered = zip(*(
            paste(frame, cv2.resize(masks[target].astype(np.float32), (side, side)), background,
                  generator)
            for frame, background, target in zip(frames[::2], frames[1::2], chosen)))
        advance(len(chosen))
        yield torch.from_numpy(np.stack(pasted)).permute(0, 3, 1, 2), np.stack(covered)
