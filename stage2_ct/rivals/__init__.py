"""The methods that BC-CT is compared with, one file per method."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from stage2_ct.rivals.acol import AdversarialErasing
    from stage2_ct.rivals.backprop import InputGradient
    from stage2_ct.rivals.has import HideAndSeek
    from stage2_ct.rivals.spg import SelfProducedGuidance

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "acol": ("AdversarialErasing",),
    "backprop": ("InputGradient",),
    "has": ("HideAndSeek",),
    "spg": ("SelfProducedGuidance",),
})
