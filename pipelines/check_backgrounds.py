"""``bcct check-backgrounds``: find problems in a folder of background images."""

import dataclasses

import click

from common.files import require_writable, write_json
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from common.stored_weights import weights_identity
from pipelines.jobs import options
from pipelines.jobs.progress_bar import progress_bar
from pipelines.jobs.stage1_job import Stage1Job, classifier_name
from stage1_bc.background_check.cross_fit import FOLDS, cross_fit
from stage1_bc.background_check.examination import examine
from stage1_bc.background_check.findings import background_report
from stage1_bc.background_check.views import report_lines, report_sections
from stage1_bc.classifier import build_classifier
from stage1_bc.classifier_training import sample_targets


@options.grouped_command("check-backgrounds")
@click.argument("folder", type=options.PATH)
@options.options(*(name for name in options.STAGE1 if name != "background"))
def command(folder, **arguments):
    """Check FOLDER of background images against a data set; changes nothing in either.

    Looks for unreadable files, duplicates, pictures that are in the data set too, pictures that
    seem to hold a target, and for sharpness and size that give backgrounds away. Trains separate
    classifiers for that; each judges only pictures it was not trained on. Writes report.json and
    contact_sheet.png into CACHE/backgrounds/NAME/.
    """
    options.require_options(arguments, "data")
    require_writable(arguments["cache"] / "backgrounds")
    job = Stage1Job.from_options(background=folder, **arguments)
    settings = job.settings
    classifier = build_classifier(settings.backbone, settings.weights, settings.config.head,
                                  settings.config.image_size)
    classifier.to(job.compute.device).eval()
    backgrounds, targets, others = examined = _examine_all(job, classifier)
    if len(backgrounds.records) < 4 or len(targets.records) < 4:
        raise click.ClickException(
            f"{folder}: {len(backgrounds.records)} readable backgrounds and "
            f"{len(targets.records)} readable targets are too few to compare; at least four "
            "of each are needed")
    logits = cross_fit(classifier, targets.features, backgrounds.features, settings.config)
    report = background_report(*examined, logits, settings.config.image_size,
                               _about(job))
    click.echo("\n".join(report_lines(report)))
    output = job.cache / "backgrounds" / classifier_name(job)
    write_json(output / "report.json", report)
    save_picture(output / "contact_sheet.png",
                 contact_sheet(report_sections(report, *examined, logits)))
    click.echo(f"wrote {output}")


def _examine_all(job, classifier):
    """Examinations of the backgrounds, of the targets to train on, and of all other images."""
    config, compute = job.settings.config, job.compute
    training = job.images.split("train").records
    training = [training[index] for index in sample_targets(
        len(training), config.max_targets, config.seed)]
    ids = {record.image_id for record in training}
    others = [record for record in job.images.split("all").records if record.image_id not in ids]
    examinations = []
    for records, name, judge in ((job.backgrounds.records, "backgrounds", classifier),
                                 (training, "targets", classifier),
                                 (others, "other images of the data set", None)):
        with progress_bar(len(records), name) as advance:
            examinations.append(examine(
                records, config.image_size, compute.batch_size, compute.workers, judge,
                compute.device, advance))
    return examinations


def _about(job):
    return {"folder": str(job.backgrounds.root), "data": str(job.images.root),
            "dataset": job.images.split("train").name, "backbone": job.settings.backbone,
            "weights": weights_identity(job.settings.weights),
            "classifier": dataclasses.asdict(job.settings.config), "folds": FOLDS}
