"""Label propagation between the places of one image that look alike to the network.

A unit for pixels answers each place by itself, and strongest where an object is most typical: the
head more than the flank. Places of one object look alike in the unit's own features, so answers
travel along likeness (Zhou et al., Learning with local and global consistency, 2004): a random walk
that starts at a place steps to similar ones, and the place gets the mean answer of where it ends.
"""

import torch

STEPS = 24  # of the walk: after them, at most 0.6 ** 25 = 3e-6 of an answer is still under way
SMALLEST_DEVIATION = 1e-4  # a channel that varies less over an image says nothing about its places


def propagate(features: torch.Tensor, answers: torch.Tensor, share: float) -> torch.Tensor:
    """Answers mixed with those of similar places in the same image.

    Args:
        features: (N, C, D) float, D features of each of an image's C places.
        answers: (N, C) float, at least 0.
        share: of an answer that comes from other places, 0 to below 1; alpha of Zhou et al.

    Returns:
        (N, C) float32, at least 0 and at most the image's largest answer.
    """
    with torch.autocast(features.device.type, enabled=False):
        steps = _likeness(features.float())
        # A place of an image without any difference is like none, not even like itself.
        steps = share * steps / steps.sum(2, keepdim=True).clamp_min(torch.finfo(steps.dtype).tiny)
        start = (1 - share) * answers.float()[:, :, None]
        total = start
        for _ in range(STEPS):
            total = start + steps @ total
        return total[:, :, 0]


def _likeness(features):
    """Squared cosine of each two places, 0 where it is negative: (N, C, D) to (N, C, C).

    Features are standardised over the image, so that what all of its places share does not make
    them alike.
    """
    centred = features - features.mean(1, keepdim=True)
    scaled = centred / centred.std(1, keepdim=True).clamp_min(SMALLEST_DEVIATION)
    directions = torch.nn.functional.normalize(scaled, dim=2)
    return (directions @ directions.transpose(1, 2)).clamp_min(0).square()
