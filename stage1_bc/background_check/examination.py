"""Decodes every picture once and measures what a check of background images needs."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from common.batch_loading import BatchLoader
from common.datasets import Record
from common.images import BadImage, image_size, read_image
from common.loading import consecutive, to_float
from stage1_bc.background_check.duplicates import perceptual_hash
from stage1_bc.background_check.shortcuts import fine_detail, sharpness
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.reading import sample_targets
from stage1_bc.stage1_job import Stage1Job, new_classifier


@dataclasses.dataclass(frozen=True)
class Examination:
    """Measurements of n readable pictures, in the order of their records."""

    records: tuple[Record, ...]
    """The n Records."""
    bad: tuple[tuple[Record, BadImage], ...]
    """(Record, BadImage) of each unreadable picture."""
    pixels: np.ndarray
    """(n,) width times height."""
    shorter_sides: np.ndarray
    """(n,) pixels of the shorter side."""
    hashes: np.ndarray
    """(n, 4) uint64, from ``perceptual_hash``."""
    sharpness: np.ndarray
    """(n,) variance of the Laplacian, of the frame."""
    fine_detail: np.ndarray
    """(n,) share of the finest part of the spectrum, of the frame."""
    features: torch.Tensor | None
    """(n, D) float32, what a background classifier's unit reads; None without a classifier."""


def examine(records: Sequence[Record], side: int, batch_size: int, workers: int,
            classifier: BackgroundClassifier | None = None, device: str | torch.device = "cpu",
            progress: Callable[[int], object] | None = None) -> Examination:
    """Decode every picture once and measure it.

    Args:
        side: of the square frame that pictures are squashed to, in pixels.
        batch_size: pictures per pass of the classifier.
        workers: processes that decode and measure.
        classifier: BackgroundClassifier on ``device`` whose unit's features are wanted, or None.
        progress: called with the number of pictures each time more are done.
    """
    loader = BatchLoader(_Pictures(records, side), consecutive(len(records), batch_size), _batch,
                         workers, batch_bytes=batch_size * 3 * side * side)
    seen, bad, features = [], [], []
    for batch in loader:
        bad += [(records[index], error) for index, error in batch.bad]
        seen += [(records[index], measures) for index, measures in batch.measures]
        if batch.measures and classifier is not None:
            with torch.no_grad():
                features.append(classifier.features(
                    to_float(batch.frames.to(device))).float().cpu())
        if progress is not None:
            progress(len(batch.measures) + len(batch.bad))
    pixels, shorter, hashes, sharp, fine = _columns([measures for _, measures in seen])
    return Examination(tuple(record for record, _ in seen), tuple(bad), pixels, shorter, hashes,
                       sharp, fine, torch.cat(features) if features else None)


def examine_all(job: Stage1Job) -> tuple[BackgroundClassifier, list[Examination]]:
    """An untrained classifier, and what it and the files say of a job's pictures.

    Returns:
        The classifier, and Examinations of the backgrounds, of the targets to train on, and of all
        other images of the data set.
    """
    config, compute = job.settings.config, job.compute
    classifier = new_classifier(job.settings)
    classifier.to(compute.device).eval()
    candidates = job.images.split("train").records
    training = [candidates[index] for index in sample_targets(
        len(candidates), config.max_targets, config.seed)]
    ids = {record.image_id for record in training}
    others = [record for record in job.images.split("all").records if record.image_id not in ids]
    examinations = []
    for records, name, judge in ((job.backgrounds.records, "backgrounds", classifier),
                                 (training, "targets", classifier),
                                 (others, "other images of the data set", None)):
        with job.reports.progress(len(records), name) as advance:
            examinations.append(examine(
                records, config.image_size, compute.batch_size, compute.workers, judge,
                compute.device, advance))
    return classifier, examinations


@dataclasses.dataclass(frozen=True)
class _Examined:
    """Some pictures and what was measured of them."""

    frames: torch.Tensor
    """(n, 3, H, W) uint8 RGB of the readable ones."""
    measures: list
    """(index, measures) of these."""
    bad: list
    """(index, BadImage) of the others."""


def _batch(items):
    """_Examined of the items of ``_Pictures``."""
    good = [item for item in items if not isinstance(item[1], BadImage)]
    frames = (torch.stack([frame for _, _, frame in good]) if good
              else torch.zeros(0, 3, 1, 1, dtype=torch.uint8))
    return _Examined(frames, [item[:2] for item in good],
                     [item[:2] for item in items if isinstance(item[1], BadImage)])


def _columns(rows):
    """The measures of all pictures as one array each, also of none."""
    hashes = np.array([row[2] for row in rows], np.uint64).reshape(-1, 4)
    numbers = np.array([row[:2] + row[3:] for row in rows], np.float64).reshape(-1, 4)
    return numbers[:, 0], numbers[:, 1], hashes, numbers[:, 2], numbers[:, 3]


class _Pictures(Dataset):
    """(index, measures, frame) of each record; (index, BadImage, None) where there is none."""

    def __init__(self, records, side):
        self.records, self.side = records, side

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        path = self.records[index].path
        try:
            frame = read_image(path, (self.side, self.side))
            height, width = image_size(path)
        except BadImage as error:
            return index, error, None
        measures = (height * width, min(height, width), perceptual_hash(frame),
                    sharpness(frame), fine_detail(frame))
        return index, measures, torch.from_numpy(frame).permute(2, 0, 1)
