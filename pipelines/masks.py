"""``bcct masks``: make and cache masks."""

import click

from common import processes
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import delta_name
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.options import STAGE1, options
from pipelines.stage1 import Stage1, ensure_classifier, make_masks
from pipelines.train_bc import describe


@click.command("masks")
@options(*STAGE1, "recipe", "recipe_set", "precision", "delta", "on_bad_image")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="train",
              show_default=True, help="Which images get masks.")
def command(split, delta, on_bad_image, **arguments):
    """Make a mask for every image of a split, at each delta, in one pass.

    Trains the background classifier first when its checkpoint is missing. A killed run goes on
    where it stopped, and a damaged shard is made again. Writes CACHE/masks/NAME-KEY/. Under
    torchrun, the processes share the images out.
    """
    with processes.process_group():
        job = Stage1(**arguments)
        about = processes.broadcast_from_first(lambda: ensure_classifier(job))
        folder = make_masks(job, split, delta)
        if processes.rank() == 0:
            _report(job, split, about, folder, on_bad_image)


def _report(job, split, about, folder, on_bad_image):
    """Say what the cache holds, and name each image that could not be read, once."""
    click.echo(describe(about))
    cache = MaskCache(folder, check=False)
    for delta in cache.deltas:
        valid = cache.manifest["valid"][delta_name(delta)]
        click.echo(f"delta {delta_name(delta)}: {valid} of {len(cache)} masks are valid")
    click.echo(f"wrote {folder}")
    bad = cache.manifest["unreadable"]
    paths = {str(record.path) for record in job.images(split).records if record.image_id in bad}
    others = {path: reason for path, reason in about.get("unreadable", {}).items()
              if path not in paths}  # backgrounds, and training images where others get masks
    report_bad_images({**others, **bad}, on_bad_image)
