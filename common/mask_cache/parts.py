"""A mask cache made by independent jobs.

Part K of N (K from 0 to N - 1) makes the shards K, K + N, K + 2 N ... Shards do not depend on who
writes them, so the parts run in any order, on any machines that share the folder, at the same time
or not; one that was stopped is run again. ``finish_parts`` then closes the cache. Its files are
byte for byte those that ``write_masks`` writes.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.locks import item_locks, write_lock
from common.mask_cache.manifest import ADDING, MANIFEST
from common.mask_cache.shards import MaskCacheError, delta_name
from common.mask_cache.writer import Maker, MaskJob, ShardPlan, make_shards, settle, survey_held


@dataclasses.dataclass(frozen=True)
class MaskPart:
    """One of several independent jobs that make a mask cache together."""

    number: int
    """K, from 0."""
    of: int
    """N, the number of parts."""

    def shards(self, count: int) -> range:
        """The part's shards among so many."""
        return range(self.number, count, self.of)

    def __str__(self):
        return f"{self.number}/{self.of}"


class UnfinishedParts(MaskCacheError):
    """Some parts of a cache are not finished.

    Attributes:
        array: str, the parts' numbers as SLURM's ``--array`` takes them, such as ``0,3-5``.
    """

    def __init__(self, sentence: str, array: str):
        super().__init__(sentence)
        self.array = array


def write_part(job: MaskJob, build_maker: Callable[[], Maker], folder: str | Path, part: MaskPart,
               batch_size: int, workers: int, progress: Callable[[int], object] | None = None,
               notify: Callable[[str], object] | None = None) -> list[int]:
    """Make the shards of one part that are missing or damaged.

    Each of its shards is locked meanwhile: a second run of the same part, or one of another
    division into parts, waits for the shards that both would write.

    Args:
        build_maker: called without arguments, where shards have to be made; gives a MaskMaker.
        folder: the cache's folder.
        batch_size: images per gradient pass.
        workers: processes that decode.
        progress: called with the number of images each time more are done.
        notify: called with a sentence when another process has to be waited for.

    Returns:
        Numbers of the shards that were made.

    Raises:
        OSError: the folder cannot be written; names it.
        MaskCacheError: a delta is added and an image has changed since the others were made; or
            a run was stopped while it put a new delta in place.
    """
    folder, own = Path(folder), part.shards(len(job.slices))
    progress = progress or (lambda images: None)
    if not own:
        return []
    with item_locks(folder, own, notify):
        if (folder / ADDING / MANIFEST).is_file():
            raise MaskCacheError(f"mask cache {folder} was stopped while a new delta was put in "
                                 "place; run bcct masks --finish first, which takes seconds")
        plan = ShardPlan.of_cache(job, folder, *survey_held(folder, job.shard_size, own))
        missing = [index for index in own if not _is_done(plan, index)]
        progress(sum(len(job.ids(index)) for index in set(own) - set(missing)))
        if missing:
            make_shards(plan, missing, build_maker(), batch_size, workers, progress)
    return missing


def finish_parts(job: MaskJob, folder: str | Path, about: dict | None = None,
                 parts: int | None = None, progress: Callable[[int], object] | None = None,
                 notify: Callable[[str], object] | None = None) -> None:
    """Verify all shards and write index and manifest; waits for parts that are still running.

    Args:
        job: MaskJob, as that of the parts.
        folder: the cache's folder.
        about: dict of facts for the manifest.
        parts: number of parts that unfinished ones are named among; None for one per shard.
        progress: called with the number of images each time more are verified.
        notify: called with a sentence when another process has to be waited for.

    Raises:
        UnfinishedParts: shards are missing or damaged; names their parts.
        OSError: the folder cannot be written; names it.
    """
    folder, count = Path(folder), len(job.slices)
    progress = progress or (lambda images: None)
    if not folder.is_dir():  # a lock would make it
        raise _unfinished(folder, range(count), parts or count, job.deltas)
    with write_lock(folder, notify=notify):
        held, damaged = settle(folder, job.shard_size)
        plan = ShardPlan.of_cache(job, folder, held, damaged)
        missing = []
        for index in range(count):
            if not _is_done(plan, index):
                missing.append(index)
            progress(len(job.ids(index)))
        if missing:
            raise _unfinished(folder, missing, parts or count, plan.job.deltas)
        if plan.target != folder or damaged != {}:
            plan.close(folder, about)


def _is_done(plan, index):
    """Whether a shard is sound: as the manifest has it, or made again by a part since.

    Another machine need not give the same bytes, so a part may replace a damaged shard by a sound
    one that has another checksum. The manifest learns it when the parts are finished.
    """
    if plan.is_done(index):
        return True
    return plan.damaged is not None and plan.is_sound(index)  # otherwise is_done has looked


def _unfinished(folder, missing, parts, deltas):
    array = ranges(sorted({index % parts for index in missing}))
    named = ", ".join(map(delta_name, deltas))
    return UnfinishedParts(
        f"{len(missing)} shard(s) of {folder} are missing or damaged at delta {named}: run these "
        f"of {parts} parts again, with --part K/{parts}, and then --finish: {array}", array)


def ranges(numbers: Iterable[int]) -> str:
    """Sorted whole numbers, shortened: 0, 3, 4 and 5 as ``0,3-5``."""
    groups: Iterable[Sequence[tuple[int, int]]] = (
        list(group) for _, group in itertools.groupby(
            enumerate(numbers), key=lambda pair: pair[1] - pair[0]))
    return ",".join(str(group[0][1]) if len(group) == 1 else f"{group[0][1]}-{group[-1][1]}"
                    for group in groups)
