"""Whole commands in fresh processes: startup, and growth of time and memory."""

import subprocess
import sys
import time

import numpy as np

from benchmarks.photographs import write_pictures
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from benchmarks.setting import GRADIENT_RECIPE

BCCT = (sys.executable, "-m", "pipelines")
GROWTH_BACKBONE = "squeezenet1_1"  # cheap, so that costs other than its arithmetic show
# n of each split: from 128 on, a report shows no more pictures; with fewer than 256, the variation
# of the start, up to a second, is a large part of the difference between n and 4 n.
GROWTH_IMAGES = 256
STEPS = (1, 2, 4, 16)


def startup(setting):
    """Seconds until the help text is printed."""
    def show_help():
        subprocess.run([*BCCT, "--help"], check=True, stdout=subprocess.DEVNULL)
    show_help()
    seconds = interleaved(5 * setting.repeats, help=show_help)["help"]
    return [ratio_row("bcct --help, seconds", seconds, Target(high=0.3), "in a process of its own")]


def growth(setting):
    """Time and memory of masks, a CT epoch and an evaluation at n, 4 n and 16 n images."""
    folders = {step: _prepared(setting, step) for step in STEPS}
    seconds = {name: {step: [] for step in steps} for name, (_, _, steps) in _COMMANDS.items()}
    memory = {name: {step: [] for step in steps} for name, (_, _, steps) in _COMMANDS.items()}
    for _ in range(setting.repeats):
        for step, (cache, words) in folders.items():
            for name, (made, options, steps) in _COMMANDS.items():
                if step not in steps:
                    continue
                setting.fresh(cache / made)
                command = _command(cache, name, words, options)
                start = time.perf_counter()
                memory[name][step].append(peak_memory(*command))
                seconds[name][step].append(time.perf_counter() - start)
    return [line for name, (_, _, steps) in _COMMANDS.items() for line in (
        ratio_row(f"growth of {name}: seconds per further image, 4 n to 16 n over "
                  f"{'n' if steps[-3] == 1 else f'{steps[-3]} n'} to 4 n",
                  [_growth(steps[-3:], once)
                   for once in zip(*(seconds[name][step] for step in steps[-3:]))],
                  Target(0.9, 1.1), _note(steps[-3:])),
        ratio_row(f"growth of {name}: peak memory at 16 n over n",
                  quotients(memory[name][16], memory[name][1]), Target(high=1.1), _note((1, 16))))]


_COMMANDS = {  # name: (folder in the cache that it makes, its options, steps); time: the last 3
    "masks": ("masks", (), (1, 4, 16)),
    # It chooses tau by at most 500 of the training images: with n, by all of them, so that the time
    # per further image would include that choice up to 2 n and not beyond.
    "train-ct": ("ct", ("--set", "epochs=1", "--set", "width=64", "--set", "mask_width=64"), STEPS),
    "evaluate": ("ct/none", ("--tau-from", "0.5"), (1, 4, 16)),
}


def _note(steps):
    counts = " and ".join(str(step * GROWTH_IMAGES) for step in steps)
    return f"{GROWTH_BACKBONE}, {counts} images of each split"


def _growth(steps, seconds):
    """Cost per further image from the second step to the third, over that from the first to the
    second; the startup time cancels."""
    earlier, later = np.diff(seconds) / np.diff(steps)
    return later / earlier


def _prepared(setting, step):
    """Pictures and a trained classifier of ``step`` times n images: (cache, options)."""
    count = step * GROWTH_IMAGES
    cache = setting.folder / f"growth-{count}"
    data, background = write_pictures(cache / "pictures", count, count, 16)
    words = ("--data", data, "--background", background, "--cache", cache, "--backbone",
             GROWTH_BACKBONE, "--weights", "none", *GRADIENT_RECIPE)
    setting.bcct("masks", *words)
    return cache, words


def _command(cache, name, words, options):
    if name == "evaluate":
        folder, = (cache / "ct").iterdir()
        return (*BCCT, name, folder, *options)
    return (*BCCT, name, *words, *options)


# A separate process that is small when it starts the command: on Linux, a process's peak memory
# includes that of the process it was forked from.
_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_memory(*command):
    """Run a command silently and return its largest resident memory in bytes.

    Of a command that starts workers, it is that of the largest process.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run([sys.executable, "-c", _LAUNCHER, *map(str, command)], check=True,
                          capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return unit * int(done.stdout)
