"""``bcct inspect``: look at the masks of a cache, in figures and in pictures."""

from pathlib import Path

import click

from common.datasets import KINDS
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from common.mask_cache.reader import MaskCache
from common.mask_cache.summary import dataset_of_masks, summary_lines, summary_sections
from evaluation.mask_figures import figure_lines, score_masks


@click.command("inspect")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path),
              help="The data set's folder, for pictures and boxes; without it masks alone are "
              "shown.")
@click.option("--dataset", "kind", type=click.Choice(KINDS),
              help="Layout of the data set.  [default: the one that the masks were made from]")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True),
              help="Threshold whose masks are shown.  [default: 0.80 where the cache has it]")
@click.option("--against", type=click.Path(path_type=Path),
              help="Another mask cache of the same images to compare with.")
@click.option("--count", type=click.IntRange(1), default=16, show_default=True,
              help="Pictures per section of the contact sheet.")
@click.option("--seed", type=int, default=0, show_default=True,
              help="Seed of the pictures that are drawn at random.")
@click.option("--cache", "root", type=click.Path(path_type=Path), default=Path("cache"),
              show_default=True, help="Folder for everything that is made.")
def command(folder, data, kind, delta, against, count, seed, root):
    """Summarize the masks in FOLDER and write a contact sheet.

    Writes CACHE/inspect/NAME.png: masks at random, the worst and the best against boxes, invalid
    masks, and the same images of another cache next to them.
    """
    cache = MaskCache(folder, delta)
    other = MaskCache(against, delta) if against else None
    dataset = dataset_of_masks(cache, data, kind) if data else None
    result = score_masks(cache, dataset, seed) if dataset else None
    click.echo("\n".join(summary_lines(cache) + figure_lines(result)))
    if other is not None:
        second = score_masks(other, dataset, seed) if dataset else None
        click.echo("\n".join(["\nagainst", *summary_lines(other), *figure_lines(second)]))
    ious = result.iou_by_image if result is not None else None
    sheet = contact_sheet(summary_sections(cache, dataset, ious, other, count, seed))
    name = cache.folder.resolve().name + (f"-against-{other.key}" if other is not None else "")
    path = root / "inspect" / f"{name}.png"
    save_picture(path, sheet)
    click.echo(f"wrote {path}")
