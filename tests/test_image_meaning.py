"""Depth, photometric meaning and alpha: each kind is shown as a viewer does, or refused by name."""

import io
import os
import pickle
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from common.images import BadImage, UnsupportedImage, image_size, read_image
from tests.pictures_by_hand import bmp, png, tiff

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 256, 257, 258, 259, 262, 277
PLANAR, COLOUR_MAP, INK_SET, EXTRA, FORMAT, SUBSAMPLING = 284, 320, 332, 338, 339, 530
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6


@pytest.fixture
def shown(tmp_path):
    """Decode bytes; gives the pixels."""

    def decode(content):
        path = tmp_path / "picture"
        path.write_bytes(content)
        pixels = read_image(path)
        assert image_size(path) == pixels.shape[:2]
        return pixels
    return decode


@pytest.fixture
def refused(tmp_path):
    """Decode bytes that are a picture of an unsupported kind; gives the reason."""

    def reason(content):
        path = tmp_path / "picture"
        path.write_bytes(content)
        with pytest.raises(UnsupportedImage) as caught:
            read_image(path)
        assert "not supported" in caught.value.reason and "damaged" not in caught.value.reason
        assert "\n" not in str(caught.value) and repr(str(path)) in str(caught.value)
        return caught.value.reason
    return reason


def packed(levels, depth):
    """Levels of any depth as bytes, the first in the highest bits."""
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return bytes(int(bits[at:at + 8], 2) for at in range(0, len(bits), 8))


# TIFF


@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", "<>")
def test_grey_tiffs_of_every_depth(shown, tmp_path, order, depth, photometric):
    """White is 255 and black 0, whatever the depth and the direction; or the file is refused."""
    highest = (1 << depth) - 1
    levels = [0, highest, highest // 2, highest]
    data = (struct.pack(f"{order}4H", *levels) if depth == 16 else packed(levels, depth))
    content = tiff({WIDTH: 4, HEIGHT: 1, BITS: depth, COMPRESSION: 1, PHOTOMETRIC: photometric},
                   data, order)
    try:
        grey = shown(content)[0, :, 0].astype(int)
    except UnsupportedImage:
        assert depth in (10, 14) or (depth > 8 and (order, photometric) != ("<", BLACK_IS_ZERO))
        return
    if photometric == WHITE_IS_ZERO:
        grey = 255 - grey
    assert grey[[0, 1, 3]].tolist() == [0, 255, 255]
    assert depth == 1 or abs(grey[2] - 255 * levels[2] / highest) <= 1


def test_12_bit_tiff(shown):
    tags = {WIDTH: 4, HEIGHT: 1, BITS: 12, COMPRESSION: 1, PHOTOMETRIC: BLACK_IS_ZERO}
    assert shown(tiff(tags, packed([0, 0x123, 0x800, 0xFFF], 12)))[0, :, 0].tolist() == [
        0, 0x12, 0x80, 0xFF]


def test_16_bit_tiff_from_white_to_black(shown):
    tags = {WIDTH: 3, HEIGHT: 1, BITS: 16, COMPRESSION: 1, PHOTOMETRIC: WHITE_IS_ZERO}
    assert shown(tiff(tags, struct.pack("<3H", 0, 0x1234, 0xFFFF)))[0, :, 0].tolist() == [
        255, 255 - 0x12, 0]


@pytest.mark.parametrize("depth, sample_format, data, words", [
    (8, 2, b"\1\2\3\4", "signed"), (16, 2, b"\1\0" * 4, "signed"),
    (32, 2, b"\1\0\0\0" * 4, "signed"),
    (32, 1, b"\1\0\0\0" * 4, "32-bit"), (32, 3, struct.pack("<4f", 0, .1, .5, 1), "floating"),
    (16, 3, bytes(8), "unknown pixel mode"), (64, 3, bytes(32), "unknown pixel mode")])
def test_tiff_whose_white_nobody_states(refused, depth, sample_format, data, words):
    tags = {WIDTH: 4, HEIGHT: 1, BITS: depth, COMPRESSION: 1, PHOTOMETRIC: BLACK_IS_ZERO,
            FORMAT: sample_format}
    assert words in refused(tiff(tags, data))


@pytest.mark.parametrize("depth", [2, 4, 10, 12])
def test_rgb_tiff_of_odd_depth(refused, depth):
    tags = {WIDTH: 1, HEIGHT: 1, BITS: (depth,) * 3, COMPRESSION: 1, PHOTOMETRIC: RGB}
    assert "it is a TIFF of a kind" in refused(tiff(tags, packed([1, 2, 3], depth)))


@pytest.mark.parametrize("order", "<>")
def test_tiff_in_planes(refused, tmp_path, order):
    """Of 16 bits, Pillow takes each half of a number for a pixel."""
    tags = {WIDTH: 2, HEIGHT: 1, BITS: (16,) * 3, COMPRESSION: 1, PHOTOMETRIC: RGB, PLANAR: 2,
            SAMPLES: 3}
    assert "planes" in refused(tiff(tags, bytes(12), order))
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(tags | {BITS: (8,) * 3}, bytes(6), order))  # one strip for three planes
    with pytest.raises(BadImage, match="planes of colour are missing"):
        read_image(path)


