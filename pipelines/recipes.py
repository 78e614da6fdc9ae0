"""``bcct recipes``: how good each recipe's masks are, and what they cost."""

import dataclasses
import time

import click
import torch

from common.datasets import open_backgrounds
from common.files import require_writable, write_json
from common.loading import consecutive, load_frames, to_float
from evaluation.mask_figures import mask_figures
from pipelines.jobs import options
from pipelines.jobs.sanity_job import HEADER, ROW, sanity_rows
from pipelines.jobs.terminal import TERMINAL
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES
from stage1_bc.stage1_job import Stage1Job, ensure_classifier, make_masks

REFERENCE = "blurred"  # one plain gradient pass
TIMED_IMAGES = 64
ROUNDS = 5
SANITY = ("default", "evidence", "agreement", "guided-layers", "pixels")


@options.grouped_command("recipes")
@options.options(*options.STAGE1, "delta")
@click.option("--recipe", "recipes", type=click.Choice(list(RECIPES)), multiple=True,
              help="A recipe to compare; may be repeated.  [default: all; with --sanity "
              f"{', '.join(SANITY)}]")
@click.option("--split", type=options.SPLIT, default="test", show_default=True,
              help="Images whose masks are measured against their boxes.")
@click.option("--sanity", is_flag=True, help="Compare each recipe's masks by the trained "
              "classifier with those by classifiers that know less; writes CACHE/sanity.json.")
@click.option("--sanity-seeds", type=click.IntRange(1), default=1, show_default=True,
              help="With --sanity: number of random classifiers.")
@click.option("--wrong-background", type=options.PATH, metavar="FOLDER",
              help="With --sanity: also train on this folder of pictures of a wrong kind in place "
              "of the background images.")
def command(recipes, delta, split, bc_set, sanity, sanity_seeds, wrong_background, **arguments):
    """Measure the masks of several recipes, made by one background classifier.

    Time is that of making masks from images in memory, relative to one plain gradient pass.
    Writes CACHE/recipes.json.

    With --sanity: what the background classifier is worth to each recipe. Its masks are made with
    the classifier as trained, with a random one, with one whose weights are all 1, and with one
    trained on a grey square in place of all background images. Where the masks stay as good, the
    recipe does not use what the classifier has learned.
    """
    options.require_options(arguments, "data", "background")
    require_writable(arguments["cache"])
    if sanity:
        job = Stage1Job.from_options(reports=TERMINAL, bc_set=bc_set, **arguments)
        _sanity(job, recipes or SANITY, split, delta, wrong_background, sanity_seeds)
        return
    job = Stage1Job.from_options(reports=TERMINAL, bc_set=(
        *bc_set, "pixel_unit=true", "evidence_unit=true"), **arguments)
    recipes = recipes or tuple(RECIPES)
    stored = ensure_classifier(job)
    click.echo(stored.accuracy())
    seconds = _seconds(job, stored, {*recipes, REFERENCE}, delta)
    rows = {}
    click.echo("| recipe | strict | 95 % | BC* | mean IoU | time |\n|---|---|---|---|---|---|")
    for name in recipes:
        settings = dataclasses.replace(job.settings, recipe_name=name, recipe=RECIPES[name])
        folder = make_masks(dataclasses.replace(job, settings=settings), stored, split, [delta])
        figures = mask_figures(job.images.split(split), folder, delta).metrics
        rows[name] = _row(figures, seconds[name] / seconds[REFERENCE])
        click.echo("| {} | {strict:.1f} | {low:.1f} - {high:.1f} | {bc_star:.1f} | {mean_iou:.3f} "
                   "| {time:.2f} |".format(name, low=rows[name]["interval"][0],
                                           high=rows[name]["interval"][1], **rows[name]))
    write_json(job.cache / "recipes.json", {
        "backbone": job.settings.backbone, "split": split, "delta": delta,
        "seed": job.settings.config.seed, "rows": rows})


def _sanity(job, recipes, split, delta, wrong_background, seeds):
    """Print and save the rows as they are measured."""
    wrong = open_backgrounds(wrong_background).records if wrong_background else ()
    rows = []
    job.images.split(split)  # prints what it found, before the table
    click.echo(HEADER)
    for row in sanity_rows(job, recipes, split, delta, wrong, seeds):
        click.echo(ROW.format(**row))
        rows.append(row)
        write_json(job.cache / "sanity.json", {
            "backbone": job.settings.backbone, "split": split, "delta": delta,
            "seed": job.settings.config.seed, "background": str(job.backgrounds.root),
            "wrong_background": wrong_background and str(wrong_background), "rows": rows})


def _row(figures, relative_time):
    """A recipe's figures in percent, mean IoU and time apart."""
    strict = figures["mask_strict"]
    return {"strict": round(100 * strict.value, 2),
            "interval": [round(100 * strict.low, 2), round(100 * strict.high, 2)],
            "bc_star": round(100 * figures["bc_star"].value, 2),
            "mean_iou": round(figures["mean_iou"].value, 4), "time": round(relative_time, 2)}


def _seconds(job, stored, names, delta):
    """Shortest time that each recipe takes for a few training images, the recipes in turn.

    Batches run one after another and each operation has one thread, so that no recipe gains from
    additional threads.
    """
    classifier = stored.build(job.settings.weights)
    makers = {name: MaskMaker(classifier, RECIPES[name], job.settings.size, job.compute.device)
              for name in names}
    records = job.images.split("train").records[:TIMED_IMAGES]
    batches = [to_float(batch.images) for batch in load_frames(
        records, job.settings.size, consecutive(len(records), job.compute.batch_size), 0)]
    shortest = dict.fromkeys(names, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        for name, maker in sorted(makers.items()):
            start = time.process_time()
            for images in batches:
                maker.masks(images, [delta])
            shortest[name] = min(shortest[name], time.process_time() - start)
    torch.set_num_threads(threads)
    return shortest
