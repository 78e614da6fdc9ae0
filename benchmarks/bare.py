"""Lower bounds: a network's own arithmetic on tensors in memory."""

import torch
from torch.nn import functional

from common.datasets import open_backgrounds, open_dataset
from common.loading import consecutive, load_frames, to_float
from common.precision import autocast, choose_precision
from stage2_ct.training_loop import build_optimizer


def frames(records, size, batch_size, device="cpu"):
    """Decoded images of some records as a list of batches, (N, 3, H, W) float, channels last."""
    batches = load_frames(records, (size, size), consecutive(len(records), batch_size), 0)
    return [to_float(batch.images).to(device, memory_format=torch.channels_last)
            for batch in batches]


def target_records(data, split):
    """Records of a split of the benchmark's data set."""
    return open_dataset("cub", data, split).records


def background_records(folder):
    """Records of the benchmark's background images."""
    return open_backgrounds(folder).records


@torch.no_grad()
def forward(network, batches):
    """A forward pass over all batches."""
    for images in batches:
        network(images)


def forward_and_backward(network, batches):
    """A forward pass over all batches, and back to the input."""
    for images in batches:
        images = images.detach().requires_grad_()
        torch.autograd.grad(network(images).mean(), images)


def training(method, batches, labels, masks, config):
    """One epoch of a stage-2 method in a minimal loop: no loader, no checkpoint.

    Args:
        method: BackgroundSupervised.
        batches: list of (N, 3, H, W) float images.
        labels: list of (N,) int64.
        masks: list of (N, 1, H, W) float.
        config: TrainingConfig.
    """
    optimizer, _ = build_optimizer(method, config)
    device = batches[0].device
    precision = choose_precision(config.precision, device)
    for images, classes, mask in zip(batches, labels, masks):
        with autocast(device, precision):
            prediction = method.predict(images)
            logits = functional.interpolate(prediction.mask_logits, mask.shape[2:],
                                            mode="bilinear")
            loss = (functional.cross_entropy(prediction.logits, classes) + config.mask_weight
                    * functional.binary_cross_entropy_with_logits(logits, mask))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
