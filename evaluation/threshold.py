"""Choosing tau, one for the whole data set, and recording where it came from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.truth import EvaluationError, Truth


@dataclass(frozen=True)
class TauChoice:
    """A threshold on score maps and its source.

    Attributes:
        tau: in [0, 1].
        source: ``masks``, ``val``, ``test (oracle)`` or ``fixed``.
        image_ids: images whose annotated boxes were used for it.
        note: one sentence on how it was chosen.
    """

    tau: float
    source: str
    image_ids: tuple[str, ...] = ()
    note: str = ""


def fixed_tau(tau: float) -> TauChoice:
    """A threshold that the caller states.

    Raises:
        EvaluationError: tau lies outside [0, 1].
    """
    if not 0 <= tau <= 1:
        raise EvaluationError(f"tau must lie in [0, 1], not {tau}.")
    return TauChoice(float(tau), "fixed", note="A stated number.")


def agreement(ious: np.ndarray) -> np.ndarray:
    """How well boxes agree with others: the share of IoU >= 0.5, that is GT-known localization.

    Of equal shares, the one with the larger mean IoU is better.

    Args:
        ious: (N, T) IoU of N images' boxes at each of T thresholds.

    Returns:
        (T,) float, larger is better.
    """
    # Shares differ by 1 / N at the least, and the mean over N + 1 is less than that.
    return (ious >= 0.5).mean(axis=0) + ious.mean(axis=0) / (len(ious) + 1)


def best_tau(taus: np.ndarray, quality: np.ndarray) -> float:
    """The middle of the longest run of thresholds that are equally best.

    Args:
        taus: (T,) ascending.
        quality: (T,) larger is better.

    Returns:
        float, one of ``taus``; of runs equal in length, the first; of two middles, the lower.
    """
    # A mean over the same IoUs may differ in its last bits from one tau to the next.
    best = np.concatenate([[0], quality >= quality.max() - 1e-12, [0]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(best) == 1), np.flatnonzero(np.diff(best) == -1)
    longest = np.argmax(stops - starts)
    return float(taus[(starts[longest] + stops[longest] - 1) // 2])


def choose_validation(truths: Iterable[Truth], per_class: int = 5,
                      seed: int = 0) -> tuple[str, ...]:
    """Images whose boxes may be used to choose tau; the same ones for the same seed.

    Args:
        truths: iterable of Truth, in any order; images without a box are skipped.
        per_class: number of images of each class; all of a class that has fewer.
        seed: of the choice.

    Returns:
        tuple of image ids, sorted.

    Raises:
        EvaluationError: no image has a box, or per_class is not positive.
    """
    if per_class < 1:
        raise EvaluationError(f"the number of boxes per class must be positive, not {per_class}.")
    by_class = {}
    for truth in truths:
        if truth.boxes:
            by_class.setdefault(truth.label, []).append(truth.image_id)
    if not by_class:
        raise EvaluationError("no training image has an annotated box; choose tau from masks, or "
                              "state it.")
    generator = np.random.default_rng(seed)
    chosen = []
    for label in sorted(by_class):
        chosen.extend(generator.permutation(sorted(by_class[label]))[:per_class].tolist())
    return tuple(sorted(chosen))
