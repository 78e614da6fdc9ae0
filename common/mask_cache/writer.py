"""Filling a mask cache: every record's masks, shard by shard, by one process or by several."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from common import processes
from common.datasets import Record
from common.files import TEMPORARY, file_crc32
from common.loading import consecutive, load_frames, to_float
from common.locks import write_lock
from common.mask_cache.checks import image_change
from common.mask_cache.manifest import (ADDING, adopt_added, damaged_files, held_deltas,
                                        read_manifest, write_manifest)
from common.mask_cache.shards import (SHARD_SIZE, CutMasks, MaskCacheError, PackedMasks, Provenance,
                                      Shard, delta_name, read_whole_shard, shard_is_done,
                                      shard_path, shard_slices, write_shard)
from common.threads import map_in_order, one_thread_per_operation


class Maker(Protocol):
    """What makes the masks; ``stage1_bc.maker.MaskMaker`` is one."""

    size: tuple[int, int]
    """(height, width) of a mask in pixels."""
    input_size: tuple[int, int]
    """(height, width) that images are squashed to."""
    device: str | torch.device
    """Where it computes."""

    def masks(self, images: torch.Tensor, deltas: Iterable[float]) -> dict[float, CutMasks]:
        """Masks of (N, 3, H, W) float RGB images in [0, 1] at each delta."""
        ...


@dataclasses.dataclass(frozen=True)
class MaskJob:
    """Which masks a cache is to hold."""

    records: tuple[Record, ...]
    """Record of each image, sorted by image id."""
    deltas: tuple[float, ...]
    """Thresholds of Eq. 2, sorted, each with at most two decimals."""
    provenance: Provenance
    """What the masks depend on."""
    shard_size: int = SHARD_SIZE
    """Images per shard."""

    def __post_init__(self):
        if len(set(map(delta_name, self.deltas))) < len(self.deltas) or any(
                float(delta_name(delta)) != delta for delta in self.deltas):
            raise ValueError(f"each delta must have two decimals at most and occur once, not "
                             f"{', '.join(map(str, self.deltas))}")

    @property
    def slices(self) -> list[slice]:
        """The slice of the records that each shard holds."""
        return shard_slices(len(self.records), self.shard_size)

    def ids(self, index: int) -> list[str]:
        """The image ids of a shard."""
        return [record.image_id for record in self.records[self.slices[index]]]


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """Where the shards of a job are written, and what is known of those that are there."""

    job: MaskJob
    """What they are to hold, with the deltas that the cache holds already."""
    target: Path
    """The cache's folder, or the folder in it where a further delta is made ready."""
    source: Path | None
    """The cache that holds some of the deltas already, or None."""
    damaged: frozenset[str] | None
    """Names of the shards to make again, or None where only the shards themselves can tell."""

    @classmethod
    def of_cache(cls, job: MaskJob, folder: Path, held: Iterable[float],
                 damaged: Iterable[str] | None) -> "ShardPlan":
        """The plan for a cache that holds some deltas, of which some files are damaged."""
        held = set(held)
        wanted = dataclasses.replace(job, deltas=tuple(sorted(held.union(job.deltas))))
        if held and held != set(wanted.deltas):
            # Existing masks stay in use until the last new one is made.
            return cls(wanted, folder / ADDING, folder, None)
        return cls(wanted, folder, None, None if damaged is None else frozenset(damaged))

    def is_done(self, index: int) -> bool:
        """Whether a shard is there and sound."""
        if self.damaged is not None:
            return shard_path(self.target, index).name not in self.damaged
        return self.is_sound(index)

    def is_sound(self, index: int) -> bool:
        """Whether a shard is sound by itself, whatever checksum the manifest has for it."""
        return shard_is_done(shard_path(self.target, index), self.job.ids(index), self.job.deltas,
                             self.job.provenance)

    def close(self, folder: Path, about: dict | None) -> None:
        """Write index and manifest over the finished shards and put them in their place."""
        job = self.job
        write_manifest(self.target, job.provenance, [record.image_id for record in job.records],
                       job.deltas, job.shard_size, about)
        adopt_added(folder)


