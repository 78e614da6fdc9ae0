"""The example of docs/localizing.md: image to box with ONNX Runtime and NumPy alone."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from common.boxes import largest_component, mask_to_box
from tests.examples import TINY, make_masks, run, write_inputs


def test_the_example_prints_the_class_and_its_box(tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnxruntime
    write_inputs(tmp_path)
    make_masks(tmp_path)
    trained = run("train-ct", "--data", tmp_path / "cub", "--cache", tmp_path / "cache", *TINY,
                  "--set", "epochs=1", "--set", "width=8", "--set", "mask_width=8")
    run("pack", trained.output.split("wrote ")[-1].strip(), "--onnx", "--out",
        tmp_path / "model.onnx")
    next((tmp_path / "cub" / "images").rglob("*.jpg")).rename(tmp_path / "photo.jpg")
    text = (Path(__file__).parent.parent / "docs" / "localizing.md").read_text(encoding="utf-8")
    program, = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
                if "onnxruntime" in block]
    monkeypatch.chdir(tmp_path)
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "docs/localizing.md", "exec"), names)
    assert names["classes"][names["logits"][0].argmax()] == printed.getvalue().split(" [")[0]
    score_map = onnxruntime.InferenceSession("model.onnx").run(
        None, {"image": names["frame"].transpose(2, 0, 1)[None]})[1][0]
    box = mask_to_box(largest_component(score_map >= np.float32(names["tau"])))
    assert np.allclose(names["box"], box * np.array([64, 48, 64, 48]) / 32)
