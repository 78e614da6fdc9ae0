"""How the processor's memory is handed out, on systems with the GNU C library."""

import ctypes
import os

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h


def share_one_arena() -> None:
    """Let all threads of this process take memory from one arena.

    Threads that run networks free blocks of all sizes. If each has its own arena, the others
    cannot reuse these blocks, and the process grows. Does nothing where there is no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
