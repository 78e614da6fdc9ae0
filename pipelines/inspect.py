"""``bcct inspect``: look at the masks of a cache, in figures and in pictures."""

import dataclasses
from pathlib import Path

import click
import numpy as np

from common.datasets import KINDS, open_dataset
from common.mask_cache import contact_sheet
from common.mask_cache.checks import require_unchanged
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, delta_name
from evaluation.evaluator import MaskEvaluator
from evaluation.truth import truths_from_dataset

SCORED = 5000  # images that are held against their boxes: enough for a figure to within 1.4 points
BAR = 40  # characters of the histogram's longest bar


@click.command("inspect")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path),
              help="The data set's folder, for pictures and boxes; without it masks alone are "
              "shown.")
@click.option("--dataset", "kind", type=click.Choice(KINDS),
              help="Layout of the data set.  [default: the one that the masks were made from]")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True),
              help="Threshold whose masks are shown.  [default: 0.80 where the cache has it]")
@click.option("--against", type=click.Path(path_type=Path),
              help="Another mask cache of the same images, to show beside this one.")
@click.option("--count", type=click.IntRange(1), default=16, show_default=True,
              help="Pictures a section of the contact sheet.")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Seed of the pictures that are drawn at random.")
@click.option("--cache", "root", type=click.Path(path_type=Path), default=Path("cache"),
              show_default=True, help="Folder for everything that is made.")
def command(folder, data, kind, delta, against, count, seed, root):
    """Summarize the masks in FOLDER and write a contact sheet.

    Writes CACHE/inspect/NAME.png: masks at random, the worst and the best against boxes, invalid
    masks, and those of another cache beside them.
    """
    cache = MaskCache(folder, delta)
    other = MaskCache(against, delta) if against else None
    dataset = open_images(cache, data, kind) if data else None
    result = score(cache, dataset, seed) if dataset else None
    click.echo("\n".join(describe(cache, result)))
    if other is not None:
        click.echo("\nagainst")
        second = score(other, dataset, seed) if dataset else None
        click.echo("\n".join(describe(other, second)))
    sheet = contact_sheet.contact_sheet(sections(cache, dataset, result, other, count, seed))
    name = cache.folder.resolve().name + (f"-against-{other.key}" if other is not None else "")
    path = root / "inspect" / f"{name}.png"
    contact_sheet.save_picture(path, sheet)
    click.echo(f"wrote {path}")


def open_images(cache, data, kind=None):
    """The Dataset that a cache's masks are of, limited to the images that it holds.

    Args:
        cache: MaskCache.
        data: the data set's folder.
        kind: layout of the data set; None for the one that the cache says.

    Raises:
        MaskCacheError: not one of the images is in the cache.
    """
    about = cache.manifest["about"]
    dataset = open_dataset(kind or about.get("dataset", "cub"), data, about.get("split", "all"))
    records = tuple(record for record in dataset.records if record.image_id in cache)
    if not records:
        raise MaskCacheError(f"{cache.folder} holds masks of none of the images in {data}; give "
                             "the data set that they were made from")
    return dataclasses.replace(dataset, records=records)


def score(cache, dataset, seed=0):
    """Masks against the boxes of their images.

    Args:
        cache: MaskCache.
        dataset: Dataset from ``open_images``.
        seed: of the images that are drawn where there are more than SCORED.

    Returns:
        evaluation Result with ``mask_strict``, ``bc_star`` and a row an image; None where no box
        is known.

    Raises:
        MaskCacheError: an image has changed since its mask was made.
    """
    unreadable = cache.manifest["unreadable"]
    records = [record for record in dataset.records
               if record.boxes and record.image_id not in unreadable]
    if not records:
        return None
    chosen = np.sort(np.random.default_rng(seed).permutation(len(records))[:SCORED])
    records = tuple(records[index] for index in chosen)
    require_unchanged(cache, records)
    evaluator = MaskEvaluator(truths_from_dataset(dataclasses.replace(dataset, records=records)))
    for record in records:
        evaluator.accumulate(cache[record.image_id], record.image_id)
    return evaluator.compute()


