"""A mask cache of ILSVRC's size: opening it and reading from it, beside one of 10,000.

``make scale``; takes minutes and 0.6 GB under the temporary folder, which it removes. A blob is
drawn for one image in 64 and the shards are written from copies of these, ids and all else as in
real ones.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from common.boxes import mask_to_box
from common.mask_cache import MaskCache
from common.mask_manifest import write_manifest
from common.mask_shards import (SHARD_SIZE, CutMasks, Provenance, shard_path, shard_slices,
                                write_shard)

SIZE = (224, 224)


def blobs(count, seed):
    """Masks of three overlapping ellipses each, about a third of the frame."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE[0], :SIZE[1]]
    masks = np.zeros((count, *SIZE), bool)
    for mask in masks:
        y, x = random.integers(70, 154, 2)
        for _ in range(3):
            height, width = random.integers(25, 70, 2)
            dy, dx = random.integers(-20, 20, 2)
            mask |= ((rows - y - dy) / height) ** 2 + ((columns - x - dx) / width) ** 2 < 1
    return masks


def write_cache(folder, count):
    """A cache of ``count`` masks."""
    provenance = Provenance("images", "classifier", {"smallest_area": 0.01}, SIZE)
    ids = [f"train/n{number // 1300:08d}/n{number // 1300:08d}_{number:07d}.JPEG"
           for number in range(count)]
    for index, part in enumerate(shard_slices(count)):
        mask = np.tile(blobs(16, index), (SHARD_SIZE // 16, 1, 1))[:part.stop - part.start]
        box = np.stack([mask_to_box(one) for one in mask[:16]])
        box = np.tile(box, (SHARD_SIZE // 16, 1))[:len(mask)]
        cut = CutMasks(mask, np.ones(len(mask), bool), box)
        write_shard(shard_path(folder, index), ids[part], {0.8: cut}, provenance,
                    file_crc32=np.arange(part.start, part.stop))
    write_manifest(folder, provenance, ids, [0.8])


def measure(folder, reads):
    """Open the cache in this process, then read at random: first cold, then again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    cache = MaskCache(folder)
    opened = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ids = list(cache)
    random = np.random.default_rng(0)
    times = []
    for _ in range(5):
        chosen = [ids[index] for index in random.integers(len(ids), size=reads)]
        start = time.perf_counter()
        for image_id in chosen:
            cache.read(image_id)
        times.append(1e6 * (time.perf_counter() - start) / reads)
    return {"open_seconds": round(opened, 2), "imports_mib": round(before),
            "with_cache_mib": round(memory), "first_read_us": round(times[0], 1),
            "read_us": round(sorted(times)[2], 1)}


def measure_workers(folder, workers, reads):
    """Microseconds a mask, read in random order by the workers of a DataLoader."""
    from torch.utils.data import DataLoader
    cache = MaskCache(folder, check=False)
    ids = list(cache)
    chosen = [ids[index] for index in np.random.default_rng(1).permutation(len(ids))[:reads]]
    masks = _Masks(cache, chosen)
    loader = DataLoader(masks, 256, num_workers=workers, collate_fn=len)
    iterator = iter(loader)
    next(iterator)  # the workers have started
    start = time.perf_counter()
    done = sum(iterator)
    return round(1e6 * (time.perf_counter() - start) / done, 1)


class _Masks:
    """The masks of some ids, as a data set."""

    def __init__(self, cache, ids):
        self.cache, self.ids = cache, ids

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return self.cache.read(self.ids[index])


def main():
    """Write both caches, measure each in a process of its own, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=1_281_167)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.reads) if not arguments.workers else
                         {"us_a_mask": measure_workers(arguments.measure, arguments.workers,
                                                       arguments.reads)}))
        return
    with tempfile.TemporaryDirectory() as name:
        for count in (10_000, arguments.count):
            folder = Path(name) / str(count)
            start = time.perf_counter()
            write_cache(folder, count)
            seconds = time.perf_counter() - start
            sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
            shards = sum(size for file, size in sizes.items() if file.startswith("shard"))
            print(json.dumps({"masks": count, "written_in_seconds": round(seconds),
                              "shard_bytes_a_mask": round(shards / count),
                              "index_mb": round(sizes["index.h5"] / 1e6, 1),
                              "manifest_mb": round(sizes["manifest.json"] / 1e6, 2)}), flush=True)
            for workers in (None, 1, 8):
                command = [sys.executable, "-m", "tests.scale", "--measure", str(folder),
                           "--reads", str(arguments.reads)]
                command += [] if workers is None else ["--workers", str(workers)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(json.dumps({"masks": count, "workers": workers,
                                  **json.loads(done.stdout)}), flush=True)


if __name__ == "__main__":
    main()
