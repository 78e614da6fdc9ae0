"""Boxes go where their picture goes: turned by EXIF, or scaled."""

import warnings

import numpy as np
import pytest
from PIL import Image

from common.annotations import AnnotationWarning, displayed_boxes
from common.boxes import mask_to_box, turned_boxes
from common.datasets import Record, open_dataset
from common.images import read_image
from evaluation.truth import truths_from_dataset

BOX = (50.0, 5.0, 63.0, 20.0)
STORED = (48, 64)


@pytest.fixture
def picture(tmp_path):
    """Write a white box on black, stored as 64x48, with an orientation."""

    def write(orientation, name="a.png"):
        pixels = np.zeros(STORED, np.uint8)
        pixels[5:20, 50:63] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        return tmp_path / name
    return write


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_boxes_are_where_the_pixels_are(picture, orientation):
    shown = mask_to_box(read_image(picture(orientation))[..., 0] > 0)
    assert turned_boxes([BOX], orientation, STORED) == (tuple(map(float, shown)),)


def record(folder, frame, boxes=(BOX,)):
    return Record("a.png", folder, 0, boxes, frame=frame)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_frame_of_the_stored_picture(picture, tmp_path, orientation):
    shown = mask_to_box(read_image(picture(orientation))[..., 0] > 0)
    found = displayed_boxes(record(tmp_path, STORED))
    assert (found.boxes, found.size, found.remark) == ((tuple(map(float, shown)),), (64, 48), "")


def test_frame_of_the_displayed_picture(picture, tmp_path):
    picture(6)
    found = displayed_boxes(record(tmp_path, STORED[::-1], ((1, 2, 3, 4),)))
    assert (found.boxes, found.size, found.remark) == (((1, 2, 3, 4),), (64, 48), "")
    picture(1)
    assert displayed_boxes(record(tmp_path, STORED)).boxes == (BOX,)
    assert displayed_boxes(record(tmp_path, None)).boxes == (BOX,)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_frame_that_does_not_tell_is_named(picture, tmp_path, orientation):
    picture(orientation)
    found = displayed_boxes(record(tmp_path, STORED))
    assert found.boxes == (BOX,) and "do not say in which frame" in found.remark
    assert displayed_boxes(record(tmp_path, None)).remark == ""
    assert displayed_boxes(record(tmp_path, STORED, ())).remark == ""


def test_a_copy_in_another_size(picture, tmp_path):
    picture(1)
    found = displayed_boxes(record(tmp_path, (96, 128), ((100, 10, 126, 40),)))
    assert found.boxes == (BOX,) and "scaled" in found.remark


@pytest.mark.parametrize("boxes, remark", [
    (((0.2, 0.1, 0.9, 1.0),), "pixels, not in fractions"),
    (((0, 0, 10, 10), (20, 10, 80, 40)), "reach far beyond them"),
    (((0, 60, 10, 70),), "reach far beyond them"),
    (((0.5, 0.5, 66, 48.5),), ""), (((0, 0, 1, 1.5),), "")])
def test_boxes_that_cannot_be_of_pixels_are_named(picture, tmp_path, boxes, remark):
    picture(1)
    found = displayed_boxes(record(tmp_path, None, boxes))
    assert found.boxes == boxes and (remark in found.remark if remark else not found.remark)


def ilsvrc(root, picture, names, size=(64, 48)):
    picture(1, "Data/CLS-LOC/train/n1/a.JPEG.png")
    for name in names:
        xml = root / f"Annotations/CLS-LOC/val/{name}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height>"
                       "</size><object><name>n1</name><bndbox><xmin>50</xmin><ymin>5</ymin>"
                       "<xmax>63</xmax><ymax>20</ymax></bndbox></object></annotation>")
    return open_dataset("imagenet", root, "test")


def test_ilsvrc_picture_that_is_turned(picture, tmp_path):
    picture(6, "Data/CLS-LOC/val/v1.png")
    picture(1, "Data/CLS-LOC/val/v2.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = truths_from_dataset(ilsvrc(tmp_path, picture, ["v1", "v2"]))
    assert (first.boxes, first.size) == (((28.0, 50.0, 43.0, 63.0),), (64, 48))
    assert (second.boxes, second.size) == ((BOX,), STORED)


def test_doubtful_frames_are_counted_and_named_once(picture, tmp_path):
    names = [f"v{number}" for number in range(7)]
    for name in names:
        picture(3, f"Data/CLS-LOC/val/{name}.png")
    with pytest.warns(AnnotationWarning) as caught:
        truths_from_dataset(ilsvrc(tmp_path, picture, names))
    assert len(caught) == 1
    assert "7 of the images are turned by EXIF" in str(caught[0].message)
    assert "val/v0.png" in str(caught[0].message) and "and 2 more" in str(caught[0].message)


@pytest.mark.parametrize("size", [("", ""), (0, 0), ("x", 48), (64, -48)])
def test_a_size_that_says_nothing(picture, tmp_path, size):
    picture(1, "Data/CLS-LOC/val/v1.png")
    dataset = ilsvrc(tmp_path, picture, ["v1"], size)
    assert dataset.records[0].frame is None
