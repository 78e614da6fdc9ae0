"""Losses of the classification model (paper, section 4.3)."""

import torch
from torch.nn import functional

from stage2_ct.model import upsample


def classification_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the true class (Eq. 4), mean over the batch.

    Args:
        logits: (N, C) float.
        labels: (N,) int64.
    """
    return functional.cross_entropy(logits, labels)


def printed_mask_loss(mask_logits: torch.Tensor, masks: torch.Tensor,
                      valid: torch.Tensor) -> torch.Tensor:
    """Eq. 5 as printed: -M log A, mean over pixels and images.

    It has no term for the background, so a map of ones everywhere minimises it.

    Args:
        mask_logits: (N, 1, h, w) float, A before its sigmoid; upsampled to the masks.
        masks: (N, 1, H, W) float, 0 or 1.
        valid: (N,) bool; other masks count as zero loss.

    Returns:
        Scalar. The mean is over all N images, valid or not, so that it stays the same when a
        batch is split over processes.
    """
    logits = upsample(mask_logits.float(), masks.shape[2:])
    return _mean_over_valid(-masks * functional.logsigmoid(logits), valid)


def two_sided_mask_loss(mask_logits: torch.Tensor, masks: torch.Tensor,
                        valid: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of A against M: Eq. 5 with the background term it lacks.

    Arguments and result as for ``printed_mask_loss``.
    """
    logits = upsample(mask_logits.float(), masks.shape[2:])
    losses = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return _mean_over_valid(losses, valid)


def _mean_over_valid(losses, valid):
    per_image = losses.mean(dim=(1, 2, 3))  # (N,)
    return (per_image * valid).sum() / len(per_image)


MASK_LOSSES = {"printed": printed_mask_loss, "two-sided": two_sided_mask_loss}
