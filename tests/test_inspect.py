import re
import shutil

import numpy as np
import pytest
from PIL import Image

from common.datasets import open_dataset
from common.mask_cache import contact_sheet
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from common.mask_cache.summary import (dataset_of_masks, histogram_lines, summary_sections,
                                       worst_and_best)
from evaluation.mask_figures import mask_figures, score_masks
from tests.examples import make_masks, run, write_inputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def masks(folder):
    return make_masks(folder, "--delta", "0.8", "--recipe", "guided")


@pytest.fixture(scope="module")
def other_masks(folder):
    with pytest.raises(MaskCacheError, match="not one of the 8 masks") as refused:  # but made
        make_masks(folder, "--delta", "0.8", "--recipe", "guided",
                   "--recipe-set", "smallest_area=0.9")
    return re.search(r"masks in (\S+) is valid", str(refused.value))[1]


def test_the_summary_and_the_sheet(folder, masks, other_masks):
    output = run("inspect", masks, "--data", folder / "cub", "--against", other_masks,
                 "--cache", folder / "cache").output
    cache, other = MaskCache(masks), MaskCache(other_masks)
    assert f"key         {cache.key}" in output and f"key         {other.key}" in output
    assert "images      8, masks of 32x32 pixels" in output
    assert f"valid       {cache.stats()['valid']:.1%}" in output
    assert "valid       0.0%" in output  # of the other
    assert "strict (" in output and "over 8 images" in output
    sheet = folder / "cache" / "inspect" / f"{cache.folder.name}-against-{other.key}.png"
    assert output.split("wrote ")[-1].strip() == str(sheet)
    gap = contact_sheet.GAP
    assert Image.open(sheet).size[0] == 8 * (contact_sheet.SIDE + gap) + gap


def test_only_masks_of_the_same_images_are_compared(folder, masks):
    others = make_masks(folder, "--delta", "0.8", "--recipe", "guided", "--split", "test")
    result = run("inspect", masks, "--data", folder / "cub", "--against", others,
                 "--cache", folder / "cache")
    assert result.exit_code == 2 and "compare masks of the same images" in result.output
    assert "valid" not in result.output


def test_each_threshold_has_a_sheet_of_its_own(folder):
    made = make_masks(folder, "--delta", "0.7", "--delta", "0.75", "--recipe", "guided-layers")
    sheets = {run("inspect", made, "--delta", delta, "--cache", folder / "cache").output.split(
        "wrote ")[-1].strip() for delta in ("0.70", "0.75")}
    assert {sheet[-9:] for sheet in sheets} == {"-0.70.png", "-0.75.png"}


def test_without_a_data_set_masks_are_shown_alone(folder, masks):
    output = run("inspect", masks, "--cache", folder / "alone").output
    assert "strict" not in output and "area " in output
    assert len(list((folder / "alone" / "inspect").iterdir())) == 1


def test_the_figures_are_those_of_the_boxes(folder, masks):
    cache = MaskCache(masks)
    dataset = dataset_of_masks(cache, folder / "cub")
    assert len(dataset.records) == 8  # the split that the masks are of
    result = score_masks(cache, dataset)
    strict = np.mean([row.iou >= 0.5 for row in result.rows])
    assert result.metrics["mask_strict"].value == strict
    (worst, worst_tiles), (best, best_tiles) = worst_and_best(
        cache, dataset, result.iou_by_image, count=3)
    assert worst.startswith("worst") and best.startswith("best")
    assert len(worst_tiles) == len(best_tiles) == 3
    lowest = min(result.rows, key=lambda row: row.iou)
    record = contact_sheet.find_record(dataset, lowest.image_id)
    caption = f"IoU {lowest.iou:.2f} {contact_sheet.short_name(lowest.image_id)}"
    assert np.array_equal(worst_tiles[0], contact_sheet.tile(
        record, cache[lowest.image_id], caption))


def test_changed_images_are_refused(folder, masks, tmp_path):
    shutil.copytree(folder / "cub", tmp_path / "cub")
    cache = MaskCache(masks)
    dataset = dataset_of_masks(cache, tmp_path / "cub")
    changed = dataset.records[3]
    content = bytearray(changed.path.read_bytes())
    content[-20] ^= 1
    changed.path.write_bytes(content)
    for look in (lambda: score_masks(cache, dataset), lambda: mask_figures(dataset, masks, 0.8),
                 lambda: cache.grid([changed.image_id], dataset),
                 lambda: summary_sections(cache, dataset)):
        with pytest.raises(MaskCacheError, match=f"'{changed.image_id}' has changed since"):
            look()
    assert cache.grid([changed.image_id]).shape[2] == 3  # the mask alone says nothing wrong


def test_invalid_masks_have_a_section_of_their_own(masks, other_masks):
    for folder, expected in ((masks, 0), (other_masks, 8)):
        parts = dict(summary_sections(MaskCache(folder)))
        assert len(parts["invalid masks"]) == expected


def test_another_data_set_is_refused(folder, masks, tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "a" / "x.png")
    (tmp_path / "test" / "a").mkdir(parents=True)
    assert len(open_dataset("folder", tmp_path, "train").records) == 1
    with pytest.raises(MaskCacheError, match="masks of none of the images"):
        dataset_of_masks(MaskCache(masks), tmp_path, "folder")


def test_a_missing_cache_is_one_sentence(tmp_path):
    with pytest.raises(MaskCacheError, match="does not exist"):
        run("inspect", tmp_path / "none")


def test_the_histogram_ends_where_the_masks_do():
    lines = histogram_lines([0, 40, 0, 10] + [0] * 16)
    assert [line.split("%")[0].split() for line in lines] == [
        ["5", "to", "10"], ["10", "to", "15"], ["15", "to", "20"]]
    assert [line.count("#") for line in lines] == [40, 0, 10]
    assert histogram_lines([0] * 20) == []
