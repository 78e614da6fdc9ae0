"""The figures, each defined once and computed for many resamples of the images together.

Every function takes ``weights``, (R, N): how often each of N images counts in each of R samples
(a row of ones is the sample itself, see ``evaluation.bootstrap``). It returns (R,) float64
fractions in [0, 1]. An IoU is the one with the best ground-truth box of an image.
"""

from collections.abc import Sequence

import numpy as np

IOU_THRESHOLDS_V2 = (0.3, 0.5, 0.7)


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted mean of one value per image; NaN for a sample without any image.

    Args:
        weights: (R, N) numbers.
        values: (N,) numbers or bool.
    """
    return _share(weights @ np.asarray(values, np.float64), weights)


def gt_known(weights: np.ndarray, ious: np.ndarray) -> np.ndarray:
    """GT-known localization: the box overlaps a ground-truth box with IoU >= 0.5, the class given.

    Source: Russakovsky et al., IJCV 2015 (the IoU rule), in the paper's section 5.1; the name is
    the field's.

    Args:
        weights: (R, N).
        ious: (N,) IoU of the box at one fixed tau.
    """
    return mean(weights, ious >= 0.5)


def topk_cls(weights: np.ndarray, ranks: np.ndarray, k: int) -> np.ndarray:
    """Top-k classification: the true class is among the k most probable ones.

    Args:
        weights: (R, N).
        ranks: (N,) int rank of the true class, 0 for the most probable.
    """
    return mean(weights, ranks < k)


def topk_loc(weights: np.ndarray, ious: np.ndarray, ranks: np.ndarray, k: int) -> np.ndarray:
    """Top-k localization, strictly: right class among the top k *and* a box with IoU >= 0.5.

    Source: the paper's section 5.1, after Russakovsky et al., IJCV 2015. The box is the one cut
    from the right class's own score map, so one score map per image, that of its true class, and
    the rank of that class decide it. (A class-agnostic map has one box for every class.)

    Args:
        weights: (R, N).
        ious: (N,) IoU of the true class's box at one fixed tau.
        ranks: (N,) int rank of the true class, 0 for the most probable.
    """
    return mean(weights, (ious >= 0.5) & (ranks < k))


def hits(ious: np.ndarray, iou_threshold: float) -> np.ndarray:
    """(N, T) float32 of 0 and 1: which boxes reach an IoU, ready for a matrix product."""
    return (ious >= iou_threshold).astype(np.float32)


def max_box_acc(weights: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """MaxBoxAcc: share of boxes with IoU >= 0.5 at the one tau, for all images, that is best.

    Source: Choe et al., CVPR 2020, section 4.1. tau is the best on these images, so the figure is
    an upper bound by definition. Every resample chooses its own best tau.

    Args:
        weights: (R, N).
        hits: (N, T), ``hits`` of the single box at IoU 0.5.
    """
    return _share((weights.astype(np.float32) @ hits).max(axis=1), weights)


def max_box_acc_v2(weights: np.ndarray, hits_v2: Sequence[np.ndarray]) -> np.ndarray:
    """MaxBoxAccV2: the mean of MaxBoxAcc at IoU 0.3, 0.5 and 0.7, boxes from all contours.

    Source: Choe et al., "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics,
    and Datasets", TPAMI 2022. Each IoU threshold has its own best tau.

    Args:
        weights: (R, N).
        hits_v2: (N, T) for each of ``IOU_THRESHOLDS_V2``: ``hits`` of the best pair of a box of
            any contour and any ground-truth box.

    Returns:
        (4, R): the mean, and its three parts in the order of ``IOU_THRESHOLDS_V2``.
    """
    parts = np.stack([max_box_acc(weights, each) for each in hits_v2])
    return np.concatenate([parts.mean(axis=0, keepdims=True), parts])


def pxap(weights: np.ndarray, object_counts: np.ndarray,
         background_counts: np.ndarray) -> np.ndarray:
    """PxAP: area under the precision-recall curve of all pixels of all images together.

    Source: Choe et al., CVPR 2020, section 4.1.

    Args:
        weights: (R, N).
        object_counts: (N, S) pixels of the object whose score lies in each of S bins, ascending.
        background_counts: (N, S) the same for the background.
    """
    true = np.cumsum((weights @ object_counts.astype(np.float64))[:, ::-1], axis=1)  # (R, S)
    false = np.cumsum((weights @ background_counts.astype(np.float64))[:, ::-1], axis=1)
    found = true + false
    precision = np.divide(true, found, out=np.zeros_like(true), where=found > 0)
    total = true[:, -1:]
    recall = np.divide(true, total, out=np.full_like(true, np.nan), where=total > 0)
    return (precision * np.diff(recall, axis=1, prepend=0)).sum(axis=1)


def mask_strict(weights: np.ndarray, ious: np.ndarray) -> np.ndarray:
    """Strict rate of masks: the box of the mask's largest component has IoU >= 0.5.

    Args:
        weights: (R, N).
        ious: (N,).
    """
    return mean(weights, ious >= 0.5)


def bc_star(weights: np.ndarray, ious: np.ndarray, covers: np.ndarray) -> np.ndarray:
    """BC*: IoU >= 0.5, *or* the box of the mask covers the whole object.

    Source: the paper's section 5.2, "Ability of pixel-level mask". A mask as large as the image
    always passes, so it must be read together with ``mask_strict``.

    Args:
        weights: (R, N).
        ious: (N,).
        covers: (N,) bool, whether the box holds a whole ground-truth box.
    """
    return mean(weights, (ious >= 0.5) | covers)


def _share(sums, weights):
    totals = weights.sum(axis=1, dtype=np.float64)
    return np.divide(sums, totals, out=np.full(len(totals), np.nan), where=totals > 0)
