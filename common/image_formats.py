"""Which picture formats are decoded, what their files are called, and why one is refused.

The decoder and the readers of folders share these lists, so that both agree on what is a picture.
"""

import functools
import os
from importlib.util import find_spec
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

PIXEL_LIMIT = 150_000_000
"""Pictures with more pixels are refused: 20,000 x 7,500, about 600 MB while decoding."""

# What cameras and the web produce. Not every format that Pillow knows: some (EPS) run a program.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"]
if find_spec("PIL.AvifImagePlugin"):  # Pillow 11.3 and newer
    FORMATS.append("AVIF")

# Endings of JPEG files that Pillow does not register.
_MORE_ENDINGS = {".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"}

# Pictures as well, but of kinds that the decoder refuses: of telephones, cameras, drawing programs.
_FOREIGN_ENDINGS = frozenset(
    ".avif .avifs .heic .heif .hif .jxl .jxr .wdp .psd .psb .xcf .kra .svg .svgz .ai .eps .pdf "
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .pef .srw .x3f .3fr .iiq .rwl "
    ".raw .tga .ico .cur .icns .pcx .dcx .dds .exr .hdr .qoi .sgi .rgb .wmf .emf .fits .fit "
    ".xbm .xpm .dib".split())

# Beginnings of files that no plugin of Pillow looks for, and what people call them.
_FOREIGN_BEGINNINGS = [
    (0, b"\xff\x0a", "JPEG XL"), (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"II\xbc\x01", "JPEG XR"), (0, b"8BPS", "Photoshop"), (0, b"gimp xcf", "GIMP"),
    (0, b"%PDF", "PDF"), (0, b"\x76\x2f\x31\x01", "OpenEXR"), (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"), (0, b"IIU\0", "Panasonic raw"),
    (0, b"IIRO", "Olympus raw"), (4, b"ftypcrx ", "Canon raw"), (0, b"<svg", "SVG"),
    *((4, b"ftyp" + brand, "HEIC") for brand in
      (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")),
]
# Formats whose plugins recognise a file by several bytes; the others would take text for theirs.
_RECOGNISED_BY_PILLOW = ("EPS", "PSD", "ICO", "CUR", "ICNS", "DDS", "FITS", "QOI", "SGI", "SUN",
                         "BLP", "FTEX", "WMF", "HDF5", "GRIB", "BUFR", "XPM", "FLI", "DCX")

# Words by which Pillow says that a picture is sound but of a kind that it cannot decode.
_WORDS_FOR_UNSUPPORTED = ("unsupported", "not supported", "not yet supported", "cannot handle",
                          "unknown pixel mode", "unknown raw mode", "unknown data organization",
                          "not configured", "unable to determine")


class NotSupported(ValueError):
    """A sound picture of a kind that the decoder does not know; the message is half a sentence."""


@functools.cache
def picture_endings() -> frozenset[str]:
    """Endings of the files that the decoder can open, lower case, with their dots.

    Returns:
        frozenset of str.
    """
    Image.init()
    registered = Image.registered_extensions()
    return frozenset({ending for ending, name in registered.items() if name in FORMATS}
                     | _MORE_ENDINGS)


@functools.cache
def unsupported_endings() -> frozenset[str]:
    """Endings of pictures that the decoder refuses, lower case, with their dots.

    Returns:
        frozenset of str.
    """
    return _FOREIGN_ENDINGS - picture_endings()


def begins_as_picture(path: str | os.PathLike) -> bool:
    """Whether a file begins as one of the formats that the decoder can open.

    Args:
        path: the file; one that cannot be read begins as none.
    """
    Image.init()
    try:
        with open(path, "rb") as file:
            beginning = file.read(32)
    except OSError:
        return False
    if beginning[:1] == b"P" and not beginning[2:3].isspace():
        return False  # a pixmap's number stands alone, unlike the first word of a text
    return any(accept(beginning) is True for name in FORMATS
               if (accept := Image.OPEN[name][1]) is not None)


def what_is_wrong(error: Exception, file: BinaryIO) -> tuple[str, bool]:
    """Why a picture cannot be decoded.

    Args:
        error: the exception that arose while decoding.
        file: the open file.

    Returns:
        (half a sentence, whether the picture is sound but not supported).
    """
    message = " ".join(str(error).split())
    if isinstance(error, NotSupported):
        return f"it is not supported: {message}; convert it to PNG or JPEG", True
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(file)
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {PIXEL_LIMIT:,} pixels, the limit against decompression bombs", \
            False
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it", False
    if _says_unsupported(message):
        return f"it is of a kind that is not supported ({message}); convert it to PNG or JPEG", True
    if "truncated" in message.lower() or isinstance(error, EOFError):
        return "the file is truncated", False
    return f"its content is damaged ({message or type(error).__name__})", False


def _unidentified(file):
    """Why no plugin took a file: another format, a kind that is not supported, or damage."""
    file.seek(0)
    beginning = file.read(32)
    for name in FORMATS:
        message = _objection(name, beginning, file)
        if message and _says_unsupported(message):
            return (f"it is a {name} of a kind that is not supported ({message}); "
                    "convert it to PNG or JPEG"), True
    none = f"its content is none of {', '.join(FORMATS)}"
    if foreign := _foreign_format(beginning):
        return f"{none} but {foreign}, which is not supported; convert it to PNG or JPEG", True
    return f"{none}, or its header is damaged", False


def _objection(name, beginning, file):
    """Why the plugin of a format refuses a file that begins as the format does, or ""."""
    factory, accepts = Image.OPEN[name]
    try:
        if accepts and accepts(beginning) is not True:
            return ""
        file.seek(0)
        factory(file, "")
    except Exception as error:  # a decoder fed with damaged bytes raises nearly anything
        return " ".join(str(error).split())
    return ""


def _foreign_format(beginning):
    """Name of the format, none of ours, that a file begins as; None when unknown."""
    for place, signature, name in _FOREIGN_BEGINNINGS:
        if beginning[place:].startswith(signature):
            return name
    Image.init()
    for name in _RECOGNISED_BY_PILLOW:
        accepts = Image.OPEN[name][1] if name in Image.OPEN else None
        if accepts and accepts(beginning) is True:
            return name
    return None


def _says_unsupported(message):
    return any(word in message.lower() for word in _WORDS_FOR_UNSUPPORTED)
