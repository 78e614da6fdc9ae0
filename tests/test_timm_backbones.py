"""Networks of timm as backbones; tiny ones with random weights, so that nothing is downloaded."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from common.backbones import build_backbone, full_name, require_side, require_weights, takes_side
from common.config import ConfigError
from stage1_bc.cells import GRID, on_grid
from stage1_bc.classifier import BackgroundClassifier, build_classifier, load_classifier
from stage1_bc.classifier_training import ClassifierConfig, train_unit
from stage1_bc.gradient_maps import gradient_map
from stage1_bc.maker import MaskMaker
from stage1_bc.mask_settings import mask_settings
from stage1_bc.moments import Moments
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES, Recipe
from stage2_ct.run import build_method
from stage2_ct.training_config import TrainingConfig
from stage2_ct.variants import VARIANTS
from tests.examples import run, write_inputs
from tests.networks import teach_units

timm = pytest.importorskip("timm", reason="timm is not installed")

RESNET, VIT = "timm:test_resnet.r160_in1k", "timm:test_vit.r160_in1k"
NARROW = TrainingConfig(width=8, mask_width=8, image_size=32)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network(short, **options):
    """timm's own network with the random weights that the backbone has under ``none``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(short, num_classes=0, **options).eval()


@pytest.mark.parametrize("short, options", [
    ("test_resnet", {}), ("test_convnext", {}), ("test_efficientnet", {}),
    ("test_vit", {"dynamic_img_size": True})])
def test_features_are_those_of_timms_own_network_on_images_scaled_by_its_own_data(short, options):
    own = network(short, **options)
    data = timm.data.resolve_model_data_config(own)
    backbone = build_backbone(f"timm:{short}", "none")
    images = random(2, 3, 96, 96)
    scaled = (images - torch.tensor(data["mean"]).view(3, 1, 1)) / torch.tensor(
        data["std"]).view(3, 1, 1)
    with torch.no_grad():
        expected, _ = own.forward_intermediates(scaled, indices=1, norm=True), None
        features = backbone(images)
    torch.testing.assert_close(features, expected[1][-1])
    assert features.shape[1] == backbone.channels and features.shape[2] == 96 // backbone.stride
    assert backbone.mean.flatten().tolist() == pytest.approx(data["mean"])


def test_the_scaling_differs_between_networks():
    assert build_backbone(VIT, "none").mean.flatten().tolist() == [0.5] * 3
    assert build_backbone("timm:test_efficientnet", "none").std[0, 0].item() == (
        pytest.approx(0.229))


@pytest.mark.parametrize("short", ["test_resnet", "test_vit", "test_vit3", "test_mambaout"])
def test_gradients_at_the_taps_are_the_changes_that_the_features_show(short):
    """Maps, tokens with a class token, tokens with registers, and maps with channels last."""
    backbone = build_backbone(f"timm:{short}", "none").double().requires_grad_(False)
    for parameter in backbone.parameters():  # otherwise branches that begin as zero meet rectifiers
        parameter += 0.01 * random(*parameter.shape).double()
    images = random(1, 3, 64, 64).double()
    features, taps = backbone.forward_with_taps(images, backbone.taps)
    weights = random(*features.shape, seed=1).double()
    gradients = torch.autograd.grad((features * weights).sum(), taps)
    for index, tap, gradient in zip(backbone.taps, taps, gradients):
        direction = random(*tap.shape, seed=2).double()

        def answer(step):
            def add(module, inputs, output):
                change = step * direction
                if output.ndim == 3:
                    change = functional.pad(change.flatten(2).transpose(1, 2),
                                            (0, 0, output.shape[1] - change[0, 0].numel(), 0))
                elif short == "test_mambaout":
                    change = change.permute(0, 2, 3, 1)
                return output + change
            stage = backbone.staged.network.get_submodule(backbone.staged.stages[index]["module"])
            handle = stage.register_forward_hook(add)
            try:
                return (backbone(images) * weights).sum().item()
            finally:
                handle.remove()
        change = (answer(1e-6) - answer(-1e-6)) / 2e-6
        assert change == pytest.approx((gradient * direction).sum().item(), rel=1e-5, abs=1e-9)


