"""``bcct COMMAND`` and ``python -m pipelines COMMAND``."""

import importlib
import sys
import warnings

import click

from common.allocator import share_one_arena
from common.error_sentences import in_words, warning_in_words
from common.output_streams import make_patient

# name: (module, or module:attribute where it is not ``command``, summary). Listed here so that a
# help text imports no command, and so no torch.
COMMANDS = {
    "train-bc": ("pipelines.train_bc", "Train the background classifier (stage 1)."),
    "check-backgrounds": ("pipelines.check_backgrounds", "Find what is wrong with backgrounds."),
    "masks": ("pipelines.masks", "Make and cache masks; trains the classifier if needed."),
    "verify": ("pipelines.verify", "Check a mask cache and name what to make again."),
    "inspect": ("pipelines.inspect", "Summarize masks and draw a contact sheet."),
    "check-masks": ("pipelines.check_masks", "Show what recurs in masks, for you to judge."),
    "train-ct": ("pipelines.train_ct", "Train a classification model under masks (stage 2)."),
    "evaluate": ("pipelines.evaluate", "Localize with a trained model and write its report."),
    "refine-masks": ("pipelines.refine_masks", "Make masks again with a trained model."),
    "localize": ("pipelines.localize", "Find objects in pictures that nobody has labelled."),
    "export": ("pipelines.export", "Write masks and boxes as COCO, YOLO, VOC, PNG, CSV ..."),
    "pack": ("pipelines.pack", "Put a trained model into one file, or into ONNX."),
    "plot": ("pipelines.plot", "Draw the losses and rates of training runs."),
    "list": ("pipelines.list_artefacts", "Show what the cache holds, and what made it."),
    "export-scoremaps": ("pipelines.export_scoremaps", "Write score maps for other evaluators."),
    "recipes": ("pipelines.recipes", "Measure the masks of several recipes, side by side."),
    "compare": ("pipelines.compare", "Train on cached, online and joint masks, side by side."),
    "bench": ("pipelines.bench", "Measure how fast everything is, as ratios."),
    "demo": ("pipelines.demo", "Run everything on the embedded data set."),
    "real": ("pipelines.paper.real", "Run everything on CUB birds and print the main table."),
    "table1": ("pipelines.paper.paper_tables:table1",
               "Fill the paper's Table 1 (ILSVRC) with measured rows."),
    "table2": ("pipelines.paper.paper_tables:table2",
               "Fill the paper's Table 2 (CUB) with measured rows."),
    "table3": ("pipelines.paper.paper_tables:table3",
               "Fill the paper's Table 3: one row per delta."),
    "ablate-backgrounds": (
        "pipelines.paper.ablate_backgrounds", "Measure how many backgrounds are enough."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        return getattr(importlib.import_module(module), attribute or "command")

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bcct")
@click.option("--debug", is_flag=True, help="Show where in the program an error came up.")
def cli(debug):
    """Weakly supervised object localization from labels and background photographs."""


def main():
    """Run the command line; whatever goes wrong ends with one sentence and exit code 1."""
    share_one_arena()
    streams = make_patient()
    warnings.formatwarning = warning_in_words
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit("bcct: stopped")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        sys.exit(f"bcct: {in_words(error)}")
    finally:
        sys.stdout.flush()
    if streams[0].failure is not None:
        sys.exit(f"bcct: not all of the output could be written ({streams[0].failure.strerror}); "
                 "all work is done")


if __name__ == "__main__":
    main()
