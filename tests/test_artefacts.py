"""Artefacts know themselves: copied, renamed, or with what made them gone, they still serve."""

import collections
import json
import os
import shutil

import pytest
from click.testing import CliRunner

from common.artefacts import ArtefactError, resolve
from common.config import ConfigError
from common.datasets import listed_once, open_dataset
from common.mask_cache.shards import MaskCacheError
from pipelines.__main__ import cli
from pipelines.jobs import run_choice, training_job
from stage1_bc import stage1_job
from tests.examples import TINY, make_masks, run, write_inputs

TRAINING = ("--set", "epochs=1", "--set", "width=8", "--set", "mask_width=8", "--set",
            "batch_size=4")


@pytest.fixture
def folder(tmp_path):
    write_inputs(tmp_path)
    return tmp_path


def data(folder):
    return "--data", folder / "cub", "--cache", folder / "cache"


def train(folder, *arguments):
    """The folder of a run over the masks in ``folder/cache``."""
    output = run("train-ct", *data(folder), *TINY, *TRAINING, *arguments).output
    return folder / output.split("wrote ")[-1].strip()


def figures(run_folder):
    return json.loads((run_folder / "report" / "report.json").read_text())["metrics"]


@pytest.fixture
def trained(folder):
    make_masks(folder)
    return train(folder)


def test_a_copy_is_evaluated_as_itself(folder, trained):
    run("evaluate", trained)
    copy = folder / "elsewhere" / "my birds"
    shutil.copytree(trained, copy)
    shutil.rmtree(copy / "report")
    before = (trained / "report" / "report.json").stat().st_mtime_ns
    assert f"wrote {copy / 'report' / 'report.html'}" in run(
        "evaluate", copy, "--cache", folder / "cache").output
    assert figures(copy) == figures(trained)
    assert (trained / "report" / "report.json").stat().st_mtime_ns == before
    (copy / "last.pt").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=f"{copy / 'last.pt'} is not a checkpoint"):
        run("evaluate", copy)
    (copy / "last.pt").unlink()
    with pytest.raises(ValueError, match=f"no trained model {copy / 'last.pt'}; run make train-ct"):
        run("evaluate", copy)


def test_a_renamed_run_and_its_copy_serve_from_any_folder(folder, trained, monkeypatch):
    run("evaluate", trained)
    expected = figures(trained)
    renamed = trained.with_name("renamed")
    trained.rename(renamed)
    shutil.rmtree(renamed / "report")
    monkeypatch.chdir(folder / "backgrounds")
    run("evaluate", os.path.relpath(renamed))
    assert figures(renamed) == expected
    assert "renamed" in run("evaluate", "ren", "--cache", folder / "cache").output
    found = run("evaluate", *data(folder), *TINY, *TRAINING).output
    assert f"wrote {renamed / 'report' / 'report.html'}" in found


def test_nothing_asks_for_backgrounds_that_are_gone(folder, trained):
    (folder / "backgrounds").rename(folder / "moved")
    assert "4 images" in run("evaluate", trained).output
    assert "from fixed" in run("evaluate", trained, "--tau-from", "0.5").output
    assert "4 score maps" in run("export-scoremaps", trained, "--out", folder / "maps").output
    train_split = ("export-scoremaps", trained, "--out", folder / "maps", "--split", "train")
    refused = run(*train_split)
    assert refused.exit_code == 2 and "holds score maps already" in refused.output
    assert "8 score maps" in run(*train_split, "--overwrite").output
    assert len(list((folder / "maps" / "scoremaps").rglob("*.npy"))) == 8
    assert train(folder, "--seed", "5").is_dir()
    assert train(folder, "--seed", "6", "--background", folder / "backgrounds").is_dir()


def test_a_further_background_leaves_finished_masks_and_runs_alone(folder, trained):
    shutil.copy(folder / "backgrounds/0.jpg", folder / "backgrounds/new.jpg")
    assert "from fixed" in run("evaluate", trained, "--tau-from", "0.5").output
    assert train(folder, "--seed", "5", "--background", folder / "backgrounds").is_dir()
    assert "from fixed" in run("evaluate", *data(folder), *TINY, *TRAINING, "--tau-from", "0.5",
                               "--background", folder / "backgrounds").output


