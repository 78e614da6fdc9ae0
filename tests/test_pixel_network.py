import dataclasses

import pytest
import torch

from stage1_bc.cells import GRID
from stage1_bc.classifier import build_classifier, load_classifier
from stage1_bc.first_labels import CellLabels, train_pixel_unit
from stage1_bc.maker import MaskMaker
from stage1_bc.moments import Moments
from stage1_bc.pixel_network import PixelNetwork, train_pixel_network
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from tests.networks import small_classifier

pytestmark = pytest.mark.usefixtures("all_steps")

CELLS = GRID ** 2
UNDISPUTED = torch.zeros(12, CELLS, dtype=torch.bool)


@pytest.fixture
def classifier():
    return small_classifier()


def cells(classifier, count, seed=0):
    """Random features of two independent signs, a and b, each in half of the channels, and
    whether the signs differ: (count, CELLS, D) half and (count, CELLS) bool."""
    generator = torch.Generator().manual_seed(seed)
    width = PixelUnit(classifier.backbone).width
    signs = torch.randint(2, (count, CELLS, 2), generator=generator) * 2.0 - 1
    features = signs.repeat_interleave(torch.tensor([width // 2, width - width // 2]), 2)
    features = features + 0.3 * torch.randn(features.shape, generator=generator)
    return features.half(), signs[..., 0] != signs[..., 1]


def moments(classifier, targets, not_target=None):
    """Their Moments, with backgrounds whose cells all have equal signs."""
    features, differ = cells(classifier, 12, seed=1)
    features[differ] = features[~differ][:1]
    return Moments(targets, features, not_target)


def mean_answers(unit, features, *groups):
    """Mean answer over the cells of each group."""
    answers = unit(features.float()).flatten(1)
    return [answers[group].mean().item() for group in groups]


def test_the_network_learns_what_no_linear_unit_can(classifier):
    targets, differ = cells(classifier, 12)
    labels, of = CellLabels(differ.float(), UNDISPUTED), moments(classifier, targets)
    unseen, apart = cells(classifier, 5, seed=2)
    one, other = mean_answers(train_pixel_unit(classifier, of, labels), unseen, apart, ~apart)
    assert one - other < 0.1
    network = train_pixel_network(classifier, of, labels, seed=0)
    one, other = mean_answers(network, unseen, apart, ~apart)
    assert one > 0.7 and other < 0.2


def test_disputed_cells_hardly_count(classifier):
    targets, differ = cells(classifier, 12)
    disputed = torch.rand(differ.shape, generator=torch.Generator().manual_seed(3)) < 0.6
    wrong = CellLabels((differ ^ disputed).float(), disputed)
    unseen, apart = cells(classifier, 5, seed=2)
    gaps = []
    for labels in (wrong, dataclasses.replace(wrong, disputed=UNDISPUTED)):
        network = train_pixel_network(classifier, moments(classifier, targets), labels, seed=0)
        one, other = mean_answers(network, unseen, apart, ~apart)
        gaps.append(one - other)
    assert gaps[0] > 0.35 and gaps[1] < 0.25


class Named:
    """A stand-in for NotTarget: a third of the cells whose sign a is above 0."""

    def cells(self, features):
        return (features[..., 0] > 0) & (torch.arange(CELLS) % 3 == 0)


def test_mistaken_cells_weigh_more_than_as_many_like_them_that_nobody_named(classifier):
    targets, differ = cells(classifier, 12)
    network = train_pixel_network(classifier, moments(classifier, targets, Named()),
                                  CellLabels(differ.float(), UNDISPUTED), seed=0)
    unseen, apart = cells(classifier, 5, seed=2)
    above = unseen[..., 0] > 0  # a third of these is named, two thirds are labelled target
    one, other = mean_answers(network, unseen, apart & ~above, apart & above)
    assert one > 0.6 and other < 0.45


def test_a_channel_that_never_varied_says_nothing(classifier):
    targets, differ = cells(classifier, 12)
    of = moments(classifier, targets)
    targets, backgrounds = of.targets.clone(), of.backgrounds.clone()
    targets[..., 3] = backgrounds[..., 3] = 0.3  # its variance may come out negative
    network = train_pixel_network(classifier, Moments(targets, backgrounds),
                                  CellLabels(differ.float(), UNDISPUTED), seed=0)
    unseen, _ = cells(classifier, 2, seed=2)
    answers = network(unseen.float())
    unseen[..., 3] = 50
    assert answers.std() > 0.2 and torch.equal(network(unseen.float()), answers)


def test_weights_that_are_not_finite_are_refused(classifier):
    targets, differ = cells(classifier, 12)
    with pytest.raises(FloatingPointError, match="network for pixels"):
        train_pixel_network(classifier, moments(classifier, targets),
                            CellLabels(differ.float() / 0, UNDISPUTED), seed=0)


def test_a_seed_is_the_same_network_and_leaves_the_random_state_alone(classifier):
    targets, differ = cells(classifier, 12)
    before, networks = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        network = train_pixel_network(classifier, moments(classifier, targets),
                                      CellLabels(differ.float(), UNDISPUTED), seed)
        networks.append(network.hidden.weight)
    assert torch.equal(networks[0], networks[1]) and not torch.equal(networks[0], networks[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_network_travels_in_the_checkpoint_and_in_the_digest():
    classifier = build_classifier("tiny", "none", image_size=32)
    bare = classifier.digest()
    classifier.pixel_network = PixelNetwork(classifier.backbone)
    assert classifier.digest() != bare
    loaded = load_classifier(classifier.checkpoint({}), "none")
    assert loaded.pixel_unit is None and loaded.digest() == classifier.digest()
    assert torch.equal(loaded.pixel_network.output.weight, classifier.pixel_network.output.weight)


def test_a_checkpoint_older_than_the_network_loads():
    checkpoint = build_classifier("tiny", "none", image_size=32).checkpoint({})
    del checkpoint["pixel_network"]
    assert load_classifier(checkpoint, "none").pixel_network is None


def test_the_recipe_asks_for_the_network(classifier):
    maker = MaskMaker(classifier, RECIPES["frozen"], (16, 16))
    with pytest.raises(ValueError, match="--bc-set pixel_network=true"):
        maker.maps(torch.rand(1, 3, 16, 16))
