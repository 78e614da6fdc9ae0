import numpy as np
from PIL import Image

from common.datasets import Dataset, Record
from common.mask_cache import contact_sheet


def test_overlay_tints_the_inside_and_draws_the_outline():
    image = np.full((7, 7, 3), 100, np.uint8)
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    drawn = contact_sheet.overlay(image, mask, colour=(200, 0, 100), opacity=0.5)
    assert drawn[3, 3].tolist() == [150, 50, 100]
    assert drawn[1, 3].tolist() == drawn[5, 5].tolist() == [200, 0, 100]
    assert drawn[0, 0].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_a_mask_that_reaches_the_border_has_its_outline_there():
    drawn = contact_sheet.overlay(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), bool), (9, 9, 9))
    assert (drawn[0] == 9).all() and (drawn[1, 1] == 3).all()


def test_a_box_is_drawn_inside_its_half_open_corners():
    drawn = contact_sheet.draw_box(np.zeros((6, 8, 3), np.uint8), (1, 2, 5, 6), (255, 0, 0))
    rows, columns = np.nonzero(drawn[..., 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 5, 1, 4)
    assert len(rows) == 12  # the border of 4 x 4
    beyond = contact_sheet.draw_box(np.zeros((6, 8, 3), np.uint8), (-3, -3, 99, 99), (255, 0, 0))
    assert beyond[0, 0, 0] == beyond[5, 7, 0] == 255 and beyond[2, 2, 0] == 0
    assert not contact_sheet.draw_box(np.zeros((6, 8, 3), np.uint8), (4, 4, 4, 4)).any()


def test_tiles_scale_boxes_and_masks_to_their_side(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    record = Record("a.png", tmp_path, 0, ((20.0, 5.0, 40.0, 15.0),))
    mask = np.zeros((4, 4), bool)
    mask[:2, :2] = True
    drawn = contact_sheet.tile(record, mask, side=32)
    assert drawn.shape == (32 + contact_sheet.CAPTION_HEIGHT, 32, 3)
    assert tuple(drawn[8, 20]) == tuple(drawn[23, 31]) == contact_sheet.BOX_COLOUR
    assert tuple(drawn[0, 0]) == tuple(drawn[15, 15]) == contact_sheet.MASK_COLOUR
    assert not drawn[17, 5].any()


def test_unreadable_pictures_stay_dark(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    drawn = contact_sheet.tile(Record("bad.jpg", tmp_path, 0), caption="odd\nname \udcff")
    assert (drawn[:contact_sheet.SIDE] == contact_sheet.FRAME_COLOUR).all()


def test_a_contact_sheet_puts_tiles_in_rows_under_headings():
    red, blue = (np.full((10, 6, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    gap, heading = contact_sheet.GAP, contact_sheet.HEADING_HEIGHT
    sections = [("first", [red, red, blue]), ("empty", []), (None, [blue])]
    sheet = contact_sheet.contact_sheet(sections, columns=2)
    assert sheet.shape == (heading + 3 * (10 + gap), 2 * (6 + gap) + gap, 3)
    assert sheet[heading, gap].tolist() == [255, 0, 0]
    assert sheet[heading + 10 + gap, gap].tolist() == [0, 0, 255]
    assert sheet[heading + 10 + gap, 2 * gap + 6].tolist() == [255, 255, 255]
    assert sheet[heading + 2 * (10 + gap), gap].tolist() == [0, 0, 255]
    assert contact_sheet.contact_sheet([("empty", [])]).shape == (1, 1, 3)


class Masks(dict):
    """Masks by image id, of images whose checksums nobody knows."""

    manifest, mask_size = {"unreadable": {}}, (8, 8)

    def image_crc32(self, image_id):
        return 0


def test_grid_shows_masks_alone_where_there_is_no_picture(tmp_path):
    cache = Masks({"a.png": np.ones((8, 8), bool), "c.png": np.zeros((8, 8), bool)})
    Image.new("RGB", (8, 8), (0, 0, 200)).save(tmp_path / "c.png")
    dataset = Dataset("folder", tmp_path, "all", ("b",), (Record("c.png", tmp_path, 0),))
    drawn = contact_sheet.grid(cache, ["a.png", "c.png"], dataset, side=8)
    gap = contact_sheet.GAP
    assert drawn.shape[1] == 2 * (8 + gap) + gap
    # the mask of an image without a picture
    assert tuple(drawn[0, gap]) == contact_sheet.MASK_COLOUR
    assert drawn[0, 2 * gap + 8].tolist() == [0, 0, 200]


def test_records_are_found_by_id():
    records = tuple(Record(name, None, 0) for name in ("a", "b", "d"))
    dataset = Dataset("folder", None, "all", (), records)
    assert contact_sheet.find_record(dataset, "b") is records[1]
    assert contact_sheet.find_record(dataset, "c") is None
    assert contact_sheet.find_record(dataset, "e") is None
    assert contact_sheet.find_record(None, "b") is None


def test_pictures_are_saved_whole(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    contact_sheet.save_picture(tmp_path / "new" / "sheet.png", picture)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "sheet.png")), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
