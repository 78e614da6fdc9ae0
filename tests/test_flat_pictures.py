"""Stage 1 alone: a flat folder of pictures and a folder of backgrounds, no class label."""

import json

import cv2
import pytest

from common.datasets import DatasetError
from common.mask_cache.reader import MaskCache
from tests.examples import TINY, run, write_inputs


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    write_inputs(folder)
    (folder / "pictures").mkdir()
    for path in (folder / "cub" / "images").rglob("*.jpg"):
        path.rename(folder / "pictures" / path.name)
    return folder


def command(flat, name, *arguments):
    return run(name, "--dataset", "pictures", "--data", flat / "pictures", "--background",
               flat / "backgrounds", "--cache", flat / "cache", *TINY, *arguments)


def test_masks_inspection_and_export_of_pictures_without_classes(flat, tmp_path):
    assert "held-back accuracy" in command(flat, "train-bc").output
    output = command(flat, "masks").output
    assert "of 12 masks are valid" in output
    folder = output.split("wrote ")[-1].strip()
    cache = MaskCache(folder)
    assert list(cache) == sorted(path.name for path in (flat / "pictures").iterdir())
    sheet = run("inspect", folder, "--data", flat / "pictures", "--cache", flat / "cache").output
    image = cv2.imread(sheet.split("wrote ")[-1].strip())
    assert image is not None and image.shape[1] > 160
    run("verify", folder, "--data", flat / "pictures")
    run("export", folder, "--format", "coco", "--out", tmp_path / "coco.json")
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [each["name"] for each in content["categories"]] == ["target"]
    assert len(content["annotations"]) == cache.manifest["valid"]["0.80"]
    assert len(content["images"]) == 12


def test_a_model_trained_on_them_localizes(flat, tmp_path):
    """With one class nothing is to be told apart: the mask branch finds the object."""
    command(flat, "masks")
    output = run("train-ct", "--dataset", "pictures", "--data", flat / "pictures", "--cache",
                 flat / "cache", *TINY, "--set", "epochs=1", "--set", "width=8", "--set",
                 "mask_width=8").output
    run("localize", output.split("wrote ")[-1].strip(), flat / "pictures", "--out",
        tmp_path / "out", "--device", "cpu", "--workers", "0")
    lines = (tmp_path / "out" / "boxes.csv").read_text().splitlines()
    assert len(lines) == 13 and all(",target,1.0," in line for line in lines[1:])


def test_there_is_no_test_split(flat):
    with pytest.raises(DatasetError, match="no test split"):
        command(flat, "masks", "--split", "test")


def test_a_flat_folder_says_how_it_is_opened(flat):
    with pytest.raises(DatasetError, match="--dataset pictures"):
        run("masks", "--data", flat / "pictures", "--background", flat / "backgrounds", "--cache",
            flat / "cache", *TINY)
