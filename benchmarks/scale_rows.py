"""What counts with many images: sharpening, listing them, and masks by independent parts."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import bare
from benchmarks.box_rule_rows import synthetic_map
from benchmarks.cache_scale import in_fresh_process, measure_listing, write_images
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from benchmarks.setting import GRADIENT_RECIPE, SIZE
from common.mask_cache.shards import SHARD_SIZE
from common.threads import one_thread_per_operation
from stage1_bc.sharpening import sharpen

SHARPEN_BY = {"colours": Target(high=3), "grabcut": None}
ILSVRC = 1_281_167  # training images
PARTS = 2  # of as many shards
PARTS_BACKBONE = "squeezenet1_1"


def sharpening(setting):
    """Milliseconds of processor time that sharpening a map takes, an operation in one thread."""
    records = bare.target_records(setting.pictures[0], "train")
    images = torch.cat(bare.frames(records, SIZE, setting.batch_size))
    random = np.random.default_rng(0)
    maps = torch.from_numpy(np.stack([synthetic_map(random) for _ in images]))
    batches = list(zip(images.split(setting.batch_size), maps.split(setting.batch_size)))

    def milliseconds(by):
        start = time.process_time()
        for pictures, scores in batches:
            sharpen(pictures, scores, 0.5, by)
        return 1000 * (time.process_time() - start) / len(images)
    with one_thread_per_operation():
        sharpen(images[:1], maps[:1], 0.5, "colours")
        times = interleaved(setting.repeats, colours=lambda: milliseconds("colours"),
                            grabcut=lambda: milliseconds("grabcut"))
    return [ratio_row(f"sharpening by {by}, ms of processor time per image", times[by], target,
                      f"{len(images)} maps of {SIZE}x{SIZE}, batches of {setting.batch_size}")
            for by, target in SHARPEN_BY.items()]


def listing(setting, count=ILSVRC):
    """Listing as many images as ILSVRC has and looking at each file once, as each command does.

    Processor time, in fresh processes, over that of a bare walk that looks at each file.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder), count)
        in_fresh_process(_walk, images)  # names are then in the page cache for both sides
        seconds = interleaved(setting.repeats, ours=lambda: in_fresh_process(_listed, images),
                              bare=lambda: in_fresh_process(_walk, images))
    return [ratio_row("listing the data set once / a bare walk",
                      quotients(seconds["ours"], seconds["bare"]), None,
                      f"{count:,} images, {min(seconds['ours']):.1f} s of processor time, which "
                      "every further listing would cost again")]


def _listed(images):
    return float(measure_listing(images)["listing_processor_seconds"])


def _walk(images):
    """Seconds of processor time to look at each file."""
    start = time.process_time()
    for folder in os.scandir(images):
        for entry in os.scandir(folder):
            entry.stat()
    return time.process_time() - start


def parts(setting):
    """Masks by independent parts, one after another, and ``--finish``, over one ``bcct masks``."""
    setting = setting.with_pictures("parts", train=PARTS * SHARD_SIZE, test=1)
    words = (*setting.words(setting.cache), "--backbone", PARTS_BACKBONE, *GRADIENT_RECIPE)
    setting.bcct("train-bc", *words)

    def make(*runs):
        setting.fresh(setting.cache / "masks")
        for options in runs:
            setting.bcct("masks", *words, *options)
    seconds = interleaved(
        setting.repeats, whole=lambda: make(()),
        parts=lambda: make(*(("--part", f"{part}/{PARTS}") for part in range(PARTS)),
                           ("--finish", PARTS)))
    return [ratio_row("masks in parts and --finish / masks in one go",
                      quotients(seconds["parts"], seconds["whole"]), Target(high=1.1),
                      f"{PARTS_BACKBONE}, {setting.images} images, {PARTS} parts in turn")]
