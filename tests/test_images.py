"""Every kind of picture either decodes as a person would see it or is refused by name."""

import os
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from common.images import PIXEL_LIMIT, BadImage, image_size, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION_TAG = 0x0112


@pytest.fixture
def photograph():
    """(40, 60, 3) uint8, smooth, with a different colour in each corner."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def png_header(width, height, bit_depth, colour_type):
    """The bytes of a PNG up to its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
            + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 100) + b"IDAT")


def is_near(actual, expected, tolerance):
    return np.abs(actual.astype(int) - np.asarray(expected, int)).max() <= tolerance


def refusal(path):
    """The one line that a file is refused with."""
    with pytest.raises(BadImage) as caught:
        read_image(path, (8, 8))
    assert caught.value.path == path
    message = str(caught.value)
    assert "\n" not in message and repr(str(path)) in message
    return message


# What decodes


@pytest.mark.parametrize("extension, tolerance", [
    ("png", 0), ("bmp", 0), ("tiff", 0), ("ppm", 0), ("jpg", 12), ("webp", 20), ("jp2", 12)])
def test_reads_what_was_written(tmp_path, photograph, extension, tolerance):
    path = save(tmp_path / f"picture.{extension}", photograph)
    picture = read_image(path)
    assert picture.dtype == np.uint8 and picture.shape == (40, 60, 3)
    assert picture.flags["WRITEABLE"] and picture.flags["C_CONTIGUOUS"]
    assert is_near(picture, photograph, tolerance)
    assert image_size(path) == (40, 60)


def test_squashes_with_antialiased_bilinear_interpolation(tmp_path):
    """Halving with the triangle filter: each output pixel weighs 1, 3, 3, 1 of four inputs."""
    row = np.array([0, 0, 80, 80, 160, 160, 240, 240], np.uint8)
    path = save(tmp_path / "a.png", np.broadcast_to(row[None, :, None], (2, 8, 3)).copy())
    squashed = read_image(path, (2, 4))
    assert squashed.shape == (2, 4, 3)
    expected = [(0 * 3 + 0 * 3 + 80) / 7, (0 + 80 * 6 + 160) / 8,
                (80 + 160 * 6 + 240) / 8, (160 + 240 * 6) / 7]
    assert is_near(squashed[0, :, 0], np.round(expected), 1)


def test_aspect_ratio_is_not_kept(tmp_path, photograph):
    path = save(tmp_path / "a.png", photograph)
    assert read_image(path, (7, 31)).shape == (7, 31, 3)


@pytest.mark.parametrize("shape", [(640, 960), (641, 957)])
def test_reduced_decoding_of_a_large_jpeg_changes_little(tmp_path, shape):
    rows, columns = np.mgrid[0:shape[0], 0:shape[1]]
    pixels = np.stack([127 + 120 * np.sin(rows / 31), 127 + 120 * np.cos(columns / 43),
                       127 + 120 * np.sin((rows + columns) / 67)], axis=-1).astype(np.uint8)
    path = save(tmp_path / "large.jpg", pixels, quality=92)
    whole = Image.fromarray(read_image(path)).resize((48, 32), Image.Resampling.BILINEAR)
    assert is_near(read_image(path, (32, 48)), np.asarray(whole), 3)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_greyscale_becomes_three_equal_channels(tmp_path, extension):
    path = save(tmp_path / f"grey.{extension}", np.full((8, 8), 93, np.uint8))
    assert (read_image(path) == 93).all()


def test_bilevel(tmp_path):
    path = save(tmp_path / "bits.png", np.array([[True, False]]))
    assert read_image(path).tolist() == [[[255] * 3, [0] * 3]]


def test_cmyk(tmp_path):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert is_near(read_image(path), np.broadcast_to(RED, (16, 16, 3)), 4)


def test_palette(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*BLUE, *GREEN])
    picture.putdata([1, 0])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[list(GREEN), list(BLUE)]]


def test_palette_with_a_transparent_colour_lies_over_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*BLUE, *GREEN])
    picture.putdata([1, 0])
    for name in ("a.png", "a.gif"):
        picture.save(tmp_path / name, transparency=0)
        assert read_image(tmp_path / name).tolist() == [[list(GREEN), list(WHITE)]]


def test_alpha_lies_over_white(tmp_path):
    pixels = np.array([[[*RED, 255], [*RED, 0], [0, 0, 0, 102]]], np.uint8)
    path = save(tmp_path / "a.png", pixels)
    assert read_image(path).tolist() == [[list(RED), list(WHITE), [153, 153, 153]]]


