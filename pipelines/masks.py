"""``bcct masks``: make and cache masks."""

import click

from common.mask_cache import MaskCache, delta_name
from pipelines.options import STAGE1, options
from pipelines.stage1 import Stage1, ensure_classifier, make_masks
from pipelines.train_bc import describe


@click.command("masks")
@options(*STAGE1, "recipe", "recipe_set", "delta")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="train",
              show_default=True, help="Which images get masks.")
def command(split, delta, **arguments):
    """Make a mask for every image of a split, at each delta, in one pass.

    Trains the background classifier first when its checkpoint is missing. A killed run goes on
    where it stopped. Writes CACHE/masks/NAME-KEY/.
    """
    job = Stage1(**arguments)
    click.echo(describe(ensure_classifier(job)))
    folder = make_masks(job, split, delta)
    cache = MaskCache(folder)
    unreadable = cache.manifest["unreadable"]
    for held in cache.deltas:
        valid = cache.manifest["valid"][delta_name(held)]
        click.echo(f"delta {delta_name(held)}: {valid} of {len(cache)} masks are valid")
    click.echo(f"wrote {folder}")
    if unreadable:
        for reason in unreadable.values():
            click.echo(reason, err=True)
        raise click.ClickException(f"{len(unreadable)} image(s) could not be read; the other masks "
                                   "are made")
