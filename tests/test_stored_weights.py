"""Weights as other programs store them, and what cannot be used of them."""

import urllib.error

import pytest
import torch

from common import stored_weights
from common.backbones import build_backbone
from tests.examples import TINY, run, write_inputs


@pytest.fixture
def state():
    """A state dict of the tiny backbone's layers, as a whole network would name them."""
    return {f"features.{name}": tensor
            for name, tensor in build_backbone("tiny", "none").layers.state_dict().items()}


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
    lambda state: {"model": {"state_dict": {f"model.{name}": value
                                            for name, value in state.items()}}}])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_taken_out_of_what_wraps_them(state, tmp_path, wrap, kind):
    torch.save(wrap({name: value.to(kind) for name, value in state.items()}), tmp_path / "w.pth")
    built = build_backbone("tiny", tmp_path / "w.pth").layers.state_dict()
    assert all(torch.equal(built[name.removeprefix("features.")], value.to(kind).float())
               for name, value in state.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(state, tmp_path, value):
    state["features.0.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="w.pth: 0.weight holds NaN or infinity.*train them again"):
        build_backbone("tiny", tmp_path / "w.pth")


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("timed out"),
                                   RuntimeError('invalid hash value (expected "a", got "b")')])
def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch, error):
    weights = stored_weights.torch.hub  # patched where torchvision asks for it

    def fail(*arguments, **options):
        raise error
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(ValueError) as raised:
        build_backbone("squeezenet1_1", "imagenet")
    sentence = str(raised.value)
    assert "--weights PATH" in sentence and str(weights.get_dir()) in sentence
    assert "https://download.pytorch.org/models/squeezenet1_1" in sentence
    assert "Errno" not in sentence


def test_masks_that_are_all_invalid_are_refused_by_each_step(tmp_path):
    write_inputs(tmp_path)
    inputs = ["--data", tmp_path / "cub", "--background", tmp_path / "backgrounds",
              "--cache", tmp_path / "cache", *TINY, "--recipe-set", "smallest_area=1"]
    training = ["--set", "epochs=1", "--set", "width=8", "--set", "mask_width=8"]
    with pytest.raises(ValueError, match="not one of the 8 masks .* is valid at delta 1.*--delta"):
        run("masks", *inputs, "--delta", 1)
    with pytest.raises(ValueError, match="not one of the 8 masks .* bcct masks"):
        run("train-ct", *inputs, *training, "--delta", 1)
    assert not list((tmp_path / "cache" / "ct").glob("*"))
    assert "wrote" in run("train-ct", *inputs, *training, "--delta", 1, "--variant", "cam").output
    [folder] = (tmp_path / "cache" / "ct").iterdir()
    with pytest.raises(ValueError, match="not one of the 8 masks .* bcct masks"):
        run("evaluate", folder, "--cache", tmp_path / "cache", "--workers", 0)