def write_masks(records: Sequence[Record], maker: Maker, deltas: Iterable[float],
                folder: str | Path, provenance: Provenance, batch_size: int, workers: int,
                about: dict | None = None, progress: Callable[[int], object] | None = None,
                shard_size: int = SHARD_SIZE, notify: Callable[[str], object] | None = None,
                remake: Iterable[str] = ()) -> dict:
    """Make the masks of all records and write them as a mask cache.

    Finished work is kept: shards of a run that was stopped, sound shards of a cache in which others
    are damaged, and other deltas when a new one is added. The processes of a run divide the shards
    between them; the bytes do not depend on which process makes a shard. An unreadable image gets
    an empty, invalid mask and is listed in the manifest.

    Args:
        records: sequence of Record, sorted by image id.
        deltas: iterable of float, with two decimals at most.
        folder: the cache's folder.
        provenance: Provenance of the cache.
        batch_size: images per gradient pass.
        workers: processes that decode.
        about: dict of facts for the manifest.
        progress: called with the number of images each time more are done.
        shard_size: images per shard.
        notify: called with a sentence when it waits for another run, and when it makes damaged
            files again.
        remake: names of sound shards of a finished cache to make again.

    Returns:
        The manifest, a dict; its ``unreadable`` maps image ids to reasons.

    Raises:
        OSError: the folder cannot be written; names it.
        MaskCacheError: a delta is added and an image has changed since the others were made.
        LostProcess: another process of this run has ended.
    """
    folder = Path(folder)
    progress, notify = progress or (lambda images: None), notify or (lambda sentence: None)
    job = MaskJob(tuple(records), tuple(sorted(set(deltas))), provenance, shard_size)
    with write_lock(folder, processes.rank(), processes.barrier, notify):
        held, damaged = processes.broadcast_from_first(lambda: settle(folder, shard_size))
        for name, reason in (damaged or {}).items() if processes.rank() == 0 else ():
            notify(f"{folder / name} is damaged ({reason}): it is made again")
        plan = ShardPlan.of_cache(job, folder, held,
                                  None if damaged is None else {*damaged, *remake})
        _fill(plan, maker, batch_size, workers, progress)
        if processes.rank() == 0:
            plan.close(folder, about)
        processes.barrier()
    return read_manifest(folder)


def settle(folder: Path, shard_size: int) -> tuple[tuple[float, ...], dict[str, str] | None]:
    """Clear up what a killed run left behind, and say what a cache holds.

    Args:
        folder: the cache's folder, locked for this run alone.
        shard_size: images per shard.

    Returns:
        (deltas that are there already, reasons of the cache's damaged files by name, or None where
        only the shards themselves can tell).
    """
    for path in (*folder.glob("*" + TEMPORARY), *folder.glob(f"{ADDING}/*{TEMPORARY}")):
        path.unlink()
    adopt_added(folder)
    return survey_held(folder, shard_size)


def survey_held(folder: Path, shard_size: int, own: Iterable[int] | None = None) -> tuple[
        tuple[float, ...], dict[str, str] | None]:
    """``settle`` without the clearing up: what a cache holds.

    Args:
        folder: the cache's folder.
        shard_size: images per shard.
        own: the only shards to look at; None for every file.
    """
    try:
        manifest = read_manifest(folder)
    except MaskCacheError:
        return held_deltas(folder), None
    if manifest["shard_size"] != shard_size:
        return tuple(manifest["deltas"]), None
    if own is not None:
        names = {shard_path(folder, index).name for index in own}
        manifest["shards"] = [entry for entry in manifest["shards"] if entry["file"] in names]
    return tuple(manifest["deltas"]), dict(damaged_files(folder, manifest))


def _fill(plan, maker, batch_size, workers, progress):
    """Make this process's part of the shards that are not there yet."""
    rank, world = processes.rank(), processes.world_size()
    mine = range(rank, len(plan.job.slices), world)
    missing = [index for index in mine if not plan.is_done(index)]
    progress(sum(len(plan.job.ids(index)) for index in set(mine) - set(missing)))
    pending = sorted(itertools.chain.from_iterable(processes.all_gather(missing)))[rank::world]
    make_shards(plan, pending, maker, batch_size, workers, progress)
    processes.barrier()


