"""Batches made in worker processes, whose troubles all reach the process that asks for them.

torch's own loader hangs where the shared memory for a batch does not suffice, for the error comes
up in a thread that nobody listens to; what a worker raises arrives as many lines of another type;
and a worker that is killed is told of in words of the loader. Here batches that find no shared
memory travel through a pipe instead, errors arrive as they were raised, and a lost worker is one
sentence.
"""

import contextlib
import dataclasses
import functools
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

SHARED_MEMORY = "/dev/shm"
AHEAD = 2  # batches that each worker makes ahead of time


class LostWorker(ChildProcessError):
    """A process that decodes images could not start, or ended before its work was done."""


class SmallSharedMemory(UserWarning):
    """There is less shared memory than batches want; the work goes on without."""


@dataclasses.dataclass(frozen=True)
class _Raised:
    """An error on its way from a worker."""

    error: Exception


class _Carrying(Dataset):
    """A dataset that gives the error that an item raises in the item's place."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        try:
            return self.items[place]
        except Exception as error:
            return _Raised(_portable(error))


class BatchLoader:
    """Iterates over batches that worker processes make.

    Args:
        items: map-style dataset.
        batches: gives lists of places in it, one for each batch; a new round each time.
        collate: makes a batch, a dataclass, of a list of items.
        workers: processes, at most one for each batch; 0 makes the batches in this one.
        batch_bytes: about how many bytes the tensors of a batch have.
        pin_memory: whether batches come in page-locked memory.
        several_rounds: whether the workers stay for the next round. To start them for each epoch
            of a few hundred images takes as long as the epoch. ``items`` must not change then.
    """

    def __init__(self, items: Dataset, batches: Any, collate: Callable, workers: int,
                 batch_bytes: int, pin_memory: bool = False, several_rounds: bool = False):
        self.batch_sampler, self.pin_memory = batches, pin_memory
        workers = min(workers, len(batches))
        wanted, free = workers * AHEAD * batch_bytes, free_shared_memory()
        pipes = wanted > free
        if pipes:
            warnings.warn(SmallSharedMemory(
                f"{SHARED_MEMORY} has {free >> 20} MiB free and {workers} workers want about "
                f"{wanted >> 20} MiB: their batches travel through pipes, which is slower; fewer "
                "--workers, or more shared memory (docker run --shm-size), make up for it"),
                stacklevel=2)
        self._loader = DataLoader(
            _Carrying(items), batch_sampler=batches, num_workers=workers, pin_memory=pin_memory,
            prefetch_factor=AHEAD if workers else None,
            persistent_workers=several_rounds and workers > 0,
            collate_fn=functools.partial(_collate, collate=collate, pipes=pipes))

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """The batches.

        Raises:
            LostWorker: a worker could not start, or was ended from outside.
            Exception: whatever making a batch raised, as it was raised.
        """
        try:
            for batch in self._started():
                if isinstance(batch, _Raised):
                    raise batch.error
                yield batch
        except RuntimeError as error:  # at the start too, of a worker that had stayed
            raise lost_worker(error) or error

    def _started(self):
        try:
            return iter(self._loader)
        except OSError as error:
            raise LostWorker(
                f"the processes that decode images could not start ({error.strerror or error}); "
                "give fewer --workers: with 0, this process decodes by itself") from error


def lost_worker(error: BaseException) -> LostWorker | None:
    """A LostWorker in the place of what torch's loader raises about a worker that is gone.

    Args:
        error: any; torch raises it wherever the main thread happens to be.

    Returns:
        None where it is about something else.
    """
    text = str(error)
    if not isinstance(error, RuntimeError) or "DataLoader worker" not in text or (
            "killed by signal" not in text and "exited unexpectedly" not in text):
        return None
    reason = text.partition("killed by signal: ")[2].partition(".")[0] or "it ended unexpectedly"
    return LostWorker(f"a process that decodes images is gone ({reason}), as when memory runs out; "
                      "what was finished before is kept: give fewer --workers, or more memory, "
                      "and run the same command again")


def free_shared_memory() -> int:
    """Bytes that are free for batches of worker processes; without limit where nobody says."""
    with contextlib.suppress(OSError):
        held = os.statvfs(SHARED_MEMORY)
        return held.f_bavail * held.f_frsize
    return 1 << 62


def _collate(items: Sequence, collate: Callable, pipes: bool) -> Any:
    """A batch, ready to leave its process, or the first error among its items."""
    raised = next((item for item in items if isinstance(item, _Raised)), None)
    if raised is not None:
        return raised
    try:
        batch = collate(items)
    except Exception as error:
        return _Raised(_portable(error))
    if get_worker_info() is None:
        return batch
    try:
        return _Piped(batch) if pipes else _in_shared_memory(batch)
    except (RuntimeError, OSError):  # full since: by other programs, or by larger batches
        return _Piped(batch)


def _portable(error):
    """An error that survives the way to another process, if need be one that tells of it."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # nothing keeps an exception from being one that cannot be copied
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")


def _in_shared_memory(batch):
    """A batch whose tensors lie in shared memory; torch would put them there where errors hang."""
    for value in vars(batch).values():
        if isinstance(value, torch.Tensor):
            value.share_memory_()
    return batch


class _Piped:
    """A batch that leaves its process by value and arrives as itself."""

    def __init__(self, batch):
        self.batch = batch

    def __reduce__(self):
        fields = {name: value.numpy() if isinstance(value, torch.Tensor) else value
                  for name, value in vars(self.batch).items()}
        names = [name for name, value in vars(self.batch).items()
                 if isinstance(value, torch.Tensor)]
        return _arrived, (type(self.batch), fields, names)


def _arrived(kind, fields, names):
    return kind(**{name: torch.from_numpy(value) if name in names else value
                   for name, value in fields.items()})
