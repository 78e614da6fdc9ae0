"""What a background classifier is worth: the same masks from classifiers that know less.

A recipe passes if its masks get worse with what the classifier has not learned (Adebayo et al.,
*Sanity checks for saliency maps*, 2018). So the classifier's unit is replaced before the units for
pixels are taught, or trained with other background images, and everything else stays as it is.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from common.compute import Compute
from common.datasets import Record, open_backgrounds
from common.progress import silent
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.classifier_training import (ClassifierConfig, teach_pixels, train_classifier,
                                           train_units)
from stage1_bc.reading import read_images

TRAINED = "trained"
GREY = 128  # of the square that takes the place of all background images


def sanity_classifiers(build: Callable[[], BackgroundClassifier], targets: Sequence[Record],
                       backgrounds: Sequence[Record], config: ClassifierConfig, compute: Compute,
                       wrong_backgrounds: Sequence[Record] = (), random_units: int = 1,
                       progress: Callable = silent
                       ) -> Iterator[tuple[str, BackgroundClassifier]]:
    """Classifiers to compare, each with the units for pixels that ``config`` names.

    Args:
        build: function that returns a BackgroundClassifier without trained units.
        targets, backgrounds, config, compute: as for ``train_classifier``.
        wrong_backgrounds: sequence of Record of pictures that are no good as backgrounds.
        random_units: number of random units, with seeds 0, 1, ...
        progress: see ``common.progress``.

    Yields:
        (name, BackgroundClassifier): ``TRAINED`` first, equal to what ``train_classifier`` makes;
        "random unit 0", ...: the unit as ``nn.Linear`` starts; "ones": every weight 1, bias 0, so
        the logit is the sum of what the unit reads; "no backgrounds": a grey square takes the
        place of every background image; "wrong backgrounds", where some were given.
    """
    classifier = build()
    readings = read_images(classifier, targets, backgrounds, config, compute, progress)
    train_units(classifier, readings, config, compute, progress)
    yield TRAINED, classifier
    for name, seed in (*((f"random unit {seed}", seed) for seed in range(random_units)),
                       ("ones", None)):
        classifier = build().to(compute.device).to(memory_format=torch.channels_last)
        _replace_unit(classifier.unit, seed)
        teach_pixels(classifier, readings, config, compute, progress)
        yield name, classifier
    readable = [record for record in targets if str(record.path) not in readings.unreadable]
    del readings
    with tempfile.TemporaryDirectory() as folder:
        for name, records in (("no backgrounds", _grey(Path(folder))),
                              ("wrong backgrounds", wrong_backgrounds)):
            if records:
                classifier = build()
                train_classifier(classifier, readable, records, config, compute, progress)
                yield name, classifier


def _replace_unit(unit, seed):
    """Random weights as ``nn.Linear`` starts; ones where the seed is None."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        if seed is None:
            unit.weight.fill_(1)
            unit.bias.zero_()
            return
        torch.manual_seed(seed)
        fresh = torch.nn.Linear(unit.in_features, 1)
        unit.load_state_dict(fresh.state_dict())


def _grey(folder):
    """Records of a grey square. Two, as training holds one back; kinds weigh the same."""
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((64, 64, 3), GREY, np.uint8))
    return open_backgrounds(folder).records
