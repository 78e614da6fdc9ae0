"""How a method of stage 2 is trained."""

import dataclasses
from typing import Any

from common.config import ConfigError, check_choice, to_dict
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
    fine: bool = False
    """Keep the backbone's last stage at twice the resolution (28x28 for VGG-16)."""
    last_layer: bool = False
    """Section 4.1's fully connected layer behind the pooling."""
    mask_width: int = 1024
    """Filters of the 3x3 convolutions in the mask branch."""
    mask_input: str = "class maps"
    """What the mask branch reads: "class maps", or the class block's "features"."""
    mask_loss: str = "two-sided"
    """Eq. 5: "two-sided" (with its background term) or "printed"."""
    mask_weight: float = 1.0
    """Weight of the mask loss in Eq. 6."""
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
        if min(self.epochs, self.batch_size, self.decay_every, self.image_size, self.width,
               self.mask_width) < 1:
            raise ConfigError("epochs, batch_size, decay_every, image_size, width and mask_width "
                              "must be at least 1")

    def of_training(self) -> dict[str, Any]:
        """The fields that the trained weights depend on, as plain values by name."""
        return {name: value for name, value in to_dict(self).items() if name != "score_map"}
