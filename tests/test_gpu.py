"""What no simulation of a GPU shows; ``make test-gpu`` runs it on a machine that has one."""

import dataclasses
import os

import pytest
import torch

from benchmarks import fault_injection as faults
from common import processes
from common.mask_cache.reader import MaskCache
from common.mask_cache.writer import write_masks
from common.memory import in_parts
from common.threads import map_in_order
from stage1_bc.cells import GRID
from stage1_bc.classifier import UNIT_KINDS
from stage1_bc.first_labels import CellLabels
from stage1_bc.maker import MaskMaker
from stage1_bc.moments import Moments
from stage1_bc.pixel_network import train_pixel_network
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from stage2_ct.bc_ct import BackgroundSupervised
from stage2_ct.data import EpochBatches, TrainingBatch, TrainingImages, training_loader
from stage2_ct.mask_sources import CachedMasks, NoMasks
from stage2_ct.run import Run
from stage2_ct.training_loop import build_optimizer, fit, train_step
from stage2_ct.variants import VARIANTS, TrainingConfig
from tests.networks import small_backbone, small_classifier

DEVICE, SIDE = "cuda", 64
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(),
                                reason="there is no GPU here; make test-gpu on a machine with one")
pytestmark = needs_cuda
TRAINED = {name: variant for name, variant in VARIANTS.items() if variant.trained_as is None}
CONFIG = TrainingConfig(precision="float32", epochs=2, batch_size=8, image_size=16, width=8,
                        mask_width=8, backbone_rate=0.01, head_rate=0.05)


def maker(recipe, device):
    """A MaskMaker that is the same on every device."""
    classifier = small_classifier(image_size=SIDE)
    for seed, (name, kind) in enumerate(UNIT_KINDS.items()):
        unit = kind(classifier.backbone)
        for values in list(unit.parameters()) or [unit.weight]:
            values.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
        setattr(classifier, name, unit)
    return MaskMaker(classifier, recipe, (SIDE, SIDE), device)


def pictures(count):
    """Noise with a bright square, (count, 3, SIDE, SIDE) float."""
    images = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.5
    images[:, :, 16:48, 16:48] += 0.5
    return images


