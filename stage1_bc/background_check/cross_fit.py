"""Cross-validated logits: each picture is judged by a classifier not trained on it."""

import dataclasses

import numpy as np
import torch

from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.classifier_training import ClassifierConfig, train_unit

FOLDS = 5  # fewer where there are too few pictures


def fold_count(targets: int, backgrounds: int) -> int:
    """How many folds so many pictures are dealt into.

    Raises:
        ValueError: fewer than four pictures of either kind.
    """
    fewest = min(targets, backgrounds)
    if fewest < 4:
        raise ValueError(f"{targets} targets and {backgrounds} backgrounds are too few to judge "
                         "some by the others; at least four of each are needed")
    return min(FOLDS, fewest // 2)


def cross_fit(classifier: BackgroundClassifier, targets: torch.Tensor, backgrounds: torch.Tensor,
              config: ClassifierConfig) -> tuple[np.ndarray, np.ndarray]:
    """Logits of "holds a target", each from a unit that never saw the picture.

    A classifier with hundreds of features memorises a bird among its backgrounds and then sees
    nothing wrong with it. So each fold is judged by a unit trained on the other folds, which takes
    seconds because the features are computed already.

    Args:
        classifier: BackgroundClassifier; its unit is left with the last fold's weights.
        targets: (n, D) float32, features of target images.
        backgrounds: (m, D) float32, features of background images.

    Returns:
        ((n,), (m,)) float arrays.

    Raises:
        ValueError: fewer than four pictures of either kind.
    """
    folds = fold_count(len(targets), len(backgrounds))
    # The unit's own validation split is not used here and would only cost training pictures.
    config = dataclasses.replace(config, held_back=0.0)
    parts = [_deal(len(features), folds, config.seed) for features in (targets, backgrounds)]
    logits = [np.zeros(len(targets)), np.zeros(len(backgrounds))]
    for fold in range(folds):
        train_unit(classifier, targets[parts[0] != fold], backgrounds[parts[1] != fold], config)
        for part, features, judged in zip(parts, (targets, backgrounds), logits):
            judged[part == fold] = _logits(classifier, features[part == fold])
    return logits[0], logits[1]


def _deal(count, folds, seed):
    """The fold of each picture, as evenly as possible."""
    return np.random.default_rng(seed).permutation(count) % folds


@torch.no_grad()
def _logits(classifier, features):
    device = classifier.unit.weight.device
    return classifier.unit(features.to(device)).squeeze(1).cpu().numpy()
