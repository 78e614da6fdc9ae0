import pytest
import torch

from common.config import ConfigError
from stage1_bc.agreement import label_by_agreement, salient_cells
from stage1_bc.classifier_training import ClassifierConfig
from stage1_bc.mask_settings import mask_settings
from stage1_bc.pixel_unit import GRID, resize_maps
from stage1_bc.program_versions import VERSIONS
from stage1_bc.sharpening import SIDE
from tests.networks import moments_of, small_classifier

BIRD, PERCH, PERSON = (slice(2, 7), slice(2, 7)), (slice(9, 12), slice(1, 8)), (
    slice(3, 11), slice(9, 13))  # cells


class Answering:
    """In place of a unit for pixels: the same answers for each image."""

    def __init__(self, **answers):
        self.answers = torch.full((GRID, GRID), -0.1)
        for name, answer in answers.items():
            self.answers[*globals()[name]] = answer

    def __call__(self, features):
        return self.answers.expand(len(features), GRID, GRID)


def scores_of(**answers):
    """The answers as score maps at GrabCut's size."""
    return resize_maps(Answering(**answers)(range(3)).clamp_min(0), (SIDE, SIDE))


def labels_of(scores, evidence):
    """Labels of three images of bright things on a dark ground, as (3, GRID, GRID) bool."""
    classifier = small_classifier()
    moments = moments_of(classifier, torch.rand(3, 3, 32, 32), torch.rand(2, 3, 32, 32))
    frames = torch.full((3, 3, GRID, GRID), 20, dtype=torch.uint8)
    for channel, thing in enumerate((BIRD, PERCH, PERSON)):
        frames[:, channel, *thing] = 240
    frames = frames.repeat_interleave(SIDE // GRID, 2).repeat_interleave(SIDE // GRID, 3)
    classifier.evidence_unit = evidence
    return (label_by_agreement(classifier, moments, frames, scores).covered > 0.5).unflatten(
        1, (GRID, GRID))


def test_only_what_has_scores_and_evidence_is_labelled():
    expected = torch.zeros(3, GRID, GRID, dtype=torch.bool)
    expected[:, *BIRD] = True
    made = labels_of(scores_of(BIRD=0.6, PERCH=0.9), Answering(BIRD=0.5, PERSON=1.0))
    assert (made != expected).float().mean() < 0.02


def test_both_count_as_much_whatever_their_size():
    evidence = Answering(BIRD=0.02, PERSON=0.0004)
    large, small = scores_of(BIRD=1.0, PERCH=0.02), scores_of(BIRD=1e-3, PERCH=2e-5)
    assert torch.equal(labels_of(large, evidence), labels_of(small, evidence))


def test_a_fifth_of_the_cells_is_salient_in_parts_of_each_images_largest_answer():
    classifier = small_classifier()
    moments = moments_of(classifier, torch.rand(3, 3, 32, 32), torch.rand(2, 3, 32, 32))
    answers = torch.rand(3, GRID, GRID, generator=torch.Generator().manual_seed(0))
    answers[:, 0, 0] = 1  # the largest of each
    classifier.pixel_unit = lambda features: answers * torch.tensor([1, 1e-3, 7]).view(3, 1, 1)
    made = salient_cells(classifier, moments).unflatten(1, (GRID, GRID))
    assert made.float().mean() == pytest.approx(0.2, abs=0.002)
    assert answers[made].min() > answers[~made].max()


def test_the_teachers_are_taught_and_not_kept():
    config = ClassifierConfig(pixel_network=True, taught_by="agreement")
    assert config.units == ("pixel_network",)
    assert set(config.taught) == {"pixel_unit", "evidence_unit", "pixel_network"}
    assert ClassifierConfig(pixel_network=True).taught == ("pixel_network",)


def test_there_has_to_be_a_network_to_teach():
    with pytest.raises(ConfigError, match="taught_by is for recipes that have a pixel network"):
        ClassifierConfig(pixel_unit=True, taught_by="agreement")
    with pytest.raises(ConfigError, match="taught_by is 'nobody'"):
        ClassifierConfig(pixel_network=True, taught_by="nobody")


def test_a_classifier_that_is_taught_as_ever_keeps_its_key():
    usual, other = (mask_settings("tiny", "none", None, None, 0, "pooled", words, 64)
                    for words in (["taught_by=linear"], ["taught_by=agreement"]))
    plain = mask_settings("tiny", "none", None, None, 0, "pooled", [], 64)
    assert usual.classifier_fields == plain.classifier_fields
    assert "taught_by" not in plain.classifier_fields
    assert {**other.classifier_fields, "versions": None} == {
        **plain.classifier_fields, "taught_by": "agreement", "versions": None}
    assert other.classifier_fields["versions"] == {
        **plain.classifier_fields["versions"], "agreement": VERSIONS["agreement"]}
