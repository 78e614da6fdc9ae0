"""One object in each picture, or many: precision and recall on pictures with several boxes.

    python -m benchmarks.several_objects RUN --data DATA [--split all]
"""

import argparse
from pathlib import Path

from common.compute import choose_compute
from common.datasets import open_dataset
from evaluation.detection import Detected, detected
from evaluation.truth import truths_from_dataset
from stage2_ct.found_objects import OBJECTS
from stage2_ct.localizer import Localizer, load_model


def compare_objects(run: Path, data: Path, split: str) -> dict[tuple[str, str], Detected]:
    """Boxes counted for each setting of ``--objects``, over all images and over those with several.

    Returns:
        {(setting, "all" or "several"): Detected}.
    """
    dataset = open_dataset(None, data, split)
    truths = {truth.image_id: truth for truth in truths_from_dataset(dataset) if truth.boxes}
    records = [record for record in dataset.records if record.image_id in truths]
    counts = {}
    for objects in OBJECTS:
        localizer = Localizer(load_model(run), choose_compute("cpu", workers=0), objects)
        found = {record.image_id: localizer.in_picture(
            result, record.path, truths[record.image_id].size) for batch, results in
            localizer.localized_batches(records) for record, result in zip(batch, results)}
        for images, least in (("all", 1), ("several", 2)):
            counts[objects, images] = detected(
                ([each.box for each in found[image_id].objects], truth.boxes)
                for image_id, truth in truths.items() if len(truth.boxes) >= least)
    return counts


def _main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="all")
    arguments = parser.parse_args()
    print("| images | --objects | true boxes | found | precision | recall |")
    print("|---|---|---|---|---|---|")
    for (objects, images), one in compare_objects(arguments.run, arguments.data,
                                                  arguments.split).items():
        print(f"| {images} | {objects} | {one.true} | {one.found} | {100 * one.precision:.1f} | "
              f"{100 * one.recall:.1f} |")


if __name__ == "__main__":
    _main()
