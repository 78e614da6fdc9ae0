"""One run at a time writes to a folder, however many processes the run has."""

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
    """Hold a folder for one run; another run waits until every process of this one has ended.

    POSIX record locks on the bytes of ``folder/.lock``: the first process asks for all of them,
    so it waits for whatever is left of an earlier run; then each process keeps the byte of its
    rank. The system drops a process's lock when it dies, however it dies, and forked data loader
    workers do not inherit it. Holds between machines where the file system knows such locks, as
    NFS 4 does. Not for two threads of one process, which such locks do not keep apart.

    Args:
        folder: the folder; made when missing.
        rank: this process's number in its run, from 0.
        barrier: called to wait until every process of the run has called it; None for one process.
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
    """Lock a range of bytes, saying so before a wait."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):  # POSIX lets a system say either
        notify(f"process {os.getpid()} waits: another run is writing to {Path(file.name).parent}")
        fcntl.lockf(file, fcntl.LOCK_EX, length, start)