def test_a_finished_run_needs_the_data_set_alone(folder, trained):
    for name in ("bc", "masks"):
        shutil.rmtree(folder / "cache" / name)
    shutil.rmtree(folder / "backgrounds")
    result = run("evaluate", trained, "--tau-from", "0.5")
    assert result.exit_code == 0 and "no gradient maps" in result.output
    with pytest.raises(ValueError, match="masks that this run was trained with .*--tau-from val"):
        run("evaluate", trained)
    (folder / "cub").rename(folder / "moved")
    with pytest.raises(ValueError, match="data set of this run is not in .*; give --data"):
        run("evaluate", trained, "--tau-from", "0.5")
    moved = run("evaluate", trained, "--tau-from", "0.5", "--data", folder / "moved")
    assert "4 images" in moved.output


def test_the_seed_of_stage_2_is_not_that_of_the_masks(folder):
    make_masks(folder)
    assert train(folder, "--seed", "1").name.startswith("bc-ct-s1-")
    result = run("masks", *data(folder), "--background", folder / "backgrounds", *TINY, "--seed",
                 "1")
    assert result.exit_code == 2 and "No such option" in result.output
    assert "--bc-seed" in result.output
    with pytest.raises(ValueError, match="no finished masks .* by these settings .*--bc-seed 3"):
        train(folder, "--bc-seed", "3")


@pytest.mark.parametrize("source", ["0.5", "val"])
def test_a_stated_tau_looks_at_no_masks(folder, source):
    cam = train(folder, "--variant", "cam")
    assert not (folder / "cache" / "masks").exists()
    output = run("evaluate", cam, "--tau-from", source).output
    assert f"from {'fixed' if source == '0.5' else 'val'}" in output
    report = json.loads((cam / "report" / "report.json").read_text())
    note = report["references"]["centred_square"]["tau"]["note"]
    assert ("a fixed number" if source == "0.5" else "chosen from val") in note
    with pytest.raises(ValueError, match="no stage-1 masks .*bcct masks, or name some"):
        run("evaluate", cam)
    make_masks(folder)  # made after training, they are found
    assert "from masks" in run("evaluate", cam).output


def test_what_a_run_decides_is_refused_and_what_may_be_chosen_counts(folder, trained):
    for option, value in (("--seed", "99"), ("--backbone", "vgg16"), ("--set", "epochs=3"),
                          ("--bc-seed", "1"), ("--delta", "0.7"), ("--background", "x")):
        result = run("evaluate", trained, option, value)
        assert result.exit_code == 2 and f"the run itself decides {option}" in result.output
    with pytest.raises(ValueError, match="is a run of bc-ct, which is not trained as cam is"):
        run("evaluate", trained, "--variant", "cam")
    assert "bc-ct-class-map: 4 images" in run(
        "evaluate", trained, "--variant", "bc-ct-class-map").output
    with pytest.raises(ValueError, match="--device nonsense: there is no such kind of device"):
        run("evaluate", trained, "--device", "nonsense")
    with pytest.raises(ValueError, match="/does/not/exist.*found no such folder"):
        run("evaluate", trained, "--data", "/does/not/exist")
    assert "8 images" in run("evaluate", trained, "--split", "train").output


def test_other_images_count_and_must_be_of_known_classes(folder, trained):
    photographs = folder / "photographs"
    for split in ("train", "test"):
        for name in ("001.Disc", "002.Disc"):
            shutil.copytree(folder / "cub" / "images" / name, photographs / split / name)
    ids = [path.relative_to(photographs) for path in photographs.rglob("*.jpg")]
    (photographs / "boxes.csv").write_text("image_id,x0,y0,x1,y1\n" + "".join(
        f"{each},8,8,40,40\n" for each in ids))
    run("evaluate", trained)
    result = run("evaluate", trained, "--data", photographs, "--out", folder / "report")
    assert "12 images" in result.output
    own, other = (json.loads((path / "report.json").read_text())["tau"]
                  for path in (trained / "report", folder / "report"))
    assert other["source"] == "masks" and other["value"] == own["value"]
    with pytest.raises(ArtefactError, match="not those that the run .* learnt from"):
        (folder / "cub").rename(folder / "gone")
        run("evaluate", trained, "--data", photographs, "--seeds", "1")
    with pytest.raises(MaskCacheError, match="a valid mask of none of these training images"):
        run("evaluate", trained, "--data", photographs)
    (folder / "gone").rename(folder / "cub")
    (photographs / "boxes.csv").unlink()
    (photographs / "test" / "001.Disc").rename(photographs / "test" / "003.Other")
    with pytest.raises(ValueError, match="classes that the model does not know: '003.Other'"):
        run("evaluate", trained, "--data", photographs, "--tau-from", "0.5")


