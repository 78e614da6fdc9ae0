"""Streaming score maps and masks through an evaluator."""

import dataclasses

import numpy as np
import pytest

from evaluation.evaluator import Evaluator, MaskEvaluator, default_taus
from evaluation.threshold import fixed_tau
from evaluation.truth import EvaluationError, Truth, truth_from_mask

SIZE = (4, 4)


def score_map(x0, y0, x1, y1, value=1.0):
    made = np.zeros(SIZE, np.float32)
    made[y0:y1, x0:x1] = value
    return made


def truth(image_id, box=(0, 0, 4, 4), label=0, size=(8, 8)):
    """The image is twice as large as the frame."""
    return Truth(image_id, (tuple(2 * edge for edge in box),), size, label)


def evaluator(truths, **settings):
    return Evaluator(truths, size=SIZE, taus=[0.0, 0.25, 0.5, 0.75], **settings)


def values(result):
    return {name: figure.value for name, figure in result.metrics.items()}


def test_every_figure_of_four_images():
    scored = evaluator([truth(name, (0, 0, 2, 4)) for name in "abcd"])
    scored.accumulate(score_map(0, 0, 2, 4), "a", rank=0)  # IoU 1
    scored.accumulate(score_map(0, 0, 2, 2), "b", rank=1)  # 1/2
    scored.accumulate(score_map(2, 0, 4, 4), "c", rank=0)  # 0
    scored.accumulate(score_map(0, 0, 2, 3, 0.3), "d", rank=9)  # 3/4 up to tau 0.25, then nothing
    found = values(scored.compute(0.5))
    assert found["gt_known"] == 0.5
    assert found["top1_loc"] == 0.25
    assert found["top5_loc"] == 0.5
    assert found["top1_cls"] == 0.5
    assert found["top5_cls"] == 0.75
    assert found["mean_iou"] == pytest.approx((1 + 0.5) / 4)
    assert found["max_box_acc"] == 1.0  # at tau 0 each box is the frame: IoU 1/2
    assert found["max_box_acc_v2_30"] == 1.0
    assert found["max_box_acc_v2_70"] == 0.5  # "a" and "d" at tau 0.25
    assert found["max_box_acc_v2"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_images_that_cannot_be_scored_are_as_if_never_asked_for():
    truths = [truth(name, (0, 0, 2, 4), label) for label, name in enumerate("abcd")]
    maps = {"a": score_map(0, 0, 2, 4), "c": score_map(0, 0, 2, 2), "d": score_map(2, 0, 4, 4)}
    scored, fewer = evaluator(truths), evaluator([truths[place] for place in (0, 2, 3)])
    for each in (scored, fewer):
        for name, one in maps.items():
            each.accumulate(one, name, rank=0, predicted=1, score=0.5)
    with pytest.raises(EvaluationError, match="b: its score map is missing"):
        scored.compute(0.5)
    left, expected = scored.without({"b"}).compute(0.5), fewer.compute(0.5)
    assert (left.rows, left.metrics, left.images) == (expected.rows, expected.metrics, 3)
    with pytest.raises(EvaluationError, match="there is no image to score"):
        scored.without("abcd")


def test_tau_is_a_threshold_on_the_grid_or_the_one_named_before():
    scored = evaluator([truth("a", (0, 0, 2, 4))], tau=0.31)
    scored.accumulate(score_map(0, 0, 2, 4, 0.3), "a")
    assert values(scored.compute(0.25))["gt_known"] == 1
    assert values(scored.compute(0.31))["gt_known"] == 0
    assert scored.compute(fixed_tau(0.31)).tau.source == "fixed"
    with pytest.raises(EvaluationError, match="tau 0.3 was not evaluated"):
        scored.compute(0.3)


def test_default_thresholds_are_those_of_the_published_code():
    assert default_taus().tolist() == np.arange(0, 1, 0.01).tolist()


def test_the_best_of_several_true_boxes_counts():
    scored = evaluator([Truth("a", ((0, 0, 2, 2), (4, 0, 8, 8)), (8, 8))])
    scored.accumulate(score_map(2, 0, 4, 4), "a")
    assert values(scored.compute(0.5))["mean_iou"] == 1


def test_all_contours_count_in_v2_only():
    scored = evaluator([truth("a", (3, 0, 4, 1))])
    both = score_map(0, 2, 3, 4) + score_map(3, 0, 4, 1)
    scored.accumulate(both, "a")
    found = values(scored.compute(0.5))
    assert found["max_box_acc"] == 0
    assert found["max_box_acc_v2"] == 1


@pytest.mark.parametrize("rule, expected", [("largest", (2, 0, 6, 8)), ("wsol", (2, 0, 8, 8))])
def test_rows_hold_boxes_of_the_original_image(rule, expected):
    scored = evaluator([truth("a", (1, 0, 3, 4), label=7)], rule=rule)
    scored.accumulate(score_map(1, 0, 3, 4), "a", rank=2, predicted=5, score=0.25)
    row, = scored.compute(0.5).rows
    assert (row.image_id, row.box, row.label, row.predicted, row.score, row.rank) == (
        "a", expected, 7, 5, 0.25, 2)


def test_wsol_figures_follow_inclusive_boxes():
    # Truth (2, 0, 6, 8) in 8 x 8 is (1, 0, 3, 4) in the frame, 3 x 5 pixels inclusively; the map's
    # box is (1, 0, 3, 3), 3 x 4: IoU 12/15.
    scored = evaluator([truth("a", (1, 0, 3, 4))], rule="wsol")
    scored.accumulate(score_map(1, 0, 3, 4), "a")
    assert values(scored.compute(0.5))["mean_iou"] == 12 / 15


def test_curves():
    scored = evaluator([truth("a", (0, 0, 2, 4))])
    scored.accumulate(score_map(0, 0, 2, 3, 0.6), "a")  # IoU 1/2 of the frame, then 3/4, then 0
    result = scored.compute(0.5)
    assert result.tau_curve["iou_50"].tolist() == [1, 1, 1, 0]
    assert result.tau_curve["iou_70"].tolist() == [0, 1, 1, 0]
    shares = dict(zip(result.iou_curve["iou"].tolist(), result.iou_curve["share"].tolist()))
    assert (shares[0.75], shares[0.76]) == (1, 0)


def test_order_and_threads_do_not_matter():
    truths = [truth(str(index), (0, 0, 2, 4)) for index in range(20)]
    generator = np.random.default_rng(0)
    maps = {each.image_id: generator.random(SIZE) for each in truths}
    forward, backward = evaluator(truths), evaluator(truths)
    for image_id, made in maps.items():
        forward.accumulate(made, image_id)
    backward.accumulate_many(((made, image_id, {}) for image_id, made in
                              reversed(maps.items())), workers=2)
    assert forward.compute(0.5).rows == backward.compute(0.5).rows
    assert forward.compute(0.5).metrics == backward.compute(0.5).metrics


def test_pixel_masks_give_pxap():
    mask = np.array([[1, 1, 0, 0], [1, 1, 0, 255], [0] * 4, [0] * 4], np.uint8)
    perfect, useless = evaluator([truth("a")]), evaluator([truth("a")])
    perfect.accumulate((mask == 1).astype(np.float32), "a", pixel_mask=mask)
    useless.accumulate(np.ones(SIZE, np.float32), "a", pixel_mask=mask)
    assert values(perfect.compute(0.5))["pxap"] == 1
    assert values(useless.compute(0.5))["pxap"] == pytest.approx(4 / 15)  # one pixel is ignored


@pytest.mark.parametrize("wrong, message", [
    (np.zeros((4, 5)), "its score map is 4x5, expected 4x4"),
    (np.full(SIZE, np.nan), "NaN"),
    (np.full(SIZE, 1.5), r"\[1.5, 1.5\], expected \[0, 1\]"),
    (np.full(SIZE, -0.5), r"expected \[0, 1\]"),
    (np.zeros(SIZE, np.uint8), "uint8, expected floating point"),
])
def test_bad_score_maps_are_refused_by_name_and_not_counted(wrong, message):
    scored = evaluator([truth("birds/a.jpg")])
    with pytest.raises(EvaluationError, match="birds/a.jpg: .*" + message):
        scored.accumulate(wrong, "birds/a.jpg")
    scored.accumulate(np.zeros(SIZE), "birds/a.jpg")  # the place is still free


def test_unknown_twice_and_missing_images():
    scored = evaluator([truth("a"), truth("b")])
    with pytest.raises(EvaluationError, match="c: not among the 2 images"):
        scored.accumulate(score_map(0, 0, 1, 1), "c")
    scored.accumulate(score_map(0, 0, 1, 1), "a")
    with pytest.raises(EvaluationError, match="a: scored twice"):
        scored.accumulate(score_map(0, 0, 1, 1), "a")
    with pytest.raises(EvaluationError, match="b: its score map is missing, one of 1 missing of 2"):
        scored.compute(0.5)
    with pytest.raises(EvaluationError, match="a: listed more than once"):
        evaluator([truth("a"), truth("a")])
    with pytest.raises(EvaluationError, match="no image"):
        evaluator([])


def test_images_without_boxes_are_counted_and_kept_in_classification():
    scored = evaluator([truth("a"), Truth("b", (), (8, 8))])
    scored.accumulate(score_map(0, 0, 4, 4), "a", rank=0)
    scored.accumulate(score_map(0, 0, 4, 4), "b", rank=9)
    result = scored.compute(0.5)
    assert (result.images, result.with_boxes) == (2, 1)
    assert result.warnings == ("1 of 2 images have no box and count in no localization figure: b.",)
    assert (values(result)["top1_loc"], values(result)["top1_cls"]) == (1, 0.5)
    assert result.rows[1].iou is None
    alone = evaluator([Truth("b", (), (8, 8))])
    alone.accumulate(score_map(0, 0, 4, 4), "b")
    with pytest.raises(EvaluationError, match="b: neither this nor any other"):
        alone.compute(0.5)


@pytest.mark.parametrize("rule", ["largest", "wsol"])
def test_score_maps_without_a_box_are_counted(rule):
    scored = evaluator([truth("a"), truth("b")], rule=rule)
    scored.accumulate(np.zeros(SIZE), "a")
    scored.accumulate(score_map(0, 0, 4, 4), "b")
    result = scored.compute(0.5)
    assert result.warnings == (
        "1 of 2 score maps have no pixel that reaches tau, hence no box: a.",)
    assert values(result)["gt_known"] == 0.5


def test_classes_without_images_are_counted():
    scored = evaluator([truth("a", label=1)], class_names=["gull", "wren", "jay"])
    scored.accumulate(score_map(0, 0, 4, 4), "a")
    assert scored.compute(0.5).warnings == ("2 of 3 classes have no test image: gull, jay.",)


def test_ranks_for_some_images_only_are_refused():
    scored = evaluator([truth("a"), truth("b")])
    scored.accumulate(score_map(0, 0, 1, 1), "a", rank=0)
    scored.accumulate(score_map(0, 0, 1, 1), "b")
    with pytest.raises(EvaluationError, match="b: lacks a rank"):
        scored.compute(0.5)


def test_bad_truth_is_refused_by_name():
    with pytest.raises(EvaluationError, match="a: a box must be"):
        Truth("a", ((3, 0, 1, 4),), (8, 8))
    with pytest.raises(EvaluationError, match="a: a box must be"):
        Truth("a", ((0, 0, float("nan"), 4),), (8, 8))
    with pytest.raises(EvaluationError, match="a: its size must be positive"):
        Truth("a", (), (0, 8))
    assert dataclasses.astuple(truth("a")) == ("a", ((0, 0, 8, 8),), (8, 8), 0)


def test_masks_by_the_strict_rule_and_by_the_papers():
    inside = truth("a", (0, 0, 2, 4))
    scored = MaskEvaluator([inside, *(dataclasses.replace(inside, image_id=name)
                                      for name in "bcd")])
    scored.accumulate(score_map(0, 0, 2, 3) > 0, "a")  # IoU 3/4
    scored.accumulate(score_map(0, 0, 1, 1) > 0, "b")  # 1/8, covers nothing
    scored.accumulate(np.ones((2, 2), bool), "c")  # 1/2 and covers; masks may have any size
    scored.accumulate(np.zeros(SIZE, bool), "d")
    result = scored.compute()
    assert values(result)["mask_strict"] == 0.5
    assert values(result)["bc_star"] == 0.5
    assert result.warnings == ("1 of 4 masks are empty and count as misses: d.",)


def test_a_mask_that_covers_the_object_passes_bc_star_only():
    scored = MaskEvaluator([Truth("a", ((0, 0, 166.5, 333),), (333, 500))])
    scored.accumulate(np.ones((224, 224), bool), "a")  # IoU 0.333
    assert values(scored.compute()) == {
        "mask_strict": 0, "bc_star": 1, "mean_iou": pytest.approx(0.333)}


def test_only_boolean_masks_are_masks():
    with pytest.raises(EvaluationError, match="a: its mask is 4x4 uint8"):
        MaskEvaluator([truth("a")]).accumulate(np.zeros(SIZE, np.uint8), "a")


def test_truth_from_a_mask_is_the_box_of_its_largest_component():
    mask = score_map(0, 0, 1, 1) + score_map(2, 1, 4, 4) > 0
    assert truth_from_mask("a", mask, 3) == Truth("a", ((2, 1, 4, 4),), SIZE, 3)
    assert truth_from_mask("a", np.zeros(SIZE, bool)).boxes == ()
