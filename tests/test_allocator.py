import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from common.allocator import share_one_arena
if sys.argv[1] == "share":
    share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
places = []
threads = [threading.Thread(target=lambda: places.append(libc.malloc(1000))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
heap = next(line for line in open("/proc/self/maps") if "[heap]" in line)
top = int(heap.split()[0].split("-")[1], 16)
print(sum(place > top for place in places))
"""


def outside_the_heap(argument):
    """How many of four threads get their memory from another arena than the process's first."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, argument], check=True,
                          capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
def test_threads_share_one_arena():
    assert outside_the_heap("share") == 0 < outside_the_heap("as it is")
