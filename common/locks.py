"""Write locks on a folder: one shared by all processes of a run, or one for each item in it."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from common.system_errors import SystemRefusal, cannot_write, reason_of

LOCK = ".lock"
ITEMS = 2 ** 32  # from this byte of the file on, one for each item; those before are for ranks
HELD = (errno.EAGAIN, errno.EACCES)  # somebody else has the lock; POSIX allows either


@contextlib.contextmanager
def write_lock(folder: str | Path, rank: int = 0, barrier: Callable[[], object] | None = None,
               notify: Callable[[str], object] | None = None) -> Iterator[None]:
    """Context that locks a folder for one run; others wait until all processes of it have ended.

    POSIX record locks on the bytes of ``folder/.lock``: the first process asks for all of them,
    so it waits for any process left of an earlier run; then each process keeps the byte of its
    rank. The system drops a lock when its process dies, and forked data loader workers do not
    inherit it. It works between machines if the file system supports such locks, as NFS 4 does.
    It does not separate two threads of one process.

    Where the file system has no locks, this refuses and does not go on without one: two runs
    would write the same temporary file, and what one of them renames to its final name could be
    a mixture of both.

    Args:
        folder: the folder; made when missing.
        rank: this process's number in its run, from 0.
        barrier: waits until every process of the run has called it; None for a single process.
        notify: called once with a sentence when another run has to be waited for.

    Raises:
        CannotWrite: the folder cannot be written.
        SystemRefusal: its file system has no locks; names the folder and says what to do.
    """
    with _opened(folder) as file:
        if rank == 0:
            _lock(file, 0, 0, notify or (lambda sentence: None))  # 0 bytes long means to the end
            fcntl.lockf(file, fcntl.LOCK_UN, 0, 1)  # all but the first: for the other ranks
        if barrier is not None:
            barrier()
        if rank > 0:
            _wait_for_lock(file, 1, rank)
        yield


@contextlib.contextmanager
def item_locks(folder: str | Path, numbers: Iterable[int],
               notify: Callable[[str], object] | None = None) -> Iterator[None]:
    """Context that locks some items of a folder, while other processes may write other items.

    While any process is in this context, no run gets the folder's ``write_lock``, and the other
    way round. All that is said there of POSIX locks holds here too.

    Args:
        folder: the folder; made when missing.
        numbers: the items' numbers, from 0.
        notify: called with a sentence when another process has to be waited for.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    notify = notify or (lambda sentence: None)
    with _opened(folder) as file:
        _lock(file, ITEMS, 0, notify, fcntl.LOCK_SH)
        for number in sorted(numbers):  # everybody in the same order, so that nobody waits for ever
            _lock(file, 1, ITEMS + number, notify)
        yield


def _opened(folder):
    """The folder's lock file, open for shared locks (which need reading) and exclusive ones."""
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+b")
    except OSError as error:
        raise cannot_write(path, error) from error


def _lock(file, length, start, notify, kind=fcntl.LOCK_EX):
    """Lock a range of bytes; notify before waiting."""
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, length, start)
    except OSError as error:
        if error.errno in HELD:
            notify(f"process {os.getpid()} waits: another run is writing to "
                   f"{Path(file.name).parent}")
        _wait_for_lock(file, length, start, kind)  # which fails again where there are no locks


def _wait_for_lock(file, length, start, kind=fcntl.LOCK_EX):
    try:
        fcntl.lockf(file, kind, length, start)
    except OSError as error:
        raise _no_locks(Path(file.name).parent, error) from error


def _no_locks(folder, error):
    return SystemRefusal(error.errno, (
        f"cannot lock the folder {folder} ({reason_of(error)}): its file system gives no locks, "
        "which keep two runs from writing the same files; name a folder on another one with "
        "--cache, or mount this one with locks (NFS 4, or Lustre with the option flock)"))
