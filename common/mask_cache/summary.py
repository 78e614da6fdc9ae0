"""A mask cache summarized: its figures as text, and the sections of a contact sheet."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.datasets import Dataset, open_dataset
from common.mask_cache.contact_sheet import Section, mask_tiles, short_name
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, delta_name

BAR = 40  # characters of the histogram's longest bar


def dataset_of_masks(cache: MaskCache, data: str | Path, kind: str | None = None) -> Dataset:
    """The data set that a cache was made from, limited to the images that the cache holds.

    Args:
        data: folder of the data set.
        kind: layout of the data set; None for the one recorded in the cache.

    Raises:
        MaskCacheError: the cache holds none of the images.
    """
    about = cache.manifest["about"]
    dataset = open_dataset(kind or about.get("dataset"), data, about.get("split", "all"))
    records = tuple(record for record in dataset.records if record.image_id in cache)
    if not records:
        raise MaskCacheError(f"{cache.folder} holds masks of none of the images in {data}; give "
                             "the data set that they were made from")
    return dataclasses.replace(dataset, records=records)


def summary_lines(cache: MaskCache) -> list[str]:
    """What a cache holds, as lines of text."""
    stats = cache.stats()
    recipe = ", ".join(f"{field} {value}"
                       for field, value in cache.manifest["provenance"]["recipe"].items())
    height, width = cache.mask_size
    return [f"masks       {cache.folder.resolve().name}",
            f"key         {cache.key}",
            f"recipe      {recipe}",
            f"delta       {delta_name(cache.delta)} (the cache holds "
            f"{', '.join(map(delta_name, cache.deltas))})",
            f"images      {stats['count']:,}, masks of {height}x{width} pixels",
            f"valid       {stats['valid']:.1%}",
            f"unreadable  {len(cache.manifest['unreadable']):,}",
            f"area        {stats['mean_area']:.1%} of the frame on average, over valid masks",
            *histogram_lines(stats["area_histogram"])]


def histogram_lines(counts: Sequence[int]) -> list[str]:
    """The area histogram as bars of text, from the first to the last bin that is not empty."""
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return []
    step = 100 // len(counts)
    return [f"  {index * step:3d} to {(index + 1) * step:3d} %  "
            f"{'#' * round(BAR * counts[index] / max(counts)):{BAR}} {counts[index]:,}"
            for index in range(filled[0], filled[-1] + 1)]


def summary_sections(cache: MaskCache, dataset: Dataset | None = None,
                     ious: Mapping[str, float] | None = None, other: MaskCache | None = None,
                     count: int = 16, seed: int = 0) -> list[Section]:
    """Sections of a contact sheet: masks at random, worst and best, invalid, and compared.

    Args:
        dataset: Dataset to take pictures and boxes from, or None.
        ious: IoU of the mask's box with a true box by image id; None leaves out worst and best.
        other: MaskCache of the same images to compare with, or None.
        count: pictures per section.
        seed: of those that are drawn at random.
    """
    image_ids = list(cache)
    order = np.random.default_rng(seed).permutation(len(image_ids))
    drawn = [image_ids[index] for index in order[:count]]
    parts: list[Section] = [(f"{len(drawn)} of {len(image_ids):,} masks at random",
                             mask_tiles(cache, drawn, dataset))]
    if ious is not None:
        parts += worst_and_best(cache, dataset, ious, count)
    invalid = [image_ids[index] for index in order if not cache.read(image_ids[index])[1]][:count]
    parts.append(("invalid masks", mask_tiles(cache, invalid, dataset)))
    if other is not None:
        parts.append((f"left of each pair: this cache; right: {other.folder.resolve().name}",
                      side_by_side(cache, other, drawn, dataset)))
    return parts


def worst_and_best(cache: MaskCache, dataset: Dataset | None, ious: Mapping[str, float],
                   count: int = 16) -> list[Section]:
    """Sections of the masks that agree least and most with a box; arguments as above."""
    ranked = sorted(ious, key=ious.__getitem__)
    parts: list[Section] = []
    for heading, chosen in (("worst against boxes", ranked[:count]),
                            ("best against boxes", ranked[::-1][:count])):
        captions = [f"IoU {ious[name]:.2f} {short_name(name)}" for name in chosen]
        parts.append((f"{heading} (IoU of the mask's box)",
                      mask_tiles(cache, chosen, dataset, captions)))
    return parts


def side_by_side(first: MaskCache, second: MaskCache, image_ids: Sequence[str],
                 dataset: Dataset | None = None) -> list[np.ndarray]:
    """Tiles of two caches in turn, on the same images; those that only one holds are left out."""
    both = [image_id for image_id in image_ids if image_id in first and image_id in second]
    pairs = zip(mask_tiles(first, both, dataset), mask_tiles(second, both, dataset))
    return [one for pair in pairs for one in pair]
