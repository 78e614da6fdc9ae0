"""Masks made while stage 2 trains (paper, section 4.2), from the batch it is training on.

Both makers are called with (N, 3, H, W) float RGB images in [0, 1] and give
``(masks (N, 1, H, W) bool tensor, valid (N,) bool tensor)``.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from common.datasets import Record
from common.loading import load_frames, to_float
from common.progress import ignore
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.maker import MaskMaker
from stage1_bc.mask_settings import MaskSettings
from stage1_bc.recipe import RECIPES, Recipe

TEACHER = "guided-layers"  # recipe whose masks teach units for pixels
BACKGROUNDS_PER_STEP = 8  # background images that join each batch when both models learn at once


class OnlineMaker:
    """Masks from a background classifier that is already trained.

    Args:
        delta: threshold of Eq. 2.
    """

    def __init__(self, maker: MaskMaker, delta: float):
        self.maker = maker
        self.delta = delta

    def __call__(self, images):
        cut = self.maker.masks(images, [self.delta])[self.delta]
        return torch.from_numpy(cut.mask)[:, None], torch.from_numpy(cut.valid)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class JointMaker(OnlineMaker):
    """Masks from a background classifier that learns in the same step.

    Several background images join each batch of training images; the classifier's unit takes one
    optimizer step on all of them (Eq. 3), and the training images' maps become the masks.

    Args:
        maker: MaskMaker; its classifier's unit is trained in place.
        delta: threshold of Eq. 2.
        backgrounds: called with nothing; gives (n, 3, H, W) float background images.
        learning_rate: Adam's step size for the unit.
    """

    def __init__(self, maker: MaskMaker, delta: float, backgrounds: Callable[[], torch.Tensor],
                 learning_rate: float = 0.01):
        super().__init__(maker, delta)
        self.backgrounds = backgrounds
        self.unit = maker.classifier.unit
        self.optimizer = torch.optim.Adam(self.unit.parameters(), lr=learning_rate)

    def __call__(self, images):
        self.learn(images)
        return super().__call__(images)

    def learn(self, images: torch.Tensor) -> torch.Tensor:
        """One step of the unit; target and background images weigh the same; gives the loss."""
        classifier = self.maker.classifier
        backgrounds = self.backgrounds().to(images.device)
        with torch.no_grad():
            features = classifier.features(torch.cat([images, backgrounds])).float()
        labels = (torch.arange(len(features), device=images.device) < len(images)).float()
        weights = torch.where(labels == 1, 0.5 / len(images), 0.5 / len(backgrounds))
        with torch.enable_grad():
            logits = self.unit(features).squeeze(1)
            loss = functional.binary_cross_entropy_with_logits(
                logits, labels, weight=weights, reduction="sum")
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict:
        return {"unit": self.unit.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.unit.load_state_dict(state["unit"])
        self.optimizer.load_state_dict(state["optimizer"])


def joint_settings(settings: MaskSettings) -> MaskSettings:
    """How masks are made jointly: a gradient recipe takes the place of one that reads pixels.

    It is the one whose masks would teach the units that read them: there are no finished masks yet.
    """
    if not settings.recipe.reads_pixels:
        return settings
    return dataclasses.replace(settings, recipe_name=TEACHER, recipe=RECIPES[TEACHER])


def joint_maker(classifier: BackgroundClassifier, recipe: Recipe, delta: float,
                backgrounds: Sequence[Record], seed: int, device: str | torch.device,
                notify: Callable[[str], object] = ignore) -> JointMaker:
    """A JointMaker that starts from an untrained classifier.

    Args:
        classifier: BackgroundClassifier with an untrained unit.
        recipe: Recipe that reads gradients.
        delta: threshold of Eq. 2.
        backgrounds: sequence of Record of background images; those that cannot be read are left
            out, and drawing raises ValueError where none can.
        seed: of the order in which they are drawn.
        notify: called once with a sentence on each that cannot be read.
    """
    nn.init.zeros_(classifier.unit.bias)
    size = (classifier.image_size,) * 2
    stream = _endless_batches(backgrounds, size, seed, notify)
    return JointMaker(MaskMaker(classifier, recipe, size, device), delta, lambda: next(stream))


def _endless_batches(records, size, seed, notify):
    """Yield batches of images, in a new order each round, (n, 3, H, W) float."""
    random, told = np.random.default_rng(seed), set()
    while len(told) < len(records):
        order = random.permutation(len(records)).tolist()
        chosen = [order[start:start + BACKGROUNDS_PER_STEP]
                  for start in range(0, len(order), BACKGROUNDS_PER_STEP)]
        for batch in load_frames(records, size, chosen, 0):
            for position, error in batch.bad:
                if position not in told:
                    notify(f"{error} The other background images are used.")
                    told.add(position)
            if batch.positions:
                yield to_float(batch.images)
    raise ValueError(f"none of the {len(records)} background images can be read; the first is "
                     f"{records[0].path}")
