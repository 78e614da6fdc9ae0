"""``bcct check-backgrounds``: find problems in a folder of background images."""

import click

from common.files import require_writable, write_json
from common.mask_cache.contact_sheet import contact_sheet, save_picture
from pipelines.jobs import options
from pipelines.jobs.terminal import TERMINAL
from stage1_bc.background_check.cross_fit import cross_fit
from stage1_bc.background_check.examination import examine_all
from stage1_bc.background_check.findings import background_report
from stage1_bc.background_check.views import report_lines, report_sections
from stage1_bc.stage1_job import Stage1Job, classifier_name


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
    job = Stage1Job.from_options(background=folder, reports=TERMINAL, **arguments)
    classifier, examined = examine_all(job)
    backgrounds, targets, _ = examined
    if len(backgrounds.records) < 4 or len(targets.records) < 4:
        raise click.ClickException(
            f"{folder}: {len(backgrounds.records)} readable backgrounds and "
            f"{len(targets.records)} readable targets are too few to compare; at least four "
            "of each are needed")
    logits = cross_fit(classifier, targets.features, backgrounds.features, job.settings.config)
    report = background_report(*examined, logits, job)
    click.echo("\n".join(report_lines(report)))
    output = job.cache / "backgrounds" / classifier_name(job)
    write_json(output / "report.json", report)
    save_picture(output / "contact_sheet.png",
                 contact_sheet(report_sections(report, *examined, logits)))
    click.echo(f"wrote {output}")
