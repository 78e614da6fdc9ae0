from pathlib import Path

import pytest

from common.config import ConfigError
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from pipelines.jobs.options import RECIPE, STAGE1, values
from stage1_bc.mask_settings import (MaskSettings, describe_masks, maker_of_masks, mask_settings,
                                     require_agreement)
from stage1_bc.recipe import RECIPES
from stage1_bc.stage1_job import Stage1Job
from tests.examples import TINY, make_masks, run, write_inputs

TINY_WEIGHTS = str(Path(__file__).parent.parent / "demo" / "tiny.pth")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervision")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def cache(folder):
    return MaskCache(make_masks(folder, "--recipe", "guided", "--recipe-set", "blur=4",
                                "--bc-seed", "3"))


def agree(folder, cache, given, options):
    """Hold a cache against a command line with some options."""
    arguments = values(*STAGE1, *RECIPE, **{
        "data": folder / "cub", "background": folder / "backgrounds", "cache": folder / "cache",
        "workers": 0, "backbone": "tiny", "weights": "none", "image_size": 32, **options})
    require_agreement(cache, Stage1Job.from_options(**arguments).settings, arguments, given)


def test_the_line_names_key_recipe_and_classifier(cache):
    line = describe_masks(cache)
    assert f"key {cache.key}, recipe guided" in line and "(tiny, seed 3)" in line
    assert cache.manifest["provenance"]["classifier"][:12] in line


@pytest.mark.parametrize("given, options", [
    ((), {}), (("recipe_set",), {"recipe_set": ("blur=4",)}), (("bc_seed",), {"bc_seed": 3}),
    (("recipe", "recipe_set"), {"recipe": "guided", "recipe_set": ("blur=4",)}),
    (("bc_backbone", "bc_weights", "head", "precision"), {}),
    (("bc_set",), {"bc_set": ("weight_decay=0.05",)})])
def test_what_is_not_given_may_differ(folder, cache, given, options):
    agree(folder, cache, given, options)


@pytest.mark.parametrize("given, options, difference", [
    (("recipe",), {"recipe": "guided"}, "--recipe asks for blur 6.0, the masks have 4.0"),
    (("recipe_set",), {"recipe_set": ("blur=5",)},
     "--recipe-set asks for blur 5.0, the masks have 4.0"),
    (("bc_seed",), {}, "--bc-seed asks for seed 0, the masks have 3"),
    (("bc_backbone",), {"backbone": "vgg16"}, "--bc-backbone asks for backbone vgg16, .* tiny"),
    (("bc_weights",), {"weights": TINY_WEIGHTS},
     "--bc-weights asks for weights [0-9a-f]+, the masks have none"),
    (("bc_set",), {"bc_set": ("weight_decay=9",)}, "--bc-set asks for weight_decay 9"),
    (("bc_set",), {"recipe": "default", "bc_set": ("pixel_network=true",)},
     "--bc-set asks for pixel_network True, the masks have False"),
    (("precision",), {"precision": "bfloat16"}, "--precision asks for precision bfloat16, "
     "the masks have float32")])
def test_what_is_given_must_agree(folder, cache, given, options, difference):
    with pytest.raises(MaskCacheError, match=f"not those asked for: {difference}.*leave these"):
        agree(folder, cache, given, options)


def test_a_unit_that_neither_has_is_no_difference(folder, cache):
    agree(folder, cache, ("bc_set",), {"recipe": "linear", "bc_set": ("pixel_network=false",)})


def test_the_command_line_is_asked_for_what_it_gives(folder, cache):
    arguments = ("train-ct", "--data", folder / "cub", "--background", folder / "backgrounds",
                 "--cache", folder / "cache", *TINY, "--masks", cache.folder, "--set", "epochs=1",
                 "--set", "width=8")
    with pytest.raises(MaskCacheError,
                       match="--recipe asks for signal tuned, the masks have input"):
        run(*arguments, "--recipe", "default")
    assert "wrote" in run(*arguments).output


