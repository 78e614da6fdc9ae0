"""What the operating system refuses, as one sentence: the file, what failed and what to do.

Such an error says nothing about what is in a file: it never counts as damage.
"""

import errno
from pathlib import Path

MISSING = (FileNotFoundError, NotADirectoryError)  # there is no such file, which does say something

_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n), or give fewer --workers",
    errno.ENFILE: "this machine has too many files open; end some of its programs",
    errno.ENOMEM: "free some of this machine's memory",
    errno.EACCES: "allow reading",
    errno.EPERM: "allow reading",
    errno.EAGAIN: "another program has it locked: wait until that has ended",
    errno.EBUSY: "another program is using it: wait until that has ended",
    errno.ENOLCK: "its file system has no locks: mount it with locks, or use another one",
    errno.EIO: "look at the disk or the network that holds it",
    errno.ESTALE: "mount its network file system again",
    errno.ETIMEDOUT: "look at the network that it is on",
    errno.EISDIR: "name a file, not a folder",
}


class SystemRefusal(OSError):
    """An OSError whose text is one sentence, without an error number."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class CannotWrite(SystemRefusal):
    """A file could not be written."""


class CannotRead(SystemRefusal):
    """A file is there and could not be read; what is in it may well be sound."""


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """A CannotWrite whose one sentence names the file and what to do."""
    return CannotWrite(error.errno, f"cannot write {path.name} into the folder {path.parent} "
                       f"({reason_of(error)}); what was finished before is kept: make room there, "
                       "or allow writing, and run the same command again")


def cannot_read(path: str | Path, error: OSError) -> CannotRead:
    """A CannotRead whose one sentence names the file and what to do.

    Args:
        path: the file.
        error: what the operating system raised.
    """
    remedy = _REMEDIES.get(error.errno or 0, "find the cause")
    return CannotRead(error.errno, f"cannot read {path} ({reason_of(error)}); the file itself may "
                      f"be sound; {remedy}, and run the same command again")


def reason_of(error: OSError) -> str:
    """The system's words for an error, without its number."""
    return error.strerror or str(error) or type(error).__name__
