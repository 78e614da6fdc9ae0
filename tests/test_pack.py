"""``bcct pack``: one file for bcct, and ONNX whose output is ours."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

import bcct
from common.boxes import largest_component, mask_to_box
from common.compute import choose_compute
from common.images import read_image
from stage2_ct.localizer import load_model
from stage2_ct.onnx_file import OnnxNetwork, write_onnx
from tests.examples import TINY, make_masks, run, write_inputs

SMALL = ["--set", "epochs=1", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    write_inputs(folder)
    make_masks(folder)
    output = run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY,
                 *SMALL).output
    shutil.move(output.split("wrote ")[-1].strip(), folder / "run")
    return folder


def with_score_map(folder, score_map):
    """The PackedModel of a run, its boxes cut from another score map."""
    model = load_model(folder)
    return dataclasses.replace(model, localization={**model.localization, "score_map": score_map})


def cpu():
    return choose_compute("cpu", workers=0)


def test_a_packed_model_localizes_as_the_run_does(trained, tmp_path):
    result = run("pack", trained / "run", "--out", tmp_path / "model.pt")
    assert f"wrote {tmp_path / 'model.pt'}" in result.output and "tau 0." in result.output
    again = run("pack", trained / "run", "--out", tmp_path / "model.pt")
    assert again.exit_code == 2 and "--overwrite" in again.output
    folder = run("pack", trained / "run", "--out", tmp_path, "--overwrite")
    assert folder.exit_code == 2 and f"{tmp_path} is a folder" in folder.output
    for source in (trained / "run", tmp_path / "model.pt"):
        run("localize", source, trained / "cub" / "images", "--out", tmp_path / source.name / "x"
            if source.is_dir() else tmp_path / "packed", "--device", "cpu", "--workers", "0")
    assert (tmp_path / "packed" / "boxes.csv").read_bytes() == (
        tmp_path / "run" / "x" / "boxes.csv").read_bytes()


@pytest.mark.parametrize("score_map", ["object", "class", "product"])
def test_onnx_runtime_gives_our_logits_and_score_maps(trained, tmp_path, score_map):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    localizer = bcct.Localizer(with_score_map(trained / "run", score_map), cpu())
    with torch.no_grad():  # the maps of an untrained model are flat, and stretching shows rounding
        model = localizer.method.model
        for layer in (model.mask_block[-1], model.class_block[-1]):
            layer.weight.mul_(30)
    write_onnx(tmp_path / "model.onnx", localizer)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    side = int(facts["input_size"])
    assert json.loads(facts["classes"]) == ["001.Disc", "002.Disc"] and side == round(32 * 9 / 7)
    ours = OnnxNetwork(localizer.method, facts["score_map"], 32)
    for count in (1, 3):
        images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            logits, maps = ours(images)
        found = session.run(None, {"image": images.numpy()})
        assert found[0].shape == (count, 2) and found[1].shape == (count, 32, 32)
        assert np.abs(found[0] - logits.numpy()).max() < 1e-4
        assert np.abs(found[1] - maps.numpy()).max() < 1e-4


def test_the_onnx_example_finds_the_box_of_the_mask_map(trained, tmp_path):
    """What docs/localizing.md does with ONNX Runtime and NumPy gives our box."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    run("pack", trained / "run", "--onnx", "--out", tmp_path / "model.onnx")
    localizer = bcct.Localizer(with_score_map(trained / "run", "mask"), cpu())
    path = next((trained / "cub" / "images").rglob("*.jpg"))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    side = int(facts["input_size"])
    image = read_image(path, (side, side)).astype(np.float32).transpose(2, 0, 1)[None] / 255
    _, maps = session.run(None, {"image": image})
    box = mask_to_box(largest_component(maps[0] >= np.float32(facts["tau"])))
    ours = localizer.localize(path)
    assert np.abs(bcct.rescale(box, (32, 32), ours.size) - ours.box).max() <= 2.5
