"""Fault injection into real runs that write masks: killed processes and flipped bits.

``benchmarks.fault_runs`` repeats the faults many times; the tests try a few of each.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from common import processes
from common.datasets import Record
from common.mask_cache.parts import MaskPart, UnfinishedParts, finish_parts, write_part
from common.mask_cache.shards import Provenance
from common.mask_cache.writer import MaskJob, write_masks
from stage1_bc.classifier import build_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import Recipe

PICTURES, SHARD_SIZE, BATCH_SIZE = 30, 2, 1
MOST_BETWEEN_KILLS = 5  # shards that are made between two kills, at most one less than this
PARTS, AT_ONCE = 7, 3  # independent jobs, and how many of them run at the same time
RECIPE = Recipe(smallest_area=0.0)
PROVENANCE = Provenance("images", "classifier", {"smallest_area": 0.0}, (16, 16))

# A server that has imported torch once and has run nothing with it: each child starts in
# milliseconds, and no thread is lost in a fork.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["benchmarks.fault_injection"])


def write_tiny_pictures(folder):
    """Write small pictures, one of them unreadable; returns their Records."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(PICTURES):
        pixels = random.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), pixels)
    (folder / "007.png").write_bytes((folder / "007.png").read_bytes()[:60])
    return records_in(folder)


def records_in(folder):
    """Records of the pictures in a folder."""
    return [Record(path.name, folder, 0) for path in sorted(folder.glob("*.png"))]


def make_tiny_masks(pictures, folder, deltas=(0.7, 0.8), maker=None, **options):
    """Write the pictures' masks in this process; returns the manifest."""
    torch.set_num_threads(1)
    maker = maker or _maker()
    return write_masks(records_in(pictures), maker, deltas, folder, PROVENANCE, BATCH_SIZE, 0,
                       shard_size=SHARD_SIZE, **options)


def _maker():
    """The same MaskMaker in every process."""
    torch.manual_seed(0)  # the classifier's unit is random
    return MaskMaker(build_classifier("tiny", "none", image_size=16), RECIPE, (16, 16))


def tiny_job(pictures, deltas=(0.7, 0.8)):
    """The MaskJob of ``make_tiny_masks``."""
    return MaskJob(tuple(records_in(pictures)), deltas, PROVENANCE, SHARD_SIZE)


def make_tiny_part(pictures, folder, number, of, deltas=(0.7, 0.8), dies_at=None, **options):
    """Make one part of the masks in this process; returns the numbers of the shards made.

    The process is killed at its batch ``dies_at``.
    """
    torch.set_num_threads(1)

    def build_maker():
        return _maker() if dies_at is None else _Dying(_maker(), dies_at)
    return write_part(tiny_job(pictures, deltas), build_maker, folder, MaskPart(number, of),
                      BATCH_SIZE, 0, **options)


def finish_tiny_masks(pictures, folder, of=None, deltas=(0.7, 0.8), **options):
    """Close the cache whose parts were made."""
    finish_parts(tiny_job(pictures, deltas), folder, None, of, **options)


def make_masks_as_rank(rank, world, port, errors, pictures, folder, dies_at=None):
    """Write masks as one of several processes; it is killed at its batch ``dies_at``."""
    os.environ.update(torchrun_environment(rank, world, port))
    maker = _maker()
    if dies_at is not None:
        maker = _Dying(maker, dies_at)
    try:
        with processes.process_group():
            make_tiny_masks(pictures, folder, maker=maker)
    except processes.LostProcess as error:
        Path(errors, str(rank)).write_text(str(error))
        sys.exit(1)


class _Dying:
    """A MaskMaker whose process is killed in the middle of its work."""

    def __init__(self, maker, batches):
        self.maker, self.batches = maker, batches
        self.size, self.input_size, self.device = maker.size, maker.input_size, maker.device

    def masks(self, images, deltas):
        self.batches -= 1
        if self.batches == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.maker.masks(images, deltas)


def torchrun_environment(rank, world, port):
    """The environment variables that torchrun sets for a process."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port():
    """An unused port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_child(*arguments, target=make_tiny_masks, **options):
    """Start a child process."""
    child = CONTEXT.Process(target=target, args=arguments, kwargs=options)
    child.start()
    return child


