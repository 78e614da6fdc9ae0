import collections

import pytest
import torch

from common.backbones import build_backbone
from common.compute import Compute
from common.datasets import open_backgrounds, open_dataset
from common.images import BadImage
from stage1_bc import agreement, classifier_training
from stage1_bc.agreement import label_by_agreement
from stage1_bc.cells import GRID
from stage1_bc.classifier import BackgroundClassifier, build_classifier
from stage1_bc.classifier_training import ClassifierConfig, teach_pixels, train_classifier
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.first_labels import label_seeds
from stage1_bc.pixel_network import train_pixel_network
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.reading import _joint_reader, read_images
from stage1_bc.recipe import PIXEL_UNITS
from stage1_bc.tuned_network import label_by_masks
from tests.examples import write_inputs
from tests.networks import small_classifier

SIDE = 32
CONFIG = ClassifierConfig(image_size=SIDE, steps=5, pixel_unit=True, pixel_targets=3)
COMPUTE = Compute("cpu", 2, 0)


@pytest.fixture
def images(tmp_path):
    """(training images, backgrounds), sequences of Record."""
    write_inputs(tmp_path)
    return (open_dataset("cub", tmp_path / "cub", "train").records,
            open_backgrounds(tmp_path / "backgrounds").records)


@pytest.mark.parametrize("head", ["pooled", "flattened"])
@pytest.mark.parametrize("backbone", [None, "squeezenet1_1", "mobilenet_v2", "timm:test_resnet"])
def test_one_pass_reads_what_each_unit_reads_alone(backbone, head):
    """In some networks the last layer is one of those that units for pixels read."""
    classifier = small_classifier(head, 64) if backbone is None else BackgroundClassifier(
        build_backbone(backbone, "none"), head, 64)
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        of_unit, of_pixels, of_tail = _joint_reader(classifier)(batch)
        assert torch.allclose(of_unit, classifier.features(batch), rtol=1e-4, atol=1e-5)
    look = PixelUnit(classifier.backbone).look(batch)
    assert torch.allclose(of_pixels, look.cells, rtol=1e-4, atol=1e-5)
    assert torch.allclose(of_tail, look.tail_input, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "mobilenet_v2", "vgg16", "tiny",
                                      "timm:test_resnet", "timm:test_vit"])
