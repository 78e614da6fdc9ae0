"""``bcct export``: masks and boxes in the formats of other programs."""

import click

from common.artefacts import MASKS, resolve
from common.datasets import KINDS
from common.exports.formats import FORMATS
from common.exports.sources import open_annotations
from pipelines.jobs import options
from pipelines.jobs.terminal import warn


@options.grouped_command("export")
@click.argument("source")
@click.option("--format", "name", required=True, type=click.Choice(sorted(FORMATS)),
              help="coco: one JSON file; yolo: text files for detection and segmentation; voc: an "
              "XML file for each picture; png: masks of 0 and 255; csv: a line for each object; "
              "labelstudio: predictions to correct in Label Studio.")
@click.option("--out", required=True, type=options.PATH,
              help="File (coco, csv, labelstudio) or folder (yolo, voc, png) to write.")
@click.option("--segmentation", type=click.Choice(["rle", "polygon"]), default="rle",
              show_default=True, help="How coco states masks; polygons have no holes.")
@click.option("--delta", type=options.DELTA, help="Threshold of a mask cache that holds several.")
@click.option("--data", type=options.PATH, help="Folder of the pictures.  [default: the recorded "
              "one]")
@click.option("--dataset", "kind", type=click.Choice(KINDS), help="Layout of the data set that a "
              "mask cache was made from.  [default: the recorded one]")
@click.option("--overwrite", is_flag=True, help="Replace the file, or write into the folder "
              "(yolo: links of an earlier export and their labels are removed).")
@options.options("cache")
def command(source, name, out, segmentation, delta, data, kind, overwrite, cache):
    """Write the masks and boxes in SOURCE in another program's format.

    SOURCE is a mask cache (its folder, or the beginning of its name in CACHE/masks) or the folder
    of bcct localize. Pictures of a mask cache that could not be read, or whose masks are invalid,
    are left out.
    """
    _require_place(out, FORMATS[name].is_folder, overwrite)
    if name == "labelstudio":
        interface = out.with_suffix(".xml")
        if interface == out:
            raise click.UsageError(f"{out} would be the tasks and their labelling interface: give "
                                   "the tasks another ending, such as .json")
        _require_place(interface, False, overwrite)
    annotations = open_annotations(resolve(source, cache / MASKS, "mask cache"), data, kind, delta)
    arguments = {"polygons": segmentation == "polygon"} if name == "coco" else {}
    click.echo(annotations.origin)
    for sentence in annotations.remarks:
        warn(sentence)
    click.echo(f"wrote {FORMATS[name].write(out, annotations, **arguments)}")


def _require_place(path, is_folder, overwrite):
    """Nothing is replaced by mistake, and no file takes the place of a folder."""
    if path.exists() and path.is_dir() != is_folder:
        wanted, held = ("folder", "file") if is_folder else ("file", "folder")
        raise click.UsageError(f"{path} is a {held}, and this format writes a {wanted}: name "
                               "another")
    if path.exists() and not overwrite and (not is_folder or any(path.iterdir())):
        raise click.UsageError(f"{path} is there already: name another, or add --overwrite")
