"""Metadata never costs a picture, and what libraries say about a file comes with its name."""

import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from common.image_warnings import ImageWarning
from common.images import BadImage, image_size, read_header, read_image
from tests.pictures_by_hand import png, png_chunk

GREY = [bytes([200, 100])]


@pytest.fixture
def png_with(tmp_path):
    """A PNG of two pixels, 200 and 100, with further chunks."""

    def write(*chunks, behind=b""):
        path = tmp_path / "a.png"
        content = png(2, 1, 8, 0, GREY, *chunks)
        path.write_bytes(content[:-12] + behind + content[-12:])
        return path
    return write


def is_sound(path):
    return read_image(path)[0, :, 0].tolist() == [200, 100] and image_size(path) == (1, 2)


LARGE = zlib.compress(b"x" * 50_000_000)


@pytest.mark.parametrize("chunk", [
    (b"zTXt", b"parameters\0\0" + LARGE), (b"iTXt", b"parameters\0\1\0\0\0" + LARGE),
    (b"tEXt", b"parameters\0" + b"x" * 5_000_000), (b"iCCP", b"profile\0\0" + LARGE),
    (b"zTXt", b"XML:com.adobe.xmp\0\0" + LARGE), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    (b"zTXt", b"Raw profile type exif\0\0" + LARGE), (b"zTXt", b"name\0\7rubbish"),
    (b"zTXt", b""), (b"iTXt", b"XML:com.adobe.xmp\0"), (b"iCCP", b""), (b"iCCP", b"p\0\7rubbish"),
    (b"pHYs", b""), (b"gAMA", b"\0"), (b"cHRM", b"\0"), (b"sRGB", b""), (b"acTL", b"\0"),
    (b"fcTL", bytes(26)), (b"eXIf", b"MM\0*\xff\xff\xff\xff"), (b"prIv", bytes(100)),
    (b"tEXt", b"Raw profile type exif\0\nexif\nzz\nnot hexadecimal")],
    ids=lambda chunk: f"{chunk[0].decode()}-{len(chunk[1])}-{chunk[1][:8]!r}")
@pytest.mark.parametrize("place", ["before", "behind"])
def test_no_chunk_beside_the_pixels_costs_a_png(png_with, chunk, place):
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        assert is_sound(png_with(chunk) if place == "before"
                        else png_with(behind=png_chunk(*chunk)))
    assert time.perf_counter() - start < 2  # what is not needed is not decompressed


def test_a_wrong_checksum_of_text_costs_nothing(png_with):
    chunk = bytearray(png_chunk(b"tEXt", b"name\0value"))
    chunk[-1] ^= 1
    assert is_sound(png_with(behind=bytes(chunk)))


def test_a_wrong_checksum_of_the_header_does(tmp_path):
    content = bytearray(png(2, 1, 8, 0, GREY))
    content[19] ^= 1  # the width
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadImage):
        read_image(tmp_path / "a.png")


def test_a_bomb_of_pixels_stays_refused(tmp_path):
    """A row too many of zeros: 200 MB out of 200 KB."""
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", LARGE))
    with pytest.raises(BadImage, match="more than 150,000,000 pixels"):
        read_image(path)
    path.write_bytes(png(2, 1, 8, 0, [GREY[0] + bytes(10_000_000)]))
    assert is_sound(path)


SIDEWAYS = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


@pytest.mark.parametrize("chunk", [
    (b"eXIf", SIDEWAYS),
    (b"tEXt", b"Raw profile type exif\0\nexif\n32\n" + (b"Exif\0\0" + SIDEWAYS).hex().encode()),
    (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(
        b"\nexif\n32\n" + (b"Exif\0\0" + SIDEWAYS).hex().encode())),
    (b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="6"/>'))],
    ids=["exif", "text", "compressed text", "xmp", "compressed xmp"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_orientation_of_a_png_wherever_it_stands(png_with, chunk, place):
    path = png_with(chunk) if place == "before" else png_with(behind=png_chunk(*chunk))
    assert read_image(path)[:, 0, 0].tolist() == [200, 100]
    assert image_size(path) == (2, 1)
    assert (read_header(path).stored_size, read_header(path).orientation) == ((1, 2), 6)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_header(tmp_path, extension, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{extension}"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    header = read_header(path)
    assert (header.stored_size, header.orientation) == ((20, 30), orientation)
    assert header.size == read_image(path).shape[:2]


def test_unknown_orientations_are_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_header(tmp_path / "a.jpg").orientation == 1
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


# What libraries say


@pytest.fixture
def corrupt_exif(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    return path


def test_a_warning_names_its_file_and_comes_once(corrupt_exif):
    with pytest.warns(ImageWarning) as caught:
        read_image(corrupt_exif)
    assert len(caught) == 1
    assert repr(str(corrupt_exif)) in str(caught[0].message)
    assert "Corrupt EXIF data" in str(caught[0].message) and "\n" not in str(caught[0].message)


def test_a_refused_picture_gives_no_warning_besides(tmp_path, corrupt_exif, recwarn):
    path = tmp_path / "cut.jpg"
    path.write_bytes(corrupt_exif.read_bytes()[:-200])
    with pytest.raises(BadImage):
        read_image(path)
    assert not list(recwarn)


def test_warnings_made_errors_do_not_cost_the_picture_itself(corrupt_exif):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageWarning):
            read_image(corrupt_exif)


def test_threads_keep_their_warnings_apart(tmp_path, corrupt_exif):
    good = tmp_path / "good.png"
    Image.new("RGB", (8, 8)).save(good)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=lambda path=path: [read_image(path) for _ in range(20)])
                   for path in (corrupt_exif, good, good)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        warnings.warn("afterwards", UserWarning, stacklevel=1)
    messages = [str(one.message) for one in caught]
    assert messages[-1] == "afterwards"
    assert len(messages) == 21 and all(repr(str(corrupt_exif)) in each for each in messages[:-1])


def test_nothing_nameless_reaches_standard_error(tmp_path):
    """libtiff writes past Python; looked at in a process of its own."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for compression in ("group4", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        path = tmp_path / f"{compression}.tif"
        Image.fromarray(noise > 127 if compression == "group4" else noise).save(
            path, compression=compression)
        content = bytearray(path.read_bytes())
        third = len(content) // 3
        content[third:third + 40] = bytes(byte ^ 0x5A for byte in content[third:third + 40])
        path.write_bytes(content)
    program = ("import sys; from common.images import read_image, BadImage\n"
               "for path in sys.argv[1:]:\n"
               "    try: read_image(path)\n"
               "    except BadImage as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", program, *map(str, tmp_path.glob("*.tif"))],
                          capture_output=True, text=True, check=True)
    assert "group4.tif" in done.stdout and "damaged" in done.stdout
    assert all(".tif" in line or line.startswith("  ") for line in done.stderr.splitlines())


def test_closed_standard_error(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.tif", compression="tiff_lzw")
    program = ("import os, sys; from common.images import read_image\n"
               "os.close(2); print(read_image(sys.argv[1]).shape)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.tif")],
                          capture_output=True, text=True, check=True)
    assert done.stdout == "(8, 8, 3)\n"
