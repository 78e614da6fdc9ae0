"""Which masks and runs a command takes where the background images differ."""

import json

import cv2
import numpy as np
import pytest

from common.artefacts import ArtefactError
from common.mask_cache.shards import MaskCacheError
from stage1_bc.online import TEACHER
from tests.examples import TINY, make_masks, run, write_inputs

TRAINING = ("--set", "epochs=1", "--set", "width=8", "--set", "mask_width=8", "--set",
            "batch_size=4")


@pytest.fixture
def folder(tmp_path):
    write_inputs(tmp_path)
    random = np.random.default_rng(1)
    (tmp_path / "others").mkdir()
    for number in range(8):
        cv2.imwrite(str(tmp_path / "others" / f"{number}.jpg"),
                    random.integers(0, 60, (40, 40, 3)).astype(np.uint8))
    return tmp_path


def train(folder, *arguments, command="train-ct"):
    return run(command, "--data", folder / "cub", "--cache", folder / "cache", *TINY, *TRAINING,
               *arguments)


def test_masks_made_with_other_backgrounds_are_taken_with_a_warning(folder):
    make_masks(folder)
    warning = "were made with other background images than those in"
    assert warning not in train(folder, "--background", folder / "backgrounds").output
    others = ("--background", folder / "others")
    first = train(folder, *others, "--seed", "1").output
    assert f"{warning} {folder / 'others'}" in first
    make_masks(folder, *others)
    second = train(folder, *others, "--seed", "1").output
    assert warning not in second
    for name, output in (("backgrounds", first), ("others", second)):
        assert output.split("wrote ")[-1].strip() in train(
            folder, "--background", folder / name, "--seed", "1", command="evaluate").output


@pytest.mark.parametrize("kind", ["online", "joint"])
def test_a_run_that_makes_its_masks_is_of_its_backgrounds(folder, kind):
    settings = ("--masks", kind, "--recipe", "guided-layers", "--background")
    first, second = (train(folder, *settings, folder / name).output.split("wrote ")[-1].strip()
                     for name in ("backgrounds", "others"))
    assert first != second
    for name, expected in (("backgrounds", first), ("others", second)):
        assert f"wrote {folder / expected}" in train(
            folder, *settings, folder / name, "--tau-from", "0.5", command="evaluate").output
    # The other seed needs no --background: the run knows its own.
    run("evaluate", folder / first, "--cache", folder / "cache", "--tau-from", "0.5", "--seeds",
        "0,1")
    assert len(list((folder / "cache" / "ct").glob("bc-ct-s1-*"))) == 1
    (folder / "backgrounds" / "0.jpg").unlink()
    with pytest.raises(ArtefactError, match="other seeds would be of other backgrounds"):
        run("evaluate", folder / first, "--cache", folder / "cache", "--seeds", "0,2")
    with pytest.raises(ArtefactError, match="had other background images than those in"):
        train(folder, *settings, folder / "backgrounds", command="evaluate")


def test_joint_masks_say_which_recipe_makes_them(folder):
    output = train(folder, "--masks", "joint", "--background", folder / "backgrounds").output
    assert f"joint masks are made by the recipe {TEACHER}: default needs units" in output
    run_folder = folder / output.split("wrote ")[-1].strip()
    assert json.loads((run_folder / "config.json").read_text())["description"]["masks"][1][
        "signal"] == "layers"
    run("evaluate", run_folder, "--tau-from", "0.5")
    report = json.loads((run_folder / "report" / "report.json").read_text())
    assert report["settings"]["recipe"] == TEACHER


def test_joint_masks_do_without_unreadable_backgrounds_and_name_them(folder):
    for number in range(9):  # more than a step draws, so that some draws hold nothing else
        (folder / "others" / f"broken{number}.jpg").write_bytes(b"no picture")
    output = train(folder, "--masks", "joint", "--background", folder / "others", "--set",
                   "epochs=3").output
    assert output.count("The other background images are used.") == 9
    for picture in (folder / "others").glob("?.jpg"):
        picture.unlink()
    with pytest.raises(ValueError, match="none of the 9 background images can be read"):
        train(folder, "--masks", "joint", "--background", folder / "others")


def test_several_masks_that_fit_are_named_where_only_tau_needs_them(folder):
    make_masks(folder)
    make_masks(folder, "--background", folder / "others")
    output = train(folder, "--variant", "cam").output
    assert "tau will not be chosen from masks: these settings made several mask caches" in output
    run_folder = folder / output.split("wrote ")[-1].strip()
    with pytest.raises(MaskCacheError, match="several mask caches of .*; name one with --masks"):
        run("evaluate", run_folder, "--cache", folder / "cache")
    assert "tau 0." in train(folder, "--variant", "cam", "--background", folder / "others",
                             "--resume").output
