import numpy as np
import pytest
import torch

from stage1_bc.colour_models import BINS, SIDE, _blurred, probable_objects

FRAME = 2 * SIDE


@pytest.fixture
def scene():
    """A red square on a dark ground, (1, 3, H, W) float, and a map that does not fit it."""
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.random((1, 3, FRAME, FRAME), np.float32)) * 0.1
    image[:, 0, 30:80, 30:80] += 0.8
    score = torch.zeros(1, FRAME, FRAME)
    score[:, 25:90, 25:90] = 0.2  # a halo
    score[:, 35:70, 35:70] = 0.6
    score[:, 45:60, 45:60] = 1.0
    truth = np.zeros((SIDE, SIDE), bool)
    truth[15:40, 15:40] = True
    return image, score, truth


def test_the_object_follows_the_image_and_not_the_score(scene):
    image, score, truth = scene
    probability, = probable_objects(image, 7 * score)  # its scale does not matter
    assert probability.min() >= 0 and probability.max() <= 1
    found = probability.numpy() > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_an_image_of_one_colour_leaves_the_decision_to_the_score(scene):
    _, score, _ = scene
    found = probable_objects(torch.full((1, 3, FRAME, FRAME), 0.5), score)[0] > 0.5
    assert found[24:28, 24:28].all() and not found[:10].any()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_bits_in_any_batch_and_with_any_number_of_threads(scene, threads):
    """A batch of 24 is large enough that torch divides its operations among threads."""
    image, score, _ = scene
    generator = torch.Generator().manual_seed(0)
    images = torch.cat([image, torch.rand(23, 3, FRAME, FRAME, generator=generator)])
    scores = torch.cat([score, torch.rand(23, FRAME, FRAME, generator=generator)])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = torch.cat([probable_objects(*one) for one in zip(images.split(1), scores.split(1))])
    torch.set_num_threads(threads)
    try:
        for size in (24, 7):
            together = torch.cat([probable_objects(*some) for some in zip(
                images.split(size), scores.split(size))])
            assert torch.equal(together, alone)
        channels_last = images.contiguous(memory_format=torch.channels_last)  # as masks are made
        assert torch.equal(probable_objects(channels_last, scores), alone)
        assert torch.equal(probable_objects(images.flip(0), scores.flip(0)).flip(0), alone)
    finally:
        torch.set_num_threads(before)


def test_a_blurred_histogram_keeps_half_of_each_bin_on_either_side():
    counts = torch.zeros(1, 2, BINS, BINS, BINS)
    counts[0, 0, 5, 5, 5] = counts[0, 1, 0, 0, 0] = 8
    inside, outside = _blurred(counts)[0]
    assert inside[5, 5, 5] == 8 and inside[4, 5, 5] == inside[5, 6, 5] == 4
    assert inside[4, 4, 4] == 1 and inside.sum() == 8 * 2 ** 3
    assert outside.sum() == 8 * 2 ** 3  # at the end of the range nothing is lost