def test_a_tail_that_is_not_trained_gives_what_the_backbone_gives(backbone):
    classifier = BackgroundClassifier(build_backbone(backbone, "none"), image_size=64)
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = classifier.backbone.extractor(features=True)(batch)
        *_, last = classifier.backbone.tail()(outputs.tail_input).values()
    if classifier.backbone.name.startswith("timm"):  # the last stage, before what normalises it
        assert torch.allclose(last, outputs.pixels[-1], rtol=1e-4, atol=1e-5)
    else:
        assert torch.allclose(last, outputs.features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("units, passes", [
    ((), 0), (("pixel_unit",), 2), (("evidence_unit",), 1), (("pixel_unit", "evidence_unit"), 3),
    (("pixel_network",), 2), (("pixel_unit", "pixel_network"), 2), (("tuned_network",), 5),
    (("pixel_network", "tuned_network"), 5),
    (("evidence_unit", "pixel_network", "tuned_network"), 6)])
def test_an_image_passes_the_backbone_once_and_a_sample_again_for_masks_and_composites(
        images, units, passes):
    targets, backgrounds = images
    classifier, seen = build_classifier("tiny", "none", image_size=SIDE), collections.Counter()

    def count(layer, inputs, output):
        seen[inputs[0].shape[2:]] += len(inputs[0])  # units measure themselves on another size
    classifier.backbone.layers[0].register_forward_hook(count)
    config = ClassifierConfig(image_size=SIDE, steps=5, pixel_targets=3,
                              **dict.fromkeys(units, True))
    train_classifier(classifier, targets, backgrounds, config, COMPUTE)
    assert len(targets) > 3
    assert {name for name in PIXEL_UNITS if getattr(classifier, name) is not None} == set(units)
    assert seen[SIDE, SIDE] == len(targets) + len(backgrounds) + 3 * passes


def test_the_tuned_network_has_a_teacher_of_its_own_that_is_not_kept(images, monkeypatch):
    """The network that is kept learns the first labels, its teacher what two units agree on."""
    first, agreed, labels, networks, teachers = [], [], [], [], []

    def noting(notes, function):
        def call(*given):
            notes.append(function(*given))
            return notes[-1]
        return call

    def train(classifier, moments, cells, *given):
        labels.append(cells)
        networks.append(train_pixel_network(classifier, moments, cells, *given))
        return networks[-1]

    def label(teacher, *given):
        teachers.append(teacher)
        return label_by_masks(teacher, *given)
    for name, replaced in (("label_seeds", noting(first, label_seeds)),
                           ("label_by_agreement", noting(agreed, label_by_agreement)),
                           ("train_pixel_network", train), ("label_by_masks", label)):
        monkeypatch.setattr(classifier_training, name, replaced)
    classifier = build_classifier("tiny", "none", image_size=SIDE)
    config = ClassifierConfig(image_size=SIDE, steps=5, pixel_targets=3, pixel_network=True,
                              tuned_network=True)
    train_classifier(classifier, *images, config, COMPUTE)
    assert labels[0] is first[0].cells and labels[1] is agreed[0] and len(labels) == 2
    assert not torch.equal(agreed[0].covered, first[0].cells.covered)
    assert classifier.pixel_network is networks[0] and teachers == [networks[1]]
    assert classifier.evidence_unit is None and classifier.pixel_unit is None


def test_an_evidence_unit_that_is_kept_spares_no_cells(images, monkeypatch):
    """The one that teaches the tuned network does."""
    given = []

    def train(classifier, targets, moments, *salient):
        given.append(salient)
        return train_evidence_unit(classifier, targets, moments, *salient)
    for module in (classifier_training, agreement):
        monkeypatch.setattr(module, "train_evidence_unit", train)
    classifier = build_classifier("tiny", "none", image_size=SIDE)
    config = ClassifierConfig(image_size=SIDE, steps=5, pixel_targets=3, evidence_unit=True,
                              tuned_network=True)
    train_classifier(classifier, *images, config, COMPUTE)
    (kept, teaching) = given
    assert kept == () and teaching[0].any()


def test_an_image_that_cannot_be_read_is_in_no_reading(images):
    targets, backgrounds = images
    config = ClassifierConfig(image_size=SIDE, pixel_network=True, tuned_network=True)
    targets[1].path.write_bytes(b"")
    readings = read_images(build_classifier("tiny", "none", image_size=SIDE), targets, backgrounds,
                           config, COMPUTE)
    assert list(readings.unreadable) == [str(targets[1].path)]
    assert readings.sampled == (targets[0], *targets[2:])
    assert len(readings.targets) == len(readings.moments.targets) == len(targets) - 1
    assert len(readings.tail_inputs.targets) == len(targets) - 1
    assert len(readings.tail_inputs.backgrounds) == len(backgrounds)
    assert readings.moments.targets.shape[1] == GRID ** 2


def test_an_image_that_is_lost_between_reading_and_teaching_is_named(images):
    classifier = build_classifier("tiny", "none", image_size=SIDE)
    readings = read_images(classifier, *images, CONFIG, COMPUTE)
    readings.sampled[2].path.unlink()
    with pytest.raises(BadImage) as raised:
        teach_pixels(classifier, readings, CONFIG, COMPUTE)
    assert raised.value.path == readings.sampled[2].path


def test_what_is_read_is_in_full_precision_also_where_half_is_asked_for(images):
    classifier = build_classifier("tiny", "none", image_size=SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        half = read_images(classifier, *images, CONFIG, COMPUTE)
    full = read_images(classifier, *images, CONFIG, COMPUTE)
    assert torch.equal(half.targets, full.targets)
    assert torch.equal(half.moments.targets, full.moments.targets)
