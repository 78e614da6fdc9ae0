"""The options of the commands that fill tables, and the command of a table."""

import functools
from pathlib import Path

import click

from common.datasets.listed_once import Images
from pipelines.jobs.options import BACKBONE, SEEDS, STAGE2, grouped_command, options, values
from pipelines.paper.real import BUDGET, shared_weights
from pipelines.paper.tables import TableSetting, fill_table

SMALL_BACKBONE = "squeezenet1_1"  # of the rows that --shared fills
# Given by a row, or with another meaning or default here.
_OWN = ("delta", "variant", "masks", "seed", "backbone", "weights", "bc_backbone")
_SETTING = (
    options(*(name for name in STAGE2 if name not in _OWN)),
    click.option("--backbone", type=BACKBONE,
                 help="Backbone of every row.  [default: each row's own]"),
    click.option("--weights", default="imagenet", show_default=True,
                 help="The backbones' weights: imagenet, none, or a state dict of --backbone."),
    click.option("--bc-backbone", type=BACKBONE,
                 help="Backbone that makes the masks, for all rows.  [default: --backbone, or else "
                 "vgg16]"),
    click.option("--shared", type=click.Path(path_type=Path),
                 help="Instead of --data and --background: the CUB birds of this folder, with "
                 "SqueezeNet (or --backbone), weights from there, and the budget of bcct real, "
                 "whose runs are used."),
    click.option("--epochs", type=click.IntRange(1), help="As --set epochs=N."),
    click.option("--seeds", default="0", show_default=True, type=SEEDS,
                 help="Seeds of every row; means are shown."),
)


def setting_command(name, **attributes):
    """Decorate a function as a command that is called with a TableSetting and CACHE's path."""
    def decorate(function):
        own = tuple(option.name for option in getattr(function, "__click_params__", ()))

        @functools.wraps(function)
        def call(**arguments):
            rest = {key: arguments.pop(key) for key in own}
            return function(_setting(**arguments), arguments["cache"], **rest)
        for option in reversed(_SETTING):
            call = option(call)
        return grouped_command(name, **attributes)(call)
    return decorate


def table_command(table):
    """The click command that fills a PaperTable."""
    @setting_command(table.name, help=(
        f"{table.title}: measure what is missing and print it.\n\nFinished rows are kept, and a "
        "stopped one resumes. The paper's figures are listed too, marked quoted. Writes "
        "CACHE/tables/."))
    @click.option("--rows", default="", metavar="has,acol,...",
                  help="Rows to measure: variants, backbones, VARIANT-BACKBONE, deltas such as "
                  "0.85, or bc-star.  [default: all]")
    def command(setting, cache, rows):
        fill_table(table, setting, [word for word in rows.split(",") if word], cache / "tables")
        show(cache / "tables" / table.name)
    return command


def show(path):
    """Print the Markdown of a table that has been written."""
    click.echo(path.with_suffix(".md").read_text(encoding="utf-8"))
    click.echo(f"wrote {path}.md, .csv and .png")


def _setting(shared, epochs, backbone, seeds, train_set, **arguments):
    """The TableSetting that a command line asks for."""
    if shared is not None:
        backbone, train_set = backbone or SMALL_BACKBONE, (*BUDGET, *train_set)
        arguments["bc_backbone"] = arguments["bc_backbone"] or backbone
        arguments.update(
            dataset="cub", data=shared / "data/cub25", background=shared / "data/background",
            weights=shared_weights(shared, backbone),
            bc_weights=shared_weights(shared, arguments["bc_backbone"]),
            cache=arguments["cache"] / "real")
    arguments["bc_backbone"] = arguments["bc_backbone"] or backbone or "vgg16"
    for name in ("data", "background"):
        if arguments[name] is None:
            raise click.UsageError(f"give --{name}, or --shared")
    if epochs is not None:
        train_set = (*train_set, f"epochs={epochs}")
    images = Images(arguments["dataset"], arguments["data"], click.echo)
    return TableSetting(values(*STAGE2, **arguments, train_set=train_set, images=images), seeds,
                        backbone)
