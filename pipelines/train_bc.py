"""``bcct train-bc``: train the background classifier."""

import click

from common import processes
from pipelines.jobs import options
from pipelines.jobs.terminal import TERMINAL, report_bad_images
from stage1_bc.stage1_job import Stage1Job, lock_classifiers, train_and_save


@options.grouped_command("train-bc")
@options.options(*options.STAGE1, "recipe", "recipe_set", "not_target", "on_bad_image")
def command(on_bad_image, **arguments):
    """Train the background classifier: target images against background images.

    The backbone stays frozen, so each image passes through it once. Writes CACHE/bc/NAME.pt. Under
    torchrun, the first process does all of it.
    """
    options.require_options(arguments, "data", "background")
    with processes.process_group():
        job = Stage1Job.from_options(reports=TERMINAL, **arguments)
        stored = processes.broadcast_from_first(lambda: _train(job))
        if processes.rank() == 0:
            click.echo(stored.accuracy())
            click.echo("next: bcct masks, with the same settings")
            click.echo(f"wrote {stored.path}")
            report_bad_images(stored.about["unreadable"], on_bad_image)


def _train(job):
    with lock_classifiers(job):
        return train_and_save(job)
