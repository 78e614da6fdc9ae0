import pytest
import torch
import torchvision
from torch import nn

from common.backbones import ARCHITECTURES, build_backbone, require_weights, weights_source
from common.config import ConfigError
from common.stored_weights import weights_identity
from stage2_ct.model_file import PackedModel
from stage2_ct.run import build_method
from stage2_ct.training_config import TrainingConfig

# Networks whose whole state dict is small enough to write in a test.
SMALL = ("squeezenet1_1", "mobilenet_v2")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_channels_and_stride_are_as_stated(name):
    backbone = build_backbone(name, "none")
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        features, taps = backbone.forward_with_taps(images, backbone.taps)
        last = backbone.layers[:backbone.taps[-1] + 1]((images - backbone.mean) / backbone.std)
    assert features.shape[1] == backbone.channels
    assert abs(features.shape[2] - 96 / backbone.stride) <= 2  # Inception v3 pads little
    assert features.std() > 1e-3  # random weights keep the signal alive
    assert len(taps) == len(backbone.taps) and torch.equal(taps[-1], last)


def test_vgg16_is_torchvisions_without_the_last_pooling():
    backbone = build_backbone("vgg16", "none")
    with torch.device("meta"):
        network = torchvision.models.vgg16()
    assert [str(layer) for layer in backbone.layers] == [
        str(layer).replace("inplace=True", "").replace(", )", ")") if isinstance(layer, nn.ReLU)
        else str(layer) for layer in network.features[:-1]]


@pytest.mark.parametrize("name, last", [
    ("googlenet", "inception4e"), ("inception_v3", "Mixed_6e"), ("squeezenet1_1", "features")])
def test_features_are_those_of_torchvisions_own_network(name, last, tmp_path):
    arguments = {} if name == "squeezenet1_1" else {"aux_logits": False, "init_weights": True}
    network = torchvision.models.get_model(name, weights=None, **arguments).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    seen = []
    getattr(network, last).register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    images = torch.rand(1, 3, 96, 96)
    backbone = build_backbone(name, str(tmp_path / "weights.pth"))
    with torch.no_grad():
        network((images - backbone.mean) / backbone.std)
        assert torch.allclose(backbone(images), seen[0], atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_weights_in_half_precision_and_of_the_features_only(name, tmp_path):
    state = torchvision.models.get_model(name, weights=None).state_dict()
    half = {key: tensor.half() if tensor.is_floating_point() else tensor
            for key, tensor in state.items() if key.startswith("features.")}
    torch.save(half, tmp_path / "half.pth")
    torch.save(state, tmp_path / "full.pth")
    loaded = build_backbone(name, str(tmp_path / "half.pth"))
    full = build_backbone(name, str(tmp_path / "full.pth"))
    for parameter, exact in zip(loaded.parameters(), full.parameters()):
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, exact.half().float())


def test_weights_that_do_not_fit_name_the_missing_keys(tmp_path):
    state = torchvision.models.squeezenet1_1().state_dict()
    del state["features.3.squeeze.bias"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"do not fit squeezenet1_1: 1 keys are missing "
                                         r"\(features.3.squeeze.bias\)"):
        build_backbone("squeezenet1_1", str(tmp_path / "weights.pth"))
    state["features.3.squeeze.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="do not fit squeezenet1_1: size mismatch"):
        build_backbone("squeezenet1_1", str(tmp_path / "weights.pth"))


def test_weights_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="nowhere.pth: no such file"):
        build_backbone("squeezenet1_1", "nowhere.pth")
    with pytest.raises(ConfigError, match="unknown backbone 'vgg61': did you mean 'vgg16'"):
        build_backbone("vgg61", "none")


@pytest.mark.parametrize("name, side", [("vgg16", 28), ("squeezenet1_1", 27)])
def test_a_fine_backbone_keeps_the_last_stage_twice_as_large(name, side):
    coarse, fine = build_backbone(name, "none"), build_backbone(name, "none", fine=True)
    with torch.no_grad():
        features = fine(torch.rand(1, 3, 224, 224))
    assert features.shape[2:] == (side, side) and fine.stride * 2 == coarse.stride
    assert all(map(torch.equal, fine.state_dict().values(), coarse.state_dict().values()))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_between_the_features_of_a_strided_network_a_fine_one_has_new_ones(name):
    coarse, fine = (build_backbone(name, "none", fine=fine).double() for fine in (False, True))
    images = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        features = fine(images)
        assert features.shape[2:] == (6, 6) and fine.stride == 16
        torch.testing.assert_close(features[..., ::2, ::2], coarse(images))


