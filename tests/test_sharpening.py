import numpy as np
import pytest
import torch

from stage1_bc.sharpening import SIDE, objects, sharpen


@pytest.fixture
def scene():
    """A red square on a dark ground, (1, 3, 112, 112) uint8, and a map that does not fit it."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[30:80, 30:80] = (200, 60, 40)
    frame += np.random.default_rng(0).integers(0, 20, frame.shape).astype(np.uint8)
    score = torch.zeros(1, SIDE, SIDE)
    score[:, 25:90, 25:90] = 0.2  # a halo
    score[:, 35:70, 35:70] = 0.6
    score[:, 45:60, 45:60] = 1.0
    truth = np.zeros((SIDE, SIDE), bool)
    truth[30:80, 30:80] = True
    return torch.from_numpy(frame).permute(2, 0, 1)[None], score, truth


def test_the_object_follows_the_image_and_not_the_score(scene):
    frames, score, truth = scene
    found, = objects(frames, 7 * score)  # its scale does not matter
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_nothing_is_found_from_a_map_of_zeros(scene):
    frames, score, _ = scene
    assert not objects(frames, 0 * score).any()
    for by in ("grabcut", "colours"):
        assert not sharpen(frames / 255, 0 * score, 0.5, by).any()


def test_the_object_is_added_to_the_map(scene):
    frames, score, truth = scene
    images = torch.nn.functional.interpolate(frames / 255, scale_factor=2)
    maps = torch.nn.functional.interpolate(7 * score[None], scale_factor=2)[0]
    sharp, = sharpen(images, maps, 0.5)
    assert sharp.shape == (2 * SIDE, 2 * SIDE)
    assert sharp[110, 110] == pytest.approx(1.5)  # the map's maximum, inside
    assert sharp[68, 110] == pytest.approx(0.7, abs=0.02)  # halo, and object but for the blur
    assert sharp[172, 110] == pytest.approx(0.2, abs=0.02)  # the halo stays what it was
    assert sharp[5, 5] == 0


def test_the_same_object_whatever_is_cut_beside_it(scene):
    frames, score, _ = scene
    other = torch.randint(0, 255, frames.shape, dtype=torch.uint8,
                          generator=torch.Generator().manual_seed(0))
    alone = objects(frames, score)[0]
    together = objects(torch.cat([other, frames, other]), score.repeat(3, 1, 1))[1]
    assert np.array_equal(alone, together)
