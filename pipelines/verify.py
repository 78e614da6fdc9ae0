"""``bcct verify``: check a mask cache and name what has to be made again."""

import click

from common.artefacts import MASKS, resolve
from common.datasets import KINDS, open_dataset
from common.mask_cache.checks import check_cache, check_images, how_to_repair
from common.mask_cache.manifest import read_manifest
from common.mask_cache.reader import MaskCache
from pipelines.jobs import options
from pipelines.jobs.terminal import progress_bar


@options.grouped_command("verify")
@click.argument("masks")
@click.option("--data", type=options.PATH,
              help="The data set's folder: the ids, and every image's bytes, are checked too.")
@click.option("--dataset", type=click.Choice(KINDS),
              help="Layout of --data.  [default: as when the masks were made]")
@click.option("--split", type=options.SPLIT,
              help="Split of --data.  [default: as when the masks were made]")
@options.options("cache")
def command(masks, data, dataset, split, cache):
    """Check a mask cache: checksums, counts, ids, and each mask against its own box and flag.

    MASKS is the cache's folder, or the beginning of its name in CACHE/masks. If anything
    is wrong, names the files and the command that makes only these again, and ends with an error.
    Writes nothing.
    """
    folder = resolve(masks, cache / MASKS, "mask cache")
    manifest = read_manifest(folder)
    findings = check_cache(folder, manifest, progress_bar)
    if not findings and data is not None:
        findings = _check_data(folder, manifest, data, dataset, split)
    if findings:
        for finding in findings:
            click.echo(f"{folder / finding.file}: {finding.problem}", err=True)
        raise click.ClickException(f"{len(findings)} fault(s); {how_to_repair(folder, findings)}")
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
