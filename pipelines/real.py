"""``bcct real``: the main table on real birds."""

from pathlib import Path

import click

from pipelines.experiment import run_experiment, table
from pipelines.options import STAGE2, options, values
from pipelines.stage2 import Stage2

SHARED = Path("../shared")
# A small backbone on a small data set: narrower new layers and a shorter schedule than the
# paper's VGG-16 on all of CUB, the same for every variant. Learning rates were chosen on training
# images held out of training, for each variant by itself.
BUDGET = ("width=256", "epochs=12", "decay_every=8", "backbone_rate=0.001", "head_rate=0.01")


@click.command("real")
@options("cache", "device", "workers", "batch_size", "seed")
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED, show_default=True,
              help="Folder with data/cub25, data/background and weights/squeezenet1_1.pth.")
def command(cache, shared, **arguments):
    """Run both stages on CUB birds with SqueezeNet and print the main table.

    Writes CACHE/real/summary.json and what the steps before it make.
    """
    shared_options = {
        "data": shared / "data/cub25", "background": shared / "data/background",
        "cache": cache / "real", "backbone": "squeezenet1_1",
        "weights": str(shared / "weights/squeezenet1_1.pth"), "train_set": BUDGET, **arguments}
    jobs = {variant: Stage2.from_options(**values(*STAGE2, **shared_options, variant=variant))
            for variant in ("cam", "bc-ct")}
    path = cache / "real" / "summary.json"
    click.echo(table(run_experiment(jobs, path)))
    click.echo(f"wrote {path}")
