import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from pipelines.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):
    bytearray(64 * 2 ** 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(argument):
    """Pages that the system hands to a process that takes and frees 64 MB, twenty times."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, argument], check=True,
                          capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="allocates as the GNU C library does")
def test_freed_memory_is_used_again():
    assert faults("keep") < faults("as it is") / 5
