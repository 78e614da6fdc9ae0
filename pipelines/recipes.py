"""``bcct recipes``: how good each recipe's masks are, and what they cost."""

import dataclasses

import click

from benchmarks.recipe_times import recipe_seconds
from common.files import require_writable, write_json
from evaluation.mask_figures import mask_figures, measurable
from pipelines.jobs import options
from pipelines.jobs.sanity_job import SANITY, print_sanity
from pipelines.jobs.terminal import TERMINAL
from stage1_bc.recipe import PIXEL_UNITS, RECIPES
from stage1_bc.stage1_job import Stage1Job, ensure_classifier, make_masks

REFERENCE = "blurred"  # one plain gradient pass


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
    units = () if sanity else tuple(f"{unit}=true" for unit in PIXEL_UNITS)
    job = Stage1Job.from_options(reports=TERMINAL, bc_set=(*bc_set, *units), **arguments)
    dataset, unreadable = job.images.split(split), {}
    dataset = measurable(dataset, unreadable)
    for name, reason in unreadable.items():
        TERMINAL.warn(f"{name!r}: {reason}; its mask is not measured")
    if sanity:
        print_sanity(job, recipes or SANITY, dataset, split, delta, wrong_background,
                     sanity_seeds)
        return
    recipes = recipes or tuple(RECIPES)
    stored = ensure_classifier(job)
    click.echo(stored.accuracy())
    seconds = recipe_seconds(job, stored, {*recipes, REFERENCE}, delta)
    rows = {}
    click.echo("| recipe | strict | 95 % | BC* | mean IoU | time |\n|---|---|---|---|---|---|")
    for name in recipes:
        settings = dataclasses.replace(job.settings, recipe_name=name, recipe=RECIPES[name])
        folder = make_masks(dataclasses.replace(job, settings=settings), stored, split, [delta])
        figures = mask_figures(dataset, folder, delta).metrics
        rows[name] = _row(figures, seconds[name] / seconds[REFERENCE])
        click.echo("| {} | {strict:.1f} | {low:.1f} - {high:.1f} | {bc_star:.1f} | {mean_iou:.3f} "
                   "| {time:.2f} |".format(name, low=rows[name]["interval"][0],
                                           high=rows[name]["interval"][1], **rows[name]))
    write_json(job.cache / "recipes.json", {
        "backbone": job.settings.backbone, "split": split, "delta": delta,
        "seed": job.settings.config.seed, "rows": rows})


def _row(figures, relative_time):
    """A recipe's figures in percent, mean IoU and time apart."""
    strict = figures["mask_strict"]
    return {"strict": round(100 * strict.value, 2),
            "interval": [round(100 * strict.low, 2), round(100 * strict.high, 2)],
            "bc_star": round(100 * figures["bc_star"].value, 2),
            "mean_iou": round(figures["mean_iou"].value, 4), "time": round(relative_time, 2)}
