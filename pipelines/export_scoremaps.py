"""``bcct export-scoremaps``: score maps for other people's evaluation code."""

import click

from common.datasets import KINDS
from common.files import require_writable
from evaluation.localization import Protocol
from evaluation.scoremaps import require_metadata_ids, write_metadata, write_score_map
from evaluation.truth import truths_from_dataset
from pipelines.jobs import options
from pipelines.jobs.evaluating import RunLocalization
from pipelines.jobs.run_choice import open_run
from pipelines.jobs.terminal import report_bad_images
from stage2_ct.score_maps import SCORE_MAPS


@options.grouped_command("export-scoremaps")
@click.argument("run")
@click.option("--out", type=options.PATH, required=True,
              help="Folder for the score maps, OUT/scoremaps, and the list of images, "
              "OUT/metadata.")
@click.option("--split", type=options.SPLIT, default="test", show_default=True,
              help="Whose score maps.")
@click.option("--score-map", type=click.Choice(SCORE_MAPS),
              help="Which score map.  [default: the variant's own]")
@click.option("--data", type=options.PATH, help="Other images of the run's classes.  [default: the "
              "run's data set]")
@click.option("--dataset", type=click.Choice(KINDS),
              help="Layout of --data.  [default: recognized]")
@click.option("--overwrite", is_flag=True, help="Remove the score maps that are in "
              "OUT/scoremaps first.")
@options.options("cache", *options.COMPUTE, "on_bad_image")
def command(run, out, split, score_map, overwrite, on_bad_image, **arguments):
    """Write one .npy per image, in the folder convention of wsolevaluation.

    RUN is the folder of a training run. Each map is that of the image's true class, float32 in
    [0, 1]. OUT/metadata holds wsolevaluation's four files for the split.
    """
    unreadable = {}
    require_writable(out)
    held = sorted((out / "scoremaps").rglob("*.npy"))
    if held and not overwrite:
        raise click.UsageError(f"{out / 'scoremaps'} holds score maps already, and those of two "
                               "runs or splits would be mixed: name another folder, or add "
                               "--overwrite")
    trained, images, compute = open_run(run, **arguments)
    localization = RunLocalization(images, Protocol(split, score_map), compute,
                                   unreadable=unreadable)
    require_metadata_ids(record.image_id for record in localization.dataset.records)
    for path in held:
        path.unlink()
    for batch, maps, _ in localization.scored(trained, localization.dataset.records, "score maps",
                                              unreadable=unreadable):
        for record, score in zip(batch, maps):
            write_score_map(out / "scoremaps", record.image_id, score)
    truths = truths_from_dataset(localization.dataset, unreadable)
    write_metadata(out / "metadata", truths)
    click.echo(f"wrote {len(truths)} score maps and their metadata to {out}")
    report_bad_images(unreadable, on_bad_image)
