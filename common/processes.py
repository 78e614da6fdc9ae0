"""Collective operations between the processes of one torchrun; no-ops in a single process.

``torchrun`` sets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT for each process.
"""

import contextlib
import datetime
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import distributed

# Ranks may reach a barrier hours apart. A rank that dies is still noticed at once, because its
# connections close; torchrun then ends the others.
PATIENCE = datetime.timedelta(days=7)


class LostProcess(ConnectionError):
    """Another process of the run ended before its work was done."""


Value = TypeVar("Value")
AGAIN = "run the same command again"


@contextlib.contextmanager
def process_group(again: str = AGAIN) -> Iterator[None]:
    """Context in which the processes that torchrun started form one group.

    Collectives use gloo on the CPU, and NCCL between GPUs where each process has its own GPU;
    ``cuda`` then means that one.

    Args:
        again: advice for the message when a process is lost.

    Raises:
        LostProcess: another process ended early; the message gives the advice.
        SystemExit: this process was told to end (SIGTERM), as torchrun does when another died.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    try:
        distributed.init_process_group(_backend(), timeout=PATIENCE)
        signal.signal(signal.SIGTERM, lambda number, frame: _told_to_end(again))
        yield
    except RuntimeError as error:
        if _is_of_a_connection(error):
            raise LostProcess(f"{_whose()}another process of this run has ended; what is finished "
                              f"is kept: {again} ({_first_line(error)})") from error
        raise
    distributed.destroy_process_group()  # not after an error: NCCL would wait for dead processes


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def barrier() -> None:
    """Wait until every process has called this."""
    all_gather(None)


def all_gather(value: Value) -> list[Value]:
    """The values that the processes pass, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)  # through gloo, even where tensors use NCCL
    return values


def broadcast_from_first(make: Callable[[], Value]) -> Value:
    """The result of ``make()`` in the first process, returned by all of them; they wait for it."""
    values: list[Any] = all_gather(make() if rank() == 0 else None)
    return values[0]


def mean_over_processes(values: dict[str, float]) -> dict[str, float]:
    """Each value of a dict of floats, averaged over the processes."""
    everywhere = all_gather(values)
    return {name: sum(one[name] for one in everywhere) / len(everywhere) for name in values}


def _backend():
    """gloo, and NCCL too where each process of this machine has a GPU."""
    if not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return "cpu:gloo,cuda:nccl" if local_world_size() <= torch.cuda.device_count() else "gloo"


def _told_to_end(again):
    raise SystemExit(f"bcct: {_whose()}told to end, as when another process of the run dies; what "
                     f"is finished is kept: {again}")


def _is_of_a_connection(error):
    """Whether a torch error means that another process is gone."""
    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(
        word in text for word in ("gloo", "nccl", "connection closed", "connection reset"))


def _whose():
    return f"process {rank()} of {world_size()}: " if world_size() > 1 else ""


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
