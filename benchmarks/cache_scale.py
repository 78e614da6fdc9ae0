"""Benchmark of a mask cache of ILSVRC's size: opening and reading, compared with one of 10,000;
listing as many images, and verifying what independent parts have made.

``make scale`` runs it: about 10 minutes, and 0.8 GB in the temporary folder, which it removes. One
blob is drawn per 64 images and the shards are written from copies; ids and everything else are as
in a real cache. Each figure comes from a fresh process. The two sizes are compared within one
process, in turns and in processor time, so that a busy machine slows down both.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from common.boxes import mask_to_box
from common.datasets import open_dataset
from common.mask_cache.manifest import read_manifest, write_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import (SHARD_SIZE, CutMasks, Provenance, shard_is_done, shard_path,
                                      shard_slices, write_shard)

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
        cut = CutMasks(mask, np.ones(len(mask), bool), box).packed()
        write_shard(shard_path(folder, index), ids[part], {0.8: cut}, provenance,
                    file_crc32=np.arange(part.start, part.stop))
    write_manifest(folder, provenance, ids, [0.8])


def measure_opening(folder):
    """Seconds and memory to open a cache, its files once dropped from the page cache."""
    imports = peak_mib()
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        MaskCache(folder)
        seconds.append(time.perf_counter() - start)
    return {"first_open_seconds": round(seconds[0], 2),
            "open_seconds": round(statistics.median(seconds[1:]), 2),
            "imports_mib": imports, "with_cache_mib": peak_mib()}


def peak_mib():
    """Peak memory of this process so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)


def measure_reads(small, large, reads):
    """Microseconds of processor time per random read, alternating between both caches."""
    caches = [MaskCache(folder) for folder in (small, large)]
    all_ids, random = [list(cache) for cache in caches], np.random.default_rng(0)
    times = ([], [])
    for _ in range(9):
        for cache, ids, taken in zip(caches, all_ids, times):
            chosen = [ids[index] for index in random.integers(len(ids), size=reads)]
            start = time.process_time()
            for image_id in chosen:
                cache.read(image_id)
            taken.append(1e6 * (time.process_time() - start) / reads)
    ratios = [of_large / of_small for of_small, of_large in zip(*times)]
    return {"small_us": round(statistics.median(times[0]), 1),
            "large_us": round(statistics.median(times[1]), 1),
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(min(ratios), 2), round(max(ratios), 2)]}


def measure_workers(folder, workers, reads):
    """Random reads by the workers of a DataLoader: processor time per mask, and waits.

    A reader that meets a lock gives up the processor voluntarily; such switches are counted while
    it reads. Other processes on the machine affect neither figure.
    """
    from torch.utils.data import DataLoader
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more than there are cores
    cache = MaskCache(folder, check=False)
    ids = list(cache)
    chosen = [ids[index] for index in np.random.default_rng(1).permutation(len(ids))[:reads]]
    loader = DataLoader(_Reads(cache, chosen), 500, num_workers=workers, collate_fn=list)
    seconds, waits = np.sum(list(loader), axis=0)
    return {"us_a_mask": round(1e6 * seconds / reads, 1), "waits_in_all": int(waits)}


class _Reads:
    """What reading some masks costs, as a data set."""

    def __init__(self, cache, ids):
        self.cache, self.ids = cache, ids

    def __len__(self):
        return len(self.ids)

    def __getitems__(self, indices):
        """(seconds of processor time, times that the thread has waited) for these."""
        before, start = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, time.thread_time()
        for index in indices:
            self.cache.read(self.ids[index])
        return (time.thread_time() - start,
                resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)


def write_images(folder, count, a_class=1300):
    """A data set of ``count`` images in class folders; links to few files, so that it takes no
    room and a minute."""
    bases = []
    for number in range(count // 50_000 + 1):  # file systems allow 65,000 links to a file
        bases.append(folder / f"{number}.jpg")
        bases[-1].write_bytes(b"an image that nobody opens")
    for number in range(count):
        name = f"n{number // a_class:08d}"
        if number % a_class == 0:
            (folder / "images" / name).mkdir(parents=True)
        os.link(bases[number % len(bases)], folder / "images" / name / f"{name}_{number}.jpg")
    return folder / "images"


def measure_listing(images):
    """Seconds to list a data set and look at each file once, as every command does."""
    start, before = time.perf_counter(), time.process_time()
    dataset = open_dataset("folder", images, "train")
    dataset.listing_digest
    seconds = time.perf_counter() - start
    return {"images": len(dataset.records), "listing_seconds": round(seconds, 1),
            "listing_processor_seconds": round(time.process_time() - before, 1),
            "with_records_mib": peak_mib()}


def measure_verifying(folder):
    """Seconds of processor time that ``bcct masks --finish`` takes to verify a thousand masks."""
    manifest = read_manifest(folder)
    provenance = Provenance(**manifest["provenance"])
    ids, seconds = list(MaskCache(folder, check=False)), []
    for index, part in list(enumerate(shard_slices(len(ids))))[:9]:
        start = time.process_time()
        assert shard_is_done(shard_path(folder, index), ids[part], manifest["deltas"], provenance)
        seconds.append(time.process_time() - start)
    return {"verifying_seconds_a_shard": round(statistics.median(seconds), 3)}


def measure_large_cache():
    """Write both caches, measure them, and print each figure as a line of JSON."""
    parser = argparse.ArgumentParser(description=measure_large_cache.__doc__)
    parser.add_argument("--count", type=int, default=1_281_167)
    parser.add_argument("--reads", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "small", Path(name) / "large"]
        for folder, count in zip(folders, (10_000, arguments.count)):
            write_cache(folder, count)
            sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
            shards = sum(size for file, size in sizes.items() if file.startswith("shard"))
            print_figures(masks=count, shard_bytes_a_mask=round(shards / count),
                          index_mb=round(sizes["index.h5"] / 1e6, 1),
                          manifest_mb=round(sizes["manifest.json"] / 1e6, 2))
            print_figures(masks=count, **in_fresh_process(measure_opening, folder))
        print_figures(**in_fresh_process(measure_reads, *folders, arguments.reads))
        print_figures(**in_fresh_process(measure_verifying, folders[0]))
        print_figures(**in_fresh_process(
            measure_listing, write_images(Path(name), arguments.count)))
        for workers in (1, 8):
            print_figures(workers=workers, **in_fresh_process(
                measure_workers, folders[1], workers, 10 * arguments.reads))


def in_fresh_process(function, *arguments):
    """The result of a function that runs in a fresh process."""
    with concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def print_figures(**figures):
    """Print a line of JSON."""
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    measure_large_cache()
