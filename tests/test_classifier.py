import pytest
import torch

from common.backbones import build_backbone
from stage1_bc.classifier import (BackgroundClassifier, build_classifier, load_classifier,
                                  state_digest)
from stage1_bc.classifier_training import ClassifierConfig, split, train_unit
from stage1_bc.maker import MaskMaker
from stage1_bc.online import JointMaker, OnlineMaker
from stage1_bc.reading import sample_targets
from stage1_bc.recipe import RECIPES
from tests.networks import small_backbone, small_classifier


def separable(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(count, 6, generator=generator) + torch.tensor([3., 0, 0, 0, 0, 0])
    backgrounds = torch.randn(count // 4, 6, generator=generator) * 5
    backgrounds[:, 0] = -3
    return targets, backgrounds


@pytest.mark.parametrize("head, width", [("pooled", 6), ("flattened", 6 * 4 * 4)])
def test_what_each_head_reads(head, width):
    classifier = small_classifier(head)
    images = torch.rand(2, 3, 16, 16)
    features = classifier.features(images)
    feature_map = classifier.backbone(images)
    assert features.shape == (2, width) == (2, classifier.unit.in_features)
    expected = feature_map.mean((2, 3)) if head == "pooled" else feature_map.flatten(1)
    assert torch.equal(features, expected)
    assert torch.allclose(classifier(images), classifier.unit(features)[:, 0])


def test_the_fc7_head_reads_the_networks_own_fc7():
    classifier = BackgroundClassifier(
        build_backbone("alexnet", "none", fully_connected=True), "fc7", image_size=64)
    assert classifier.unit.in_features == 4096


def test_only_the_unit_learns():
    classifier = small_classifier().train()
    assert [name for name, parameter in classifier.named_parameters()
            if parameter.requires_grad] == ["unit.weight", "unit.bias"]
    assert not classifier.backbone.training


def test_training_separates_what_can_be_separated():
    classifier = small_classifier()
    targets, backgrounds = separable(200, 0)
    accuracies = train_unit(classifier, targets, backgrounds, ClassifierConfig(steps=300))
    assert accuracies == {"target_accuracy": 1.0, "background_accuracy": 1.0,
                          "held_back_targets": 20, "held_back_backgrounds": 5}
    again = small_classifier()
    train_unit(again, targets, backgrounds, ClassifierConfig(steps=300))
    assert torch.equal(again.unit.weight, classifier.unit.weight)


def test_both_kinds_are_drawn_with_equal_probability():
    """With features that say nothing the unit answers one half, whatever the counts."""
    classifier = small_classifier()
    train_unit(classifier, torch.zeros(900, 6), torch.zeros(10, 6), ClassifierConfig(steps=500))
    with torch.no_grad():
        assert classifier.unit(torch.zeros(1, 6)).sigmoid().item() == pytest.approx(0.5, abs=0.03)


def test_some_of_each_kind_are_held_back():
    train, held = split(50, ClassifierConfig())
    assert len(held) == 5 and sorted([*train, *held]) == list(range(50))
    with pytest.raises(ValueError, match="too few"):
        split(1, ClassifierConfig())


def test_too_many_targets_are_sampled():
    assert sample_targets(10, 10, 0).tolist() == list(range(10))
    sampled = sample_targets(1000, 10, 0)
    assert len(set(sampled)) == 10 and sorted(sampled) == sampled.tolist()


def test_a_checkpoint_rebuilds_the_classifier(tmp_path):
    classifier = build_classifier("tiny", "none", image_size=32)
    torch.save(classifier.backbone.layers.state_dict(), tmp_path / "w.pth")
    loaded = load_classifier(classifier.checkpoint({}), "none")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), classifier(images))
    assert loaded.digest() == classifier.digest()


def test_a_checkpoint_refuses_other_weights():
    checkpoint = build_classifier("tiny", "none", image_size=32).checkpoint({})
    checkpoint["backbone_digest"] = "another"
    with pytest.raises(ValueError, match="trained on other weights"):
        load_classifier(checkpoint, "none")


def test_the_digest_changes_with_any_weight():
    backbone = small_backbone()
    before = state_digest(backbone)
    with torch.no_grad():
        backbone.layers[3].bias[2] += 1e-6
    assert state_digest(backbone) != before


def maker(classifier):
    return MaskMaker(classifier, RECIPES["guided-layers"], (16, 16))


def test_online_masks_are_the_makers_own():
    images = torch.rand(2, 3, 16, 16)
    masks, valid = OnlineMaker(maker(small_classifier()), 0.8)(images)
    made = maker(small_classifier()).masks(images, [0.8])[0.8]
    assert masks.shape == (2, 1, 16, 16) and torch.equal(masks[:, 0], torch.from_numpy(made.mask))
    assert valid.tolist() == made.valid.tolist()


def test_joint_training_learns_while_it_makes_masks():
    classifier = small_classifier()
    backgrounds = torch.rand(3, 3, 16, 16) * 0.2
    joint = JointMaker(maker(classifier), 0.8, lambda: backgrounds)
    images = 0.8 + torch.rand(4, 3, 16, 16) * 0.2
    before = state_digest(classifier.backbone)
    losses = [joint.learn(images).item() for _ in range(200)]
    assert losses[-1] < 0.7 * losses[0]
    assert state_digest(classifier.backbone) == before
    masks, valid = joint(images)
    assert masks.shape == (4, 1, 16, 16) and valid.shape == (4,)


def test_joint_state_survives_a_restart():
    def joint(seed):
        generator = torch.Generator().manual_seed(1)
        return JointMaker(maker(small_classifier(seed=seed)), 0.8,
                          lambda: torch.rand(2, 3, 16, 16, generator=generator))
    images = torch.rand(2, 3, 16, 16)
    first = joint(0)
    first.learn(images)
    second = joint(0)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.unit.weight, second.unit.weight)
    assert len(second.optimizer.state_dict()["state"]) == 2
