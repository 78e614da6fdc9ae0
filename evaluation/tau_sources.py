"""tau from the score maps that an Evaluator has seen."""

from evaluation.evaluator import Evaluator
from evaluation.threshold import TauChoice


def tau_from_masks(evaluator: Evaluator) -> TauChoice:
    """The tau whose boxes agree best with masks: no annotated box is used.

    Args:
        evaluator: Evaluator that has seen the score maps of training images, with
            ``truth_from_mask`` of their cached masks for its ground truth.

    Returns:
        TauChoice, see ``threshold.agreement``.
    """
    ious = evaluator.ious
    note = f"Most IoUs of 0.5 with the boxes of the masks of {len(ious)} training images."
    empty = len(evaluator.image_ids) - len(ious)
    if empty:
        note += f" {empty} more have an empty mask and were left out."
    return TauChoice(evaluator.best_tau(), "masks", note=note)


def tau_from_boxes(evaluator: Evaluator) -> TauChoice:
    """The tau that localizes most of a few validation images.

    Args:
        evaluator: Evaluator that has seen the images of ``choose_validation``, boxes annotated.

    Returns:
        TauChoice, see ``threshold.agreement``; it lists the images.
    """
    return TauChoice(evaluator.best_tau(), "val", evaluator.image_ids,
                     f"Best on the boxes of {len(evaluator.ious)} validation images.")


def tau_oracle(evaluator: Evaluator) -> TauChoice:
    """The tau that is best on the test images themselves: common in the field, an upper bound.

    Args:
        evaluator: Evaluator that has seen the test images.

    Returns:
        TauChoice, see ``threshold.agreement``.
    """
    return TauChoice(evaluator.best_tau(), "test (oracle)",
                     note="Best on the test images themselves.")
