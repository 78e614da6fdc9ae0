"""A row of the benchmark: a ratio of times on one machine, and its target."""

import dataclasses
import platform
import statistics
import time

import torch


@dataclasses.dataclass(frozen=True)
class Target:
    """The range in which a ratio should lie."""

    low: float = 0.0
    high: float = float("inf")

    def __str__(self):
        if self.low == 0:
            return f"at most {self.high:g}"
        if self.high == float("inf"):
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def holds(self, ratio):
        """Whether a ratio lies within the range."""
        return self.low <= ratio <= self.high


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """One figure of the benchmark."""

    name: str
    """Which quantity over which."""
    ratio: float | None
    """Median over the repetitions; None where it was not measured."""
    low: float | None
    """Smallest of the repetitions."""
    high: float | None
    """Largest of the repetitions."""
    target: str | None
    """In words; None where the figure is only reported."""
    holds: bool | None
    """Whether the median reaches the target; None without one."""
    machine: str
    """Processor, threads and versions."""
    note: str
    """What was measured on: network, images; or the reason why it was not."""


def ratio_row(name, ratios, target=None, note=""):
    """The BenchmarkRow of a ratio that was measured several times.

    Args:
        name: which quantity over which.
        ratios: list of float, one per repetition.
        target: Target or None.
        note: what it was measured on.
    """
    middle = statistics.median(ratios)
    return BenchmarkRow(name, round(middle, 3), round(min(ratios), 3), round(max(ratios), 3),
                        None if target is None else str(target),
                        None if target is None else target.holds(middle), machine(), note)


def not_measured(name, target, reason):
    """The BenchmarkRow of a figure that could not be measured here."""
    return BenchmarkRow(name, None, None, None, None if target is None else str(target), None,
                        machine(), f"not measured: {reason}")


def interleaved(repeats, **arms):
    """Time several functions alternately, A B C A B C ..., so a busy machine slows all equally.

    Args:
        repeats: rounds.
        arms: functions without arguments; one that returns a number has timed itself.

    Returns:
        dict from an arm's name to its list of seconds.
    """
    seconds = {name: [] for name in arms}
    for _ in range(repeats):
        for name, function in arms.items():
            start = time.perf_counter()
            own = function()
            elapsed = time.perf_counter() - start
            seconds[name].append(own if isinstance(own, float) else elapsed)
    return seconds


def quotients(dividends, divisors):
    """Each repetition's ratio."""
    return [one / other for one, other in zip(dividends, divisors)]


def machine():
    """Processor, threads and versions, in one line."""
    return (f"{_processor()}, {torch.get_num_threads()} threads, Python "
            f"{platform.python_version()}, torch {torch.__version__}")


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file
                     if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
