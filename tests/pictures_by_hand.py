"""Picture files put together byte by byte, of kinds that no library at hand writes."""

import struct
import zlib


def tiff(tags, data, order="<"):
    """A TIFF of one strip.

    Args:
        tags: dict from a tag's number to an int or a sequence of ints, all of 16 bits.
        data: bytes of the pixels.
        order: ``<`` for little endian, ``>`` for big endian.
    """
    tags = {key: value if isinstance(value, (tuple, list)) else (value,)
            for key, value in tags.items()}
    tags |= {273: (0,), 277: tags.get(277, (len(tags.get(258, (1,))),)), 278: tags[257],
             279: (len(data),)}
    place = 8 + 2 + 12 * len(tags) + 4
    extra, entries = b"", []
    for key in sorted(tags):
        kind, code = (4, "I") if key in (273, 279) else (3, "H")
        values = (len(data),) if key == 279 else tags[key]
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > 4:
            entries.append([key, kind, len(values), struct.pack(order + "I", place + len(extra))])
            extra += packed
        else:
            entries.append([key, kind, len(values), packed.ljust(4, b"\0")])
    for entry in entries:
        if entry[0] == 273:
            entry[3] = struct.pack(order + "I", place + len(extra))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3]
                           for entry in entries) + b"\0" * 4 + extra + data


def png_chunk(kind, content):
    """The bytes of a chunk of a PNG."""
    return (struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content)))


def png(width, height, depth, colour_type, rows, *chunks):
    """A PNG whose rows are given packed, with further chunks before its pixels.

    Args:
        rows: list of bytes, one for each row.
        chunks: (type, content) of each further chunk.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
            + b"".join(png_chunk(*chunk) for chunk in chunks)
            + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b""))


def bmp(width, height, bits, rows, palette=(), masks=()):
    """A BMP.

    Args:
        rows: list of bytes from the bottom to the top, each of a multiple of four bytes.
        palette: RGB triples.
        masks: of red, green, blue and alpha, of a picture with a header of 108 bytes.
    """
    size = 108 if masks else 40
    start = 14 + size + 4 * len(palette)
    data = b"".join(rows)
    header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3 if masks else 0,
                         len(data), 0, 0, len(palette), 0)
    header += struct.pack("<4I", *masks) if masks else b""
    return (b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
            + header.ljust(size, b"\0")
            + b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette) + data)
