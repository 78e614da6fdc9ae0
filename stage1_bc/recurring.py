"""What recurs in the masks, in figures and in pictures for a person to look through."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from common.compute import Compute
from common.datasets import Record
from common.loading import consecutive, load_frames, to_float
from common.mask_cache.contact_sheet import Section, short_name, tile
from common.mask_cache.reader import MaskCache
from common.progress import silent
from stage1_bc.cells import COVERED, GRID, on_grid
from stage1_bc.mask_clusters import FeatureClusters
from stage1_bc.pixel_unit import PixelReader

TILE_SIDE = 128  # pixels


@dataclasses.dataclass(frozen=True)
class MaskedCells:
    """The cells of a grid over some images, as a unit for pixels sees them."""

    features: torch.Tensor
    """(images, GRID ** 2, D) half."""
    covered: torch.Tensor
    """(images, GRID ** 2) bool, whether a mask covers the cell."""
    answers: torch.Tensor
    """(images, GRID ** 2) float, the unit's likeness to target, about 0 to 1."""


def read_cells(unit: PixelReader, records: Sequence[Record], cache: MaskCache, compute: Compute,
               progress: Callable = silent) -> MaskedCells:
    """What a unit for pixels reads and answers where masks are.

    Args:
        unit: PixelReader on the device of ``compute``.
        records: of images with a mask in the cache.
        cache: MaskCache.
        compute: Compute.
        progress: see ``common.progress``.

    Raises:
        BadImage: an image cannot be read.
    """
    def parts() -> Iterator[tuple]:
        with progress(len(records), "masks") as advance:
            for batch in load_frames(records, cache.mask_size, consecutive(
                    len(records), compute.batch_size), compute.workers):
                for _, error in batch.bad:
                    raise error
                look = unit.look(to_float(batch.images.to(compute.device)))
                masks = np.stack([cache[records[place].image_id] for place in batch.positions])
                yield (look.cells.half().cpu(), on_grid(masks) >= COVERED,
                       unit.answer(look).clamp_min(0).flatten(1).cpu())
                advance(len(batch.positions))
    return MaskedCells(*map(torch.cat, zip(*parts())))


@dataclasses.dataclass(frozen=True)
class RecurringPart:
    """A cluster of masked cells, in figures."""

    number: int
    """By which it is named."""
    masks: float
    """Share of the masks that have a cell of it."""
    of_class: float
    """The same among the other masks of an image's class, mean over the images that have a cell of
    it. Where an image is the only one of its class, among all other masks."""
    area: float
    """Share of all masked cells that are of it."""
    likeness: float
    """Mean answer of the unit for pixels at its cells, about 0 to 1."""
    images: tuple[int, ...]
    """Indices of the images that have a cell of it, those with the most cells first."""

    @property
    def target_score(self) -> float:
        """How far it seems to be of the target: ``of_class`` times ``likeness``, 0 to 1.

        A part of the target is in most masks of a class and looks like a target. What stands beside
        it is in some, such as a person's face, or looks little like one, such as a post.
        """
        return self.of_class * self.likeness


def recurring_parts(assigned: torch.Tensor, cells: MaskedCells, labels: Sequence[int]
                    ) -> list[RecurringPart]:
    """The clusters that masks have cells of, by ascending ``target_score`` (docs/backgrounds.md).

    Args:
        assigned: (images, GRID ** 2) int64, as by ``assign_masked``.
        cells: MaskedCells.
        labels: sequence of int, the class of each image.
    """
    parts = []
    classes = torch.tensor(labels).unique(return_inverse=True)[1]
    for number in range(int(assigned.max()) + 1):
        its = assigned == number
        counts = its.sum(1)
        images = counts.argsort(descending=True, stable=True)[:int((counts > 0).sum())]
        if len(images) > 0:
            parts.append(RecurringPart(
                number, len(images) / len(its), _share_of_class(classes, counts > 0),
                float(its.sum() / cells.covered.sum()), float(cells.answers[its].mean()),
                tuple(images.tolist())))
    return sorted(parts, key=lambda part: (part.target_score, part.likeness))


def _share_of_class(classes, having):
    """``RecurringPart.of_class`` from (images,) int64 and (images,) bool, true somewhere."""
    its = classes[having]
    of_class, others = classes.bincount(having)[its] - 1, classes.bincount()[its] - 1
    of_all = (having.sum() - 1) / max(1, len(having) - 1)
    return float(torch.where(others > 0, of_class / others.clamp_min(1), of_all).mean())


def assign_masked(clusters: FeatureClusters, cells: MaskedCells) -> torch.Tensor:
    """Cluster of each masked cell, -1 elsewhere: (images, GRID ** 2) int64."""
    assigned = torch.full(cells.covered.shape, -1)
    assigned[cells.covered] = torch.cat(
        [clusters.assign(part) for part in cells.features[cells.covered].split(4096)])
    return assigned


def part_sections(parts: Sequence[RecurringPart], assigned: torch.Tensor,
                  records: Sequence[Record], shown: int) -> list[Section]:
    """A section of a contact sheet for each part, with its cells marked in ``shown`` pictures.

    Annotated boxes are not drawn. ``assigned`` is as for ``recurring_parts``.
    """
    grids = assigned.view(-1, GRID, GRID).numpy()
    return [(f"{part.number}:  in {part.masks:.0%} of the masks, {part.of_class:.0%} within a "
             f"class, {part.area:.1%} of their area, likeness to target {part.likeness:.2f}",
             [tile(dataclasses.replace(records[index], boxes=()), grids[index] == part.number,
                   short_name(records[index].image_id), TILE_SIDE)
              for index in part.images[:shown]]) for part in parts]
