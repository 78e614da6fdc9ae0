"""What can be trained in stage 2, by name."""

import dataclasses
from collections.abc import Callable

from stage2_ct.bc_ct import BackgroundSupervised, PlainClassActivation
from stage2_ct.model import LocalizationMethod
from stage2_ct.rivals.acol import AdversarialErasing
from stage2_ct.rivals.backprop import InputGradient
from stage2_ct.rivals.has import HideAndSeek
from stage2_ct.rivals.spg import SelfProducedGuidance
from stage2_ct.training_config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Variant:
    """A method and the settings it is trained with."""

    method: Callable[..., LocalizationMethod]
    """Called with (backbone, classes, TrainingConfig); see ``BackgroundSupervised``."""
    uses_masks: bool
    """Whether it learns from masks."""
    config: TrainingConfig
    """Its settings, before any override."""
    trained_as: str | None = None
    """The variant whose runs it shares, because it is trained alike; None for its own."""


FROM_LABELS = TrainingConfig(score_map="class")
# Each was chosen on training images held out of training (docs/masks.md). Mask weight 4 learns the
# object in a fifth of the epochs that weight 1 takes; a narrow mask branch on the features costs a
# quarter of the paper's wide one on the class maps, and has the better shapes.
FROM_MASKS = TrainingConfig(mask_weight=4.0, mask_input="features", mask_width=256,
                            score_map="object")

VARIANTS = {
    "bc-ct": Variant(BackgroundSupervised, True, FROM_MASKS),
    "bc-ct-paper-loss": Variant(BackgroundSupervised, True, TrainingConfig(mask_loss="printed")),
    "bc-ct-mask-map": Variant(BackgroundSupervised, True,
                              dataclasses.replace(FROM_MASKS, score_map="mask"), "bc-ct"),
    "bc-ct-class-map": Variant(BackgroundSupervised, True,
                               dataclasses.replace(FROM_MASKS, score_map="class"), "bc-ct"),
    "cam": Variant(PlainClassActivation, False, FROM_LABELS),
    "backprop": Variant(InputGradient, False, FROM_LABELS, trained_as="cam"),
    "has": Variant(HideAndSeek, False, FROM_LABELS),
    "acol": Variant(AdversarialErasing, False, FROM_LABELS),
    "spg-plain": Variant(PlainClassActivation, False, FROM_LABELS, trained_as="cam"),
    "spg": Variant(SelfProducedGuidance, False, FROM_LABELS),
}
