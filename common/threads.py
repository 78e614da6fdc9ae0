"""Networks on the CPU: the same bits whatever the number of cores.

How an operation splits its sums over threads changes their last bits and, occasionally, a pixel of
a mask. So where bytes must not depend on the number of cores, each operation runs in
one thread, and several batches at once keep the cores busy.
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
    """Context in which torch computes each operation in one thread.

    Yields:
        Number of threads that an operation had before, that is, of batches to compute at once.
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

    On the CPU several items are computed at once, one thread each; on another device two, so that
    the host cuts the masks of one batch while the device works on the next.

    Args:
        function: called with one item, free of side effects. In its thread torch records
            gradients unless the function disables that.
        items: iterable; read a few items ahead.
        device: torch device that the function works on.
        threads: number of items at once on the CPU.
    """
    threads = min(MOST_BATCHES, threads) if torch.device(device).type == "cpu" else 2
    parallel = joblib.Parallel(threads, prefer="threads", return_as="generator")
    yield from parallel(joblib.delayed(function)(item) for item in items)
