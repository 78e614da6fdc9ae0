"""Options that several commands share, each stated once."""

import functools
from pathlib import Path

import click

from common.backbones import ARCHITECTURES
from common.precision import PRECISIONS
from stage1_bc.classifier import HEADS
from stage1_bc.recipe import RECIPES
from stage2_ct.variants import VARIANTS

_PATH = click.Path(path_type=Path)


def _batch_size(context, parameter, value):
    """Click callback: a whole number from 1; None for auto."""
    if value in (None, "auto"):
        return None
    try:
        if int(value) >= 1:
            return int(value)
    except ValueError:
        pass
    raise click.BadParameter("must be auto or a whole number from 1")


_OPTIONS = {
    "dataset": click.option(
        "--dataset", type=click.Choice(["cub", "imagenet", "folder"]), default="cub",
        show_default=True, help="Layout of the data set: CUB-200-2011's, ILSVRC's CLS-LOC, or a "
        "folder of class folders."),
    "data": click.option("--data", type=_PATH, required=True, help="The data set's folder."),
    "background": click.option(
        "--background", type=_PATH, required=True, help="Folder of background images."),
    "cache": click.option(
        "--cache", type=_PATH, default=Path("cache"), show_default=True,
        help="Folder for everything that is made."),
    "backbone": click.option(
        "--backbone", type=click.Choice(sorted(ARCHITECTURES)), default="vgg16",
        show_default=True, help="Network whose convolutional layers are used."),
    "weights": click.option(
        "--weights", default="imagenet", show_default=True,
        help="The backbone's weights: imagenet (downloaded by torchvision), none (random), or the "
        "path of a state dict."),
    "bc_backbone": click.option(
        "--bc-backbone", type=click.Choice(sorted(ARCHITECTURES)),
        help="Backbone of the background classifier.  [default: --backbone]"),
    "bc_weights": click.option(
        "--bc-weights", help="Weights of --bc-backbone.  [default: --weights]"),
    "bc_seed": click.option(
        "--bc-seed", type=int, default=0, show_default=True,
        help="Seed that the background classifier was trained with."),
    "head": click.option(
        "--head", type=click.Choice(sorted(HEADS)), default="pooled", show_default=True,
        help="; ".join(f"{name}: {text}" for name, text in HEADS.items()) + "."),
    "recipe": click.option(
        "--recipe", type=click.Choice(sorted(RECIPES)), default="default", show_default=True,
        help="How gradient maps become masks."),
    "recipe_set": click.option(
        "--recipe-set", multiple=True, metavar="FIELD=VALUE",
        help="Override a field of the recipe; may be repeated."),
    "delta": click.option(
        "--delta", type=click.FloatRange(0, 1, min_open=True), multiple=True, default=[0.80],
        show_default=True, help="Threshold on the gradient map; may be repeated."),
    "one_delta": click.option(
        "--delta", type=click.FloatRange(0, 1, min_open=True), default=0.80, show_default=True,
        help="Threshold on the gradient map."),
    "bc_set": click.option(
        "--bc-set", multiple=True, metavar="FIELD=VALUE",
        help="Override a field of the background classifier's settings; may be repeated."),
    "image_size": click.option(
        "--image-size", type=click.IntRange(16), default=224, show_default=True,
        help="Side of the square that images are squashed to, and of a mask, in pixels."),
    "variant": click.option(
        "--variant", type=click.Choice(sorted(VARIANTS)), default="bc-ct", show_default=True,
        help="What to train."),
    "masks": click.option(
        "--masks", default="cached", show_default=True,
        help="Where masks come from: cached (made by bcct masks), the folder of a mask cache, "
        "online (made from each augmented batch) or joint (the classifier learns along)."),
    "on_bad_image": click.option(
        "--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
        help="When images cannot be read: either way the others are done and the bad ones listed; "
        "fail then exits with an error, skip does not."),
    "train_set": click.option(
        "--set", "train_set", multiple=True, metavar="FIELD=VALUE",
        help="Override a field of the training settings, such as epochs=20; may be repeated."),
    "seed": click.option("--seed", type=int, default=0, show_default=True,
                         help="Seed of everything that is drawn."),
    "device": click.option(
        "--device", default="auto", show_default=True,
        help="cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."),
    "workers": click.option(
        "--workers", type=click.IntRange(0), help="Processes that decode images.  "
        "[default: up to 16 with a GPU, up to 2 without]"),
    "batch_size": click.option(
        "--batch-size", callback=_batch_size, metavar="N|auto",
        help="Images a pass where nothing is learnt; auto goes by the memory of a GPU and is 16 "
        "without. A batch that does not fit is computed in parts.  [default: auto]"),
    "precision": click.option(
        "--precision", type=click.Choice(sorted(PRECISIONS)), default="float32", show_default=True,
        help="Number format of the network that makes masks; bfloat16 is faster on a GPU and on "
        "CPUs with AMX (docs/performance.md says how far its masks differ)."),
}

STAGE1 = ("dataset", "data", "background", "cache", "backbone", "weights", "head", "bc_set",
          "image_size", "seed", "device", "workers", "batch_size")
STAGE2 = (*STAGE1, "bc_backbone", "bc_weights", "bc_seed", "recipe", "recipe_set",
          "precision", "one_delta", "variant", "masks", "train_set")


def parse_seeds(context, parameter, value):
    """Click callback: ``0,1,2`` as a tuple of int; nothing as an empty one."""
    try:
        return tuple(int(seed) for seed in value.split(",")) if value else ()
    except ValueError:
        raise click.BadParameter("must be whole numbers with commas between, such as 0,1,2")


def options(*names):
    """Decorate a click command with the named shared options, in that order."""
    def decorate(function):
        return functools.reduce(
            lambda decorated, name: _OPTIONS[name](decorated), reversed(names), function)
    return decorate


def values(*names, **given):
    """The named options' values as a command receives them: those given, else the defaults."""
    command = click.command()(options(*names)(lambda **arguments: None))
    defaults = command.make_context("values", [], resilient_parsing=True).params
    return {**defaults, **given}
