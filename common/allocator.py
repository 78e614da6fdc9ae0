"""How the processor's memory is handed out, on systems with the GNU C library."""

import ctypes
import os

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h


def share_one_arena() -> None:
    """Let all threads of this process take memory from one arena.

    Threads that each run a network free blocks of every size; in an arena of its own for each,
    what one has freed the others cannot use, and the process grows. Where there is no mallopt,
    nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
