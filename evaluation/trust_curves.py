"""How well a score separates right from wrong boxes: reliability, and risk over coverage."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures with similar scores."""

    images: int
    low: float
    """Lowest score."""
    high: float
    """Highest score."""
    right: float
    """Share of right boxes."""


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = 5) -> list[ReliabilityBin]:
    """Share of right boxes by score, in bins of as many pictures each, the lowest scores first.

    Args:
        scores: (N,) float.
        right: (N,) bool.
        bins: number of bins.
    """
    order = np.argsort(scores, kind="stable")
    return [ReliabilityBin(len(part), float(scores[part[0]]), float(scores[part[-1]]),
                           float(right[part].mean()))
            for part in np.array_split(order, bins) if len(part)]


def risk_coverage(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of wrong boxes among the k pictures with the highest scores, for k = 1 ... N.

    Pictures with equal scores count in an average order.

    Args:
        scores: (N,) float.
        right: (N,) bool.

    Returns:
        (N,) float64.
    """
    order = np.argsort(-scores, kind="stable")
    wrong = 1.0 - right[order]
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    for start, stop in zip(starts, [*starts[1:], len(wrong)]):
        wrong[start:stop] = wrong[start:stop].mean()
    return np.cumsum(wrong) / np.arange(1, len(wrong) + 1)


def area_under_risk(scores: np.ndarray, right: np.ndarray) -> float:
    """Area under the risk-coverage curve; the share of wrong boxes for an uninformative score.

    Arguments as for ``risk_coverage``; 0 is best.
    """
    return float(risk_coverage(scores, right).mean())


def least_area(right: np.ndarray) -> float:
    """The area of the best possible score: every right box before every wrong one."""
    return area_under_risk(right.astype(float), right)
