"""Options are refused before the first image is read."""

import subprocess

import pytest

from common.backbones import ARCHITECTURES, smallest_side
from common.system_errors import CannotWrite
from stage1_bc.classifier_training import ClassifierConfig
from tests.examples import TINY, run, write_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture
def no_image(monkeypatch):
    """Nothing may list a data set or read an image."""
    def fail(*arguments, **options):
        raise AssertionError("an image was looked at")
    for name in ("common.images.read_bytes", "common.loading.read_bytes",
                 "stage2_ct.data.read_bytes", "common.datasets.listed_once.open_dataset",
                 "common.datasets.listed_once.open_backgrounds"):
        monkeypatch.setattr(name, fail)


def refusal(folder, *words):
    """What a command says that is refused."""
    inputs = ["--data", folder / "cub", "--background", folder / "backgrounds",
              "--cache", folder / "cache"]
    if words[0] == "check-backgrounds":
        inputs = [folder / "backgrounds", *inputs[:2], *inputs[4:]]
    try:
        result = run(words[0], *inputs, *TINY, *words[1:])
    except ValueError as error:
        return str(error)
    assert result.exit_code != 0, result.output
    return result.output


@pytest.mark.parametrize("words, said", [
    (["--bc-set", "steps=0"], "steps is 0; it must be at least 1"),
    (["--bc-set", "learning_rate=nan"], "learning_rate=nan: expected float"),
    (["--bc-set", "learning_rate=-1"], "learning_rate is -1.0"),
    (["--bc-set", "held_back=1.5"], "held_back is 1.5; it must be from 0 to 0.9"),
    (["--bc-set", "seed=-1"], "seed is -1"),
    (["--bc-set", "doubtful_clusters=48"], "doubtful_clusters is 48; it must be from 0 to 47"),
    (["--bc-set", "head=nose"], "head is 'nose'"),
    (["--bc-set", "stepz=1"], "did you mean 'steps'"),
    (["--bc-seed", "-1"], "--bc-seed"), (["--bc-seed", 2 ** 70], "--bc-seed"),
    (["--image-size", "40000"], "--image-size"), (["--head", "fc7"], "has no fc6 and fc7"),
    (["--weights", "nowhere.pth"], "nowhere.pth: no such file"),
    (["--device", "gpu"], "there is no such kind of device")])
@pytest.mark.parametrize("command", ["train-bc", "masks", "train-ct", "check-backgrounds",
                                     "evaluate", "compare"])
def test_settings_of_stage_1_are_checked_first(folder, no_image, command, words, said):
    assert said in refusal(folder, command, *words)


@pytest.mark.parametrize("words, said", [
    (["--recipe-set", "gamma=nan"], "gamma=nan: expected float"),
    (["--recipe-set", "noise=-1"], "noise is -1.0"),
    (["--recipe-set", "smallest_area=2"], "smallest_area is 2.0; it must be from 0 to 1"),
    (["--recipe", "frozen", "--bc-set", "pixel_network=false"],
     "the recipe frozen needs the pixel network"),
    (["--bc-set", "tuned_network=false"], "the recipe default needs the tuned network"),
    (["--bc-set", "doubtful_clusters=3", "--recipe", "frozen"],
     "doubtful_clusters=3 is for the tuned network, which the recipe frozen does without"),
    (["--recipe", "blurred", "--recipe-set", "scales=0.1,1"], "images of 3 x 3 pixels are too"),
    (["--recipe-set", "tuned_scales=0.1,1"],
     "tiny does not take images at every size of tuned_scales=0.1,1.0: set --recipe-set tuned_"),
    (["--recipe", "blurred", "--head", "flattened", "--recipe-set", "scales=1,2"],
     "the head flattened reads images of one size"),
    (["--delta", "0.805"], "at most two decimals"), (["--delta", "nan"], "at most two decimals")])
@pytest.mark.parametrize("command", ["masks", "train-ct", "evaluate"])
def test_recipes_are_checked_first(folder, no_image, command, words, said):
    assert said in refusal(folder, command, *words)


@pytest.mark.parametrize("words, said", [
    (["--set", "epochs=0"], "epochs is 0"), (["--set", "backbone_rate=inf"], "expected float"),
    (["--set", "momentum=2"], "momentum is 2.0; it must be from 0 to 1"),
    (["--set", "image_size=4"], "images of 4 x 4 pixels are too small for tiny"),
    (["--set", "smallest_crop=0"], "smallest_crop is 0.0"), (["--seed", "-1"], "--seed")])
@pytest.mark.parametrize("command", ["train-ct", "evaluate"])
def test_settings_of_stage_2_are_checked_first(folder, no_image, command, words, said):
    assert said in refusal(folder, command, *words)


@pytest.mark.parametrize("backbone", ARCHITECTURES)
def test_images_that_are_too_small_for_a_backbone_are_refused(folder, no_image, backbone):
    smallest = smallest_side(backbone)
    if smallest <= 16:  # the option's own limit
        return
    words = ["--backbone", backbone, "--image-size", smallest - 1]
    for command in ("train-bc", "masks", "train-ct", "check-backgrounds"):
        said = refusal(folder, command, *words)
        assert f"too small for {backbone}" in said and f"{smallest} x {smallest}" in said


def test_a_folder_that_cannot_be_written_is_named_first(folder, tmp_path, monkeypatch):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine does not let the tests mount one: {mounted.stderr.strip()}")
    try:
        for words in (["evaluate", "--scoremaps", folder, "--tau-from", "test", "--out"],
                      ["export-scoremaps", "a-run", "--out"], ["inspect", "masks", "--cache"],
                      ["recipes", "--data", folder / "cub", "--background", folder, "--cache"],
                      ["check-backgrounds", folder, "--data", folder / "cub", "--cache"]):
            with pytest.raises(CannotWrite, match="Read-only file system"):
                run(*words, tmp_path / "new")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_defaults_are_in_range():
    assert ClassifierConfig().held_back == 0.1
