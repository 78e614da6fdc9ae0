"""What recurs in masks: clusters, what a person names, and what is learnt from it."""

import json
from pathlib import Path

import cv2
import pytest
import torch

from common.artefacts import ArtefactError
from common.config import ConfigError
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from stage1_bc.cells import GRID
from stage1_bc.mask_clusters import (FeatureClusters, NotTarget, fit_clusters, load_not_target,
                                     save_clusters)
from stage1_bc.moments import Moments
from stage1_bc.pixel_unit import PixelUnit
from stage1_bc.recurring import MaskedCells, assign_masked, recurring_parts
from tests.examples import TINY, make_masks, run, write_inputs
from tests.networks import small_backbone

OBJECT, PERCH, GROUND = torch.eye(3)


def noisy(direction, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 10 * direction + torch.randn(*shape, 3, generator=generator)


def test_clusters_are_groups_of_one_direction():
    features = torch.cat([noisy(each, 50, seed=seed)
                          for seed, each in enumerate((OBJECT, PERCH, GROUND))])
    clusters = fit_clusters(features, 3)
    numbers = clusters.assign(features).view(3, 50)
    assert [len(set(row.tolist())) for row in numbers] == [1, 1, 1]
    assert len(set(numbers[:, 0].tolist())) == 3
    assert clusters.assign(features[:4].half()[None]).shape == (1, 4)


def test_the_same_seed_gives_the_same_clusters():
    features = noisy(OBJECT, 300)
    first, second = fit_clusters(features, 8, seed=3), fit_clusters(features, 8, seed=3)
    assert torch.equal(first.centres, second.centres)
    assert not torch.equal(first.centres, fit_clusters(features, 8, seed=4).centres)
    assert torch.allclose(first.centres.norm(dim=1), torch.ones(8))


def test_fewer_cells_than_clusters_are_refused():
    with pytest.raises(ValueError, match="only 5 cells, too few for 8 clusters"):
        fit_clusters(noisy(OBJECT, 5), 8)


def scene():
    """Features of 12 target images, a quarter object and a quarter perch, and of backgrounds."""
    cells = GRID ** 2
    targets = noisy(GROUND, 12, cells)
    targets[:, :cells // 4] = noisy(OBJECT, 12, cells // 4, seed=1)
    targets[:, cells // 4:cells // 2] = noisy(PERCH, 12, cells // 4, seed=2)
    labels = torch.zeros(12, cells)
    labels[:, :cells // 2] = 1  # the masks take in the perch
    return targets.half(), noisy(GROUND, 12, cells, seed=3).half(), labels


def answers(not_target):
    targets, backgrounds, labels = scene()
    unit = PixelUnit(small_backbone())
    unit.weight = torch.zeros(3)
    Moments(targets, backgrounds, not_target).fit(unit, labels)
    return unit(targets).flatten(1)


def test_a_unit_learns_what_a_person_says_is_not_the_target():
    targets, _, labels = scene()
    clusters = fit_clusters(targets[labels > 0], 2)
    perch = int(clusters.assign(targets[0, GRID ** 2 // 4:][:1]))
    before, after = answers(None), answers(NotTarget(clusters, (perch,), Path("clusters.pt")))
    quarter = GRID ** 2 // 4
    assert before[:, quarter:2 * quarter].mean() > 0.7
    assert after[:, quarter:2 * quarter].mean() < 0.1
    assert after[:, :quarter].mean() > 0.7


def test_naming_what_no_image_shows_changes_nothing():
    centres = torch.cat([torch.eye(3), -OBJECT[None]])
    clusters = FeatureClusters(torch.zeros(3), torch.ones(3), centres)
    absent = NotTarget(clusters, (3,), Path("clusters.pt"))
    targets, _, _ = scene()
    assert not absent.cells(targets).any()
    assert torch.allclose(answers(None), answers(absent), atol=1e-6)


def test_figures_of_each_cluster():
    clusters = FeatureClusters(torch.zeros(3), torch.ones(3), torch.eye(3))
    features = torch.zeros(2, GRID ** 2, 3)
    features[..., 2] = 1
    features[0, :6, :] = PERCH
    features[1, :2, :] = PERCH
    features[1, 2:10, :] = OBJECT
    covered = torch.zeros(2, GRID ** 2, dtype=torch.bool)
    covered[:, :10] = True
    covered[0, 8:] = False
    cells = MaskedCells(features.half(), covered, features @ torch.tensor([0.9, 0.2, 0.1]))
    parts = recurring_parts(assign_masked(clusters, cells), cells, [0, 0])
    assert [part.number for part in parts] == [2, 0, 1]
    ground, target, perch = parts
    assert perch.images == (0, 1) and perch.masks == 1 and perch.area == pytest.approx(8 / 18)
    assert target.images == (1,) and target.masks == 0.5 and target.likeness == pytest.approx(0.9)
    assert ground.images == (0,) and ground.area == pytest.approx(2 / 18)


def test_what_is_in_few_masks_of_a_class_or_looks_little_like_a_target_comes_first():
    breast, tail, body, post = range(4)
    assigned = torch.tensor([[breast, tail, body, post], [breast, tail, body, post],
                             [-1, tail, body, post], [-1, -1, body, post]])
    likeness = torch.tensor([0.9, 0.6, 0.7, 0.1])
    answers = torch.where(assigned < 0, 0, likeness[assigned])
    cells = MaskedCells(torch.zeros(4, 4, 1), assigned >= 0, answers)

    def order(*labels):
        return [part.number for part in recurring_parts(assigned, cells, labels)]
    assert order(7, 7, 7, 7) == [post, breast, tail, body]
    assert order(5, 5, 7, 7) == [post, tail, body, breast]  # of one class, in all of its masks
    assert order(1, 2, 3, 4) == [post, breast, tail, body]  # each the only one of its class


def test_what_recurs_within_a_class_is_told_apart_from_the_mask_itself():
    assigned = torch.tensor([[0], [0], [-1], [-1], [0]])
    cells = MaskedCells(torch.zeros(5, 1, 1), assigned >= 0, torch.ones(5, 1))
    (part,) = recurring_parts(assigned, cells, [3, 3, 3, 3, 8])
    assert part.masks == pytest.approx(3 / 5)
    assert part.of_class == pytest.approx((1 / 3 + 1 / 3 + 2 / 4) / 3)


@pytest.mark.parametrize("numbers, weights, problem", [
    ((0, 5), "w", "has no cluster 5; its 2 clusters"), ((0,), "v", "with other weights")])
def test_clusters_that_do_not_fit_are_refused(tmp_path, numbers, weights, problem):
    clusters = FeatureClusters(torch.zeros(3), torch.ones(3), torch.eye(3)[:2])
    save_clusters(tmp_path / "clusters.pt", clusters, {"backbone": "tiny", "weights": "w"})
    with pytest.raises(ValueError, match=problem):
        load_not_target(tmp_path / "clusters.pt", numbers, "tiny", weights)


def test_a_digest_tells_selections_apart(tmp_path):
    clusters = FeatureClusters(torch.zeros(3), torch.ones(3), torch.eye(3))
    save_clusters(tmp_path / "clusters.pt", clusters, {"backbone": "tiny", "weights": "w"})

    def digest(*numbers):
        return load_not_target(tmp_path / "clusters.pt", numbers, "tiny", "w").digest
    assert digest(1, 2) == digest(2, 1, 1) != digest(1)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """(folder, its masks, output of check-masks)."""
    folder = tmp_path_factory.mktemp("checked")
    write_inputs(folder)
    masks = make_masks(folder)
    output = run("check-masks", masks, "--cache", folder / "cache", "--clusters", "4", "--shown",
                 "2", "--workers", "0").output
    return folder, Path(masks), output


def test_masks_are_made_again_without_what_is_named(checked):
    folder, masks, output = checked
    clusters = folder / "cache" / "clusters" / f"{masks.name}-4-clusters"
    assert "the most doubtful first" in output and f"--not-target {clusters.name}:NUMBERS" in output
    sheet = cv2.imread(str(clusters / "contact_sheet.png"))
    assert sheet.shape[0] > 2 * 128 and sheet.shape[1] > 2 * 128
    other = Path(make_masks(folder, "--not-target", f"{masks.name}:0"))
    about = json.loads((other / "manifest.json").read_text())["about"]
    assert other != masks and len(about["classifier"]["not_target"]) == 12
    assert f"--not-target {clusters.absolute()}/clusters.pt:0" in about["command"]
    assert list(MaskCache(other)) == list(MaskCache(masks))

    def train(*arguments):
        return run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY,
                   "--set", "epochs=1", "--set", "width=4", "--set", "mask_width=4",
                   *arguments).output
    assert masks.name in train()
    assert other.name in train("--not-target", f"{masks.name}:0")


def test_another_seed_of_online_masks_needs_the_classifier_that_learnt_what_was_named(checked):
    folder, masks, _ = checked
    output = run("train-ct", "--data", folder / "cub", "--background", folder / "backgrounds",
                 "--cache", folder / "cache", *TINY, "--set", "epochs=1", "--set", "width=4",
                 "--set", "mask_width=4", "--masks", "online", "--not-target",
                 f"{masks.name}:0").output
    trained = folder / output.split("wrote ")[-1].strip()
    evaluate = ("evaluate", trained, "--tau-from", "0.5", "--seeds")
    run(*evaluate, "1", "--cache", folder / "cache")
    with pytest.raises(ArtefactError, match="learns clusters that --not-target named"):
        run(*evaluate, "2", "--cache", folder / "other")


@pytest.mark.parametrize("arguments, problem", [
    (["--not-target", "nowhere:1"], "no folder of bcct check-masks 'nowhere'"),
    (["--not-target", "{masks}:1,9"], "no cluster 9"),
    (["--not-target", "{masks}:1", "--recipe", "guided-layers"], "no unit for pixels")])
def test_what_cannot_be_named_is_refused_before_work_starts(checked, arguments, problem):
    folder, masks, _ = checked
    with pytest.raises((ValueError, ConfigError), match=problem):
        make_masks(folder, *(each.format(masks=masks.name) for each in arguments))


def test_a_selection_without_numbers_is_refused(checked):
    result = run("masks", "--not-target", checked[1].name, *TINY)
    assert result.exit_code == 2 and "not of the form CLUSTERS:NUMBERS" in result.output


def test_masks_of_a_recipe_without_a_unit_for_pixels_are_refused(checked):
    folder, _, _ = checked
    masks = make_masks(folder, "--recipe", "guided-layers")
    result = run("check-masks", masks, "--cache", folder / "cache", "--workers", "0")
    assert result.exit_code == 1 and "has no unit for pixels" in result.output


def test_clusters_of_other_masks_counts_and_seeds_are_kept_apart(tmp_path):
    write_inputs(tmp_path)
    masks = Path(make_masks(tmp_path, "--delta", "0.7", "--delta", "0.8"))

    def check(*arguments):
        return run("check-masks", masks, "--cache", tmp_path / "cache", "--clusters", "2",
                   "--shown", "1", "--workers", "0", *arguments)
    assert "masks of delta 0.80" in check().output
    result = check("--delta", "0.7")
    assert "masks of delta 0.70" in result.output
    assert f"--not-target {masks.name}-0.70-2-clusters:NUMBERS" in result.output
    check("--seed", "1")
    folders = (tmp_path / "cache" / "clusters").iterdir()
    assert sorted(folder.name for folder in folders) == [
        f"{masks.name}-0.70-2-clusters", f"{masks.name}-0.80-2-clusters",
        f"{masks.name}-0.80-2-clusters-seed-1"]
    with pytest.raises(MaskCacheError, match="holds delta 0.70, 0.80 but not 0.90"):
        check("--delta", "0.9")
