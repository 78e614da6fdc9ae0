"""Uncertainty of figures: bootstrap intervals over images, spread over seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 64  # resamples held at once, so that 50,000 images need some 25 MB


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval, all fractions.

    Attributes:
        value: measured on the images as they are.
        low, high: 2.5 % and 97.5 % quantiles over bootstrap resamples of the images (Efron and
            Tibshirani 1993, the percentile interval).
    """

    value: float
    low: float
    high: float


def bootstrap(statistics: Callable[[np.ndarray], dict[str, np.ndarray]], images: int,
              resamples: int = 1000, seed: int = 0) -> dict[str, Figure]:
    """Figures with intervals from the same resamples of the images.

    ``scipy.stats.bootstrap`` passes the resampled data itself, a table of 5,794 images by 100
    thresholds, a thousand times. Counting how often each image was drawn is equivalent and turns
    every figure into a matrix product.

    Args:
        statistics: function of weights, (R, N), that returns {name: (R,) fractions}.
        images: N.
        resamples: number of resamples; 0 for no interval (low and high are then NaN).
        seed: of the resampling.

    Returns:
        {name: Figure}.
    """
    values = statistics(np.ones((1, images), np.float32))
    generator = np.random.default_rng(seed)
    chunks = []
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        drawn = generator.integers(0, images, (count, images))
        weights = np.stack([np.bincount(row, minlength=images) for row in drawn])
        chunks.append(statistics(weights.astype(np.float32)))
    return {name: _figure(value[0], [chunk[name] for chunk in chunks])
            for name, value in values.items()}


def paired_difference(values: np.ndarray, reference: np.ndarray) -> Figure:
    """Mean difference between two methods on the same images, with the interval of the difference.

    Args:
        values, reference: (N,) numbers or bool, one per image in the same order.

    Returns:
        Figure; positive where ``values`` are larger.
    """
    difference = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    return bootstrap(lambda weights: {"mean": weights @ difference / weights.sum(axis=1)},
                     len(difference))["mean"]


def _figure(value, chunks):
    if not chunks:
        return Figure(float(value), np.nan, np.nan)
    samples = np.concatenate(chunks)
    low, high = np.nanquantile(samples, [0.025, 0.975]) if np.isfinite(samples).any() else (
        np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def seeds_summary(runs: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and sample standard deviation of each figure over runs with different seeds.

    Args:
        runs: list of {name: fraction}, one entry per run, with the same names.

    Returns:
        {name: (mean, standard deviation)}; the standard deviation of one run is NaN.
    """
    table = {name: np.array([run[name] for run in runs], np.float64) for name in runs[0]}
    return {name: (float(values.mean()),
                   float(values.std(ddof=1)) if len(values) > 1 else float("nan"))
            for name, values in table.items()}
