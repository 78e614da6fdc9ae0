"""Nested random subsets of background images, as folders that stage 1 can be given."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.datasets import Record


def nested_subsets(records: Sequence, sizes: Sequence[int], seed: int = 0) -> dict[int, list]:
    """Random subsets by size, each holding the smaller ones; only those smaller than the whole."""
    order = np.random.default_rng(seed).permutation(len(records))
    return {size: [records[place] for place in order[:size]]
            for size in sizes if size < len(records)}


def link_subset(folder: Path, records: Sequence[Record]) -> None:
    """A folder of links to some background images; a single one is linked twice."""
    names = [(record.image_id, record) for record in records]
    if len(records) == 1:
        path = Path(records[0].image_id)
        names.append((str(path.with_name(f"again-{path.name}")), records[0]))
    for name, record in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(record.path.resolve())
