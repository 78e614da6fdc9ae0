"""``evaluate`` where nobody has drawn a box, and where some images have several."""

import json

import numpy as np
import pytest

from evaluation.evaluator import Evaluator
from evaluation.report import pick_gallery, summary, write_report
from evaluation.report_content import Method, Report
from evaluation.threshold import fixed_tau
from evaluation.truth import EvaluationError, Truth
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]
CUT = np.zeros((8, 8), np.float32)
CUT[2:6, 2:6] = 1


def evaluated(truths, ranks=None):
    evaluator = Evaluator(truths, size=(8, 8))
    for place, truth in enumerate(truths):
        rank = None if ranks is None else ranks[place]
        evaluator.accumulate(CUT, truth.image_id, rank=rank, predicted=0, score=0.9)
    return evaluator.compute(fixed_tau(0.5))


def test_without_boxes_there_are_classification_figures_alone():
    result = evaluated([Truth("a", (), (8, 8), 0), Truth("b", (), (8, 8), 1)], [0, 3])
    assert {name: figure.value for name, figure in result.metrics.items()} == {
        "top1_cls": 0.5, "top5_cls": 1.0}
    assert result.tau_curve is None and result.iou_curve is None and result.with_boxes == 0
    assert [row.box for row in result.rows] == [(2, 2, 6, 6)] * 2
    assert {name for name, _ in pick_gallery(result)} == {"a", "b"}
    with pytest.raises(EvaluationError, match="localization needs annotated boxes"):
        evaluated([Truth("a", (), (8, 8), 0)])


def test_a_report_without_boxes_is_written(tmp_path):
    result = evaluated([Truth("a", (), (8, 8), 0), Truth("b", (), (8, 8), 1)], [0, 3])
    report = Report("model on pictures", "pictures", "test", ("x", "y"), Method("model", result))
    page = write_report(tmp_path, report).read_text()
    assert "was run on each of 2 images" in page and "annotated box" in page
    assert "Top-5" not in page  # of two classes it says nothing
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["curves"] is None and content["oracle"] is None
    assert content["per_class"][0] == {"class": "x", "images": 1, "gt_known": None,
                                       "mean_iou": None, "top1_loc": None, "top1_cls": 100.0}


def test_images_with_one_box_and_with_several_are_counted_apart():
    truths = [Truth("a", ((2, 2, 6, 6),), (8, 8)), Truth("b", ((0, 0, 2, 2),), (8, 8)),
              Truth("c", ((2, 2, 6, 6), (0, 0, 2, 2)), (8, 8))]
    figures = evaluated(truths).metrics
    assert figures["gt_known_single"].value == 0.5 and figures["gt_known_several"].value == 1
    assert figures["gt_known"].value == pytest.approx(2 / 3)
    assert "gt_known_single" not in evaluated(truths[:2]).metrics


def test_differences_to_the_square_and_to_another_method_stand_by_the_headline(tmp_path):
    truths = [Truth("a", ((2, 2, 6, 6),), (8, 8), 0), Truth("b", ((0, 0, 2, 2),), (8, 8), 1)]
    result, other = evaluated(truths, [0, 1]), evaluated(truths[1:], [0])
    report = Report("t", "birds", "test", ("x", "y"), Method("bc-ct", result),
                    beside=Method("cam", other), references={"centred_square": other},
                    training=({"epoch": 1, "mask": 0.5}, {"epoch": 2, "mask": 0.25}),
                    made={"command": "bcct evaluate RUN", "date": "2026-11-25"})
    page = write_report(tmp_path, report).read_text()
    assert page.count("points over the centred square") >= 2
    assert "+50.0 points over cam" in page and "bcct evaluate RUN" in page
    assert "mask loss" in page and summary(report)["training"][1]["mask"] == 0.25


def test_evaluate_on_images_without_any_box(tmp_path):
    write_inputs(tmp_path)
    folders = tmp_path / "folders"
    for split in ("train", "test"):
        for path in sorted((tmp_path / "cub" / "images").rglob("*.jpg")):
            if (int(path.stem) % 3 == 0) == (split == "test"):
                (folders / split / path.parent.name).mkdir(parents=True, exist_ok=True)
                (folders / split / path.parent.name / path.name).write_bytes(path.read_bytes())
    data = ("--data", folders, "--cache", tmp_path / "cache", *TINY)
    for split in ("train", "test"):
        run("masks", *data, "--background", tmp_path / "backgrounds", "--split", split)
    trained = run("train-ct", *data, *SMALL).output.split("wrote ")[-1].strip()
    output = run("evaluate", trained, "--workers", "0").output
    assert "top1_cls" in output and "mask_mean_iou" in output and "gt_known" not in output
    report = json.loads((tmp_path / "cache" / "ct" / trained.split("/")[-1] / "report" /
                         "report.json").read_text())
    assert report["dataset"] == "folders" and report["title"] == "bc-ct on folders"
    assert 0 <= report["agreement"]["mask_mean_iou"]["value"] <= 100
    assert report["settings"]["stage 1"]["backbone"] == "tiny"
    assert report["made"]["command"].startswith("bcct evaluate ")
    assert make_masks(tmp_path)  # with boxes, the same commands go on as before