def test_alpha_that_is_multiplied_in(shown):
    """100 under an alpha of 1/2 is 200, over white 200 / 2 + 255 / 2."""
    tags = {WIDTH: 2, HEIGHT: 1, COMPRESSION: 1, EXTRA: 1}
    grey = shown(tiff(tags | {BITS: (8, 8), PHOTOMETRIC: BLACK_IS_ZERO},
                      bytes([100, 128, 255, 255])))
    assert abs(int(grey[0, 0, 0]) - 227) <= 1 and grey[0, 1].tolist() == [255] * 3
    colour = shown(tiff(tags | {BITS: (8,) * 4, PHOTOMETRIC: RGB},
                        bytes([100, 50, 3, 128, 9, 8, 7, 255])))
    assert np.abs(colour[0].astype(int) - [[227, 177, 130], [9, 8, 7]]).max() <= 1


@pytest.mark.parametrize("extra, expected", [(0, [50, 60, 70]), (2, [255, 255, 255])])
def test_a_fourth_sample_is_alpha_only_where_the_tiff_says_so(shown, extra, expected):
    tags = {WIDTH: 1, HEIGHT: 1, BITS: (8,) * 4, COMPRESSION: 1, PHOTOMETRIC: RGB, EXTRA: extra}
    assert shown(tiff(tags, bytes([50, 60, 70, 0])))[0, 0].tolist() == expected


def test_a_fourth_sample_without_a_word_is_no_alpha_when_it_is_zero(shown):
    tags = {WIDTH: 1, HEIGHT: 1, BITS: (8,) * 4, COMPRESSION: 1, PHOTOMETRIC: RGB}
    assert shown(tiff(tags, bytes([50, 60, 70, 0])))[0, 0].tolist() == [50, 60, 70]


@pytest.mark.parametrize("scale", [1, 257])
def test_palette_of_8_or_16_bits(shown, scale):
    """Red, green and blue of two colours, in the 16 bits of the standard or in 8."""
    colours = [value * scale for value in (10, 200, 20, 210, 30, 220)]
    tags = {WIDTH: 2, HEIGHT: 1, BITS: 1, COMPRESSION: 1, PHOTOMETRIC: PALETTE,
            COLOUR_MAP: colours}
    assert shown(tiff(tags, b"\x40"))[0].tolist() == [[10, 20, 30], [200, 210, 220]]


