"""``bcct train-ct``: train a classification model under labels and masks."""

import click
from click.core import ParameterSource

from common import processes
from common.files import CannotWrite
from common.images import BadImage
from pipelines import supervision
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.options import STAGE2, options
from pipelines.stage2 import Stage2, train


@click.command("train-ct")
@options(*STAGE2, "on_bad_image")
@click.option("--resume", is_flag=True, help="Go on from the last epoch of a stopped run.")
def command(resume, on_bad_image, **arguments):
    """Train one variant with one seed; its masks must be there (bcct masks makes them).

    Writes CACHE/ct/VARIANT-sSEED-KEY/: config.json, log.jsonl, last.pt. Under torchrun, the
    processes share each batch.
    """
    with processes.process_group(f"{processes.AGAIN}, with --resume"):
        job = Stage2.from_options(**arguments)
        if job.names_a_folder:
            supervision.require_agreement(job.cache, job.stage1, _given(arguments))
            if processes.rank() == 0:
                click.echo(supervision.describe(job.cache))
        if job.run.checkpoint.is_file() and not resume:
            raise click.ClickException(
                f"{job.run.folder} has been trained already, wholly or in part; add --resume to go "
                "on with it, or remove it to start again")
        try:
            train(job)
        except CannotWrite as error:  # its advice, too, is to run the same command again
            raise click.ClickException(f"{error}, with --resume") from error
        except BadImage as error:
            raise click.ClickException(f"{error} {_how_to_go_on(job)}") from error
        if processes.rank() == 0:
            click.echo(f"wrote {job.run.folder}")
            report_bad_images(job.unreadable, on_bad_image)


def _how_to_go_on(job):
    """What to do about an image that could be read when the run started."""
    otherwise = (f"remove {job.run.folder} to start again without it" if job.cache is None else
                 "run bcct masks, which says how to do without it")
    return f"It could be read before: put it back and go on with --resume, or {otherwise}"


def _given(arguments):
    """Names of the options that were given, not left at their defaults."""
    source = click.get_current_context().get_parameter_source
    return {name for name in arguments
            if source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)}
