"""``bcct bench``: what each command costs compared with the network's own arithmetic."""

import contextlib
import dataclasses
import io
from pathlib import Path

import click

from benchmarks.runner import MEASUREMENTS, benchmark_table, run_benchmarks
from benchmarks.setting import BenchmarkSetting
from common.artefacts import file_name
from pipelines.jobs.options import BACKBONE


@click.command("bench")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"),
              show_default=True, help="Folder for everything that is made.")
@click.option("--backbone", type=BACKBONE, default="vgg16",
              show_default=True, help="Network that is measured; the paper's by default.")
@click.option("--weights", default="none", show_default=True,
              help="Its weights; random ones take as long as any others.")
@click.option("--rows", default=",".join(MEASUREMENTS), show_default=True,
              help="What to measure, separated by commas.")
@click.option("--images", type=click.IntRange(16), default=64, show_default=True,
              help="Training images; one and a half times as many background images.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True,
              help="Rounds; each row is the median of their ratios.")
@click.option("--gpu", is_flag=True,
              help="Measure both stages on --device instead, and write CACHE/bench-gpu.md; give "
              "some thousands of --images (with 400 backgrounds).")
@click.option("--device", default="cuda", show_default=True, help="Device for --gpu.")
def command(cache, backbone, weights, rows, images, repeats, gpu, device):
    """Measure every command as a ratio to the bare network on the same machine.

    Writes CACHE/bench.json and CACHE/bench.md after each measurement; the same command resumes
    where it stopped. Pictures are synthetic, of CUB's size, under CACHE/bench/.
    """
    folder = cache / "bench" / file_name(backbone)
    setting = BenchmarkSetting(_run_quietly, folder, backbone, weights, images, repeats)
    if gpu:
        from benchmarks.gpu import write_throughput

        click.echo(write_throughput(dataclasses.replace(setting, backgrounds=400), device,
                                    cache / "bench-gpu.md"))
        return
    names = rows.split(",")
    if unknown := set(names) - set(MEASUREMENTS):
        raise click.UsageError(f"--rows: unknown {', '.join(sorted(unknown))}; known are "
                               f"{', '.join(MEASUREMENTS)}")
    found = run_benchmarks(setting, names, cache / "bench.json",
                           lambda line: click.echo(line, err=True))
    click.echo(benchmark_table(found))
    click.echo(f"wrote {cache / 'bench.json'} and {cache / 'bench.md'}")


def _run_quietly(*words):
    """Run a command of ours in this process, without its output."""
    program = click.get_current_context().find_root().command
    with contextlib.redirect_stdout(io.StringIO()):
        program([str(word) for word in words], standalone_mode=False)
