"""What a report shows of models that localized a data set: figures, references and pictures."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from common.datasets import Dataset, DatasetError, Record
from common.images import image_size, read_image
from common.mask_cache.finding import sibling_masks
from common.mask_cache.shards import MaskCacheError
from evaluation.evaluator import Evaluator
from evaluation.localization import Localization, Protocol
from evaluation.mask_figures import agreement_with_masks, mask_figures
from evaluation.references import reference_rows
from evaluation.report import pick_gallery
from evaluation.report_content import GalleryItem, Method, Report, View
from evaluation.scoremaps import evaluate_folder, read_metadata, read_score_map
from evaluation.tau_sources import tau_oracle
from evaluation.threshold import fixed_tau
from evaluation.truth import truths_from_dataset

THUMBNAIL = 448  # longest side of a picture in the report, in pixels


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A method and the model that it localized with."""

    model: Any
    """The first seed's, as Localization takes it."""
    entry: Method
    """Its figures, as the report takes them."""


def build_report(localization: Localization, main: Evaluated, compared: Evaluated | None = None,
                 **others: Any) -> Report:
    """The Report of a method, compared with another one if given.

    Args:
        localization: by which both were evaluated.
        others: further fields of the Report, such as ``gradients``, ``training`` and ``made``.
    """
    protocol, unreadable = localization.protocol, localization.unreadable or {}
    dataset = readable_dataset(localization)
    truths = localization.readable_truths()
    references = {}
    if any(truth.boxes for truth in truths):
        references = reference_rows(
            truths, rule=protocol.box_rule, tuning=localization.tuning(main.model),
            tuning_source=protocol.tau_from, size=(localization.frame(main.model),) * 2)
    figures, agreement = _figures_of_masks(main, localization, dataset)
    name = Path(os.path.abspath(dataset.root)).name
    return Report(
        title=f"{main.entry.name} on {name}", dataset=name, split=protocol.split,
        class_names=dataset.classes, method=main.entry, beside=compared.entry if compared else None,
        references=references, masks=figures, agreement=agreement,
        gallery=_gallery(dataset, truths, [main, compared] if compared else [main], localization),
        unreadable=unreadable, **others)


def report_of_folder(folder: Path, protocol: Protocol, images: Dataset | Path,
                     unreadable: dict[str, str]) -> Report:
    """The Report of a folder of score maps.

    Args:
        folder: folder of score maps, of whatever method.
        protocol: Protocol whose tau is a number, or ``test``.
        images: Dataset of the images, or the folder of wsolevaluation's four files.
        unreadable: dict that takes the reason of each image that cannot be read, by its id.

    Raises:
        ValueError: not one image can be read.
        EvaluationError: a score map or a file is not as it should be.
    """
    if isinstance(images, Path):
        truths, name, class_names = read_metadata(images), images.name, ()
    else:
        truths, name = truths_from_dataset(images, unreadable), images.name
        class_names = images.classes
        if not truths:
            raise ValueError(f"none of the images in {images.root} can be read")
    rule, stated = protocol.box_rule, protocol.stated_tau
    size = read_score_map(folder, truths[0].image_id).shape
    evaluator = Evaluator(truths, rule, tau=stated, size=size, class_names=class_names or None)
    evaluate_folder(evaluator, folder)
    choice = tau_oracle(evaluator) if stated is None else fixed_tau(stated)
    return Report(f"score maps {folder.name}", name, protocol.split, class_names,
                  Method(folder.name, evaluator.compute(choice)),
                  references=reference_rows(truths, rule, size=size), unreadable=unreadable)


def readable_dataset(localization: Localization) -> Dataset:
    """The images that the figures are of, those left out that could not be read."""
    return dataclasses.replace(localization.dataset, records=tuple(localization.readable()))


def _figures_of_masks(main, localization, dataset):
    """Figures of stage 1's masks of the evaluated images, and how well the boxes agree with them.

    None and {} where no such masks have been made.
    """
    with contextlib.suppress(MaskCacheError, DatasetError):  # or the training images are gone
        masks = sibling_masks(
            localization.masks(main.model), localization.images.digest(dataset.split),
            localization.mask_roots)
        if masks is not None:
            boxed = any(record.boxes for record in dataset.records)
            return (mask_figures(dataset, masks.folder, masks.delta) if boxed else None,
                    agreement_with_masks(masks, dataset, main.entry.result))
    return None, {}


def _gallery(dataset, truths, evaluated, localization):
    """Pictures like those of Fig. 4: the best, the median and the worst boxes."""
    picked = dict(pick_gallery(evaluated[0].entry.result))
    records = [record for record in dataset.records if record.image_id in picked]
    views = {record.image_id: [] for record in records}
    for one in evaluated:
        rows = {row.image_id: row for row in one.entry.result.rows}
        for batch, maps, _ in localization.scored(one.model, records, "gallery"):
            for record, score_map in zip(batch, maps):
                views[record.image_id].append(
                    View(one.entry.name, score_map, rows[record.image_id]))
    by_id = {truth.image_id: truth for truth in truths}
    return tuple(GalleryItem(picked[record.image_id], small_picture(record),
                             by_id[record.image_id], tuple(views[record.image_id]))
                 for record in sorted(
                     records, key=lambda record: list(picked).index(record.image_id)))


def small_picture(record: Record) -> np.ndarray:
    """The picture in its own proportions, small, (H, W, 3) uint8."""
    height, width = image_size(record.path)
    scale = min(1, THUMBNAIL / max(height, width))
    return read_image(record.path, (max(1, round(height * scale)), max(1, round(width * scale))))
