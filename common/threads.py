"""Networks on the CPU: the same bits whatever the number of cores.

How an operation splits its sums over threads changes their last bits, and with them, now and then,
a pixel of a mask. So where bytes must not depend on the machine's cores, each operation gets one
thread, and the cores are kept busy with several batches at once.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import joblib
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_BATCHES = 8  # at once, which bounds the memory they take


@contextlib.contextmanager
def one_thread_per_operation() -> Iterator[int]:
    """Let torch compute each operation in one thread for the time of the body.

    Yields:
        How many threads an operation had before: how many batches may be computed at once.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item],
                 device: str | torch.device, threads: int) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in their order.

    On the CPU several are computed at once, each in a thread; on another device two, so that the
    host cuts one batch's masks while the device works on the next.

    Args:
        function: called with one item; leaves no trace but its result. In its thread, torch
            records gradients unless the function itself says otherwise.
        items: iterable; read a few items ahead.
        device: torch device that the function works on.
        threads: how many at once on the CPU.
    """
    threads = min(MOST_BATCHES, threads) if torch.device(device).type == "cpu" else 2
    parallel = joblib.Parallel(threads, prefer="threads", return_as="generator")
    yield from parallel(joblib.delayed(function)(item) for item in items)
