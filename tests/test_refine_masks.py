"""``bcct refine-masks``: masks by a trained model, for a second round."""

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from common.artefacts import ArtefactError
from common.boxes import mask_to_box
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from stage1_bc.mask_settings import describe_masks, maker_of_masks
from stage2_ct.mask_maker import threshold
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]
CPU = ("--device", "cpu", "--workers", "0")


def train(folder, *arguments):
    """The folder of a run that has been trained on ``folder/cub``."""
    output = run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY, *SMALL,
                 *arguments).output
    return Path(output.split("wrote ")[-1].strip())


def refine(folder, model, *arguments):
    """The folder of the masks that a model makes of ``folder/cub``."""
    output = run("refine-masks", model, "--cache", folder / "cache", *CPU, *arguments).output
    return Path(output.split("wrote ")[-1].strip())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with a data set, its masks and a run."""
    folder = tmp_path_factory.mktemp("first")
    write_inputs(folder)
    make_masks(folder, "--recipe", "guided")
    return folder, train(folder, "--recipe", "guided")


@pytest.fixture(scope="module")
def refined(first):
    """The same with the masks that the run has made."""
    folder, model = first
    return folder, model, refine(folder, model)


def test_masks_at_the_usual_delta_are_what_localize_finds(refined, tmp_path):
    folder, model, masks = refined
    run("localize", model, folder / "cub" / "images", "--out", tmp_path / "found", *CPU)
    found, cache = MaskCache(tmp_path / "found" / "masks"), MaskCache(masks, 0.80)
    assert 0 < len(cache) < len(found)  # the training images alone
    for image_id in cache:
        mask, valid, box = cache.read(image_id)
        assert np.array_equal(mask, found[image_id])
        assert valid == (mask.mean() >= 0.01) and tuple(box) == tuple(mask_to_box(mask))


def test_the_threshold_is_tau_at_the_usual_delta():
    assert threshold(0.5, 0.80) == 0.5
    assert threshold(0.5, 1.0) == 1.0
    assert threshold(0.5, 0.80 ** 2) == pytest.approx(0.25)
    assert threshold(0.0, 0.80) == 0.0 and threshold(1.0, 0.70) == 1.0


def test_a_lower_delta_gives_larger_masks(first):
    folder, model = first
    masks = refine(folder, model, "--delta", "0.80", "--delta", "0.70", "--tau", "0.6")
    usual, generous = MaskCache(masks, 0.80), MaskCache(masks, 0.70)
    areas = np.array([[usual[name].sum(), generous[name].sum()] for name in usual])
    assert (areas[:, 0] <= areas[:, 1]).all() and areas[:, 0].sum() < areas[:, 1].sum()


def test_a_mask_of_a_few_pixels_is_not_valid(first):
    folder, model = first
    masks = MaskCache(refine(folder, model, "--tau", "0.99"))  # the map's largest pixels alone
    small = [masks[name].mean() < 0.01 for name in masks]
    assert any(small) and [not masks.read(name)[1] for name in masks] == small
    assert run("verify", masks.folder).exit_code == 0


def test_another_tau_makes_other_masks(refined):
    folder, model, masks = refined
    assert refine(folder, model, "--tau", "0.9") != masks


def test_the_masks_supervise_the_next_model(refined):
    folder, model, masks = refined
    cache = MaskCache(masks)
    second = train(folder, "--masks", masks.name)
    manifest = json.loads((second / "config.json").read_text())
    assert second != model and manifest["masks"]["key"] == cache.key
    assert cache.manifest["about"]["taught_by"]["key"] != cache.key
    assert describe_masks(cache) == (f"masks of {masks}: key {cache.key}, made by the trained "
                                     f"model {model} (tiny)")


def test_other_commands_do_not_take_them_for_masks_of_a_classifier(refined):
    folder, model, masks = refined
    assert train(folder, "--recipe", "guided", "--resume") == model  # finds the first masks
    with pytest.raises(ValueError, match=f"were made by the trained model {model}, not by a"):
        maker_of_masks(MaskCache(masks))
    with pytest.raises(MaskCacheError, match="leave out --recipe, --bc-seed"):
        train(folder, "--masks", masks.name, "--recipe", "guided", "--bc-seed", "1")


def test_nothing_is_made_twice_and_damage_is_mended(refined):
    folder, model, masks = refined
    shard = masks / "shard-00000.h5"
    before, written = shard.read_bytes(), shard.stat().st_mtime_ns
    assert refine(folder, model) == masks and shard.stat().st_mtime_ns == written
    shard.write_bytes(before[:200] + bytes([before[200] ^ 1]) + before[201:])
    with pytest.raises(MaskCacheError, match="is damaged .* run bcct refine-masks again"):
        MaskCache(masks)
    verified = run("verify", masks)
    assert verified.exit_code == 1
    shard.unlink()
    advised = shlex.split(verified.output.splitlines()[-1])
    assert advised[:2] == ["bcct", "refine-masks"]
    assert str(masks) in run(*advised[1:], *CPU).output and shard.read_bytes() == before
    assert run("verify", masks, "--data", folder / "cub").exit_code == 0


def test_a_delta_is_added_to_finished_masks(first):
    folder, model = first
    one = refine(folder, model, "--tau", "0.5")
    before = MaskCache(one, 0.80)
    held = {name: before[name] for name in before}
    assert refine(folder, model, "--tau", "0.5", "--delta", "0.70") == one
    assert MaskCache(one).deltas == (0.7, 0.8)
    after = MaskCache(one, 0.80)
    assert all(np.array_equal(after[name], mask) for name, mask in held.items())


def test_evaluate_does_not_take_the_second_round_for_the_first(refined):
    folder, model, masks = refined
    second = train(folder, "--masks", masks.name, "--seed", "7")
    settings = ("--data", folder / "cub", "--cache", folder / "cache", *TINY, *SMALL, "--seed", "7")
    with pytest.raises(ArtefactError, match="no trained model of these images and settings"):
        run("evaluate", *settings)
    assert str(second) in run("evaluate", *settings, "--masks", masks.name).output
    report = json.loads((second / "report" / "report.json").read_text())
    assert report["settings"]["masks by"]["model"] == str(model)
    assert "stage 1" not in report["settings"]


def test_make_trains_under_them(refined):
    folder, _, masks = refined
    made = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "train-ct", f"DATA={folder / 'cub'}",
         f"MASKS={masks.name}", f"CACHE={folder / 'cache'}", "BACKBONE=tiny", "WEIGHTS=none",
         "SEED=3"],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    words = shlex.split(next(line for line in made.stdout.splitlines() if " train-ct " in line))
    assert "wrote" in run(*words[words.index("train-ct"):], *TINY, *SMALL).output


def test_a_class_map_makes_masks_too(first):
    folder, _ = first
    model = train(folder, "--variant", "cam")
    cache = MaskCache(refine(folder, model, "--tau", "0.5"))
    assert cache.any_valid and cache.manifest["provenance"]["recipe"]["score_map"] == "class"


def test_list_names_the_model_and_its_tau(refined):
    folder, model, masks = refined
    line = next(line for line in run("list", "--cache", folder / "cache").output.splitlines()
                if masks.name in line and "tiny, by" in line)
    tau = MaskCache(masks).manifest["provenance"]["recipe"]["tau"]
    assert f"by {model.name} at tau {tau:.2f}" in line


def test_a_packed_model_makes_the_same_masks(refined, tmp_path):
    folder, model, masks = refined
    run("pack", model, "--out", tmp_path / "model.pt")
    assert refine(folder, tmp_path / "model.pt") == masks


def test_a_data_set_that_is_gone_is_asked_for(refined, tmp_path):
    folder, model, _ = refined
    elsewhere = (folder / "cub").rename(tmp_path / "cub")
    try:
        with pytest.raises(ValueError, match="is not in .*cub any more; give --data"):
            refine(folder, model)
        assert refine(folder, model, "--data", elsewhere).is_dir()
    finally:
        elsewhere.rename(folder / "cub")
