"""Both stages on a GPU: images per second, as shares of the card's own matrix rate, and what bounds
them. ``bcct bench --gpu`` prints the table."""

import dataclasses
import datetime
import json
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import bare
from benchmarks.mask_rows import DELTAS
from benchmarks.rows import Target, machine
from benchmarks.setting import GRADIENT_RECIPE, SIZE
from common.files import write_bytes
from common.loading import consecutive, default_workers, load_frames
from common.memory import batch_size_for
from common.precision import PRECISIONS, autocast, choose_precision, format_name
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.cutting import cut
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES
from stage2_ct.variants import VARIANTS

CUB, ILSVRC = 5994, 1_281_167  # training images
RECIPE = "guided-layers"
TRAINING_BATCH = 32
TRAINING_STEPS = 16  # of a bare loop, so that its startup does not count


@dataclasses.dataclass(frozen=True)
class Throughput:
    """Images per second of one kind of work."""

    name: str
    """What, and in which number format."""
    images_per_second: float
    """Measured."""
    operations: float | None = None
    """Floating-point operations per image, two per multiply-add; None for work of the host."""
    matrix_rate: float | None = None
    """Operations per second of the card's matrix products in that format."""

    @property
    def share(self):
        """Fraction of the matrix rate that is reached; None for work of the host."""
        if self.operations is None:
            return None
        return self.images_per_second * self.operations / self.matrix_rate

    def minutes(self, images, cards=1):
        """Minutes for a number of images shared between so many cards."""
        return images / (self.images_per_second * cards) / 60


def bound(whole, parts):
    """The slowest part of a whole, and how much of that part's speed the whole reaches.

    Args:
        whole: Throughput of the command.
        parts: list of Throughput of what it is made of.

    Returns:
        (Throughput, fraction).
    """
    slowest = min(parts, key=lambda part: part.images_per_second)
    return slowest, whole.images_per_second / slowest.images_per_second


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One speed over another, and its target."""

    name: str
    """Which quantity over which."""
    value: float
    """Measured."""
    target: Target
    """The range in which it should lie."""

    def __str__(self):
        return (f"{self.name}: {self.value:.2f} ({self.target}: "
                f"{'holds' if self.target.holds(self.value) else 'does NOT hold'})")


def matrix_rate(device, precision, size=8192, seconds=1.0):
    """Floating-point operations per second of square matrix products.

    Args:
        device: torch device.
        precision: torch dtype.
        size: rows of each matrix.
        seconds: time to measure for.
    """
    first, second = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    rounds = images_per_second(lambda: first @ second, 1, device, seconds)
    return rounds * 2 * size ** 3


def images_per_second(function, images, device, seconds=2.0):
    """Images per second of a function that takes so many per call, after a warm-up call."""
    function()
    _finish(device)
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < seconds:
        function()
        _finish(device)
        calls += 1
    return calls * images / (time.perf_counter() - start)


def operations(function):
    """Floating-point operations of what a function computes, as torch counts them."""
    with _Counter() as counter:
        function()
    return counter.total


class _Counter(TorchDispatchMode):
    """Adds up operations by torch's own formulas; its FlopCounterMode refuses autograd.grad."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        formula = flop_registry.get(function._overloadpacket)
        if formula is not None:
            self.total += formula(*arguments, **(keywords or {}), out_val=result)
        return result


def stages(setting, device):
    """Everything that ``bcct bench --gpu`` measures.

    Args:
        setting: BenchmarkSetting.
        device: torch device.

    Returns:
        (list of Throughput, list of sentences).
    """
    # Convolutions in float32 take TensorFloat-32 where the card has it; so must the products.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    size = 8192 if torch.device(device).type == "cuda" else 1024
    half = choose_precision("auto", device)
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "training": half}
    rates = {name: matrix_rate(device, precision, size) for name, precision in formats.items()}
    records = bare.target_records(setting.pictures[0], "train")
    frames = torch.cat(bare.frames(records[:setting.batch_size], SIZE, setting.batch_size, device))
    rows, masks = [], {}
    for name in ("float32", "bfloat16"):
        maker = _maker(setting, device, PRECISIONS[name])
        masks[name] = maker.masks(frames, [0.8])[0.8].mask
        rows.append(Throughput(
            f"maps of {RECIPE}, in memory, {name}",
            images_per_second(lambda: maker._maps(frames), len(frames), device),
            operations(lambda: maker._maps(frames[:1])), rates[name]))
    host = _host(records, maker.maps(frames), setting.batch_size, device)
    commands, working, said = _commands(setting, device, rows[0].operations, rates)
    loop, epoch = _training(setting, device, frames, rates["training"], half)
    gradient, whole = _gradient(setting, device, frames, rates["bfloat16"])
    differ = (masks["float32"] != masks["bfloat16"]).mean()
    slowest, reached = bound(working, [rows[1], *host])
    rows += [*host, *commands, working, gradient, whole, loop, epoch]
    ratios = [Ratio("making masks of one gradient pass over bare forward and input-backward",
                    whole.images_per_second / gradient.images_per_second, Target(low=0.70)),
              Ratio("a bare training loop over an epoch of bcct train-ct",
                    loop.images_per_second / epoch.images_per_second, Target(high=1.10))]
    sentences = [f"{_card(device)}; {machine()}; {datetime.date.today()}; {setting.images} images "
                 f"of CUB's size, {setting.backbone}, batches of {setting.batch_size}",
                 *map(str, ratios), f"matrix products: {rates['float32'] / 1e12:.1f} (float32), "
                 f"{rates['bfloat16'] / 1e12:.1f} (bfloat16) TFLOP/s",
                 f"masks in bfloat16 differ from those in float32 in {differ:.2%} of their pixels",
                 f"{said}; without these it is bounded by: {slowest.name}, and reaches "
                 f"{reached:.0%} of that"]
    return rows, sentences


