"""The whole way through the command line, on a few small pictures in CUB's layout."""

import errno
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from common.datasets import open_dataset
from common.mask_cache import writer
from common.mask_cache.reader import MaskCache
from common.system_errors import CannotWrite
from evaluation.mask_figures import mask_figures
from pipelines import train_ct
from pipelines.__main__ import cli
from pipelines.paper.measuring import percent
from stage1_bc import stage1_job


def write_cub(root, random):
    """Two classes of bright discs on dark noise, six images a class, one in three for testing."""
    (root / "images").mkdir(parents=True)
    tables = {name: [] for name in ("images", "image_class_labels", "train_test_split",
                                    "bounding_boxes")}
    for number in range(12):
        label = number % 2
        name = f"{label + 1:03}.Disc/{number}.jpg"
        picture = random.integers(0, 60, (48, 64, 3)).astype(np.uint8)
        x, y = random.integers(20, 44), random.integers(16, 32)
        cv2.circle(picture, (int(x), int(y)), 12, (250, 250, 90 + 160 * label), -1)
        (root / "images" / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / "images" / name), picture)
        tables["images"].append(f"{number + 1} {name}")
        tables["image_class_labels"].append(f"{number + 1} {label + 1}")
        tables["train_test_split"].append(f"{number + 1} {int(number % 3 > 0)}")
        tables["bounding_boxes"].append(f"{number + 1} {x - 12}.0 {y - 12}.0 24.0 24.0")
    for name, lines in tables.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("1 001.Disc\n2 002.Disc\n")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    write_cub(folder / "cub", random)
    (folder / "backgrounds").mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / "backgrounds" / f"{number}.jpg"),
                    random.integers(0, 60, (40, 40, 3)).astype(np.uint8))
    return folder


STAGE2_ONLY = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set",
               "batch_size=4"]


def run(inputs, command, *arguments, succeeds=True):
    result = CliRunner().invoke(cli, [
        command, "--data", str(inputs / "cub"), "--background", str(inputs / "backgrounds"),
        "--backbone", "tiny", "--weights", "none", "--image-size", "32", "--workers", "0",
        "--cache", str(inputs / "cache"), *arguments])
    if succeeds and result.exception is not None:
        raise result.exception
    return result


def test_masks_before_training_and_training_before_evaluation(inputs, tmp_path):
    with pytest.raises(ValueError, match="no background classifier .* run make masks"):
        raise run(inputs, "train-ct", "--cache", str(tmp_path), succeeds=False).exception
    run(inputs, "train-bc", "--cache", str(tmp_path))
    with pytest.raises(ValueError, match="no finished masks .* --split train"):
        raise run(inputs, "train-ct", "--cache", str(tmp_path), succeeds=False).exception


def test_the_whole_way(inputs):
    output = run(inputs, "masks", "--delta", "0.7", "--delta", "0.8").output
    assert "training it" in output and "of 8 masks are valid" in output
    folder = output.split("wrote ")[-1].strip()
    cache = MaskCache(folder)
    train = open_dataset("cub", inputs / "cub", "train")
    assert list(cache) == [record.image_id for record in train.records]
    assert cache.deltas == (0.7, 0.8) and cache.mask_size == (32, 32)

    before = {path.name: path.read_bytes() for path in cache.folder.iterdir()}
    assert "training it" not in run(inputs, "masks", "--delta", "0.8").output
    assert before == {path.name: path.read_bytes() for path in cache.folder.iterdir()}

    output = run(inputs, "train-ct", *STAGE2_ONLY).output
    folder = output.split("wrote ")[-1].strip()
    config = json.loads((inputs / folder / "config.json").read_text())
    assert config["description"]["masks"] == cache.key
    assert config["description"]["config"]["epochs"] == 2
    again = run(inputs, "train-ct", *STAGE2_ONLY, succeeds=False)
    assert again.exit_code != 0 and "--resume" in again.output
    assert "wrote" in run(inputs, "train-ct", "--resume", *STAGE2_ONLY).output


