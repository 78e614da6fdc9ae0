"""``bcct masks``: make and cache masks."""

import click

from common import processes
from common.mask_cache.reader import MaskCache
from pipelines.jobs import options
from pipelines.jobs.mask_parts import PART, finish_masks, make_part, plan_parts
from pipelines.jobs.terminal import TERMINAL, report_bad_images, report_masks
from stage1_bc.stage1_job import Stage1Job, ensure_classifier, make_masks


@options.grouped_command("masks")
@options.options(*options.STAGE1, *options.RECIPE, "deltas", "on_bad_image")
@click.option("--split", type=options.SPLIT, default="train", show_default=True,
              help="Which images get masks.")
@click.option("--part", type=PART, help="Make only part K of N, with K from 0 to N - 1, as "
              "a job that needs no other; bcct train-bc comes before, --finish after. See "
              "docs/scale.md.")
@click.option("--finish", type=click.IntRange(0), is_flag=False, flag_value=0, metavar="[N]",
              help="Verify what N parts have made and close the cache, or print "
              "which parts are missing, in the form of sbatch's --array.")
def command(split, deltas, on_bad_image, part, finish, **arguments):
    """Make a mask for every image of a split, at each delta, in one pass.

    Trains the background classifier first when there is none for these images and settings. A
    killed run resumes where it stopped, and a damaged shard is made again. Writes
    CACHE/masks/NAME-KEY/. Under torchrun, the processes share the images; with --part, jobs that
    do not know of each other do.
    """
    options.require_options(arguments, "data", "background")
    if part is not None and finish is not None:
        raise click.UsageError("give --part or --finish, not both")
    if part is not None or finish is not None:
        job = Stage1Job.from_options(reports=TERMINAL, **arguments)
        task = plan_parts(job, split, deltas)
        if part is not None:
            make_part(task, part)  # --finish reports the images that cannot be read
        else:
            finish_masks(task, finish or None)
            _report(job, split, task.stored, task.folder, deltas, on_bad_image)
        return
    with processes.process_group():
        job = Stage1Job.from_options(reports=TERMINAL, **arguments)
        stored = ensure_classifier(job)
        folder = make_masks(job, stored, split, deltas)
        if processes.rank() == 0:
            _report(job, split, stored, folder, deltas, on_bad_image)


def _report(job, split, stored, folder, deltas, on_bad_image):
    """Say what the cache holds, and name each image that could not be read, once."""
    click.echo(stored.accuracy())
    cache = MaskCache(folder, check=False)
    report_masks(cache)
    if split == "train":
        click.echo("next: bcct train-ct, with the same settings")
    click.echo(f"wrote {folder}")
    bad = cache.manifest["unreadable"]
    own = {str(record.path) for record in job.images.split(split).records}
    training = {str(record.path) for record in job.images.split("train").records}
    # Masks of other images: bad training images have been reported with their own masks.
    backgrounds = {path: reason for path, reason in stored.about["unreadable"].items()
                   if path not in own | training}
    report_bad_images({**backgrounds, **bad}, on_bad_image)
    for delta in deltas:
        MaskCache(folder, delta, check=False).require_valid()