def write_throughput(setting, device, path):
    """Measure both stages on a device and write the table; gives it, and where it is.

    Raises:
        ValueError: the device is not here.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU here; --device cpu tries the same on the CPU")
    setting = dataclasses.replace(setting, batch_size=batch_size_for(device))
    text = throughput_table(*stages(setting, device))
    write_bytes(path, text.encode())
    return f"{text}\nwrote {path}"


def throughput_table(rows, sentences):
    """Everything as Markdown."""
    lines = ["| what | images/s | share of matrix rate | CUB, min | ILSVRC, min | 8 cards, min |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        share = "" if row.share is None else f"{row.share:.1%}"
        lines.append(f"| {row.name} | {row.images_per_second:,.0f} | {share} | "
                     f"{row.minutes(CUB):.1f} | {row.minutes(ILSVRC):.1f} | "
                     f"{row.minutes(ILSVRC, 8):.1f} |")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in sentences), ""])


def _maker(setting, device, precision):
    classifier = BackgroundClassifier(setting.network(), image_size=SIZE)
    torch.nn.init.normal_(classifier.unit.weight, generator=torch.Generator().manual_seed(0))
    return MaskMaker(classifier, RECIPES[RECIPE], (SIZE, SIZE), device, precision)


def _card(device):
    """The device's name."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "no GPU"


def _gradient(setting, device, frames, rate):
    """The network's own forward and input-backward in memory, and ``bcct masks`` with a recipe that
    needs no more than that; both in bfloat16."""
    network = setting.network().to(device)

    def bare_pass():
        with autocast(device, torch.bfloat16):
            bare.forward_and_backward(network, [frames])
    count = operations(lambda: bare.forward_and_backward(network, [frames[:1]]))
    whole, _ = _mask_command(setting, device, "bfloat16", GRADIENT_RECIPE)
    return (Throughput("bare forward and input-backward, bfloat16",
                       images_per_second(bare_pass, len(frames), device), count, rate),
            Throughput("bcct masks of one gradient pass, bfloat16",
                       setting.images / whole, count, rate))


def _host(records, maps, batch_size, device):
    """What the processor does: decoding in as many workers as the commands take, and cutting."""
    batches = load_frames(records, (SIZE, SIZE), consecutive(len(records), batch_size),
                          default_workers(device))
    start = time.perf_counter()
    decoded = sum(len(batch.positions) for batch in batches)
    decoding = decoded / (time.perf_counter() - start)
    recipe = RECIPES[RECIPE]
    deltas = (0.70, 0.75, 0.80, 0.85, 0.90)
    cutting = images_per_second(
        lambda: [cut(maps, delta, recipe) for delta in deltas], len(maps), "cpu")
    return [Throughput("decoding on the host", decoding),
            Throughput("cutting 5 deltas on the host", cutting)]


def _commands(setting, device, count, rates):
    """``bcct masks`` as (list of Throughput, one for each number format, Throughput of what is left
    in bfloat16 without the time of a command that finds everything done, sentence on that time).

    Args:
        count: operations per image.
        rates: from a number format to operations per second of matrix products.
    """
    seconds = {name: _mask_command(setting, device, name) for name in ("float32", "bfloat16")}
    whole, idle = seconds["bfloat16"]
    return ([Throughput(f"bcct masks, {name}", setting.images / of_all, count, rates[name])
             for name, (of_all, _) in seconds.items()],
            Throughput("bcct masks, bfloat16, without what it takes with nothing left to do",
                       setting.images / (whole - idle), count, rates["bfloat16"]),
            f"bcct masks in bfloat16 takes {whole:.1f} s, and {idle:.1f} s with nothing left to do")


def _mask_command(setting, device, precision, recipe=("--recipe", RECIPE)):
    """Seconds of ``bcct masks``, and of the same command when it finds everything done; the
    classifier exists already."""
    words = (*setting.words(setting.cache), "--device", device, *recipe, *DELTAS,
             "--precision", precision)
    setting.bcct("masks", *words)
    setting.fresh(setting.cache / "masks")
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        setting.bcct("masks", *words)
        seconds.append(time.perf_counter() - start)
    return seconds


def _training(setting, device, frames, rate, precision):
    """A bare training loop in memory, and an epoch of ``bcct train-ct``."""
    config = VARIANTS["bc-ct"].config
    method = VARIANTS["bc-ct"].method(setting.network().requires_grad_(True), 200, config)
    method = method.to(device, memory_format=torch.channels_last)
    images = frames[:TRAINING_BATCH]
    labels = torch.zeros(len(images), dtype=torch.long, device=device)
    batch = images, labels, (images[:, :1] > 0.5).float()
    count = operations(lambda: bare.training(method, *([part[:1]] for part in batch), config))
    loop = images_per_second(
        lambda: bare.training(method, *([part] * TRAINING_STEPS for part in batch), config),
        TRAINING_STEPS * len(images), device)
    setting.fresh(setting.cache / "ct")
    setting.bcct("train-ct", *setting.words(setting.cache), "--device", device, "--recipe", RECIPE,
                 "--precision", "bfloat16", "--set", "epochs=2",
                 "--set", f"batch_size={TRAINING_BATCH}")
    log, = (setting.cache / "ct").glob("*/log.jsonl")
    epoch = json.loads(log.read_text().splitlines()[-1])["seconds"]
    name = format_name(precision)
    return [Throughput(f"bare training loop, {name}", loop, count, rate),
            Throughput(f"an epoch of bcct train-ct, {name}", setting.images / epoch, count, rate)]


def _finish(device):
    """Wait for the device."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
