"""Everything that runs on a GPU, rehearsed on a second device whose tensors have no values.

torch's backend for devices written in Python gives a device without a compiler; in
``FakeTensorMode`` tensors on it have a shape, a type and a device, and refuse to mix with those of
the CPU. So whatever is on the wrong device is found, and whatever makes the host wait for the
device is counted: copies to the CPU, numbers read from a tensor, and copies to the device that are
not said to be ``non_blocking``.

``python -m tests.second_device npu`` rehearses all cases and prints one JSON object: case to
``{"waits": number}`` or ``{"error": text}``. ``... cuda float16`` does the same with forward passes
on a GPU that need not be there, under autocast, for which the made-up device has no kernels: what
autocast forbids is found. Either changes torch for its whole process, which is why the tests run
them in processes of their own.
"""

import contextlib
import dataclasses
import json
import sys
import traceback

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from common.backbones import build_backbone
from common.compute import Compute
from common.datasets import Record
from common.loading import FrameBatch
from stage1_bc import pixel_network
from stage1_bc.cells import GRID
from stage1_bc.classifier import BackgroundClassifier
from stage1_bc.classifier_training import ClassifierConfig, train_unit
from stage1_bc.first_labels import CellLabels
from stage1_bc.gradient_maps import backbone_gradient, gradient_map
from stage1_bc.guided import GuidedBackpropagation
from stage1_bc.maker import MaskMaker
from stage1_bc.moments import Moments
from stage1_bc.online import JointMaker, OnlineMaker
from stage1_bc.pixel_map import pixel_map
from stage1_bc.pixel_network import PixelNetwork, train_pixel_network
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.reading import _joint_reader
from stage1_bc.recipe import RECIPES
from stage1_bc.tuned_network import TunedNetwork
from stage2_ct import prediction as predicting
from stage2_ct.data import TrainingBatch
from stage2_ct.mask_sources import CachedMasks, MadeMasks, NoMasks
from stage2_ct.score_maps import SCORE_MAPS
from stage2_ct.training_loop import build_optimizer, train_epoch, train_step
from stage2_ct.variants import VARIANTS

DEVICE = sys.argv[1] if __name__ == "__main__" else "npu"
SIDE, IMAGES, CLASSES = 64, 4, 5
TEACHING_STEPS = 2
NETWORKS = ("squeezenet1_1", "mobilenet_v2", "vgg16")  # branches; ReLU6, batch norm; the paper's
TRAINED = {name: variant for name, variant in VARIANTS.items() if variant.trained_as is None}


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device."""

    total = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        packet, first = function.overloadpacket, arguments[0] if arguments else None
        of_device = isinstance(first, torch.Tensor) and first.device.type == DEVICE
        if packet is torch.ops.aten._local_scalar_dense:
            self.total += of_device
            return first.dtype is torch.bool or 1  # it has no value: yes, or something finite
        if packet is torch.ops.aten._to_copy and keywords.get("device") is not None:
            target = torch.device(keywords["device"]).type
            self.total += target != first.device.type and (
                target == "cpu" or not keywords.get("non_blocking"))
        return function(*arguments, **keywords)


def set_up():
    """Make the device, and let modules and NumPy work with tensors that have no values."""
    if DEVICE == "npu":
        _make_device()
    nn.Module.to = _move
    # The seams, where the code goes to NumPy on purpose, and back: a tensor must be on the CPU
    # first, and what comes back is there too.
    torch.Tensor.numpy = _numpy
    FakeTensor.tolist = lambda self: _numpy(self.cpu()).tolist()
    torch.from_numpy = lambda array: torch.empty(
        array.shape, dtype=getattr(torch, str(array.dtype)))


def _make_device():
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    backend_registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=module)
    make = torch.tensor
    torch.tensor = lambda values, device="cpu", **options: make(values, **options).to(device)


def _move(self, *arguments, **keywords):
    """``Module.to``, parameter by parameter: torch's own wants to swap tensors."""
    device = keywords.get("device") or next(
        (word for word in arguments if isinstance(word, (str, torch.device))), None)
    for module in self.modules() if device is not None else ():
        for name, old in module._parameters.items():
            if old is not None:
                new = torch.empty(old.shape, dtype=old.dtype, device=device)
                module._parameters[name] = nn.Parameter(new, old.requires_grad)
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype, device=device)
    return self


def _numpy(self):
    if self.device.type != "cpu":
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")
    if self.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
    if not isinstance(self, FakeTensor):
        return np.asarray(torch._C.TensorBase.numpy(self))
    # Not constant: a constant map takes another way through the code.
    kind = str(self.dtype).removeprefix("torch.")
    return (np.arange(self.numel()) % 7).reshape(tuple(self.shape)).astype(kind)


# What is rehearsed: each function is called in FakeTensorMode and may check what it gets.


