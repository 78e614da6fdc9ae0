import numpy as np
import pytest
import torch

from common.config import ConfigError
from stage1_bc.cutting import components_with, cut, normalise
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES, Recipe
from tests.networks import small_classifier

PLAIN = Recipe(smallest_area=0.0)


def test_equation_2_on_a_literal_array():
    maps = np.array([[[0.0, 4.0, 10.0],
                      [8.0, 7.9, 0.0],
                      [0.0, 0.0, 9.0]]])
    made = cut(normalise(maps, PLAIN), 0.8, PLAIN)  # keeps at least 0.8 x 10
    assert made.mask[0].tolist() == [[False, False, True],
                                     [False, False, False],
                                     [False, False, False]]
    assert made.box.tolist() == [[2, 0, 3, 1]] and made.valid.tolist() == [True]


def test_without_the_largest_component_all_stay():
    maps = np.array([[[0.0, 4.0, 10.0], [8.0, 7.9, 0.0], [0.0, 0.0, 9.0]]])
    every = Recipe(component="all", smallest_area=0.0)
    assert cut(normalise(maps, every), 0.8, every).mask[0].sum() == 3


def test_gamma_moves_the_fraction_of_the_maximum_that_delta_means():
    maps = np.array([[[0.0, 1.0, 2.0, 2.1, 10.0]]])
    recipe = Recipe(gamma=np.log(0.8) / np.log(0.205), smallest_area=0.0)
    made = cut(normalise(maps, recipe), 0.8, recipe)  # a fifth of the maximum, and a little
    assert made.mask[0, 0].tolist() == [False, False, False, True, True]


def test_ranks_are_the_fraction_of_smaller_pixels():
    maps = np.array([[[5.0, 1.0], [3.0, 3.0]]])
    ranks = normalise(maps, Recipe(normalise="rank"))
    assert ranks.tolist() == [[[0.75, 0.0], [0.25, 0.25]]]


@pytest.mark.parametrize("kind", ["max", "rank"])
def test_a_constant_map_is_invalid(kind):
    recipe = Recipe(normalise=kind, smallest_area=0.0)
    maps = np.stack([np.full((4, 4), 2.0), np.zeros((4, 4)), np.full((4, 4), np.nan),
                     np.arange(16.0).reshape(4, 4)])
    made = cut(normalise(maps, recipe), 0.5, recipe)
    assert made.valid.tolist() == [False, False, False, True]
    assert not made.mask[:3].any() and not made.box[:3].any()


def test_a_component_below_the_smallest_area_is_invalid():
    maps = np.zeros((1, 10, 10))
    maps[0, 0, :3] = 1
    assert cut(maps, 0.5, Recipe(smallest_area=0.03)).valid.tolist() == [True]
    assert cut(maps, 0.5, Recipe(smallest_area=0.031)).valid.tolist() == [False]


def test_several_deltas_come_from_one_map():
    maker = MaskMaker(small_classifier(), RECIPES["guided-layers"], (16, 16))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    made = maker.masks(images, [0.7, 0.9])
    for delta in (0.7, 0.9):
        alone = cut(maker.maps(images), delta, RECIPES["guided-layers"])
        assert np.array_equal(made[delta].mask, alone.mask)
    assert (made[0.7].mask | ~made[0.9].mask).all()  # here the components nest


def test_a_recipe_refuses_what_it_does_not_know():
    with pytest.raises(ConfigError, match="signal is 'gradcam'; it must be one of input, layers"):
        Recipe(signal="gradcam")
    with pytest.raises(ConfigError, match="gamma"):
        Recipe(gamma=0)


def test_components_with_a_seed_are_4_connected():
    mask = np.array([[1, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [1, 0, 1, 1]], bool)
    seed = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    expected = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]], bool)
    made = components_with(np.stack([mask, mask]), np.stack([seed, np.zeros_like(seed)]))
    assert np.array_equal(made, np.stack([expected, np.zeros_like(mask)]))
