"""Hide-and-Seek, ACoL, SPG and Backprop: by value on literal inputs, and on every backbone."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from common.backbones import ARCHITECTURES, build_backbone
from stage2_ct.data import TrainingBatch
from stage2_ct.mask_sources import NoMasks
from stage2_ct.rivals.acol import AdversarialErasing, erase
from stage2_ct.rivals.backprop import InputGradient, saliency
from stage2_ct.rivals.has import HideAndSeek, Hiding, draw_hidden, hide
from stage2_ct.rivals.spg import (IGNORED, Certainty, SelfProducedGuidance, guidance_loss,
                                  label_regions)
from stage2_ct.training_config import TrainingConfig
from stage2_ct.training_loop import build_optimizer, train_step
from stage2_ct.variants import VARIANTS
from tests.networks import small_backbone

CONFIG = TrainingConfig(image_size=16, width=8, mask_width=8, score_map="class")


class Gives(nn.Module):
    """A layer that gives the same whatever it gets."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, inputs):
        return self.values


def test_hidden_patches_take_the_colour_and_the_others_stay():
    images = torch.full((1, 3, 3, 5), 7.0)
    hidden = torch.tensor([[[True, False, True], [False, True, False]]])
    colour = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    result = hide(images, hidden, 2, colour)
    assert result[0, 0].tolist() == [[1, 1, 7, 7, 1], [1, 1, 7, 7, 1], [7, 7, 1, 1, 7]]
    assert result[0, 2].tolist() == [[3, 3, 7, 7, 3], [3, 3, 7, 7, 3], [7, 7, 3, 3, 7]]
    assert (images == 7).all()


def test_half_of_the_patches_are_hidden_and_a_ragged_edge_counts():
    generator = torch.Generator().manual_seed(0)
    hidden = draw_hidden((100, 3, 224, 230), Hiding(), generator)
    assert hidden.shape == (100, 7, 8) and 0.45 < hidden.float().mean() < 0.55
    assert not draw_hidden((4, 3, 64, 64), Hiding(probability=0.0), generator).any()


def seen_by(method, steps):
    """The images that the classifier of a HideAndSeek is given in so many steps."""
    seen = []
    handle = method.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for _ in range(steps):
        method(torch.ones(2, 3, 64, 64), torch.tensor([0, 1]))
    handle.remove()
    return seen


def test_hide_and_seek_hides_again_in_each_step_and_goes_on_alike_after_a_stop():
    torch.manual_seed(3)
    whole = HideAndSeek(small_backbone(), 2, CONFIG)
    first, second, third = seen_by(whole, 3)
    assert not torch.equal(first, second) and (first == 1).any()
    mean = whole.backbone.mean[0, :, 0, 0]
    assert set(first[:, 1].unique().tolist()) == {1.0, mean[1].item()}

    torch.manual_seed(3)
    stopped, resumed = (HideAndSeek(small_backbone(), 2, CONFIG) for _ in range(2))
    seen_by(stopped, 2)
    resumed.load_state_dict({**stopped.state_dict(), "seed": whole.seed})
    assert torch.equal(seen_by(resumed, 1)[0], third)


def test_hide_and_seek_predicts_from_whole_images():
    method = HideAndSeek(small_backbone(), 2, CONFIG)
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(method.predict(images).class_maps, method.model(images).class_maps)


def test_erased_where_the_stretched_map_reaches_the_threshold():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    maps = torch.tensor([[[[10.0, 16.0], [15.9, 20.0]]]])  # stretched: 0, 0.6, 0.59, 1
    erased = erase(features, maps)
    assert erased.tolist() == [[[[1, 0], [3, 0]], [[5, 0], [7, 0]]]]


def test_acol_erases_by_the_true_class_in_training_and_fuses_by_maximum():
    method = AdversarialErasing(small_backbone(), 2, CONFIG)
    method.backbone = Gives([[[[1.0, 1.0]], [[2.0, 4.0]]]])  # (1, 2, 1, 2) features
    method.first = Gives([[[[0.0, 4.0]], [[9.0, 1.0]]]])  # class 1 is predicted
    method.second = nn.Identity()
    first, second = method._class_maps(None, torch.tensor([0]))
    assert second.tolist() == [[[[1, 0]], [[2, 0]]]]  # class 0 looks right
    losses = method(None, torch.tensor([0]))
    assert losses["classification"].item() == pytest.approx(math.log(1 + math.exp(5 - 2)))
    assert losses["erased classification"].item() == pytest.approx(math.log(1 + math.exp(0.5)))
    prediction = method.predict(None)  # class 1 looks left: its place is erased
    assert prediction.logits.tolist() == [[2, 5]]
    assert prediction.class_maps.tolist() == [[[[0, 1]], [[1, 1]]]]


def test_three_regions_of_a_map():
    maps = torch.tensor([[[[0.90, 0.71, 0.70], [0.05, 0.04, 0.0]]]])
    labels = label_regions(maps, Certainty(0.7, 0.05, fewest=1))
    assert labels.tolist() == [[[[1, 1, IGNORED], [IGNORED, 0, 0]]]]


