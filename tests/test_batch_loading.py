"""Troubles of the processes that make batches reach the process that asks for them."""

import ast
import dataclasses
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from common import batch_loading
from common.batch_loading import BatchLoader, LostWorker, SmallSharedMemory
from common.error_sentences import in_words
from common.system_errors import CannotRead
from tests.test_structure import MODULES

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Batch:
    numbers: torch.Tensor
    names: list[str]


class Numbers(Dataset):
    """``make`` of each place."""

    def __init__(self, make=lambda place: place):
        self.make = make

    def __len__(self):
        return 8

    def __getitem__(self, place):
        return self.make(place)


def collate(items):
    return Batch(torch.tensor(items), [str(item) for item in items])


def batches(make, workers, **options):
    loader = BatchLoader(Numbers(make), [[0, 1], [2, 3], [4, 5]], collate, workers, 16, **options)
    return [(batch.numbers.tolist(), batch.names) for batch in loader]


EXPECTED = [([0, 1], ["0", "1"]), ([2, 3], ["2", "3"]), ([4, 5], ["4", "5"])]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order(workers):
    assert batches(int, workers) == EXPECTED


class Rounds:
    """Places that differ between rounds."""

    def __init__(self):
        self.first = 0

    def __len__(self):
        return 4

    def __iter__(self):
        self.first += 10
        yield from ([self.first + place] for place in range(4))


def test_no_more_workers_start_than_there_are_batches():
    loader = BatchLoader(Numbers(), [[0], [1], [2]], collate, 8, 16)
    started = [len(multiprocessing.active_children()) for _ in loader]
    assert started[0] == 3


@pytest.mark.parametrize("workers, stay", [(0, True), (2, True), (2, False)])
def test_workers_stay_for_the_next_round_where_they_are_to(workers, stay):
    loader = BatchLoader(Numbers(lambda place: (place, os.getpid())), Rounds(), collate, workers,
                         16, several_rounds=stay)
    rounds = [torch.cat([batch.numbers for batch in loader]) for _ in range(3)]
    assert [one[:, 0].tolist() for one in rounds] == [
        [first, first + 1, first + 2, first + 3] for first in (10, 20, 30)]
    processes = [set(one[:, 1].tolist()) for one in rounds]
    assert len(processes[0]) == max(workers, 1)
    assert (processes[0] == processes[1] == processes[2]) == stay


def test_a_worker_that_is_lost_between_two_rounds_is_one_sentence():
    loader = BatchLoader(Numbers(), Rounds(), collate, 2, 16, several_rounds=True)
    assert len(list(loader)) == 4
    with pytest.raises((LostWorker, RuntimeError)) as raised:
        lost, _ = multiprocessing.active_children()
        lost.kill()  # torch may raise already here
        lost.join()
        list(loader)
    assert "a process that decodes images is gone" in in_words(raised.value)


def test_batches_go_through_pipes_where_there_is_little_shared_memory(monkeypatch):
    monkeypatch.setattr(batch_loading, "free_shared_memory", lambda: 10)
    monkeypatch.setattr(torch.Tensor, "share_memory_", None)  # not called
    with pytest.warns(SmallSharedMemory, match="2 workers want .* fewer --workers, or more shared"):
        assert batches(int, 2) == EXPECTED


def test_batches_go_through_pipes_where_shared_memory_runs_out(monkeypatch):
    def full(tensor):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert batches(int, 2) == EXPECTED


class Unportable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.hook = lambda: None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error, kind", [
    (MemoryError("too large"), MemoryError), (ValueError("an image has changed"), ValueError),
    (CannotRead(errno.EMFILE, "cannot read a (Too many open files)"), CannotRead),
    (KeyError("no image"), KeyError), (Unportable(1, 2), Exception)])
def test_errors_arrive_as_they_were_raised(workers, error, kind):
    def make(place):
        if place == 3:
            raise error
        return place
    with pytest.raises(kind) as raised:
        batches(make, workers)
    assert str(error) in str(raised.value) and "\n" not in in_words(raised.value)


@pytest.mark.parametrize("number, word", [(signal.SIGKILL, "Killed"), (signal.SIGBUS, "Bus error"),
                                          (signal.SIGSEGV, "Segmentation fault")])
def test_a_worker_that_is_killed_is_one_sentence(number, word):
    def make(place):
        if place == 3:
            signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
            os.kill(os.getpid(), number)
        return place
    with pytest.raises((LostWorker, RuntimeError)) as raised:
        batches(make, 2)
    sentence = in_words(raised.value)
    assert "a process that decodes images is gone" in sentence and "\n" not in sentence
    assert "give fewer --workers" in sentence and "finished before is kept" in sentence


def test_workers_that_cannot_start_are_one_sentence(monkeypatch):
    def fail(loader):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    monkeypatch.setattr(batch_loading.DataLoader, "__iter__", fail)
    with pytest.raises(LostWorker, match="could not start .Resource temp.*fewer --workers"):
        batches(int, 2)


@pytest.mark.parametrize("size", ["256k", "1m"])
def test_a_container_with_little_shared_memory(tmp_path, size):
    """With so little that some batches fit and others do not, also where the check says enough."""
    script = (
        "import torch; from common import batch_loading; from common.loading import load_frames\n"
        "batch_loading.free_shared_memory = lambda: 1 << 40\n"
        "from benchmarks.fault_injection import write_tiny_pictures; from pathlib import Path\n"
        f"records = write_tiny_pictures(Path({str(tmp_path)!r}))\n"
        "batches = load_frames(records, (128, 128), [list(range(at, at + 6)) for at in "
        "range(0, 30, 6)] * 4, 4)\n"
        "print(sum(len(batch.images) for batch in list(batches)))")
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$0" '
         '-c "$1"', sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False)
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"this machine does not let the tests mount one: {result.stderr.strip()}")
    assert result.stdout.strip() == str(29 * 4), result.stderr


def test_every_command_makes_its_batches_so():
    """What makes batches in worker processes otherwise would have torch's troubles again."""
    found = {module for module, tree in MODULES.items() for node in ast.walk(tree)
             if not module.startswith("benchmarks") and isinstance(node, ast.Call)
             and ast.unparse(node.func).endswith("DataLoader")}
    assert found == {"common.batch_loading"}
