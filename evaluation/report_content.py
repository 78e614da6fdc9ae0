"""What a report shows, as plain values and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.bootstrap import Figure
from evaluation.evaluator import ImageResult, Result
from evaluation.truth import EvaluationError, Truth

GALLERY_LIMIT = 100  # pictures with two views each, that is some 6 MB
GRADIENT_LIMIT = 24


@dataclass(frozen=True)
class Method:
    """A method and its results.

    Attributes:
        name: stands in tables and legends.
        result: Result of its first seed.
        seeds: seeds of its trained models.
        over_seeds: {figure: (mean, standard deviation)}, fractions, by
            ``evaluation.bootstrap.seeds_summary``; {} for a single seed.
        hashes: {what: digest} of masks, checkpoints and the like.
        settings: JSON-able values by name.
    """

    name: str
    result: Result
    seeds: tuple[int, ...] = ()
    over_seeds: dict[str, tuple[float, float]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """Result of one method for one image: its name, (H, W) score map in [0, 1], and ImageResult."""

    name: str
    score_map: np.ndarray
    row: ImageResult


@dataclass(frozen=True)
class GalleryItem:
    """A picture like those of the paper's Fig. 4.

    Attributes:
        kind: ``best``, ``median``, ``worst`` or ``more``, see ``pick_gallery``.
        image: (H, W, 3) uint8 RGB of any size, with the original's proportions.
        truth: Truth of the image.
        views: one View of each method, the one that was picked by first.
    """

    kind: str
    image: np.ndarray
    truth: Truth
    views: tuple[View, ...]


@dataclass(frozen=True)
class GradientItem:
    """A row like those of the paper's Fig. 3.

    Attributes:
        image_id: the image.
        image: (H, W, 3) uint8 RGB of any size.
        plain: (h, w) gradient map of the plain backbone.
        bc: (h, w) gradient map of the background classifier.
        mask: (h, w) bool made from it.
    """

    image_id: str
    image: np.ndarray
    plain: np.ndarray
    bc: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        title: what was evaluated, in words.
        dataset, split: which images.
        class_names: by label.
        method: Method.
        beside: Method on the same images to compare it with, or None.
        references: {name: Result} of ``reference_rows``.
        masks: Result of MaskEvaluator on the same images, or None.
        gallery: at most 100 GalleryItem.
        gradients: at most 24 GradientItem.
        unreadable: {image id: reason} of images that could not be read and were left out.
        agreement: {name: Figure} of ``evaluation.mask_figures.agreement_with_masks``, or {}.
        training: lines of the training log, dicts with ``epoch`` and losses.
        made: command, date and the like; the report holds no other text that changes from one day
            to the next.
    """

    title: str
    dataset: str
    split: str
    class_names: Sequence[str]
    method: Method
    beside: Method | None = None
    references: dict[str, Result] = field(default_factory=dict)
    masks: Result | None = None
    gallery: tuple[GalleryItem, ...] = ()
    gradients: tuple[GradientItem, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, Figure] = field(default_factory=dict)
    training: tuple[dict, ...] = ()
    made: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        for name, items, limit in (("gallery", self.gallery, GALLERY_LIMIT),
                                   ("gradients", self.gradients, GRADIENT_LIMIT)):
            if len(items) > limit:
                raise EvaluationError(f"a report shows at most {limit} pictures under {name}, not "
                                      f"{len(items)}; hand in fewer.")