def test_a_report_replaces_nothing_but_a_report(folder, trained):
    annotations = folder / "elsewhere" / "boxes.csv"
    annotations.parent.mkdir()
    annotations.write_text("image_id,x0,y0,x1,y1\n")
    with pytest.raises(ValueError, match="elsewhere/boxes.csv is not of a report"):
        run("evaluate", trained, "--out", annotations.parent)
    assert annotations.read_text() == "image_id,x0,y0,x1,y1\n"
    for _ in range(2):
        run("evaluate", trained, "--out", folder / "report")


def test_an_unreadable_picture_leaves_two_runs_comparable(folder, trained):
    other = train(folder, "--seed", "1")
    bad = open_dataset("auto", folder / "cub", "test").records[0].path
    bad.write_bytes(bad.read_bytes()[:-400])  # its header can still be read
    result = run("evaluate", trained, "--beside", other, "--tau-from", "0.5", "--on-bad-image",
                 "skip")
    report = json.loads((trained / "report" / "report.json").read_text())
    assert result.exit_code == 0 and report["images"] == report["beside"]["images"] == 3
    assert (report["name"], report["beside"]["name"]) == (trained.name, other.name)
    assert "--beside names the run itself" in run("evaluate", trained, "--beside", trained).output
    assert "bc-ct-class-map: 3 images" in run(
        "evaluate", trained, "--variant", "bc-ct-class-map", "--beside", trained,
        "--on-bad-image", "skip").output


def test_own_training_images_are_listed_once_for_all_runs(folder, trained):
    plain = train(folder, "--variant", "cam")
    shutil.copytree(folder / "cub", folder / "photographs")
    changed = open_dataset("auto", folder / "photographs", "train").records[0].path
    changed.write_bytes(changed.read_bytes() + b" ")  # another data set of the same classes
    output = run("evaluate", trained, "--data", folder / "photographs", "--beside", plain).output
    for name in ("cub", "photographs"):
        assert output.count(f"{folder / name}': CUB-200-2011's layout") == 1


def test_a_number_for_tau_needs_no_training_images(folder):
    make_masks(folder)
    plain = train(folder, "--variant", "cam")
    shutil.rmtree(folder / "cache" / "masks")
    shutil.copytree(folder / "cub", folder / "photographs")
    shutil.rmtree(folder / "cub")
    (folder / "cub").mkdir()  # as of a disk that is not mounted
    assert "4 images" in run("evaluate", plain, "--data", folder / "photographs", "--tau-from",
                             "0.5").output


def test_a_score_map_is_not_changed_by_training_settings(folder, trained):
    for command in ("evaluate", "train-ct"):
        with pytest.raises(ConfigError, match="cuts its boxes from the score map .*--score-map c"):
            run(command, *data(folder), *TINY, *TRAINING, "--set", "score_map=class")


def test_tau_and_its_source_travel_with_the_run(trained):
    at_the_end_of_training = (trained / "config.json").read_bytes()
    run("evaluate", trained, "--tau-from", "test")
    assert (trained / "config.json").read_bytes() == at_the_end_of_training
    run("evaluate", trained)
    recorded = json.loads((trained / "config.json").read_text())["localization"]
    report = json.loads((trained / "report" / "report.json").read_text())
    assert recorded["source"] == "masks"
    assert recorded["tau"] == pytest.approx(report["tau"]["value"], abs=1e-6)


@pytest.mark.parametrize("comparison", [
    ("--variant", "bc-ct-class-map"), ("--score-map", "class"), ("--input-size", "64")])
def test_a_comparison_leaves_what_localize_does(trained, comparison):
    before = (trained / "config.json").read_bytes()
    output = run("evaluate", trained, *comparison).output
    assert "tau is not recorded in the run" in output and ", not " in output
    assert (trained / "config.json").read_bytes() == before


def test_variants_that_share_a_run_leave_it_as_it_is(folder, trained):
    before = (trained / "config.json").read_bytes()
    other = ("--variant", "bc-ct-class-map")
    run("evaluate", *data(folder), *TINY, *TRAINING, *other, "--seeds", "0")
    assert (trained / "config.json").read_bytes() == before
    output = run("train-ct", *data(folder), *TINY, *TRAINING, *other, "--resume").output
    assert "the run keeps tau " in output and "chosen for the variant bc-ct; " in output
    assert (trained / "config.json").read_bytes() == before


def test_record_makes_localize_cut_boxes_as_evaluate_did(trained):
    output = run("evaluate", trained, "--variant", "bc-ct-class-map", "--tau-from", "0.125",
                 "--record").output
    assert f"recorded in the run {trained.name} for bcct localize: tau 0.12, variant " in output
    evaluated = run("evaluate", trained).output
    assert "in another way (variant bc-ct-class-map, not bc-ct, score_map class, not" in evaluated
    recorded = json.loads((trained / "config.json").read_text())["localization"]
    assert (recorded["variant"], recorded["score_map"], recorded["tau"]) == (
        "bc-ct-class-map", "class", 0.125)
    refused = run("evaluate", trained, "--tau-from", "test", "--record")
    assert refused.exit_code == 2
    assert "--record cannot be used with --tau-from test" in refused.output


