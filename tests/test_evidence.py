import dataclasses

import pytest
import torch

from stage1_bc import evidence
from stage1_bc.cells import GRID, on_grid, resize_maps
from stage1_bc.classifier import build_classifier, load_classifier
from stage1_bc.classifier_training import ClassifierConfig, train_unit
from stage1_bc.evidence import evidence_map, train_evidence_unit
from stage1_bc.maker import MaskMaker
from stage1_bc.pixel_map import pixel_map
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recipe import RECIPES
from tests.networks import moments_of, small_classifier

SIDE = 32
TARGET, OTHER = (slice(6, 18), slice(6, 18)), (slice(20, 30), slice(20, 30))


def test_the_evidence_of_a_pooled_unit_is_its_class_activation_above_the_mean():
    classifier = small_classifier()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = classifier.backbone(images)
    activation = torch.einsum("nchw,c->nhw", features, classifier.unit.weight[0])
    activation = activation / features[0, 0].numel()
    expected = (activation - activation.mean((1, 2), keepdim=True)).clamp_min(0).detach()
    evidence = evidence_map(classifier, images)
    assert evidence.amax() > 0 and not evidence.requires_grad
    assert torch.allclose(evidence, expected, rtol=1e-4, atol=1e-6)


def test_the_evidence_of_a_unit_that_reads_every_pixel_is_what_each_adds():
    classifier = build_classifier("tiny", "none", "flattened", image_size=SIDE)
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    features = classifier.backbone(images)
    added = (features.flatten(1) * classifier.unit.weight).view_as(features).sum(1)
    expected = (added - added.mean((1, 2), keepdim=True)).clamp_min(0).detach()
    assert torch.allclose(evidence_map(classifier, images), expected, rtol=1e-4, atol=1e-6)


def test_evidence_is_nowhere_where_all_pixels_are_alike():
    classifier = small_classifier()
    with torch.no_grad():
        classifier.unit.weight.zero_()
    assert evidence_map(classifier, torch.rand(1, 3, SIDE, SIDE)).amax() == 0


def pictures(count, generator, target=False, other=False):
    """Dark noise, with a red square (the target) or a green one (another thing) or both."""
    images = torch.rand(count, 3, SIDE, SIDE, generator=generator) * 0.2
    for there, where, channel in ((target, TARGET, 0), (other, OTHER, 1)):
        if there:
            images[:, channel, *where] += 0.7
    return images


def taught(backgrounds):
    """A classifier for red squares, half of which have a green one beside them."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.cat([pictures(16, generator, True), pictures(16, generator, True, True)])
    classifier = small_classifier(image_size=SIDE, seed=4)  # a network that looks at green first
    with torch.no_grad():
        features = [classifier.features(images) for images in (targets, backgrounds)]
    train_unit(classifier, *features, ClassifierConfig(steps=300))
    classifier.evidence_unit = train_evidence_unit(
        classifier, targets.split(9), moments_of(classifier, targets, backgrounds))
    return classifier, targets[16:]


def answers(classifier, images):
    """The unit's mean answer on the target and on the other thing, in parts of its largest."""
    recipe = dataclasses.replace(RECIPES["evidence"], sharpen=0.0, gamma=1.0)
    maps = MaskMaker(classifier, recipe, (SIDE, SIDE)).maps(images)
    return maps[:, *TARGET].mean(), maps[:, *OTHER].mean()


def test_what_the_backgrounds_show_leaves_the_masks():
    generator = torch.Generator().manual_seed(1)
    empty, shown = pictures(24, generator), pictures(12, generator, other=True)
    target, other = answers(*taught(empty))
    assert other > 0.6 and target < 0.2  # red or green: that tells it from the empty backgrounds
    target, other = answers(*taught(torch.cat([empty, shown])))
    assert target > 0.6 and other < 0.2


def test_the_rest_of_a_thing_whose_head_is_evidence_is_no_negative():
    """Red heads name the target; the bodies are duller."""
    generator = torch.Generator().manual_seed(0)
    head, body, apart = slice(6, 10), slice(10, 18), (slice(24, 30), slice(2, 8))
    targets, backgrounds = pictures(24, generator), pictures(24, generator)
    targets[:, 0, head, 6:18] += 0.7
    targets[:, 0, body, 6:18] += 0.35
    targets[:, 1, *apart] += 0.7
    classifier = small_classifier(image_size=SIDE)
    seeds = torch.zeros(SIDE, SIDE)
    seeds[head, 6:18] = 1
    moments = moments_of(classifier, targets, backgrounds)
    things = (targets.amax(1) > 0.3).numpy()
    found = []
    for salient in (None, on_grid(things) > 0.5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "evidence_map", lambda _, images: seeds.expand(len(images),
                                                                                   SIDE, SIDE))
            patch.setattr(evidence, "GROWING", 0)
            patch.setattr(evidence, "SETTLING", 0)
            unit = train_evidence_unit(classifier, [targets], moments, salient)
        maps = resize_maps(unit(moments.targets), (SIDE, SIDE))
        found.append([float(maps[:, *where].mean()) for where in ((body, slice(6, 18)), apart)])
    (body_before, _), (body_after, apart_after) = found
    assert body_after > 2 * body_before > 0.2 and apart_after < 0.05


def test_the_unit_travels_in_the_checkpoint_and_in_the_digest():
    classifier = build_classifier("tiny", "none", image_size=SIDE)
    bare = classifier.digest()
    classifier.evidence_unit = PixelUnit(classifier.backbone)
    classifier.evidence_unit.weight.normal_(generator=torch.Generator().manual_seed(0))
    assert classifier.digest() != bare
    loaded = load_classifier(classifier.checkpoint({}), "none")
    assert loaded.pixel_unit is None and loaded.digest() == classifier.digest()
    assert torch.equal(loaded.evidence_unit.weight, classifier.evidence_unit.weight)
    # The same weights as the other unit would make other masks.
    classifier.pixel_unit, classifier.evidence_unit = classifier.evidence_unit, None
    assert classifier.digest() not in (bare, loaded.digest())


def test_agreement_is_the_geometric_mean_of_both_units_answers():
    classifier = small_classifier(image_size=SIDE)
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    maps = []
    for number, name in enumerate(("pixel_unit", "evidence_unit")):
        unit = PixelUnit(classifier.backbone)
        unit.weight.normal_(generator=torch.Generator().manual_seed(number))
        unit.bias -= unit(unit.read(images)).median()
        setattr(classifier, name, unit)
        maps.append(unit(unit.read(images)).clamp_min(0))
    pixels, evidence = (one / one.amax((1, 2), keepdim=True) for one in maps)
    assert 0 < (pixels * evidence > 0).float().mean() < 1
    made = pixel_map(classifier, images, RECIPES["agreement"], (GRID, GRID))
    assert torch.allclose(made, (pixels * evidence).sqrt(), atol=1e-5)


def test_a_checkpoint_older_than_the_unit_loads():
    checkpoint = build_classifier("tiny", "none", image_size=SIDE).checkpoint({})
    del checkpoint["evidence_unit"]
    assert load_classifier(checkpoint, "none").evidence_unit is None


def test_the_recipe_asks_for_the_unit():
    maker = MaskMaker(small_classifier(), RECIPES["evidence"], (SIDE, SIDE))
    with pytest.raises(ValueError, match="--bc-set evidence_unit=true"):
        maker.maps(torch.rand(1, 3, SIDE, SIDE))
