"""``bcct evaluate``: localize with a trained model, or score anybody's score maps."""

import datetime

import click

from common.artefacts import MASKS, RUNS, resolve
from common.backbones import require_side
from common.boxes import LARGEST_SIDE
from common.datasets import open_dataset
from common.files import require_writable
from evaluation.localization import Protocol
from evaluation.report import figures_as_text, require_report_folder, write_report
from evaluation.report_building import report_of_folder
from pipelines.jobs import options
from pipelines.jobs.evaluating import (RunLocalization, evaluate, record_tau, record_where_same,
                                       records_tau, report_of_runs, told_apart)
from pipelines.jobs.run_choice import find_run, job_of_run, open_run
from pipelines.jobs.terminal import report_bad_images
from pipelines.jobs.training_job import SOURCES, TrainingJob, trained
from stage1_bc.mask_choice import open_named_masks
from stage2_ct.run import load_run
from stage2_ct.score_maps import SCORE_MAPS

DECIDED_BY_RUN = set(options.STAGE2) - {"data", "dataset", "cache", *options.COMPUTE, "variant",
                                        "masks"}


def _read_tau_source(value):
    if value not in ("masks", "val", "test") and not 0 <= float(value) <= 1:
        raise ValueError
    return value


TAU_SOURCE = options.Checked("masks|val|test|NUMBER", _read_tau_source,
                             "must be masks, val, test or a number from 0 to 1")


@options.grouped_command("evaluate")
@click.argument("run", required=False)
@options.options(*options.STAGE2, "on_bad_image")
@click.option("--split", type=options.SPLIT, default="test", show_default=True,
              help="Images to evaluate.")
@click.option("--score-map", type=click.Choice(SCORE_MAPS),
              help="What a box is cut from.  [default: the variant's own]")
@click.option("--box-rule", type=click.Choice(["largest", "wsol"]), default="largest",
              show_default=True, help="How a score map becomes a box: our rule or Choe et al.'s.")
@click.option("--tau-from", default="masks", show_default=True, type=TAU_SOURCE,
              help="What tau is chosen on. masks: the training images' cached masks, no box is "
              "used; val: a few boxes per class; test: the test boxes, an oracle; or a number.")
@click.option("--boxes-per-class", type=click.IntRange(1), default=5, show_default=True,
              help="Boxes per class that --tau-from val uses.")
@click.option("--input-size", type=click.IntRange(16, LARGEST_SIDE),
              help="Side of the square that images are squashed to.  [default: 9/7 of training's, "
              "whose random crops show objects larger]")
@click.option("--seeds", type=options.SEEDS, default="",
              help="Train (if needed) and evaluate with each seed; gives mean and standard "
              "deviation.")
@click.option("--beside", metavar="RUN", help="Another run to show next to this one.")
@click.option("--scoremaps", type=options.PATH,
              help="Score the .npy files of this folder instead of a run; needs --metadata, or "
              "--data, and --tau-from test or a number.")
@click.option("--metadata", type=options.PATH,
              help="wsolevaluation's four files for the score maps.")
@click.option("--out", type=options.PATH, help="Folder of the report.  [default: RUN/report]")
@click.option("--record", is_flag=True, help="Make bcct localize cut the run's boxes as here. "
              "Without it, tau is recorded only where boxes are cut as before (the same variant, "
              "score map and input size).")
def command(run, split, score_map, box_rule, tau_from, boxes_per_class, input_size, seeds, beside,
            scoremaps, metadata, out, record, on_bad_image, **arguments):
    """Localize with a trained model and write report.json, boxes.csv and report.html.

    RUN is the folder of a training run, or the beginning of its name in CACHE/ct. It needs only
    the data set, and the training images' masks if tau is chosen on them. Without RUN, the run in
    CACHE that the given options made is taken.
    """
    protocol = Protocol(split, score_map, box_rule, tau_from, boxes_per_class, input_size)
    unreadable = {}
    _refuse_idle(protocol, scoremaps is not None, record)
    if scoremaps is not None:
        if out is None:
            raise click.UsageError("--scoremaps needs --out, the folder of the report")
        _require_free(out)
        report = _score_folder(scoremaps, metadata, arguments, protocol, unreadable)
    else:
        runs, localization = _trained_runs(run, seeds, protocol, unreadable, arguments)
        out = out or runs[0].run.folder / "report"
        _require_free(out)
        other = beside and _other_run(beside, arguments["cache"], runs[0], localization)
        main = evaluate(runs, localization, record_tau if record else record_where_same)
        if other:
            main, other = told_apart(main, evaluate([other], localization))
        report = report_of_runs(main, localization, other, {
            "command": options.command_line(), "date": f"{datetime.date.today()}"})
    page = write_report(out, report)
    click.echo(figures_as_text(report))
    click.echo(f"wrote {page}")
    report_bad_images(unreadable, on_bad_image)