def test_evaluate_refuses_options_that_would_do_nothing(folder, trained):
    for arguments, idle in ((("--metadata", folder), "--metadata"),
                            (("--boxes-per-class", "2"), "--boxes-per-class"),
                            (("--scoremaps", folder, "--out", folder / "out"), "RUN")):
        refused = run("evaluate", trained, *arguments)
        assert refused.exit_code == 2 and f"leave out {idle}\n" in refused.output


def test_a_run_of_other_classes_is_not_shown_beside(folder, trained):
    other = folder / "other"
    shutil.copytree(trained, other)
    manifest = json.loads((other / "config.json").read_text())
    manifest["description"]["classes"] = ["001.Disc", "003.Other"]
    (other / "config.json").write_text(json.dumps(manifest))
    refused = run("evaluate", trained, "--beside", other)
    assert refused.exit_code == 2 and "was trained on other classes" in refused.output


def test_the_other_run_of_a_comparison_keeps_its_tau(folder, trained):
    other = folder / "other"
    shutil.copytree(trained, other)
    before = (other / "config.json").read_bytes()
    run("evaluate", trained, "--tau-from", "0.25", "--beside", other)
    assert (other / "config.json").read_bytes() == before
    assert json.loads((trained / "config.json").read_text())["localization"]["tau"] == 0.25


def test_masks_are_named_by_the_beginning_of_their_name(folder):
    first = make_masks(folder)
    make_masks(folder, "--recipe", "guided")
    output = run("train-ct", *data(folder), *TINY, *TRAINING, "--masks",
                 "cub-train-tiny-gui").output
    assert "recipe guided" in output
    with pytest.raises(ValueError, match="several names in .* begin with 'cub'"):
        train(folder, "--masks", "cub")
    with pytest.raises(ValueError, match="there is no mask cache 'dogs'"):
        train(folder, "--masks", "dogs")
    with pytest.raises(ValueError, match="others of these images, which --masks names: cub-train"):
        train(folder, "--recipe", "paper")
    assert "images      8" in run("inspect", "cub-train-tiny-def", *data(folder)).output
    assert "nothing is wrong" in run("verify", "cub-train-tiny-def", *data(folder)).output
    assert first.startswith(str(folder))


def test_a_whole_name_and_folders_alone_count(tmp_path):
    masks = tmp_path / "cub-train-ab12"
    masks.mkdir()
    (tmp_path / "cub-train-ab12.log").touch()
    assert resolve("cub-train-ab12", tmp_path, "mask cache") == masks
    assert resolve("cub", tmp_path, "mask cache") == masks
    (tmp_path / "cub-train-ab12-copy").mkdir()
    assert resolve("cub-train-ab12", tmp_path, "mask cache") == masks
    with pytest.raises(ArtefactError, match="several names in .* begin with 'cub-train'"):
        resolve("cub-train", tmp_path, "mask cache")
    with pytest.raises(ArtefactError, match="there is no mask cache 'cub-train-ab12.log'"):
        resolve("cub-train-ab12.log", tmp_path, "mask cache")


def test_masks_by_two_classifiers_are_listed(folder):
    make_masks(folder)
    shutil.copy(folder / "backgrounds/0.jpg", folder / "backgrounds/new.jpg")
    make_masks(folder)
    with pytest.raises(ValueError, match="several mask caches of these images: .*--masks"):
        train(folder)
    assert train(folder, "--background", folder / "backgrounds").is_dir()


def test_the_list_shows_what_there_is(folder, trained):
    output = run("list", "--cache", folder / "cache").output
    assert trained.name in output and "not evaluated" in output and "held back: targets" in output
    assert "8 images" in output and "recipe default" in output and "finished" in output
    run("evaluate", trained)
    assert "GT-known" in run("list", "--cache", folder / "cache").output
    run("evaluate", trained, "--tau-from", "test", "--split", "train")
    assert "tau by an oracle, train images" in run("list", "--cache", folder / "cache").output
    assert "mask clusters: none" in run("list", "--cache", folder / "cache").output
    masks = next((folder / "cache" / "masks").iterdir())
    run("check-masks", masks.name, "--cache", folder / "cache", "--clusters", "2")
    output = run("list", "--cache", folder / "cache").output
    assert f"{masks.name}-2-clusters  masks " in output and "2 clusters" in output
    (masks / "manifest.json").unlink()
    assert "not finished" in run("list", "--cache", folder / "cache").output
    for damaged in (trained / "report" / "report.json",
                    next((folder / "cache" / "clusters").glob("*/clusters.pt"))):
        damaged.write_bytes(b"{")
    output = run("list", "--cache", folder / "cache").output
    assert "its report is damaged" in output and "  damaged" in output
    assert "training runs: none" in run("list", "--cache", folder / "none").output


