"""``bcct evaluate``: localize with a trained model."""

import click

from pipelines.options import STAGE2, options
from pipelines.stage2 import Stage2


@click.command("evaluate")
@options(*STAGE2)
def command(**arguments):
    job = Stage2.from_options(**arguments)
    click.echo(job.run.folder)
