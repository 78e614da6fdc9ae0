"""A write lock on a folder, shared by all processes of one run."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from common.files import cannot_write

LOCK = ".lock"


@contextlib.contextmanager
def write_lock(folder: str | Path, rank: int = 0, barrier: Callable[[], object] | None = None,
               notify: Callable[[str], object] | None = None) -> Iterator[None]:
    """Context that locks a folder for one run; others wait until all processes of it have ended.

    POSIX record locks on the bytes of ``folder/.lock``: the first process asks for all of them,
    so it waits for any process left of an earlier run; then each process keeps the byte of its
    rank. The system drops a lock when its process dies, and forked data loader workers do not
    inherit it. It works between machines if the file system supports such locks, as NFS 4 does.
    It does not separate two threads of one process.

    Args:
        folder: the folder; made when missing.
        rank: this process's number in its run, from 0.
        barrier: waits until every process of the run has called it; None for a single process.
        notify: called once with a sentence when another run has to be waited for.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        if rank == 0:
            _lock(file, 0, 0, notify or (lambda sentence: None))  # 0 bytes long means to the end
            fcntl.lockf(file, fcntl.LOCK_UN, 0, 1)  # all but the first: for the other ranks
        if barrier is not None:
            barrier()
        if rank > 0:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, rank)
        yield


def _lock(file, length, start, notify):
    """Lock a range of bytes; notify before waiting."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        notify(f"process {os.getpid()} waits: another run is writing to {Path(file.name).parent}")
        fcntl.lockf(file, fcntl.LOCK_EX, length, start)