def make_shards(plan: ShardPlan, pending: Sequence[int], maker: Maker, batch_size: int,
                workers: int, progress: Callable[[int], object]) -> None:
    """Make some shards, whatever is there of them.

    Args:
        pending: numbers of the shards, in order.
        maker, batch_size, workers, progress: as for ``write_masks``.
    """
    job = plan.job
    # Batches never cross shards: a shard's bytes do not depend on which others were made before.
    batches = {index: consecutive(len(job.ids(index)), batch_size, job.slices[index].start)
               for index in pending}
    loader = iter(load_frames(job.records, maker.input_size,
                              list(itertools.chain.from_iterable(batches.values())), workers,
                              checksums=True))
    with (concurrent.futures.ThreadPoolExecutor(1) as writer,  # while the next shard is made
          torch.backends.cudnn.flags(enabled=True, deterministic=True),  # each run, same bytes
          one_thread_per_operation() as threads):
        writing = None
        for index in pending:
            frames = (next(loader) for _ in batches[index])
            shard = _make_shard(job, index, maker, frames, threads, plan.source, progress)
            if writing is not None:
                writing.result()
            writing = writer.submit(write_shard, shard_path(plan.target, index), job.ids(index),
                                    shard.cut, job.provenance, shard.unreadable, shard.file_crc32)
        if writing is not None:
            writing.result()


def _make_shard(job, index, maker, frames, threads, source, progress):
    """One shard: masks that ``source`` has are taken from there, the others are made."""
    part, count = job.slices[index], len(job.ids(index))
    held = _held_shard(job, index, source)
    deltas = [delta for delta in job.deltas if delta not in held.cut]
    cut = {delta: PackedMasks.empty(count, maker.size) for delta in deltas}
    checksums, unreadable = np.zeros(count, np.uint32), {}

    def make(batch):
        if not batch.positions:
            return batch, {}
        made = maker.masks(to_float(batch.images.to(maker.device)), deltas)
        return batch, {delta: masks.packed() for delta, masks in made.items()}
    for batch, made in map_in_order(make, frames, maker.device, threads):
        unreadable.update({job.records[position].image_id: error.reason
                           for position, error in batch.bad})
        for position, checksum in batch.file_crc32.items():
            checksums[position - part.start] = checksum
        rows = np.array(batch.positions, int) - part.start
        for delta, masks in made.items():
            cut[delta].put(rows, masks)
        progress(len(batch.positions) + len(batch.bad))
    _require_unchanged(job.ids(index), held.file_crc32, checksums, source)
    return Shard({**held.cut, **cut}, checksums, unreadable)


def _held_shard(job, index, source):
    """The shard of the cache that a delta is added to; an empty one where that is damaged.

    Empty too where an image that could not be read is another now, or can be read.
    """
    if source is not None:
        try:
            held = read_whole_shard(shard_path(source, index), job.ids(index), job.provenance)
            if not any(_reads_otherwise(record, checksum, job.provenance.mask_size)
                       for record, checksum in zip(job.records[job.slices[index]], held.file_crc32)
                       if record.image_id in held.unreadable):
                return held
        except MaskCacheError:
            pass
    return Shard({}, np.zeros(len(job.ids(index)), np.uint32), {})


def _reads_otherwise(record, recorded, size):
    """Whether an image that could not be read has changed or can be read now."""
    return image_change(record.path, file_crc32(record.path), recorded, True, size) is not None


def _require_unchanged(image_ids, before, now, source):
    """Refuse to combine masks of different versions of an image."""
    for image_id, old, new in zip(image_ids, before, now):
        if old not in (0, new):
            raise MaskCacheError(
                f"the image {image_id!r} has changed since its masks in {source} were made; put "
                f"the old file back, or remove {source} to make all of its masks again")