def test_fc7_of_alexnet_reads_the_pooled_features():
    backbone = build_backbone("alexnet", "none", fully_connected=True)
    with torch.no_grad():
        assert backbone.fully_connected(backbone(torch.rand(1, 3, 224, 224))).shape == (1, 4096)
    with pytest.raises(ValueError, match="squeezenet1_1 has no fc6 and fc7"):
        build_backbone("squeezenet1_1", "none", fully_connected=True)


def test_batch_norm_never_learns_its_statistics():
    backbone = build_backbone("mobilenet_v2", "none").train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(before[name], tensor)
               for name, tensor in backbone.state_dict().items())


def test_random_weights_have_a_name_and_so_a_key(tmp_path):
    first, second = build_backbone("squeezenet1_1", "none"), build_backbone("squeezenet1_1", "none")
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert weights_identity("none") == "none"
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert weights_identity(str(tmp_path / "a")) != weights_identity(str(tmp_path / "b"))


@pytest.fixture
def served(monkeypatch):
    """torchvision's downloads, replaced: the addresses asked for; VGG-16's weights are served."""
    addresses = []
    state = {f"features.{key}": tensor for key, tensor in
             build_backbone("vgg16", "none").layers.state_dict().items()}

    def fetch(url, *arguments, **options):
        addresses.append(url.rpartition("/")[2])
        return state
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    return addresses


@pytest.mark.parametrize("weights, file, mean, std", [
    ("imagenet", "vgg16-397923af.pth", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ("imagenet:FEATURES", "vgg16_features-amdegroot-88682ab5.pth",
     (0.48235, 0.45882, 0.40784), (1 / 255,) * 3)])
def test_both_weights_of_vgg16_are_fed_what_they_expect(served, weights, file, mean, std):
    backbone = build_backbone("vgg16", weights)
    assert served == [file]
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        _, (tapped,) = backbone.forward_with_taps(images, (1,))
        by_hand = torch.relu(backbone.layers[0](torch.cat([
            (images[:, [channel]] - mean[channel]) / std[channel] for channel in range(3)], 1)))
    torch.testing.assert_close(tapped, by_hand)


def test_a_trained_network_is_rebuilt_with_the_scaling_of_its_weights(served):
    method = build_method("cam", "vgg16", "imagenet:FEATURES", 2, TrainingConfig(width=4), 0)
    description = {"variant": "cam", "backbone": "vgg16", "seed": 0, "classes": ["a", "b"],
                   "weights": weights_identity("imagenet:IMAGENET1K_FEATURES"),
                   "config": TrainingConfig(width=4).of_training()}
    packed = PackedModel({"variant": "cam", "score_map": "class"}, description, {},
                         method.state_dict())
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(packed.build().eval().predict(images).class_maps,
                           method.eval().predict(images).class_maps)
    assert len(served) == 1


def test_names_of_torchvisions_weights():
    assert weights_identity("imagenet:V1") == weights_identity("imagenet") == "imagenet"
    assert weights_identity("imagenet:features") == "imagenet:FEATURES"
    assert weights_source("vgg16", "imagenet") == (
        "weights of vgg16: torchvision's VGG16_Weights.IMAGENET1K_V1")
    assert weights_source("vgg16", "imagenet:FEATURES").endswith("IMAGENET1K_FEATURES")
    with pytest.raises(ValueError, match="vgg16 has no weights imagenet:V9: torchvision has "
                                         "imagenet:V1, imagenet:FEATURES"):
        require_weights("vgg16", "imagenet:V9")
    with pytest.raises(ValueError, match="tiny has no ImageNet weights"):
        require_weights("tiny", "imagenet")


def test_the_usual_scaling_is_torchvisions():
    for name, architecture in ARCHITECTURES.items():
        if name in ("tiny", "googlenet", "inception_v3"):  # the latter two scale again inside
            continue
        transforms = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
        assert (list(architecture.scaling.mean), list(architecture.scaling.std)) == (
            transforms.mean, transforms.std)
