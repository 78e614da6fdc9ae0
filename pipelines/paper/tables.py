"""The paper's tables: their rows, how they are filled, and how they are written."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import click

from common.mask_cache.shards import MaskCacheError
from evaluation.mask_figures import mask_figures
from evaluation.report import versions
from evaluation.table_files import Column, write_table
from pipelines.jobs.training_job import TrainingJob
from pipelines.paper.measuring import measure, over_seeds, percent
from pipelines.paper.printed import Printed
from stage1_bc.mask_choice import find_masks
from stage1_bc.stage1_job import ensure_classifier, make_masks
from stage2_ct.prediction import default_input_side

COLUMNS = (
    Column("method", "method"),
    Column("backbone", "backbone"),
    Column("top1_error", "Top-1 loc. error", 2),
    Column("top5_error", "Top-5 loc. error", 2),
    Column("gt_known", "GT-known", 2),
    Column("gt_known_low", "", 2),
    Column("gt_known_high", "", 2),
    Column("max_box_acc_v2", "MaxBoxAccV2", 2),
    Column("top1_cls", "Top-1 class.", 2),
    Column("top5_cls", "", 2),
    Column("oracle_gt_known", "GT-known, oracle tau", 2),
    Column("tau", "", 2),
    Column("tau_from", "tau from"),
    Column("seeds", "seeds"),
    Column("source", "source"),
    Column("run", "run"),
)
"""Errors and rates in percent, means over the seeds; low and high are the first seed's."""


@dataclasses.dataclass(frozen=True)
class TableRow:
    """A row that can be measured."""

    method: str
    """As it is printed."""
    variant: str
    """Key of VARIANTS."""
    backbone: str
    """Key of ARCHITECTURES."""
    delta: float = 0.80
    """Threshold on the gradient map."""

    @property
    def words(self):
        """The words that select the row on the command line."""
        return {self.variant, self.backbone, f"{self.variant}-{self.backbone}", f"{self.delta:.2f}"}


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One of the tables."""

    name: str
    """Of its command and of its files."""
    title: str
    rows: tuple[TableRow, ...]
    quoted: tuple[Printed, ...]
    """The paper's figures."""
    draw: Callable
    """Called with the path of a PNG file and the lines."""
    notes: tuple[str, ...] = ()
    """Paragraphs under the table."""
    checks_masks: bool = False
    """Whether stage 1's masks have a row, the paper's BC*."""


@dataclasses.dataclass(frozen=True)
class TableSetting:
    """What all rows of a table share."""

    options: dict
    """What ``TrainingJob.from_options`` takes, but for what ``job`` gives."""
    seeds: tuple[int, ...]
    backbone: str | None = None
    """Backbone for all rows; None for each row's own."""

    def job(self, row, seed):
        """The TrainingJob of a row and a seed."""
        return TrainingJob.from_options(**{
            **self.options, "variant": row.variant, "backbone": row.backbone,
            "delta": row.delta, "seed": seed})

    def jobs(self, row):
        """The TrainingJob of a row, one per seed."""
        return [self.job(row, seed) for seed in self.seeds]

    def rows(self, table):
        """A table's rows; with one backbone for all, each method once."""
        if self.backbone is None:
            return table.rows
        return tuple(dict.fromkeys(
            dataclasses.replace(row, backbone=self.backbone,
                                method=PLAIN_NAMES.get(row.variant, row.method))
            for row in table.rows))


PLAIN_NAMES = {"cam": "GAP (CAM)", "backprop": "Backprop", "has": "HaS-32", "acol": "ACoL",
               "spg-plain": "SPG-plain", "spg": "SPG"}
"""Names of the methods without the backbone that the paper's tables put into them."""
MASK_CHECK = "bc-star"  # what chooses the row BC*


def fill_table(table, setting, chosen, folder):
    """Measure the rows that some words choose, or all; the table is written after each one."""
    rows = setting.rows(table)
    wanted = [row for row in rows if not chosen or row.words & set(chosen)]
    known = set.union(*(row.words for row in rows), {MASK_CHECK} if table.checks_masks else set())
    if unknown := sorted(set(chosen) - known):
        raise click.UsageError(f"--rows {unknown[0]}: no such row; known are "
                               f"{', '.join(sorted(known))}")
    _prepare_masks(table, setting, wanted or rows, chosen)
    for row in wanted:
        for job in setting.jobs(row):
            click.echo(f"{row.method}, {job.backbone}, seed {job.seed}: {_masks_of(job)}")
            measure(job)
            write_paper_table(table, setting, folder)
    write_paper_table(table, setting, folder)


