"""``bcct real``: the main table on real birds."""

from pathlib import Path

import click

from common.datasets.listed_once import Images
from pipelines.jobs.options import SEEDS, STAGE2, options, values
from pipelines.jobs.training_job import TrainingJob
from pipelines.paper.experiment import run_experiment

SHARED = Path("../shared")
# A small backbone on a small data set: narrower new layers and a shorter schedule than the
# paper's VGG-16 on all of CUB, the same for every variant. Learning rates were chosen on training
# images held out of training, for each variant by itself.
BUDGET = ("width=256", "mask_width=256", "epochs=12", "decay_every=8", "backbone_rate=0.001",
          "head_rate=0.01")

# A row's variant and the backbone that makes the masks; CAM takes its tau from such masks too.
ROWS = {
    "cam": ("cam", "squeezenet1_1"),
    "bc-ct": ("bc-ct", "squeezenet1_1"),
    "bc-ct, masks by mobilenet_v2": ("bc-ct", "mobilenet_v2"),
}


@click.command("real")
@options("cache", "device", "workers", "batch_size")
@click.option("--seeds", default="0,1,2", show_default=True, type=SEEDS,
              help="Seeds that every row is trained with; their mean is shown.")
@click.option("--shared", type=click.Path(path_type=Path), default=SHARED, show_default=True,
              help="Folder with data/cub25, data/background and weights/.")
def command(cache, seeds, shared, **arguments):
    """Run both stages on CUB birds with SqueezeNet and print the main table.

    Writes CACHE/real/summary.json, and the artefacts of all steps.
    """
    images = Images("cub", shared / "data/cub25", click.echo)
    run_experiment({name: [TrainingJob.from_options(**values(
        *STAGE2, data=images.root, images=images, background=shared / "data/background",
        cache=cache / "real", backbone="squeezenet1_1",
        weights=shared_weights(shared, "squeezenet1_1"), bc_backbone=masks_by,
        bc_weights=shared_weights(shared, masks_by), train_set=BUDGET, variant=variant, seed=seed,
        **arguments)) for seed in seeds] for name, (variant, masks_by) in ROWS.items()},
        cache / "real")


def shared_weights(shared, backbone):
    """Path of a backbone's weights in the folder with data/ and weights/."""
    return str(shared / "weights" / f"{backbone}.pth")
