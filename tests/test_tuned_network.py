import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.config import ConfigError
from stage1_bc import tuned_network
from stage1_bc.cells import GRID, on_grid
from stage1_bc.classifier import build_classifier, load_classifier
from stage1_bc.composites import Composites
from stage1_bc.maker import MaskMaker
from stage1_bc.moments import Moments, TailInputs
from stage1_bc.pixel_map import pixel_map
from stage1_bc.pixel_network import PixelNetwork
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from stage1_bc.sharpening import SIDE
from stage1_bc.tuned_network import TunedNetwork, label_by_masks, train_tuned_network
from tests.networks import NO_COMPOSITES, moments_of, small_classifier

pytestmark = pytest.mark.usefixtures("all_steps")

IMAGE = 32
SQUARE = slice(8, 24)


class Teacher:
    """In place of the network for pixels: given answers, one after the other."""

    mean = torch.zeros(1)

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, features):
        given, self.answers = self.answers[:len(features)], self.answers[len(features):]
        return given


@pytest.fixture
def classifier():
    return small_classifier(image_size=IMAGE)


@pytest.fixture
def longer(monkeypatch):
    """Steps for a small random network, which knows nothing yet."""
    monkeypatch.setattr(tuned_network, "LEAST_STEPS", 100)
    monkeypatch.setattr(tuned_network, "TAIL_RATE", 0.003)
    monkeypatch.setattr(tuned_network, "HEAD_RATE", 0.01)


def pictures(count, seed=0):
    """Targets, a red square on the left and a green one on the right, and backgrounds, green
    squares on either side; each (count, 3, IMAGE, IMAGE) float."""
    generator = torch.Generator().manual_seed(seed)
    targets, backgrounds = torch.rand(2, count, 3, IMAGE, IMAGE, generator=generator) * 0.2
    targets[:, 0, SQUARE, 4:12] += 0.8
    targets[:, 1, SQUARE, 20:28] += 0.8
    backgrounds[::2, 1, SQUARE, 20:28] += 0.8
    backgrounds[1::2, 1, SQUARE, 4:12] += 0.8
    return targets, backgrounds


LEFT, RIGHT, BOTH = (slice(4, 10), slice(2, 5)), (slice(4, 10), slice(9, 12)), (
    slice(4, 10), slice(2, 12))  # cells of the squares


def square_answers(count, *where):
    """Answers of 1 in these cells."""
    answers = torch.zeros(count, GRID, GRID)
    for rows, columns in where:
        answers[:, rows, columns] = 1
    return answers


def tune(classifier, targets, backgrounds, answers, seed=0, not_target=None, composites=None):
    """A tuned network that learns masks cut from answers, and composites, (images, the answers
    that they should get)."""
    reader = PixelUnit(classifier.backbone)
    looks = [reader.look(images) for images in (targets, backgrounds)]
    moments = Moments(*(look.cells.half() for look in looks), not_target)
    frames = torch.zeros(len(targets), 3, SIDE, SIDE, dtype=torch.uint8)
    frames += (answers.repeat_interleave(8, 1).repeat_interleave(8, 2) * 250).byte()[:, None]
    labels, _ = label_by_masks(Teacher(answers), moments, frames)
    pasted = NO_COMPOSITES if composites is None else Composites(
        reader.look(composites[0]).tail_input.half(), composites[1].flatten(1))
    return train_tuned_network(classifier, moments,
                               TailInputs(*(look.tail_input.half() for look in looks)), labels,
                               pasted, seed)


def answers_on(network, images):
    """Mean answers on the left square, on the right one, and elsewhere."""
    answers = network.answer(network.look(images))
    elsewhere = square_answers(1, BOTH)[0] == 0
    return [answers[:, *where].mean().item() for where in (LEFT, RIGHT)] + [
        answers[:, elsewhere].mean().item()]


def test_it_learns_the_masks_and_that_backgrounds_hold_nothing(classifier, longer):
    network = tune(classifier, *pictures(16), square_answers(16, LEFT))
    targets, backgrounds = pictures(6, seed=1)
    left, right, elsewhere = answers_on(network, targets)
    assert left > 0.6 and right < 0.3 and elsewhere < 0.3
    assert network.answer(network.look(backgrounds)).mean() < 0.3