def test_taps_are_spread_over_the_second_half_and_pixel_units_read_them():
    backbone = build_backbone(VIT, "none")
    assert backbone.taps == (2, 3, 5) and len(backbone.staged.stages) == 6
    unit = PixelUnit(backbone)
    assert len(unit.weight) == 3 * 64
    images = random(2, 3, 64, 64)
    with torch.no_grad():
        _, taps = backbone.forward_with_taps(images, backbone.taps)
    grids = [functional.interpolate(tap, (GRID, GRID), mode="bilinear", antialias=True)
             for tap in taps]
    expected = torch.cat(grids, 1).flatten(2).transpose(1, 2)
    torch.testing.assert_close(unit.read(images), expected)


def test_images_are_stretched_to_whole_patches():
    backbone = build_backbone(VIT, "none")
    images = random(1, 3, 100, 100)
    stretched = functional.interpolate(images, (112, 112), mode="bilinear")
    with torch.no_grad():
        assert backbone(images).shape == (1, 64, 7, 7)
        torch.testing.assert_close(backbone(images), backbone(stretched), atol=1e-5, rtol=1e-5)


def test_nothing_depends_on_training_mode():
    backbone = build_backbone(RESNET, "none").train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    images = random(2, 3, 64, 64)
    trained = backbone(images)
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert torch.equal(trained, backbone.eval()(images))


@pytest.mark.parametrize("name, count, left", [
    (RESNET, 2, "layer2."), (VIT, 4, "blocks.4."), (VIT, 0, "cls_token")])
def test_all_that_comes_before_a_stage_can_be_frozen(name, count, left):
    backbone = build_backbone(name, "none")
    backbone.freeze(count)
    backbone(random(1, 3, 64, 64)).sum().backward()
    parameters = dict(backbone.staged.network.named_parameters())
    trained = [each for each, parameter in parameters.items() if parameter.grad is not None]
    assert trained[0].startswith(left) and list(parameters)[-len(trained):] == trained


def test_too_many_stages_to_freeze_are_refused():
    with pytest.raises(ValueError, match="test_vit.r160_in1k has 6 stages, so the first 7 cannot"):
        build_backbone(VIT, "none").freeze(7)


def test_a_fine_network_keeps_its_last_stage_where_timm_can_dilate_it():
    coarse, fine = build_backbone(RESNET, "none"), build_backbone(RESNET, "none", fine=True)
    with torch.no_grad():
        assert fine(random(1, 3, 96, 96)).shape[2:] == (6, 6) and fine.stride == 16
    assert coarse.state_dict().keys() == fine.state_dict().keys()
    with pytest.raises(ValueError, match="cannot keep its last stage .* --set fine=true out"):
        require_side(64, VIT, fine=True)
    with pytest.raises(ValueError, match="test_vit.r160_in1k has no fc6 and fc7"):
        build_backbone(VIT, "none", fully_connected=True)


def test_sizes_that_a_network_does_not_take_are_refused():
    assert all(takes_side(side, VIT) for side in (16, 100, 288))
    with pytest.raises(ValueError, match="test_vit_relpos.untrained does not take images of 224 x "
                                         "224 pixels; it was made for 160 x 160"):
        require_side(224, full_name("timm:test_vit_relpos"))
    assert len(PixelUnit(build_backbone("timm:test_vit_relpos", "none")).weight) == 3 * 96


def test_a_network_of_one_size_makes_masks_and_is_not_trained(tmp_path):
    write_inputs(tmp_path)
    with pytest.raises(ValueError, match="and not the enlarged ones of 206 x 206 .*--bc-backbone"):
        run("train-ct", "--data", tmp_path / "cub", "--backbone", "timm:test_vit_relpos",
            "--weights", "none", "--image-size", "160", "--cache", tmp_path / "cache")


def test_a_network_of_one_size_makes_masks_without_enlarged_images():
    def settings(*changes):
        return mask_settings("timm:test_vit_relpos", "none", None, None, 0, "pooled", (), 160,
                             "default", changes)
    with pytest.raises(ConfigError, match="every size of tuned_scales=1.0,1.286: set --recipe-set"):
        settings("tuned_scales=1,1.286")
    assert settings().recipe.tuned_scales == (1.0,)


def test_networks_without_maps_at_their_stages_are_refused():
    for short in ("pit_ti_224", "twins_svt_small"):
        with pytest.raises(ValueError, match=f"timm:{short}.in1k cannot be a backbone here"):
            build_backbone(f"timm:{short}", "none")


