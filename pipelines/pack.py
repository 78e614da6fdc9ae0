"""``bcct pack``: a trained model in one file, or as ONNX."""

import click

from common.artefacts import RUNS, resolve
from common.compute import choose_compute
from pipelines.jobs import options
from stage2_ct.localizer import Localizer, load_model
from stage2_ct.model_file import write_model
from stage2_ct.onnx_file import onnx_kind, write_onnx


@options.grouped_command("pack")
@click.argument("run")
@click.option("--out", required=True, type=options.PATH,
              help="File to write, such as model.pt, or model.onnx with --onnx.")
@click.option("--onnx", "as_onnx", is_flag=True,
              help="Write ONNX instead: image in [0, 1] to class logits and score map.")
@click.option("--tau", type=click.FloatRange(0, 1), help="Threshold to pack.  [default: the run's "
              "own]")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@options.options("cache")
def command(run, out, as_onnx, tau, overwrite, cache):
    """Put a trained model into one file that localizes without any other.

    RUN is a training run's folder, the beginning of its name in CACHE/ct, or a packed file (to
    write it as ONNX). The file holds weights, classes, preprocessing and tau; bcct localize and
    bcct.load take it in the place of the run.
    """
    if out.is_dir():
        raise click.UsageError(f"{out} is a folder, and the model is a file: name one, such as "
                               f"{out / 'model.pt'}")
    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} is there already: name another file, or add --overwrite")
    model = load_model(resolve(run, cache / RUNS, "run"), tau)
    if not as_onnx:
        write_model(out, model)
    else:
        localizer = Localizer(model, choose_compute("cpu", workers=0))
        write_onnx(out, localizer)
        if onnx_kind(localizer) != localizer.score_map:
            click.echo("ONNX gives the whole mask map; bcct localize cuts boxes from the part that "
                       "is connected with the class's peak")
    click.echo(f"wrote {out} ({out.stat().st_size / 2 ** 20:.1f} MiB), tau "
               f"{model.localization['tau']:.2f}")
