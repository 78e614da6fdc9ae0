"""Shortcuts: sharpness and size that separate background images from targets.

A classifier trained on two folders learns whatever differs between them. If backgrounds come from
another camera, or were stored smaller, it may learn that instead of content.
"""

import dataclasses

import cv2
import numpy as np
from scipy.stats import mannwhitneyu

TELLING = 0.7
"""An AUC at least this far from chance (0.5), on either side, is worth a warning: from there on
discrimination counts as acceptable (Hosmer and Lemeshow, 2000)."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One measure compared between targets and backgrounds."""

    measure: str
    """Name of the measure."""
    auc: float
    """Probability that a random target has more of it than a random background."""
    targets: tuple[float, float, float]
    """Quartiles of the targets: 25, 50 and 75 %."""
    backgrounds: tuple[float, float, float]
    """Quartiles of the backgrounds."""

    @property
    def telling(self) -> bool:
        """Whether this measure alone separates the two well."""
        return max(self.auc, 1 - self.auc) >= TELLING

    def sentence(self) -> str:
        """The comparison in words."""
        figures = (f"{self.measure}: AUC {self.auc:.2f} (median {_short(self.targets[1])} in "
                   f"targets, {_short(self.backgrounds[1])} in backgrounds)")
        if not self.telling:
            return f"{figures}. This alone does not separate the two."
        less = "backgrounds" if self.auc > 0.5 else "targets"
        return (f"{figures}. WARNING: a classifier can separate the two by this alone: {less} have "
                "less of it; it may learn that instead of content.")


def sharpness(frame: np.ndarray) -> float:
    """Variance of the Laplacian of a picture's grey levels (Pech-Pacheco et al., 2000).

    Measured on the frame that the network sees, so that a small picture is as soft as enlarging
    makes it. Texture counts as well, foliage more than sky: see ``fine_detail``.

    Args:
        frame: (H, W, 3) uint8 RGB, squashed to the network's input.

    Returns:
        float, at least 0, in squared grey levels.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def fine_detail(frame: np.ndarray) -> float:
    """Power in the finest part of a picture's spectrum, over that in the octave below it.

    The content of a scene changes both alike; enlarging a picture by 1.5 or more empties the finest
    part, above a third of a cycle per pixel, and leaves the other. So a smooth sky can have more
    of it than an enlarged forest, although the variance of the Laplacian suggests the opposite.

    Args:
        frame: (H, W, 3) uint8 RGB, squashed to the network's input.

    Returns:
        float, at least 0; 0 for a picture of one colour.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float64)
    height, width = grey.shape
    # Without a window the jump from one border to the opposite one would count as detail.
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))  # cycles per pixel
    finest = power[(radius > 1 / 3) & (radius <= 1 / 2)].sum()
    coarser = power[(radius > 1 / 6) & (radius <= 1 / 3)].sum()
    return float(finest / coarser) if coarser > 0 else 0.0


def compare(measure: str, targets: np.ndarray, backgrounds: np.ndarray) -> Comparison:
    """Compare one measure between targets and backgrounds.

    Args:
        measure: its name, the beginning of a sentence.
        targets: (n,) numbers.
        backgrounds: (m,) numbers.
    """
    wins = mannwhitneyu(targets, backgrounds).statistic  # pairs won, a tie counts half
    return Comparison(measure, float(wins / (len(targets) * len(backgrounds))),
                      tuple(np.percentile(targets, [25, 50, 75]).tolist()),
                      tuple(np.percentile(backgrounds, [25, 50, 75]).tolist()))


def _short(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
