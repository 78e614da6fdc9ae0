"""``bcct evaluate``: localize with a trained model, or score anybody's score maps."""

from pathlib import Path

import click

from common.datasets import open_dataset
from evaluation.evaluator import Evaluator
from evaluation.references import reference_rows
from evaluation.report import Method, Report, write_report
from evaluation.scoremaps import evaluate_folder, read_metadata, read_score_map
from evaluation.threshold import fixed_tau, tau_oracle
from evaluation.truth import truths_from_dataset
from pipelines.jobs.bad_images import report_bad_images
from pipelines.jobs.localizing import Protocol
from pipelines.jobs.options import STAGE2, options, parse_seeds
from pipelines.jobs.reporting import build_report, evaluate
from pipelines.stage2 import Stage2, train
from stage2_ct.score_maps import SCORE_MAPS

_PATH = click.Path(path_type=Path)


def _tau_source(context, parameter, value):
    """masks, val, test, or a number in [0, 1]; anything else is refused."""
    if value in ("masks", "val", "test"):
        return value
    try:
        if 0 <= float(value) <= 1:
            return value
    except ValueError:
        pass
    raise click.BadParameter("must be masks, val, test or a number from 0 to 1")


@click.command("evaluate")
@click.argument("run", type=_PATH, required=False)
@options(*STAGE2, "on_bad_image")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="test",
              show_default=True, help="Images that the figures are of.")
@click.option("--score-map", type=click.Choice(SCORE_MAPS),
              help="What a box is cut from.  [default: the variant's own]")
@click.option("--box-rule", type=click.Choice(["largest", "wsol"]), default="largest",
              show_default=True, help="How a score map becomes a box: our rule or Choe et al.'s.")
@click.option("--tau-from", default="masks", show_default=True, callback=_tau_source,
              help="masks: the training images' cached masks, no box looked at; val: a few boxes a "
              "class; test: the field's habit, an oracle; or a number.")
@click.option("--boxes-per-class", type=click.IntRange(1), default=5, show_default=True,
              help="Boxes a class that --tau-from val looks at.")
@click.option("--input-size", type=click.IntRange(16),
              help="Side of the square that images are squashed to.  [default: 9/7 of training's, "
              "whose random crops show objects larger]")
@click.option("--seeds", callback=parse_seeds, metavar="0,1,2",
              help="Train (where need be) and evaluate with each seed; gives mean and standard "
              "deviation.")
@click.option("--beside", type=_PATH, help="Folder of another run to show beside this one.")
@click.option("--scoremaps", type=_PATH,
              help="Score the .npy files of this folder instead of a run; needs --metadata, or "
              "--dataset and --data, and --tau-from test or a number.")
@click.option("--metadata", type=_PATH, help="wsolevaluation's four files for the score maps.")
@click.option("--out", type=_PATH, help="Folder of the report.  [default: RUN/report]")
def command(run, split, score_map, box_rule, tau_from, boxes_per_class, input_size, seeds, beside,
            scoremaps, metadata, out, on_bad_image, **arguments):
    """Localize with a trained model and write report.json, boxes.csv and report.html.

    RUN is the folder of a training run; without it, give the options it was trained with.
    """
    protocol = Protocol(split, score_map, box_rule, tau_from, boxes_per_class, input_size)
    unreadable = {}
    if scoremaps is not None:
        if out is None:
            raise click.UsageError("--scoremaps needs --out, the folder of the report")
        report = _score_folder(scoremaps, metadata, arguments, protocol, unreadable)
    else:
        job = Stage2.from_run(run) if run else _job_of_options(arguments)
        jobs = [job.with_seed(seed) for seed in seeds] or [job]
        if seeds:
            for each in jobs:
                train(each)
        main = evaluate(jobs, protocol, unreadable)
        other = evaluate([Stage2.from_run(beside)], protocol, unreadable) if beside else None
        report = build_report(main, other, protocol, unreadable)
        out = out or jobs[0].run.folder / "report"
    page = write_report(out, report)
    click.echo(describe(report))
    click.echo(f"wrote {page}")
    report_bad_images(unreadable, on_bad_image)


# With RUN or --scoremaps these two are not needed; otherwise _job_of_options asks for them.
for _parameter in command.params:
    if _parameter.name in ("data", "background"):
        _parameter.required = False


def _job_of_options(arguments):
    for name in ("data", "background"):
        if arguments[name] is None:
            raise click.UsageError(f"give the folder of a run, or --{name} and the other options "
                                   "that it was trained with")
    return Stage2.from_options(**arguments)


def _score_folder(folder, metadata, arguments, protocol, unreadable):
    """The Report of a folder of score maps; images of unknown size go to ``unreadable``."""
    if protocol.tau_from in ("masks", "val"):
        raise click.UsageError("score maps in a folder need --tau-from test (an oracle) or a "
                               "number")
    if metadata is not None:
        truths, name, classes = read_metadata(metadata), metadata.name, ()
    elif arguments["data"] is not None:
        dataset = open_dataset(arguments["dataset"], arguments["data"], protocol.split)
        truths = truths_from_dataset(dataset, unreadable)
        if not truths:
            raise ValueError(f"none of the images in {dataset.root} can be read")
        name, classes = dataset.name, dataset.classes
    else:
        raise click.UsageError("--scoremaps needs --metadata, or --dataset and --data")
    size = read_score_map(folder, truths[0].image_id).shape
    stated = None if protocol.tau_from == "test" else float(protocol.tau_from)
    evaluator = Evaluator(truths, rule=protocol.box_rule, size=size, tau=stated,
                          class_names=classes or None)
    evaluate_folder(evaluator, folder)
    choice = tau_oracle(evaluator) if stated is None else fixed_tau(stated)
    return Report(f"score maps {folder.name}", name, protocol.split, classes,
                  Method(folder.name, evaluator.compute(choice)),
                  references=reference_rows(truths, rule=protocol.box_rule, size=size),
                  unreadable=unreadable)


def describe(report):
    """The report's figures as lines of text."""
    lines = []
    for method in filter(None, (report.method, report.beside)):
        result = method.result
        lines.append(f"{method.name}: {result.images} images, box rule {result.box_rule}, tau "
                     f"{result.tau.tau:.2f} from {result.tau.source}")
        for name, figure in result.metrics.items():
            line = (f"  {name:20}{100 * figure.value:7.2f}   [{100 * figure.low:.2f}, "
                    f"{100 * figure.high:.2f}]")
            if name in method.over_seeds:
                mean, deviation = method.over_seeds[name]
                line += (f"   {100 * mean:.2f} +- {100 * deviation:.2f} over seeds "
                         f"{', '.join(map(str, method.seeds))}")
            lines.append(line)
        lines.extend(f"  {warning}" for warning in result.warnings)
    return "\n".join(lines)