def start_ranks(world, errors, pictures, folder, dying=None, dies_at=None):
    """Start the processes of one run; the rank ``dying`` is killed at its batch ``dies_at``."""
    port = free_port()
    return [start_child(rank, world, port, errors, pictures, folder, target=make_masks_as_rank,
                        dies_at=dies_at if rank == dying else None) for rank in range(world)]


def shards(folder):
    """Content of a cache's HDF5 files, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".h5"}


def finished_shards(folder):
    """Inode and modification time of each shard by name: they change if it is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in folder.glob("shard-*.h5")}


def wait_for_shards(children, folder, more):
    """Wait until a folder has so many more shards, begun or finished, or all children ended.

    What is waited for is an event and no time, so that it is the same on a busy machine.
    """
    wanted = len(list(folder.glob("shard-*"))) + more
    while len(list(folder.glob("shard-*"))) < wanted and any(
            child.is_alive() for child in children):
        time.sleep(0.001)


def kill_and_resume(begin, folder, random, most=1000):
    """Kill a run at random moments and restart it until it completes.

    Args:
        begin: starts the run and returns its processes.
        folder: where it writes.
        random: numpy Generator.
        most: kills after which it may complete.

    Returns:
        Number of processes that were killed.
    """
    kills, before = 0, {}
    while True:
        children = begin()
        if kills < most:
            # Several processes first find each other, which nobody is to wait for in vain.
            wait_for_shards(children, folder, random.integers(
                int(len(children) > 1), MOST_BETWEEN_KILLS))
            time.sleep(random.uniform(0, 0.005))  # not always just after a file has appeared
            victim = children[random.integers(len(children))]
            kills += victim.is_alive()
            victim.kill()
        codes = _wait(children, 120)
        after = finished_shards(folder)
        assert all(after.get(name) == identity for name, identity in before.items()), (
            "a finished shard was made again")
        before = after
        if codes == [0] * len(children):
            return kills
        assert not (folder / "manifest.json").exists() or len(after) == PICTURES // SHARD_SIZE


def kill_and_resume_parts(pictures, folder, random):
    """Run parts, a few at once and some of them twice, and kill one of each few at random.

    What ``--finish`` misses runs again, until it misses nothing.

    Returns:
        Number of processes that were killed.
    """
    kills, before = 0, {}
    while missing := missing_parts(pictures, folder):
        numbers = random.permutation(_numbers(missing))[:AT_ONCE].tolist()
        numbers.append(numbers[0])
        children = [start_child(pictures, folder, number, PARTS, target=make_tiny_part)
                    for number in numbers]
        wait_for_shards(children, folder, random.integers(MOST_BETWEEN_KILLS))
        victim = children[random.integers(len(children))]
        kills += victim.is_alive()
        victim.kill()
        _wait(children, 60)
        after = finished_shards(folder)
        assert all(after.get(name) == identity for name, identity in before.items()), (
            "a finished shard was made again")
        before = after
    return kills


def missing_parts(pictures, folder):
    """What ``--finish`` prints for ``--array``; an empty string where it closes the cache."""
    try:
        finish_tiny_masks(pictures, folder, PARTS)
    except UnfinishedParts as error:
        return error.array
    return ""


def _numbers(array):
    """The whole numbers of an ``--array``."""
    ends = [[int(end) for end in group.split("-")] for group in array.split(",")]
    return [number for group in ends for number in range(group[0], group[-1] + 1)]


def whole_cache(folder):
    """Content of a finished cache's files by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def _wait(children, seconds):
    """Exit codes of some processes; those still running after the time are killed."""
    end = time.monotonic() + seconds
    for child in children:
        child.join(max(0.0, end - time.monotonic()))
        child.kill()
        child.join()
    return [child.exitcode for child in children]


def flip(path, random):
    """Flip one random bit of a file; returns a function that restores the file."""
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(damaged)
    return lambda: path.write_bytes(content)


def make_reference(pictures, folder):
    """Make the masks in one child without a kill."""
    child = start_child(pictures, folder)
    child.join()
    assert child.exitcode == 0
