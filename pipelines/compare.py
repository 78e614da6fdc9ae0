"""``bcct compare``: cached, online and joint masks side by side."""

import math
import statistics

import click

from common.datasets.listed_once import Images
from pipelines.jobs import options
from pipelines.jobs.evaluating import localization_of
from pipelines.jobs.terminal import report_bad_images
from pipelines.jobs.training_job import TrainingJob, note_on_recipe, trained
from stage1_bc.stage1_job import ensure_classifier, make_masks


@options.grouped_command("compare")
@options.options(*(name for name in options.STAGE2 if name != "masks"), "on_bad_image")
def command(on_bad_image, **arguments):
    """Train one variant on cached, online and joint masks for the same number of epochs.

    Makes what is missing first. Prints accuracy, localization and time per epoch; the test images
    need boxes.
    """
    options.require_options(arguments, "data", "background")
    images = Images(arguments["dataset"], arguments["data"], click.echo)
    jobs = {source: TrainingJob.from_options(**arguments, masks=source, images=images)
            for source in ("cached", "online", "joint")}
    if not any(record.boxes for record in images.split("test").records):
        raise click.UsageError(f"the test images in {images.root} have no boxes, by which "
                               "localization is measured: bcct train-ct --masks cached, online and "
                               "joint train the same models without measuring")
    first = jobs["cached"]
    make_masks(first.stage1, ensure_classifier(first.stage1), "train", [first.delta])
    if note := note_on_recipe(jobs["joint"]):
        click.echo(note)
    click.echo(f"{'masks':10}{'Top-1 cls':>11}{'GT-known':>10}{'Top-1 loc':>11}"
               f"{'seconds per epoch':>19}")
    unreadable: dict[str, str] = {}
    localization = localization_of(first, unreadable=unreadable)
    for source, job in jobs.items():
        found = trained(job)
        unreadable.update(found.manifest["unreadable"])
        metrics = localization.localize(found).metrics
        seconds = [line["seconds"] for line in found.run.logged()] or [math.nan]
        click.echo("{:10}{:>11.1f}{:>10.1f}{:>11.1f}{:>19.1f}".format(
            source, *(100 * metrics[name].value for name in ("top1_cls", "gt_known", "top1_loc")),
            statistics.median(seconds)))
    report_bad_images(unreadable, on_bad_image)
