import pytest
import torch

from stage1_bc import agreement
from stage1_bc.agreement import label_by_agreement, salient_cells
from stage1_bc.cells import GRID, resize_maps
from stage1_bc.first_labels import CellLabels, FirstLabels, train_pixel_unit
from stage1_bc.sharpening import SIDE
from tests.networks import moments_of, small_classifier

BIRD, PERCH, PERSON = (slice(2, 7), slice(2, 7)), (slice(9, 12), slice(1, 8)), (
    slice(3, 11), slice(9, 13))  # cells


class Answering:
    """In place of a unit for pixels: the same answers for each image."""

    weight = torch.zeros(1)

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
    first = FirstLabels(CellLabels(*torch.zeros(2, 3, GRID ** 2)), scores, frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "train_evidence_unit", lambda *given: evidence)
        labels = label_by_agreement(classifier, [], moments, first)
    return (labels.covered > 0.5).unflatten(1, (GRID, GRID))


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
    moments = moments_of(small_classifier(), torch.rand(3, 3, 32, 32), torch.rand(2, 3, 32, 32))
    answers = torch.rand(3, GRID, GRID, generator=torch.Generator().manual_seed(0))
    answers[:, 0, 0] = 1  # the largest of each
    linear = Answering()
    linear.answers = answers * torch.tensor([1, 1e-3, 7]).view(3, 1, 1)
    made = salient_cells(linear, moments).unflatten(1, (GRID, GRID))
    assert made.float().mean() == pytest.approx(0.2, abs=0.002)
    assert answers[made].min() > answers[~made].max()


def test_what_a_unit_taught_by_the_first_labels_finds_salient_is_spared(monkeypatch):
    classifier, given = small_classifier(image_size=32), []
    targets = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2
    targets[:, 0, 8:20, 8:20] += 0.7
    moments = moments_of(classifier, targets, torch.rand(2, 3, 32, 32) * 0.2)
    labels = torch.zeros(3, GRID, GRID)
    labels[:, 4:8, 4:8] = 1
    first = FirstLabels(CellLabels(labels.flatten(1), torch.zeros(3, GRID ** 2) > 0),
                        scores_of(BIRD=1.0), torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8))

    def train(classifier, images, moments, salient):
        given.append(salient)
        return Answering(BIRD=1.0)
    monkeypatch.setattr(agreement, "train_evidence_unit", train)
    label_by_agreement(classifier, [targets], moments, first)
    linear = train_pixel_unit(classifier, moments, first.cells)
    assert torch.equal(given[0], salient_cells(linear, moments))
    assert given[0].unflatten(1, (GRID, GRID))[:, 4:8, 4:8].all()
