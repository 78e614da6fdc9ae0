"""Figures that the paper prints, quoted next to ours; none of them was measured here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Printed:
    """A row of one of the paper's tables: errors in percent, None where it has none."""

    method: str
    top1_error: float
    top5_error: float | None = None


TABLE1 = (
    Printed("Backprop on VGGnet", 61.12, 51.46),
    Printed("Backprop on GoogLeNet", 61.31, 50.55),
    Printed("AlexNet-GAP", 67.19, 52.16),
    Printed("VGGnet-GAP", 57.20, 45.14),
    Printed("GoogLeNet-GAP", 56.40, 43.00),
    Printed("GoogLeNet-HaS-32", 54.53),
    Printed("VGGnet-ACoL", 54.17, 40.57),
    Printed("GoogLeNet-ACoL", 53.28, 42.58),
    Printed("SPG-plain", 53.71, 41.84),
    Printed("SPG", 51.40, 40.00),
    Printed("BC-CT", 53.21, 42.0),
)
"""ILSVRC, validation images."""

TABLE2 = (
    Printed("GoogLeNet-GAP", 59.00),
    Printed("ACoL", 54.08, 43.49),
    Printed("SPG-plain", 56.33, 46.47),
    Printed("SPG", 53.36, 42.28),
    Printed("BC-CT", 51.21, 40.70),
    Printed("BC*", 16.95),
)
"""CUB-200-2011, test images. BC-CT's row mixes two of Table 3's, see ``MIXED_ROW``."""

TABLE3 = (
    Printed("BC-CT, delta 0.70", 53.62, 43.17),
    Printed("BC-CT, delta 0.75", 53.29, 42.06),
    Printed("BC-CT, delta 0.80", 51.21, 41.49),
    Printed("BC-CT, delta 0.85", 52.87, 40.70),
    Printed("BC-CT, delta 0.90", 52.60, 43.25),
)
"""CUB-200-2011, test images, for each delta."""

MIXED_ROW = ("The paper's BC-CT row, 51.21 / 40.70, belongs to no single model: in its Table 3, "
             "51.21 / 41.49 is delta 0.80 and 52.87 / 40.70 is delta 0.85. The figures to compare "
             "with are 51.21 / 41.49.")
