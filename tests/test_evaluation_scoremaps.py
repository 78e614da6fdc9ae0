"""Score maps and metadata in files."""

import unicodedata

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


# Other people's files


@pytest.mark.parametrize("encode", [
    lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\n\n \n").encode(),
    lambda text: text.replace(",", " , ").replace("\n", " \n").encode(),
    lambda text: unicodedata.normalize("NFD", text).encode()],
    ids=["mark", "utf-16", "windows", "blank lines", "blanks", "decomposed"])
def test_metadata_however_it_was_written(tmp_path, encode):
    truths = [*TRUTHS, Truth("M\u00f6we.jpg", ((1, 2, 3, 4),), (9, 9), 0)]
    write_metadata(tmp_path, truths)
    for path in tmp_path.glob("*.txt"):
        path.write_bytes(encode(path.read_text(encoding="utf-8")))
    assert read_metadata(tmp_path) == truths


def test_metadata_that_contradicts_itself(tmp_path):
    write_metadata(tmp_path, TRUTHS)
    labels = tmp_path / "class_labels.txt"
    labels.write_text(labels.read_text() + "none.png,1\n")
    assert read_metadata(tmp_path) == TRUTHS
    labels.write_text(labels.read_text() + "none.png,0\n")
    with pytest.raises(EvaluationError, match="none.png: .*class_labels.txt has two different"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("image_id", [" a.jpg", "a.jpg ", "a\rb.jpg"])
def test_ids_that_would_not_come_back(tmp_path, image_id):
    with pytest.raises(EvaluationError, match="rename the image"):
        write_metadata(tmp_path, [Truth(image_id, (), (4, 4))])


MAP = np.float32([[0, 0.5, 1], [0.25, 0, 0]])


@pytest.mark.parametrize("stored", [
    MAP[None], MAP[..., None], MAP[None, None], MAP[None, ..., None], MAP.astype(np.float64),
    np.asfortranarray(MAP), MAP.astype(np.float16)],
    ids=["1HW", "HW1", "11HW", "1HW1", "double", "columns first", "half"])
def test_maps_however_they_are_laid(tmp_path, stored):
    write_score_map(tmp_path, "a.jpg", stored)
    assert read_score_map(tmp_path, "a.jpg").tolist() == MAP.tolist()


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 4, 200), (5,), (), (0, 4), (2, 1, 3, 1, 4)])
def test_maps_of_several_channels_are_refused(tmp_path, shape):
    write_score_map(tmp_path, "a.jpg", np.zeros(shape, np.float32))
    with pytest.raises(EvaluationError, match="a.jpg.npy has the shape") as caught:
        read_score_map(tmp_path, "a.jpg")
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("dtype, excess", [
    (np.float64, 1e-7), (np.float32, 1e-6), (np.float64, 1e-16), (np.float16, 0.0009)])
def test_rounding_beyond_the_range_is_clipped(tmp_path, dtype, excess):
    write_score_map(tmp_path, "a.jpg", np.array([[1 + excess, -excess], [0.5, 0]], dtype))
    assert read_score_map(tmp_path, "a.jpg").tolist() == [[1, 0], [0.5, 0]]


@pytest.mark.parametrize("stored, words", [
    (np.array([[0, 1.001]]), "[0.0, 1.001]"), (np.float32([[-0.001, 1]]), "[-0.001, 1.0]"),
    (np.array([[0, 1.00002]]), "[0.0, 1.00002]"), (np.array([[0, 255.0]]), "[0.0, 255.0]"),
    (np.array([[0, np.nan]]), "NaN"), (np.array([[0, np.inf]]), "infinity"),
    (np.uint8([[0, 255]]), "uint8"), (np.array([[True]]), "bool")])
def test_other_ranges_are_refused_in_full_digits(tmp_path, stored, words):
    write_score_map(tmp_path, "1/a.jpg", stored)
    with pytest.raises(EvaluationError) as caught:
        read_score_map(tmp_path, "1/a.jpg")
    assert words in str(caught.value) and str(tmp_path / "1/a.jpg.npy") in str(caught.value)


def test_litter_among_score_maps(tmp_path):
    for image_id in ("1/a.jpg", "b.jpg"):
        write_score_map(tmp_path, image_id, np.eye(4))
    for name in ("1/._a.jpg.npy", "__MACOSX/1/a.jpg.npy", "@eaDir/b.jpg.npy", ".DS_Store",
                 "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"\0")
    evaluate_folder(evaluator(), tmp_path)


def test_score_maps_under_either_unicode_form(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "M\u00f6we.jpg") for form in ("NFC", "NFD"))
    for known, stored in ((composed, decomposed), (decomposed, composed)):
        folder = tmp_path / f"{len(known)}"
        write_score_map(folder, stored, np.eye(4))
        scored = Evaluator([Truth(known, ((0, 0, 2, 4),), (4, 4))], rule="wsol", size=(4, 4))
        evaluate_folder(scored, folder)
    write_score_map(folder, decomposed, np.eye(4))
    if len(list(folder.iterdir())) == 2:
        with pytest.raises(EvaluationError, match="holds two score maps"):
            evaluate_folder(scored, folder)
