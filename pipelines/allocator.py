"""How the processor's memory is handed out, on systems with the GNU C library."""

import ctypes
import os

# mallopt's numbers for M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX: blocks below a gigabyte
# come from the heap, which keeps up to two, and is one for all threads: others are small.
_OPTIONS = {-3: 2 ** 30, -1: 2 ** 31 - 1, -8: 1}


def keep_freed_memory():
    """Let this process use freed memory again where it would give it back to the system.

    Networks on the CPU free and take the same large blocks over and over, and without this each
    comes from the system anew, which clears its pages: a seventh of VGG-16's time. Where there is
    no mallopt, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in _OPTIONS.items():
            mallopt(option, value)
