"""Filling a mask cache: every record's masks, shard by shard."""

import concurrent.futures
from pathlib import Path

import numpy as np

from common.loading import consecutive, load_frames, to_float
from common.mask_cache import (CutMasks, shard_is_done, shard_path, shard_slices, write_manifest,
                               write_shard)


def write_masks(records, maker, deltas, folder, provenance, batch_size, workers, about=None,
                progress=None):
    """Make the masks of all records and write them as a mask cache.

    Shards that are already there are kept, so a killed run goes on where it stopped. An image
    that cannot be read gets an empty, invalid mask and is named in the manifest.

    Args:
        records: sequence of Record, sorted by image id.
        maker: MaskMaker.
        deltas: iterable of float.
        folder: the cache's folder.
        provenance: Provenance of the cache.
        batch_size: images a gradient pass.
        workers: processes that decode.
        about: dict of facts for the manifest.
        progress: called with a number of images each time so many more are done.

    Returns:
        The manifest, a dict; its ``unreadable`` maps image ids to reasons.
    """
    folder = Path(folder)
    image_ids = [record.image_id for record in records]
    slices = shard_slices(len(records))
    pending = [index for index, part in enumerate(slices)
               if not shard_is_done(shard_path(folder, index), image_ids[part], deltas)]
    progress = progress or (lambda images: None)
    progress(len(records) - sum(slices[index].stop - slices[index].start for index in pending))

    # Batches never cross shards: a shard's bytes do not depend on which others were made before.
    batches = {index: consecutive(slices[index].stop - slices[index].start, batch_size,
                                  slices[index].start) for index in pending}
    loader = iter(load_frames(records, maker.size, sum(batches.values(), []), workers))
    with concurrent.futures.ThreadPoolExecutor(1) as writer:  # compresses while the next is made
        writing = None
        for index in pending:
            part = slices[index]
            cut, unreadable = _make_shard(loader, len(batches[index]), part, maker, deltas,
                                          progress)
            if writing is not None:
                writing.result()
            writing = writer.submit(
                write_shard, shard_path(folder, index), image_ids[part], cut, provenance,
                {image_ids[position]: reason for position, reason in unreadable.items()})
        if writing is not None:
            writing.result()
    return write_manifest(folder, provenance, image_ids, deltas, about=about)


def _make_shard(loader, batches, part, maker, deltas, progress):
    """The masks of one shard's images, and why any could not be read."""
    count = part.stop - part.start
    cut = {delta: CutMasks(np.zeros((count, *maker.size), bool), np.zeros(count, bool),
                           np.zeros((count, 4), np.int16)) for delta in deltas}
    unreadable = {}
    for _ in range(batches):
        batch = next(loader)
        unreadable.update({position: str(error) for position, error in batch.bad})
        if batch.positions:
            rows = np.array(batch.positions) - part.start
            for delta, made in maker.masks(to_float(batch.images), deltas).items():
                for field in ("mask", "valid", "box"):
                    getattr(cut[delta], field)[rows] = getattr(made, field)
        progress(len(batch.positions) + len(batch.bad))
    return cut, unreadable
