"""The object in an image from a rough score map, by colours and edges, many images at once.

As GrabCut does, histograms model the colours inside and outside of what a score map points at, and
the border moves to where the image changes; but everything is arithmetic on whole batches, on the
device where the images are. The border is found by mean field inference with the eight neighbours
of each pixel (Kraehenbuehl and Koltun, 2011, connect all pixels). The grid wraps around: pixels of
opposite edges are neighbours too, as it was when the recipe was measured.
"""

import torch
from torch.nn import functional

from stage1_bc.gradient_maps import unit_maximum

SIDE = 56  # side of the grid that it works on, in pixels
BINS = 12  # of a histogram, along each of RGB
ROUNDS, STEPS = 3, 10  # of colour models, and of smoothing in each round
# In parts of a score map's largest value: half as likely object as not, how far from it certainty
# grows, and from where a pixel is held to be background or object for good.
EVEN, WIDTH, BACKGROUND, OBJECT = 0.35, 0.15, 0.08, 0.8
SURE = (-8.0, 6.0)  # logit of such a pixel
SCORE, COLOUR_LIMIT, SMOOTHNESS = 2.0, 4.0, 1.5  # weights of the score, the colours, the neighbours
COUNTS = 2 ** 16  # a pixel in a histogram: whole numbers give the same sum in any order
NEIGHBOURS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]


@torch.no_grad()
def probable_objects(images: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """How probably each pixel belongs to the object that a score map points at.

    Args:
        images: (N, 3, H, W) float RGB in [0, 1].
        scores: (N, h, w) float, at least 0, on the images' device.

    Returns:
        (N, SIDE, SIDE) float32 in [0, 1]; the same for an image in any batch.
    """
    images = functional.interpolate(images.float(), (SIDE, SIDE), mode="area")
    scores = functional.interpolate(scores.float()[:, None], (SIDE, SIDE), mode="area")[:, 0]
    scores = unit_maximum(scores)
    belief = ((scores - EVEN) / WIDTH).clamp(-3, 3)
    surely = torch.where(scores >= OBJECT, SURE[1], torch.where(scores < BACKGROUND, SURE[0], 0.0))
    probability = torch.where(surely == 0, belief, surely).sigmoid()
    bins, similar = _bins(images), _similarities(images)
    for _ in range(ROUNDS):
        evidence = _colour_evidence(bins, probability) + SCORE / 3 * belief
        evidence = torch.where(surely == 0, evidence, surely)
        for _ in range(STEPS):
            signs = 2 * probability - 1
            votes = sum(weight * torch.roll(signs, shift, (1, 2))
                        for weight, shift in zip(similar, NEIGHBOURS))
            probability = (evidence + SMOOTHNESS * votes).sigmoid()
    return probability


def _bins(images):
    """The histogram bin of each pixel, (N, SIDE ** 2) int64."""
    red, green, blue = (images * BINS).long().clamp(0, BINS - 1).unbind(1)
    return ((red * BINS + green) * BINS + blue).flatten(1)


def _similarities(images):
    """How alike each pixel and its neighbour are, for each of the eight, (N, SIDE, SIDE) float."""
    squares = [(images - torch.roll(images, shift, (2, 3))).square().sum(1)
               for shift in NEIGHBOURS]
    contrast = sum(square.mean((1, 2)) for square, (down, right) in zip(squares, NEIGHBOURS)
                   if not (down and right)) / 4
    rate = (0.5 / contrast.clamp_min(1e-6))[:, None, None]
    return [(-square * rate).exp() / (abs(down) + abs(right)) ** 0.5
            for square, (down, right) in zip(squares, NEIGHBOURS)]


def _colour_evidence(bins, probability):
    """Logarithm of how much more a pixel's colour occurs inside than outside, (N, SIDE, SIDE)."""
    inside = (probability * COUNTS).round().int().flatten(1)
    sides = torch.stack([inside, COUNTS - inside], 1)  # (N, 2, SIDE ** 2)
    counts = torch.zeros(len(bins), 2, BINS ** 3, dtype=torch.int32, device=bins.device)
    counts.scatter_add_(2, bins[:, None].expand(-1, 2, -1), sides)
    share = _blurred(counts.float().unflatten(2, (BINS,) * 3)).flatten(2)
    share = share / share.sum(2, keepdim=True).clamp_min(1e-6) + 1e-4
    evidence = (share[:, 0] / share[:, 1]).log().gather(1, bins)
    return evidence.clamp(-COLOUR_LIMIT, COLOUR_LIMIT).view_as(probability)


def _blurred(histograms):
    """Histograms (N, 2, BINS, BINS, BINS) with half of each bin added to its neighbours."""
    for axis in (2, 3, 4):
        padded = torch.cat([histograms.narrow(axis, 0, 1), histograms,
                            histograms.narrow(axis, BINS - 1, 1)], axis)
        histograms = histograms + 0.5 * (padded.narrow(axis, 0, BINS)
                                         + padded.narrow(axis, 2, BINS))
    return histograms
