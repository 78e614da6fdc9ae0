import copy
import dataclasses

import cv2
import numpy as np
import pytest
import torch

from common.datasets import Record
from stage2_ct.bc_ct import BackgroundSupervised
from stage2_ct.data import EpochBatches, TrainingBatch, TrainingImages, training_loader
from stage2_ct.mask_sources import CachedMasks
from stage2_ct.run import Run, build_method
from stage2_ct.training_config import TrainingConfig
from stage2_ct.training_loop import build_optimizer, fit, train_step
from stage2_ct.variants import VARIANTS
from tests.networks import small_backbone

CONFIG = TrainingConfig(precision="float32", epochs=3, batch_size=4, decay_every=2,
                        image_size=16, width=8, mask_width=8, backbone_rate=0.01, head_rate=0.05)


class LeftHalf:
    def check_image(self, image_id, path, content):
        pass

    def read(self, image_id):
        mask = np.zeros((16, 16), bool)
        mask[:, :8] = True
        return mask, True, np.array([0, 0, 8, 16])


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    records = []
    for number in range(6):
        name = f"{number}.png"
        cv2.imwrite(str(tmp_path / name), random.integers(0, 255, (20, 20, 3)).astype(np.uint8))
        records.append(Record(name, tmp_path, number % 2, ()))
    return TrainingImages(records, CONFIG, LeftHalf())


def trained(images, folder, epochs):
    torch.manual_seed(0)
    method = BackgroundSupervised(small_backbone(), 2, CONFIG)
    loader = training_loader(images, EpochBatches(len(images), CONFIG.batch_size, 0), 0, "cpu")
    run = Run(folder)
    for stop in epochs:  # each a process that ends after so many epochs
        torch.manual_seed(stop)
        if stop != epochs[0]:
            method = BackgroundSupervised(small_backbone(seed=9), 2, CONFIG)
        fit(method, CachedMasks(), loader, dataclasses.replace(CONFIG, epochs=stop), run, "cpu",
            {"a": 1})
    return method.state_dict()


def test_a_resumed_run_equals_one_that_was_never_stopped(images, tmp_path):
    whole = trained(images, tmp_path / "whole", [3])
    resumed = trained(images, tmp_path / "resumed", [1, 3])
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = (tmp_path / "resumed" / "log.jsonl").read_text().splitlines()
    assert [f'"epoch": {epoch}' in line for epoch, line in enumerate(lines, 1)] == [True] * 3


def test_training_learns_a_mask_and_a_label():
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, mask_weight=4.0)
    method = BackgroundSupervised(small_backbone(), 2, config)
    optimizer, _ = build_optimizer(method, config)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    labels = torch.tensor([0, 1] * 4)
    images = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    images[:, :, :, :8] = 200  # the object, left in every image
    images[labels == 1, 0] = 0  # its colour names the class
    masks = torch.zeros(8, 1, 16, 16, dtype=torch.bool)
    masks[..., :8] = True
    batch = TrainingBatch(images, labels, masks, torch.ones(8, dtype=torch.bool))
    losses = [train_step(method, CachedMasks(), batch, optimizer, scaler, "cpu", 5.0)
              for _ in range(120)]
    assert losses[-1]["classification"] < 0.2 < losses[0]["classification"]
    assert losses[-1]["mask"] < 0.3 * losses[0]["mask"]
    with torch.no_grad():
        prediction = method.eval().predict(images.float() / 255)
    assert prediction.logits.argmax(1).tolist() == labels.tolist()
    assert (prediction.mask_logits[..., :2].mean() > 1) and (prediction.mask_logits[..., 2:] < 0
                                                             ).float().mean() > 0.9


def test_a_loss_that_is_not_finite_ends_the_run(images, tmp_path):
    method = BackgroundSupervised(small_backbone(), 2, CONFIG)
    with torch.no_grad():
        method.model.class_block[0].bias.fill_(float("nan"))
    loader = training_loader(images, EpochBatches(len(images), 4, 0), 0, "cpu")
    with pytest.raises(FloatingPointError, match="lower the learning rates"):
        fit(method, CachedMasks(), loader, CONFIG, Run(tmp_path), "cpu", {})
    assert not (tmp_path / "last.pt").exists()


def test_two_learning_rates_divided_by_ten():
    method = BackgroundSupervised(small_backbone(), 2, CONFIG)
    optimizer, schedule = build_optimizer(method, CONFIG)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert np.allclose(rates, [[.01, .05], [.01, .05], [.001, .005], [.001, .005], [1e-4, 5e-4]])
    counted = sum(len(group["params"]) for group in optimizer.param_groups)
    assert counted == len(list(method.parameters()))


def test_frozen_layers_keep_their_weights_and_the_others_are_trained(images, tmp_path):
    config = dataclasses.replace(CONFIG, frozen_layers=10, epochs=1)
    method = build_method("bc-ct", "tiny", "none", 2, config, seed=0)
    before = copy.deepcopy(method.backbone.layers.state_dict())
    loader = training_loader(images, EpochBatches(len(images), 4, 0), 0, "cpu")
    fit(method, CachedMasks(), loader, config, Run(tmp_path), "cpu", {})
    after = method.backbone.layers.state_dict()
    changed = {int(key.split(".")[0]) for key in after if not torch.equal(before[key], after[key])}
    trained = {index for index, layer in enumerate(method.backbone.layers)
               if index >= 10 and list(layer.parameters())}
    assert changed == trained and len(trained) > 1


def test_the_log_has_one_line_per_epoch_after_a_stop_before_its_checkpoint(tmp_path):
    run = Run(tmp_path)
    for epoch in (1, 2, 3, 2):  # stopped twice: the checkpoint is of the first epoch
        run.log({"epoch": epoch, "classification": 1 / epoch})
    assert [line["epoch"] for line in run.logged()] == [1, 2]


def test_more_frozen_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match="tiny has [0-9]+ layers, so the first 99 cannot"):
        build_method("cam", "tiny", "none", 2, dataclasses.replace(CONFIG, frozen_layers=99), 0)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_a_step_and_predicts(name):
    config = dataclasses.replace(VARIANTS[name].config, width=8, mask_width=8, image_size=16)
    method = VARIANTS[name].method(small_backbone(), 3, config)
    images = torch.rand(2, 3, 16, 16)
    masks = torch.ones(2, 1, 16, 16)
    losses = method(images, torch.tensor([0, 2]), masks, torch.tensor([True, True]))
    sum(losses.values()).backward()
    assert ("mask" in losses) == VARIANTS[name].uses_masks
    assert method.backbone.layers[0].weight.grad.abs().sum() > 0
    prediction = method.eval().predict(images)
    assert prediction.logits.shape == (2, 3) and prediction.class_maps.shape[:2] == (2, 3)
    assert (prediction.mask_logits is None) == (not VARIANTS[name].uses_masks)
