"""``bcct plot``: the losses and learning rates of training runs in one picture."""

from pathlib import Path

import click

from common.artefacts import RUNS, resolve
from evaluation.training_curves import draw_training_curves
from pipelines.jobs import options
from stage2_ct.run import Run


@options.grouped_command("plot")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", type=options.PATH, default=Path("training.png"), show_default=True,
              help="Picture to write; its ending decides between PNG, PDF and SVG.")
@options.options("cache")
def command(runs, out, cache):
    """Draw the losses and learning rates of one or more runs, finished or not.

    RUN is a run's folder, or the beginning of its name in CACHE/ct.
    """
    if out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise click.UsageError(f"{out} must end in .png, .pdf or .svg")
    folders = [resolve(name, cache / RUNS, "run") for name in runs]
    for folder in folders:
        Run(folder).manifest()  # says what is wrong with a folder that is no run
    # A run's name is its folder's; of two of one name, the whole path.
    names = [folder.resolve().name for folder in folders]
    logs = {str(folder) if names.count(name) > 1 else name: Run(folder).logged()
            for folder, name in zip(folders, names)}
    click.echo(f"wrote {draw_training_curves(out, logs)}")
