"""``bcct demo``: everything on the embedded data set."""

from pathlib import Path

import click

import demo
from common.datasets.listed_once import Images
from demo.scenes import write_dataset
from pipelines.jobs.options import STAGE2, options, values
from pipelines.jobs.training_job import TrainingJob
from pipelines.paper.experiment import run_experiment

IMAGE_SIZE = 112
# A small data set for two cores: narrow new layers and a short schedule, the same for each variant.
BUDGET = ("width=64", "mask_width=64", "epochs=24", "decay_every=16", "batch_size=16",
          "backbone_rate=0.003", "head_rate=0.03")


@click.command("demo")
@options("cache", "device", "workers", "batch_size", "seed")
def command(cache, **arguments):
    """Draw the embedded data set, run both stages on it, and compare plain CAM with BC-CT.

    Takes about 5 minutes on two cores. Writes CACHE/demo/summary.json and a page of pictures.
    """
    folder = cache / "demo"
    data, background = write_dataset(folder / "data")
    shared_options = {
        "images": Images("cub", data, click.echo), "data": data, "background": background,
        "cache": folder, "backbone": "tiny",
        "weights": str(Path(demo.__file__).with_name("tiny.pth")), "image_size": IMAGE_SIZE,
        "train_set": BUDGET, **arguments}
    run_experiment({variant: [TrainingJob.from_options(**values(
        *STAGE2, **shared_options, variant=variant))] for variant in ("cam", "bc-ct")}, folder)
