"""A change of what the code makes needs a new version, which gives masks and classifiers new keys.

``python -m tests.test_program_versions`` records what today's code makes.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from common.mask_cache.shards import Provenance
from stage1_bc import program_versions
from stage1_bc.agreement import label_by_agreement, salient_cells
from stage1_bc.cells import GRID
from stage1_bc.classifier_training import ClassifierConfig, train_unit
from stage1_bc.evidence import train_evidence_unit
from stage1_bc.maker import MaskMaker
from stage1_bc.mask_settings import MaskSettings, mask_settings, recorded_facts
from stage1_bc.program_versions import VERSIONS, versions_of_classifier, versions_of_recipe
from stage1_bc.recipe import PIXEL_UNITS, RECIPES
from tests.networks import small_classifier, teach_units
from tests.test_doubtful_cells import doubtful

pytestmark = pytest.mark.usefixtures("all_steps")

RECORD = Path(__file__).with_name("made_by_versions.json")
SIDE = 32
TOLERANCE = 0.01  # what processors and libraries may differ by


def pictures(level):
    """Three pictures of one bright square each on dark noise; the same ones anywhere."""
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 80, (3, 3, SIDE, SIDE))).float() / 255
    for number in range(3):
        images[number, :, 4 + 4 * number:16 + 4 * number, 8:22] += level
    return images


def thumbnail(maps):
    """The mean of each of 16 cells of each map: small, and the same on any machine."""
    return np.asarray(maps).reshape(len(maps), 4, SIDE // 4, 4, SIDE // 4).mean(axis=(2, 4))


def made():
    """What the code makes with a small random network, by the parts' names."""
    classifier = small_classifier("pooled", SIDE)
    random = np.random.default_rng(1)
    features = [torch.from_numpy(random.normal(mean, 1, (20, 6))).float() for mean in (0.5, -0.5)]
    train_unit(classifier, *features, ClassifierConfig(steps=50))
    learnt = classifier.unit.weight.detach().numpy()
    targets = pictures(0.6)
    moments, first = teach_units(classifier, targets, pictures(0), 3)
    found = {"learning": learnt, "teaching": classifier.pixel_unit.weight.numpy(),
             "evidence": classifier.evidence_unit.weight.numpy()}
    sparing = train_evidence_unit(classifier, [targets], moments,
                                  salient_cells(classifier.pixel_unit, moments))
    labels = label_by_agreement(classifier, [targets], moments, first).covered
    found["evidence, sparing"] = sparing.weight.numpy()
    found["agreement, labels"] = functional.adaptive_avg_pool2d(
        labels.unflatten(1, (GRID, GRID)), 4).numpy()
    found["doubting"] = functional.adaptive_avg_pool2d(
        doubtful(2, [0] * 12).float().unflatten(1, (GRID, GRID)), 4).numpy()
    for name, recipe in RECIPES.items():
        maker = MaskMaker(classifier, recipe, (SIDE, SIDE))
        found[name] = thumbnail(maker.maps(pictures(0.6)))
        found[f"{name}, masks"] = thumbnail(maker.masks(pictures(0.6), [0.8])[0.8].mask)
    return {name: np.round(values, 4).tolist() for name, values in found.items()}


def test_what_the_code_makes_is_what_its_versions_made():
    record, now = json.loads(RECORD.read_text()), made()
    assert record["versions"] == VERSIONS, "record what these versions make: see above"
    assert record["made"].keys() == now.keys(), "record the new recipes: see above"
    different = [name for name, values in now.items()
                 if np.abs(np.subtract(values, record["made"][name])).max() > TOLERANCE]
    assert not different, (f"{', '.join(different)}: the code makes something else than before. If "
                           "that is meant, raise the version of what changed in "
                           "stage1_bc/program_versions.py and record it again: see above")


def test_at_version_1_records_stay_as_they_were(monkeypatch):
    monkeypatch.setattr(program_versions, "VERSIONS", dict.fromkeys(VERSIONS, 1))
    assert [versions_of_recipe(recipe) for recipe in RECIPES.values()] == [{}] * len(RECIPES)
    assert versions_of_classifier(PIXEL_UNITS) == {}


