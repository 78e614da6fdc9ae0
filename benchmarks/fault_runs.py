"""Fault-tolerance benchmark of the mask cache: kills, flipped bits and crafted files en masse.

``make faults`` runs it in about 20 minutes. The tests try a few faults of the same kinds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import fault_injection as faults
from benchmarks.crafted_caches import survive_in_child
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, shard_path


def try_faults():
    """Inject many faults and print the counts; an AssertionError means that one did harm."""
    parser = argparse.ArgumentParser(description=try_faults.__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rank-kills", type=int, default=100)
    parser.add_argument("--part-kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=10000)
    parser.add_argument("--part-flips", type=int, default=200)
    parser.add_argument("--crafted", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        faults.write_tiny_pictures(root / "pictures")
        seconds = faults.timed_reference(root / "pictures", root / "whole")
        _kill(root, seconds, random, 1, arguments.kills)
        _kill(root, seconds, random, 2, arguments.rank_kills)
        _kill_parts(root, seconds, random, arguments.part_kills)
        _flip_in_parts(root, random, arguments.part_flips)
        _flip(root / "whole", random, arguments.flips)
        _craft(root, arguments.seed, arguments.crafted)


def _kill(root, seconds, random, world, wanted):
    """Kill processes of runs with ``world`` processes each, ``wanted`` times in total."""
    def begin():
        if world == 1:
            return [faults.start_child(root / "pictures", folder)]
        return faults.start_ranks(world, root, root / "pictures", folder)
    kills = runs = 0
    while kills < wanted:
        folder = root / f"{world}-{runs}"
        kills += faults.kill_and_resume(begin, folder, random, seconds)
        assert faults.shards(folder) == faults.shards(root / "whole")
        runs += 1
    print(f"{world} process(es): {kills} kills in {runs} runs; nothing lost, nothing made twice, "
          "every byte as without", flush=True)


def _kill_parts(root, seconds, random, wanted):
    """Kill independent parts, ``wanted`` times in total, until ``--finish`` misses nothing."""
    kills = runs = 0
    while kills < wanted:
        folder = root / f"parts-{runs}"
        kills += faults.kill_and_resume_parts(root / "pictures", folder, random, seconds)
        assert faults.whole_cache(folder) == faults.whole_cache(root / "whole")
        runs += 1
    print(f"{faults.PARTS} independent parts, {faults.AT_ONCE} at once: {kills} kills in {runs} "
          "runs; nothing lost, nothing made twice, every byte as without", flush=True)


def _flip_in_parts(root, random, wanted):
    """Flip one bit of one shard of unfinished parts at a time; ``--finish`` names its part."""
    folder = root / "flipped"
    for number in range(faults.PARTS):
        faults.make_tiny_part(root / "pictures", folder, number, faults.PARTS)
    shards, named = faults.PICTURES // faults.SHARD_SIZE, 0
    for _ in range(wanted):
        index = int(random.integers(shards))
        put_back = faults.flip(shard_path(folder, index), random)
        named += faults.missing_parts(root / "pictures", folder) == str(index % faults.PARTS)
        put_back()
    assert faults.missing_parts(root / "pictures", folder) == ""
    assert faults.whole_cache(folder) == faults.whole_cache(root / "whole")
    print(f"{named} of {wanted} flipped bits in the shards of parts noticed, with the part's "
          "number", flush=True)
    assert named == wanted


def _flip(folder, random, wanted):
    """Flip one bit of one file at a time."""
    image_id, noticed = next(iter(MaskCache(folder))), 0
    for _ in range(wanted):
        paths = sorted(folder.glob("*.h5"))
        path = paths[random.integers(len(paths))]
        put_back = faults.flip(path, random)
        try:
            MaskCache(folder)[image_id]
        except MaskCacheError as error:
            noticed += path.name in str(error)
        put_back()
    print(f"{noticed} of {wanted} flipped bits noticed, with the file's name", flush=True)
    assert noticed == wanted


def _craft(root, first, wanted):
    """Let readers have caches with right checksums and hostile content."""
    (root / "crafted").mkdir()
    for start in range(first, first + wanted, 100):
        survive_in_child(root / "whole", root / "crafted",
                         range(start, min(start + 100, first + wanted)))
    print(f"{wanted} crafted caches refused with a file's name or read, within bounds", flush=True)


if __name__ == "__main__":
    try_faults()
