"""``bcct inspect``: summarize the masks of a cache in figures and pictures."""

import click

from common.artefacts import MASKS, resolve
from common.datasets import KINDS
from common.files import require_writable
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import delta_name
from common.mask_cache.summary import dataset_of_masks, summary_lines, summary_sections
from evaluation.mask_figures import figure_lines, score_masks
from pipelines.jobs import options


@options.grouped_command("inspect")
@click.argument("masks")
@click.option("--data", type=options.PATH,
              help="The data set's folder, for pictures and boxes; without it only masks are "
              "shown.")
@click.option("--dataset", "kind", type=click.Choice(KINDS),
              help="Layout of the data set.  [default: the one that the masks were made from]")
@click.option("--delta", type=options.DELTA,
              help="Threshold whose masks are shown.  [default: 0.80 where the cache has it]")
@click.option("--against", metavar="MASKS",
              help="Another mask cache of the same images to compare with.")
@click.option("--count", type=click.IntRange(1), default=16, show_default=True,
              help="Pictures per section of the contact sheet.")
@click.option("--seed", type=options.SEED, default=0, show_default=True,
              help="Seed of the pictures that are drawn at random.")
@options.options("cache")
def command(masks, data, kind, delta, against, count, seed, cache):
    """Summarize masks and write a contact sheet.

    MASKS is the folder of a mask cache, or the beginning of its name in CACHE/masks. Writes
    CACHE/inspect/NAME.png (NAME-DELTA.png where the cache holds several): masks at random, the
    worst and the best against boxes, invalid masks, and the same images of another cache next to
    them.
    """
    require_writable(cache / "inspect")
    root = cache / MASKS
    shown = MaskCache(resolve(masks, root, "mask cache"), delta)
    other = MaskCache(resolve(against, root, "mask cache"), delta) if against else None
    dataset = dataset_of_masks(shown, data, kind) if data else None
    if dataset and other is not None:
        missing = [record.image_id for record in dataset.records if record.image_id not in other]
        if missing:
            raise click.UsageError(f"--against: {other.folder} holds no mask of {missing[0]!r}; "
                                   "compare masks of the same images, or leave out --data")
    result = score_masks(shown, dataset, seed) if dataset else None
    click.echo("\n".join(summary_lines(shown) + figure_lines(result)))
    if other is not None:
        second = score_masks(other, dataset, seed) if dataset else None
        click.echo("\n".join(["\nagainst", *summary_lines(other), *figure_lines(second)]))
    ious = result.iou_by_image if result is not None else None
    sheet = contact_sheet(summary_sections(shown, dataset, ious, other, count, seed))
    path = cache / "inspect" / f"{_name(shown, other)}.png"
    save_picture(path, sheet)
    click.echo(f"wrote {path}")


def _name(shown, other):
    """The contact sheet's name; one of other masks, thresholds or comparisons has another."""
    folder = shown.folder.resolve()
    parts = [folder.parent.name] if folder.name == "masks" else []  # of bcct localize
    parts.append(folder.name)
    if len(shown.deltas) > 1:
        parts.append(delta_name(shown.delta))
    if other is not None:
        parts.append(f"against-{other.key}")
    return "-".join(parts)
