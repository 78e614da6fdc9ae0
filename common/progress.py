"""How long work reports its progress: through a context that the caller hands in."""

import contextlib
from collections.abc import Callable, Iterator

Advance = Callable[[int], object]
"""Called with the number of units that have been done since the last call."""


@contextlib.contextmanager
def silent(total: int, description: str, unit: str = "images") -> Iterator[Advance]:
    """Report nothing; the default of every function that takes ``progress``.

    Args:
        total: number of units of work.
        description: what is done, for a progress bar.
        unit: what is counted.
    """
    yield lambda count: None
