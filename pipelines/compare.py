"""``bcct compare``: masks from the cache, made on the way, or learnt along."""

import json

import click

from pipelines.jobs.localizing import localize
from pipelines.jobs.options import STAGE2, options
from pipelines.paper.experiment import percent
from pipelines.stage1 import ensure_classifier, make_masks
from pipelines.stage2 import Stage2, load_trained, train

SOURCES = ("cached", "online", "joint")


@click.command("compare")
@options(*(name for name in STAGE2 if name != "masks"))
def command(**arguments):
    """Train one variant on cached, online and joint masks for the same number of epochs.

    Makes what is missing on the way. Prints accuracy, localization and time an epoch.
    """
    jobs = {source: Stage2.from_options(**arguments, masks=source) for source in SOURCES}
    stage1 = jobs["cached"].stage1
    ensure_classifier(stage1)
    make_masks(stage1, "train", [arguments["delta"]])
    click.echo(f"{'masks':10}{'Top-1 cls':>11}{'GT-known':>10}{'Top-1 loc':>11}"
               f"{'seconds an epoch':>18}")
    for source, job in jobs.items():
        train(job)
        result = localize(job, load_trained(job))
        figures = [percent(result.metrics[name].value)
                   for name in ("top1_cls", "gt_known", "top1_loc")]
        click.echo("{:10}{:>11.1f}{:>10.1f}{:>11.1f}{:>18.1f}".format(
            source, *figures, _median_seconds(job)))


def _median_seconds(job):
    """Median time of an epoch, from the run's log."""
    lines = (job.run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = sorted(json.loads(line)["seconds"] for line in lines)
    return seconds[len(seconds) // 2]
