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
from common.mask_cache.shards import MaskCacheError


def try_faults():
    """Inject many faults and print the counts; an AssertionError means that one did harm."""
    parser = argparse.ArgumentParser(description=try_faults.__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rank-kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=10000)
    parser.add_argument("--crafted", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        faults.write_tiny_pictures(root / "pictures")
        faults.make_reference(root / "pictures", root / "whole")
        _kill(root, random, 1, arguments.kills)
        _kill(root, random, 2, arguments.rank_kills)
        _flip(root / "whole", random, arguments.flips)
        _craft(root, arguments.seed, arguments.crafted)


def _kill(root, random, world, wanted):
    """Kill processes of runs with ``world`` processes each, ``wanted`` times in total."""
    def begin():
        if world == 1:
            return [faults.start_child(root / "pictures", folder)]
        return faults.start_ranks(world, root, root / "pictures", folder)
    kills = runs = 0
    while kills < wanted:
        folder = root / f"{world}-{runs}"
        kills += faults.kill_and_resume(begin, folder, random)
        assert faults.shards(folder) == faults.shards(root / "whole")
        runs += 1
    print(f"{world} process(es): {kills} kills in {runs} runs; nothing lost, nothing made twice, "
          "every byte as without", flush=True)


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
