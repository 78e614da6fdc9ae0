"""The GPU path without a GPU: on a second device, under autocast, and by numbers on the CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common.precision import autocast
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES
from stage2_ct.data import TrainingBatch
from stage2_ct.mask_sources import CachedMasks, NoMasks
from stage2_ct.training_loop import build_optimizer, train_step
from stage2_ct.variants import TrainingConfig
from tests.networks import small_backbone, small_classifier
from tests.second_device import NETWORKS, TEACHING_STEPS, TRAINED

CUTTING, GRAB_CUT = 1, 3
"""Maps go to the host, which cuts them; for GrabCut images and scores go there before, and the
object comes back."""
MADE = {"online masks, default": CUTTING + GRAB_CUT + 2, "online masks, guided-layers": CUTTING + 2,
        "joint masks": CUTTING + 2 + 1}
"""In a step, masks and flags come back too, and with joint masks backgrounds go to the device."""


def rehearse(*words):
    done = subprocess.run([sys.executable, "-m", "tests.second_device", *words], check=True,
                          stdout=subprocess.PIPE, timeout=600,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rehearsed():
    """What happened to each case on the second device."""
    return rehearse("npu")


def waits(found, *beginnings):
    """Name of a case to how often the host waited, of the cases that begin so; all must work."""
    chosen = {name: one for name, one in found.items() if name.startswith(beginnings)}
    assert not {name: one["error"] for name, one in chosen.items() if "error" in one}
    return {name: one["waits"] for name, one in chosen.items()}


def test_gradient_maps_stay_on_the_device(rehearsed):
    found = waits(rehearsed, "map", "gradient")
    assert len(found) == len(NETWORKS) * (len(RECIPES) + 1) and set(found.values()) == {0}


def test_the_pixel_unit_reads_and_answers_on_the_device(rehearsed):
    assert waits(rehearsed, "pixel unit") == {f"pixel unit {name}": 0 for name in NETWORKS}


def test_the_network_for_pixels_learns_on_the_device(rehearsed):
    # The moments of both kinds: features to the device, two sums to the host. Each step: the four
    # tensors of a batch to the device. At the end, whether the four weights are finite.
    assert set(waits(rehearsed, "teaching").values()) == {2 * 3 + TEACHING_STEPS * 4 + 4}


def test_masks_are_cut_on_the_host(rehearsed):
    assert waits(rehearsed, "masks") == {
        f"masks {name}": CUTTING + (GRAB_CUT if recipe.sharpen and recipe.sharpen_by == "grabcut"
                                    else 0) for name, recipe in RECIPES.items()}


def test_features_are_moved_as_a_whole(rehearsed):
    # Of targets and of backgrounds: features to the host, those held back to the device, the
    # accuracy to the host.
    assert set(waits(rehearsed, "classifier").values()) == {2 * 3}


def test_no_training_step_waits_for_the_device(rehearsed):
    found = waits(rehearsed, "step")
    assert len(found) == sum(4 if variant.uses_masks else 1 for variant in TRAINED.values())
    for name, count in found.items():
        assert count == MADE.get(name.split(", ", 1)[1], 0), name


def test_an_epoch_waits_once(rehearsed):
    assert waits(rehearsed, "epoch") == {f"epoch {name}": 1 for name in TRAINED}


def test_localizing_waits_once_for_each_result(rehearsed):
    # Images and labels go to the device; whether the logits are finite, the maps, the ranks, the
    # classes, their probabilities come back; to grow maps on the host, these and where to start.
    for name, count in waits(rehearsed, "localize").items():
        assert count == 2 + 5 + (3 if name.endswith("object") else 0), name


@pytest.mark.skipif(not torch.backends.cuda.is_built(),
                    reason="this build of torch knows no CUDA, whose autocast is asked here")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_autocast_of_a_gpu_forbids_nothing_that_is_computed(precision):
    found = rehearse("cuda", precision)
    assert "unsafe to autocast" in found.pop("forbidden")["error"]  # it would be noticed
    assert len(waits(found, "")) == 3 * len(NETWORKS) + len(TRAINED)


# By numbers, on the CPU


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.total += function.overloadpacket is torch.ops.aten._local_scalar_dense
        return function(*arguments, **(keywords or {}))


def one_step(variant, precision, scale=2.0 ** 10):
    """A step on the CPU: (losses, how far the weights moved, the scale after it, numbers read)."""
    config = TrainingConfig(width=8, mask_width=8, mask_input="features")
    torch.manual_seed(0)
    method = variant.method(small_backbone(), 3, config).train()
    optimizer, _ = build_optimizer(method, config)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=precision == torch.float16)
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    batch = TrainingBatch(images, torch.tensor([0, 1, 2, 0]), images[:, :1] > 127,
                          torch.ones(4, dtype=torch.bool))
    before = [parameter.detach().clone() for parameter in method.parameters()]
    source = CachedMasks() if variant.uses_masks else NoMasks()
    with Reads() as reads:
        losses = train_step(method, source, batch, optimizer, scaler, "cpu", 5.0, precision)
    moved = sum(float((after - start).abs().sum())
                for start, after in zip(before, method.parameters()))
    return losses, moved, scaler.get_scale(), reads.total


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_in_half_precision_is_that_in_single(name):
    exact, distance, _, reads = one_step(TRAINED[name], torch.float32)
    assert distance > 0 and reads == 0
    # GradScaler itself asks once a step whether a gradient has overflowed.
    for precision, tolerance, asked in ((torch.bfloat16, 0.05, 0), (torch.float16, 0.01, 1)):
        losses, moved, _, reads = one_step(TRAINED[name], precision)
        for loss, value in exact.items():
            assert losses[loss].item() == pytest.approx(value.item(), rel=tolerance, abs=tolerance)
        assert moved == pytest.approx(distance, rel=0.2) and reads == asked


def test_a_step_whose_gradient_overflows_is_left_out_and_the_scale_lowered():
    _, moved, scale, _ = one_step(TRAINED["bc-ct"], torch.float16, scale=2.0 ** 100)
    assert moved == 0 and scale == 2.0 ** 99


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items()
                                  if not recipe.reads_pixels])
def test_masks_in_half_precision_are_those_in_single(name, precision):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    exact, half = (MaskMaker(small_classifier(image_size=32), RECIPES[name], (32, 32), "cpu",
                             number).masks(images, [0.8])[0.8].mask
                   for number in (torch.float32, precision))
    assert exact.any() and (exact != half).mean() < 0.05


def test_autocast_leaves_single_precision_alone():
    with autocast("cpu", torch.float32):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
