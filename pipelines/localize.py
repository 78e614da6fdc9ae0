"""``bcct localize``: boxes and masks of pictures that nobody has labelled."""

from pathlib import Path

import click

from common.artefacts import RUNS, resolve
from common.compute import choose_compute
from common.exports.formats import FORMATS, write_overlays
from common.exports.sources import open_localized
from common.localized import LocalizedFolder
from common.picture_files import list_pictures
from evaluation.localized_page import write_localized_page
from pipelines.jobs import options
from pipelines.jobs.terminal import progress_bar, report_bad_images, warn
from stage2_ct.found_objects import OBJECTS
from stage2_ct.localize_job import LocalizeJob, facts_of, localize_pictures
from stage2_ct.localizer import Localizer, load_model


@options.grouped_command("localize")
@click.argument("run")
@click.argument("pictures", nargs=-1, required=True, type=options.PATH)
@click.option("--out", required=True, type=options.PATH, help="Folder of the results.")
@click.option("--format", "formats", multiple=True, type=click.Choice(sorted(FORMATS)),
              help="Also write the results in this format; may be repeated.")
@click.option("--overlays", is_flag=True,
              help="Also write each picture with its masks and boxes drawn over it.")
@click.option("--objects", type=click.Choice(OBJECTS), default="one", show_default=True,
              help="one object in each picture, or many: every component above tau that covers at "
              "least a hundredth of the picture.")
@click.option("--tau", type=click.FloatRange(0, 1), help="Threshold on the score map.  [default: "
              "the run's own, chosen when it was trained or evaluated]")
@click.option("--overwrite", is_flag=True, help="Replace other results in the folder.")
@options.options("on_bad_image", "cache", *options.COMPUTE)
def command(run, pictures, out, formats, overlays, objects, tau, overwrite, on_bad_image, cache,
            device, workers, batch_size):
    """Find objects in PICTURES, files and folders of them, and write boxes and masks.

    RUN is the folder of a training run, the beginning of its name in CACHE/ct, or a file that bcct
    pack wrote; nothing of the training data is needed. Writes boxes.csv, a mask cache and a page
    to look through the pictures, those with the lowest scores first. A stopped run resumes where
    it stopped.
    """
    if out.exists() and not out.is_dir():
        raise click.UsageError(f"{out} is a file, and the results are a folder: name another")
    for folder in pictures:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise click.UsageError(f"{out} lies in the folder of pictures {folder}, where its own "
                                   "pictures would be localized the next time: name a folder "
                                   "elsewhere")
    compute = choose_compute(device, batch_size, workers)
    localizer = Localizer(load_model(resolve(run, cache / RUNS, "run"), tau), compute, objects)
    files = list_pictures(pictures)
    for sentence in files.remarks():
        warn(sentence)
    for name in formats:  # before the work, not after it
        FORMATS[name].require_names([record.image_id for record in files.records])
    job = LocalizeJob(localizer, files, LocalizedFolder(out))
    unreadable = localize_pictures(job, overwrite, progress_bar, warn)
    facts = facts_of(job, unreadable)
    source = open_localized(job.folder.folder, facts)
    for name in formats:
        click.echo(f"wrote {FORMATS[name].write(out / FORMATS[name].place, source)}")
    if overlays:
        click.echo(f"wrote {write_overlays(out / 'overlays', source)}")
    page = write_localized_page(Path(out) / "index.html", source, facts)
    job.folder.finish(facts)
    count = len(files.records) - len(unreadable)
    click.echo(f"{count:,} pictures, tau {localizer.tau:.2f}; wrote {out / 'boxes.csv'} and {page}")
    report_bad_images(unreadable, on_bad_image)