@pytest.fixture
def exact_products():
    """Products and convolutions in single precision, without TensorFloat-32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
        torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("name", RECIPES)
def test_masks_are_those_of_the_cpu(name, exact_products):
    made = [maker(RECIPES[name], device).masks(pictures(8), [0.8])[0.8].mask
            for device in ("cpu", DEVICE)]
    assert made[0].any() and (made[0] != made[1]).mean() < 0.005


def test_units_for_pixels_learn_what_they_learn_on_the_cpu(exact_products):
    generator, networks = torch.Generator().manual_seed(0), []
    width = PixelUnit(small_backbone()).width
    targets, backgrounds = (torch.randn(count, GRID ** 2, width, generator=generator).half()
                            for count in (12, 6))
    covered = torch.rand(12, GRID ** 2, generator=generator) < 0.3
    targets[covered] += 2
    labels = CellLabels(covered.float(), torch.zeros_like(covered))
    for device in ("cpu", DEVICE):
        classifier = small_classifier().to(device)
        moments = Moments(targets, backgrounds, device=device)
        networks.append(train_pixel_network(classifier, moments, labels, seed=0))
    assert {values.device.type for values in networks[1].state_dict().values()} == {DEVICE}
    expected, made = (network(targets.to(network.mean.device).float()).cpu()
                      for network in networks)
    assert expected.std() > 0.1 and (made - expected).abs().max() < 0.02


def test_batches_in_several_threads_do_not_mix():
    one, batches = maker(RECIPES["guided-layers"], DEVICE), pictures(64).split(4)
    expected = [one.maps(batch) for batch in batches]
    for _ in range(5):
        for maps, right in zip(map_in_order(one.maps, batches, DEVICE, 2), expected, strict=True):
            assert (abs(maps - right) < 1e-3).all()


def test_two_runs_write_the_same_bytes(tmp_path):
    faults.write_tiny_pictures(tmp_path / "pictures")
    records = faults.records_in(tmp_path / "pictures")
    for run in ("first", "second"):
        write_masks(records, maker(RECIPES["guided-layers"], DEVICE), (0.8,), tmp_path / run,
                    dataclasses.replace(faults.PROVENANCE, mask_size=(SIDE, SIDE)), 4, 2)
    assert faults.shards(tmp_path / "first") == faults.shards(tmp_path / "second")
    assert len(MaskCache(tmp_path / "first")) == faults.PICTURES


def test_a_batch_that_does_not_fit_is_halved():
    sizes, memory = [], torch.cuda.get_device_properties(DEVICE).total_memory

    def hungry(images):
        sizes.append(len(images))
        torch.empty(len(images) * memory // 6, dtype=torch.uint8, device=DEVICE)
        return images + 1
    assert in_parts(hungry, torch.zeros(8, device=DEVICE)).tolist() == [1] * 8
    assert sizes[0] == 8 and 1 <= sizes[-1] <= 4


def batch():
    """Four images of a step, page-locked."""
    images = (pictures(4) * 255).byte()
    return TrainingBatch(images, torch.tensor([0, 1, 2, 0]), images[:, :1] > 127,
                         torch.ones(4, dtype=torch.bool)).pin_memory()


def stepped(variant, device, precision=torch.float32):
    """A function that takes a training step and gives its losses."""
    config = dataclasses.replace(variant.config, width=8, mask_width=8)
    torch.manual_seed(0)
    method = variant.method(small_backbone(), 3, config).to(device).train()
    optimizer, _ = build_optimizer(method, config)
    scaler = torch.amp.GradScaler(device, enabled=precision == torch.float16)
    source = CachedMasks() if variant.uses_masks else NoMasks()

    def step():
        return train_step(method, source, batch(), optimizer, scaler, device, 5.0, precision)
    return step


@pytest.mark.parametrize("name", TRAINED)
def test_steps_are_those_of_the_cpu(name, exact_products):
    steps = [stepped(TRAINED[name], device) for device in ("cpu", DEVICE)]
    for _ in range(3):
        one, other = (step() for step in steps)
        for loss in one:
            assert other[loss].item() == pytest.approx(one[loss].item(), rel=1e-3)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", TRAINED)
def test_no_step_waits_for_the_device(name, precision):
    step = stepped(TRAINED[name], DEVICE, precision)
    step()  # the first one measures and loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(loss.isfinite() for loss in losses.values())


def test_a_step_in_half_precision_that_overflows_is_left_out():
    step = stepped(TRAINED["bc-ct"], DEVICE, torch.float16)
    assert all(loss.isfinite() for _ in range(5) for loss in step().values())


def train(rank, world, port, folder):
    """One process of a CT run on GPUs."""
    os.environ.update(faults.torchrun_environment(rank, world, port))
    records = [dataclasses.replace(record, label=number % 2) for number, record in enumerate(
        faults.records_in(folder / "pictures")) if record.image_id != "007.png"][:24]
    with processes.process_group():
        torch.manual_seed(0)
        method = BackgroundSupervised(small_backbone(), 2, CONFIG).to(DEVICE)
        batches = EpochBatches(len(records), CONFIG.batch_size, 0, rank, world)
        images = TrainingImages(records, CONFIG, MaskCache(folder / "masks"))
        fit(method, CachedMasks(), training_loader(images, batches, 0, DEVICE), CONFIG,
            Run(folder / str(world)), DEVICE, {})


@pytest.mark.parametrize("world", [2, pytest.param(4, id="more than there are cards")])
def test_processes_train_what_one_trains(world, tmp_path):
    """With a card for each through NCCL, else through gloo."""
    faults.write_tiny_pictures(tmp_path / "pictures")
    faults.make_tiny_masks(tmp_path / "pictures", tmp_path / "masks")
    for ranks in (1, world):
        port = faults.free_port()
        children = [faults.start_child(rank, ranks, port, tmp_path, target=train)
                    for rank in range(ranks)]
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0] * ranks
    alone, together = (torch.load(tmp_path / str(ranks) / "last.pt", weights_only=True)["method"]
                       for ranks in (1, world))
    for name, expected in alone.items():
        assert torch.allclose(together[name], expected, rtol=1e-2, atol=1e-3), name
