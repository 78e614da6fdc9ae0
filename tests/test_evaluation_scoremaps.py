"""Score maps and metadata in files."""

import numpy as np
import pytest

from evaluation.evaluator import Evaluator
from evaluation.scoremaps import (evaluate_folder, min_max, read_metadata, read_score_map,
                                  score_map_path, write_metadata, write_score_map)
from evaluation.truth import EvaluationError, Truth

TRUTHS = [Truth("001.Gull/a.jpg", ((0, 0, 4, 8), (1, 2, 3, 4)), (8, 6), 0),
          Truth("002.Wren/b.jpg", ((2, 2, 4, 4),), (4, 4), 1),
          Truth("none.png", (), (5, 7), 1)]


def test_min_max():
    assert min_max(np.array([[2.0, 4.0], [3.0, 2.5]])).tolist() == [[0, 1], [0.5, 0.25]]
    assert min_max(np.full((2, 2), 0.7)).tolist() == [[0, 0], [0, 0]]
    assert min_max(np.float32([[1, 3]])).dtype == np.float32
    with pytest.raises(EvaluationError, match="NaN or infinity"):
        min_max(np.array([[np.nan, 1.0]]))


def test_files_keep_folders_and_extension(tmp_path):
    assert score_map_path(tmp_path, "1/x.jpg") == tmp_path / "1" / "x.jpg.npy"
    write_score_map(tmp_path, "1/x.jpg", np.float32([[0, 0.5]]))
    assert read_score_map(tmp_path, "1/x.jpg").tolist() == [[0, 0.5]]
    assert np.load(tmp_path / "1" / "x.jpg.npy").dtype == np.float32


@pytest.mark.parametrize("image_id", ["../x.jpg", "/x.jpg", ""])
def test_ids_stay_inside_the_folder(tmp_path, image_id):
    with pytest.raises(EvaluationError, match="cannot name a file"):
        score_map_path(tmp_path, image_id)


def test_metadata_there_and_back(tmp_path):
    write_metadata(tmp_path, TRUTHS)
    assert (tmp_path / "image_ids.txt").read_text() == "001.Gull/a.jpg\n002.Wren/b.jpg\nnone.png\n"
    assert (tmp_path / "class_labels.txt").read_text().splitlines()[1] == "002.Wren/b.jpg,1"
    assert (tmp_path / "image_sizes.txt").read_text().splitlines()[0] == "001.Gull/a.jpg,6,8"
    assert (tmp_path / "localization.txt").read_text().splitlines() == [
        "001.Gull/a.jpg,0,0,4,8", "001.Gull/a.jpg,1,2,3,4", "002.Wren/b.jpg,2,2,4,4"]
    assert read_metadata(tmp_path) == TRUTHS


def test_metadata_errors_name_file_line_and_image(tmp_path):
    with pytest.raises(EvaluationError, match="image_ids.txt is missing"):
        read_metadata(tmp_path)
    write_metadata(tmp_path, TRUTHS)
    (tmp_path / "localization.txt").write_text("none.png,1,2,three,4\n")
    with pytest.raises(EvaluationError, match="localization.txt, line 1: expected .* 4 numbers"):
        read_metadata(tmp_path)
    (tmp_path / "localization.txt").write_text("other.png,1,2,3,4\n")
    with pytest.raises(EvaluationError, match="other.png: .* image_ids.txt does not"):
        read_metadata(tmp_path)
    write_metadata(tmp_path, TRUTHS)
    (tmp_path / "image_sizes.txt").write_text("none.png,7,5\n")
    with pytest.raises(EvaluationError, match="001.Gull/a.jpg: .*image_sizes.txt has no line"):
        read_metadata(tmp_path)


def test_names_that_the_files_cannot_hold(tmp_path):
    with pytest.raises(EvaluationError, match="comma"):
        write_metadata(tmp_path, [Truth("a,b.jpg", (), (4, 4))])


def evaluator():
    return Evaluator([Truth("1/a.jpg", ((0, 0, 2, 4),), (4, 4)), Truth("b.jpg", (), (4, 4))],
                     rule="wsol", size=(4, 4))


def test_a_folder_of_score_maps(tmp_path):
    half = np.zeros((4, 4))
    half[:, :2] = 1
    write_score_map(tmp_path, "1/a.jpg", half)
    scored = evaluator()
    with pytest.raises(EvaluationError, match="b.jpg: its score map is missing; expected .*b.jpg"):
        evaluate_folder(scored, tmp_path)
    write_score_map(tmp_path, "b.jpg", half)
    scored = evaluator()
    evaluate_folder(scored, tmp_path)
    # The box is (0, 0, 2, 3), 3 x 4 inclusively; the truth (0, 0, 2, 4), 3 x 5.
    assert scored.compute(0.5).metrics["mean_iou"].value == 12 / 15


def test_a_folder_of_other_things(tmp_path):
    with pytest.raises(EvaluationError, match="not a folder"):
        evaluate_folder(evaluator(), tmp_path / "nowhere")
    write_score_map(tmp_path, "c.jpg", np.zeros((4, 4)))
    with pytest.raises(EvaluationError, match="c.jpg: .* not to be scored"):
        evaluate_folder(evaluator(), tmp_path)
    (tmp_path / "c.jpg.npy").unlink()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "a.jpg.npy").write_text("not an array")
    with pytest.raises(EvaluationError, match="1/a.jpg: .* not an array"):
        evaluate_folder(evaluator(), tmp_path)
