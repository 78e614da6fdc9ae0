"""What a command shows: progress bars, sentences, and the images that could not be read."""

import contextlib

import click
import tqdm

from common.mask_cache.shards import delta_name
from common.progress import Reports


@contextlib.contextmanager
def progress_bar(total, description, unit="images"):
    """A bar with rate and time left, on a terminal only; see ``common.progress``."""
    with tqdm.tqdm(total=total, desc=description, unit=f" {unit}", disable=None,
                   dynamic_ncols=True) as bar:
        yield bar.update


def warn(sentence):
    """Print a sentence on the error stream."""
    click.echo(sentence, err=True)


TERMINAL = Reports(progress_bar, click.echo, warn)


def report_masks(cache):
    """Say how many masks of a cache are valid, at each delta."""
    for delta in cache.deltas:
        valid = cache.manifest["valid"][delta_name(delta)]
        click.echo(f"delta {delta_name(delta)}: {valid} of {len(cache)} masks are valid")


def report_bad_images(unreadable, on_bad_image):
    """List bad images, ids or paths with reasons; with ``fail`` and any, end with an error."""
    if not unreadable:
        return
    for name, reason in sorted(unreadable.items()):
        warn(f"{name!r}: {reason}")
    count = f"{len(unreadable)} image(s) could not be read"
    if on_bad_image == "fail":
        raise click.ClickException(f"{count}; all others are done. With --on-bad-image skip, "
                                   "this is no error")
    warn(f"{count} and were left out")
