"""Score maps of literal class and mask maps."""

import cv2
import pytest
import torch

from stage2_ct.model import Prediction
from stage2_ct.score_maps import connected, score_maps

HILLS = [[0.9, 0.9, 0.2, 0.0, 0.0, 0.6],
         [0.9, 0.9, 0.4, 0.5, 0.0, 0.0],
         [0.0, 0.0, 0.2, 0.8, 0.7, 0.0]]


def evidence_at(row, column):
    evidence = torch.zeros(1, 1, 3, 6)
    evidence[0, 0, row, column] = 1
    return evidence


@pytest.mark.parametrize("start, expected", [
    ((2, 3), [[0.4, 0.4, 0.2, 0.0, 0.0, 0.0],  # the hill at the left, as high as the way to it
              [0.4, 0.4, 0.4, 0.5, 0.0, 0.0],
              [0.0, 0.0, 0.2, 0.8, 0.7, 0.0]]),
    ((0, 0), [[0.9, 0.9, 0.2, 0.0, 0.0, 0.0],
              [0.9, 0.9, 0.4, 0.4, 0.0, 0.0],
              [0.0, 0.0, 0.2, 0.4, 0.4, 0.0]]),
    ((0, 5), [[0.0] * 5 + [0.6], [0.0] * 6, [0.0] * 6])])
def test_what_no_way_leads_to_is_taken_off(start, expected):
    grown = connected(torch.tensor([[HILLS]]), evidence_at(*start))
    torch.testing.assert_close(grown[0, 0], torch.tensor(expected), rtol=0, atol=1e-4)


def test_cut_at_any_tau_the_component_with_the_start_is_left():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(4, 1, 60, 60, generator=generator)
    maps = torch.nn.functional.avg_pool2d(maps, 5, 1, 2)
    grown = connected(maps, maps)
    for one, left in zip(maps[:, 0], grown[:, 0]):
        start = one.flatten().argmax()
        for tau in (0.3, 0.45, 0.5, 0.55, 0.6):
            _, labels = cv2.connectedComponents((one >= tau).byte().numpy(), connectivity=8)
            component = (labels == labels.flat[start]) & (labels > 0)
            assert ((left >= tau - 1e-5).numpy() == component).mean() > 0.999


def prediction():
    class_maps = torch.zeros(1, 2, 2, 4)
    class_maps[0, 1] = torch.tensor([[0., 0., 0., 0.], [0., 0., 2., 4.]])
    mask_logits = torch.tensor([[[[9., 9., -9., 0.], [9., 9., -9., 0.]]]])
    return Prediction(torch.zeros(1, 2), class_maps, mask_logits)


@pytest.mark.parametrize("kind, expected", [
    ("class", [[0, 0, 0, 0], [0, 0, 0.5, 1]]), ("mask", [[1, 1, 0, 0.5], [1, 1, 0, 0.5]]),
    ("product", [[0, 0, 0, 0], [0, 0, 0, 1]]), ("object", [[0, 0, 0, 1], [0, 0, 0, 1]])])
def test_each_kind_of_map(kind, expected):
    found = score_maps(prediction(), kind, torch.tensor([1]), (2, 4))
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float32),
                               rtol=0, atol=1e-3)


def test_a_constant_mask_map_stays_empty():
    flat = Prediction(torch.zeros(1, 2), prediction().class_maps, torch.ones(1, 1, 2, 4))
    assert not score_maps(flat, "object", torch.tensor([1]), (2, 4)).any()


def test_a_method_without_a_mask_branch_is_refused():
    bare = Prediction(torch.zeros(1, 2), torch.zeros(1, 2, 2, 2))
    with pytest.raises(ValueError, match="'object' needs a mask branch"):
        score_maps(bare, "object", torch.tensor([0]), (2, 2))
