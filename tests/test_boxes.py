import numpy as np
import pytest

from common import boxes


def grid(*rows):
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_largest_component_joins_diagonal_neighbours():
    mask = grid("#....",
                ".#..#",
                "..#.#",
                ".....")
    assert np.array_equal(boxes.largest_component(mask), grid("#....", ".#...", "..#..", "....."))


def test_largest_component_counts_pixels_not_boxes():
    mask = grid("####..",
                "......",
                "#####.",
                "......",
                "..####",
                "..####")
    kept = boxes.largest_component(mask)
    assert kept.sum() == 8 and kept[4:, 2:].all()


def test_largest_component_of_equals_is_the_first_in_row_order():
    mask = grid("..##", "....", "##..")
    assert np.array_equal(boxes.largest_component(mask), grid("..##", "....", "...."))


def test_largest_component_of_an_empty_mask_is_empty():
    assert not boxes.largest_component(np.zeros((3, 4), bool)).any()


def test_mask_to_box_is_half_open():
    assert boxes.mask_to_box(grid("....", ".##.", ".#..")).tolist() == [1, 1, 3, 3]
    assert boxes.mask_to_box(np.zeros((3, 4), bool)).tolist() == [0, 0, 0, 0]
    assert boxes.mask_to_box(np.ones((3, 4), bool)).tolist() == [0, 0, 4, 3]


@pytest.mark.parametrize("first, second, expected", [
    ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
    ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
    ([0, 0, 2, 2], [2, 0, 4, 2], 0.0),   # touching edges share nothing
    ([0, 0, 4, 4], [1, 1, 3, 3], 4 / 16),
    ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ([0, 0, 1, 1], [5, 5, 6, 6], 0.0),   # apart in both axes: no product of two negatives
])
def test_iou_by_hand(first, second, expected):
    assert boxes.iou(first, second) == pytest.approx(expected, abs=0)


def test_iou_broadcasts():
    table = boxes.iou(np.array([[[0, 0, 2, 2]], [[0, 0, 1, 1]]]), np.array([[0, 0, 2, 2]]))
    assert table.shape == (2, 1) and table.ravel().tolist() == [1.0, 0.25]


def test_rescale_scales_each_axis_by_itself():
    assert boxes.rescale([10, 20, 30, 40], (100, 50), (200, 50)).tolist() == [10, 40, 30, 80]


def test_centred_box():
    assert boxes.centred_box((100, 200), 0.5).tolist() == [50, 25, 150, 75]