def test_the_recorded_command_makes_the_same_masks_from_any_folder(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(inputs)
    output = run(Path("."), "masks", "--recipe", "guided").output
    folder = inputs / output.split("wrote ")[-1].strip()
    cache, content = MaskCache(folder), (folder / "shard-00000.h5").read_bytes()
    (folder / "shard-00000.h5").unlink()
    monkeypatch.chdir(tmp_path)
    command = shlex.split(cache.manifest["about"]["command"])
    result = CliRunner().invoke(cli, [*command[1:], "--workers", "0"], catch_exceptions=False)
    assert f"wrote {folder}" in result.output
    assert (folder / "shard-00000.h5").read_bytes() == content
    assert cache.manifest["about"]["folder"] == str(folder)


def test_a_finished_cache_needs_no_lock(inputs, monkeypatch):
    run(inputs, "masks")

    def read_only(*arguments, **options):
        raise OSError("Read-only file system")
    for module in (stage1_job, writer):
        monkeypatch.setattr(module, "write_lock", read_only)
    assert "wrote" in run(inputs, "masks").output
    with pytest.raises(OSError, match="Read-only"):
        raise run(inputs, "train-bc", succeeds=False).exception


def test_a_full_disk_in_training_says_how_to_go_on(inputs, monkeypatch):
    def full(job, on_epoch):
        raise CannotWrite(errno.ENOSPC, "make room, and run the same command again")
    run(inputs, "masks")
    monkeypatch.setattr(train_ct, "train", full)
    result = run(inputs, "train-ct", "--seed", "9", *STAGE2_ONLY, succeeds=False)
    assert result.exit_code == 1
    assert "make room, and run the same command again, with --resume" in result.output


def test_a_missing_delta_joins_those_that_are_there(inputs):
    run(inputs, "masks", "--delta", "0.7", "--delta", "0.8", "--split", "test")
    output = run(inputs, "masks", "--delta", "0.9", "--split", "test").output
    cache = MaskCache(output.split("wrote ")[-1].strip())
    assert cache.deltas == (0.7, 0.8, 0.9) and len(cache) == 4


def test_cached_and_online_masks_are_the_same_when_nothing_is_augmented(inputs):
    from common.images import read_image
    from stage1_bc.mask_settings import maker_of_masks
    from stage1_bc.online import OnlineMaker
    output = run(inputs, "masks", "--delta", "0.8").output
    cache = MaskCache(output.split("wrote ")[-1].strip(), 0.8)
    records = open_dataset("cub", inputs / "cub", "train").records
    frames = torch.stack([torch.from_numpy(read_image(record.path, (32, 32))).permute(2, 0, 1)
                          for record in records])
    maker = maker_of_masks(cache)
    masks, valid = OnlineMaker(maker, 0.8)(frames.float() / 255)
    for record, mask, flag in zip(records, masks, valid):
        held, held_flag, _ = cache.read(record.image_id)
        assert np.array_equal(mask[0].numpy(), held) and flag == held_flag
    assert valid.any()


def test_three_ways_side_by_side(inputs):
    output = run(inputs, "compare", *STAGE2_ONLY).output
    assert "joint masks are made by the recipe guided-layers" in output
    assert [line.split()[0] for line in output.splitlines()[-3:]] == ["cached", "online", "joint"]


def test_compare_names_the_images_that_it_leaves_out(inputs, tmp_path):
    write_cub(tmp_path / "cub", np.random.default_rng(0))
    broken = {"001.Disc/0.jpg", "001.Disc/2.jpg"}  # a test image and a training image
    for name in broken:
        (tmp_path / "cub" / "images" / name).write_bytes(b"no picture")
    arguments = ("--data", str(tmp_path / "cub"), "--cache", str(tmp_path), *STAGE2_ONLY,
                 "--recipe", "blurred")
    result = run(inputs, "compare", *arguments, succeeds=False)
    assert result.exit_code == 1 and "2 image(s) could not be read" in result.output
    assert all(f"'{name}': its content" in result.output for name in broken)
    assert run(inputs, "compare", *arguments, "--on-bad-image", "skip").exit_code == 0


def test_compare_refuses_images_without_boxes_before_it_trains(inputs, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "disc").symlink_to(inputs / "cub" / "images" / "001.Disc")
    result = run(inputs, "compare", "--data", str(tmp_path / "data"), "--cache",
                 str(tmp_path / "cache"), succeeds=False)
    assert result.exit_code == 2 and "have no boxes" in result.output
    assert not (tmp_path / "cache").exists()


def test_an_unreadable_image_is_named_and_the_others_are_done(inputs, tmp_path):
    random = np.random.default_rng(1)
    write_cub(tmp_path / "cub", random)
    broken = tmp_path / "cub/images/001.Disc/0.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    run(inputs, "train-bc", "--data", str(tmp_path / "cub"), "--cache", str(tmp_path))
    result = run(inputs, "masks", "--data", str(tmp_path / "cub"), "--split", "test",
                 "--cache", str(tmp_path), succeeds=False)
    assert result.exit_code == 1 and "0.jpg" in result.output
    assert "1 image(s) could not be read" in result.output
    cache = MaskCache(next((tmp_path / "masks").iterdir()))
    assert list(cache.manifest["unreadable"]) == ["001.Disc/0.jpg"]
    mask, valid, _ = cache.read("001.Disc/0.jpg")
    assert not mask.any() and not valid


@pytest.mark.parametrize("command", ["train-bc", "masks", "train-ct", "evaluate", "compare"])
def test_every_command_answers_help(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0 and "--backbone" in result.output


def test_the_help_text_imports_no_torch():
    import subprocess
    import sys
    program = ("import sys; sys.argv = ['bcct', '--help']\n"
               "from pipelines.__main__ import cli\n"
               "cli(standalone_mode=False)\n"
               "assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train-bc" in done.stdout


@pytest.mark.parametrize("arguments, source", [
    ([], "from masks"), (["--tau-from", "val", "--score-map", "class"], "from val"),
    (["--tau-from", "test", "--box-rule", "wsol"], "from test (oracle)"),
    (["--tau-from", "0.437"], "tau 0.44 from fixed")])
def test_evaluation_says_where_tau_comes_from(inputs, arguments, source):
    if not list((inputs / "cache").glob("ct/bc-ct-s1-*")):
        run(inputs, "masks", "--delta", "0.8")
        run(inputs, "train-ct", "--seed", "1", *STAGE2_ONLY)
    output = run(inputs, "evaluate", "--seed", "1", *STAGE2_ONLY, *arguments).output
    assert "4 images" in output and source in output
    figures = {line.split()[0]: float(line.split()[1]) for line in output.splitlines()
               if line.startswith("  ")}
    assert figures["top1_loc"] <= min(figures["gt_known"], figures["top1_cls"])
    assert figures["top5_cls"] == 100  # of two classes


def test_evaluation_before_training_says_which_command(inputs):
    result = run(inputs, "evaluate", "--seed", "7", *STAGE2_ONLY, succeeds=False)
    assert "run make train-ct" in str(result.exception)


def test_reports_of_two_runs_over_two_seeds_and_their_score_maps(inputs):
    run(inputs, "masks", "--delta", "0.8")
    folders = {}
    for variant in ("bc-ct", "cam"):
        output = run(inputs, "train-ct", "--variant", variant, "--seed", "2", "--resume",
                     *STAGE2_ONLY).output
        folders[variant] = Path(output.split("wrote ")[-1].strip())
    bare = CliRunner().invoke(cli, ["evaluate", str(folders["bc-ct"]), "--seeds", "2,3",
                                    "--beside", str(folders["cam"])], catch_exceptions=False)
    assert "over seeds 2, 3" in bare.output and "cam: 4 images" in bare.output
    report = json.loads((folders["bc-ct"] / "report" / "report.json").read_text())
    assert report["beside"]["name"] == "cam" and set(report["references"]) == {
        "full_image", "centred_square", "centred_gaussian"}
    figure = report["metrics"]["gt_known"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert len((folders["bc-ct"] / "report" / "boxes.csv").read_text().splitlines()) == 5
    assert "<html" in (folders["bc-ct"] / "report" / "report.html").read_text()

    out = inputs / "exported"
    invoke = CliRunner().invoke
    invoke(cli, ["export-scoremaps", str(folders["bc-ct"]), "--out", str(out)],
           catch_exceptions=False)
    tau = str(report["tau"]["value"])
    scored = invoke(cli, ["evaluate", "--scoremaps", str(out / "scoremaps"), "--metadata",
                          str(out / "metadata"), "--tau-from", tau, "--out", str(out / "report")],
                    catch_exceptions=False)
    assert "4 images" in scored.output
    again = json.loads((out / "report" / "report.json").read_text())
    assert again["metrics"]["gt_known"]["value"] == figure["value"]


def test_a_report_has_mask_figures_of_its_own_delta_only(inputs, tmp_path):
    run(inputs, "masks", "--cache", str(tmp_path), "--delta", "0.7", "--split", "test")
    for delta in ("0.7", "0.8"):
        options = ("--cache", str(tmp_path), "--delta", delta)
        run(inputs, "masks", *options)
        run(inputs, "train-ct", *options, *STAGE2_ONLY)
        run(inputs, "evaluate", *options, *STAGE2_ONLY, "--out", str(tmp_path / delta))
        report = json.loads((tmp_path / delta / "report.json").read_text())
        assert (report["masks"] is not None) == (delta == "0.7")


def test_recipes_side_by_side(inputs, tmp_path):
    output = run(inputs, "recipes", "--recipe", "guided-layers", "--recipe", "default",
                 "--cache", str(tmp_path)).output
    rows = json.loads((tmp_path / "recipes.json").read_text())["rows"]
    assert set(rows) == {"guided-layers", "default"}
    assert output.count("training it") == 1  # one classifier serves all recipes
    test = open_dataset("cub", inputs / "cub", "test")
    for name, row in rows.items():
        folder, = (tmp_path / "masks").glob(f"cub-test-tiny-{name}-*")
        assert row["strict"] == percent(
            mask_figures(test, folder, 0.8).metrics["mask_strict"].value)
        assert row["time"] > 0 and f"| {name} | {row['strict']:.1f} |" in output
        command = shlex.split(MaskCache(folder).manifest["about"]["command"])
        again = CliRunner().invoke(cli, [*command[1:], "--workers", "0"], catch_exceptions=False)
        assert f"wrote {folder}" in again.output and "training it" not in again.output
