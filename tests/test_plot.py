"""Watching a run: rates in its log, ``bcct plot`` and ``--tensorboard``."""

import json
from pathlib import Path

import cv2
import pytest

from evaluation.training_curves import draw_training_curves
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set",
         "batch_size=4", "--set", "decay_every=1"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plot")
    write_inputs(folder)
    make_masks(folder)
    return folder


def train(inputs, *arguments):
    output = run("train-ct", "--data", inputs / "cub", "--cache", inputs / "cache", *TINY, *SMALL,
                 *arguments).output
    return Path(output.split("wrote ")[-1].strip())


def test_rates_are_logged_and_runs_are_drawn_together(inputs, tmp_path):
    first, second = train(inputs), train(inputs, "--seed", "1")
    lines = [json.loads(line) for line in (first / "log.jsonl").read_text().splitlines()]
    assert [line["head_rate"] for line in lines] == pytest.approx([1e-3, 1e-4])
    assert [line["backbone_rate"] for line in lines] == pytest.approx([1e-4, 1e-5])
    run("plot", first, second, "--out", tmp_path / "both.png")
    assert cv2.imread(str(tmp_path / "both.png")).shape[1] > 1000
    run("plot", first, "--out", tmp_path / "one.svg")
    assert "<svg" in (tmp_path / "one.svg").read_text()
    assert run("plot", first, "--out", tmp_path / "one.jpg").exit_code == 2
    with pytest.raises(ValueError, match="not a training run"):
        run("plot", tmp_path, "--out", tmp_path / "none.png")
    with pytest.raises(ValueError, match="none of a has finished an epoch"):
        draw_training_curves(tmp_path / "none.png", {"a": []})


def test_tensorboard_gets_the_scalars_of_the_log_and_changes_nothing(inputs):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    plain = train(inputs, "--seed", "5")
    logged = [json.loads(line) for line in (plain / "log.jsonl").read_text().splitlines()]
    plain.rename(plain.with_name("plain"))
    (plain.with_name("plain") / "config.json").rename(plain.with_name("plain") / "was.json")
    watched = train(inputs, "--seed", "5", "--tensorboard")
    again = [json.loads(line) for line in (watched / "log.jsonl").read_text().splitlines()]
    held = EventAccumulator(str(watched / "tensorboard"))
    held.Reload()
    for name in ("classification", "mask"):
        assert [line[name] for line in again] == [line[name] for line in logged]
        assert [one.value for one in held.Scalars(f"loss/{name}")] == pytest.approx(
            [line[name] for line in again])
    assert [one.step for one in held.Scalars("training/head_rate")] == [1, 2]
    assert held.Tags()["images"]