def describe(cache, result=None):
    """The summary of a cache.

    Args:
        cache: MaskCache.
        result: what ``score`` gave, or None.

    Returns:
        list of lines of text.
    """
    stats = cache.stats()
    recipe = ", ".join(f"{field} {value}"
                       for field, value in cache.manifest["provenance"]["recipe"].items())
    height, width = cache.mask_size
    lines = [f"masks       {cache.folder.resolve().name}",
             f"key         {cache.key}",
             f"recipe      {recipe}",
             f"delta       {delta_name(cache.delta)} (the cache holds "
             f"{', '.join(map(delta_name, cache.deltas))})",
             f"images      {stats['count']:,}, masks of {height}x{width} pixels",
             f"valid       {stats['valid']:.1%}",
             f"unreadable  {len(cache.manifest['unreadable']):,}",
             f"area        {stats['mean_area']:.1%} of the frame on average, over valid masks"]
    lines += histogram_lines(stats["area_histogram"])
    if result is not None:
        strict, star = result.metrics["mask_strict"], result.metrics["bc_star"]
        lines += [f"boxes       {strict.value:.1%} strict ({strict.low:.1%} to {strict.high:.1%}), "
                  f"{star.value:.1%} BC* (looser rule), over {result.with_boxes:,} images"]
    return lines


def histogram_lines(counts):
    """The area histogram as bars of text, from the first to the last bin that is not empty."""
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return []
    step = 100 // len(counts)
    return [f"  {index * step:3d} to {(index + 1) * step:3d} %  "
            f"{'#' * round(BAR * counts[index] / max(counts)):{BAR}} {counts[index]:,}"
            for index in range(filled[0], filled[-1] + 1)]


def sections(cache, dataset=None, result=None, other=None, count=16, seed=0):
    """The contact sheet's parts, for ``contact_sheet``.

    Args:
        cache: MaskCache.
        dataset: Dataset for pictures and boxes, or None.
        result: what ``score`` gave, or None.
        other: MaskCache of the same images to show beside the first, or None.
        count: pictures a section.
        seed: of those that are drawn at random.

    Returns:
        list of (heading, list of tiles).
    """
    image_ids = list(cache)
    drawn = np.random.default_rng(seed).permutation(len(image_ids))
    drawn_ids = [image_ids[index] for index in drawn[:count]]
    parts = [(f"{len(drawn_ids)} of {len(image_ids):,} masks at random",
              contact_sheet.mask_tiles(cache, drawn_ids, dataset))]
    if result is not None:
        parts += worst_and_best(cache, dataset, result, count)
    invalid = [image_ids[index] for index in drawn if not cache.read(image_ids[index])[1]][:count]
    parts.append(("invalid masks", contact_sheet.mask_tiles(cache, invalid, dataset)))
    if other is not None:
        parts.append((f"left of each pair: this cache; right: {other.folder.resolve().name}",
                      side_by_side(cache, other, drawn_ids, dataset)))
    return parts


def worst_and_best(cache, dataset, result, count=16):
    """Sections of the masks that agree least and most with a box."""
    rows = sorted((row for row in result.rows if row.iou is not None), key=lambda row: row.iou)
    parts = []
    for heading, chosen in (("worst against boxes", rows[:count]),
                            ("best against boxes", rows[::-1][:count])):
        captions = [f"IoU {row.iou:.2f} {contact_sheet.short_name(row.image_id)}" for row in chosen]
        parts.append((f"{heading} (IoU of the mask's box)", contact_sheet.mask_tiles(
            cache, [row.image_id for row in chosen], dataset, captions)))
    return parts


def side_by_side(first, second, image_ids, dataset=None):
    """Tiles of two caches in turn, on the same images; those that only one holds are left out."""
    image_ids = [image_id for image_id in image_ids if image_id in first and image_id in second]
    pairs = zip(contact_sheet.mask_tiles(first, image_ids, dataset),
                contact_sheet.mask_tiles(second, image_ids, dataset))
    return [one for pair in pairs for one in pair]
