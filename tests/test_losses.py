import math

import pytest
import torch

from stage2_ct.losses import classification_loss, printed_mask_loss, two_sided_mask_loss


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(3, 1, 4, 5, generator=generator),
            (torch.rand(3, 1, 4, 5, generator=generator) < 0.5).float(),
            torch.tensor([True, False, True]))


def double_loop(mask_logits, masks, valid, background):
    """Eq. 5 written out, over pixels and images."""
    total = 0.0
    for image in range(3):
        for y in range(4):
            for x in range(5):
                a = 1 / (1 + math.exp(-mask_logits[image, 0, y, x]))
                m = masks[image, 0, y, x].item()
                loss = -m * math.log(a) - background * (1 - m) * math.log(1 - a)
                total += loss * valid[image].item()
    return total / (3 * 4 * 5)


def test_equation_5_as_printed_against_a_double_loop(case):
    assert printed_mask_loss(*case).item() == pytest.approx(double_loop(*case, 0), rel=1e-5)


def test_equation_5_two_sided_against_a_double_loop(case):
    assert two_sided_mask_loss(*case).item() == pytest.approx(double_loop(*case, 1), rel=1e-5)


def test_a_map_of_ones_minimises_the_printed_form_only(case):
    _, masks, valid = case
    ones = torch.full((3, 1, 4, 5), 30.0)
    assert printed_mask_loss(ones, masks, valid) < 1e-6
    assert two_sided_mask_loss(ones, masks, valid) > 1


@pytest.mark.parametrize("loss", [printed_mask_loss, two_sided_mask_loss])
def test_an_invalid_mask_supervises_nothing(case, loss):
    mask_logits, masks, valid = case
    mask_logits.requires_grad_()
    loss(mask_logits, masks, valid).backward()
    assert (mask_logits.grad[1] == 0).all() and (mask_logits.grad[0] != 0).any()
    changed = masks.clone()
    changed[1] = 1 - changed[1]
    assert loss(mask_logits, changed, valid) == loss(mask_logits, masks, valid)


def test_a_coarse_map_is_upsampled_to_the_mask():
    coarse = torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]])
    masks = torch.zeros(1, 1, 2, 4)
    row = [0.0, 1.0, 3.0, 4.0]  # bilinear, pixel centres aligned
    expected = sum(math.log(1 + math.exp(value)) for value in row) / 4
    found = two_sided_mask_loss(coarse, masks, torch.tensor([True])).item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_equation_4_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert classification_loss(logits, torch.tensor([1])).item() == pytest.approx(-math.log(0.75))
