"""Rows without a model: figures of boxes that do not depend on the image."""

from collections.abc import Iterable

import numpy as np

from common import boxes as box_geometry
from evaluation.evaluator import Evaluator, Result
from evaluation.threshold import TauChoice, agreement, best_tau, fixed_tau
from evaluation.truth import EvaluationError, Truth

SQUARE_SIDE = 0.68  # of the image's side: a fixed number, stated in the row
GAUSSIAN_SIGMA = 0.25  # of the frame's side; at any tau it is a centred ellipse


def full_image_map(size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 score map whose box is the whole frame."""
    return np.ones(size, np.float32)


def centred_square_map(size: tuple[int, int], side: float = SQUARE_SIDE) -> np.ndarray:
    """(H, W) float32 score map: 1 in the middle, over ``side`` of the frame's height and width.

    Raises:
        EvaluationError: side does not lie in (0, 1].
    """
    if not 0 < side <= 1:
        raise EvaluationError(f"the centred square's side must lie in (0, 1], not {side}.")
    x0, y0, x1, y1 = np.round(box_geometry.centred_box(size, side)).astype(int)
    square = np.zeros(size, np.float32)
    square[y0:y1, x0:x1] = 1
    return square


def centred_gaussian_map(size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 score map in [0, 1]: a Gaussian in the middle.

    The baseline of Choe et al., CVPR 2020, section 5.
    """
    height, width = size
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    gaussian = np.exp(-(y[:, None] ** 2 + x ** 2) / (2 * GAUSSIAN_SIGMA ** 2))
    return (gaussian / gaussian.max()).astype(np.float32)


def best_square_side(truths: Iterable[Truth]) -> float:
    """The side of the centred square that agrees best with boxes, in steps of 0.01.

    Args:
        truths: iterable of Truth; never those of the test images.

    Returns:
        float, see ``evaluation.threshold.agreement``.

    Raises:
        EvaluationError: none has a box.
    """
    sides = np.arange(1, 101) / 100
    squares = np.stack([box_geometry.centred_box((1, 1), side) for side in sides])
    ious = [box_geometry.iou(squares[:, None],
                             box_geometry.rescale(truth.boxes, truth.size, (1, 1))).max(axis=1)
            for truth in truths if truth.boxes]
    if not ious:
        raise EvaluationError("no image has a box to choose the centred square's side from.")
    return best_tau(sides, agreement(np.stack(ious)))


def reference_rows(truths: Iterable[Truth], rule: str = "largest",
                   tuning: Iterable[Truth] | None = None, tuning_source: str = "masks",
                   size: tuple[int, int] = (224, 224), side: float = SQUARE_SIDE,
                   resamples: int = 1000) -> dict[str, Result]:
    """Figures of the full image, the centred square and the centred Gaussian.

    All three are score maps and are cut, compared and counted like those of a method. What a method
    chooses on masks or validation boxes, they choose there too: the square its side, the Gaussian
    its tau.

    Args:
        truths: iterable of Truth of the test images.
        rule: name of a box rule.
        tuning: iterable of Truth that the side and the Gaussian's tau are chosen on (of stage-1
            masks, or of validation images); None for the stated ``side`` and the Gaussian whose
            box is as wide as the square.
        tuning_source: ``masks`` or ``val``.
        size: (height, width) of the frame.
        side: the square's side, a fraction, without ``tuning``.
        resamples: number of resamples for the intervals.

    Returns:
        {"full_image", "centred_square", "centred_gaussian": Result}; each Result's ``tau.note``
        says what was chosen where.
    """
    truths = tuple(truths)
    gaussian = centred_gaussian_map(size)
    if tuning is not None:
        tuning = tuple(truth for truth in tuning if truth.boxes)
        side = best_square_side(tuning)
        evaluator = _accumulate(gaussian, tuning, rule, size)
        gaussian_tau = TauChoice(best_tau(evaluator.taus, agreement(evaluator.ious)),
                                 tuning_source, note="Most IoUs >= 0.5, as for the square.")
        square_note = f"Side {side:.2f} of the image's, chosen from {tuning_source}."
    else:
        gaussian_tau = fixed_tau(float(np.exp(-(side / 2) ** 2 / (2 * GAUSSIAN_SIGMA ** 2))))
        square_note = f"Side {side:.2f} of the image's, a fixed number."
    square_tau = TauChoice(0.5, "fixed", note=square_note)
    full_tau = TauChoice(0.5, "fixed", note="The whole image.")
    rows = {"full_image": (full_image_map(size), full_tau),
            "centred_square": (centred_square_map(size, side), square_tau),
            "centred_gaussian": (gaussian, gaussian_tau)}
    return {name: _accumulate(score_map, truths, rule, size, choice.tau)
            .compute(choice, resamples) for name, (score_map, choice) in rows.items()}


def _accumulate(score_map, truths, rule, size, tau=None):
    """An Evaluator that has seen the same score map for every image; its boxes are cut once."""
    evaluator = Evaluator(truths, rule, tau=tau, size=size)
    candidates = evaluator.rule.candidates(score_map, evaluator.thresholds())
    for image_id in evaluator.image_ids:
        evaluator.accumulate_candidates(candidates, image_id)
    return evaluator
