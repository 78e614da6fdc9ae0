"""``bcct check-backgrounds``: what is wrong with a folder of background images."""

import dataclasses
from pathlib import Path

import click
import numpy as np

from common.backbones import weights_identity
from common.files import write_json
from common.mask_cache import contact_sheet
from pipelines.jobs.options import STAGE1, options
from pipelines.jobs.progress import progress_bar
from pipelines.jobs.stage1_job import Stage1Job
from stage1_bc.background_check.cross_fit import FOLDS, cross_fit
from stage1_bc.background_check.duplicates import look_alikes, same_bytes
from stage1_bc.background_check.examination import examine
from stage1_bc.background_check.shortcuts import compare
from stage1_bc.classifier import build_classifier
from stage1_bc.classifier_training import sample_targets

LISTED = 20  # findings of one kind in the terminal; the JSON file holds them all
SHOWN = 24  # pictures of one kind on the contact sheet


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
    backgrounds, targets, others = look_at_all(job, classifier)
    if len(backgrounds.records) < 4 or len(targets.records) < 4:
        raise click.ClickException(
            f"{folder}: {len(backgrounds.records)} readable backgrounds and "
            f"{len(targets.records)} readable targets are too few to compare; four are the least")
    logits = cross_fit(classifier, targets.features, backgrounds.features, job.classifier_config)
    report = make_report(job, backgrounds, targets, others, logits)
    click.echo("\n".join(describe(report)))
    output = job.cache / "backgrounds" / job.classifier_path.stem
    write_json(output / "report.json", report)
    sheet = contact_sheet.contact_sheet(sections(report, backgrounds, targets, others, logits))
    contact_sheet.save_picture(output / "contact_sheet.png", sheet)
    click.echo(f"wrote {output}")


def look_at_all(job, classifier):
    """Examinations of the backgrounds, of the targets that would be trained on, of the others."""
    training = job.targets.records
    training = [training[index] for index in sample_targets(
        len(training), job.classifier_config.max_targets, job.seed)]
    paths = {record.path for record in training}
    others = [record for record in job.images("all").records if record.path not in paths]
    examinations = []
    for records, name, looking in ((job.backgrounds.records, "backgrounds", classifier),
                                   (training, "targets", classifier),
                                   (others, "other images of the data set", None)):
        with progress_bar(len(records), name) as advance:
            examinations.append(examine(records, job.image_size, job.batch_size, job.workers,
                                        looking, job.device, advance))
    return examinations


def make_report(job, backgrounds, targets, others, logits):
    """Everything that was found, as a dict of plain values.

    Args:
        job: Stage1.
        backgrounds, targets, others: Examinations.
        logits: ((n,) of the targets, (m,) of the backgrounds), from ``cross_fit``.
    """
    return {
        "about": {"folder": str(job.background), "data": str(job.data), "dataset": job.dataset,
                  "backbone": job.backbone, "weights": weights_identity(job.weights),
                  "classifier": dataclasses.asdict(job.classifier_config), "folds": FOLDS},
        "pictures": {"backgrounds": len(backgrounds.records), "targets": len(targets.records),
                     "other_images": len(others.records)},
        "unreadable": _reasons(backgrounds),
        "unreadable_in_data_set": _reasons(targets) | _reasons(others),
        **find_duplicates(backgrounds, targets, others),
        "ranked": _ranked(backgrounds, logits[1]),
        "believed_targets": [one for one in _ranked(backgrounds, logits[1]) if one["logit"] > 0],
        "believed_backgrounds": [one for one in _ranked(targets, logits[0])[::-1]
                                 if one["logit"] <= 0],
        "enlarged": {"frame": job.image_size, **{
            name: int((looked.shorter_sides < job.image_size).sum())
            for name, looked in (("targets", targets), ("backgrounds", backgrounds))}},
        "comparisons": [
            {**dataclasses.asdict(one), "telling": one.telling, "sentence": one.sentence()}
            for one in comparisons(targets, backgrounds)],
    }


def comparisons(targets, backgrounds):
    """What could tell the two Examinations apart without looking at content."""
    measures = (("size in pixels", "pixels"), ("sharpness (variance of the Laplacian)",
                                               "sharpness"),
                ("fine detail (finest part of the spectrum)", "fine_detail"))
    return [compare(name, getattr(targets, field), getattr(backgrounds, field))
            for name, field in measures]


def find_duplicates(backgrounds, targets, others):
    """Pictures that are there twice, among the backgrounds and in the data set, as plain lists."""
    own, data = backgrounds.records, targets.records + others.records
    names = [record.image_id for record in own + data]
    groups = same_bytes([record.path for record in own + data], first=len(own))
    same = {pair for group in groups for pair in _pairs(group)}
    hashes = np.concatenate([targets.hashes, others.hashes])
    within = [(first, second, bits) for first, second, bits in look_alikes(backgrounds.hashes)
              if (first, second) not in same]
    across = [(first, len(own) + second, bits)
              for first, second, bits in look_alikes(backgrounds.hashes, hashes)
              if (first, len(own) + second) not in same]
    inside = [[index for index in group if index < len(own)] for group in groups]
    return {
        "same_bytes": [[names[index] for index in group] for group in inside if len(group) > 1],
        "look_alikes": _named(within, names),
        "same_bytes_in_data_set": [[names[index] for index in group] for group in groups
                                   if group[-1] >= len(own)],
        "look_alikes_in_data_set": _named(across, names),
    }