def test_the_list_names_what_is_wrong_with_a_run(folder, trained):
    log, checkpoint = trained / "log.jsonl", trained / "last.pt"
    content = log.read_bytes()
    log.write_bytes(content[:20])
    assert "its log is damaged" in run("list", "--cache", folder / "cache").output
    with pytest.raises(ValueError, match=f"{log} is damaged .*put it back"):
        run("plot", trained)
    log.write_bytes(content)
    checkpoint.unlink()
    assert "no last.pt" in run("list", "--cache", folder / "cache").output
    (trained / "config.json").write_bytes(b"{")
    assert "no readable config.json" in run("list", "--cache", folder / "cache").output


@pytest.fixture
def counted(monkeypatch):
    """How often each folder is listed, each file's size is asked for, and what else is opened."""
    counts = collections.Counter()
    scandir, stat = os.scandir, os.stat

    def counting(name, function):
        def call(*arguments, **options):
            counts[name, str(arguments[0]) if name != "call" else ""] += 1
            return function(*arguments, **options)
        return call
    monkeypatch.setattr(os, "scandir", counting("listed", scandir))
    monkeypatch.setattr(os, "stat", counting("looked at", stat))
    for module, name in ((listed_once, "open_dataset"), (stage1_job, "read_classifier"),
                         (run_choice, "load_run"), (training_job, "find_masks")):
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    return counts


def times(counts, what, under):
    return {key: count for (kind, key), count in counts.items()
            if kind == what and key.startswith(str(under)) and os.path.splitext(key)[1] == ".jpg"}


def test_masks_lists_the_data_set_once_and_looks_at_each_file_once(folder, counted):
    make_masks(folder)
    assert sum(count for (kind, _), count in counted.items() if kind == "open_dataset") == 1
    assert sum(count for (kind, _), count in counted.items() if kind == "read_classifier") == 1
    # Once when it is listed; the decoder then asks again whether it is a file before it opens it.
    training = {path: count for path, count in times(counted, "looked at", folder / "cub").items()}
    assert len(training) == 12


def test_evaluate_lists_the_data_set_once(folder, trained, counted):
    run("evaluate", trained)
    for name in ("open_dataset", "load_run"):
        assert sum(count for (kind, _), count in counted.items() if kind == name) == 1


@pytest.mark.parametrize("arguments, sentence", [
    (("masks",), "give --data: the data set's folder"),
    (("masks", "--data", "{}/cub"), "give --background: a folder of background images"),
    (("train-ct",), "give --data"), (("evaluate",), "give --data"),
    (("train-ct", "--data", "{}/cub", "--delta", "0.805"), "at most two decimals"),
    (("train-ct", "--data", "{}/cub", "--seed", "-1"), "--seed"),
    (("evaluate", "--data", "{}/cub", "--weights", "none"), "no trained model of these images"),
    (("masks", "--data", "{}/cub", "--background", "{}/backgrounds", "--device", "gpu"),
     "--device gpu: there is no such kind of device"),
    (("masks", "--data", "{}/cub", "--background", "{}/backgrounds", "--device", "cuda:7"),
     "use --device cpu")])
def test_what_is_missing_or_wrong_is_said_before_work_starts(folder, arguments, sentence):
    words = [each.format(folder) for each in arguments]
    result = CliRunner().invoke(cli, [*words, "--cache", str(folder / "cache")])
    assert result.exit_code != 0
    assert sentence in result.output or sentence in str(result.exception)
    assert not (folder / "cache").exists()


def test_help_groups_the_options_and_names_the_fields():
    output = run("train-ct", "--help").output
    for group in ("Data:", "Stage 1 (background classifier and masks):", "Stage 2", "Run:",
                  "Fields of --set, training settings of stage 2", "Fields of --recipe-set",
                  "Fields of --bc-set"):
        assert group in output
    assert "epochs=100" in output and "Passes over the training images" in output
    assert "weight_decay=0.05" in output
    # The values are those that the command uses, not those of an empty dataclass.
    assert "mask_weight=4.0" in output and "signal=tuned" in output
    assert "tuned_network=true" in output
