"""How a method of stage 2 is trained."""

import dataclasses
import math
from typing import Any

from common.boxes import LARGEST_SIDE
from common.config import check_choice, check_ranges, to_dict
from common.precision import PRECISIONS
from stage2_ct.losses import MASK_LOSSES
from stage2_ct.model import MASK_INPUTS
from stage2_ct.score_maps import SCORE_MAPS


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a method of stage 2 is trained; defaults are the paper's (section 5.1)."""

    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 32
    """Images per optimizer step, over all processes."""
    backbone_rate: float = 1e-4
    """Learning rate of the backbone."""
    head_rate: float = 1e-3
    """Learning rate of the new layers."""
    decay_every: int = 20
    """Both rates are divided by ten after every so many epochs."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty on all weights."""
    gradient_limit: float = 5.0
    """Largest norm of a step's gradient; longer ones are scaled down to it. The new layers are six
    convolutions in a row without normalisation, and their first steps can be far too long."""
    precision: str = "auto"
    """Number format during training: "float32", "bfloat16", "float16" or "auto" (see
    ``common.precision``). Localizing is float32."""
    image_size: int = 224
    """Side of the square input, in pixels."""
    width: int = 1024
    """Filters of the 3x3 convolutions in the class block."""
    frozen_layers: int = 0
    """Leading layers of the backbone that are not trained, for shorter steps; the first 17 of
    VGG-16 are its first three blocks."""
    fine: bool = False
    """Keep the backbone's last stage at twice the resolution (28x28 for VGG-16)."""
    last_layer: bool = False
    """Section 4.1's fully connected layer behind the pooling."""
    mask_width: int = 1024
    """Filters of the 3x3 convolutions in the mask branch."""
    mask_input: str = "class maps"
    """What the mask branch reads: "class maps", or the class block's "features"."""
    mask_loss: str = "two-sided"
    """Form of equation 5: "two-sided" (with a background term) or "printed" (without)."""
    mask_weight: float = 1.0
    """Weight of the mask loss in equation 6."""
    score_map: str = "mask"
    """What a box is cut from, see ``stage2_ct.score_maps``."""
    smallest_crop: float = 0.4
    """Smallest random crop, as a fraction of the image's area."""
    colour: float = 0.4
    """Hue, saturation and brightness are scaled by up to 1 plus or minus this."""
    vertical_flip: bool = False
    """Also flip top to bottom with probability 0.5."""

    def __post_init__(self):
        check_choice(self, "mask_input", MASK_INPUTS)
        check_choice(self, "mask_loss", MASK_LOSSES)
        check_choice(self, "score_map", SCORE_MAPS)
        check_choice(self, "precision", ("auto", *PRECISIONS))
        check_ranges(
            self, image_size=(1, LARGEST_SIDE), momentum=(0, 1), smallest_crop=(0.01, 1),
            colour=(0, 0.99), frozen_layers=(0, math.inf),
            **dict.fromkeys(("epochs", "batch_size", "decay_every", "width", "mask_width"),
                            (1, math.inf)),
            **dict.fromkeys(("backbone_rate", "head_rate", "weight_decay", "mask_weight",
                             "gradient_limit"), (0, math.inf)))

    def of_training(self) -> dict[str, Any]:
        """The fields that the trained weights depend on, as plain values by name."""
        return {name: value for name, value in to_dict(self).items() if name != "score_map"}
