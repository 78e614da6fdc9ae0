"""``bcct bench``: what everything costs beside the network's own arithmetic."""

import contextlib
import io
from pathlib import Path

import click

from benchmarks.runner import MEASUREMENTS, measure, table
from benchmarks.setting import Setting
from common.backbones import ARCHITECTURES


@click.command("bench")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"),
              show_default=True, help="Folder for everything that is made.")
@click.option("--backbone", type=click.Choice(sorted(ARCHITECTURES)), default="vgg16",
              show_default=True, help="Network that is measured; the paper's by default.")
@click.option("--weights", default="none", show_default=True,
              help="Its weights; random ones take as long as any.")
@click.option("--rows", default=",".join(MEASUREMENTS), show_default=True,
              help="What to measure, with commas between.")
@click.option("--images", type=click.IntRange(16), default=64, show_default=True,
              help="Training images; half as many test and background images.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True,
              help="Rounds; each row is the median of their ratios.")
def command(cache, backbone, weights, rows, images, repeats):
    """Measure every command as a ratio to the bare network on the same machine.

    Writes CACHE/bench.json and CACHE/bench.md after each measurement; the same command goes on
    where it stopped. Pictures are synthetic, of CUB's size, under CACHE/bench/.
    """
    names = rows.split(",")
    if unknown := set(names) - set(MEASUREMENTS):
        raise click.UsageError(f"--rows: no {', '.join(sorted(unknown))}; there are "
                               f"{', '.join(MEASUREMENTS)}")
    folder = cache / "bench" / backbone
    setting = Setting(_run_quietly, folder, backbone, weights, images, repeats)
    found = measure(setting, names, cache / "bench.json", lambda line: click.echo(line, err=True))
    click.echo(table(found))
    click.echo(f"wrote {cache / 'bench.json'} and {cache / 'bench.md'}")


def _run_quietly(*words):
    """Run a command of ours in this process, without its output."""
    from pipelines.__main__ import cli  # which imports this module when asked for it

    with contextlib.redirect_stdout(io.StringIO()):
        cli([str(word) for word in words], standalone_mode=False)
