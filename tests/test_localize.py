"""``bcct localize``: boxes, masks and a page of pictures that nobody has labelled."""

import csv
import functools
import json
import os
import shutil

import cv2
import numpy as np
import pytest

import bcct
from common.boxes import mask_to_box, whole_pixels
from common.localized import LocalizedError, LocalizedFolder
from common.mask_cache.reader import MaskCache
from common.picture_files import list_pictures
from pipelines import localize as localize_command
from stage2_ct import localize_job
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]
CPU = ("--device", "cpu", "--workers", "0")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A trained run, alone: data set, backgrounds and masks have been removed."""
    folder = tmp_path_factory.mktemp("model")
    write_inputs(folder)
    make_masks(folder)
    output = run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY,
                 *SMALL).output
    trained = output.split("wrote ")[-1].strip()
    run("evaluate", trained, "--data", folder / "cub", "--out", folder / "report", "--workers", "0")
    shutil.move(trained, folder / "run")
    shutil.copytree(folder / "cub" / "images", folder / "pictures")
    for name in ("cache", "backgrounds", "cub"):
        shutil.rmtree(folder / name)
    return folder


def localize(model, *arguments):
    return run("localize", model / "run", *arguments, *CPU)


def rows_in(folder):
    with open(folder / "boxes.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_boxes_equal_those_of_evaluate(model, tmp_path):
    localize(model, model / "pictures", "--out", tmp_path / "out")
    rows = {row["image_id"]: row for row in rows_in(tmp_path / "out")}
    assert len(rows) == 12 and list(rows) == sorted(rows)
    with open(model / "report" / "boxes.csv", newline="") as file:
        evaluated = list(csv.DictReader(file))
    compared = 0
    for other in evaluated:
        row = rows[other["image_id"]]
        assert row["label"] == other["predicted_class"]
        if other["class"] == row["label"]:
            compared += 1
            assert whole_pixels([float(other[name]) for name in ("x0", "y0", "x1", "y1")],
                                (48, 64)) == tuple(int(row[name]) for name in (
                                    "x0", "y0", "x1", "y1"))
    assert compared


def test_masks_are_a_sound_cache_with_the_boxes_of_the_table(model, tmp_path):
    localize(model, model / "pictures", "--out", tmp_path / "out")
    cache = MaskCache(tmp_path / "out" / "masks")
    assert run("verify", cache.folder).exit_code == 0
    for row in rows_in(tmp_path / "out"):
        mask, valid, box = cache.read(row["image_id"])
        assert valid and tuple(box) == tuple(mask_to_box(mask))
        size = np.array([64, 48, 64, 48]) / 32
        assert whole_pixels(box * size, (48, 64)) == tuple(
            int(row[name]) for name in ("x0", "y0", "x1", "y1"))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "12 of 12 pictures are shown" in page and page.count("<figure") == 12
    scores = [float(row["score"]) for row in rows_in(tmp_path / "out")]
    assert all(0 < score <= 1 for score in scores)
    manifest = LocalizedFolder(tmp_path / "out").manifest()
    assert manifest["finished"] and manifest["count"] == 12 and not (
        tmp_path / "out" / "parts").exists()


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(model, tmp_path, monkeypatch):
    monkeypatch.setattr(localize_command, "LocalizeJob",
                        functools.partial(localize_job.LocalizeJob, part_size=4))
    localize(model, model / "pictures", "--out", tmp_path / "whole")
    original, done = localize_job._localize_part, []

    def stop_at_the_second(job, index, records, advance):
        if index == 1:
            raise OSError("killed")
        original(job, index, records, advance)
    monkeypatch.setattr(localize_job, "_localize_part", stop_at_the_second)
    with pytest.raises(OSError, match="killed"):
        localize(model, model / "pictures", "--out", tmp_path / "stopped")
    assert not LocalizedFolder(tmp_path / "stopped").manifest()["finished"]
    with pytest.raises(LocalizedError, match="not finished"):
        next(LocalizedFolder(tmp_path / "stopped").pictures())

    def note(job, index, records, advance):
        done.append(index)
        original(job, index, records, advance)
    monkeypatch.setattr(localize_job, "_localize_part", note)
    localize(model, model / "pictures", "--out", tmp_path / "stopped")
    assert done == [1, 2]
    for name in ("boxes.csv", "pictures.jsonl", "index.html", "masks/shard-00000.h5",
                 "masks/shard-00002.h5"):
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name).read_bytes()


def test_an_output_folder_with_other_results_is_not_mixed(model, tmp_path):
    first, second = sorted((model / "pictures" / "001.Disc").glob("*.jpg"))[:2]
    localize(model, first, "--out", tmp_path / "out")
    with pytest.raises(LocalizedError, match="holds these results already.*--overwrite"):
        localize(model, first, "--out", tmp_path / "out")
    with pytest.raises(LocalizedError, match="other pictures.*--overwrite"):
        localize(model, second, "--out", tmp_path / "out")
    localize(model, second, "--out", tmp_path / "out", "--overwrite")
    assert [row["image_id"] for row in rows_in(tmp_path / "out")] == [second.name]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("unique")
    with pytest.raises(LocalizedError, match="something else.*not overwritten"):
        localize(model, first, "--out", tmp_path / "mine", "--overwrite")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "unique"


def test_a_picture_twice_is_done_once_and_two_of_one_name_are_told_apart(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(sorted((model / "pictures" / "001.Disc").glob("*.jpg"))[0],
                    tmp_path / name / "x.jpg")
    result = localize(model, tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.jpg", "--out",
                      tmp_path / "out")
    assert [row["image_id"] for row in rows_in(tmp_path / "out")] == ["a/x.jpg", "b/x.jpg"]
    assert "1 picture(s) were given more than once and are done once: 'a/x.jpg'" in result.output


def test_bad_pictures_are_named_and_the_others_done(model, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    good = sorted((model / "pictures" / "001.Disc").glob("*.jpg"))[0]
    shutil.copy(good, pictures / "good.jpg")
    (pictures / "cut.jpg").write_bytes(good.read_bytes()[:300])
    cv2.imwrite(str(pictures / "pixel.png"), np.full((1, 1, 3), 90, np.uint8))
    cv2.imwrite(str(pictures / "long.png"), np.full((2, 20_000, 3), 90, np.uint8))
    result = localize(model, pictures, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "'cut.jpg': " in result.output
    assert "1 image(s) could not be read" in result.output
    rows = {row["image_id"]: row for row in rows_in(tmp_path / "out")}
    assert list(rows) == ["good.jpg", "long.png", "pixel.png"]
    if rows["pixel.png"]["x1"]:
        assert [rows["pixel.png"][name] for name in ("x0", "y0", "x1", "y1")] == list("0011")
    skipped = localize(model, pictures, "--out", tmp_path / "two", "--on-bad-image", "skip")
    assert skipped.exit_code == 0


def test_bad_command_lines_end_with_one_sentence(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there are no pictures: .*empty.* holds nothing"):
        localize(model, tmp_path / "empty", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="there is no picture or folder .*nowhere"):
        localize(model, tmp_path / "nowhere", "--out", tmp_path / "out")
    inside = localize(model, model / "pictures", "--out", model / "pictures" / "out")
    assert inside.exit_code == 2 and "name a folder elsewhere" in inside.output
    (tmp_path / "file").write_text("mine")
    refused = localize(model, model / "pictures", "--out", tmp_path / "file")
    assert refused.exit_code == 2 and f"{tmp_path / 'file'} is a file" in refused.output
    shutil.copytree(model / "run", tmp_path / "run")
    (tmp_path / "run" / "last.pt").unlink()
    with pytest.raises(ValueError, match="there is no trained model"):
        run("localize", tmp_path / "run", model / "pictures", "--out", tmp_path / "out", *CPU)
    assert not (tmp_path / "out").exists()


def test_tau_0_takes_the_whole_picture(model, tmp_path):
    localize(model, model / "pictures", "--out", tmp_path / "out", "--tau", "0")
    masks = MaskCache(tmp_path / "out" / "masks")
    assert all(masks[image_id].all() for image_id in masks)


def test_many_objects_are_rows_of_their_own(model, tmp_path):
    localize(model, model / "pictures", "--out", tmp_path / "out", "--objects", "many", "--tau",
             "0.6", "--format", "coco", "--overlays")
    pictures = list(LocalizedFolder(tmp_path / "out").pictures())
    assert max(len(picture.objects) for picture in pictures) >= 1
    rows = rows_in(tmp_path / "out")
    assert len(rows) == sum(max(1, len(picture.objects)) for picture in pictures)
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(content["annotations"]) == sum(len(picture.objects) for picture in pictures)
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 12


def test_ids_are_paths_below_the_given_folder(tmp_path):
    for name in ("one/x.jpg", "one/deep/y.PNG", "one/notes.txt", "two/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no picture yet")
    files = list_pictures([tmp_path / "one"])
    assert [record.image_id for record in files.records] == ["deep/y.PNG", "x.jpg"]
    assert files.remarks() == ["left out: files that are no pictures (1: 'notes.txt')"]
    both = list_pictures([tmp_path / "one" / "x.jpg", tmp_path / "two"])
    assert [record.image_id for record in both.records] == ["one/x.jpg", "two/z.jpg"]
    os.symlink(tmp_path / "one", tmp_path / "link")
    assert [record.image_id for record in list_pictures([tmp_path / "link"]).records] == [
        record.image_id for record in files.records]


def test_links_to_pictures_keep_their_names(model, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "links").mkdir()
    picture = next((model / "pictures").rglob("*.jpg"))
    shutil.copy(picture, tmp_path / "store" / "3f9a77")
    for name in ("wren.jpg", "wren2.jpg"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "store" / "3f9a77")
    listed = list_pictures([tmp_path / "links" / "wren.jpg", tmp_path / "links" / "wren2.jpg"])
    assert [record.image_id for record in listed.records] == ["wren.jpg", "wren2.jpg"]
    assert not listed.repeated
    (tmp_path / "other").symlink_to(tmp_path / "links")  # a link to the folder is the folder
    again = list_pictures([tmp_path / "links" / "wren.jpg", tmp_path / "other" / "wren.jpg"])
    assert again.repeated == ("wren.jpg",)


def test_masks_of_unreadable_pictures_are_verified_and_repaired_by_localize(model, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(model / "pictures", pictures)
    (pictures / "half.jpg").write_bytes(next(pictures.rglob("*.jpg")).read_bytes()[:300])
    localize(model, pictures, "--out", tmp_path / "out")
    masks = tmp_path / "out" / "masks"
    assert "nothing is wrong" in run("verify", masks, "--data", pictures).output
    with pytest.raises(ValueError, match="do not say which background classifier made them"):
        run("check-masks", masks, "--cache", tmp_path / "cache")
    (masks / "shard-00000.h5").write_bytes(b"")
    result = run("verify", masks)
    assert result.exit_code == 1 and "bcct localize and --overwrite" in result.output


def test_objects_are_one_or_many(model):
    with pytest.raises(ValueError, match="objects is 'several'; it must be one of one, many"):
        bcct.load(model / "run", objects="several")
