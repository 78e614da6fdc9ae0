"""The parts of a PNG that make its picture, without metadata that may prevent decoding.

Pillow gives up a picture over a text chunk that is too large, a damaged colour profile or an
animation whose frames are out of order. None of these changes the first frame, so the decoder is
handed a PNG without them. Skipped chunks are never decompressed: no bomb in them goes off.
"""

import io
import struct
import zlib
from typing import BinaryIO

from common.image_formats import NotSupported

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# ImageMagick and Adobe store the orientation in text; nobody needs more than this for it.
_TEXT_LIMIT = 1 << 20  # bytes, compressed as well as not
_TEXTS_WITH_ORIENTATION = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_GREY, _RGB = 0, 2  # colour types


def without_metadata(file: BinaryIO, pixels: bool = True) -> io.BytesIO:
    """A PNG that holds only what its first frame and its orientation need.

    Args:
        file: open at the beginning of a file that starts with SIGNATURE.
        pixels: False leaves the pixels out as well, for a look at the header.

    Returns:
        BytesIO. Damage of what is kept stays in it for the decoder to find, and a PNG that ends
        too early ends too early there.

    Raises:
        NotSupported: a kind of PNG that Pillow would decode wrongly.
    """
    head, body, depth, colour_type = [file.read(len(SIGNATURE))], [], 8, None
    for kind, chunk in _chunks(file, pixels):
        if kind == b"IHDR":
            depth, colour_type = (chunk[16], chunk[17]) if len(chunk) == 25 else (8, None)
        if kind == b"CgBI":
            raise NotSupported("a PNG in Apple's own variant (CgBI)")
        if kind == b"tRNS":
            chunk = _transparency(chunk, depth, colour_type)
        if kind == b"IDAT" or body:
            # Chunks that belong before the pixels may come after them, as EXIF does.
            (head if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") else body).append(chunk)
        else:
            head.append(chunk)
        if kind == b"IDAT" and not pixels:
            body = [_made(b"IDAT", b"")]  # it stands for them all
    return io.BytesIO(b"".join(head + body))


def _chunks(file, pixels):
    """Yield (type, bytes of the whole chunk) of those that matter, up to the end."""
    kind, start = None, file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(start)
    while kind != b"IEND" and len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if _matters(kind, length):
            if kind == b"IDAT" and not pixels:
                file.seek(length + 4, io.SEEK_CUR)
                yield kind, b""
                continue
            # Not more than the file has: a stated length of 4 GB would take 4 GB of memory.
            chunk = start + file.read(min(length + 4, max(end - file.tell(), 0)))
            if kind not in (b"tEXt", b"zTXt", b"iTXt") or _says_orientation(kind, chunk[8:-4]):
                yield kind, chunk
        else:
            file.seek(length + 4, io.SEEK_CUR)


def _matters(kind, length):
    """Whether a chunk is critical, by the case of its type, or says how the picture looks."""
    if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
        return length <= _TEXT_LIMIT
    return not kind[0] & 0x20 or kind == b"tRNS"


def _says_orientation(kind, content):
    """Whether a text chunk may hold the orientation, and is small when decompressed."""
    if not content.startswith(_TEXTS_WITH_ORIENTATION):
        return False
    if kind == b"tEXt":
        return True
    keyword, _, rest = content.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] == b"\0":  # not compressed
            return True
        rest = b"\0" + rest[2:].split(b"\0", 2)[-1]  # behind language and translation
    try:
        decompressor = zlib.decompressobj()
        decompressor.decompress(rest[1:], _TEXT_LIMIT)
    except zlib.error:
        return False
    return not decompressor.unconsumed_tail


def _transparency(chunk, depth, colour_type):
    """A tRNS chunk whose grey level is that of the decoded picture, which Pillow stretches."""
    if colour_type == _RGB and depth == 16:
        raise NotSupported("a PNG with a transparent colour among 16-bit colours")
    if colour_type != _GREY or depth not in (2, 4) or len(chunk) < 14:
        return chunk
    highest = (1 << depth) - 1
    level = struct.unpack(">H", chunk[8:10])[0] & highest  # other bits are to be ignored
    return _made(b"tRNS", struct.pack(">H", level * 255 // highest))


def _made(kind, content):
    """The bytes of a chunk."""
    return (struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content)))
