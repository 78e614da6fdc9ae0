"""Cost of stage 2 and of the evaluation compared with the network's own arithmetic."""

import functools
import json
import statistics
import time

import torch

from benchmarks import bare
from benchmarks.rows import Target, interleaved, quotients, ratio_row
from benchmarks.setting import CT_BATCH, GRADIENT_RECIPE, SIZE
from common.backbones import build_backbone
from common.mask_cache.reader import MaskCache
from common.precision import choose_precision, format_name
from common.threads import one_thread_per_operation
from stage2_ct.data import TrainingBatch, TrainingImages
from stage2_ct.mask_sources import CachedMasks
from stage2_ct.training_loop import build_optimizer, train_epoch
from stage2_ct.variants import VARIANTS

EVALUATED = {"train": 2, "test": 4}  # images of each split, in those of the other measurements
CUB_SCORED = 5794 + 500  # test images of CUB-200-2011, and training images that tau is chosen on
ONE_EPOCH = ("--set", "epochs=1", "--set", f"batch_size={CT_BATCH}")


def loader(setting):
    """Reading, unpacking and transforming a cached mask, over the same for its image."""
    records = bare.target_records(setting.pictures[0], "train")
    config = VARIANTS["bc-ct"].config
    alone = TrainingImages(records, config)
    both = TrainingImages(records, config, MaskCache(_masks(setting)))

    def seconds(images, index):
        start = time.perf_counter()
        images[index, index]
        return time.perf_counter() - start
    ratios = []
    with one_thread_per_operation():  # as a loader's worker has
        for turn in range(10 * setting.repeats + 1):
            sums = {alone: 0.0, both: 0.0}
            for index in range(len(alone)):  # the second one finds the file in the page cache
                for images in (alone, both) if (index + turn) % 2 else (both, alone):
                    sums[images] += seconds(images, index)
            ratios.append(sums[both] / sums[alone] - 1)
    return [ratio_row("a cached mask in the loader / its image", ratios[1:], Target(high=0.10),
                      f"{len(records)} images of 500x375, one thread")]


def epochs(setting):
    """A CT epoch with cached masks over one without, and over one with online masks; our training
    loop over a bare one, both on tensors in memory."""
    _masks(setting)
    method, batches, labels, masks, config = _bare_training(setting)
    ours = _training_batches(batches, labels, masks)
    bare.training(method, batches[:1], labels, masks, config)

    seconds = interleaved(
        setting.repeats, cam=lambda: _epoch_seconds(setting, "--variant", "cam"),
        cached=lambda: _epoch_seconds(setting),
        bare=lambda: bare.training(method, batches, labels, masks, config),
        loop=lambda: _loop(method, ours, config),
        online=lambda: _epoch_seconds(setting, "--masks", "online"))
    cached, note = seconds["cached"], f"{setting.backbone}, {setting.images} images"
    return [ratio_row("CT epoch with cached masks / plain CAM", quotients(cached, seconds["cam"]),
                      Target(high=1.10), note),
            ratio_row("our training loop / bare loop, tensors in memory",
                      quotients(seconds["loop"], seconds["bare"]), Target(high=1.05), note),
            ratio_row("CT epoch with cached masks / bare loop", quotients(cached, seconds["bare"]),
                      None, f"{note}; decoding, augmentation and the start of workers included"),
            ratio_row("CT epoch with online masks / cached masks",
                      quotients(seconds["online"], cached), None,
                      f"{note}, one gradient pass per mask in float32, training in "
                      f"{format_name(choose_precision(config.precision, 'cpu'))}")]


def evaluation(setting):
    """``bcct evaluate`` over the bare forward pass over the images that it scores.

    The report's pictures, its references and the start cost the same for any number of images
    from 128 on; two splits of different size separate them from the cost per image, and the row is
    for as many images as are scored with CUB-200-2011. Tau is stated here: choosing it is scoring
    more images.
    """
    setting = setting.with_pictures("evaluation", **{
        split: times * setting.images for split, times in EVALUATED.items()})
    _masks(setting)
    run = _run(setting)
    method = _method(setting, VARIANTS["bc-ct"].config)
    records = {split: bare.target_records(setting.pictures[0], split) for split in EVALUATED}
    batches = bare.frames(records["train"], SIZE, setting.batch_size)
    bare.forward(method.predict, batches[:1])
    seconds = interleaved(
        setting.repeats, bare=lambda: bare.forward(method.predict, batches),
        **{split: functools.partial(
            setting.bcct, "evaluate", run, "--split", split, "--input-size", SIZE,
            "--tau-from", "0.5") for split in EVALUATED})
    few, many = (len(records[split]) for split in EVALUATED)
    parts = [_parts(one / few, *times, few, many) for one, *times in zip(*seconds.values())]
    fixed = statistics.median(fixed for fixed, _ in parts)
    return [ratio_row("evaluation / forward pass, for CUB's test images",
                      [each + fixed / CUB_SCORED for fixed, each in parts], Target(high=1.2),
                      f"{setting.backbone}, {few} and {many} images; the part that does not grow "
                      f"with them takes as long as {fixed:.0f} forward passes")]


def _parts(one, first, second, few, many):
    """(fixed part, part per image) of a time measured for few and for many images.

    Args:
        one: seconds of one image's forward pass, the unit of both results.
        first, second: seconds for few and for many images.
        few, many: their numbers.
    """
    each = (second - first) / (many - few)
    return (first - few * each) / one, each / one


def _words(setting):
    return (*setting.words(setting.cache), *GRADIENT_RECIPE)


def _masks(setting):
    """The folder of the training images' masks, made on first use."""
    setting.bcct("masks", *_words(setting))
    folder, = (setting.cache / "masks").glob("*-blurred-*")
    return folder


def _run(setting, *options):
    """The folder of a run that has been trained for one epoch."""
    setting.fresh(setting.cache / "ct")
    setting.bcct("train-ct", *_words(setting), *ONE_EPOCH, *options)
    folder, = (setting.cache / "ct").iterdir()
    return folder


def _epoch_seconds(setting, *options):
    """Seconds of one epoch as the run's own log gives them: without start and checkpoint."""
    line, = (_run(setting, *options) / "log.jsonl").read_text().splitlines()
    return json.loads(line)["seconds"]


def _method(setting, config):
    backbone = build_backbone(setting.backbone, setting.weights)
    method = VARIANTS["bc-ct"].method(backbone, 10, config)
    return method.to(memory_format=torch.channels_last)


def _training_batches(batches, labels, masks):
    """The same as the loader would give it."""
    return [TrainingBatch((images * 255).round().byte(), classes, mask.bool(),
                          torch.ones(len(images), dtype=torch.bool))
            for images, classes, mask in zip(batches, labels, masks)]


def _loop(method, batches, config):
    """An epoch of the product's own training loop."""
    optimizer, _ = build_optimizer(method, config)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    train_epoch(method, CachedMasks(), batches, optimizer, scaler, "cpu", config.gradient_limit,
                choose_precision(config.precision, "cpu"))


def _bare_training(setting):
    """A method, and an epoch's images, labels and masks in memory."""
    records = bare.target_records(setting.pictures[0], "train")
    batches = bare.frames(records, SIZE, CT_BATCH)
    labels = torch.tensor([record.label for record in records]).split(CT_BATCH)
    masks = [(images[:, :1] > 0.5).float() for images in batches]
    config = VARIANTS["bc-ct"].config
    return _method(setting, config), batches, labels, masks, config
