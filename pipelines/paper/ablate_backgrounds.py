"""``bcct ablate-backgrounds``: how many background images are enough."""

import dataclasses

import click

from common.config import digest
from evaluation.mask_figures import mask_figures
from evaluation.table_charts import draw_curves
from evaluation.table_files import Column, write_table
from pipelines.paper.measuring import mask_rates, over_seeds, percent
from pipelines.paper.table_command import setting_command, show
from pipelines.paper.tables import TableRow
from stage1_bc.background_subsets import link_subset, nested_subsets
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
    path = cache / "tables" / NAME
    write_table(path, COLUMNS, lines, "How many background images are enough", NOTES)
    draw_ablation(path.with_suffix(".png"), lines)
    show(path)


def study(size, setting, row, outside, masks_only):
    """A line of the table: of ``size`` background images, with BC tested on those ``outside``.

    With ``masks_only``, BC-CT is left out where it is not trained yet.
    """
    jobs = setting.jobs(row)
    stage1 = jobs[0].stage1
    stored = ensure_classifier(stage1)
    about = stored.about
    make_masks(stage1, stored, "train", [row.delta])
    folder = make_masks(stage1, stored, "test", [row.delta])
    masks = mask_figures(stage1.images.split("test"), folder, row.delta)
    right, judged = about["background_accuracy"], about["held_back_backgrounds"]
    if outside is not None:
        right, judged = background_accuracy(stored.build(stage1.settings.weights), outside,
                                            stage1.compute)
    line = {"backgrounds": size, "bc_background": percent(right),
            "judged": judged,
            "bc_target": percent(about["target_accuracy"]), **mask_rates(masks)}
    click.echo(f"{size} background images: {line}")
    return {**line, **(over_seeds(jobs, train=not masks_only) or {})}


def draw_ablation(path, lines):
    """Draw the rates over the number of background images."""
    curves = [(label, *zip(*[(line["backgrounds"], line[name]) for line in lines if name in line]),
               style)
              for name, label, style in (
                  ("bc_background", "BC right on unseen backgrounds", "o--"),
                  ("mask_strict", "masks of the test images, strict", "s-"),
                  ("gt_known", "BC-CT, GT-known", "^-"))
              if any(name in line for line in lines)]
    draw_curves(path, "background images", curves, logarithmic=True)
