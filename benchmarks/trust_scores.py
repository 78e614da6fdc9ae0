"""Which number tells right boxes from wrong ones: candidates for the score of ``bcct localize``.

    python -m benchmarks.trust_scores RUN [--split test] [--data DATA] [--masks MASKS]

Prints a row for each candidate: area under the risk-coverage curve (share of wrong boxes for a
number that says nothing, smaller is better), and the share of right boxes in five bins from the
lowest scores to the highest. The score was chosen on training images held out of training.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from common.box_rules import LargestComponent
from common.boxes import iou, rescale
from common.compute import choose_compute
from common.datasets import Dataset, open_dataset
from common.loading import consecutive, load_frames, to_float
from common.mask_cache.reader import MaskCache
from evaluation.trust_curves import area_under_risk, least_area, reliability
from evaluation.truth import Truth, truths_from_dataset
from stage1_bc.maker import MaskMaker
from stage1_bc.mask_settings import maker_of_masks
from stage2_ct.found_objects import trust
from stage2_ct.localizer import Localizer, load_model
from stage2_ct.prediction import predict_frames, score_prediction

AROUND = {"stability, tau +- 0.1": (-0.1, 0.1),
          "stability, tau +- 0.1 and 0.2": (-0.2, -0.1, 0.1, 0.2),
          "stability, tau +- 0.1, 0.2 and 0.3": (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)}
RULE = LargestComponent()


def measured_scores(localizer: Localizer, dataset: Dataset,
                    maker: MaskMaker | None) -> Iterator[tuple[bool, dict[str, float]]]:
    """Whether the box of each image is right (IoU of 0.5), and the candidates' numbers."""
    truths = truths_from_dataset(dataset)
    side, size = localizer.side, localizer.compute.batch_size
    batches = load_frames(dataset.records, (side, side), consecutive(len(truths), size), 0)
    for batch in batches:
        maps, (_, _, probabilities) = _look(localizer, batch.images)
        mirrored, _ = _look(localizer, batch.images.flip(3))
        masks = _stage1_boxes(maker, batch.images)
        for place, position in enumerate(batch.positions):
            yield _numbers(localizer, truths[position], maps[place], mirrored[place][:, ::-1],
                           probabilities[place], None if masks is None else masks[place])


def _look(localizer, images):
    return score_prediction(predict_frames(localizer.method, images, localizer.compute.device),
                            localizer.score_map, localizer.frame)


def _stage1_boxes(maker, images):
    """Boxes of stage 1's masks as fractions of the picture, (N, 4); None without a classifier."""
    if maker is None:
        return None
    frames = torch.nn.functional.interpolate(
        to_float(images), maker.size, mode="bilinear", antialias=True)
    cut, = maker.masks(frames, [0.80]).values()
    return cut.box / (np.array(maker.size)[[1, 0, 1, 0]])


def _numbers(localizer: Localizer, truth: Truth, score_map: np.ndarray, mirrored: np.ndarray,
             probability: float, mask_box: np.ndarray | None) -> tuple[bool, dict[str, float]]:
    tau = localizer.tau
    box = _boxes(score_map, [tau])[0]
    inside = score_map >= tau
    numbers = {"class probability": probability,
               "mirror image's box": float(iou(box, _boxes(mirrored, [tau])[0])),
               "mean of the map inside": float(score_map[inside].mean()) if inside.any() else 0.0,
               "mean inside minus outside": _contrast(score_map, inside)}
    for name, steps in AROUND.items():
        around = [min(max(tau + step, 0.02), 0.98) for step in steps]
        numbers[name] = float(iou(box, _boxes(score_map, around)).mean())
    if mask_box is not None:
        numbers["stage 1's box"] = float(iou(box, mask_box * localizer.frame))
    stable = numbers["stability, tau +- 0.1 and 0.2"]
    numbers["stability times probability"] = stable * probability
    numbers["stability times root of probability"] = stable * probability ** 0.5
    numbers["stability times mirror image"] = stable * numbers["mirror image's box"]
    if mask_box is not None:
        numbers["stability times stage 1"] = stable * numbers["stage 1's box"]
    numbers["score of bcct localize"] = trust(probability, stable)
    found = rescale(box, score_map.shape, truth.size)
    return bool((iou(found, truth.boxes) >= 0.5).any()), numbers


def _boxes(score_map, taus):
    return RULE.candidates(np.ascontiguousarray(score_map), np.array(taus)).single


def _contrast(score_map, inside):
    if not inside.any() or inside.all():
        return 0.0
    return float(score_map[inside].mean() - score_map[~inside].mean())


def compare_trust_scores() -> None:
    """Print the table of a run on some images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--masks", type=Path, help="a mask cache whose classifier is at hand")
    arguments = parser.parse_args()
    localizer = Localizer(load_model(arguments.run), choose_compute("cpu", workers=0))
    maker = maker_of_masks(MaskCache(arguments.masks)) if arguments.masks else None
    dataset = open_dataset(None, arguments.data, arguments.split)
    right, numbers = zip(*measured_scores(localizer, dataset, maker))
    right = np.array(right)
    print(f"{len(right)} images, {100 * right.mean():.1f} % of boxes right, tau "
          f"{localizer.tau:.2f}; area of a score that says nothing {100 * (1 - right.mean()):.2f}, "
          f"of the best possible {100 * least_area(right):.2f}")
    print("| score | area under risk-coverage | right in five bins, lowest scores first |")
    print("|---|---|---|")
    for name in numbers[0]:
        values = np.array([each[name] for each in numbers])
        shares = " ".join(f"{100 * part.right:.0f}" for part in reliability(values, right))
        print(f"| {name} | {100 * area_under_risk(values, right):.2f} | {shares} |")


if __name__ == "__main__":
    compare_trust_scores()