def classifier_on_device(network):
    """A BackgroundClassifier with a pixel unit; made by ``cases`` outside the mode."""
    classifier = BackgroundClassifier(build_backbone(network, "none"), "pooled", SIDE)
    classifier.pixel_unit = PixelUnit(classifier.backbone)
    classifier.evidence_unit = PixelUnit(classifier.backbone)
    classifier.pixel_network = PixelNetwork(classifier.backbone)
    classifier.tuned_network = TunedNetwork(classifier.backbone)
    return classifier


def images():
    return torch.empty(IMAGES, 3, SIDE, SIDE, device=DEVICE)


def require(tensor, shape):
    """An error unless a tensor is on the device and of a shape."""
    if tensor.device.type != DEVICE or tuple(tensor.shape) != shape:
        raise AssertionError(f"{tensor.device} {tuple(tensor.shape)}, not {DEVICE} {shape}")


def rehearse_map(classifier, recipe):
    make = pixel_map if recipe.reads_pixels else gradient_map
    with torch.enable_grad():
        require(make(classifier.to(DEVICE), images(), recipe, (SIDE, SIDE)), (IMAGES, SIDE, SIDE))


def rehearse_backbone_gradient(classifier):
    classifier.to(DEVICE)
    require(backbone_gradient(classifier.backbone, images()), (IMAGES, SIDE, SIDE))


def rehearse_pixel_unit(classifier):
    unit = classifier.to(DEVICE).pixel_unit
    look = unit.look(images())
    require(unit(look.cells), (IMAGES, 14, 14))
    require(classifier.pixel_network(look.cells), (IMAGES, 14, 14))
    require(classifier.tuned_network(look.tail_input), (IMAGES, 14, 14))
    of_unit, of_pixels, of_tail = _joint_reader(classifier)(images())
    require(of_unit, (IMAGES, classifier.unit.in_features))
    require(of_pixels, tuple(look.cells.shape))
    require(of_tail, tuple(look.tail_input.shape))


def rehearse_masks(classifier, recipe):
    maker = MaskMaker(classifier, recipe, (SIDE, SIDE), DEVICE)
    cut = maker.masks(images(), [0.5])[0.5]
    assert cut.mask.shape == (IMAGES, SIDE, SIDE)


def rehearse_classifier_training(classifier):
    classifier.to(DEVICE)
    features = [classifier.features(images()).float().cpu() for _ in range(2)]
    train_unit(classifier, *features, ClassifierConfig(steps=2, batch_size=4))


def rehearse_pixel_network_training(classifier):
    """Two steps, from features on the host; the products of the moments are the device's."""
    classifier.to(DEVICE)
    features = torch.empty(IMAGES, GRID ** 2, classifier.pixel_unit.width, dtype=torch.half)
    labels = CellLabels(torch.empty(IMAGES, GRID ** 2),
                        torch.empty(IMAGES, GRID ** 2, dtype=torch.bool))
    pixel_network.EPOCHS, pixel_network.LEAST_STEPS = 0, TEACHING_STEPS
    network = train_pixel_network(classifier, Moments(features, features, device=DEVICE), labels,
                                  seed=0)
    require(network.hidden.weight, (pixel_network.HIDDEN, features.shape[-1]))


def sources(variant, classifier):
    """Name to mask source, for a variant."""
    if not variant.uses_masks:
        return {"no masks": lambda: NoMasks()}

    def online(recipe):
        return MadeMasks(OnlineMaker(MaskMaker(
            classifier, RECIPES[recipe], (SIDE, SIDE), DEVICE), 0.5))

    def joint():
        maker = MaskMaker(classifier, RECIPES["guided-layers"], (SIDE, SIDE), DEVICE)
        return MadeMasks(JointMaker(maker, 0.5, lambda: torch.empty(2, 3, SIDE, SIDE)))
    return {"cached masks": CachedMasks, "online masks, default": lambda: online("default"),
            "online masks, guided-layers": lambda: online("guided-layers"), "joint masks": joint}


def batch():
    return TrainingBatch(
        torch.empty(IMAGES, 3, SIDE, SIDE, dtype=torch.uint8),
        torch.zeros(IMAGES, dtype=torch.long),
        torch.empty(IMAGES, 1, SIDE, SIDE, dtype=torch.bool),
        torch.ones(IMAGES, dtype=torch.bool))


def untrained(variant, network):
    """A method of a variant, narrow."""
    config = dataclasses.replace(variant.config, width=16, mask_width=8)
    return variant.method(build_backbone(network, "none"), CLASSES, config), config


def rehearse_step(method, config, source):
    method.to(DEVICE).train()
    optimizer, _ = build_optimizer(method, config)
    losses = train_step(method, source(), batch(), optimizer, _no_scaler(), DEVICE, 5.0)
    for loss in losses.values():
        require(loss, ())


def rehearse_epoch(method, config):
    method.to(DEVICE)
    optimizer, _ = build_optimizer(method, config)
    source = CachedMasks() if config.score_map != "class" else NoMasks()
    train_epoch(method, source, [batch()] * 3, optimizer, _no_scaler(), DEVICE, 5.0)


