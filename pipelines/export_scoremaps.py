"""``bcct export-scoremaps``: score maps for other people's evaluation code."""

from pathlib import Path

import click

from evaluation.scoremaps import write_metadata, write_score_map
from evaluation.truth import truths_from_dataset
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.localizing import Protocol, scored_batches
from pipelines.jobs.options import options
from pipelines.stage2 import Stage2, load_trained
from stage2_ct.score_maps import SCORE_MAPS


@click.command("export-scoremaps")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Folder for the score maps, OUT/scoremaps, and the list of images, "
              "OUT/metadata.")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="test",
              show_default=True, help="Whose score maps.")
@click.option("--score-map", type=click.Choice(SCORE_MAPS),
              help="Which score map.  [default: the variant's own]")
@options("on_bad_image")
def command(run, out, split, score_map, on_bad_image):
    """Write one .npy an image, in the folder convention of wsolevaluation.

    RUN is the folder of a training run. Each map is that of the image's true class, float32 in
    [0, 1]. OUT/metadata holds wsolevaluation's four files for the split.
    """
    job = Stage2.from_run(run)
    method = load_trained(job)
    dataset, protocol, unreadable = job.stage1.images(split), Protocol(split, score_map), {}
    for batch, maps, _ in scored_batches(job, method, dataset.records, protocol, "score maps",
                                         unreadable=unreadable):
        for record, score in zip(batch, maps):
            write_score_map(out / "scoremaps", record.image_id, score)
    truths = truths_from_dataset(dataset, unreadable)
    write_metadata(out / "metadata", truths)
    click.echo(f"wrote {len(truths)} score maps and their metadata to {out}")
    report_bad_images(unreadable, on_bad_image)
