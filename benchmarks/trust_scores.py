"""Which number tells right boxes from wrong ones: candidates for the score of ``bcct localize``.

    python -m benchmarks.trust_scores RUN [--split test] [--data DATA] [--masks MASKS]

Prints a row for each candidate: area under the risk-coverage curve (share of wrong boxes for a
number that says nothing, smaller is better), of every other image and of the others, and the share
of right boxes of the others in five bins from the lowest scores to the highest: what is chosen on
one half is reported on the other.
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
from stage2_ct.localizer import Localizer, load_model
from stage2_ct.prediction import predict_frames, score_prediction

AROUND = {"stability, tau +- 0.1": (-0.1, 0.1),
          "stability, tau +- 0.1 and 0.2": (-0.2, -0.1, 0.1, 0.2),
          "stability, tau +- 0.1, 0.2 and 0.3": (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)}
RULE = LargestComponent()


def compared_scores(localizer: Localizer, dataset: Dataset,
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
    found = rescale(box, score_map.shape, truth.size)
    return bool((iou(found, truth.boxes) >= 0.5).any()), numbers


def _boxes(score_map, taus):
    return RULE.candidates(np.ascontiguousarray(score_map), np.array(taus)).single


def _contrast(score_map, inside):
    if not inside.any() or inside.all():
        return 0.0
    return float(score_map[inside].mean() - score_map[~inside].mean())


def _main() -> None:
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
    right, numbers = zip(*compared_scores(localizer, dataset, maker))
    _print_table(np.array(right), {name: np.array([each[name] for each in numbers])
                                   for name in numbers[0]}, localizer.tau)


def _print_table(right, candidates, tau):
    halves = [np.arange(len(right)) % 2 == part for part in (0, 1)]
    print(f"{len(right)} images, {100 * right.mean():.1f} % of boxes right, tau {tau:.2f}; area of "
          "a score that says nothing and of the best possible: " + "; ".join(
              f"{name} half {100 * (1 - right[half].mean()):.2f} and "
              f"{100 * least_area(right[half]):.2f}"
              for name, half in zip(("first", "second"), halves)))
    print("| score | area, first half | area, second half | second half: right in five bins |")
    print("|---|---|---|---|")
    for name, values in candidates.items():
        areas = " | ".join(f"{100 * area_under_risk(values[half], right[half]):.2f}"
                           for half in halves)
        bins = reliability(values[halves[1]], right[halves[1]])
        print(f"| {name} | {areas} | {' '.join(f'{100 * part.right:.0f}' for part in bins)} |")


if __name__ == "__main__":
    _main()
