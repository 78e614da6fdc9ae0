"""The report: figures in percent, the same bytes twice, one page without anything outside it."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from evaluation import report as reports
from evaluation.bootstrap import seeds_summary
from evaluation.charts import Line, Mark, line_chart
from evaluation.data_uris import black_and_white, grey, heat, thumbnail
from evaluation.evaluator import Evaluator, ImageResult, MaskEvaluator
from evaluation.outlines import outline_path
from evaluation.page import _card
from evaluation.references import reference_rows
from evaluation.report import pick_gallery, summary, write_report
from evaluation.report_content import GalleryItem, GradientItem, Method, Report, View
from evaluation.tau_sources import tau_oracle
from evaluation.threshold import TauChoice, best_tau
from evaluation.truth import EvaluationError, Truth

SIZE = (8, 8)
TRUTHS = [Truth("gull/a<b>.jpg", ((0, 0, 8, 16),), (16, 16), 0),
          Truth("wren/c.jpg", ((0, 0, 16, 16),), (16, 16), 1),
          Truth("wren/caf\udce9.jpg", (), (16, 16), 1)]  # a name in Latin-1


def score_map(width):
    made = np.zeros(SIZE, np.float32)
    made[:, :width] = 1
    return made


def method(name="bc-ct", width=4, **settings):
    scored = Evaluator(TRUTHS, size=SIZE, class_names=("gull", "wren", "jay"))
    for place, truth in enumerate(TRUTHS):
        scored.accumulate(score_map(width), truth.image_id, rank=place, predicted=1,
                          score=0.123456789)
    choice = TauChoice(0.5, "masks", ("x.jpg",), "A note.")
    return Method(name, scored.compute(choice, resamples=50), **settings)


def report(**changes):
    masks = MaskEvaluator(TRUTHS)
    for truth in TRUTHS:
        masks.accumulate(score_map(4) > 0, truth.image_id)
    first, second = method(seeds=(0, 1), hashes={"masks": "ab12"}, settings={"epochs": 3}), method(
        "cam", 2)
    runs = [{"gt_known": 1.0}, {"gt_known": 0.5}]
    image = np.zeros((32, 48, 3), np.uint8)
    views = tuple(View(each.name, score_map(width), each.result.rows[0])
                  for each, width in ((first, 4), (second, 2)))
    noise = np.random.default_rng(0).random(SIZE)
    made = Report(
        "Birds & <others>", "cub", "test", ("gull", "wren", "jay"),
        dataclasses.replace(first, over_seeds=seeds_summary(runs)), second,
        reference_rows(TRUTHS, size=SIZE, resamples=50), masks.compute(resamples=50),
        (GalleryItem("best", image, TRUTHS[0], views),),
        (GradientItem(TRUTHS[0].image_id, image, noise, noise, noise > 0.5),))
    return dataclasses.replace(made, **changes)


def test_every_figure_in_percent_by_its_plain_name():
    found = summary(report())
    assert found["metrics"]["gt_known"]["value"] == 100
    assert found["metrics"]["mean_iou"]["value"] == 75  # 1 and 1/2
    assert found["metrics"]["top1_cls"]["value"] == pytest.approx(33.3333)
    assert set(found["metrics"]["max_box_acc_v2"]) == {"value", "low", "high"}
    assert found["masks"]["bc_star"]["value"] == 100
    assert found["beside"]["metrics"]["mean_iou"]["value"] == 37.5
    assert found["references"]["full_image"]["metrics"]["mean_iou"]["value"] == 75
    assert found["over_seeds"] == {"gt_known": {"mean": 75, "std": pytest.approx(35.3553)}}
    assert found["tau"] == {"value": 0.5, "source": "masks", "note": "A note.",
                            "image_ids": ["x.jpg"]}
    assert (found["box_rule"], found["seeds"], found["hashes"]) == (
        "largest", [0, 1], {"masks": "ab12"})
    assert found["warnings"] == [
        "1 of 3 images have no box and count in no localization figure: wren/caf\udce9.jpg.",
        "1 of 3 classes have no test image: jay."]


def test_every_key_is_explained():
    found = summary(report())
    assert set(found) == set(found["keys"])
    assert set(found["metrics"]) | set(found["masks"]) == set(found["definitions"])


def test_the_oracle_is_the_tau_that_the_oracle_chooses():
    scored = Evaluator(TRUTHS[:2], size=SIZE)
    ramp = np.linspace(0, 0.9, SIZE[1], dtype=np.float32)[::-1] * np.ones(SIZE, np.float32)
    for truth in TRUTHS[:2]:
        scored.accumulate(ramp, truth.image_id)
    chosen = tau_oracle(scored)
    found = summary(Report("", "", "", (), Method("", scored.compute(chosen, resamples=0))))
    assert found["oracle"]["tau"] == round(chosen.tau, 6) and found["oracle"]["behind"] == 0
    shares = scored.compute(chosen, resamples=0).tau_curve["iou_50"]
    assert best_tau(scored.taus, shares) != chosen.tau  # the tie-break counts here


def test_the_outlines_of_two_methods_are_cut_at_their_own_tau():
    low, high = (method(width=4).result, method(width=4).result)
    low = dataclasses.replace(low, tau=TauChoice(0.2, "fixed"))
    soft = np.where(score_map(4) > 0, 1, np.where(score_map(6) > 0, 0.3, 0)).astype(np.float32)
    first, second = Method("bc-ct", high), Method("bc-ct", low)  # the same name
    views = tuple(View("bc-ct", soft, each.result.rows[0]) for each in (first, second))
    item = GalleryItem("best", np.zeros((32, 48, 3), np.uint8), TRUTHS[0], views)
    made = report(method=first, beside=second, gallery=(item,))
    outlines = [pane.outline for pane in _card(made, item).panes]
    assert outlines == [outline_path(score_map(width) > 0, TRUTHS[0].size) for width in (4, 6)]


def test_a_box_that_just_misses_is_not_shown_as_half():
    row = dataclasses.replace(method().result.rows[0], iou=0.4977)
    item = GalleryItem("worst", np.zeros((32, 48, 3), np.uint8), TRUTHS[0],
                       (View("bc-ct", score_map(4), row),))
    assert _card(report(), item).panes[0].iou == 49


def test_a_report_replaces_no_other_boxes(tmp_path):
    (tmp_path / "boxes.csv").write_text("annotations")
    with pytest.raises(EvaluationError, match="boxes.csv is not of a report"):
        write_report(tmp_path, report())
    assert (tmp_path / "boxes.csv").read_text() == "annotations"


def test_how_far_tau_lies_from_the_oracle():
    scored = Evaluator(TRUTHS[:2], size=SIZE, taus=[0.0, 0.5])
    for truth in TRUTHS[:2]:
        scored.accumulate(score_map(1), truth.image_id)
    found = summary(Report("", "", "", (), Method("", scored.compute(0.5, resamples=0))))
    assert found["oracle"] == {"tau": 0.0, "gt_known": 100, "behind": 100}
    assert found["metrics"]["gt_known"] == {"value": 0, "low": None, "high": None}


def test_the_same_input_gives_the_same_bytes(tmp_path):
    write_report(tmp_path / "first", report())
    write_report(tmp_path / "second", report())
    for name in ("report.json", "boxes.csv", "report.html"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert json.loads((tmp_path / "first" / "report.json").read_text()) == summary(report())


def test_boxes_are_a_line_an_image(tmp_path):
    write_report(tmp_path, report())
    with open(tmp_path / "boxes.csv", newline="", errors="surrogateescape") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["image_id", "x0", "y0", "x1", "y1", "best_iou", "class", "predicted_class", "score"],
        ["gull/a<b>.jpg", "0.0", "0.0", "8.0", "16.0", "1.0", "gull", "wren", "0.123457"],
        ["wren/c.jpg", "0.0", "0.0", "8.0", "16.0", "0.5", "wren", "wren", "0.123457"],
        ["wren/caf\udce9.jpg", "0.0", "0.0", "8.0", "16.0", "", "wren", "wren", "0.123457"]]


def test_the_page_needs_nothing_outside_itself(tmp_path):
    page = write_report(tmp_path, report()).read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|@import|url\(", page)
    for source in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert source.startswith("data:image/")
    assert "Birds &amp; &lt;others&gt;" in page and "a<b>" not in page
    assert 'class="truth" x="0.0" y="0.0" width="8.0" height="16.0"' in page
    assert 'class="found" x="0.0" y="0.0" width="4.0" height="16.0"' in page  # the method beside


def test_a_page_with_the_least(tmp_path):
    least = Report("t", "d", "test", (), Method("m", method().result))
    page = write_report(tmp_path, least).read_text(encoding="utf-8")
    assert "Gallery" not in page and "Gradient maps" not in page and "100.0" in page


def test_an_oracle_says_so_on_the_page(tmp_path):
    scored = Evaluator(TRUTHS[:2], size=SIZE)
    for truth in TRUTHS[:2]:
        scored.accumulate(score_map(4), truth.image_id)
    result = scored.compute(TauChoice(0.5, "test (oracle)"), resamples=10)
    page = write_report(tmp_path, Report("t", "d", "test", (), Method("m", result))).read_text()
    assert '<span class="badge">test (oracle)</span>' in page


def test_gallery_picks_best_median_worst_and_then_every_class():
    rows = tuple(ImageResult(f"{place:02}", (0, 0, 1, 1), 1 - place / 20, label=place % 2)
                 for place in range(20)) + (ImageResult("none", (0, 0, 1, 1), None),)
    result = dataclasses.replace(method().result, rows=rows)
    picks = dict(pick_gallery(result, each=2, worst=2, limit=10))
    assert [name for name, kind in picks.items() if kind == "best"] == ["00", "01"]
    assert [name for name, kind in picks.items() if kind == "worst"] == ["19", "18"]
    assert [name for name, kind in picks.items() if kind == "median"] == ["09", "10"]
    more = [name for name, kind in picks.items() if kind == "more"]
    assert sorted(int(name) % 2 for name in more) == [0, 0, 1, 1]
    kinds = list(dict(pick_gallery(result, each=2, worst=5, limit=10)).values())
    assert kinds.count("worst") == 5 and kinds.count("best") == 2
    assert len(pick_gallery(result, each=8, limit=60)) == 20
    assert len(pick_gallery(result, each=8, limit=5)) == 5


def test_too_many_pictures_are_refused():
    with pytest.raises(EvaluationError, match="at most 100 pictures under gallery, not 101"):
        report(gallery=report().gallery * 101)


def test_pictures_are_data():
    assert thumbnail(np.zeros((600, 20, 3), np.uint8)).startswith("data:image/jpeg;base64,")
    assert heat(np.ones((4, 4))).startswith("data:image/webp;base64,")
    assert grey(np.zeros((4, 4))).startswith("data:image/jpeg;base64,")
    assert black_and_white(np.eye(4, dtype=bool)).startswith("data:image/png;base64,")


def test_chart_puts_fractions_where_they_belong():
    chart = line_chart([Line("a<b", [0, 1], [1, 0], "line-1")], "t", "x", "y", [Mark("here", 0.5)])
    assert 'points="54.0,26.0 446.0,238.0"' in chart
    assert 'd="M250.0 238.0V26.0"' in chart


def test_versions_name_what_computes():
    assert {"python", "numpy"} <= set(reports.versions())