def test_grey_with_alpha_lies_over_white(tmp_path):
    Image.merge("LA", [Image.new("L", (3, 2), 40), Image.new("L", (3, 2), 0)]).save(
        tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()


def test_hidden_colours_do_not_bleed_when_squashed(tmp_path):
    """Black under full transparency must not darken what is next to it."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = [*WHITE, 255]
    assert (read_image(save(tmp_path / "a.png", pixels), (2, 2)) == 255).all()


@pytest.mark.parametrize("extension", ["png", "tiff", "pgm"])
def test_16_bit_greyscale(tmp_path, extension):
    path = tmp_path / f"deep.{extension}"
    cv2.imwrite(str(path), np.array([[0, 0x1234, 0x8000, 0xFFFF]], np.uint16))
    assert read_image(path)[0, :, 0].tolist() == [0, 0x12, 0x80, 0xFF]


def test_the_transparent_level_of_16_bit_greyscale_is_white(tmp_path):
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.array([[0, 0x1234, 0x1235, 0x8000]], np.uint16))
    chunk = b"tRNS" + struct.pack(">H", 0x1234)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk + content[33:])  # behind the header
    assert read_image(path)[0, :, 0].tolist() == [0, 0xFF, 0x12, 0x80]


@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_16_bit_rgb(tmp_path, extension):
    path = tmp_path / f"deep.{extension}"
    cv2.imwrite(str(path), np.array([[[0x1234, 0x8000, 0xFFFF]]], np.uint16))  # blue first
    assert is_near(read_image(path)[0, 0], [0xFF, 0x80, 0x12], 1)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation, stored", [
    (1, lambda seen: seen),
    (2, lambda seen: seen[:, ::-1]),
    (3, lambda seen: seen[::-1, ::-1]),
    (4, lambda seen: seen[::-1]),
    (5, lambda seen: seen.transpose(1, 0, 2)),
    (6, lambda seen: np.rot90(seen)),
    (7, lambda seen: seen[::-1, ::-1].transpose(1, 0, 2)),
    (8, lambda seen: np.rot90(seen, -1)),
])
def test_exif_orientation(tmp_path, photograph, extension, orientation, stored):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    path = save(tmp_path / f"turned.{extension}", np.ascontiguousarray(stored(photograph)),
                exif=exif)
    assert image_size(path) == (40, 60)
    assert is_near(read_image(path), photograph, 20)
    expected = np.asarray(Image.fromarray(photograph).resize((15, 20), Image.Resampling.BILINEAR))
    assert is_near(read_image(path, (20, 15)), expected, 20)


def test_reduced_decoding_of_a_turned_jpeg_keeps_twice_the_frame(tmp_path):
    """160 x 400 stored, 400 x 160 seen: half of it would do for a frame of 100 x 40 only."""
    pixels = np.random.default_rng(0).integers(0, 255, (160, 400), np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    path = save(tmp_path / "turned.jpg", pixels, exif=exif, quality=95)
    expected = Image.fromarray(read_image(path)).resize((100, 40), Image.Resampling.BILINEAR)
    assert is_near(read_image(path, (40, 100)), np.asarray(expected), 2)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_no_reason_to_refuse(tmp_path, photograph):
    path = save(tmp_path / "a.jpg", photograph, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    assert is_near(read_image(path), photograph, 12)
    assert image_size(path) == (40, 60)


@pytest.mark.parametrize("extension", ["gif", "png", "webp", "tiff"])
def test_first_frame_of_an_animation(tmp_path, extension):
    frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, GREEN, BLUE)]
    path = tmp_path / f"moving.{extension}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert is_near(read_image(path), np.broadcast_to(RED, (4, 6, 3)), 3)


def test_one_pixel(tmp_path):
    path = save(tmp_path / "dot.png", np.array([[[9, 8, 7]]], np.uint8))
    assert image_size(path) == (1, 1)
    assert (read_image(path, (5, 3)) == [9, 8, 7]).all()


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_20000_pixels_wide(tmp_path, extension):
    path = save(tmp_path / f"panorama.{extension}", np.full((30, 20_000, 3), 77, np.uint8))
    assert image_size(path) == (30, 20_000)
    assert is_near(read_image(path, (16, 16)), np.full((16, 16, 3), 77), 1)


def test_extension_does_not_matter(tmp_path, photograph):
    path = save(tmp_path / "really_a_png.jpg", photograph, format="PNG")
    assert (read_image(path) == photograph).all()
    path = save(tmp_path / "no_extension", photograph, format="BMP")
    assert (read_image(path) == photograph).all()


@pytest.mark.parametrize("name", [
    "with space.png", "grünfink 鳥.png", "two\nlines.png", "tab\t'quotes\".png", "-dash.png",
    pytest.param(os.fsdecode(b"latin1-\xe9.png"), id="not-utf-8")])
def test_names(tmp_path, photograph, name):
    try:
        save(tmp_path / name, photograph)
    except (OSError, UnicodeError):
        pytest.skip("this file system does not allow the name")
    assert (read_image(tmp_path / name) == photograph).all()
    (tmp_path / name).write_bytes(b"")
    assert "is empty" in refusal(tmp_path / name)


def test_path_may_be_a_string(tmp_path, photograph):
    path = save(tmp_path / "a.png", photograph)
    assert (read_image(str(path)) == photograph).all()


# What is refused


@pytest.mark.parametrize("extension", ["jpg", "png", "gif", "bmp", "tiff", "webp", "jp2"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated(tmp_path, extension, share):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = save(tmp_path / f"a.{extension}", pixels).read_bytes()
    path = tmp_path / f"cut.{extension}"
    path.write_bytes(content[:int(len(content) * share)])
    refusal(path)


def test_truncated_says_so(tmp_path, photograph):
    path = save(tmp_path / "a.jpg", photograph)
    path.write_bytes(path.read_bytes()[:-200])
    assert "the file is truncated" in refusal(path)


def test_reduced_decoding_notices_truncation(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    for progressive in (False, True):
        path = save(tmp_path / "a.jpg", pixels, progressive=progressive)
        path.write_bytes(path.read_bytes()[:-5000])
        assert "the file is truncated" in refusal(path)


def test_damaged_pixels_of_a_png(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = save(tmp_path / "a.png", pixels)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("content", [
    b"this is a page of text, not a picture\n", b"\x00" * 100, b"<html><body>404</body></html>",
    b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"],
    ids=["text", "zeros", "html", "jpeg-marker", "postscript"])
def test_not_a_picture(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert "its content is none of JPEG, PNG" in refusal(path)


def test_empty(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    assert refusal(path).endswith("the file is empty.")


def test_missing(tmp_path):
    assert refusal(tmp_path / "a.jpg").endswith("there is no such file.")


def test_folder(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    assert "it is a folder or device" in refusal(tmp_path / "a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert "it is a folder or device" in refusal(tmp_path / "a.jpg")


def test_dangling_and_circular_links(tmp_path):
    (tmp_path / "a.jpg").symlink_to("gone.jpg")
    assert "it is a link to 'gone.jpg', which does not exist" in refusal(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("b.jpg")
    refusal(tmp_path / "b.jpg")


def test_unreadable(tmp_path, photograph, monkeypatch):
    path = save(tmp_path / "a.png", photograph)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything

        def denied(*arguments, **options):
            raise PermissionError(13, "Permission denied", str(path))
        monkeypatch.setattr("builtins.open", denied)
    assert "the system says 'Permission denied'" in refusal(path)


@pytest.mark.parametrize("read", [read_image, image_size])
@pytest.mark.parametrize("side", [20_000, 2_000_000_000])
def test_decompression_bomb(tmp_path, read, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side, bit_depth=8, colour_type=2))
    with pytest.raises(BadImage, match="more than 150,000,000 pixels"):
        read(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_limit_is_our_own(tmp_path, monkeypatch):
    """Between Pillow's warning and its error; and also where Pillow's check is switched off."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(20_000, PIXEL_LIMIT // 20_000 + 1, bit_depth=8, colour_type=2))
    assert "more than 150,000,000 pixels" in refusal(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "more than 150,000,000 pixels" in refusal(path)


def test_pixels_without_a_stated_white(tmp_path):
    path = save(tmp_path / "a.tiff", np.full((4, 4), 0.5, np.float32))
    assert "do not say which value is white" in refusal(path)
    path = save(tmp_path / "b.tiff", np.full((4, 4), 1 << 20, np.int32))
    assert "do not say which value is white" in refusal(path)


def test_error_survives_the_way_back_from_a_worker(tmp_path):
    with pytest.raises(BadImage) as caught:
        read_image(tmp_path / "a.jpg")
    returned = pickle.loads(pickle.dumps(caught.value))
    assert (returned.path, returned.reason) == (tmp_path / "a.jpg", "there is no such file")
    assert str(returned) == str(caught.value)


def test_impossible_size_is_not_the_pictures_fault(tmp_path, photograph):
    with pytest.raises(ValueError, match="must be >= 1") as caught:
        read_image(save(tmp_path / "a.png", photograph), (0, 224))
    assert not isinstance(caught.value, BadImage)


def test_files_are_closed(tmp_path, photograph, recwarn):
    good = save(tmp_path / "a.png", photograph)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    read_image(good)
    refusal(tmp_path / "b.jpg")
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]
