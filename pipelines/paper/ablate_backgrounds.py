"""``bcct ablate-backgrounds``: how many background images are enough."""

import dataclasses
from pathlib import Path

import click
import numpy as np

from common.config import digest
from evaluation.mask_figures import mask_figures
from evaluation.table_charts import draw_curves
from evaluation.table_files import Column, write_table
from pipelines.paper.experiment import percent
from pipelines.paper.measuring import over_seeds
from pipelines.paper.table_command import setting_command, show
from pipelines.paper.tables import TableRow
from stage1_bc.classifier_training import background_accuracy
from stage1_bc.stage1_job import ensure_classifier, make_masks

NAME = "ablate-backgrounds"
SIZES = (1, 5, 20, 100)
COLUMNS = (
    Column("backgrounds", "background images"),
    Column("bc_background", "BC right on backgrounds", 1),
    Column("judged", "of"),
    Column("bc_target", "BC right on targets", 1),
    Column("mask_strict", "masks, strict", 1),
    Column("mask_bc_star", "masks, BC\\*", 1),
    Column("gt_known", "BC-CT GT-known", 1),
    Column("top1_loc", "BC-CT Top-1 loc.", 1),
    Column("seeds", "seeds"),
    Column("run", "run"),
)
NOTES = (
    "Subsets are drawn at random and nested: each holds the smaller ones. All figures in per cent; "
    "masks and BC-CT on the test images.",
    "BC is tested on all background images outside the subset; in the row of all images, on the "
    "tenth that its classifier held back. Targets: the training images held back. A tenth of each "
    "subset, and at least one image, is held back from training; a single image is linked twice, "
    "so that one is left to train on.")


def nested_subsets(records, sizes, seed=0):
    """Random subsets, each holding the smaller ones.

    Args:
        records: sequence.
        sizes: sequence of int; those that are not smaller than the number of records are left out.
        seed: int.

    Returns:
        dict from a size to a list of so many of the records.
    """
    order = np.random.default_rng(seed).permutation(len(records))
    return {size: [records[place] for place in order[:size]]
            for size in sizes if size < len(records)}


def link_subset(folder, records):
    """A folder of links to some background images; a single one is linked twice.

    Args:
        folder: Path, made if need be.
        records: sequence of Record.
    """
    names = [(record.image_id, record) for record in records]
    if len(records) == 1:
        path = Path(records[0].image_id)
        names.append((str(path.with_name(f"again-{path.name}")), records[0]))
    for name, record in names:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(record.path.resolve())


@setting_command(NAME)
@click.option("--masks-only", is_flag=True, help="Do not train BC-CT.")
def command(setting, cache, masks_only):
    """Measure BC, its masks and BC-CT with 1, 5, 20, 100 and all background images.

    Finished rows are kept. Writes CACHE/tables/ablate-backgrounds.md, .csv and .png.
    """
    row = TableRow("BC-CT", "bc-ct", setting.backbone or "vgg16")
    everything = setting.job(row, setting.seeds[0]).stage1
    records = everything.backgrounds.records
    studies = []
    for size, subset in nested_subsets(records, SIZES).items():
        of = digest([(record.image_id, str(record.path.resolve())) for record in subset])
        folder = everything.cache / NAME / f"{size}-{of[:8]}"
        link_subset(folder, subset)
        options = {**setting.options, "background": folder}
        outside = [record for record in records if record not in subset]
        studies.append((size, dataclasses.replace(setting, options=options), outside))
    studies.append((len(records), setting, None))
    lines = [study(size, each, row, outside, masks_only) for size, each, outside in studies]
    write_ablation(cache / "tables" / NAME, lines)
    show(cache / "tables" / NAME)


def study(size, setting, row, outside, masks_only):
    """A line of the table.

    Args:
        size: number of background images.
        setting: TableSetting with these.
        row: TableRow of BC-CT.
        outside: list of Record of the other background images; None when there are none.
        masks_only: whether to leave out BC-CT where it is not trained yet.
    """
    jobs = setting.jobs(row)
    stage1 = jobs[0].stage1
    stored = ensure_classifier(stage1)
    about = stored.about
    make_masks(stage1, stored, "train", [row.delta])
    folder = make_masks(stage1, stored, "test", [row.delta])
    masks = mask_figures(stage1.images.split("test"), folder, row.delta).metrics
    right = about["background_accuracy"] if outside is None else background_accuracy(
        stored.build(stage1.settings.weights), outside, stage1.compute)
    line = {"backgrounds": size, "bc_background": percent(right),
            "judged": about["held_back_backgrounds"] if outside is None else len(outside),
            "bc_target": percent(about["target_accuracy"]),
            "mask_strict": percent(masks["mask_strict"].value),
            "mask_bc_star": percent(masks["bc_star"].value)}
    click.echo(f"{size} background images: {line}")
    return {**line, **(over_seeds(jobs, train=not masks_only) or {})}


def write_ablation(path, lines):
    """Write the table and its plot.

    Args:
        path: Path without a suffix.
        lines: list of dicts by ``study``.
    """
    write_table(path, COLUMNS, lines, "How many background images are enough", NOTES)
    curves = [(label, *zip(*[(line["backgrounds"], line[name]) for line in lines if name in line]),
               style)
              for name, label, style in (
                  ("bc_background", "BC right on unseen backgrounds", "o--"),
                  ("mask_strict", "masks of the test images, strict", "s-"),
                  ("gt_known", "BC-CT, GT-known", "^-"))
              if any(name in line for line in lines)]
    draw_curves(path.with_suffix(".png"), "background images", curves, logarithmic=True)
