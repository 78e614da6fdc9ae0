"""Training images with their masks, augmented together (paper, section 5.1)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from common.batch_loading import BatchLoader
from common.datasets import Record
from common.images import decode_image, read_bytes
from common.mask_cache.reader import MaskCache
from stage2_ct.training_config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class TrainingBatch:
    """N augmented images; masks are None when none were cached."""

    images: torch.Tensor
    """(N, 3, H, W) uint8 RGB."""
    labels: torch.Tensor
    """(N,) int64."""
    masks: torch.Tensor | None
    """(N, 1, H, W) bool, under the same crop and flip as the images."""
    valid: torch.Tensor | None
    """(N,) bool."""

    def pin_memory(self) -> "TrainingBatch":
        """The same batch in page-locked memory; DataLoader calls this."""
        return TrainingBatch(
            self.images.pin_memory(), self.labels.pin_memory(),
            *(None if value is None else value.pin_memory() for value in (self.masks, self.valid)))


class ScaleColour(v2.Transform):
    """Scale hue, saturation and brightness by random factors in [1 - amount, 1 + amount].

    Args:
        amount: float in [0, 1); 0.4 in the paper.
    """

    def __init__(self, amount: float):
        super().__init__()
        self.amount = amount

    def make_params(self, flat_inputs: list) -> dict[str, Any]:
        return {"factors": 1 + self.amount * (2 * torch.rand(3).numpy() - 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Image) or self.amount == 0:
            return inpt
        image = np.ascontiguousarray(inpt.permute(1, 2, 0).numpy())
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        levels = np.arange(256, dtype=np.float32)[:, None] * params["factors"]  # (256, 3)
        levels[:, 0] %= 256  # hue is an angle
        table = levels.clip(0, 255).astype(np.uint8)[None]
        scaled = cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB_FULL)
        return tv_tensors.wrap(torch.from_numpy(scaled).permute(2, 0, 1), like=inpt)


class Crop(v2.RandomResizedCrop):
    """torchvision's crop, with masks resized by OpenCV, which takes a third of the time."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, tv_tensors.Mask):
            return super().transform(inpt, params)
        top, left = params["top"], params["left"]
        window = inpt.numpy()[0, top:top + params["height"], left:left + params["width"]]
        mask = cv2.resize(window, tuple(self.size[::-1]), interpolation=cv2.INTER_NEAREST_EXACT)
        return tv_tensors.Mask(torch.from_numpy(mask[None]))


def augmentation(config: TrainingConfig) -> v2.Compose:
    """The random transform of a training image and its mask.

    Returns:
        A torchvision transform of (tv_tensors.Image, tv_tensors.Mask or None).
    """
    flips = [v2.RandomHorizontalFlip()]
    if config.vertical_flip:
        flips.append(v2.RandomVerticalFlip())
    return v2.Compose([
        Crop(config.image_size, scale=(config.smallest_crop, 1.0), antialias=True),
        *flips, ScaleColour(config.colour)])


class TrainingImages(Dataset):
    """Records as augmented images with labels and, from a cache, masks.

    The image is squashed to the frame that the mask covers before both are cropped, so that each
    pixel keeps its mask. A draw depends only on its seed, not on the process or on earlier
    draws.

    Args:
        cache: MaskCache or None.
        transform: the transform of image and mask; ``augmentation(config)`` by default.
    """

    def __init__(self, records: Sequence[Record], config: TrainingConfig,
                 cache: MaskCache | None = None, transform: Callable | None = None):
        self.records = records
        self.cache = cache
        # A little larger than the input, so that most crops shrink and none is enlarged much.
        self.frame = round(config.image_size * 8 / 7)
        self.transform = augmentation(config) if transform is None else transform

    def __len__(self):
        return len(self.records)

    def __getitem__(self, draw):
        """Image, label, mask and flag of one draw, a pair (index, seed)."""
        index, seed = draw
        record = self.records[index]
        frame = (self.frame, self.frame)
        content = read_bytes(record.path)
        image = tv_tensors.Image(
            torch.from_numpy(decode_image(content, record.path, frame)).permute(2, 0, 1))
        mask, valid = None, None
        if self.cache is not None:
            self.cache.check_image(record.image_id, record.path, content)
            array, valid, _ = self.cache.read(record.image_id)
            array = cv2.resize(array.view(np.uint8), frame[::-1],
                               interpolation=cv2.INTER_NEAREST_EXACT)
            mask = tv_tensors.Mask(torch.from_numpy(array[None]))
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which seeds every kind of device: for one that has not been
            # started, each call records a stack trace and keeps it.
            torch.default_generator.manual_seed(seed)
            image, mask = self.transform(image, mask)
        return image, record.label, mask, valid


def collate_training(samples: Sequence[tuple]) -> TrainingBatch:
    """TrainingBatch of the samples of ``TrainingImages``."""
    images, labels, masks, valid = zip(*samples)
    cached = masks[0] is not None
    return TrainingBatch(
        torch.stack([image.as_subclass(torch.Tensor) for image in images]),
        torch.tensor(labels),
        torch.stack([mask.as_subclass(torch.Tensor) for mask in masks]).bool() if cached else None,
        torch.tensor(valid) if cached else None)


class EpochBatches:
    """The batches of one epoch: a new order each epoch, the same for the same seed.

    Args:
        count: number of images.
        batch_size: images per step over all processes.
        rank, world: this process's number and how many there are; each takes every ``world``-th
            image of a batch, so that together they make the batch that one process would.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def __len__(self):
        return -(-self.count // self.batch_size)

    def __iter__(self):
        """Lists of draws, (index, seed of the draw)."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.count)
        seeds = random.integers(2 ** 62, size=self.count)
        for start in range(0, self.count, self.batch_size):
            batch = list(zip(order[start:start + self.batch_size].tolist(),
                             seeds[start:start + self.batch_size].tolist()))
            missing = -len(batch) % self.world  # every process gets as many: the first fill up
            batch += (batch * self.world)[:missing]
            yield batch[self.rank::self.world]


def training_loader(images: TrainingImages, batches: EpochBatches, workers: int,
                    device: str | torch.device) -> BatchLoader:
    """BatchLoader of TrainingBatch over EpochBatches."""
    side = images.frame  # a little more than that of a batch; masks are a fourth channel
    return BatchLoader(images, batches, collate_training, workers,
                       batch_bytes=-(-batches.batch_size // batches.world) * 4 * side * side,
                       pin_memory=torch.device(device).type == "cuda", several_rounds=True)
