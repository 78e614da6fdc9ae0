"""``bcct masks``: make and cache masks."""

import click

from common import processes
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import delta_name
from pipelines.jobs import options
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.stage1_job import Stage1Job, ensure_classifier, make_masks


@options.grouped_command("masks")
@options.options(*options.STAGE1, *options.RECIPE, "deltas", "on_bad_image")
@click.option("--split", type=options.SPLIT, default="train", show_default=True,
              help="Which images get masks.")
def command(split, deltas, on_bad_image, **arguments):
    """Make a mask for every image of a split, at each delta, in one pass.

    Trains the background classifier first when there is none for these images and settings. A
    killed run resumes where it stopped, and a damaged shard is made again. Writes
    CACHE/masks/NAME-KEY/. Under torchrun, the processes share the images.
    """
    options.require_options(arguments, "data", "background")
    with processes.process_group():
        job = Stage1Job.from_options(**arguments)
        stored = ensure_classifier(job)
        folder = make_masks(job, stored, split, deltas)
        if processes.rank() == 0:
            _report(job, split, stored, folder, deltas, on_bad_image)


def _report(job, split, stored, folder, deltas, on_bad_image):
    """Say what the cache holds, and name each image that could not be read, once.

    Raises:
        MaskCacheError: not one mask is valid at one of the deltas.
    """
    click.echo(stored.accuracy())
    cache = MaskCache(folder, check=False)
    for delta in cache.deltas:
        valid = cache.manifest["valid"][delta_name(delta)]
        click.echo(f"delta {delta_name(delta)}: {valid} of {len(cache)} masks are valid")
    if split == "train":
        click.echo("next: bcct train-ct, with the same settings")
    click.echo(f"wrote {folder}")
    bad = cache.manifest["unreadable"]
    own = {str(record.path) for record in job.images.split(split).records}
    training = {str(record.path) for record in job.images.split("train").records}
    # What is said of the training images when masks of others are made was said before.
    backgrounds = {path: reason for path, reason in stored.about["unreadable"].items()
                   if path not in own | training}
    report_bad_images({**backgrounds, **bad}, on_bad_image)
    for delta in deltas:
        MaskCache(folder, delta, check=False).require_valid()
