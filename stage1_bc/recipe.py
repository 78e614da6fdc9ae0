"""How a gradient map becomes a mask, as named recipes."""

import dataclasses
import math

from common.config import ConfigError, check_choice, check_ranges

UNITS_READ = {"pixels": ("pixel_unit",), "evidence": ("evidence_unit",),
              "agreement": ("pixel_unit", "evidence_unit"), "network": ("pixel_network",),
              "tuned": ("tuned_network",)}
"""Signals that units for pixels make, and which of a classifier's units each reads."""
PIXEL_UNITS = tuple(dict.fromkeys(unit for units in UNITS_READ.values() for unit in units))
"""All of these units."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """From a background classifier's gradient to the map that delta cuts.

    The map's pixels are in [0, 1] and a mask keeps those of at least delta (Eq. 2).
    """

    signal: str = "layers"
    """"input": gradient on the image (equation 1); "layers": gradient times activation at several
    layers (layer-wise class activation), summed; "both": the sum of the two; "pixels": the answer
    of a linear unit that reads every pixel, taught by the masks of the recipe "guided-layers" (see
    ``stage1_bc.pixel_unit``); "evidence": the same, taught by what speaks for the classifier's
    answer and against the backgrounds (see ``stage1_bc.evidence``); "agreement": the geometric mean
    of those two, each in parts of its largest value; "network": the answer of a network with one
    hidden layer, taught by the linear unit's (see ``stage1_bc.pixel_network``); "tuned": the answer
    of the backbone's own last layers, tuned to the masks of such a network that learns what the
    linear unit and the evidence agree on (see ``stage1_bc.tuned_network``)."""
    guided: bool = False
    """Let only positive gradients pass the rectifiers (guided backpropagation)."""
    samples: int = 1
    """Noisy copies of the image whose maps are averaged (SmoothGrad); 1 is the image itself."""
    noise: float = 0.15
    """Standard deviation of that noise, as a fraction of the image's range."""
    reduction: str = "max"
    """How the input gradient's RGB becomes one channel: "max" or "sum" of absolute values, or
    "square", the sum of squares."""
    mirror: bool = True
    """Average with the map of the mirror image."""
    scales: tuple[float, ...] = (1.0,)
    """Input sides, in mask sides: gradient maps at several are summed, of maps by units for pixels
    the geometric mean is taken."""
    tuned_scales: tuple[float, ...] = (1.0,)
    """Sides at which the tuned network reads an image, in parts of the side that it learned with:
    the geometric mean of its answers is taken, on the finest of their grids."""
    blur: float = 6.0
    """Standard deviation of the Gaussian blur, in 224ths of the frame's side."""
    sharpen: float = 0.0
    """Weight of the object that is found from the map and added to it (see
    ``stage1_bc.sharpening``), in parts of the map's largest value."""
    sharpen_by: str = "grabcut"
    """What finds that object: "grabcut", on the host; "colours", on the device, in a tenth of the
    time (see ``stage1_bc.colour_models``)."""
    normalise: str = "max"
    """"max": divide by the largest value (equation 2); "rank": fraction of pixels with a smaller
    value."""
    gamma: float = 1.0
    """Exponent on the normalised map. Order stays; a small one lets the paper's range of delta,
    0.70 to 0.90, reach the low fractions of the maximum where objects end."""
    component: str = "largest"
    """"largest": keep the largest 8-connected component (section 3.2); "all": keep all."""
    smallest_area: float = 0.01
    """A mask smaller than this fraction of the frame is invalid."""

    def __post_init__(self):
        check_choice(self, "signal", ("input", "layers", "both", *UNITS_READ))
        check_choice(self, "reduction", ("max", "sum", "square"))
        check_choice(self, "normalise", ("max", "rank"))
        check_choice(self, "component", ("largest", "all"))
        check_choice(self, "sharpen_by", ("grabcut", "colours"))
        check_ranges(self, noise=(0, math.inf), smallest_area=(0, 1))
        if self.samples < 1 or any(not scales or min(scales) <= 0
                                   for scales in (self.scales, self.tuned_scales)):
            raise ConfigError("a recipe needs samples >= 1 and at least one scale > 0")
        if self.tuned_scales != (1.0,) and self.signal != "tuned":
            raise ConfigError("tuned_scales is for recipes that read the tuned network: their "
                              "signal is tuned")
        if self.gamma <= 0 or self.blur < 0 or self.sharpen < 0:
            raise ConfigError("a recipe needs gamma > 0, blur >= 0 and sharpen >= 0")

    @property
    def reads_pixels(self) -> bool:
        """Whether units that read every pixel make the map, and no gradient."""
        return self.signal in UNITS_READ


RECIPES = {
    "default": Recipe(signal="tuned", sharpen=0.5, gamma=0.139),
    "frozen": Recipe(signal="network", mirror=False, sharpen=0.5, gamma=0.139),
    "network": Recipe(signal="network", mirror=False, gamma=0.139),
    "linear": Recipe(signal="pixels", mirror=False, sharpen=0.5, gamma=0.126),
    "colours": Recipe(signal="pixels", mirror=False, sharpen=0.5, sharpen_by="colours",
                      gamma=0.126),
    "evidence": Recipe(signal="evidence", mirror=False, sharpen=0.5, gamma=0.139),
    "agreement": Recipe(signal="agreement", mirror=False, sharpen=0.5, gamma=0.126),
    "pixels": Recipe(signal="pixels", mirror=False, gamma=0.139),
    "guided-layers": Recipe(signal="layers", guided=True, gamma=0.118),
    "paper": Recipe(signal="input", reduction="max", mirror=False, blur=0.0, smallest_area=0.0),
    "blurred": Recipe(signal="input", reduction="max", mirror=False, blur=12.0),
    "guided": Recipe(signal="input", guided=True, mirror=False, blur=6.0, normalise="rank"),
    "smoothgrad": Recipe(signal="input", samples=16, reduction="square", mirror=False, blur=6.0,
                         normalise="rank"),
}
