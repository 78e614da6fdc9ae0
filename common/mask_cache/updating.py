"""Bringing a mask cache up to date: what is finished and sound stays untouched."""

from collections.abc import Callable, Sequence
from pathlib import Path

from common import processes
from common.compute import Compute
from common.datasets import Record
from common.mask_cache.checks import outdated, refuse_changed
from common.mask_cache.manifest import read_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, Provenance, delta_name
from common.mask_cache.writer import write_masks
from common.progress import silent


def update_masks(records: Sequence[Record], build_maker: Callable, deltas: Sequence[float],
                 folder: Path, provenance: Provenance, compute: Compute, about: dict,
                 progress: Callable = silent, notify: Callable | None = None) -> None:
    """Make masks that are missing, damaged, or of images that have become readable.

    Where nothing has to be written, the folder may be read-only.

    Args:
        records: sequence of Record, sorted by image id.
        build_maker: called without arguments, where masks have to be made; gives a ``Maker`` (see
            ``common.mask_cache.writer``).
        deltas: thresholds that the cache is to hold, in addition to its present ones.
        folder: the cache's folder.
        provenance: what its masks depend on.
        compute: device, batch size and workers.
        about: dict of facts for the manifest.
        progress: see ``common.progress``.
        notify: called with sentences for the user.

    Raises:
        MaskCacheError: images have changed since masks were made of them; names them.
    """
    def write(remake=()):
        world = processes.world_size()
        with progress(len(records), f"masks ({about['split']})") as advance:
            write_masks(records, build_maker(), deltas, folder, provenance, compute.batch_size,
                        compute.workers, about=about, notify=notify, remake=remake,
                        progress=lambda images: advance(images * world))  # the others are as far
    finished, sound = processes.broadcast_from_first(lambda: _state(folder, deltas))
    if not (finished and sound):
        write()
    if finished and (shards := processes.broadcast_from_first(
            lambda: _shards_to_remake(records, folder, progress, notify))):
        write(shards)


def _state(folder, deltas) -> tuple[bool, bool]:
    """Whether a cache was finished with these deltas, and whether it is sound."""
    try:
        held = map(delta_name, read_manifest(folder)["deltas"])
        finished = set(map(delta_name, deltas)) <= set(held)
    except MaskCacheError:
        return False, False
    try:
        MaskCache(folder)
    except MaskCacheError:
        return finished, False
    return finished, True


def _shards_to_remake(records, folder, progress, notify) -> list[str]:
    """Shards with images that have changed or become readable, by all files' bytes.

    Raises:
        MaskCacheError: an image that has a mask has changed.
    """
    cache = MaskCache(folder, check=False)
    with progress(len(records), "comparing images") as advance:
        problems = list(outdated(cache, records, advance))
    refuse_changed(cache, problems)
    for record, problem in problems:
        if notify is not None:
            notify(f"the image {record.image_id!r} {problem}: its shard is made again")
    return sorted({cache.shard_file(record.image_id) for record, _ in problems})