def test_names_get_the_tag_of_their_weights_and_similar_ones_are_named():
    assert full_name("timm:test_resnet") == full_name(RESNET) == RESNET
    with pytest.raises(ConfigError, match="no network 'resnet10tt'; did you mean timm:resnet10t"):
        full_name("timm:resnet10tt")
    with pytest.raises(ConfigError, match="no weights 'abc' of test_vit; it has r160_in1k"):
        full_name("timm:test_vit.abc")
    with pytest.raises(ConfigError, match="known are alexnet.* and timm:NAME"):
        full_name("test_vit")
    said = run("masks", "--backbone", "timm:tset_vit").output
    assert "Invalid value for '--backbone'" in said and "timm:test_vit" in said


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'bcct\[timm\]'"):
        full_name("timm:resnet50")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("short", ["test_resnet", "test_vit"])
def test_weights_of_a_file(short, suffix, tmp_path):
    torch.manual_seed(7)
    own = timm.create_model(short)  # with its classifier, as timm stores it
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": own.state_dict()}, path)
    else:
        from safetensors.torch import save_file
        save_file(own.state_dict(), path)
    loaded = build_backbone(f"timm:{short}", path).staged.network.state_dict()
    assert loaded and all(torch.equal(own.state_dict()[key], loaded[key]) for key in loaded)


@pytest.mark.parametrize("weights", ["none", "file"])
def test_building_draws_nothing_from_the_random_numbers(weights, tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_backbone(RESNET, weights if weights == "none" else tmp_path / "w.pth")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_with_the_authors_names_are_converted(tmp_path):
    """ConvNeXt's, as its authors store them, in timm's place of ``stages.0.blocks.0.conv_dw``."""
    torch.manual_seed(7)
    own = timm.create_model("test_convnext").state_dict()
    stored = {}
    for key, tensor in own.items():
        key = re.sub(r"^stem\.", "downsample_layers.0.", key)
        key = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)
        key = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", key).replace("conv_dw", "dwconv")
        key = key.replace("mlp.fc", "pwconv").replace("head.norm.", "norm.")
        stored[key.replace("head.fc.", "head.")] = tensor
    torch.save({"model": stored}, tmp_path / "w.pth")
    loaded = build_backbone("timm:test_convnext", tmp_path / "w.pth").staged.network.state_dict()
    assert all(torch.equal(own[key], loaded[key]) for key in loaded)


def test_weights_that_do_not_fit_are_named(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"1 keys are missing \(layer1.0.conv1.weight\)"):
        build_backbone(RESNET, tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="w.safetensors is damaged"):
        build_backbone(RESNET, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="imagenet:FEATURES is for torchvision's networks"):
        require_weights(RESNET, "imagenet:FEATURES")


def test_imagenet_is_timms_pretrained_weights(monkeypatch):
    torch.manual_seed(7)
    state, asked = timm.create_model("test_resnet").state_dict(), []

    def fetch(place, *arguments, **options):
        asked.append(place)
        return dict(state)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    loaded = build_backbone("timm:test_resnet").staged.network.state_dict()
    assert asked == ["timm/test_resnet.r160_in1k"]
    assert all(torch.equal(state[key], loaded[key]) for key in loaded)


