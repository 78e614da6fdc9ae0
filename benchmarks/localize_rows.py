"""``bcct localize`` on many pictures: over the bare forward pass, and its growth in memory."""

import functools
import os
import time
from pathlib import Path

from benchmarks import bare
from benchmarks.commands import BCCT, peak_memory
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from common.compute import choose_compute
from stage2_ct.localizer import Localizer, load_model

PICTURES = 652  # CUB-200-2011's test pictures of 25 classes; the page shows no more from 200 on
TIMES = 10
TAU = "0.5"  # stated: choosing it belongs to training


def localizing(setting):
    """Seconds per further picture over a forward pass, and peak memory at ten times the pictures.

    What does not grow with the pictures (start, the page) cancels in the difference of two numbers
    of pictures.
    """
    setting = setting.with_pictures("localize", train=32, test=PICTURES)
    run = _trained(setting)
    folders = {times: _linked(setting, times) for times in (1, TIMES)}
    localizer = Localizer(load_model(run, float(TAU)), choose_compute(
        "cpu", setting.batch_size, workers=0))
    records = bare.target_records(setting.pictures[0], "test")[:4 * setting.batch_size]
    batches = bare.frames(records, localizer.side, setting.batch_size)
    bare.forward(localizer.method.predict, batches[:1])
    seconds = interleaved(
        setting.repeats, bare=lambda: bare.forward(localizer.method.predict, batches),
        **{str(times): functools.partial(_localize, setting, run, folder)
           for times, folder in folders.items()})
    per_picture = [(many - few) / ((TIMES - 1) * PICTURES)
                   for few, many in zip(seconds["1"], seconds[str(TIMES)])]
    memory = {times: peak_memory(*BCCT, *_words(setting, run, folder))
              for times, folder in folders.items()}
    note = f"{setting.backbone}, {PICTURES:,} and {TIMES * PICTURES:,} pictures"
    return [ratio_row("localize, per picture / forward pass", quotients(
                per_picture, [each / len(records) for each in seconds["bare"]]),
                Target(high=1.3), note),
            ratio_row("growth of localize: peak memory at 10 n over n",
                      [memory[TIMES] / memory[1]], Target(high=1.05), note)]


def _words(setting, run, folder):
    return ("localize", run, folder, "--tau", TAU, "--overwrite", "--out",
            setting.folder / f"found-{folder.name}", "--cache", setting.cache)


def _localize(setting, run, folder):
    start = time.perf_counter()
    setting.bcct(*_words(setting, run, folder))
    return time.perf_counter() - start


def _trained(setting):
    """A run without masks, trained for one epoch: its boxes do not matter, its time does."""
    if not (setting.cache / "ct").is_dir():
        data, _ = setting.pictures
        setting.bcct("train-ct", "--variant", "cam", "--data", data, "--cache", setting.cache,
                     "--backbone", setting.backbone, "--weights", setting.weights, "--set",
                     "epochs=1", "--set", "width=256")
    return next((setting.cache / "ct").iterdir())


def _linked(setting, times):
    """A folder in which each picture is linked so many times."""
    folder = Path(setting.folder) / f"times-{times}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for record in bare.target_records(setting.pictures[0], "test"):
            for copy in range(times):
                os.symlink(record.path.resolve(), folder / f"{copy}-{record.path.name}")
    return folder
