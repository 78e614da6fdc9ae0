"""The pixels of an opened picture as 8-bit RGB: depth, meaning and transparency looked at.

Pillow gives the numbers of a file. What they mean (which is white, whether they are signed, whether
alpha has been multiplied in) is often stated elsewhere in the file, or is lost. Pictures that would
come out wrong are corrected here, or refused.
"""

import struct
from typing import BinaryIO

import numpy as np
from PIL import Image

from common.image_formats import NotSupported

# Tags of a TIFF.
_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_STRIPS, _PLANAR, _COLOUR_MAP, _TILES, _INK_SET = 273, 284, 320, 324, 332
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _YCBCR_SUBSAMPLING = 338, 339, 530
_REDUCED = 1  # bit of SUBFILE_TYPE: this page is a thumbnail of another
_MIN_IS_WHITE, _CMYK, _YCBCR = 0, 5, 6
_SAMPLE_FORMATS = {2: "signed pixels", 3: "floating-point pixels", 5: "complex pixels",
                   6: "complex pixels"}


def check_meaning(image: Image.Image, file: BinaryIO) -> None:
    """Refuse a picture that Pillow would decode wrongly; before its pixels are decoded.

    A TIFF that begins with a thumbnail is turned to the page of the whole picture.

    Args:
        image: PIL image, opened and not decoded.
        file: the open file, whose position is kept.

    Raises:
        NotSupported: names what is not supported.
    """
    checks = {"TIFF": _check_tiff, "BMP": _check_bmp, "JPEG2000": _check_jpeg2000}
    check = checks.get(image.format or "")
    if check is not None:
        place = file.tell()
        check(image, file)
        file.seek(place)


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode to 8-bit RGB, transparent pixels over white.

    Args:
        image: PIL image that ``check_meaning`` has passed.

    Returns:
        PIL image of mode RGB.
    """
    tiles = getattr(image, "tile", None)
    covered = tiles[0][1] if image.format == "GIF" and tiles else None
    white_level, inverted = _levels(image)
    image.load()  # NumPy would hide errors in the pixels
    if image.mode == "F":
        raise NotSupported("floating-point pixels do not say which value is white")
    if image.mode.startswith("I"):
        image = _reduced_to_8_bits(image, white_level, inverted)
    elif image.mode in ("La", "RGBa"):  # alpha has been multiplied in
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = _over_white(image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if covered is not None and covered != (0, 0, *image.size):
        return _on_white(image, covered)
    return image


def _over_white(image):
    """A picture with transparency laid over white."""
    ignores_alpha = image.format == "BMP" or _lacks_extra_samples(image)
    image = image.convert("RGBA")
    if ignores_alpha and image.getextrema()[3] == (0, 0):
        # Some writers leave the fourth byte at 0 without meaning full transparency.
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _on_white(image, box):
    """The part of a picture that its first frame covers, on a white page."""
    page = Image.new("RGB", image.size, "white")
    page.paste(image.crop(box), box)
    return page


def _levels(image):
    """(the level that is white, whether the levels run from white to black) of deep grey."""
    if image.format != "TIFF":
        return 65535, False  # Pillow stretches the depths of the other formats
    bits = image.tag_v2.get(_BITS, (1,))[0]
    return (1 << bits) - 1, image.tag_v2.get(_PHOTOMETRIC, _MIN_IS_WHITE) == _MIN_IS_WHITE


def _reduced_to_8_bits(image, white_level, inverted):
    """Deep greyscale as 8-bit greyscale; Pillow's own conversion has clipped and has scaled.

    Pixels of the level that a PNG names as transparent become white.
    """
    levels = np.asarray(image)
    if white_level > 65535 or levels.min() < 0 or levels.max() > white_level:
        raise NotSupported("32-bit pixels do not say which value is white")
    if isinstance(transparent := image.info.get("transparency"), int):
        levels = np.where(levels == transparent, white_level, levels)
    reduced = (levels >> (white_level.bit_length() - 8)).astype(np.uint8)
    return Image.fromarray(255 - reduced if inverted else reduced)


def _check_tiff(image, file):
    if image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED:
        _seek_whole_picture(image)
    tags = image.tag_v2
    formats = set(np.atleast_1d(tags.get(_SAMPLE_FORMAT, 1)).tolist())
    for number in formats & _SAMPLE_FORMATS.keys():
        raise NotSupported(f"{_SAMPLE_FORMATS[number]} do not say which value is white")
    if max(tags.get(_BITS, (1,))) > 16:
        raise NotSupported("32-bit pixels do not say which value is white")
    uncompressed = tags.get(_COMPRESSION, 1) == 1
    if uncompressed and tags.get(_PLANAR, 1) == 2 and len(tags.get(_BITS, (1,))) > 1:
        _check_planes(tags)
    photometric = tags.get(_PHOTOMETRIC, _MIN_IS_WHITE)
    if photometric == _CMYK and tags.get(_INK_SET, 1) != 1:
        raise NotSupported("a TIFF of other inks than cyan, magenta, yellow and black")
    if (photometric == _YCBCR and uncompressed
            and tuple(tags.get(_YCBCR_SUBSAMPLING, (2, 2))) != (1, 1)):
        raise NotSupported("an uncompressed TIFF with fewer pixels of colour than of brightness")
    if image.mode in ("P", "PA") and max(tags[_COLOUR_MAP]) < 256:
        # Some writers state the palette in 8 bits; Pillow drops the lower 8 of 16: all black.
        image.palette.palette = bytes(tags[_COLOUR_MAP])


def _check_planes(tags):
    """Refuse an uncompressed TIFF in planes of 16 bits, which Pillow takes for bytes."""
    if max(tags[_BITS]) > 8:
        raise NotSupported("an uncompressed TIFF of 16 bits whose colours lie in planes")
    if len(tags.get(_STRIPS) or tags.get(_TILES, ())) < len(tags[_BITS]):
        raise ValueError("planes of colour are missing")


def _seek_whole_picture(image):
    """Turn to the first page of a TIFF that is no thumbnail of another."""
    for page in range(1, getattr(image, "n_frames", 1)):
        image.seek(page)
        if not image.tag_v2.get(_SUBFILE_TYPE, 0) & _REDUCED:
            return
    raise NotSupported("a TIFF that holds no more than a thumbnail of its picture, as raw files of "
                       "cameras do")


def _lacks_extra_samples(image):
    """Whether a TIFF has a fourth sample without saying that it is alpha."""
    return image.format == "TIFF" and not image.tag_v2.get(_EXTRA_SAMPLES)


def _check_bmp(image, file):
    """Refuse grey palettes of few levels among 4 or 8 bits: Pillow then takes the bits for fewer.
    """
    file.seek(14)
    header = file.read(16)
    size = struct.unpack_from("<I", header)[0]
    bits = struct.unpack_from("<H", header, 10 if size == 12 else 14)[0]
    if (image.mode, bits) not in (("1", 1), ("L", 8)) and image.mode in ("1", "L"):
        raise NotSupported(f"a BMP of {bits} bits whose palette holds few levels of grey")


def _check_jpeg2000(image, file):
    """Refuse depths that Pillow does not stretch to 8 bits: below, white comes out grey, and of
    colour above, white is rounded up to black. Grey above comes in 16 bits.
    """
    file.seek(0)
    content = file.read()
    start = content.find(b"\xff\x4f\xff\x51")  # the code stream, and its size and depths
    if start < 0:
        return  # the decoder says what is wrong
    components = struct.unpack_from(">H", content, start + 40)[0]
    states = [content[start + 42 + 3 * index] for index in range(components)]
    depths = [(state & 0x7F) + 1 for state in states]
    if any(state & 0x80 for state in states):
        raise NotSupported("signed pixels do not say which value is white")
    if min(depths) < 8 or (components > 1 and max(depths) > 8):
        raise NotSupported(f"a JPEG 2000 with {'colours' if components > 1 else 'grey'} of "
                           f"{' and '.join(map(str, sorted(set(depths))))} bits")
