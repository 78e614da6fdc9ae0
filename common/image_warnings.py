"""Warnings of Pillow and libtiff about a file, given once and with the file's name.

Pillow warns through ``warnings`` without saying of which file; libtiff writes straight to the
process's standard error. Both are collected while a picture is decoded, and given as one
``ImageWarning`` that names it.
"""

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image


class ImageWarning(UserWarning):
    """Something odd about a picture file that was decoded nevertheless; the message names it."""


# Pillow also logs errors, without the file's name, before it raises them.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# How libtiff's messages begin: with the function, or with the name that Pillow gives to every file.
_LIBTIFF = re.compile(
    r"(_?TIFF|LZW|ZIP|Fax|JPEG|OJPEG|PackBits|DumpMode|Predictor|LZMA|ZSTD|WEBP|LogL|Luv|NeXT|"
    r"PixarLog|Thunder|tempfile\.tif|check|MissingRequired|EstimateStrip|ChopUp|NotConfigured|"
    r"NotTiled|Fetch|SetupState|BuildMap|gtTile|gtStrip|initYCbCr|InitCCITT|horizontal|swab|fpAcc|"
    r"fpDiff|setExtraSamples|unix)\w*: ")

_lock = threading.RLock()
_mine = threading.local()  # .found: what this thread has collected, while it decodes
_shared: dict = {"users": 0, "context": None, "show": None}


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect this thread's warnings in the body instead of showing them.

    ``warnings.catch_warnings`` alone mixes up threads that decode at the same time.

    Yields:
        list of str that grows.
    """
    outer, _mine.found = getattr(_mine, "found", None), []
    with _lock:
        _shared["users"] += 1
        if _shared["users"] == 1:
            _install()
    try:
        yield _mine.found
    finally:
        with _lock:
            _shared["users"] -= 1
            if _shared["users"] == 0:
                _shared["context"].__exit__(None, None, None)
        _mine.found = outer


def _install():
    _shared["show"] = warnings.showwarning
    _shared["context"] = warnings.catch_warnings()
    _shared["context"].__enter__()
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we have a limit of our own
    warnings.showwarning = _put


def _put(message, category, *place, **more):
    found = getattr(_mine, "found", None)
    if found is None:  # of a thread that decodes nothing
        _shared["show"](message, category, *place, **more)
    else:
        found.append(" ".join(str(message).split()))


@contextlib.contextmanager
def libtiff_collected(found: list[str], file: BinaryIO) -> Iterator[None]:
    """Append what libtiff writes to the process's standard error in the body to a list.

    Args:
        file: the open picture; where standard error is closed it may have taken its number.

    Raises:
        OSError: libtiff reported an error, no warning: Pillow goes on with wrong pixels after some.
    """
    if _is_closed(file):
        yield
        return
    original = os.dup(2)
    with _lock, tempfile.TemporaryFile() as taken:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os.dup2(taken.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            taken.seek(0)
            lines = taken.read(1 << 20).decode("utf-8", "replace").splitlines(keepends=True)
            for line in lines:
                if not _LIBTIFF.match(line):  # of another thread
                    sys.stderr.write(line)
            said = [" ".join(line.split()) for line in lines if _LIBTIFF.match(line)]
            found += said
    errors = [line for line in said if "warning" not in line.lower()]
    if errors:
        raise OSError(errors[0])


def _is_closed(file):
    """Whether the process has no standard error; what is written to it is lost then anyway."""
    try:
        os.fstat(2)
        return sys.stderr is None or file.fileno() == 2
    except io.UnsupportedOperation:  # a file in memory
        return False
    except OSError:
        return True


def give(path: str | os.PathLike, found: list[str], limit: int = 3) -> None:
    """One ImageWarning of all that was collected about a file; none when that is nothing."""
    different = list(dict.fromkeys(found))
    if different:
        more = f" (and {len(different) - limit} more)" if len(different) > limit else ""
        warnings.warn(f"the picture {os.fspath(path)!r}: {'; '.join(different[:limit])}{more}",
                      ImageWarning, stacklevel=2)
