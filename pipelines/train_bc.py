"""``bcct train-bc``: train the background classifier."""

import click

from common import processes
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.options import STAGE1, options
from pipelines.stage1 import Stage1, alone_with_classifiers, train_classifier


@click.command("train-bc")
@options(*STAGE1, "on_bad_image")
def command(on_bad_image, **arguments):
    """Train the background classifier: target images against background images.

    The backbone stays frozen, so each image passes through it once. Writes CACHE/bc/NAME.pt. Under
    torchrun, the first process does all of it.
    """
    with processes.process_group():
        job = Stage1(**arguments)
        about = processes.broadcast_from_first(lambda: _train(job))
        if processes.rank() == 0:
            click.echo(describe(about))
            click.echo(f"wrote {job.classifier_path}")
            report_bad_images(about["unreadable"], on_bad_image)


def _train(job):
    with alone_with_classifiers(job):
        return train_classifier(job)


def describe(about):
    """One sentence on the classifier's accuracy."""
    return (f"background classifier: held-back accuracy {about['target_accuracy']:.1%} on "
            f"{about['held_back_targets']} targets, {about['background_accuracy']:.1%} on "
            f"{about['held_back_backgrounds']} backgrounds")
