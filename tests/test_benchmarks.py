"""The benchmark's arithmetic, and its pictures."""

import importlib
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from benchmarks import commands, peers, rows, runner, scale_rows, setting, training_rows
from benchmarks.photographs import synthetic_photograph, write_pictures
from common.datasets import open_backgrounds, open_dataset


def test_a_row_is_the_median_with_both_ends():
    row = rows.ratio_row("a / b", rows.quotients([3.0, 2.0, 10.0], [2.0, 2.0, 2.0]),
                         rows.Target(high=1.3), "on nothing")
    assert (row.ratio, row.low, row.high) == (1.5, 1.0, 5.0)
    assert row.target == "at most 1.3" and row.holds is False
    assert rows.ratio_row("a", [0.95], rows.Target(low=0.9)).holds is True
    assert rows.ratio_row("a", [1.1], rows.Target(0.9, 1.1)).target == "0.9 to 1.1"
    assert rows.ratio_row("a", [1.1]).holds is None


def test_arms_run_in_turns():
    order = []
    seconds = rows.interleaved(2, a=lambda: order.append("a"), b=lambda: order.append("b") or 7.0)
    assert order == ["a", "b", "a", "b"]
    assert seconds["b"] == [7.0, 7.0]  # it has timed itself
    assert len(seconds["a"]) == 2


def test_what_is_fixed_and_what_each_image_costs():
    # 3 s, and 2 s an image, in forward passes of half a second.
    assert training_rows._parts(0.5, 3 + 2 * 10, 3 + 2 * 30, 10, 30) == (pytest.approx(6), 4)
    assert commands._growth((1, 4, 16), (5 + 1, 5 + 4, 5 + 16)) == pytest.approx(1)
    assert commands._growth((1, 4, 16), (5 + 1, 5 + 4, 5 + 28)) == pytest.approx(2)
    assert commands._growth((2, 4, 16), (5 + 2, 5 + 4, 5 + 28)) == pytest.approx(2)


def test_a_process_gives_its_peak_memory_and_its_failure():
    script = "x = bytearray(200_000_000)"
    assert 200e6 < commands.peak_memory(sys.executable, "-c", script) < 400e6
    with pytest.raises(subprocess.CalledProcessError):
        commands.peak_memory(sys.executable, "-c", "raise SystemExit(3)")


def test_a_photograph_has_the_spectrum_of_one():
    picture, _ = synthetic_photograph(np.random.default_rng(0), (256, 256))
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    power = np.abs(np.fft.fft2(picture[..., 1] - picture[..., 1].mean())) ** 2
    octaves = [power[1, low:2 * low].mean() for low in (8, 16, 32)]
    assert octaves[0] > 2 * octaves[1] > 4 * octaves[2]


def test_pictures_are_a_data_set_and_are_written_once(tmp_path):
    data, background = write_pictures(tmp_path, train=5, test=3, backgrounds=2, size=(30, 40))
    train, test = (open_dataset("cub", data, split).records for split in ("train", "test"))
    assert (len(train), len(test), len(open_backgrounds(background).records)) == (5, 3, 2)
    assert cv2.imread(str(train[0].path)).shape == (30, 40, 3)
    x0, y0, x1, y1 = train[0].boxes[0]
    assert 0 < x0 < x1 < 40 and 0 < y0 < y1 < 30
    before = train[0].path.stat().st_mtime_ns
    write_pictures(tmp_path, train=5, test=3, backgrounds=2, size=(30, 40))
    assert train[0].path.stat().st_mtime_ns == before


def test_an_interrupted_run_keeps_what_it_has(tmp_path, monkeypatch):
    calls = []

    def measured(asked):
        calls.append("first")
        return [rows.ratio_row("first / second", [1.0], rows.Target(high=2))]

    def stopped(asked):
        raise KeyboardInterrupt
    monkeypatch.setattr(commands, "measured", measured, raising=False)
    monkeypatch.setattr(commands, "stopped", stopped, raising=False)
    monkeypatch.setattr(runner, "MEASUREMENTS", {"one": ("benchmarks.commands", "measured"),
                                                 "two": ("benchmarks.commands", "stopped")})
    asked = setting.BenchmarkSetting(None, tmp_path, "tiny")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            runner.run_benchmarks(asked, ["one", "two"], tmp_path / "bench.json", lambda line: None)
    assert calls == ["first"]
    line, = json.loads((tmp_path / "bench.json").read_text())
    assert {"name", "ratio", "low", "high", "target", "holds", "machine"} <= set(line)
    assert "| first / second | 1.000 [1.000, 1.000] | at most 2 | yes |" in (
        tmp_path / "bench.md").read_text()


def test_a_measurement_that_fails_leaves_its_reason_and_is_tried_again(tmp_path, monkeypatch):
    calls = []

    def failing(asked):
        calls.append("failing")
        raise ValueError("no pictures")
    monkeypatch.setattr(commands, "failing", failing, raising=False)
    monkeypatch.setattr(runner, "MEASUREMENTS", {"one": ("benchmarks.commands", "failing")})
    asked = setting.BenchmarkSetting(None, tmp_path, "tiny")
    for _ in range(2):
        row, = runner.run_benchmarks(asked, ["one"], tmp_path / "bench.json", lambda line: None)
    assert calls == ["failing", "failing"]
    assert row["ratio"] is None and "ValueError: no pictures" in row["note"]
    assert "not measured" in runner.benchmark_table([row])


def test_a_peer_that_is_not_installed_leaves_its_row(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    asked = setting.BenchmarkSetting(None, tmp_path, "tiny", images=16, repeats=1)
    row, = peers._against(asked, "Captum Saliency", peers._captum, peers.PLAIN)
    assert row.ratio is None and "captum" in row.note and "not installed" in row.note


@pytest.mark.parametrize("name", runner.MEASUREMENTS)
def test_each_measurement_is_a_function(name):
    module, function = runner.MEASUREMENTS[name]
    assert callable(getattr(importlib.import_module(module), function))


def test_sharpening_is_measured_for_both_ways_and_asked_of_one(tmp_path):
    asked = setting.BenchmarkSetting(None, tmp_path, "tiny", images=4, backgrounds=1, repeats=1)
    colours, grab_cut = scale_rows.sharpening(asked)
    assert "colours" in colours.name and colours.target == "at most 3"
    assert "grabcut" in grab_cut.name and grab_cut.target is None
    assert 0 < colours.ratio < grab_cut.ratio
