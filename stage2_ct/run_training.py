"""Training a run in its folder, from the images to the last checkpoint."""

import contextlib
from collections.abc import Callable, Sequence

import torch

from common import processes
from common.compute import Compute
from common.datasets import Record
from common.loading import find_unreadable
from common.mask_cache.reader import MaskCache
from common.progress import silent
from stage2_ct.data import EpochBatches, TrainingImages, training_loader
from stage2_ct.mask_sources import MaskSource
from stage2_ct.run import Run, build_method
from stage2_ct.training_config import TrainingConfig
from stage2_ct.training_loop import fit


def unreadable_images(run: Run, records: Sequence[Record], masks: MaskCache | None, workers: int,
                      progress: Callable = silent) -> dict[str, str]:
    """The training images that cannot be read and are left out, from id to reason.

    A mask cache lists them, even if it does not supervise. Without one, all images are decoded
    once, when the run starts for the first time.
    """
    if masks is not None:
        return masks.manifest["unreadable"]
    with contextlib.suppress(ValueError):
        return run.manifest()["unreadable"]
    return processes.broadcast_from_first(lambda: find_unreadable(records, workers, progress))


def train_run(run: Run, manifest: dict, variant: str, config: TrainingConfig,
              records: Sequence[Record], supervision: MaskCache | None,
              build_source: Callable[[], MaskSource], compute: Compute,
              progress: Callable | None = None, on_epoch: Callable | None = None) -> None:
    """Train a run, or resume it where it stopped.

    Args:
        run: Run; its folder is made if need be.
        manifest: what the run's manifest is to say. Its ``description`` holds the seed, the
            backbone and the classes, ``weights`` those that the backbone starts from, and
            ``unreadable`` the images to leave out. What an earlier manifest says of cutting boxes
            stays: its score map and tau.
        variant: key of ``VARIANTS``.
        records: the training images.
        supervision: MaskCache that supervises; None where ``build_source`` gives masks otherwise.
        build_source: called without arguments after the new layers have been drawn.
        progress, on_epoch: as for ``fit``.
    """
    description, rank, world = manifest["description"], processes.rank(), processes.world_size()
    records = [record for record in records if record.image_id not in manifest["unreadable"]]
    batches = EpochBatches(len(records), config.batch_size, description["seed"], rank, world)
    loader = training_loader(TrainingImages(records, config, supervision), batches, compute.workers,
                             compute.device)
    method = build_method(variant, description["backbone"], manifest["weights"],
                          len(description["classes"]), config, description["seed"])
    method.to(compute.device).to(memory_format=torch.channels_last)
    source = build_source()
    if rank == 0:
        with contextlib.suppress(ValueError):
            known = run.manifest()
            manifest = {**manifest, **{name: known[name] for name in ("score_map", "localization")
                                       if name in known}}
        run.write_manifest(manifest)
    fit(method, source, loader, config, run, compute.device, description, progress, on_epoch)
