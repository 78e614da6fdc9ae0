"""Label propagation: the walk's answers, by value."""

import pytest
import torch

from common.config import ConfigError
from stage1_bc.mask_settings import mask_settings
from stage1_bc.pixel_unit import GRID, PixelUnit, pixel_map
from stage1_bc.propagation import propagate
from stage1_bc.recipe import Recipe
from tests.networks import small_classifier

PLACES, CHANNELS = 12, 8


def two_things(seed=0):
    """One image of 12 places: the first 5 are one thing, the others another, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([[1., 0], [0, 1]]).repeat(1, CHANNELS // 2)
    places = kinds[[0] * 5 + [1] * (PLACES - 5)]
    return (places + 0.1 * torch.randn(PLACES, CHANNELS, generator=generator))[None]


def test_an_answer_reaches_similar_places_only():
    answers = torch.zeros(1, PLACES)
    answers[0, 0] = 1
    found = propagate(two_things(), answers, 0.6)[0]
    assert found[0] == found.max() and found[1:5].min() > 0.05
    assert found[5:].max() < 0.2 * found[1:5].min()


def test_it_is_the_limit_of_the_walk():
    features, share = two_things(3), 0.6
    answers = torch.rand(1, PLACES, generator=torch.Generator().manual_seed(1))
    scaled = (features - features.mean(1, keepdim=True)) / features.std(1, keepdim=True)
    likeness = torch.cosine_similarity(scaled[0][:, None], scaled[0][None], dim=2)
    steps = likeness.clamp_min(0) ** 2
    steps = steps / steps.sum(1, keepdim=True)
    limit = torch.linalg.solve(torch.eye(PLACES) - share * steps, (1 - share) * answers[0])
    torch.testing.assert_close(propagate(features, answers, share)[0], limit, atol=1e-5, rtol=0)


def test_equal_answers_stay_and_none_exceeds_the_largest():
    equal = torch.full((1, PLACES), 0.7)
    torch.testing.assert_close(propagate(two_things(), equal, 0.6), equal)
    answers = torch.rand(1, PLACES, generator=torch.Generator().manual_seed(2))
    found = propagate(two_things(), answers, 0.6)
    assert found.min() >= 0 and found.max() <= answers.max()


def test_images_do_not_mix_and_what_all_places_share_does_not_count():
    answers = torch.rand(2, PLACES, generator=torch.Generator().manual_seed(2))
    features = torch.cat([two_things(0), two_things(1)])
    together = propagate(features, answers, 0.6)
    for number in range(2):
        alone = propagate(features[number:number + 1], answers[number:number + 1], 0.6)[0]
        torch.testing.assert_close(together[number], alone)
    torch.testing.assert_close(propagate(10 * features + 100, answers, 0.6), together,
                               atol=1e-3, rtol=0)


def test_an_image_without_any_difference_keeps_its_answers():
    answers = torch.tensor([[0.2, 0.8]])
    found = propagate(torch.ones(1, 2, 3), answers, 0.6)  # nothing is like anything
    torch.testing.assert_close(found / found.max(), answers / answers.max())


def test_a_recipe_that_propagates_changes_the_map_of_a_unit():
    classifier = small_classifier("pooled", 32)
    classifier.pixel_unit = PixelUnit(classifier.backbone)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = classifier.pixel_unit.read(images)
    classifier.pixel_unit.weight.copy_(features[0, 100] - features.mean((0, 1)))
    answers = classifier.pixel_unit(features).clamp_min(0).flatten(1)
    made = pixel_map(classifier, images, Recipe(signal="pixels", mirror=False, propagate=0.6),
                     (GRID, GRID))
    torch.testing.assert_close(made.flatten(1), propagate(features, answers, 0.6))
    assert not torch.allclose(made.flatten(1), answers)


@pytest.mark.parametrize("fields, message", [
    ({"signal": "pixels", "propagate": 1.0}, "from 0 to below 1, not 1.0"),
    ({"signal": "pixels", "propagate": -0.1}, "from 0 to below 1, not -0.1"),
    ({"signal": "layers", "propagate": 0.5}, "the signal layers has no unit for pixels")])
def test_what_cannot_be_propagated_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**fields)


def test_masks_without_propagation_keep_their_key():
    settings = mask_settings("tiny", "none", None, None, 0, "pooled", (), 32,
                             recipe_set=("propagate=0",))
    assert "propagate" not in settings.recipe_fields
    changed = mask_settings("tiny", "none", None, None, 0, "pooled", (), 32,
                            recipe_set=("propagate=0.5",))
    assert changed.recipe_fields["propagate"] == 0.5
