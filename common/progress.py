"""How long work tells its user what it does: through what the caller hands in."""

import contextlib
import dataclasses
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


def ignore(sentence: str) -> None:
    """Say nothing."""


@dataclasses.dataclass(frozen=True)
class Reports:
    """Everything that work may tell its user; nothing by default."""

    progress: Callable = silent
    """A context as ``silent`` is one."""
    say: Callable[[str], object] = ignore
    """Called with a sentence on what is done."""
    warn: Callable[[str], object] = ignore
    """Called with a sentence on what the user may not expect."""
