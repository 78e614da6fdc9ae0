"""The training loop of stage 2; knows neither the method nor where masks come from."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common import processes
from common.batch_loading import BatchLoader
from common.loading import to_float
from common.precision import autocast, choose_precision, format_name
from stage2_ct.data import TrainingBatch
from stage2_ct.mask_sources import MaskSource
from stage2_ct.model import LocalizationMethod
from stage2_ct.run import Run
from stage2_ct.training_config import TrainingConfig

Batches = Iterable[TrainingBatch]


def build_optimizer(method: LocalizationMethod, config: TrainingConfig) -> tuple[
        torch.optim.SGD, torch.optim.lr_scheduler.StepLR]:
    """SGD with one rate for the backbone and another for the new layers (section 5.1)."""
    backbone = {id(parameter) for parameter in method.backbone.parameters()}
    new_layers = [parameter for parameter in method.parameters() if id(parameter) not in backbone]
    groups = [{"params": list(method.backbone.parameters()), "lr": config.backbone_rate},
              {"params": new_layers, "lr": config.head_rate}]
    optimizer = torch.optim.SGD(groups, momentum=config.momentum, nesterov=True,
                                weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, config.decay_every, gamma=0.1)
    return optimizer, schedule


def train_step(method: nn.Module, source: MaskSource, batch: TrainingBatch,
               optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler,
               device: str | torch.device, gradient_limit: float,
               precision: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """One optimizer step.

    Args:
        method: module whose forward gives losses by name (see ``BackgroundSupervised``).
        source: mask source.
        scaler: torch.amp.GradScaler; enabled where float16 is used.
        gradient_limit: largest norm of the step's gradient.
        precision: torch dtype that the method computes in.

    Returns:
        dict of detached scalar losses.
    """
    images = to_float(batch.images.to(device, non_blocking=True))
    images = images.contiguous(memory_format=torch.channels_last)
    labels = batch.labels.to(device, non_blocking=True)
    masks, valid = source(batch, images)
    with autocast(device, precision):
        losses = method(images, labels, masks, valid)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(sum(losses.values())).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(method.parameters(), gradient_limit)
    scaler.step(optimizer)
    scaler.update()
    return {name: loss.detach() for name, loss in losses.items()}


def train_epoch(method: nn.Module, source: MaskSource,
                batches: Batches, optimizer: torch.optim.Optimizer,
                scaler: torch.amp.GradScaler, device: str | torch.device, gradient_limit: float,
                precision: torch.dtype = torch.float32) -> dict[str, float]:
    """One pass over the batches; returns the mean of each loss over steps and processes, as floats.

    Raises:
        FloatingPointError: a loss is no longer finite.
        ValueError: an image or a mask is not what it should be.
    """
    method.train()
    sums, steps = {}, 0
    for batch in batches:
        losses = train_step(method, source, batch, optimizer, scaler, device, gradient_limit,
                            precision)
        steps += 1
        for name, loss in losses.items():  # stays on the device, so that no step waits for the host
            sums[name] = sums.get(name, 0) + loss
    totals = torch.stack(list(sums.values())).tolist()  # the one time that the host waits
    means = processes.mean_over_processes(
        {name: total / steps for name, total in zip(sums, totals)})
    if not all(map(torch.isfinite, map(torch.tensor, means.values()))):
        raise FloatingPointError(f"the losses are no longer finite ({means}); lower the learning "
                                 "rates")
    return means


def shared(method: nn.Module, device: str | torch.device) -> nn.Module:
    """The method wrapped so that each step's gradient is the mean over the processes."""
    if processes.world_size() == 1:
        return method
    on_gpu = torch.device(device).type == "cuda"
    return DistributedDataParallel(method, [torch.cuda.current_device()] if on_gpu else None)


def fit(method: LocalizationMethod, source: MaskSource, loader: BatchLoader, config: TrainingConfig,
        run: Run, device: str | torch.device, description: dict,
        progress: Callable[[int, BatchLoader], Batches] | None = None,
        on_epoch: Callable[[LocalizationMethod, dict], object] | None = None) -> None:
    """Train for ``config.epochs`` epochs, resuming from the run's last checkpoint if it has one.

    Each process of a run takes its part of every batch; the first one saves and logs.

    Args:
        method: module on ``device``.
        source: mask source.
        loader: BatchLoader over EpochBatches.
        description: dict of plain values saved in the checkpoint.
        progress: called with (number of the epoch from 0, the loader); returns an iterator over
            the loader's batches, which may display progress. None for none.
        on_epoch: called by the first process with (method, the log's line) after each epoch; must
            leave the method and the random numbers as they are.
    """
    optimizer, schedule = build_optimizer(method, config)
    precision = choose_precision(config.precision, device)
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=precision == torch.float16)
    parts = {"method": method, "optimizer": optimizer, "schedule": schedule, "scaler": scaler,
             "source": source}
    done, learner = run.restore(parts), shared(method, device)
    for epoch in range(done, config.epochs):
        loader.batch_sampler.epoch = epoch
        batches = loader if progress is None else progress(epoch, loader)
        start = time.perf_counter()
        losses = train_epoch(learner, source, batches, optimizer, scaler, device,
                             config.gradient_limit, precision)
        rates = dict(zip(("backbone_rate", "head_rate"), schedule.get_last_lr()))
        schedule.step()
        seconds = round(time.perf_counter() - start, 3)
        if processes.rank() == 0:
            line = {"epoch": epoch + 1, "seconds": seconds,
                    "precision": format_name(precision), **rates, **losses}
            run.log(line)  # first: whoever is stopped in between logs this epoch again
            run.save(epoch + 1, parts, description)
            if on_epoch is not None:
                on_epoch(method, line)