def test_a_map_with_too_few_sure_pixels_lends_its_highest():
    maps = torch.tensor([[[[0.9, 0.64, 0.62]]], [[[0.4, 0.3, 0.04]]]])
    labels = label_regions(maps, Certainty(0.7, 0.05, fewest=2))
    assert labels.tolist() == [[[[1, 1, IGNORED]]], [[[1, 1, 0]]]]


def test_ignored_pixels_cost_nothing():
    logits = torch.tensor([[[[0.0, 50.0, -50.0]]]], requires_grad=True)
    loss = guidance_loss(logits, torch.tensor([[[[1.0, IGNORED, 0.0]]]]))
    assert loss.item() == pytest.approx(math.log(2) / 2)
    loss.backward()
    assert logits.grad[0, 0, 0, 1] == 0
    assert guidance_loss(logits, torch.full((1, 1, 1, 3), IGNORED)) == 0


def test_spg_teaches_each_branch_but_nothing_through_its_teacher():
    torch.manual_seed(0)
    method = SelfProducedGuidance(small_backbone(), 3, CONFIG)
    losses = method(torch.rand(2, 3, 16, 16), torch.tensor([0, 2]))
    assert set(losses) == {"classification", "late branch", "early branch", "context branch"}
    losses["late branch"].backward(retain_graph=True)
    assert method.class_block[-1].weight.grad is None  # the class map teaches, and is not taught
    losses["context branch"].backward()
    assert method.class_block[0].weight.grad.abs().sum() > 0  # through the features it reads


def test_spg_reads_the_layers_of_its_source_on_inception_v3():
    architecture = ARCHITECTURES["inception_v3"]
    read = [architecture.stages[index] for index in architecture.taps[-3:-1]]
    assert read == ["Mixed_5d", "Mixed_6d"]


def test_saliency_is_the_largest_absolute_value_over_rgb():
    gradient = torch.tensor([[[[1.0, -2.0]], [[-3.0, 0.5]], [[2.0, 1.0]]]])
    assert saliency(gradient, 0).tolist() == [[[[3, 2]]]]
    point = torch.zeros(1, 3, 32, 32)
    point[0, 1, 16, 16] = -1
    blurred = saliency(point, 2)
    assert blurred.shape == (1, 1, 32, 32) and blurred.sum() == pytest.approx(1, abs=1e-3)
    assert blurred.argmax() == 16 * 32 + 16 and 0 < blurred[0, 0, 16, 18] < blurred[0, 0, 16, 16]


def test_backprop_maps_the_predicted_class():
    class Weighs(nn.Module):
        def forward(self, images):
            left, right = ((images * torch.tensor(side)).sum(dim=(1, 2, 3)) for side in (
                [[[1.0, 0.0]]], [[[0.0, 3.0]]]))
            return type("Logits", (), {"logits": torch.stack([left, right], 1)})
    method = InputGradient(small_backbone(), 2, CONFIG)
    method.model = Weighs()
    images = torch.ones(1, 3, 1, 2)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("stage2_ct.rivals.backprop.BLUR", 0)
        prediction = method.predict(images)
    assert prediction.logits.tolist() == [[3, 9]]
    assert prediction.class_maps.tolist() == [[[[0, 3]], [[0, 3]]]]


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].trained_as])
def test_variants_that_share_runs_train_alike(name):
    variant = VARIANTS[name]
    trained = VARIANTS[variant.trained_as]
    assert variant.config.of_training() == trained.config.of_training()
    assert variant.uses_masks == trained.uses_masks
    assert issubclass(variant.method, trained.method)
    assert variant.method.forward is trained.method.forward
    states = [each.method(small_backbone(), 2, CONFIG).state_dict() for each in (variant, trained)]
    assert states[0].keys() == states[1].keys()


@pytest.mark.parametrize("backbone_name", [
    "alexnet", "vgg16", "googlenet", "inception_v3", "squeezenet1_1", "mobilenet_v2"])
def test_every_method_trains_on_every_backbone(backbone_name):
    side = 96 if backbone_name == "inception_v3" else 64
    backbone = build_backbone(backbone_name, "none")
    labels = torch.tensor([0, 1])
    batch = TrainingBatch(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8), labels,
                          None, None)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for name in ("cam", "backprop", "has", "acol", "spg"):
        config = dataclasses.replace(VARIANTS[name].config, width=8, mask_width=8,
                                     image_size=side)
        method = VARIANTS[name].method(backbone, 2, config).train()
        optimizer, _ = build_optimizer(method, config)
        before = [value.clone() for value in method.backbone.parameters()]
        for _ in range(2):
            losses = train_step(method, NoMasks(), batch, optimizer, scaler, "cpu", 5.0)
        assert all(map(torch.isfinite, losses.values())), name
        assert not all(map(torch.equal, before, method.backbone.parameters())), name
        with torch.no_grad():
            prediction = method.eval().predict(batch.images / 255)
        assert prediction.class_maps.shape[:2] == (2, 2)
        assert prediction.class_maps.isfinite().all()
