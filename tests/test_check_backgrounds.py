import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.examples import TINY, run, write_inputs


def check(folder, *arguments):
    return run("check-backgrounds", folder / "backgrounds", "--data", folder / "cub", *TINY,
               "--bc-set", "steps=100", "--cache", folder / "cache", *arguments)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """Backgrounds with one of every fault, and what check-backgrounds says of them."""
    folder = tmp_path_factory.mktemp("spoilt")
    write_inputs(folder)
    backgrounds = folder / "backgrounds"
    shutil.copy(backgrounds / "0.jpg", backgrounds / "copy of 0.jpg")
    cv2.imwrite(str(backgrounds / "1 again.png"),
                cv2.resize(cv2.imread(str(backgrounds / "1.jpg")), (50, 50)))
    (backgrounds / "notes.txt").write_text("no picture")
    birds = sorted((folder / "cub" / "images").rglob("*.jpg"))
    shutil.copy(birds[0], backgrounds / "taken.jpg")
    Image.open(birds[1]).save(backgrounds / "taken again.jpg", quality=70)
    names = [bird.relative_to(folder / "cub" / "images").as_posix() for bird in birds]
    result = check(folder)
    report = next((folder / "cache" / "backgrounds").iterdir())
    return folder, names, result, report


def test_every_fault_is_found(spoilt):
    _, birds, _, output = spoilt
    report = json.loads((output / "report.json").read_text())
    assert report["pictures"] == {"backgrounds": 12, "targets": 8, "other_images": 4}
    assert list(report["unreadable"]) == ["notes.txt"]
    assert "is none of" in report["unreadable"]["notes.txt"]
    assert report["same_bytes"] == [["0.jpg", "copy of 0.jpg"]]
    assert [(pair["first"], pair["second"]) for pair in report["look_alikes"]] == [
        ("1 again.png", "1.jpg")]
    assert report["same_bytes_in_data_set"] == [["taken.jpg", birds[0]]]
    assert ("taken again.jpg", birds[1]) in [
        (pair["first"], pair["second"]) for pair in report["look_alikes_in_data_set"]]


def test_pictures_that_hold_a_target_rank_first(spoilt):
    _, _, _, output = spoilt
    report = json.loads((output / "report.json").read_text())
    ranked = [one["image_id"] for one in report["ranked"]]
    logits = [one["logit"] for one in report["ranked"]]
    assert len(ranked) == 12 and logits == sorted(logits, reverse=True)
    assert set(ranked[:2]) == {"taken.jpg", "taken again.jpg"}
    assert report["believed_targets"] == report["ranked"][:2]  # only these two are above 0


def test_the_terminal_names_them_too(spoilt):
    _, birds, result, output = spoilt
    assert result.exit_code == 0
    for line in ("unreadable: 1", "exact duplicates: 1", "'0.jpg', 'copy of 0.jpg'",
                 f"'taken.jpg', '{birds[0]}'", "seem to hold a target"):
        assert line in result.output
    assert f"wrote {output}" in result.output
    assert np.array(Image.open(output / "contact_sheet.png")).shape[0] > 500


def test_softness_and_size_are_called_what_they_are(tmp_path):
    write_inputs(tmp_path)
    for path in (tmp_path / "backgrounds").iterdir():
        small = cv2.resize(cv2.imread(str(path)), (10, 10), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path), small)
    output = check(tmp_path).output
    assert "size in pixels: AUC 1.00" in output
    assert output.count("WARNING") == 3
    assert "enlarged to the frame of 32 pixels: 8 of 8 backgrounds, 0 of 8 targets" in output


def test_nothing_is_found_where_nothing_is_wrong(tmp_path):
    write_inputs(tmp_path)
    output = check(tmp_path).output
    for line in ("unreadable: 0", "exact duplicates: 0", "look-alikes: 0",
                 "also in the data set: 0", "look like an image of the data set: 0"):
        assert line in output


def test_unreadable_targets_are_counted(tmp_path):
    write_inputs(tmp_path)
    next((tmp_path / "cub" / "images").rglob("*.jpg")).write_bytes(b"")
    assert "unreadable in the data set: 1" in check(tmp_path).output


def test_too_few_backgrounds_are_one_sentence(tmp_path):
    write_inputs(tmp_path, backgrounds=3)
    result = check(tmp_path)
    assert result.exit_code == 1
    assert "3 readable backgrounds and 8 readable targets are too few" in result.output