def _prepare_masks(table, setting, rows, chosen):
    """Make all masks that the rows need, every delta in one pass over the images."""
    start = time.perf_counter()
    stage1 = setting.job(rows[0], setting.seeds[0]).stage1
    stored = ensure_classifier(stage1)
    click.echo(f"{stage1.settings.backbone}: {stored.accuracy()}")
    deltas = sorted({row.delta for row in rows})
    make_masks(stage1, stored, "train", deltas)
    if table.checks_masks and (not chosen or MASK_CHECK in chosen):
        make_masks(stage1, stored, "test", deltas)
    click.echo(f"stage 1 took {time.perf_counter() - start:.1f} s for all rows together")


def _masks_of(job):
    """Which masks a job reads, for the log: stage 1 does nothing more for it."""
    cache = find_masks(job.stage1, "train", job.delta)
    use = "learns from" if job.uses_masks else "takes only tau from"
    return f"{use} the {len(cache)} finished masks {cache.folder.name} at delta {job.delta:.2f}"


def write_paper_table(table, setting, folder):
    """Write a table with what is finished, into a folder."""
    lines = [_line(row, setting, table) for row in setting.rows(table)]
    if table.checks_masks:
        lines.append(_mask_line(table, setting))
    lines += [{"method": row.method, "top1_error": row.top1_error, "top5_error": row.top5_error,
               "source": "quoted"} for row in table.quoted]
    path = folder / table.name
    write_table(path, COLUMNS, lines, table.title, (*_how(table, setting), *table.notes))
    table.draw(path.with_suffix(".png"), lines)


def _line(row, setting, table):
    """A row's line: the mean over its finished seeds, or the command that would measure it."""
    found = over_seeds(setting.jobs(row))
    line = {"method": row.method, "backbone": row.backbone, "delta": row.delta}
    if found is None:
        return {**line, "source": "not measured",
                "run": f"`bcct {table.name} --rows {_word(row, setting.rows(table))} ...`"}
    return {**line, **found, "top1_error": 100 - found["top1_loc"],
            "top5_error": 100 - found["top5_loc"], "tau_from": "masks", "source": "measured"}


def _word(row, rows):
    """A word that selects this row and no other."""
    others = set().union(*(other.words for other in rows if other != row))
    return min(row.words - others, key=lambda word: (len(word), word))


def _mask_line(table, setting):
    """The line of stage 1's masks of the test images: the paper's BC*."""
    job = setting.job(setting.rows(table)[0], setting.seeds[0])
    line = {"method": "BC* (masks, no class)", "backbone": job.stage1.settings.backbone}
    try:
        masks = find_masks(job.stage1, "test", job.delta)
    except MaskCacheError:
        return {**line, "source": "not measured",
                "run": f"`bcct {table.name} --rows {MASK_CHECK} ...`"}
    figures = mask_figures(job.images.split("test"), masks.folder, job.delta).metrics
    return {**line, "top1_error": percent(1 - figures["bc_star"].value),
            "gt_known": percent(figures["mask_strict"].value), "source": "measured",
            "run": masks.folder.name}


def _how(table, setting):
    """The settings that the measured rows share."""
    job = setting.job(setting.rows(table)[0], setting.seeds[0])
    config, test = job.config, job.images.split("test")
    return (
        f"Data: {job.images.root.name}, {len(test.records)} test images of {len(test.classes)} "
        f"classes; weights {Path(job.weights).name}. One budget for every measured row: "
        f"{config.epochs} epochs, batches of {config.batch_size}, rates "
        f"{config.backbone_rate:g} (backbone) and {config.head_rate:g} (new layers) divided by "
        f"ten every {config.decay_every} epochs, new layers {config.width} wide, input "
        f"{config.image_size} pixels, localized at "
        f"{default_input_side(config.image_size)}. Masks by {job.stage1.settings.backbone}, recipe "
        f"{job.stage1.settings.recipe_name}; they supervise BC-CT alone, and tau "
        "comes from those of the training images for every row. No test box is used, except for "
        "MaxBoxAccV2 and the oracle tau, which are upper bounds by definition.",
        "`measured`: here, the mean over the seeds. `quoted`: printed in the paper, on its own "
        "data and backbones; not comparable with ours where those differ.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()) + ".")