def test_a_recipe_of_the_same_name_in_an_earlier_version_is_another(folder):
    cache = MaskCache(make_masks(folder, "--recipe", "default"))
    given, options = ("recipe",), {"recipe": "default"}
    agree(folder, cache, given, options)
    assert maker_of_masks(cache).recipe == RECIPES["default"]
    classifier = cache.manifest["about"]["classifier"]
    classifier["versions"]["doubting"] -= 1
    with pytest.raises(MaskCacheError, match="--recipe asks for doubting at version 3, the masks "
                                             "have 2; leave"):
        agree(folder, cache, given, options)
    agree(folder, cache, (), {})
    del classifier["doubtful_clusters"], classifier["versions"]["doubting"]
    with pytest.raises(MaskCacheError, match="--recipe asks for doubtful_clusters 2, the masks "
                                             "have 0; leave"):
        agree(folder, cache, given, options)
    agree(folder, cache, given, {**options, "bc_set": ("doubtful_clusters=0",)})
    del cache.manifest["provenance"]["recipe"]["versions"], classifier["versions"]
    with pytest.raises(MaskCacheError, match="asks for tuned map at version 2, the masks have 1"):
        agree(folder, cache, given, options)
    with pytest.raises(ValueError, match="by another version of the recipe default: make masks ag"):
        maker_of_masks(cache)


def test_masks_made_with_a_setting_that_is_gone_are_named(folder):
    cache = MaskCache(make_masks(folder, "--recipe", "guided"))
    cache.manifest["about"]["classifier"]["taught_by"] = "agreement"
    with pytest.raises(ConfigError, match=f"the masks in {cache.folder}: made with settings that "
                                          r"this version .* again with bcct masks \(unknown field "
                                          "'taught_by'"):
        maker_of_masks(cache)


def test_masks_of_one_scale_keep_their_key():
    def settings(*changes):
        return mask_settings("tiny", "none", None, None, 0, "pooled", (), 32, "default", changes)
    one_scale, two_scales = settings(), settings("tuned_scales=1,1.286")
    assert "tuned_scales" not in one_scale.recipe_fields  # as it always was
    assert two_scales.recipe_fields["tuned_scales"] == [1.0, 1.286]
    for one in (one_scale, two_scales):
        assert MaskSettings.from_facts(one.facts(), "none", "default", "masks") == one


def test_a_recipe_that_sharpens_otherwise_is_another(folder):
    grab_cut = MaskCache(make_masks(folder, "--recipe", "linear"))
    assert "sharpen_by" not in grab_cut.manifest["provenance"]["recipe"]  # as it always was
    with pytest.raises(MaskCacheError, match="asks for sharpen_by colours, the masks have grabcut"):
        agree(folder, grab_cut, ("recipe",), {"recipe": "colours"})
    colours = MaskCache(make_masks(folder, "--recipe", "colours"))
    assert colours.key != grab_cut.key
    with pytest.raises(MaskCacheError, match="asks for sharpen_by grabcut, the masks have colours"):
        agree(folder, colours, ("recipe",), {"recipe": "linear"})
    assert maker_of_masks(grab_cut).recipe == RECIPES["linear"]
    assert maker_of_masks(colours).recipe == RECIPES["colours"]


@pytest.mark.parametrize("clusters", [0, 2])
def test_classes_are_part_of_a_classifiers_description_where_they_say_what_is_doubtful(
        tmp_path, clusters):
    write_inputs(tmp_path)
    options = values(*STAGE1, *RECIPE, data=tmp_path / "cub", background=tmp_path / "backgrounds",
                     cache=tmp_path / "cache", workers=0, backbone="tiny", weights="none",
                     image_size=32, bc_set=(f"doubtful_clusters={clusters}",))

    def described():
        return Stage1Job.from_options(**options).description()
    before, table = described(), tmp_path / "cub" / "image_class_labels.txt"
    rows = [line.split() for line in table.read_text().splitlines()]
    table.write_text("".join(f"{image} {3 - int(label)}\n" for image, label in rows))
    assert described() == before  # the same images still share a class
    table.write_text("".join(f"{image} 1\n" for image, _ in rows))
    assert (described() != before) == (clusters > 0)
