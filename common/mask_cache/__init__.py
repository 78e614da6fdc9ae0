"""The mask cache: its writer, its reader, and what checks and shows it."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from common.mask_cache.contact_sheet import (Section, draw_box, grid, mask_tiles, overlay,
                                                 save_picture)
    from common.mask_cache.reader import MaskCache
    from common.mask_cache.shards import MaskCacheError, Provenance
    from common.mask_cache.summary import (dataset_of_masks, side_by_side, summary_lines,
                                           summary_sections, worst_and_best)
    from common.mask_cache.writer import write_masks

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "contact_sheet": ("Section", "draw_box", "grid", "mask_tiles", "overlay", "save_picture"),
    "reader": ("MaskCache",),
    "shards": ("MaskCacheError", "Provenance"),
    "summary": ("dataset_of_masks", "side_by_side", "summary_lines",
                "summary_sections", "worst_and_best"),
    "writer": ("write_masks",),
})
