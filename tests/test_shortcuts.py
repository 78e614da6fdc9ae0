import cv2
import numpy as np
import pytest

from stage1_bc.background_check.shortcuts import compare, fine_detail, sharpness


def noise(seed=0, side=64):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_sharpness_is_the_variance_of_the_laplacian():
    spot = np.zeros((5, 5, 3), np.uint8)
    spot[2, 2] = 10  # its Laplacian: -40 at the spot, 10 at its four neighbours, 0 at the other 20
    assert sharpness(spot) == pytest.approx((40 ** 2 + 4 * 10 ** 2) / 25)
    assert sharpness(np.full((8, 8, 3), 77, np.uint8)) == 0


def test_an_enlarged_picture_has_less_fine_detail_whatever_its_contrast():
    sharp = noise()
    enlarged = cv2.resize(cv2.resize(sharp, (32, 32), interpolation=cv2.INTER_AREA), (64, 64))
    assert fine_detail(enlarged) < 0.2 * fine_detail(sharp)
    assert fine_detail(sharp // 4) == pytest.approx(fine_detail(sharp), rel=0.05)
    assert fine_detail(np.full((8, 8, 3), 77, np.uint8)) == 0


def test_the_auc_counts_pairs_and_half_of_the_draws():
    compared = compare("width", [3, 5], [1, 3, 4, 9])
    assert compared.auc == (1.5 + 3) / 8  # 3 beats 1 and draws with 3; 5 beats 1, 3 and 4
    assert compared.targets == (3.5, 4, 4.5)
    assert not compared.telling and "does not separate" in compared.sentence()


@pytest.mark.parametrize("targets, backgrounds, fewer", [
    ([5, 6, 7], [1, 2], "backgrounds have less"), ([1, 2], [5, 6, 7], "targets have less")])
def test_what_separates_the_two_is_called_by_name(targets, backgrounds, fewer):
    compared = compare("width", targets, backgrounds)
    assert compared.telling
    assert compared.sentence().startswith("width: AUC ")
    assert "WARNING" in compared.sentence() and fewer in compared.sentence()
