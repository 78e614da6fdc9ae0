"""Scores maps one by one and keeps only what the figures need."""

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import joblib
import numpy as np

from common import boxes as box_geometry
from common.box_rules import Candidates, box_rule
from evaluation import metrics
from evaluation.bootstrap import Figure, bootstrap
from evaluation.threshold import TauChoice, agreement, best_tau, fixed_tau
from evaluation.truth import EvaluationError, Truth, Truths, first_names

CURVE_IOUS = tuple(step / 100 for step in range(101))
COVER_TOLERANCE = 1e-6  # pixels: rescaling a box as large as its image leaves a rounding error


@dataclass(frozen=True)
class ImageResult:
    """The result for one image.

    Attributes:
        image_id: the image.
        box: predicted box (x0, y0, x1, y1) at tau, half-open, in pixels of the original image.
        iou: IoU with the best ground-truth box; None where no box is known.
        label, predicted: index of the true and of the predicted class; None where unknown.
        score: probability of the predicted class; None where unknown.
        rank: rank of the true class, 0 for the most probable; None where unknown.
    """

    image_id: str
    box: tuple[float, float, float, float]
    iou: float | None
    label: int | None = None
    predicted: int | None = None
    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Result:
    """Result of ``compute``.

    Attributes:
        metrics: {plain name: Figure}, fractions; ``evaluation.metrics`` defines each.
        tau: TauChoice, None for masks.
        box_rule: name of the box rule.
        images: number of images; with_boxes: number of those with a known box.
        warnings: sentences, each with a count, on what was left out.
        rows: ImageResult of each image, in the order of the truths.
        tau_curve: {"tau": (T,), "iou_30", "iou_50", "iou_70": (T,) share of single boxes that
            reach this IoU}; None for masks, and where no image has a box.
        oracle_tau: the tau that is best for these boxes themselves; None where tau_curve is.
        iou_curve: {"iou": (101,), "share": (101,) share of boxes at tau that reach it}; None
            where no image has a box.
    """

    metrics: dict[str, Figure]
    tau: TauChoice | None
    box_rule: str
    images: int
    with_boxes: int
    warnings: tuple[str, ...]
    rows: tuple[ImageResult, ...]
    tau_curve: dict[str, np.ndarray] | None
    oracle_tau: float | None
    iou_curve: dict[str, np.ndarray] | None

    @property
    def iou_by_image(self) -> dict[str, float]:
        """IoU by image id, of the images with a box."""
        return {row.image_id: row.iou for row in self.rows if row.iou is not None}


def default_taus() -> np.ndarray:
    """Thresholds 0, 0.01, ... 0.99, to the last bit those of Choe et al.'s published code."""
    return np.arange(0, 1, 0.01)


def check_score_map(score_map: np.ndarray, size: tuple[int, int], image_id: str) -> None:
    """Refuse a score map that would give meaningless boxes.

    Raises:
        EvaluationError: it is not (height, width) floating point, or holds NaN or values outside
            [0, 1].
    """
    if score_map.shape != tuple(size):
        raise EvaluationError(f"{image_id}: its score map is {_by(score_map.shape)}, expected "
                              f"{_by(size)}; resize it to the frame before scoring.")
    if not np.issubdtype(score_map.dtype, np.floating):
        raise EvaluationError(f"{image_id}: its score map holds {score_map.dtype}, expected "
                              "floating point in [0, 1].")
    low, high = score_map.min(), score_map.max()
    if np.isnan(low):
        raise EvaluationError(f"{image_id}: its score map holds NaN; look at the model's output.")
    if low < 0 or high > 1:
        raise EvaluationError(f"{image_id}: its score map ranges over [{low:g}, {high:g}], expected"
                              " [0, 1]; normalise it (evaluation.scoremaps.min_max).")


def _by(shape):
    return "x".join(map(str, shape))


