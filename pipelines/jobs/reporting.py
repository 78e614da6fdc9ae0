"""What ``evaluate`` puts into a report: figures, pictures like Fig. 3 and like Fig. 4."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.datasets import Record
from common.files import file_sha256
from common.images import image_size, read_image
from common.loading import to_float
from common.mask_cache.finding import sibling_masks
from common.mask_cache.shards import MaskCacheError
from evaluation.bootstrap import seeds_summary
from evaluation.mask_figures import agreement_with_masks, mask_figures
from evaluation.references import reference_rows
from evaluation.report import GalleryItem, GradientItem, Method, Report, View, pick_gallery
from pipelines.jobs.localizing import Localization, localize_run
from pipelines.jobs.stage1_job import warn
from pipelines.jobs.tau import record_tau
from stage1_bc.cutting import cut
from stage1_bc.gradient_maps import backbone_gradient
from stage1_bc.mask_settings import maker_of_masks
from stage2_ct.prediction import default_input_side
from stage2_ct.run import TrainedRun

THUMBNAIL = 448  # longest side of a picture in the report, in pixels
GRADIENTS = 6  # rows like those of Fig. 3


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A variant, trained with one seed or several, and its figures."""

    trained: TrainedRun
    """The first seed's run."""
    entry: Method
    """Its figures, as the report takes them."""


def evaluate(runs: Sequence[TrainedRun], localization: Localization) -> Evaluated:
    """Figures of one variant over its seeds.

    Each run's manifest records tau and its source, unless test boxes were used.

    Args:
        runs: finished runs that differ in their seed only.
        localization: Localization.
    """
    results = [localize_run(trained, localization) for trained in runs]
    for trained, result in zip(runs, results):
        record_tau(trained, result.tau, localization.protocol)
    over_seeds = {}
    if len(runs) > 1:
        over_seeds = seeds_summary([{name: figure.value for name, figure in result.metrics.items()}
                                    for result in results])
    first, protocol = runs[0], localization.protocol
    description = first.manifest["description"]
    entry = Method(
        first.variant, results[0], tuple(each.seed for each in runs), over_seeds,
        hashes={"masks": description["masks"], "dataset": description["dataset"],
                **{f"checkpoint of seed {each.seed}": file_sha256(each.run.checkpoint)
                   for each in runs}},
        settings=_settings(first, protocol))
    return Evaluated(first, entry)


def _settings(trained, protocol):
    """All settings that the figures depend on, of both stages."""
    manifest, description = trained.manifest, trained.manifest["description"]
    made = manifest["mask_settings"]
    stage1 = {}
    if description["masks"]:
        stage1 = {"stage 1": made["facts"], "recipe": made["recipe_name"], "delta": made["delta"],
                  "masks": description["masks"]}
    return {"backbone": description["backbone"], **stage1,
            "score_map": protocol.score_map or trained.config.score_map,
            "input_size": protocol.input_size or default_input_side(trained.config.image_size),
            **description["config"]}


def build_report(main: Evaluated, localization: Localization,
                 compared: Evaluated | None = None,
                 made: dict[str, str] | None = None) -> Report:
    """The Report of a variant, compared with another one if given.

    Args:
        main, compared: evaluated by the same Localization; ``compared`` may be None.
        localization: Localization.
        made: command, date and the like, for the end of the page.
    """
    protocol, unreadable = localization.protocol, localization.unreadable or {}
    dataset = dataclasses.replace(localization.dataset, records=tuple(localization.readable()))
    truths = [truth for truth in localization.truths if truth.image_id not in unreadable]
    references = {}
    if any(truth.boxes for truth in truths):
        references = reference_rows(
            truths, rule=protocol.box_rule, tuning=localization.tuning(main.trained),
            tuning_source=protocol.tau_from, size=(main.trained.config.image_size,) * 2)
    evaluated = [main, compared] if compared else [main]
    figures, agreement = _figures_of_masks(main, localization, dataset)
    name = Path(os.path.abspath(dataset.root)).name
    return Report(
        title=f"{main.trained.variant} on {name}", dataset=name,
        split=protocol.split, class_names=dataset.classes, method=main.entry,
        beside=None if compared is None else compared.entry, references=references,
        masks=figures, agreement=agreement,
        gradients=_gradients(main.trained, localization, dataset),
        gallery=_gallery(dataset, truths, evaluated, localization), unreadable=unreadable,
        training=tuple(main.trained.run.logged()), made=made or {})


def _figures_of_masks(main, localization, dataset):
    """Figures of stage 1's masks of the evaluated images, and how well the boxes agree with them.

    None and {} where no such masks have been made.
    """
    with contextlib.suppress(MaskCacheError):
        masks = sibling_masks(
            localization.masks(main.trained), localization.images.digest(dataset.split),
            localization.mask_roots)
        if masks is not None:
            boxed = any(record.boxes for record in dataset.records)
            return (mask_figures(dataset, masks.folder, masks.delta) if boxed else None,
                    agreement_with_masks(masks, dataset, main.entry.result))
    return None, {}


def _gradients(trained, localization, dataset):
    """Rows like those of Fig. 3, of images spread evenly over the data set.

    None if the background classifier that made the masks is no longer there: a finished run does
    not need it.
    """
    try:
        masks = localization.masks(trained)
        maker = maker_of_masks(masks, localization.compute.device)
    except (ValueError, OSError) as error:
        warn(f"the report has no gradient maps: {error}")
        return ()
    places = np.linspace(0, len(dataset.records) - 1, min(GRADIENTS, len(dataset.records)))
    records = [dataset.records[place] for place in places.round().astype(int)]
    frames = np.stack([read_image(record.path, maker.size) for record in records])
    images = to_float(torch.from_numpy(frames).permute(0, 3, 1, 2)).to(maker.device)
    plain = backbone_gradient(maker.classifier.backbone, images).cpu().numpy()
    maps = maker.maps(images)
    cuts = cut(maps, masks.delta, maker.recipe).mask
    return tuple(GradientItem(record.image_id, _thumbnail(record), *three)
                 for record, *three in zip(records, plain, maps, cuts))


def _gallery(dataset, truths, evaluated, localization):
    """Pictures like those of Fig. 4: the best, the median and the worst boxes."""
    picked = dict(pick_gallery(evaluated[0].entry.result))
    records = [record for record in dataset.records if record.image_id in picked]
    views = {record.image_id: [] for record in records}
    for one in evaluated:
        rows = {row.image_id: row for row in one.entry.result.rows}
        for batch, maps, _ in localization.scored(one.trained, records, "gallery"):
            for record, score_map in zip(batch, maps):
                views[record.image_id].append(
                    View(one.entry.name, score_map, rows[record.image_id]))
    by_id = {truth.image_id: truth for truth in truths}
    return tuple(GalleryItem(picked[record.image_id], _thumbnail(record), by_id[record.image_id],
                             tuple(views[record.image_id])) for record in sorted(
                                 records, key=lambda record: list(picked).index(record.image_id)))


def _thumbnail(record: Record) -> np.ndarray:
    """The picture in its own proportions, small, (H, W, 3) uint8."""
    height, width = image_size(record.path)
    scale = min(1, THUMBNAIL / max(height, width))
    return read_image(record.path, (max(1, round(height * scale)), max(1, round(width * scale))))