def _require_free(out):
    """Make sure, before any work, that the report can be written and replaces nothing else."""
    require_writable(out)
    require_report_folder(out)


def _refuse_idle(protocol, of_score_maps, record):
    """Refuse options that would do nothing."""
    given = options.given_options()
    if of_score_maps:
        idle = given & {"run", "score_map", "boxes_per_class", "input_size", "seeds", "beside",
                        "record", "masks"}
        because = "with --scoremaps, nothing is localized here"
    else:
        idle = given & {"metadata", *(() if protocol.tau_from == "val" else ("boxes_per_class",))}
        because = "--metadata is for --scoremaps, --boxes-per-class for --tau-from val"
    if idle:
        listed = ", ".join("RUN" if name == "run" else options.spelled(name)
                           for name in sorted(idle))
        raise click.UsageError(f"{because}: leave out {listed}")
    if record and not records_tau(protocol):
        raise click.UsageError("--record cannot be used with --tau-from test or --box-rule wsol")


def _other_run(named, cache, run, localization):
    folder = resolve(named, cache / RUNS, "run")
    other = load_run(folder, localization.compute.device)
    if folder.resolve() == run.run.folder.resolve() and other.variant == run.variant:
        raise click.UsageError(f"--beside names the run itself, {folder}; name another one")
    if other.classes != run.classes:
        raise click.UsageError(f"--beside: {folder} was trained on other classes than "
                               f"{run.run.folder}")
    return other


def _trained_runs(run, seeds, protocol, unreadable, arguments):
    """The finished runs, one per seed, and what they are evaluated on."""
    cache, given = arguments["cache"], options.given_options()
    if run is None:
        options.require_options(arguments, "data")
        job = TrainingJob.from_options(**arguments)
        if seeds:
            runs = [trained(TrainingJob.from_options(images=job.images,
                                                     **{**arguments, "seed": seed}))
                    for seed in seeds]
        else:
            runs = [load_run(find_run(job).folder, job.compute.device, job.variant)]
        localization = RunLocalization(
            runs[0].images(arguments["data"], arguments["dataset"], click.echo), protocol,
            job.compute, [cache / MASKS], unreadable=unreadable)
    else:
        if decided := sorted(DECIDED_BY_RUN & given):
            raise click.UsageError(
                f"the run itself decides {', '.join(map(options.spelled, decided))}: leave "
                "that out, or leave RUN out to look for the run that these options made")
        named, images, compute = open_run(
            run, variant=arguments["variant"] if "variant" in given else None, **{
                name: arguments[name] for name in ("cache", "data", "dataset", *options.COMPUTE)})
        localization = RunLocalization(images, protocol, compute, [cache / MASKS],
                                       unreadable=unreadable)
        runs = [named if seed == named.seed else trained(job_of_run(
            named, localization.training_images(named), compute, cache, seed))
            for seed in seeds] or [named]
        if arguments["masks"] not in SOURCES:
            localization.named_masks = open_named_masks(
                arguments["masks"], cache, named.manifest["mask_settings"]["delta"],
                localization.training_images(named))
    if protocol.input_size is not None:
        require_side(protocol.input_size, runs[0].manifest["description"]["backbone"],
                     runs[0].config.fine)
    return runs, localization


def _score_folder(folder, metadata, arguments, protocol, unreadable):
    """The Report of a folder of score maps; images of unknown size go to ``unreadable``."""
    if protocol.tau_from in ("masks", "val"):
        raise click.UsageError("score maps in a folder need --tau-from test (an oracle) or a "
                               "number")
    if metadata is None and arguments["data"] is None:
        raise click.UsageError("--scoremaps needs --metadata, or --data")
    return report_of_folder(folder, protocol, metadata or open_dataset(
        arguments["dataset"] or "auto", arguments["data"], protocol.split), unreadable)
