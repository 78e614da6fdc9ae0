"""``bcct evaluate``: localize with a trained model."""

import click

from pipelines.localize import Protocol, localize
from pipelines.options import STAGE2, options
from pipelines.stage2 import Stage2, load_trained


def _tau_source(context, parameter, value):
    """masks, val, test, or a number in [0, 1]; anything else is refused."""
    if value in ("masks", "val", "test"):
        return value
    try:
        if 0 <= float(value) <= 1:
            return value
    except ValueError:
        pass
    raise click.BadParameter("must be masks, val, test or a number from 0 to 1")


@click.command("evaluate")
@options(*STAGE2)
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="test",
              show_default=True, help="Images that the figures are of.")
@click.option("--score-map", type=click.Choice(["class", "mask", "product"]),
              help="What a box is cut from.  [default: the variant's own]")
@click.option("--box-rule", type=click.Choice(["largest", "wsol"]), default="largest",
              show_default=True, help="How a score map becomes a box: our rule or Choe et al.'s.")
@click.option("--tau-from", default="masks", show_default=True, callback=_tau_source,
              help="masks: the training images' cached masks, no box looked at; val: a few boxes a "
              "class; test: the field's habit, an oracle; or a number.")
@click.option("--boxes-per-class", type=click.IntRange(1), default=5, show_default=True,
              help="Boxes a class that --tau-from val looks at.")
def command(split, score_map, box_rule, tau_from, boxes_per_class, **arguments):
    """Localize with a trained model; give the options it was trained with."""
    job = Stage2.from_options(**arguments)
    protocol = Protocol(split, score_map, box_rule, tau_from, boxes_per_class)
    result = localize(job, load_trained(job), protocol)
    click.echo(f"{job.run.folder}: {result.images} images, box rule {result.box_rule}, tau "
               f"{result.tau.tau:.2f} from {result.tau.source}")
    for name, figure in result.metrics.items():
        click.echo(f"{name:20}{100 * figure.value:7.2f}   [{100 * figure.low:.2f}, "
                   f"{100 * figure.high:.2f}]")
    for warning in result.warnings:
        click.echo(warning, err=True)