def test_backgrounds_speak_against_what_the_masks_take_in(classifier, longer):
    """Masks hold both squares; only the background images say that green is not the target."""
    targets, backgrounds = pictures(16)
    plain = backgrounds.clamp_max(0.2)
    unseen, _ = pictures(6, seed=1)
    right = {}
    for name, images in (("green", backgrounds), ("plain", plain)):
        network = tune(classifier, targets, images, square_answers(16, BOTH))
        left, right[name], _ = answers_on(network, unseen)
        assert left > 0.5
    assert right["green"] < right["plain"] - 0.1


def test_the_tail_is_changed_and_the_backbone_is_not(classifier):
    before = {name: value.clone() for name, value in classifier.backbone.state_dict().items()}
    network = tune(classifier, *pictures(8), square_answers(8, LEFT))
    for name, value in classifier.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    changed = network.tail.state_dict()
    assert not torch.equal(changed["6.weight"], before["layers.6.weight"])
    assert not any(value.requires_grad for value in network.parameters())


def test_a_seed_is_the_same_network_for_any_number_of_threads(classifier):
    before, networks, threads = torch.get_rng_state(), [], torch.get_num_threads()
    try:
        for seed, count in ((0, 1), (0, 3), (1, 3)):
            torch.set_num_threads(count)
            network = tune(classifier, *pictures(8), square_answers(8, LEFT), seed)
            networks.append(network.state_dict())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(networks[0].values(),
                                                             networks[1].values()))
    assert not torch.equal(networks[0]["hidden.weight"], networks[2]["hidden.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_in_parts_is_one_step_of_the_whole_batch(classifier, monkeypatch):
    networks = []
    for parts in (1, 4):
        monkeypatch.setattr(tuned_network, "PARTS", parts)
        networks.append(tune(classifier, *pictures(8), square_answers(8, LEFT)).state_dict())
    for whole, in_parts in zip(networks[0].values(), networks[1].values()):
        torch.testing.assert_close(whole, in_parts, rtol=1e-3, atol=1e-4)


def test_labels_are_the_masks_and_cells_where_grabcut_differs_are_disputed(
        classifier, monkeypatch):
    answers = square_answers(2, LEFT, RIGHT)
    answers[:, 4:10, 5] = 0.5  # makes the left one the larger
    frames = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)

    def found(frames, scores):
        return np.zeros(scores.shape, bool)
    monkeypatch.setattr(tuned_network, "objects", found)
    labels, masks = label_by_masks(Teacher(answers), moments_of(classifier, *pictures(2)), frames)
    covered = labels.covered.unflatten(1, (GRID, GRID)).round()
    assert covered[:, 5:9, 2:6].all() and not covered[:, :, 8:].any()  # the largest component
    assert torch.equal(labels.disputed, labels.covered > 0.5)
    assert np.array_equal(on_grid(masks), labels.covered)


class Named:
    """A stand-in for NotTarget: the cells of the right half."""

    def cells(self, features):
        return (torch.arange(GRID ** 2) % GRID >= 7).expand(len(features), -1)


def test_what_a_person_names_as_not_the_target_is_learnt_as_background(classifier, longer):
    targets, backgrounds = pictures(16)
    unseen, _ = pictures(6, seed=1)
    right = []
    for not_target in (None, Named()):
        network = tune(classifier, targets, backgrounds.clamp_max(0.2),
                       square_answers(16, BOTH), not_target=not_target)
        right.append(answers_on(network, unseen)[1])
    assert right[1] < right[0] - 0.1


def test_masks_to_be_pasted_are_without_what_a_person_has_named(classifier):
    images, _ = pictures(2)
    moments = moments_of(classifier, images, images, Named())
    frames = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    labels, masks = label_by_masks(Teacher(square_answers(2, BOTH)), moments, frames)
    assert labels.covered.unflatten(1, (GRID, GRID))[:, 5:9, 8:11].all()
    named = SIDE // 2
    assert masks[:, :, :named].any() and not masks[:, :, named:].any()


def test_composites_speak_against_what_the_masks_take_in(classifier, longer):
    """Masks hold both squares; in composites only the red one is pasted."""
    targets, backgrounds = pictures(16)
    plain = backgrounds.clamp_max(0.2)
    pasted, _ = pictures(16, seed=2)
    unseen, _ = pictures(6, seed=1)
    right = []
    for composites in (None, (pasted, square_answers(16, LEFT))):
        network = tune(classifier, targets, plain, square_answers(16, BOTH),
                       composites=composites)
        left, answer, _ = answers_on(network, unseen)
        assert left > 0.5
        right.append(answer)
    assert right[1] < right[0] - 0.1


def test_weights_that_are_not_finite_are_refused(classifier, monkeypatch):
    monkeypatch.setattr(tuned_network, "TAIL_RATE", float("nan"))
    with pytest.raises(FloatingPointError, match="recipe frozen"):
        tune(classifier, *pictures(4), square_answers(4, LEFT))


def test_the_network_travels_in_the_checkpoint_and_in_the_digest():
    classifier = build_classifier("tiny", "none", image_size=IMAGE)
    bare = classifier.digest()
    classifier.tuned_network = TunedNetwork(classifier.backbone)
    assert classifier.digest() != bare
    loaded = load_classifier(classifier.checkpoint({}), "none")
    assert loaded.pixel_network is None and loaded.digest() == classifier.digest()


def with_random_network(classifier):
    classifier.tuned_network = TunedNetwork(classifier.backbone)
    for values in classifier.tuned_network.parameters():
        values.normal_(0, 0.3, generator=torch.Generator().manual_seed(5))
    return classifier.tuned_network


def test_a_map_is_the_mean_of_the_tuned_networks_answers_to_the_image_and_its_mirror_image(
        classifier):
    images, _ = pictures(3)
    network = with_random_network(classifier)
    one, other = (network.answer(network.look(each)) for each in (images, images.flip(3)))
    given = pixel_map(classifier, images, RECIPES["default"], (GRID, GRID))
    torch.testing.assert_close(given, one + other.flip(2))  # sharpening divides by the largest


def test_later_frozen_layers_are_not_computed_for_a_map_of_the_tuned_network(classifier):
    images, _ = pictures(3)
    backbone, computed = classifier.backbone, []
    with_random_network(classifier)
    for number, layer in enumerate(backbone.layers):
        layer.register_forward_hook(lambda *_, number=number: computed.append(number))
    pixel_map(classifier, images, RECIPES["default"], (GRID, GRID))
    assert max(computed) == backbone.tail_start - 1 < len(backbone.layers) - 1


def test_the_tails_input_is_the_same_with_and_without_cells(classifier):
    images, _ = pictures(3)
    unit = PixelUnit(classifier.backbone)
    look = unit.look(images)
    assert look.cells.shape == (3, GRID ** 2, unit.width)
    assert torch.equal(look.tail_input, unit.look(images).tail_input)
    other = unit.look(images)
    assert torch.equal(other.tail_input, look.tail_input) and torch.equal(other.cells, look.cells)


def test_the_tuned_network_reads_larger_images_on_a_finer_grid(classifier):
    images, _ = pictures(3)
    network = with_random_network(classifier)
    recipe = dataclasses.replace(RECIPES["default"], mirror=False, tuned_scales=(1.0, 1.5))
    large = functional.interpolate(images, scale_factor=1.5, mode="bilinear", antialias=True)
    [outputs] = network.tail(network.look(large).tail_input).values()
    features = functional.interpolate(outputs, (21, 21), mode="bilinear", antialias=True)
    finer = network.likeness(features.flatten(2).transpose(1, 2)).detach()
    answer = network.answer(network.look(images))
    coarse = functional.interpolate((answer / answer.amax((1, 2), True))[:, None], (21, 21),
                                    mode="bilinear", align_corners=False)[:, 0]
    expected = (coarse * finer / finer.amax((1, 2), True)) ** (1 / 2)
    torch.testing.assert_close(pixel_map(classifier, images, recipe, (21, 21)), expected)


def test_only_the_tuned_network_has_scales_of_its_own():
    with pytest.raises(ConfigError, match="tuned_scales is for recipes that read the tuned"):
        dataclasses.replace(RECIPES["frozen"], tuned_scales=(1.0, 1.286))
    with pytest.raises(ConfigError, match="at least one scale > 0"):
        dataclasses.replace(RECIPES["default"], tuned_scales=(1.0, 0.0))


def test_the_recipe_asks_for_the_network(classifier):
    classifier.pixel_network = PixelNetwork(classifier.backbone)
    maker = MaskMaker(classifier, RECIPES["default"], (IMAGE, IMAGE))
    with pytest.raises(ValueError, match="--bc-set tuned_network=true"):
        maker.maps(torch.rand(1, 3, IMAGE, IMAGE))
