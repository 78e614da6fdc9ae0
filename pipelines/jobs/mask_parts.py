"""Masks made by independent jobs, as ``bcct masks --part`` and ``--finish`` ask for them."""

import os
import re

import click

from common.artefacts import CLASSIFIERS
from common.mask_cache.parts import MaskPart, UnfinishedParts, finish_parts, write_part
from common.mask_cache.writer import MaskJob
from pipelines.jobs.options import Checked
from pipelines.jobs.terminal import progress_bar, warn
from stage1_bc.stage1_job import MaskTask, Stage1Job, build_maker, find_classifier, plan_masks


def _read_part(value):
    found = re.fullmatch(r"(\d+)/(\d+)", value)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError
    return MaskPart(int(found[1]), int(found[2]))


PART = Checked("K/N", _read_part, "{} is not K/N with K from 0 to N - 1, such as 0/64")


def plan_parts(job: Stage1Job, split: str, deltas) -> MaskTask:
    """The MaskTask that all parts share, with the classifier that was trained before.

    Raises:
        UsageError: it runs under torchrun, which starts processes that need each other.
        ClickException: there is no classifier yet, which only one job should train.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise click.UsageError("--part and --finish are jobs of a single process: run them "
                               "without torchrun (NPROC=1 with make)")
    stored = find_classifier(job)
    if stored is None:
        raise click.ClickException(
            f"no background classifier of these images and settings in {job.cache / CLASSIFIERS}: "
            "train it first, once for all parts, with bcct train-bc and the same settings")
    return plan_masks(job, stored, split, deltas)


def make_part(task: MaskTask, part: MaskPart) -> None:
    """Make one part's shards, and say what was done."""
    job = _mask_job(task)
    own = part.shards(len(job.slices))
    images = sum(len(job.ids(index)) for index in own)
    with progress_bar(images, f"masks, part {part} ({task.split})") as advance:
        made = write_part(job, lambda: build_maker(task.job, task.stored), task.folder, part,
                          task.job.compute.batch_size, task.job.compute.workers, advance, warn)
    click.echo(f"part {part}: {len(own)} shard(s) in {task.folder}, of which {len(made)} made now; "
               f"when all parts are done: bcct masks --finish {part.of}, with the same settings")


def finish_masks(task: MaskTask, parts: int | None) -> None:
    """Close the cache that so many parts have filled; None names each shard as a part.

    Raises:
        UnfinishedParts: some are missing; the last line of the output is an option for sbatch.
    """
    try:
        with progress_bar(len(task.records), f"verifying ({task.split})") as advance:
            finish_parts(_mask_job(task), task.folder, task.about(), parts, advance, warn)
    except UnfinishedParts as error:
        click.echo(f"--array={error.array}")
        raise


def _mask_job(task):
    return MaskJob(task.records, tuple(sorted(set(task.deltas))), task.provenance)