def test_inks(shown, refused):
    tags = {WIDTH: 2, HEIGHT: 1, BITS: (8,) * 4, COMPRESSION: 1, PHOTOMETRIC: CMYK}
    data = bytes([0, 255, 255, 0, 0, 0, 0, 0])
    assert shown(tiff(tags, data))[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert "other inks" in refused(tiff(tags | {INK_SET: 2}, data))


def test_brightness_and_colour(shown, refused):
    tags = {WIDTH: 2, HEIGHT: 2, BITS: (8,) * 3, COMPRESSION: 1, PHOTOMETRIC: YCBCR}
    grey = bytes([90, 128, 128] * 4)
    assert (shown(tiff(tags | {SUBSAMPLING: (1, 1)}, grey)) == 90).all()
    assert "fewer pixels of colour" in refused(tiff(tags | {SUBSAMPLING: (2, 2)}, grey[:6]))
    assert "fewer pixels of colour" in refused(tiff(tags, grey[:6]))  # the standard's default


def test_a_thumbnail_is_not_the_picture(shown, refused):
    """Raw files of cameras are TIFFs that begin with a small preview."""
    small = {WIDTH: 2, HEIGHT: 1, BITS: 8, COMPRESSION: 1, PHOTOMETRIC: BLACK_IS_ZERO, 254: 1}
    assert "no more than a thumbnail" in refused(tiff(small, b"\1\2"))
    pages = [Image.new("L", (2, 1), 9), Image.new("L", (40, 30), 99)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], tiffinfo={254: 1})
    small_page = struct.pack("<HHII", 254, 4, 1, 1)
    first, second, third = file.getvalue().split(small_page)
    whole_page = struct.pack("<HHII", 254, 4, 1, 0)
    pixels = shown(first + small_page + second + whole_page + third)
    assert pixels.shape == (30, 40, 3) and (pixels == 99).all()


def test_damage_that_libtiff_only_mentions(tmp_path):
    """Pillow goes on with wrong rows after a bad code word of a fax."""
    path = tmp_path / "fax.tif"
    noise = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(bool)
    Image.fromarray(noise).save(path, compression="group4")
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle:middle + 40] = bytes(byte ^ 0x5A for byte in content[middle:middle + 40])
    path.write_bytes(content)
    with pytest.raises(BadImage):
        read_image(path)


# BMP


BGRA_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def test_alpha_of_a_bmp(shown):
    half = bytes([0, 0, 0, 102, 30, 20, 10, 255])
    assert shown(bmp(2, 1, 32, [half], masks=BGRA_MASKS))[0].tolist() == [[153] * 3, [10, 20, 30]]
    unused = bytes([30, 20, 10, 0, 60, 50, 40, 0])
    assert shown(bmp(2, 1, 32, [unused], masks=BGRA_MASKS))[0].tolist() == [[10, 20, 30],
                                                                            [40, 50, 60]]
    assert shown(bmp(2, 1, 32, [unused]))[0].tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize("bits, row", [(1, b"\x50\0\0\0"), (4, b"\x01\x01\0\0"),
                                       (8, b"\0\1\0\1")])
def test_bmp_of_two_greys(shown, refused, bits, row):
    """Pillow takes 4 and 8 bits for 1 when the palette is black and white."""
    content = bmp(4, 1, bits, [row], palette=[(0, 0, 0), (255, 255, 255)])
    if bits == 1:
        assert shown(content)[0, :, 0].tolist() == [0, 255, 0, 255]
    else:
        assert f"a BMP of {bits} bits" in refused(content)


def test_bmp_of_colours(shown):
    content = bmp(4, 1, 4, [b"\x01\x01\0\0"], palette=[(9, 8, 7), (200, 100, 50)])
    assert shown(content)[0, :2].tolist() == [[9, 8, 7], [200, 100, 50]]


def test_unsupported_bmp_is_not_damaged(refused):
    assert "Unsupported BMP pixel depth" in refused(
        bmp(4, 1, 2, [bytes(4)], palette=[(0, 0, 0), (1, 2, 3), (4, 5, 6), (7, 8, 9)]))
    assert "Unsupported BMP bitfields" in refused(
        bmp(2, 1, 16, [bytes(4)], masks=(0xF00, 0xF0, 0xF, 0xF000)))