def test_weights_that_cannot_be_fetched_name_the_file_to_give(monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no route to host\nmore")
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(ValueError, match=r"could not be fetched \(no route to host\); give a file "
                                         "with --weights PATH, .* of timm/test_resnet.r160_in1k"):
        build_backbone("timm:test_resnet")
    with pytest.raises(ValueError, match="timm has no pretrained weights of timm:darknet17"):
        build_backbone("timm:darknet17")


@pytest.fixture(scope="module", params=[RESNET, VIT])
def taught(request):
    """A classifier taught bright squares before dark noise, with all units for pixels."""
    classifier = build_classifier(request.param, "none", image_size=64)
    backgrounds, targets = random(2, 4, 3, 64, 64) * 0.2
    targets[:, :, 16:48, 16:48] += 0.7
    with torch.no_grad():
        features = [classifier.features(images) for images in (targets, backgrounds)]
    train_unit(classifier, *features, ClassifierConfig(steps=100))
    teach_units(classifier, targets, backgrounds, 2)
    return classifier, targets


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_makes_masks(taught, recipe):
    classifier, targets = taught
    maps = MaskMaker(classifier, RECIPES[recipe], (64, 64)).maps(targets[:2])
    assert maps.shape == (2, 64, 64) and maps.min() >= 0 and maps.std() > 0


@pytest.mark.parametrize("name", [RESNET, VIT, "timm:test_mambaout"])
def test_a_pixel_unit_sees_things_where_they_are(name):
    unit = PixelUnit(build_backbone(name, "none"))
    backgrounds, targets = random(2, 8, 3, 112, 112) * 0.2
    mask = torch.zeros(8, 112, 112, dtype=torch.bool)
    mask[:, 16:48, 64:112] = True  # upper right
    targets = torch.where(mask[:, None], 0.9, targets)
    moments = Moments(unit.read(targets).half(), unit.read(backgrounds).half())
    labels = on_grid(mask.numpy())
    moments.fit(unit, labels)
    answers = unit(unit.read(targets)).flatten(1)
    assert answers[labels == 1].mean() > 0.5 > 0.1 > answers[labels == 0].mean()


def test_gradients_are_plain_where_there_is_no_rectifier(taught):
    classifier, targets = taught
    plain, guided = (gradient_map(classifier, targets[:1], Recipe(guided=guided), (64, 64))
                     for guided in (False, True))
    assert torch.equal(plain, guided) == (classifier.backbone.name == VIT)


def test_a_checkpoint_rebuilds_the_classifier(taught):
    classifier, targets = taught
    loaded = load_classifier(classifier.checkpoint({}), "none")
    assert isinstance(loaded, BackgroundClassifier) and loaded.digest() == classifier.digest()
    torch.testing.assert_close(loaded(targets), classifier(targets))


@pytest.mark.parametrize("name", [RESNET, VIT])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_and_predicts(variant, name):
    method = build_method(variant, name, "none", 3, NARROW, 0).train()
    images, labels = random(2, 3, 32, 32), torch.tensor([0, 2])
    masks = (random(2, 1, 32, 32) > 0.5).float()
    losses = method(images, labels, masks, torch.ones(2, dtype=torch.bool))
    sum(losses.values()).backward()
    assert any(parameter.grad.abs().sum() > 0 for parameter in method.backbone.parameters())
    prediction = method.eval().predict(images)
    assert prediction.logits.shape == (2, 3) and prediction.class_maps.isfinite().all()


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit"])
def test_masks_training_evaluation_and_localizing(name, tmp_path):
    write_inputs(tmp_path)
    inputs = ["--data", tmp_path / "cub", "--cache", tmp_path / "cache", "--backbone", name,
              "--weights", "none", "--image-size", "32", "--workers", "0"]
    said = run("masks", *inputs, "--background", tmp_path / "backgrounds").output
    assert "8 of 8 masks are valid" in said
    assert f"weights of {name}.r160_in1k: random" in said
    assert f"cub-train-{name.replace(':', '-')}.r160_in1k-default-" in said
    said = run("train-ct", *inputs, *(word for field in ("epochs=1", "width=8", "mask_width=8")
                                      for word in ("--set", field))).output
    folder = said.split("wrote ")[-1].strip()
    assert "max_box_acc" in run("evaluate", folder, "--workers", "0").output
    run("pack", folder, "--out", tmp_path / "model.pt")
    boxes = []
    for model in (folder, tmp_path / "model.pt"):
        found = tmp_path / f"found-{len(boxes)}"
        run("localize", model, tmp_path / "cub" / "images", "--out", found, "--tau", "0.5",
            "--workers", "0")
        boxes.append((found / "boxes.csv").read_text().splitlines())
    assert len(boxes[0]) == 13 and boxes[0][1].startswith("001.Disc/") and boxes[0] == boxes[1]


def test_onnx_of_a_transformer_gives_our_logits(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    method = build_method("bc-ct", VIT, "none", 3, NARROW, 0).eval()

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.method = method

        def forward(self, images):
            return self.method.predict(images).logits
    images = random(2, 3, 41, 41)  # stretched to 48, and position embeddings resampled
    program = torch.onnx.export(Logits(), (images,), dynamo=True, verbose=False, opset_version=18)
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    found, = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), Logits()(images), atol=1e-4, rtol=1e-3)


def test_threads_do_not_see_each_others_taps():
    backbone = build_backbone(VIT, "none")
    pictures = [random(1, 3, 32 + 16 * number, 32 + 16 * number) for number in range(8)]

    @torch.no_grad()
    def last_tap(images):
        return backbone.forward_with_taps(images, backbone.taps)[1][-1]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(last_tap, pictures))
    assert all(map(torch.equal, found, map(last_tap, pictures)))