class Evaluator:
    """Localization figures of score maps, streamed: accumulate each image, then compute.

    Of an image it keeps the IoU of the single box and the best IoU of all boxes at each tau, the
    single boxes, and what is known of its classification: 2.4 kB at 100 thresholds.

    Args:
        truths: iterable of Truth, one for every image that will be scored.
        rule: name of a box rule, see ``common.box_rules``.
        taus: (T,) float64 ascending thresholds in [0, 1].
        tau: a further threshold at which ``compute`` may be asked, off the grid.
        size: (height, width) of the frame, that is of every score map, in pixels.
        class_names: names of all classes, to warn of those that have no image.
    """

    def __init__(self, truths: Iterable[Truth], rule: str = "largest",
                 taus: np.ndarray | None = None, tau: float | None = None,
                 size: tuple[int, int] = (224, 224), class_names: Sequence[str] | None = None):
        self.truths = Truths(truths)
        self.rule = box_rule(rule)
        self.taus = default_taus() if taus is None else np.asarray(taus, np.float64)
        self.size = (size[0], size[1])
        self.class_names = class_names
        self._columns = self.taus if tau is None else np.append(self.taus, fixed_tau(tau).tau)
        count = len(self.truths.all)
        self._ious = np.zeros((count, len(self._columns)))
        self._best_ious = np.zeros((count, len(self.taus)))
        self._boxes = np.zeros((count, len(self._columns), 4), dtype=np.int16)
        self._ranks = np.full(count, -1)
        self._predicted = np.full(count, -1)
        self._scores = np.full(count, np.nan)
        self._pixel_counts = {}  # place of an image: (2, S) pixels of object and background

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Ids of all images, in the order of the truths."""
        return tuple(truth.image_id for truth in self.truths.all)

    @property
    def ious(self) -> np.ndarray:
        """(N, T) float64 IoU of the single box at each of ``taus``, for the images with boxes.

        Raises:
            EvaluationError: an image is still missing, or none has a box.
        """
        self.truths.check_complete()
        return self._ious[self.truths.with_boxes, :len(self.taus)]

    def accumulate(self, score_map: np.ndarray, image_id: str, rank: int | None = None,
                   predicted: int | None = None, score: float | None = None,
                   pixel_mask: np.ndarray | None = None) -> None:
        """Score one image.

        Args:
            score_map: (H, W) float32 or float64 in [0, 1], of the size of the frame: the map of
                the image's true class, or one map for all classes. For Top-k localization it must
                be the true class's own where the method has a map for each.
            image_id: the image.
            rank: rank of the true class, 0 for the most probable; None when nothing classifies.
            predicted: index of the most probable class.
            score: probability of the most probable class.
            pixel_mask: (H, W) bool, or uint8 with 1 for the object, 0 for the background and 255
                for pixels to ignore, in the frame; for PxAP.

        Raises:
            EvaluationError: unknown image, image scored twice, or a score map that is not as
                stated.
        """
        check_score_map(score_map, self.size, image_id)
        place = self.truths.take(image_id)
        self._put_boxes(place, self.rule.candidates(score_map, self._columns))
        self._put_class(place, rank, predicted, score)
        if pixel_mask is not None:
            self._put_pixels(place, score_map, pixel_mask)

    def accumulate_candidates(self, candidates: Candidates, image_id: str) -> None:
        """Score one image by ``rule.candidates(map, thresholds)`` of a map shared by images."""
        self._put_boxes(self.truths.take(image_id), candidates)

    def accumulate_many(self, items: Iterable[tuple[np.ndarray, str, dict]],
                        workers: int = 1) -> None:
        """Score many images, in threads if asked.

        Args:
            items: iterable of (score_map, image_id, keyword arguments of ``accumulate``); read as
                needed, so that it may make or load the maps.
            workers: number of threads.
        """
        if workers == 1:
            for score_map, image_id, arguments in items:
                self.accumulate(score_map, image_id, **arguments)
            return
        joblib.Parallel(n_jobs=workers, backend="threading", return_as="list")(
            joblib.delayed(self.accumulate)(score_map, image_id, **arguments)
            for score_map, image_id, arguments in items)

    def without(self, image_ids: Collection[str]) -> "Evaluator":
        """A copy of this Evaluator without some images.

        Args:
            image_ids: ids of images that could not be scored after all.

        Raises:
            EvaluationError: no image is left.
        """
        left = [place for place, truth in enumerate(self.truths.all)
                if truth.image_id not in image_ids]
        other = copy.copy(self)
        other.truths = Truths([self.truths.all[place] for place in left])
        other.truths.seen = self.truths.seen[left]
        for name in ("_ious", "_best_ious", "_boxes", "_ranks", "_predicted", "_scores"):
            setattr(other, name, getattr(self, name)[left])
        other._pixel_counts = {new: self._pixel_counts[old] for new, old in enumerate(left)
                               if old in self._pixel_counts}
        return other

    def thresholds(self) -> np.ndarray:
        """(T or T + 1,) float64: the grid, and the further tau if one was given."""
        return self._columns

    def best_tau(self) -> float:
        """The tau whose boxes agree best with the true ones, see ``threshold.agreement``."""
        return best_tau(self.taus, agreement(self.ious))

    def compute(self, tau: TauChoice | float, resamples: int = 1000, seed: int = 0) -> Result:
        """Figures of all images, with 95 % intervals over images.

        Args:
            tau: TauChoice or number; on the grid, or the further tau of the constructor.
            resamples: number of bootstrap resamples.
            seed: of the resampling.

        Returns:
            Result with ``gt_known``, ``mean_iou``, ``max_box_acc``, ``max_box_acc_v2`` and its
            parts ``_30``, ``_50``, ``_70``; with ranks also ``top1_loc``, ``top5_loc``,
            ``top1_cls``, ``top5_cls``; with pixel masks also ``pxap``. Where some images have one
            box and others several, also ``gt_known_single`` and ``gt_known_several``. Where no
            image has a box, ``top1_cls`` and ``top5_cls`` alone, and no curves.

        Raises:
            EvaluationError: an image is missing, none has a box or a rank, only some have a rank
                or a pixel mask, or tau was not evaluated.
        """
        self.truths.check_complete(needs_boxes=not (self._ranks >= 0).any())
        choice = tau if isinstance(tau, TauChoice) else fixed_tau(tau)
        column = self._column(choice.tau)
        self._check_all_or_none(self._ranks >= 0, "a rank of its class")
        masked = np.zeros(len(self.truths.all), bool)
        masked[list(self._pixel_counts)] = True
        self._check_all_or_none(masked, "a pixel mask")
        boxed = bool(self.truths.with_boxes.any())
        statistics = self._statistics(column) if boxed else self._class_statistics
        figures = bootstrap(statistics, len(self.truths.all), resamples, seed)
        return Result(metrics=figures, tau=choice, box_rule=self.rule.name,
                      images=len(self.truths.all), with_boxes=int(self.truths.with_boxes.sum()),
                      warnings=self._warnings(column), rows=self._rows(column),
                      tau_curve=self._tau_curve() if boxed else None,
                      oracle_tau=self.best_tau() if boxed else None,
                      iou_curve=_iou_curve(self._at(column)) if boxed else None)

    def _put_boxes(self, place, candidates):
        truth = self.truths.all[place]
        self._boxes[place] = candidates.single
        if not truth.boxes:
            return
        expected = self.rule.truth(truth.boxes, truth.size, self.size)
        ious = self.rule.iou(candidates.boxes[:, None], expected).max(axis=1)  # (K, B) -> (K,)
        self._ious[place] = ious[candidates.chosen[candidates.group]]
        best = np.maximum.reduceat(ious, candidates.starts)[candidates.group]
        self._best_ious[place] = best[:len(self.taus)]

    def _put_class(self, place, rank, predicted, score):
        self._ranks[place] = -1 if rank is None else rank
        self._predicted[place] = -1 if predicted is None else predicted
        self._scores[place] = np.nan if score is None else score

    def _put_pixels(self, place, score_map, pixel_mask):
        """Count scores of object and background in bins between thresholds, and of 1 and above."""
        if pixel_mask.shape != self.size:
            raise EvaluationError(f"{self.truths.all[place].image_id}: its pixel mask is "
                                  f"{_by(pixel_mask.shape)}, expected {_by(self.size)}.")
        edges = np.unique([0.0, *self.taus, 1.0, 2.0, 3.0])  # the published code's bins
        self._pixel_counts[place] = np.stack(
            [np.histogram(score_map[pixel_mask == kind], edges)[0] for kind in (1, 0)])

    def _column(self, tau):
        column = int(np.argmin(np.abs(self._columns - tau)))
        if abs(self._columns[column] - tau) > 1e-9:
            raise EvaluationError(f"tau {tau} was not evaluated; name it when making the Evaluator "
                                  "(tau=...), or take one of its grid.")
        return column

    def _check_all_or_none(self, has, what):
        if has.any() and not has.all():
            missing = self.truths.all[int(np.argmin(has))].image_id
            raise EvaluationError(f"{missing}: lacks {what}, which others have; pass it for "
                                  "every image or for none.")

    def _at(self, column):
        """(N,) IoU at one threshold, of the images with boxes."""
        return self._ious[self.truths.with_boxes, column]

    def _statistics(self, column):
        """Function of weights, (R, all images), that returns every figure; for ``bootstrap``."""
        boxed = self.truths.with_boxes
        at_tau = self._at(column)
        # Each resample asks for these tables: they are made once.
        hits = metrics.hits(self.ious, 0.5)
        v2_hits = [metrics.hits(self._best_ious[boxed], each) for each in metrics.IOU_THRESHOLDS_V2]
        ranks, boxed_ranks = self._ranks, self._ranks[boxed]
        pixel_counts = np.stack([self._pixel_counts[place] for place in range(len(boxed))], axis=1
                                ) if self._pixel_counts else None  # (2, N, S)

        groups = self._box_counts()

        def statistics(weights):
            of_boxed = weights[:, boxed]
            figures = {"gt_known": metrics.gt_known(of_boxed, at_tau)}
            figures |= {name: metrics.gt_known(of_boxed[:, group], at_tau[group])
                        for name, group in groups.items()}
            if ranks[0] >= 0:
                for k in (1, 5):
                    figures[f"top{k}_loc"] = metrics.topk_loc(of_boxed, at_tau, boxed_ranks, k)
                    figures[f"top{k}_cls"] = metrics.topk_cls(weights, ranks, k)
            figures["mean_iou"] = metrics.mean(of_boxed, at_tau)
            figures["max_box_acc"] = metrics.max_box_acc(of_boxed, hits)
            names = ["max_box_acc_v2"] + [f"max_box_acc_v2_{round(100 * each)}"
                                          for each in metrics.IOU_THRESHOLDS_V2]
            figures.update(zip(names, metrics.max_box_acc_v2(of_boxed, v2_hits)))
            if pixel_counts is not None:
                figures["pxap"] = metrics.pxap(weights, *pixel_counts)
            return figures
        return statistics

    def _class_statistics(self, weights):
        """As ``_statistics``, of images without any box."""
        return {f"top{k}_cls": metrics.topk_cls(weights, self._ranks, k) for k in (1, 5)}

    def _box_counts(self):
        """Which images with boxes have one and which several, (N,) bool; {} unless both occur."""
        several = np.array([len(truth.boxes) > 1 for truth in self.truths.all if truth.boxes])
        if several.all() or not several.any():
            return {}
        return {"gt_known_single": ~several, "gt_known_several": several}

    def _warnings(self, column):
        warnings = self.truths.warnings(self.class_names)
        nothing = [truth.image_id for truth, box in zip(self.truths.all, self._boxes[:, column])
                   if not box.any()]
        if nothing:
            warnings += (f"{len(nothing)} of {len(self.truths.all)} score maps have no pixel that "
                         f"reaches tau, hence no box: {first_names(nothing)}.",)
        return warnings

    def _rows(self, column):
        return tuple(
            ImageResult(truth.image_id,
                        tuple(box_geometry.rescale(
                            self.rule.half_open(self._boxes[place, column], self.size),
                            self.size, truth.size).tolist()),
                        float(self._ious[place, column]) if truth.boxes else None,
                        *(None if value < 0 else int(value)
                          for value in (truth.label, self._predicted[place])),
                        None if np.isnan(self._scores[place]) else float(self._scores[place]),
                        None if self._ranks[place] < 0 else int(self._ranks[place]))
            for place, truth in enumerate(self.truths.all))

    def _tau_curve(self):
        shares = {f"iou_{round(100 * each)}": (self.ious >= each).mean(axis=0)
                  for each in metrics.IOU_THRESHOLDS_V2}
        return {"tau": self.taus, **shares}


def _iou_curve(ious):
    return {"iou": np.array(CURVE_IOUS),
            "share": np.array([(ious >= each).mean() for each in CURVE_IOUS])}


class MaskEvaluator:
    """BC* of binary masks, always together with the strict rate (paper, section 5.2).

    Args:
        truths: iterable of Truth, one for every image that will be scored.
    """

    def __init__(self, truths: Iterable[Truth]):
        self.truths = Truths(truths)
        count = len(self.truths.all)
        self._ious, self._covers = np.zeros(count), np.zeros(count, dtype=bool)
        self._empty = np.zeros(count, dtype=bool)
        self._boxes = np.zeros((count, 4))

    def accumulate(self, mask: np.ndarray, image_id: str) -> None:
        """Score one mask: the box of its largest component.

        Args:
            mask: (H, W) bool of the whole image squashed to any size. An empty one finds nothing.
            image_id: the image.

        Raises:
            EvaluationError: the mask is not (H, W) bool, the image unknown or scored twice.
        """
        if mask.ndim != 2 or mask.dtype != bool:
            raise EvaluationError(f"{image_id}: its mask is {_by(mask.shape)} {mask.dtype}, "
                                  "expected (H, W) bool.")
        place = self.truths.take(image_id)
        truth = self.truths.all[place]
        self._empty[place] = not mask.any()
        box = box_geometry.mask_to_box(box_geometry.largest_component(mask))
        self._boxes[place] = box_geometry.rescale(box, mask.shape, truth.size)
        if truth.boxes:
            expected = box_rule("largest").truth(truth.boxes, truth.size, mask.shape)
            self._ious[place] = box_geometry.iou(box, expected).max()
            outside = np.concatenate([box[:2] - expected[:, :2], expected[:, 2:] - box[2:]], axis=1)
            self._covers[place] = (outside <= COVER_TOLERANCE).all(axis=1).any()

    def compute(self, resamples: int = 1000, seed: int = 0) -> Result:
        """``mask_strict``, ``bc_star`` and ``mean_iou`` with 95 % intervals over images.

        Raises:
            EvaluationError: an image is missing, or none has a box.
        """
        self.truths.check_complete()
        boxed = self.truths.with_boxes
        ious, covers = self._ious[boxed], self._covers[boxed]

        def statistics(weights):
            of_boxed = weights[:, boxed]
            return {"mask_strict": metrics.mask_strict(of_boxed, ious),
                    "bc_star": metrics.bc_star(of_boxed, ious, covers),
                    "mean_iou": metrics.mean(of_boxed, ious)}

        warnings = self.truths.warnings()
        if self._empty.any():
            empty = [self.truths.all[place].image_id for place in np.flatnonzero(self._empty)]
            warnings += (f"{len(empty)} of {len(boxed)} masks are empty and count as misses: "
                         f"{first_names(empty)}.",)
        rows = tuple(ImageResult(truth.image_id, tuple(self._boxes[place].tolist()),
                                 float(self._ious[place]) if truth.boxes else None,
                                 truth.label if truth.label >= 0 else None)
                     for place, truth in enumerate(self.truths.all))
        return Result(metrics=bootstrap(statistics, len(boxed), resamples, seed), tau=None,
                      box_rule="largest", images=len(boxed), with_boxes=int(boxed.sum()),
                      warnings=warnings, rows=rows, tau_curve=None,
                      oracle_tau=None, iou_curve=_iou_curve(ious))
