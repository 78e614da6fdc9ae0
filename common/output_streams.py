"""Standard output and error that never end a run: closed, broken or full, the work goes on."""

import errno
import io
import os
import sys
from typing import Any

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # nobody reads any more: ``| head``, a closed terminal


class PatientOutput(io.FileIO):
    """A stream that drops what can no longer be written to it.

    Args:
        descriptor: of the stream; it stays open when this object is closed.
    """

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None
        """Why something was dropped that somebody may have wanted, as on a full disk."""

    def write(self, data: Any) -> int:
        """Write some bytes, or drop them; gives how many."""
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in GONE:
                self.failure = error
            return len(data)


def make_patient() -> list[PatientOutput]:
    """Let ``sys.stdout`` and ``sys.stderr`` survive whatever happens to them.

    A descriptor that was closed when the program started leads to nowhere from now on: otherwise
    the next file that is opened would get its number, and with it what libraries print.

    Returns:
        The two streams.
    """
    streams = []
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        _open_if_closed(descriptor)
        if name == "stdin":
            continue
        old, stream = getattr(sys, name), PatientOutput(descriptor)
        text = io.TextIOWrapper(
            io.BufferedWriter(stream), encoding=getattr(old, "encoding", None) or "utf-8",
            errors=getattr(old, "errors", None) or "backslashreplace",
            line_buffering=name == "stderr" or stream.isatty())
        if old is not None:
            old.flush()
        setattr(sys, name, text)
        streams.append(stream)
    return streams


def _open_if_closed(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
