import numpy as np
import pytest
import torch

from stage1_bc.background_check.cross_fit import cross_fit
from stage1_bc.classifier_training import ClassifierConfig
from tests.networks import small_classifier

CONFIG = ClassifierConfig(steps=200, learning_rate=0.05)


def features(count, centre, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator) * 0.3 + centre


def test_every_picture_is_judged_and_the_odd_one_is_found():
    targets, backgrounds = features(20, 1.0, 0), features(15, -1.0, 1)
    backgrounds[4] = targets[7]  # a target among the backgrounds
    on_targets, on_backgrounds = cross_fit(small_classifier(), targets, backgrounds, CONFIG)
    assert on_targets.shape == (20,) and on_backgrounds.shape == (15,)
    assert np.flatnonzero(on_backgrounds > 0).tolist() == [4]
    assert (on_targets > 0).mean() > 0.9


def test_a_picture_is_judged_without_having_been_learnt():
    """With labels that say nothing, what was learnt by heart would be judged as it was labelled."""
    generator = torch.Generator().manual_seed(0)
    classifier = small_classifier(head="flattened")
    width = classifier.unit.in_features
    targets, backgrounds = (torch.randn(30, width, generator=generator) for _ in range(2))
    on_targets, on_backgrounds = cross_fit(classifier, targets, backgrounds, CONFIG)
    right = np.concatenate([on_targets > 0, on_backgrounds <= 0])
    assert 0.25 < right.mean() < 0.75


def test_the_same_seed_gives_the_same_logits():
    targets, backgrounds = features(9, 1.0, 0), features(7, -1.0, 1)
    first, second = (cross_fit(small_classifier(), targets, backgrounds, CONFIG)
                     for _ in range(2))
    assert np.array_equal(first[1], second[1])


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="3 backgrounds are too few"):
        cross_fit(small_classifier(), features(9, 1.0, 0), features(3, -1.0, 1), CONFIG)
    four = cross_fit(small_classifier(), features(4, 1.0, 0), features(4, -1.0, 1), CONFIG)
    assert all(len(logits) == 4 for logits in four)
