"""What ``evaluate`` puts into a report: figures, pictures like Fig. 3 and like Fig. 4."""

import dataclasses
import hashlib

import numpy as np
import torch

from common.datasets import Record
from common.images import image_size, read_image
from common.loading import to_float
from common.mask_cache.manifest import MANIFEST, read_manifest
from evaluation.bootstrap import seeds_summary
from evaluation.mask_figures import mask_figures
from evaluation.references import reference_rows
from evaluation.report import (GalleryItem, GradientItem, Method, Report, View,
                               pick_gallery)
from evaluation.truth import truths_from_dataset
from pipelines.jobs.localizing import (Protocol, localize, mask_truths,
                                       scored_batches)
from pipelines.stage1 import mask_maker
from pipelines.stage2 import Stage2, load_trained
from stage1_bc.cutting import cut
from stage1_bc.gradient_maps import backbone_gradient

THUMBNAIL = 320  # longest side of a picture in the report, in pixels
GRADIENTS = 6  # rows like those of Fig. 3


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A variant, trained with one seed or several, and what it found."""

    job: Stage2
    """The first seed's."""
    method: torch.nn.Module
    """The first seed's trained method."""
    entry: Method
    """Its figures, as the report wants them."""


def evaluate(jobs, protocol=Protocol(), unreadable=None):
    """Figures of one variant over its seeds.

    Args:
        jobs: list of Stage2 that differ in their seed only, all trained.
        protocol: Protocol.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; such
            images are left out. None ends at the first.

    Returns:
        Evaluated.
    """
    methods = [load_trained(job) for job in jobs]
    results = [localize(job, method, protocol, unreadable) for job, method in zip(jobs, methods)]
    over_seeds = {}
    if len(jobs) > 1:
        over_seeds = seeds_summary([{name: figure.value for name, figure in result.metrics.items()}
                                    for result in results])
    job = jobs[0]
    entry = Method(
        job.variant, results[0], tuple(each.seed for each in jobs), over_seeds,
        hashes={"masks": job.description["masks"], "dataset": job.description["dataset"],
                **{f"checkpoint of seed {each.seed}": file_digest(each.run.checkpoint)
                   for each in jobs}},
        settings={"backbone": job.backbone, "score_map": protocol.score_map or job.config.score_map,
                  "input_size": protocol.input_side(job.config), **job.description["config"]})
    return Evaluated(job, methods[0], entry)


def build_report(main, beside=None, protocol=Protocol(), unreadable=None):
    """The Report of a variant, and of another one beside it.

    Args:
        main, beside: Evaluated on the same images; ``beside`` may be None.
        protocol: Protocol that both were evaluated with.
        unreadable: dict from the ids of images that could not be read to the reason, or None.
    """
    job, unreadable = main.job, unreadable or {}
    dataset = job.stage1.images(protocol.split)
    dataset = dataclasses.replace(dataset, records=tuple(
        record for record in dataset.records if record.image_id not in unreadable))
    truths = truths_from_dataset(dataset)
    references = reference_rows(truths, rule=protocol.box_rule, tuning=mask_truths(job),
                                size=(job.config.image_size,) * 2)
    return Report(
        title=f"{job.variant} on {dataset.name}", dataset=dataset.name, split=protocol.split,
        class_names=dataset.classes, method=main.entry,
        beside=None if beside is None else beside.entry, references=references,
        masks=_masks_of(job, dataset), gradients=_gradients(job, dataset),
        gallery=_gallery(dataset, truths, [main, beside] if beside else [main], protocol),
        unreadable=unreadable)


def _masks_of(job, dataset):
    """Figures of stage 1's masks of the evaluated images, where they have been made; else None."""
    folder = job.stage1.mask_folder(dataset.split)
    if not (folder / MANIFEST).is_file() or job.delta not in read_manifest(folder)["deltas"]:
        return None
    return mask_figures(dataset, folder, job.delta)


def _gallery(dataset, truths, evaluated, protocol):
    """Pictures like those of Fig. 4: the best, the median and the worst boxes."""
    picked = dict(pick_gallery(evaluated[0].entry.result))
    records = [record for record in dataset.records if record.image_id in picked]
    views = {record.image_id: [] for record in records}
    for one in evaluated:
        rows = {row.image_id: row for row in one.entry.result.rows}
        for batch, maps, _ in scored_batches(one.job, one.method, records, protocol, "gallery"):
            for record, score_map in zip(batch, maps):
                views[record.image_id].append(
                    View(one.entry.name, score_map, rows[record.image_id]))
    by_id = {truth.image_id: truth for truth in truths}
    return tuple(GalleryItem(picked[record.image_id], _thumbnail(record), by_id[record.image_id],
                             tuple(views[record.image_id])) for record in sorted(
                                 records, key=lambda record: list(picked).index(record.image_id)))


def _gradients(job, dataset):
    """Rows like those of Fig. 3, of images spread evenly over the data set."""
    places = np.linspace(0, len(dataset.records) - 1, min(GRADIENTS, len(dataset.records)))
    records = [dataset.records[place] for place in places.round().astype(int)]
    maker = mask_maker(job.stage1)
    frames = np.stack([read_image(record.path, maker.size) for record in records])
    images = to_float(torch.from_numpy(frames).permute(0, 3, 1, 2)).to(maker.device)
    plain = backbone_gradient(maker.classifier.backbone, images).cpu().numpy()
    maps = maker.maps(images)
    masks = cut(maps, job.delta, maker.recipe).mask
    return tuple(GradientItem(record.image_id, _thumbnail(record), *three)
                 for record, *three in zip(records, plain, maps, masks))


def _thumbnail(record: Record):
    """The picture in its own proportions, small, (H, W, 3) uint8."""
    height, width = image_size(record.path)
    scale = min(1, THUMBNAIL / max(height, width))
    return read_image(record.path, (max(1, round(height * scale)), max(1, round(width * scale))))


def file_digest(path):
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
