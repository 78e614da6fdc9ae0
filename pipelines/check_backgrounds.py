"""``bcct check-backgrounds``: what is wrong with a folder of background images."""

import dataclasses
from pathlib import Path

import click

from common.backbones import weights_identity
from common.files import write_json
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from pipelines.jobs.options import STAGE1, options
from pipelines.jobs.progress import progress_bar
from pipelines.stage1 import Stage1
from stage1_bc.background_check.cross_fit import FOLDS, cross_fit
from stage1_bc.background_check.examination import examine
from stage1_bc.background_check.findings import background_report
from stage1_bc.background_check.views import report_lines, report_sections
from stage1_bc.classifier import build_classifier
from stage1_bc.classifier_training import sample_targets


@click.command("check-backgrounds")
@click.argument("folder", type=click.Path(path_type=Path))
@options(*(name for name in STAGE1 if name != "background"))
def command(folder, **arguments):
    """Check FOLDER of background images against a data set; changes nothing in either.

    Looks for unreadable files, duplicates, pictures that are in the data set too, pictures that
    seem to hold a target, and for sharpness and size that give backgrounds away. Trains
    classifiers of its own for that, each judging pictures it has not seen. Writes report.json and
    contact_sheet.png into CACHE/backgrounds/NAME/.
    """
    job = Stage1(background=folder, **arguments)
    classifier = build_classifier(job.backbone, job.weights, job.head, job.image_size)
    classifier.to(job.device).eval()
    backgrounds, targets, others = examined = _examine_all(job, classifier)
    if len(backgrounds.records) < 4 or len(targets.records) < 4:
        raise click.ClickException(
            f"{folder}: {len(backgrounds.records)} readable backgrounds and "
            f"{len(targets.records)} readable targets are too few to compare; four are the least")
    logits = cross_fit(classifier, targets.features, backgrounds.features, job.classifier_config)
    report = background_report(*examined, logits, job.image_size, _about(job))
    click.echo("\n".join(report_lines(report)))
    output = job.cache / "backgrounds" / job.classifier_path.stem
    write_json(output / "report.json", report)
    save_picture(output / "contact_sheet.png",
                 contact_sheet(report_sections(report, *examined, logits)))
    click.echo(f"wrote {output}")


def _examine_all(job, classifier):
    """Examinations of the backgrounds, of the targets to train on, and of all other images."""
    training = job.targets.records
    training = [training[index] for index in sample_targets(
        len(training), job.classifier_config.max_targets, job.seed)]
    paths = {record.path for record in training}
    others = [record for record in job.images("all").records if record.path not in paths]
    examinations = []
    for records, name, judge in ((job.backgrounds.records, "backgrounds", classifier),
                                 (training, "targets", classifier),
                                 (others, "other images of the data set", None)):
        with progress_bar(len(records), name) as advance:
            examinations.append(examine(records, job.image_size, job.batch_size, job.workers,
                                        judge, job.device, advance))
    return examinations


def _about(job):
    return {"folder": str(job.background), "data": str(job.data), "dataset": job.dataset,
            "backbone": job.backbone, "weights": weights_identity(job.weights),
            "classifier": dataclasses.asdict(job.classifier_config), "folds": FOLDS}
