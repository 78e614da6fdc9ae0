"""The decoder of stage 1, stage 2 and evaluation: a picture file as a viewer shows it.

The first frame of an animation, turned as its EXIF says, transparent pixels over white, 16 bits
reduced to 8. Embedded colour profiles are ignored, as in the decoders of torchvision and OpenCV;
CMYK is converted without one. Whatever cannot be decoded is refused with its name and the reason.
"""

import contextlib
import dataclasses
import io
import os
import stat
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from common import image_warnings, png_chunks
from common.image_formats import FORMATS, PIXEL_LIMIT, what_is_wrong
from common.image_pixels import check_meaning, to_rgb

# The value of EXIF's Orientation tag, and what turns such a picture upright. Pillow's own
# exif_transpose also rewrites the metadata, and a fault in these would cost us the picture.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {5, 6, 7, 8}


class BadImage(ValueError):
    """A file that cannot be decoded as a picture.

    Attributes:
        path: the file, as it was given.
        reason: half a sentence that says what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike, reason: str):
        super().__init__(path, reason)  # both, so that the error survives pickling by workers
        self.path = path
        self.reason = reason

    def __str__(self):
        # repr keeps names with newlines or undecodable bytes on one printable line.
        return f"Cannot read the picture {os.fspath(self.path)!r}: {self.reason}."


class UnsupportedImage(BadImage):
    """A sound picture of a kind that the decoder does not know; its reason says which."""


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What the header of a picture file says."""

    stored_size: tuple
    """(height, width) in pixels, as the pixels lie in the file."""
    orientation: int
    """Value of EXIF's Orientation tag, 1 to 8; 1 is upright."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the picture as displayed."""
        return self.stored_size[::-1] if self.orientation in _SIDEWAYS else self.stored_size


def read_image(path: str | os.PathLike, size: Sequence[int] | None = None) -> np.ndarray:
    """Decode a picture file.

    With ``size``, a JPEG at least four times as large as the frame on both sides is decoded at a
    half, a quarter or an eighth of its size, never below twice the frame. Over 200 photographs of
    CUB-200-2011 and frames of 40 to 112 pixels this moves a pixel by 0.3 to 0.6 of 255 levels on
    average and by 26 at most, at sharp edges; bicubic instead of bilinear interpolation, for
    comparison, moves it by 2 on average and by 31 at most.

    Args:
        path: the file; its extension does not matter.
        size: (height, width) in pixels that the upright picture is squashed to with antialiased
            bilinear interpolation, aspect ratio not kept; None keeps the picture's own size.

    Returns:
        (H, W, 3) uint8 RGB, contiguous and writable.

    Raises:
        BadImage: the file cannot be read, is damaged, is no picture, or is larger than PIXEL_LIMIT.
    """
    with _opened_file(path) as file:
        return _decoded(path, file, size)


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of a picture file, for ``decode_image`` and for a checksum.

    Raises:
        BadImage: the file cannot be read or is empty.
    """
    with _opened_file(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise BadImage(path, _of_the_system(error)) from error


def decode_image(content: bytes, path: str | os.PathLike,
                 size: Sequence[int] | None = None) -> np.ndarray:
    """The picture in a file's bytes; arguments, result and errors as for ``read_image``."""
    return _decoded(path, io.BytesIO(content), size)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Size of a picture as it is displayed, EXIF orientation applied.

    Args:
        path: the file.

    Returns:
        (height, width) in pixels.

    Raises:
        BadImage: as ``read_image``; damage behind the header goes unnoticed.
    """
    return read_header(path).size


def read_header(path: str | os.PathLike) -> ImageHeader:
    """Size and orientation of a picture, without its pixels.

    Args:
        path: the file.

    Raises:
        BadImage: as ``read_image``; damage behind the header goes unnoticed.
    """
    with _opened_file(path) as file, _opened(path, file, pixels=False) as image:
        if image.format == "TIFF":  # Pillow's versions differ in whether size is already rotated
            tags = image.tag_v2
            return ImageHeader((tags[ExifTag.ImageLength], tags[ExifTag.ImageWidth]),
                               _valid(tags.get(ExifTag.Orientation, 1)))
        return ImageHeader((image.height, image.width), _orientation(image))


def _decoded(path, file, size):
    if size is not None and min(size) < 1:
        raise ValueError(f"a picture cannot be squashed to size {tuple(size)}; both must be >= 1")
    with _opened(path, file) as image:
        # Pillow turns a TIFF while loading it.
        orientation = 1 if image.format == "TIFF" else _orientation(image)
        rgb = to_rgb(image) if size is None else _squashed(
            image, (size[1], size[0]) if orientation in _SIDEWAYS else size)
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
        return np.array(rgb)


@contextlib.contextmanager
def _opened(path, file, pixels=True):
    """Open a picture whose pixels are not decoded yet; every fault in the body is a BadImage.

    What libraries have to say about the file is given as one ImageWarning at the end.
    """
    with image_warnings.collected() as found:
        try:
            with contextlib.ExitStack() as stack:
                if pixels and _is_tiff(file):
                    stack.enter_context(image_warnings.libtiff_collected(found, file))
                image = stack.enter_context(Image.open(_essential(file, pixels), formats=FORMATS))
                if image.width * image.height > PIXEL_LIMIT:
                    raise Image.DecompressionBombError
                check_meaning(image, file)
                yield image
        except Exception as error:  # a decoder fed with damaged bytes raises nearly anything
            reason, unsupported = what_is_wrong(error, file)
            raise (UnsupportedImage if unsupported else BadImage)(path, reason) from error
    image_warnings.give(path, found)


def _essential(file, pixels):
    """What the decoder gets of a file: all of it; of a PNG, only the picture."""
    is_png = file.read(len(png_chunks.SIGNATURE)) == png_chunks.SIGNATURE
    file.seek(0)
    return png_chunks.without_metadata(file, pixels) if is_png else file


def _is_tiff(file):
    """Whether a file begins as a TIFF does; libtiff decodes it."""
    beginning = file.read(2)
    file.seek(0)
    return beginning in (b"II", b"MM")


def _opened_file(path):
    """Open a regular file that is not empty."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would hang
            raise BadImage(path, "it is a folder or device, not a file")
        if status.st_size == 0:
            raise BadImage(path, "the file is empty")
        return open(path, "rb")
    except FileNotFoundError as error:
        if os.path.islink(path):
            target = os.readlink(path)
            raise BadImage(path, f"it is a link to {target!r}, which does not exist") from error
        raise BadImage(path, "there is no such file") from error
    except OSError as error:
        raise BadImage(path, _of_the_system(error)) from error


def _of_the_system(error):
    return f"the system says {error.strerror!r}"


def _orientation(image):
    """Value of EXIF's Orientation tag, 1 to 8; 1 (upright) when it is missing or unreadable."""
    try:
        # Not PNG's own method, which decodes the pixels first and would hide what is wrong there.
        return _valid(Image.Image.getexif(image).get(ExifTag.Orientation, 1))
    except Exception:  # as many kinds as there are ways to damage it
        return 1  # a viewer shows a picture with broken metadata as it lies


def _valid(orientation):
    return orientation if orientation in _UPRIGHT else 1


def _squashed(image, size):
    """Decode to 8-bit RGB of the given (height, width)."""
    height, width = size
    # A reduced JPEG is rounded up to whole pixels; the box is what of it belongs to the picture.
    _, box = image.draft(None, (2 * width, 2 * height)) or (None, None)
    return to_rgb(image).resize((width, height), Image.Resampling.BILINEAR, box=box)