def _pairs(group):
    return [(first, second) for place, first in enumerate(group) for second in group[place + 1:]]


def _named(pairs, names):
    return [{"first": names[first], "second": names[second], "bits": bits}
            for first, second, bits in pairs]


def _ranked(examination, logits):
    """Pictures by logit, the highest first."""
    return [{"image_id": examination.records[index].image_id, "logit": float(logits[index])}
            for index in np.argsort(-logits, kind="stable")]


def _reasons(examination):
    return {record.image_id: error.reason for record, error in examination.bad}


def describe(report):
    """The report as lines of text."""
    counts, enlarged = report["pictures"], report["enlarged"]
    lines = [f"{counts['backgrounds']:,} readable backgrounds, held against {counts['targets']:,} "
             f"targets and {counts['other_images']:,} other images of the data set"]
    lines += _listed("unreadable", [f"{name!r}: {reason}"
                                    for name, reason in report["unreadable"].items()])
    if report["unreadable_in_data_set"]:
        lines.append(f"unreadable in the data set: {len(report['unreadable_in_data_set']):,}")
    lines += _listed("exact duplicates", [", ".join(map(repr, group))
                                          for group in report["same_bytes"]])
    lines += _listed("look-alikes", _look_alike_lines(report["look_alikes"]))
    lines += _listed("also in the data set", [
        ", ".join(map(repr, group)) for group in report["same_bytes_in_data_set"]])
    lines += _listed("look like an image of the data set",
                     _look_alike_lines(report["look_alikes_in_data_set"]))
    lines += _listed(
        "seem to hold a target, the surest first, by classifiers that were not trained on them",
        [f"{one['image_id']!r}: logit {one['logit']:+.1f}" for one in report["believed_targets"]])
    lines.append(f"targets that seem to be backgrounds: {len(report['believed_backgrounds']):,} of "
                 f"{counts['targets']:,}")
    lines += [one["sentence"] for one in report["comparisons"]]
    lines.append(f"enlarged to the frame of {enlarged['frame']} pixels: {enlarged['backgrounds']:,}"
                 f" of {counts['backgrounds']:,} backgrounds, {enlarged['targets']:,} of "
                 f"{counts['targets']:,} targets")
    return lines


def _listed(heading, entries):
    lines = [f"{heading}: {len(entries):,}"] + [f"  {entry}" for entry in entries[:LISTED]]
    if len(entries) > LISTED:
        lines.append(f"  ... and {len(entries) - LISTED:,} more in report.json")
    return lines


def _look_alike_lines(pairs):
    return [f"{pair['first']!r}, {pair['second']!r}: {pair['bits']} of 256 bits differ"
            for pair in pairs]


def sections(report, backgrounds, targets, others, logits):
    """The contact sheet's parts, for ``contact_sheet``."""
    own = {record.image_id: record for record in backgrounds.records}
    data = {record.image_id: record for record in targets.records + others.records}
    surest = np.argsort(-logits[1], kind="stable")[:SHOWN]
    doubted = np.argsort(logits[0], kind="stable")[:SHOWN]
    softest = np.argsort(backgrounds.fine_detail, kind="stable")[:SHOWN]
    return [
        ("backgrounds most like a target (logit of a classifier that has not seen them)",
         _tiles(backgrounds.records, surest, logits[1])),
        ("targets most like a background", _tiles(targets.records, doubted, logits[0])),
        ("backgrounds with the least fine detail",
         _tiles(backgrounds.records, softest, backgrounds.fine_detail)),
        ("backgrounds twice in the folder", _pair_tiles(
            report["same_bytes"], report["look_alikes"], own, own)),
        ("background, and the same in the data set", _pair_tiles(
            report["same_bytes_in_data_set"], report["look_alikes_in_data_set"], own, data)),
    ]


def _tiles(records, chosen, values):
    return [contact_sheet.tile(records[index], caption=(
        f"{values[index]:+.2f} {contact_sheet.short_name(records[index].image_id)}"))
            for index in chosen]


def _pair_tiles(groups, pairs, first, second):
    """Tiles two by two: the first and the last of each group, then each pair."""
    shown = [(group[0], group[-1]) for group in groups]
    shown += [(pair["first"], pair["second"]) for pair in pairs]
    return [contact_sheet.tile(records[name], caption=contact_sheet.short_name(name))
            for pair in shown[:SHOWN // 2] for records, name in zip((first, second), pair)]