# PNG


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_pngs_of_every_depth_with_a_transparent_level(shown, depth):
    """The level is stated in the file's own depth."""
    highest = (1 << depth) - 1
    levels = [0, highest, 0, highest]
    row = struct.pack(">4H", *levels) if depth == 16 else packed(levels, depth)
    assert shown(png(4, 1, depth, 0, [row]))[0, :, 0].tolist() == [0, 255, 0, 255]
    clear = png(4, 1, depth, 0, [row], (b"tRNS", struct.pack(">H", 0)))
    assert shown(clear)[0, :, 0].tolist() == [255, 255, 255, 255]
    if depth in (2, 4, 8):
        row = packed([1, 2, 0, highest], depth)
        clear = png(4, 1, depth, 0, [row], (b"tRNS", struct.pack(">H", 1)))
        assert shown(clear)[0, :, 0].tolist() == [255, 2 * 255 // highest, 0, 255]


def test_16_bit_colour_with_a_transparent_colour(shown, refused):
    row = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    assert shown(png(2, 1, 16, 2, [row]))[0].tolist() == [[0x12, 0x56, 0x9A], [0, 0, 0]]
    assert "transparent colour" in refused(
        png(2, 1, 16, 2, [row], (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))))


def test_apples_own_png(refused):
    assert "CgBI" in refused(png(1, 1, 8, 6, [bytes(4)], (b"CgBI", bytes(4))))


# Others


def test_gif_whose_first_frame_is_smaller_than_its_page(shown, tmp_path):
    path = tmp_path / "a.gif"
    frame = Image.new("P", (2, 1), 0)
    frame.putpalette([10, 20, 30, 40, 50, 60])
    frame.save(path)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 4, 3)  # the page
    start = content.index(b",\0\0\0\0\2\0\1\0")
    content[start + 1:start + 5] = struct.pack("<HH", 1, 1)  # where the frame lies on it
    expected = np.full((3, 4, 3), 255, np.uint8)
    expected[1, 1:3] = [10, 20, 30]
    assert (shown(bytes(content)) == expected).all()


def test_jpeg_2000_of_more_than_8_bits(shown, refused, tmp_path):
    """Pillow rounds white of 16-bit colour up to black."""
    path = tmp_path / "a.jp2"
    grey = np.full((32, 32), 0xFFFF, np.uint16)
    cv2.imwrite(str(path), grey)
    assert (shown(path.read_bytes()) == 255).all()
    cv2.imwrite(str(path), np.dstack([grey] * 3))
    assert "colours of 16 bits" in refused(path.read_bytes())
    cv2.imwrite(str(path), np.full((32, 32, 3), 255, np.uint8))
    assert (shown(path.read_bytes()) == 255).all()


def test_jpeg_2000_of_other_depths(refused, tmp_path):
    """Pillow shifts 1, 2 and 4 bits up, which leaves white grey."""
    path = tmp_path / "a.jp2"
    Image.new("L", (32, 32), 1).save(path)
    content = bytearray(path.read_bytes())
    depth = content.index(b"\xff\x4f\xff\x51") + 42
    for stated, words in ((0, "grey of 1 bits"), (3, "grey of 4 bits"), (0x87, "signed")):
        content[depth] = stated
        assert words in refused(bytes(content))


def test_grey_pixmaps_of_odd_depth(shown):
    assert shown(b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 0x123))[0, :, 0].tolist() == [
        255, 0x12]
    assert shown(b"P5 2 1 100\n" + bytes([100, 50]))[0, :, 0].tolist() == [255, 128]


def test_float_pixmap(refused):
    assert "floating-point" in refused(b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5))


@pytest.mark.parametrize("beginning, name", [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS\0\1" + bytes(30), "Photoshop"), (b"%PDF-1.7\n", "PDF"),
    (b"qoif" + bytes(20), "QOI"), (b"\0\0\1\0\1\0" + bytes(30), "ICO"),
    (b"FUJIFILMCCD-RAW 0201", "Fujifilm raw")])
def test_other_formats_are_named(refused, beginning, name):
    assert f"but {name}, which is not supported; convert it" in refused(beginning)


def test_12_bit_jpeg_is_not_damaged(refused, tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("L", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 1], content[frame + 4] = 0xC1, 12  # extended, 12 bits
    assert "it is a JPEG of a kind" in refused(bytes(content))


def test_unsupported_image_survives_the_way_back_from_a_worker(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(UnsupportedImage) as caught:
        read_image(os.fspath(path))
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), UnsupportedImage)
