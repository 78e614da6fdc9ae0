"""``bcct localize`` on many pictures: over the bare forward pass, and its growth in memory."""

import functools
import os
import time
from pathlib import Path

from benchmarks import bare
from benchmarks.commands import BCCT, GROWTH_BACKBONE, peak_memory
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from common.compute import choose_compute
from common.stored_weights import weights_identity
from stage2_ct.localizer import Localizer, load_model
from stage2_ct.model_file import PackedModel, write_model
from stage2_ct.prediction import default_input_side
from stage2_ct.run import build_method
from stage2_ct.variants import VARIANTS

FEW, MANY = 208, 416  # timed; the page shows no more from 200 on, so it cancels
GROWING, TIMES = 652, 10  # CUB-200-2011's test pictures of 25 classes, for memory
VARIANT, TAU, CLASSES = "bc-ct", 0.5, 25


def localizing(setting):
    """Seconds per further picture over a forward pass, and peak memory at ten times the pictures.

    What does not grow with the pictures (start, the page) cancels in the difference of two numbers
    of pictures. The model is not trained: its maps are noise, whose parts take longer to connect
    than those of a trained model's maps.
    """
    return [_time(setting.with_pictures("localize", train=32, test=MANY)),
            _memory(setting.with_pictures("localize-growth", train=32, test=GROWING))]


def _time(setting):
    model = _model(setting, setting.backbone)
    localizer = Localizer(load_model(model), choose_compute("cpu", setting.batch_size, workers=0))
    records = bare.target_records(setting.pictures[0], "test")
    batches = bare.frames(records[:4 * setting.batch_size], localizer.side, setting.batch_size)
    bare.forward(localizer.method.predict, batches[:1])
    folders = {count: _linked(setting, records[:count], 1) for count in (FEW, MANY)}
    seconds = interleaved(
        setting.repeats, bare=lambda: bare.forward(localizer.method.predict, batches),
        **{str(count): functools.partial(_localize, setting, model, folder)
           for count, folder in folders.items()})
    per_picture = [(many - few) / (MANY - FEW)
                   for few, many in zip(seconds[str(FEW)], seconds[str(MANY)])]
    forward = [each / (4 * setting.batch_size) for each in seconds["bare"]]
    return ratio_row("localize, per picture / forward pass", quotients(per_picture, forward),
                     Target(high=1.3), f"{setting.backbone}, {FEW} and {MANY} pictures")


def _memory(setting):
    """Peak memory of one run on ten times the pictures, over the largest of ten runs.

    The peak is where two batches need their memory at once, which is rarer in a short run. So both
    sides have the same number of batches.
    """
    model = _model(setting, GROWTH_BACKBONE)
    records = bare.target_records(setting.pictures[0], "test")
    few, many = (_words(setting, model, _linked(setting, records, times)) for times in (1, TIMES))
    runs = [peak_memory(*BCCT, *few) for _ in range(TIMES)]
    return ratio_row("growth of localize: peak memory at 10 n over n",
                     [peak_memory(*BCCT, *many) / max(runs)], Target(high=1.05),
                     f"{GROWTH_BACKBONE}, {GROWING:,} and {TIMES * GROWING:,} pictures, the "
                     f"largest of {TIMES} runs of the former")


def _words(setting, model, pictures):
    return ("localize", model, pictures, "--overwrite", "--out",
            setting.folder / f"found-{pictures.name}")


def _localize(setting, model, pictures):
    start = time.perf_counter()
    setting.bcct(*_words(setting, model, pictures))
    return time.perf_counter() - start


def _model(setting, backbone):
    """A model file of an untrained method."""
    config = VARIANTS[VARIANT].config
    path = Path(setting.folder) / f"{backbone}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_model(path, PackedModel(
        {"variant": VARIANT, "score_map": config.score_map, "tau": TAU, "source": "fixed",
         "note": "A stated number.", "input_size": default_input_side(config.image_size)},
        {"variant": VARIANT, "backbone": backbone, "weights": weights_identity("none"),
         "classes": [f"class {number}" for number in range(CLASSES)], "seed": 0,
         "config": config.of_training()},
        {}, build_method(VARIANT, backbone, "none", CLASSES, config, seed=0).state_dict()))
    return path


def _linked(setting, records, times):
    """A folder in which each picture is linked so many times."""
    folder = Path(setting.folder) / f"{len(records)}-times-{times}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for record in records:
            for copy in range(times):
                os.symlink(record.path.resolve(), folder / f"{copy}-{record.path.name}")
    return folder
