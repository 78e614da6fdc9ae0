"""``bcct export``: masks and boxes in the formats of other programs."""

import click

from common.artefacts import MASKS, resolve
from common.datasets import KINDS
from common.exports.formats import FORMATS
from common.exports.sources import open_annotations
from pipelines.jobs import options


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
    of bcct localize. Invalid masks and unreadable pictures are left out.
    """
    for path in (out, *([out.with_suffix(".xml")] if name == "labelstudio" else ())):
        if path.exists() and not overwrite and (path.is_file() or any(path.iterdir())):
            raise click.UsageError(f"{path} is there already: name another, or add --overwrite")
    annotations = open_annotations(resolve(source, cache / MASKS, "mask cache"), data, kind, delta)
    arguments = {"polygons": segmentation == "polygon"} if name == "coco" else {}
    click.echo(annotations.origin)
    click.echo(f"wrote {FORMATS[name].write(out, annotations, **arguments)}")
