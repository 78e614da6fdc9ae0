import cv2
import numpy as np
import pytest
import torch

from common.boxes import mask_to_box
from common.compute import Compute
from common.datasets.records import Record
from common.images import BadImage
from stage1_bc import composites
from stage1_bc.cells import GRID, on_grid
from stage1_bc.composites import paste, read_composites
from tests.networks import small_classifier

SIDE = 64
RED, BLUE = (200, 0, 0), (0, 0, 200)


def object_on_red():
    """(frame, mask) of a blue object, 16 pixels high and 24 wide, a third of it to the left."""
    frame = np.full((SIDE, SIDE, 3), RED, np.uint8)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for rows, columns in ((slice(8, 24), slice(16, 24)), (slice(16, 24), slice(24, 40))):
        frame[rows, columns] = BLUE
        mask[rows, columns] = 1
    return frame, mask


def test_what_the_mask_covers_is_pasted_and_nothing_else():
    background = np.full((SIDE, SIDE, 3), (0, 150, 0), np.uint8)
    generator, compared = np.random.default_rng(0), 0
    for _ in range(20):
        pasted, covered = paste(*object_on_red(), background, generator)
        inside = cv2.erode(covered, np.ones((5, 5))) == 1
        outside = cv2.dilate(covered, np.ones((5, 5))) == 0
        compared += inside.sum()
        assert (pasted[inside] == BLUE).all() and (pasted[outside] == (0, 150, 0)).all()
    assert compared > 500  # pixels; small objects have none


def test_places_sizes_and_sides_vary_within_bounds():
    background = np.zeros((SIDE, SIDE, 3), np.uint8)
    generator = np.random.default_rng(0)
    heights, middles, leftward = [], [], []
    for _ in range(200):
        _, covered = paste(*object_on_red(), background, generator)
        left, top, right, bottom = mask_to_box(covered >= 0.5)
        if left > 1 and right < SIDE - 1 and top > 1 and bottom < SIDE - 1:  # not cut off
            heights.append((bottom - top) / 16)
            middles.append(((left + right) / 2, (top + bottom) / 2))
            leftward.append(covered[:, left:(left + right) // 2].sum()
                            > covered[:, (left + right) // 2:right].sum())
    assert 0.5 < min(heights) < 0.7 and 1.2 < max(heights) < 1.4
    assert np.min(middles) > 0.16 * SIDE and np.max(middles) < 0.84 * SIDE
    assert np.ptp(middles, axis=0).min() > SIDE / 3
    assert 0.35 < np.mean(leftward) < 0.65


@pytest.fixture
def images(tmp_path):
    """(three targets, masks, two backgrounds): records of pictures; the second mask is empty."""
    frame, mask = object_on_red()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame[:, :, ::-1])
    for name, grey in (("grey", 90), ("dark", 20)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((SIDE, SIDE, 3), grey, np.uint8))
    masks = np.stack([mask, 0 * mask, mask]).astype(bool)
    targets, backgrounds = ([Record(f"{name}.png", tmp_path, label) for name in names]
                            for names, label in (("abc", 1), (("grey", "dark"), 0)))
    return targets, masks, backgrounds


def test_each_target_with_a_mask_gives_composites_and_batches_do_not_matter(images):
    classifier = small_classifier(image_size=SIDE)
    targets, masks, backgrounds = images
    given = [read_composites(classifier, targets, masks, backgrounds, Compute("cpu", size, 0), 3)
             for size in (1, 3)]
    assert len(given[0].covered) == 2 * composites.PER_TARGET
    assert given[0].tail_inputs.dtype == torch.half
    assert torch.equal(given[0].covered, given[1].covered)
    torch.testing.assert_close(given[0].tail_inputs, given[1].tail_inputs, rtol=1e-2, atol=1e-3)
    # A third of the object's box is empty, and the box is at most 0.19 of the image.
    shares = given[0].covered.mean(1)
    assert given[0].covered.shape[1] == GRID ** 2 and 0.01 < shares.min() < shares.max() < 0.13


def test_the_tail_reads_what_pasting_gives(images, monkeypatch):
    """Here the negative of the target in its place."""
    targets, masks, backgrounds = images
    classifier = small_classifier(image_size=SIDE)
    monkeypatch.setattr(composites, "paste", lambda frame, mask, background, _: (255 - frame, mask))
    given = read_composites(classifier, targets, masks, backgrounds, Compute("cpu", 2, 0), 0)
    frame, mask = object_on_red()
    look = classifier.backbone.extractor(features=False)(
        torch.from_numpy(255 - frame).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(given.tail_inputs[:1].float(), look.tail_input.float(),
                               rtol=1e-2, atol=1e-2)
    assert torch.equal(given.covered[:1], on_grid(mask[None]))


def test_without_any_mask_there_are_no_composites(images):
    targets, masks, backgrounds = images
    given = read_composites(small_classifier(image_size=SIDE), targets, masks & False, backgrounds,
                            Compute("cpu", 2, 0), 0)
    assert len(given.covered) == len(given.tail_inputs) == 0


def test_an_image_that_can_no_longer_be_read_is_named(images):
    targets, masks, backgrounds = images
    targets[2].path.write_bytes(b"")
    with pytest.raises(BadImage, match="c.png"):
        read_composites(small_classifier(image_size=SIDE), targets, masks, backgrounds,
                        Compute("cpu", 2, 0), 0)
