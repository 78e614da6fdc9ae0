"""Options that several commands share, and how ``--help`` groups them."""

import functools
import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from common.backbones import ARCHITECTURES, full_name
from common.boxes import LARGEST_SIDE
from common.config import LARGEST_SEED, field_help
from common.datasets import KINDS
from common.precision import PRECISIONS
from stage1_bc.classifier import HEADS
from stage1_bc.mask_settings import plain_config
from stage1_bc.recipe import RECIPES
from stage2_ct.variants import VARIANTS

PATH = click.Path(path_type=Path)
SEED = click.IntRange(0, LARGEST_SEED)
SPLIT = click.Choice(["train", "test", "all"])
WORDS = "bcct.words"  # key of what a user typed after the command's name
USUAL = RECIPES["default"]
FIELDS = {"--set": ("training settings of stage 2 (the values are bc-ct's)",
                    VARIANTS["bc-ct"].config),
          "--recipe-set": ("the recipe (the values are default's)", USUAL),
          "--bc-set": ("the background classifier's settings (the values are those for the recipe "
                       "default)", plain_config("pooled", 224, 0, USUAL))}


class Checked(click.ParamType):
    """A value that a function reads.

    Args:
        name: of the value in the help.
        read: gives the value; raises ValueError.
        refusal: what is said then, braces standing for the value; None for the error's own words.
    """

    def __init__(self, name, read, refusal=None):
        self.name, self.read, self.refusal = name, read, refusal

    def convert(self, value, parameter, context):
        try:
            return self.read(value)
        except ValueError as error:
            said = self.refusal.format(value) if self.refusal else str(error)
            self.fail(said, parameter, context)


def _read_delta(value):
    number = float(value)
    if not 0 < number <= 1 or round(number, 2) != number:
        raise ValueError
    return number


def _read_batch_size(value):
    if value == "auto":
        return None
    if int(value) < 1:
        raise ValueError
    return int(value)


