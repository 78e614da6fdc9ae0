"""What the classification model's mask branch reads."""

import pytest
import torch

from common.config import ConfigError
from stage2_ct.model import ClassificationModel
from stage2_ct.training_config import TrainingConfig
from tests.networks import small_backbone

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mask_input, channels, follows", [
    ("class maps", 5, True), ("features", 8, False)])
def test_the_mask_branch_reads_what_it_should(mask_input, channels, follows):
    model = ClassificationModel(small_backbone(), 5, width=8, mask_width=4, mask_input=mask_input)
    assert [tuple(layer.weight.shape[:2]) for layer in model.mask_block[::2]] == [
        (4, channels), (4, 4), (1, 4)]
    with torch.no_grad():
        before = model(IMAGES)
        model.class_block[-1].weight.mul_(2)  # the class maps change, what they are made from not
        after = model(IMAGES)
    assert not torch.equal(before.class_maps, after.class_maps)
    assert torch.equal(before.mask_logits, after.mask_logits) != follows
    torch.testing.assert_close(after.logits, after.class_maps.mean(dim=(2, 3)))


def test_a_plain_model_has_no_mask_branch():
    assert ClassificationModel(small_backbone(), 5, width=8)(IMAGES).mask_logits is None


def test_a_branch_that_reads_something_else_is_refused():
    with pytest.raises(ConfigError, match="mask_input is 'pixels'; it must be one of class maps"):
        TrainingConfig(mask_input="pixels")
