"""The small backbone, its shipped weights, and the script that makes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import demo
from common.backbones import build_backbone
from common.tiny import CHANNELS, STRIDE, tiny_features
from demo.kinds import KINDS
from demo.pretrain import augmented, folded, normalised, render_thing

WEIGHTS = Path(demo.__file__).with_name("tiny.pth")


@pytest.mark.parametrize("height, width", [(112, 112), (64, 96)])
def test_feature_map_shape(height, width):
    features = tiny_features()(torch.zeros(2, 3, height, width))
    assert features.shape == (2, CHANNELS, height // STRIDE, width // STRIDE)


def test_every_layer_can_be_tapped():
    layers = tiny_features()
    assert {type(layer) for layer in layers} == {nn.Conv2d, nn.ReLU, nn.MaxPool2d}
    assert sum(isinstance(layer, nn.Conv2d) for layer in layers) == 7
    assert not any(getattr(layer, "inplace", False) for layer in layers)


def test_shipped_weights_fit_and_are_small():
    assert WEIGHTS.stat().st_size <= 2_000_000
    state = torch.load(WEIGHTS, weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}
    tiny_features().load_state_dict({key.removeprefix("features."): value
                                     for key, value in state.items()})


def test_the_builder_loads_the_shipped_weights():
    backbone = build_backbone("tiny", WEIGHTS)
    state = torch.load(WEIGHTS, weights_only=True)
    torch.testing.assert_close(backbone.layers[0].weight, state["features.0.weight"].float())
    assert (backbone.channels, backbone.stride) == (CHANNELS, STRIDE)
    assert backbone(torch.rand(1, 3, 112, 112)).shape == (1, CHANNELS, 14, 14)


def test_folding_batch_norm_keeps_the_function():
    torch.manual_seed(0)
    with_norm = tiny_features(batch_norm=True)
    with_norm(torch.randn(8, 3, 32, 32))  # moves the stored statistics off their start
    with_norm.eval()
    images = torch.randn(2, 3, 32, 32)
    plain = folded(with_norm)
    assert [type(layer) for layer in plain] == [type(layer) for layer in tiny_features()]
    torch.testing.assert_close(plain(images), with_norm(images), rtol=1e-4, atol=1e-5)


def test_every_kind_is_painted():
    names = {kind.__name__ for kind in KINDS}
    assert len(names) == len(KINDS) and not any("bird" in name for name in names)
    for label in range(len(KINDS)):
        outlines = [outline for _, outline in KINDS[label](np.random.default_rng(label))]
        points = np.concatenate(outlines)
        assert np.isfinite(points).all() and 0.5 < np.ptp(points, axis=0).max() < 4
    first, again = render_thing((0, 1), 5), render_thing((0, 1), 5)
    assert first.shape == (128, 128, 3) and first.tobytes() == again.tobytes()


def test_augmentation_gives_normalised_crops():
    pictures = torch.full((4, 3, 128, 128), 100, dtype=torch.uint8)
    crops = augmented(pictures, np.random.default_rng(0))
    assert crops.shape == (4, 3, 112, 112)
    darkest, lightest = (normalised(torch.full((1, 3, 1, 1), value)) for value in (75, 125))
    assert (crops >= darkest - 1e-5).all() and (crops <= lightest + 1e-5).all()