def _read_seeds(value):
    seeds = tuple(int(seed) for seed in value.split(",")) if value else ()
    if any(not 0 <= seed <= LARGEST_SEED for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError
    return seeds


def _read_clusters(value):
    """CLUSTERS:3,17 as ("CLUSTERS", (3, 17))."""
    clusters, _, numbers = value.rpartition(":")
    return clusters, tuple(int(number) for number in numbers.split(","))


DELTA = Checked("delta", _read_delta,  # as mask caches name it
                "{} is not a number in (0, 1] with at most two decimals")
BATCH_SIZE = Checked("N|auto", _read_batch_size, "must be auto or a whole number from 1")
SEEDS = Checked("0,1,2", _read_seeds,
                "must be whole numbers from 0, each once, separated by commas, such as 0,1,2")
BACKBONE = Checked("name", full_name)
NOT_TARGET = Checked("CLUSTERS:NUMBERS", _read_clusters,
                     "{!r} is not of the form CLUSTERS:NUMBERS, such as cub-train:3,17")


class GroupedCommand(click.Command):
    """A command whose help lists its options in groups, and the fields that overrides take."""

    def parse_args(self, context, args):
        context.meta[WORDS] = tuple(args)
        return super().parse_args(context, args)

    def format_options(self, context, formatter):
        groups = {}
        for parameter in self.get_params(context):
            if (record := parameter.get_help_record(context)) is not None:
                groups.setdefault(GROUP_OF.get(parameter.name, "This command"), []).append(record)
        for name in ("This command", *dict.fromkeys(GROUP_OF.values())):
            if name in groups:
                with formatter.section(name):
                    formatter.write_dl(groups[name])
        taken = {option for parameter in self.params for option in parameter.opts}
        for option, (what, config) in FIELDS.items():
            if option in taken:
                with formatter.section(f"Fields of {option}, {what}"):
                    formatter.write_dl(field_help(config))


_OPTIONS = {
    "Data": {
        "data": click.option("--data", type=PATH, help="The data set's folder."),
        "dataset": click.option(
            "--dataset", type=click.Choice(KINDS), help="Layout of the data set.  [default: "
            "recognized from what is in the folder]"),
        "background": click.option(
            "--background", type=PATH, help="Folder of background images."),
        "image_size": click.option(
            "--image-size", type=click.IntRange(16, LARGEST_SIDE), default=224, show_default=True,
            help="Side in pixels of the square that images are squashed to, and of a mask."),
        "on_bad_image": click.option(
            "--on-bad-image", type=click.Choice(["fail", "skip"]), default="fail",
            show_default=True, help="What to do about images that cannot be read. In either case "
            "the others are processed and the bad ones listed; fail then exits with an error."),
    },
    "Stage 1 (background classifier and masks)": {
        "bc_backbone": click.option(
            "--bc-backbone", type=BACKBONE,
            help="Backbone of the background classifier.  [default: --backbone]"),
        "bc_weights": click.option(
            "--bc-weights", help="Weights of --bc-backbone.  [default: --weights]"),
        "bc_seed": click.option(
            "--bc-seed", type=SEED, default=0, show_default=True,
            help="Seed of the background classifier."),
        "head": click.option(
            "--head", type=click.Choice(sorted(HEADS)), default="pooled", show_default=True,
            help="; ".join(f"{name}: {text}" for name, text in HEADS.items()) + "."),
        "bc_set": click.option(
            "--bc-set", multiple=True, metavar="FIELD=VALUE",
            help="Override a field of the background classifier's settings; may be repeated."),
        "recipe": click.option(
            "--recipe", type=click.Choice(sorted(RECIPES)), default="default", show_default=True,
            help="How masks are made: default is the most accurate, paper the paper's own; "
            "docs/masks.md compares them."),
        "recipe_set": click.option(
            "--recipe-set", multiple=True, metavar="FIELD=VALUE",
            help="Override a field of the recipe; may be repeated."),
        "not_target": click.option(
            "--not-target", type=NOT_TARGET, help="Clusters that are not the target: the "
            "folder of bcct check-masks, or the beginning of its name, and their numbers, such as "
            "cub-train:3,17. They are learned as background, in addition to the two that the "
            "recipe default chooses."),
        "deltas": click.option(
            "--delta", "deltas", type=DELTA, multiple=True, default=[0.80], show_default=True,
            help="Threshold on the map (Eq. 2); may be repeated."),
        "delta": click.option(
            "--delta", type=DELTA, default=0.80, show_default=True,
            help="Threshold on the map (Eq. 2)."),
        "precision": click.option(
            "--precision", type=click.Choice(sorted(PRECISIONS)), default="float32",
            show_default=True, help="Number format of the network that makes masks; bfloat16 is "
            "faster on a GPU and on CPUs with AMX (docs/performance.md says how far its masks "
            "differ)."),
    },
    "Stage 2 (classification model)": {
        "variant": click.option(
            "--variant", type=click.Choice(sorted(VARIANTS)), default="bc-ct", show_default=True,
            help="What to train."),
        "masks": click.option(
            "--masks", default="cached", show_default=True, metavar="NAME",
            help="Where masks come from: a mask cache (its folder, or the beginning of its name); "
            "cached, the one in CACHE that these settings made; online, made from each augmented "
            "batch; joint, made by a background classifier trained at the same time."),
        "train_set": click.option(
            "--set", "train_set", multiple=True, metavar="FIELD=VALUE",
            help="Override a training setting, such as epochs=20; may be repeated."),
        "seed": click.option("--seed", type=SEED, default=0, show_default=True,
                             help="Seed of stage 2."),
    },
    "Run": {
        "backbone": click.option(
            "--backbone", type=BACKBONE, default="vgg16", show_default=True,
            help=f"Network whose layers are used: {', '.join(sorted(ARCHITECTURES))}, or timm:NAME "
            "for one of timm's (docs/backbones.md)."),
        "weights": click.option(
            "--weights", default="imagenet", show_default=True,
            help="The backbone's weights: imagenet (downloaded by torchvision or timm), "
            "imagenet:NAME (others of torchvision's, such as imagenet:FEATURES), none (random), or "
            "the path of a state dict."),
        "cache": click.option(
            "--cache", type=PATH, default=Path("cache"), show_default=True,
            help="Folder for everything that is made."),
        "device": click.option(
            "--device", default="auto", show_default=True,
            help="cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."),
        "workers": click.option(
            "--workers", type=click.IntRange(0), help="Processes that decode images.  "
            "[default: up to 16 with a GPU, up to 2 without]"),
        "batch_size": click.option(
            "--inference-batch-size", "batch_size", type=BATCH_SIZE,
            help="Images per forward pass where nothing is trained; auto goes by the memory of a "
            "GPU and is 8 without one. (The training batch size is --set batch_size=N.)  "
            "[default: auto]"),
    },
}
GROUP_OF = {name: group for group, members in _OPTIONS.items() for name in members}
_BY_NAME = {name: option for members in _OPTIONS.values() for name, option in members.items()}

COMPUTE = ("device", "workers", "batch_size")
STAGE1 = ("data", "dataset", "background", "image_size", "backbone", "weights", "bc_backbone",
          "bc_weights", "bc_seed", "head", "bc_set", "cache", *COMPUTE)
RECIPE = ("recipe", "recipe_set", "precision", "not_target")
STAGE2 = (*STAGE1, *RECIPE, "delta", "variant", "masks", "train_set", "seed")


def options(*names):
    """Decorate a click command with the named shared options, in that order."""
    def decorate(function):
        return functools.reduce(
            lambda decorated, name: _BY_NAME[name](decorated), reversed(names), function)
    return decorate


def grouped_command(name, **attributes):
    """``click.command`` with grouped help."""
    return click.command(name, cls=GroupedCommand, **attributes)


def values(*names, **given):
    """The named options' values as a command receives them: those given, else the defaults."""
    parser = click.command()(options(*names)(lambda **arguments: None))
    defaults = parser.make_context("values", [], resilient_parsing=True).params
    return {**defaults, **given}


def given_options():
    """Names of the running command's options that were given, not left at their defaults."""
    context = click.get_current_context()
    return {parameter.name for parameter in context.command.params
            if context.get_parameter_source(parameter.name) in (
                ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)}


def command_line():
    """The running command as its user gave it."""
    context = click.get_current_context()
    return shlex.join(["bcct", context.command.name, *context.meta[WORDS]])


def require_options(arguments, *names):
    """Refuse a command line without some options that this use of the command needs."""
    for name in names:
        if arguments[name] is None:
            raise click.UsageError(f"give {spelled(name)}: {_MEANINGS[name]}")


_MEANINGS = {"data": "the data set's folder (DATA=... with make)",
             "background": "a folder of background images (BACKGROUND=... with make)"}


def spelled(name):
    """An option as it is typed."""
    return {"train_set": "--set"}.get(name, f"--{name.replace('_', '-')}")
