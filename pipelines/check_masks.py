"""``bcct check-masks``: show what recurs in masks, so that a person can say what is no target."""

import click

from common.artefacts import CLUSTERS, MASKS, resolve
from common.compute import choose_compute
from common.files import require_writable
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import delta_name
from common.mask_cache.summary import dataset_of_masks
from pipelines.jobs import options
from pipelines.jobs.terminal import progress_bar
from stage1_bc.mask_clusters import CLUSTER_COUNT, fit_clusters, save_clusters
from stage1_bc.mask_settings import maker_of_masks, recorded_facts
from stage1_bc.reading import sample_targets
from stage1_bc.recipe import UNITS_READ
from stage1_bc.recurring import assign_masked, part_sections, read_cells, recurring_parts
from stage1_bc.stage1_job import CLUSTERS_FILE

MOST_MASKS = 1000
LISTED = 10  # parts in the text; the contact sheet shows all of them


@options.grouped_command("check-masks")
@click.argument("masks")
@click.option("--delta", type=options.DELTA, help="Threshold of a mask cache that holds several.")
@click.option("--clusters", "count", type=click.IntRange(2), default=CLUSTER_COUNT,
              show_default=True, help="Number of clusters.")
@click.option("--shown", type=click.IntRange(1), default=8, show_default=True,
              help="Pictures per cluster on the contact sheet.")
@click.option("--seed", type=options.SEED, default=0, show_default=True,
              help="Seed of the sample of masks and of the clusters.")
@options.options("data", "cache", *options.COMPUTE)
def command(masks, delta, count, shown, seed, data, cache, **compute):
    """Group what recurs in masks into clusters, and show each of them.

    MASKS is the folder of a mask cache, or the beginning of its name in CACHE/masks. Look through
    the contact sheet; where a row shows what is not the target (a perch, a hand, a feeder), note
    its number. Then give them to bcct masks as --not-target NAME:NUMBERS, with the same settings
    otherwise: masks are made again without them. No box is drawn. Of more than 1,000 masks, a
    sample is used. Writes CACHE/clusters/NAME/: contact_sheet.png, clusters.pt. NAME also says the
    threshold where the cache holds several, and the number of clusters and the seed if given.
    """
    require_writable(cache / CLUSTERS)
    shown_masks = MaskCache(resolve(masks, cache / MASKS, "mask cache"), delta)
    shown_masks.require_valid()
    about = shown_masks.manifest["about"]
    machine = choose_compute(**compute)
    maker = maker_of_masks(shown_masks, machine.device)
    units = maker.classifier.pixel_units()
    unit = next(filter(None, map(units.get, UNITS_READ.get(maker.recipe.signal, units))), None)
    if unit is None:
        raise click.ClickException(
            f"the masks in {shown_masks.folder} are of the recipe {about['recipe']}, which has no "
            "unit for pixels; make masks by another recipe, such as default")
    records = [record for record in dataset_of_masks(shown_masks, data or about["data"]).records
               if shown_masks.read(record.image_id)[1]]
    records = [records[index] for index in sample_targets(len(records), MOST_MASKS, seed)]
    cells = read_cells(unit, records, shown_masks, machine, progress_bar)
    clusters = fit_clusters(cells.features[cells.covered], count, seed)
    assigned = assign_masked(clusters, cells)
    parts = recurring_parts(assigned, cells, [record.label for record in records])
    folder = cache / CLUSTERS / _name(shown_masks, count, seed)
    save_picture(folder / "contact_sheet.png", contact_sheet(
        part_sections(parts, assigned, records, shown), shown))
    save_clusters(folder / CLUSTERS_FILE, clusters, {
        "masks": shown_masks.key, "backbone": about["backbone"],
        "weights": recorded_facts(shown_masks.manifest)["weights"]})
    click.echo(f"{len(parts)} clusters in {len(records):,} masks of delta {shown_masks.delta:.2f}, "
               "the most doubtful first:")
    for part in parts[:LISTED]:
        click.echo(f"  {part.number:3d}: in {part.masks:.0%} of the masks, {part.of_class:.0%} "
                   f"within a class, likeness to target {part.likeness:.2f}")
    click.echo(f"look at {folder / 'contact_sheet.png'}\nnext: bcct masks with the same settings "
               f"and --not-target {folder.name}:NUMBERS")


def _name(masks, count, seed):
    """The folder's name; other clusters have another, so that noted numbers keep their meaning."""
    parts = [masks.folder.resolve().name]
    if len(masks.deltas) > 1:
        parts.append(delta_name(masks.delta))
    if count != CLUSTER_COUNT:
        parts.append(f"{count}-clusters")
    if seed:
        parts.append(f"seed-{seed}")
    return "-".join(parts)