def test_only_classifiers_with_units_for_pixels_record_how_those_are_taught(monkeypatch):
    monkeypatch.setattr(program_versions, "VERSIONS", {**dict.fromkeys(VERSIONS, 1), "teaching": 2})
    assert versions_of_classifier(()) == {}
    for units in (*((unit,) for unit in PIXEL_UNITS), PIXEL_UNITS):
        assert versions_of_classifier(units) == {"versions": {"teaching": 2}}


def test_only_a_tuned_network_records_how_units_agree():
    assert versions_of_classifier(["pixel_network"]) == {}
    assert versions_of_classifier(["tuned_network"]) == {
        "versions": {part: VERSIONS[part] for part in ("agreement", "tuning")}}


def test_a_tuned_network_depends_on_all_that_teaches_its_teacher(monkeypatch):
    monkeypatch.setattr(program_versions, "VERSIONS", dict.fromkeys(VERSIONS, 2))
    assert set(versions_of_classifier(["tuned_network"])["versions"]) == {
        "learning", "tuning", "agreement", "evidence", "network", "teaching", "gradients",
        "sharpening", "cutting"}


def test_only_units_for_pixels_at_other_scales_record_a_version():
    scales = {"scales": (1.0, 1.5)}
    several = {name: dataclasses.replace(RECIPES[name], **scales) for name in ("frozen", "guided")}
    assert versions_of_recipe(RECIPES["frozen"]) == {}
    assert versions_of_recipe(several["frozen"]) == {"versions": {"scales": 2}}
    assert versions_of_recipe(several["guided"]) == {}


@pytest.mark.parametrize("part, recipe, of_masks, of_classifier", [
    ("pixels", "linear", True, False), ("pixels", "default", True, False),
    ("network", "default", False, True), ("network", "frozen", True, True),
    ("network", "linear", False, False), ("tuned map", "default", True, False),
    ("tuning", "default", True, True), ("tuning", "frozen", False, False),
    ("agreement", "default", False, True), ("agreement", "frozen", False, False),
    ("evidence", "default", False, True), ("evidence", "frozen", False, False),
    ("sharpening", "default", True, True),
    ("sharpening", "pixels", False, True), ("sharpening", "blurred", False, False),
    ("gradients", "blurred", True, False), ("cutting", "paper", True, False),
    ("doubting", "default", False, True), ("doubting", "frozen", False, False),
    ("pixels", "evidence", True, False), ("cutting", "evidence", True, True),
    ("teaching", "default", False, True), ("learning", "blurred", False, True)])
def test_a_new_version_is_another_key(monkeypatch, part, recipe, of_masks, of_classifier):
    settings = mask_settings("tiny", "none", None, None, 0, "pooled", (), SIDE, recipe)

    def keys():
        key = Provenance("images", "classifier", settings.recipe_fields, settings.size).key()
        return key, settings.classifier_fields, settings.facts()
    before = keys()
    monkeypatch.setitem(program_versions.VERSIONS, part, 7)
    after = keys()
    assert (before[0] != after[0]) == of_masks and (before[1] != after[1]) == of_classifier
    assert (before[2] != after[2]) == (of_masks or of_classifier)
    facts = settings.facts()
    assert MaskSettings.from_facts(facts, "none", recipe, "masks") == settings
    manifest = {"about": settings.about(), "provenance": dataclasses.asdict(
        Provenance("images", "classifier", settings.recipe_fields, settings.size))}
    assert recorded_facts(manifest) == facts


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_clusters_are_doubtful_where_a_recipe_reads_the_tuned_network(recipe):
    settings = mask_settings("tiny", "none", None, None, 0, "pooled", (), SIDE, recipe)
    tuned = recipe == "default"
    assert settings.config.tuned_network == tuned
    assert settings.config.doubtful_clusters == (2 if tuned else 0)
    assert ("doubtful_clusters" in settings.classifier_fields) == tuned


@pytest.mark.parametrize("clusters", [0, 3])
def test_only_where_clusters_are_doubtful_they_are_part_of_the_key(monkeypatch, clusters):
    settings = mask_settings("tiny", "none", None, None, 0, "pooled",
                             [f"doubtful_clusters={clusters}"], SIDE)
    before = settings.classifier_fields
    assert before.get("doubtful_clusters", 0) == clusters
    monkeypatch.setitem(program_versions.VERSIONS, "doubting", 7)
    assert (settings.classifier_fields != before) == (clusters > 0)


if __name__ == "__main__":
    RECORD.write_text(json.dumps({"versions": VERSIONS, "made": made()}) + "\n")
