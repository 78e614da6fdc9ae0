"""Box rules, on maps small enough to work out by hand."""

import numpy as np
import pytest

from common.box_rules import box_rule
from common.boxes import largest_component, mask_to_box
from common.config import ConfigError

FIFTHS = np.arange(0, 1, 0.2)

UNIMODAL = np.array([[0.0, 0.0, 0.0, 0.0, 0.0],
                     [0.0, 0.4, 0.4, 0.4, 0.6],
                     [0.0, 0.4, 1.0, 0.8, 0.6],
                     [0.0, 0.4, 0.4, 0.4, 0.6]])

TWO_ISLANDS = np.array([[0.5, 0.5, 0.0, 0.0, 0.9],
                        [0.5, 0.5, 0.0, 0.0, 0.9],
                        [0.5, 0.5, 0.0, 0.0, 0.0]])


def test_wsol_iou_counts_both_ends():
    # 2 x 4 shared pixels; 5 x 5 + 2 x 5 - 8 = 27 in all.
    assert box_rule("wsol").iou([1, 2, 5, 6], [3, 1, 4, 5]) == 8 / 27


def test_wsol_truth_is_scaled_and_truncated():
    # (1, 2, 4, 3) times (3.5, 0.5) is (3.5, 1, 14, 1.5).
    truth = box_rule("wsol").truth([(1, 2, 4, 3)], size=(20, 10), frame=(10, 35))
    assert truth.tolist() == [[3, 1, 14, 1]]


def test_wsol_zero_map_gives_the_zero_box():
    assert box_rule("wsol").candidates(np.zeros((3, 3)), FIFTHS).single.tolist() == [[0] * 4] * 5


def test_wsol_boxes_of_one_peak():
    # 255 times the map, truncated: 102 for 0.4, 153 for 0.6, 204 for 0.8. Foreground lies strictly
    # above 0, 51, 102, 153, 204; x + w and y + h are clipped to 4 and 3.
    assert box_rule("wsol").candidates(UNIMODAL, FIFTHS).single.tolist() == [
        [1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]]


def test_wsol_truncates_to_256_levels():
    # 0.7843 times 255 is 199.9965, level 199: not above int(0.7804 * 255) = 199, above 198.
    score_map = np.array([[0.7843, 0, 0], [0, 0, 0], [0, 0, 1]])
    candidates = box_rule("wsol").candidates(score_map, [0.777, 0.7804])
    assert candidates.boxes.tolist() == [[2, 2, 2, 2], [0, 0, 1, 1], [2, 2, 2, 2]]


def test_wsol_takes_the_contour_with_the_largest_polygon_not_the_most_pixels():
    # A line of five pixels encloses nothing; four pixels in a square enclose 1.
    score_map = np.zeros((5, 8))
    score_map[0, :5] = 1
    score_map[2:4, 5:7] = 1
    assert box_rule("wsol").candidates(score_map, [0.5]).single.tolist() == [[5, 2, 7, 4]]
    assert box_rule("largest").candidates(score_map, [0.5]).single.tolist() == [[0, 0, 5, 1]]


def test_wsol_counts_outlines_of_holes_among_all_contours():
    score_map = np.ones((9, 9))
    score_map[0] = score_map[-1] = score_map[:, 0] = score_map[:, -1] = 0
    score_map[3:6, 3:6] = 0
    candidates = box_rule("wsol").candidates(score_map, [0.5])
    # Around the whole, 1 to 8 (exclusive); around the hole, 2 to 7.
    assert sorted(candidates.boxes.tolist()) == [[1, 1, 8, 8], [2, 2, 7, 7]]
    assert candidates.single.tolist() == [[1, 1, 8, 8]]


def test_wsol_thresholds_that_cut_alike_share_their_boxes():
    candidates = box_rule("wsol").candidates(UNIMODAL, [0.2, 0.2001, 0.6])
    assert candidates.group.tolist() == [0, 0, 1]
    assert candidates.single.tolist() == [[1, 1, 4, 3], [1, 1, 4, 3], [2, 2, 4, 3]]


def test_wsol_boxes_as_half_open_ones():
    half_open = box_rule("wsol").half_open([[1, 1, 3, 2], [0, 0, 4, 3]], frame=(4, 5))
    assert half_open.tolist() == [[1, 1, 4, 3], [0, 0, 5, 4]]


def test_largest_component_by_pixel_count_at_each_tau():
    candidates = box_rule("largest").candidates(TWO_ISLANDS, [0.0, 0.4, 0.5, 0.6, 1.0])
    assert candidates.single.tolist() == [
        [0, 0, 5, 3],  # everything reaches 0
        [0, 0, 2, 3],  # six pixels against two
        [0, 0, 2, 3],  # 0.5 reaches 0.5
        [4, 0, 5, 2],  # the small island is all that is left
        [0, 0, 0, 0]]  # nothing reaches 1


def test_largest_lists_the_boxes_of_all_components():
    candidates = box_rule("largest").candidates(TWO_ISLANDS, [0.4])
    assert candidates.boxes.tolist() == [[0, 0, 2, 3], [4, 0, 5, 2]]


def test_largest_joins_over_corners_and_does_not_count_holes():
    diagonal_and_ring = np.zeros((7, 12), np.float32)
    diagonal_and_ring[range(7), range(7)] = 1  # seven pixels, joined by corners only
    diagonal_and_ring[2:6, 8:12] = 1
    diagonal_and_ring[3:5, 9:11] = 0  # twelve pixels around four
    assert box_rule("largest").candidates(diagonal_and_ring, [0.5]).single.tolist() == [
        [8, 2, 12, 6]]
    diagonal_and_ring[2, 9:12] = diagonal_and_ring[5, 9:12] = 0  # six left of the ring
    assert box_rule("largest").candidates(diagonal_and_ring, [0.5]).single.tolist() == [
        [0, 0, 7, 7]]


def test_largest_takes_the_first_of_equals():
    score_map = np.zeros((4, 4))
    score_map[0, 3] = score_map[3, 0] = 1
    assert box_rule("largest").candidates(score_map, [0.5]).single.tolist() == [[3, 0, 4, 1]]


def test_largest_compares_tau_in_the_precision_of_the_map():
    score_map = np.array([[0.7]], np.float32)  # 0.699999988 as a double
    assert box_rule("largest").candidates(score_map, [0.7]).single.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("density", [0.1, 0.4, 0.6, 0.9])
def test_largest_agrees_with_labelled_components(density):
    generator = np.random.default_rng(0)
    for _ in range(25):
        score_map = generator.random(generator.integers(1, 20, 2)).astype(np.float32)
        tau = 1 - density
        expected = mask_to_box(largest_component(score_map >= np.float32(tau)))
        assert box_rule("largest").candidates(score_map, [tau]).single.tolist() == [
            expected.tolist()]


def test_largest_truth_is_not_rounded():
    truth = box_rule("largest").truth([(0, 0, 500, 333)], size=(333, 500), frame=(224, 224))
    assert truth.tolist() == [[0, 0, 224, 224]]


def test_unknown_rule_names_the_known_ones():
    with pytest.raises(ConfigError, match="largest, wsol"):
        box_rule("choe")