def _no_scaler():
    return torch.amp.GradScaler(DEVICE, enabled=False)


def rehearse_prediction(method, kind):
    """Localizing, from a loaded batch to score maps on the host."""
    records = [Record(f"{number}.jpg", "", 0) for number in range(IMAGES)]
    loaded = FrameBatch(torch.empty(IMAGES, 3, SIDE, SIDE, dtype=torch.uint8),
                        list(range(IMAGES)), [], {})
    predicting.load_frames = lambda *arguments, **options: [loaded]
    predicting.map_in_order = lambda function, items, device, threads: map(function, items)
    method.to(DEVICE).eval()
    for _, maps, _ in predicting.scored_batches(method, records, kind, SIDE, SIDE,
                                                Compute(DEVICE, IMAGES, 0)):
        assert maps.shape == (IMAGES, SIDE, SIDE)


def rehearse_forward(classifier, guided):
    """What a gradient recipe asks of the classifier before it goes back."""
    classifier.to(DEVICE)
    with GuidedBackpropagation() if guided else contextlib.nullcontext():
        feature_map, outputs = classifier.backbone.forward_with_taps(
            images().requires_grad_(), classifier.backbone.taps)
        require(classifier.unit(classifier.read(feature_map)), (IMAGES, 1))
    assert len(outputs) == len(classifier.backbone.taps)


def rehearse_losses(method):
    method.to(DEVICE).train()
    masks = torch.empty(IMAGES, 1, SIDE, SIDE, device=DEVICE)
    losses = method(images(), torch.zeros(IMAGES, dtype=torch.long, device=DEVICE), masks,
                    torch.ones(IMAGES, dtype=torch.bool, device=DEVICE))
    for loss in losses.values():
        require(loss, ())
        assert loss.dtype is torch.float32, loss.dtype
    method.predict(images())


def forbid():
    """What autocast does not allow."""
    functional.binary_cross_entropy(images().sigmoid(), images().sigmoid())


def autocast_cases():
    """Yield (name, function): the forward passes of everything that is trained or makes maps."""
    yield "forbidden", forbid
    for network in NETWORKS:
        classifier = classifier_on_device(network)
        yield f"pixel unit {network}", lambda: rehearse_pixel_unit(classifier)
        for guided in (False, True):
            yield (f"classifier {network}{', guided' * guided}",
                   lambda: rehearse_forward(classifier, guided))
    for name, variant in TRAINED.items():
        method, _ = untrained(variant, "squeezenet1_1")
        yield f"losses {name}", lambda: rehearse_losses(method)


def cases():
    """Yield (name, function): all that is rehearsed, built on the CPU with values."""
    for network in NETWORKS:
        classifier = classifier_on_device(network)
        yield f"classifier {network}", lambda: rehearse_classifier_training(classifier)
        yield f"pixel unit {network}", lambda: rehearse_pixel_unit(classifier)
        yield f"teaching {network}", lambda: rehearse_pixel_network_training(classifier)
        yield f"gradient {network}", lambda: rehearse_backbone_gradient(classifier)
        for name, recipe in RECIPES.items():
            yield f"map {network} {name}", lambda: rehearse_map(classifier, recipe)
    for name, recipe in RECIPES.items():
        classifier = classifier_on_device("tiny")
        yield f"masks {name}", lambda: rehearse_masks(classifier, recipe)
    for name, variant in TRAINED.items():
        for source, make in sources(variant, classifier_on_device("tiny")).items():
            method, config = untrained(variant, "squeezenet1_1")
            yield f"step {name}, {source}", lambda: rehearse_step(method, config, make)
        method, config = untrained(variant, "tiny")
        yield f"epoch {name}", lambda: rehearse_epoch(method, config)
    for name, variant in VARIANTS.items():
        for kind in SCORE_MAPS if variant.uses_masks else ("class",):
            method, _ = untrained(variant, "squeezenet1_1")
            yield f"localize {name}, {kind}", lambda: rehearse_prediction(method, kind)


def rehearse_all(precision=None):
    """Rehearse every case; a dict from its name to what happened."""
    set_up()
    if precision is not None:  # torch.autocast turns itself off where there is no such device
        torch.set_autocast_enabled(DEVICE, True)
        torch.set_autocast_dtype(DEVICE, getattr(torch, precision))
    found, mode = {}, FakeTensorMode()  # one for all: what is cached outlives a case
    for name, function in cases() if precision is None else autocast_cases():
        try:
            with mode, Waits() as waits:
                function()
            found[name] = {"waits": waits.total}
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)
            ours = [one for one in frame if "site-packages" not in one.filename][-1]
            found[name] = {"error": f"{ours.filename}:{ours.lineno} {ours.line}: "
                           f"{type(error).__name__}: {error}"}
    return found


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = rehearse_all(*sys.argv[2:])
    print(json.dumps(result))
