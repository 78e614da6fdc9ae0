"""``bcct recipes``: what each recipe's masks are worth, and what they cost."""

import dataclasses
import time

import click
import torch

from common.files import write_json
from common.loading import consecutive, load_frames, to_float
from pipelines.experiment import percent
from pipelines.localize import mask_figures
from pipelines.options import STAGE1, options
from pipelines.stage1 import Stage1, ensure_classifier, make_masks, mask_maker
from pipelines.train_bc import describe
from stage1_bc.recipe import RECIPES

REFERENCE = "blurred"  # one plain gradient pass
TIMED_IMAGES = 64
ROUNDS = 5


@click.command("recipes")
@options(*STAGE1)
@click.option("--recipe", "recipes", type=click.Choice(list(RECIPES)), multiple=True,
              help="A recipe to compare; may be repeated.  [default: all]")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True), default=0.80,
              show_default=True, help="Threshold on the map.")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="test",
              show_default=True, help="Images whose masks are measured against their boxes.")
def command(recipes, delta, split, bc_set, cache, **arguments):
    """Measure the masks of several recipes, made by one background classifier.

    The time is that of maps and masks of images in memory, relative to one plain gradient pass.
    Writes CACHE/recipes.json.
    """
    bc_set = (*bc_set, "pixel_unit=true", "evidence_unit=true")
    job = Stage1(bc_set=bc_set, cache=cache, **arguments)
    recipes = recipes or tuple(RECIPES)
    click.echo(describe(ensure_classifier(job)))
    seconds = _seconds(job, {*recipes, REFERENCE}, delta)
    rows = {}
    click.echo("| recipe | strict | 95 % | BC* | mean IoU | time |\n|---|---|---|---|---|---|")
    for name in recipes:
        one = dataclasses.replace(job, recipe=name)
        figures = mask_figures(one.images(split), make_masks(one, split, [delta]), delta).metrics
        strict, bc_star, overlap = (figures[key] for key in ("mask_strict", "bc_star", "mean_iou"))
        rows[name] = {"strict": percent(strict.value),
                      "interval": [percent(strict.low), percent(strict.high)],
                      "bc_star": percent(bc_star.value), "mean_iou": round(overlap.value, 4),
                      "time": round(seconds[name] / seconds[REFERENCE], 2)}
        click.echo("| {} | {strict:.1f} | {low:.1f} - {high:.1f} | {bc_star:.1f} | {mean_iou:.3f} "
                   "| {time:.2f} |".format(name, low=rows[name]["interval"][0],
                                           high=rows[name]["interval"][1], **rows[name]))
    write_json(cache / "recipes.json", {
        "backbone": job.backbone, "split": split, "delta": delta, "seed": job.seed, "rows": rows})


def _seconds(job, names, delta):
    """Shortest time that each recipe takes for a few training images, the recipes in turn.

    Batches follow each other and an operation has one thread, so that no recipe gains by threads
    of its own.
    """
    maker = mask_maker(job)
    count = min(TIMED_IMAGES, len(job.targets.records))
    batches = [to_float(batch.images) for batch in load_frames(
        job.targets.records[:count], maker.size, consecutive(count, job.batch_size), 0)]
    shortest = dict.fromkeys(names, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        for name in sorted(names):
            maker.recipe = RECIPES[name]
            start = time.process_time()
            for images in batches:
                maker.masks(images, [delta])
            shortest[name] = min(shortest[name], time.process_time() - start)
    torch.set_num_threads(threads)
    return shortest
