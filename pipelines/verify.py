"""``bcct verify``: check a mask cache, and name what has to be made again."""

from pathlib import Path

import click

from common.datasets import open_dataset
from common.mask_cache.checks import check_files, check_images, check_index_and_counts, check_shard
from common.mask_cache.manifest import original_of, read_manifest
from common.mask_cache.reader import MaskCache
from pipelines.jobs.progress_bar import progress_bar


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path),
              help="The data set's folder: the ids, and every image's bytes, are checked too.")
@click.option("--dataset", type=click.Choice(["cub", "imagenet", "folder"]),
              help="Layout of --data.  [default: as when the masks were made]")
@click.option("--split", type=click.Choice(["train", "test", "all"]),
              help="Split of --data.  [default: as when the masks were made]")
def command(folder, data, dataset, split):
    """Check every shard of the mask cache FOLDER: checksums, counts, ids, and each mask against
    its own box and valid flag.

    Ends with an error when anything is wrong, after naming the files and the command that makes
    only these again. Writes nothing.
    """
    manifest = read_manifest(folder)
    findings = list(check_files(folder, manifest))
    damaged = {finding.file for finding in findings}
    with progress_bar(len(manifest["shards"]), "checking", "shards") as advance:
        for index, entry in enumerate(manifest["shards"]):
            if entry["file"] not in damaged:
                findings += check_shard(folder, manifest, index)
            advance(1)
    if not findings:
        findings += check_index_and_counts(folder, manifest)
        if data is not None:
            findings += _check_data(folder, manifest, data, dataset, split)
    if findings:
        _refuse(folder, manifest, findings)
    click.echo(f"{folder}: {manifest['count']} images, {len(manifest['deltas'])} delta(s), "
               f"{len(manifest['shards'])} shard(s): nothing is wrong")


def _check_data(folder, manifest, data, kind, split):
    """Compare with a data set's images."""
    about = manifest["about"]
    kind, split = kind or about.get("dataset"), split or about.get("split")
    if kind is None or split is None:
        raise click.UsageError("this cache does not say what it was made from; give --dataset and "
                               "--split")
    images = open_dataset(kind, data, split)
    with progress_bar(len(images.records), "comparing images") as advance:
        return list(check_images(MaskCache(folder, check=False), images, advance))


def _refuse(folder, manifest, findings):
    """Name what is wrong and what makes it right."""
    for finding in findings:
        click.echo(f"{folder / finding.file}: {finding.problem}", err=True)
    files = " ".join(sorted({finding.file for finding in findings if finding.file}))
    again = manifest["about"].get("command", "bcct masks, with the settings that made them")
    raise click.ClickException(f"{len(findings)} fault(s); " + (
        _repair(folder, original_of(folder, manifest), files, again)
        if files else "other images than the cache's need masks of their own: run bcct masks"))


def _repair(folder, original, files, again):
    """What makes a cache's files right, which for a copy is not the command alone."""
    if original is None:
        return (f"remove {files} from {folder} and run this, which makes only what is missing:\n"
                f"{again}")
    return (f"{folder} is a copy, to which the command below does not write: copy {files} from "
            f"{original}; where they are gone or wrong too, remove them there, run this, which "
            f"makes only what is missing there, and copy that whole folder:\n{again}")
