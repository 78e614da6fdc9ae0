"""``bcct train-ct``: train a classification model under labels and masks."""

import click

from common import processes
from common.backbones import weights_source
from common.images import BadImage
from common.system_errors import CannotWrite
from pipelines.jobs import options
from pipelines.jobs.evaluating import localization_of, record_tau
from pipelines.jobs.terminal import report_bad_images
from pipelines.jobs.training_job import SOURCES, TrainingJob, note_on_recipe, plan, train
from stage1_bc.mask_settings import describe_masks, require_agreement
from stage2_ct.run import load_run, losses_of
from stage2_ct.tensorboard_log import TensorBoardLog


@options.grouped_command("train-ct")
@options.options(*options.STAGE2, "on_bad_image")
@click.option("--resume", is_flag=True, help="Resume a stopped run after its last epoch.")
@click.option("--tensorboard", is_flag=True, help="Also write losses, rates and a few pictures "
              "with their score maps to RUN/tensorboard, for TensorBoard to show.")
def command(resume, tensorboard, on_bad_image, **arguments):
    """Train one variant with one seed, under masks of bcct masks or bcct refine-masks.

    Finished masks need nothing of what made them: --background is for --masks online and joint, to
    tell several masks apart, and to warn of masks made with other background images. At the end
    tau, the threshold that boxes are cut at, is chosen from the masks. Writes
    CACHE/ct/VARIANT-sSEED-KEY/: config.json, log.jsonl, last.pt. Under torchrun, the processes
    share each batch.
    """
    options.require_options(arguments, "data")
    with processes.process_group(f"{processes.AGAIN}, with --resume"):
        job = TrainingJob.from_options(**arguments)
        planned = plan(job)
        if job.masks not in SOURCES:
            require_agreement(planned.cache, job.stage1.settings, arguments,
                              options.given_options())
        if planned.supervision is not None and processes.rank() == 0:
            click.echo(describe_masks(planned.supervision))
        if note := note_on_recipe(job):
            click.echo(note)
        if planned.run.checkpoint.is_file() and not resume:
            raise click.ClickException(
                f"{planned.run.folder} has been trained already, wholly or in part; add --resume "
                "to continue it, or remove it to start again")
        if processes.rank() == 0:
            click.echo(weights_source(job.backbone, job.weights))
        held = _recorded_tau(planned)
        _train(planned, _tensorboard(planned) if tensorboard else None)
        if processes.rank() == 0:
            click.echo(held or _choose_tau(planned))
            _report(planned.run)
            report_bad_images(planned.run.manifest()["unreadable"], on_bad_image)


def _tensorboard(planned):
    """What writes each epoch for TensorBoard; None in processes that log nothing."""
    if processes.rank() > 0:
        return None
    job = planned.job
    return TensorBoardLog(planned.run.folder / "tensorboard", job.images.split("train").records,
                          job.config, job.compute.device)


def _train(planned, on_epoch=None):
    """Train; an error says how to continue."""
    try:
        train(planned, on_epoch)
    except CannotWrite as error:  # its advice is also to run the same command again
        raise click.ClickException(f"{error}, with --resume") from error
    except BadImage as error:
        otherwise = (f"remove {planned.run.folder} to start again without it"
                     if planned.supervision is None else
                     "make the masks again, which says how to do without it")
        raise click.ClickException(f"{error} It could be read before: put it back and continue "
                                   f"with --resume, or {otherwise}") from error


def _recorded_tau(planned):
    """A sentence on the tau of a run that is finished already; None where it has none."""
    run, job = planned.run, planned.job
    if not run.checkpoint.is_file() or len(run.logged()) < job.config.epochs:
        return None
    held = run.manifest().get("localization")
    return held and (f"the run keeps tau {held['tau']:.2f}, chosen for the variant "
                     f"{held['variant']}; bcct evaluate {run.folder} --variant {job.variant} "
                     "--record replaces it")


def _choose_tau(planned):
    """Choose tau from the run's masks and record it, which takes a part of an epoch; says what."""
    job = planned.job
    if planned.cache is None or not planned.cache.any_valid:
        return ("tau is not chosen yet, which takes valid masks of the training images: make them "
                "with bcct masks, and bcct evaluate chooses it, or state one with bcct localize "
                "--tau")
    localization = localization_of(job, masks=planned.cache,
                                   unreadable=dict(planned.run.manifest()["unreadable"]))
    trained = load_run(planned.run.folder, job.compute.device, job.variant)
    choice = localization.choose_tau(trained)
    record_tau(trained, choice, localization)
    return f"tau {choice.tau:.2f}, from masks: {choice.note}"


def _report(run):
    """The last epoch's losses, where the run is, and the next command."""
    for last in run.logged()[-1:]:  # none where somebody removed the log
        losses = ", ".join(f"{name} loss {value:.4f}" for name, value in losses_of(last).items())
        click.echo(f"epoch {last['epoch']}: {losses}")
    click.echo(f"next: bcct evaluate {run.folder}, or bcct localize {run.folder} PICTURES --out "
               "FOLDER")
    click.echo(f"wrote {run.folder}")
