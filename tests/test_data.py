import dataclasses

import cv2
import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from common.datasets import Record
from stage2_ct.data import (EpochBatches, ScaleColour, TrainingImages, augmentation,
                            collate_training, training_loader)
from stage2_ct.training_config import TrainingConfig

CONFIG = TrainingConfig(image_size=28, colour=0.0)


class KnownMasks:
    """A cache whose mask is known at every pixel: where the picture is bright."""

    def check_image(self, image_id, path, content):
        pass

    def read(self, image_id):
        mask = np.zeros((28, 28), bool)
        mask[7:21, :14] = True
        return mask, True, np.array([0, 7, 14, 21])


@pytest.fixture
def records(tmp_path):
    picture = np.zeros((64, 128, 3), np.uint8)  # not square: the mask covers the squashed image
    picture[16:48, :64] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    return [Record("a.png", tmp_path, label, ()) for label in (0, 1)]


@pytest.mark.parametrize("vertical_flip", [False, True])
def test_image_and_mask_are_cropped_and_flipped_together(records, vertical_flip):
    config = dataclasses.replace(CONFIG, vertical_flip=vertical_flip, smallest_crop=0.3)
    images = TrainingImages(records, config, KnownMasks())
    seen = set()
    for seed in range(60):
        image, label, mask, valid = images[0, seed]
        assert image.shape == (3, 28, 28) and mask.shape == (1, 28, 28)
        bright = image[0].numpy() > 127
        # The resampled image is grey along edges, so a pixel's width of them may differ.
        edge = cv2.dilate(bright.astype(np.uint8), np.ones((3, 3))) - cv2.erode(
            bright.astype(np.uint8), np.ones((3, 3)))
        wrong = (bright != mask[0].numpy().astype(bool)) & (edge == 0)
        assert not wrong.any()
        seen.add(mask.numpy().tobytes())
    assert len(seen) > 50  # the augmentation does move them


def test_without_augmentation_the_mask_is_the_cached_one(records):
    def leave(image, mask):
        size = [28, 28]
        return (torch.nn.functional.interpolate(image[None].float(), size)[0].byte(),
                tv_tensors.Mask(torch.nn.functional.interpolate(mask[None], size)[0]))
    images = TrainingImages(records, CONFIG, KnownMasks(), transform=leave)
    _, _, mask, valid = images[0, 0]
    assert np.array_equal(mask[0].numpy().astype(bool), KnownMasks().read("a.png")[0]) and valid


def test_a_draw_depends_on_its_seed_alone(records):
    images = TrainingImages(records, dataclasses.replace(CONFIG, colour=0.4), KnownMasks())
    torch.manual_seed(1)
    first = images[0, 7][0]
    state = torch.random.get_rng_state()
    torch.rand(5)
    assert torch.equal(first, images[0, 7][0])
    assert not torch.equal(first, images[0, 8][0])
    torch.manual_seed(1)
    images[0, 7]
    assert torch.equal(torch.random.get_rng_state(), state)  # and disturbs nobody else


def test_scale_colour_by_hand():
    transform = ScaleColour(0.4)
    grey = tv_tensors.Image(torch.tensor([100, 100, 100], dtype=torch.uint8).view(3, 1, 1))
    scaled = transform.transform(grey, {"factors": np.array([1.0, 1.0, 1.4])})
    assert scaled.flatten().tolist() == [140, 140, 140]
    red = tv_tensors.Image(torch.tensor([200, 0, 0], dtype=torch.uint8).view(3, 1, 1))
    paler = transform.transform(red, {"factors": np.array([1.0, 0.6, 1.0])}).flatten().tolist()
    assert paler[0] == 200 and paler[1] == paler[2] and abs(paler[1] - 80) <= 1


def test_colour_leaves_the_mask_alone(records):
    config = dataclasses.replace(CONFIG, colour=0.4)
    with_colour = TrainingImages(records, config, KnownMasks())[0, 3][2]
    assert set(with_colour.flatten().tolist()) <= {0, 1}


def test_batches_are_a_new_order_each_epoch_and_the_same_again_for_the_same_seed():
    batches = EpochBatches(10, 4, seed=3)
    first = list(batches)
    assert sorted(index for batch in first for index, _ in batch) == list(range(10))
    assert [len(batch) for batch in first] == [4, 4, 2] and len(batches) == 3
    assert list(batches) == first == list(EpochBatches(10, 4, seed=3))
    batches.epoch = 1
    assert list(batches) != first
    assert list(EpochBatches(10, 4, seed=4)) != first


def test_processes_share_each_batch_without_overlap():
    alone = list(EpochBatches(10, 4, seed=3))
    ranks = [list(EpochBatches(10, 4, seed=3, rank=rank, world=2)) for rank in range(2)]
    for whole, left, right in zip(alone, *ranks):
        assert sorted(left + right) == sorted(whole) and len(left) == len(right)
    uneven = [list(EpochBatches(9, 4, seed=3, rank=rank, world=2)) for rank in range(2)]
    assert [len(rank[-1]) for rank in uneven] == [1, 1]


def test_the_loader_gives_batches_with_and_without_masks(records):
    for cache in (KnownMasks(), None):
        images = TrainingImages(records, CONFIG, cache)
        batch = next(iter(training_loader(images, EpochBatches(2, 2, 0), 0, "cpu")))
        assert batch.images.shape == (2, 3, 28, 28) and batch.images.dtype == torch.uint8
        assert sorted(batch.labels.tolist()) == [0, 1]
        if cache:
            assert batch.masks.shape == (2, 1, 28, 28) and batch.masks.dtype == torch.bool
            assert batch.valid.tolist() == [True, True]
        else:
            assert batch.masks is None and batch.valid is None


def test_collate_keeps_labels_with_their_images(records):
    images = TrainingImages([dataclasses.replace(records[0], label=5)], CONFIG)
    assert collate_training([images[0, 0]]).labels.tolist() == [5]


def test_the_default_augmentation_has_no_vertical_flip():
    assert "Vertical" not in repr(augmentation(TrainingConfig()))
