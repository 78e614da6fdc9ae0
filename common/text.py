"""Text files and names from other computers, all read by the same rules.

UTF-8, or whatever else a byte order mark says; any line ends; names in Unicode's composed form
(NFC), because macOS decomposes what Linux and Windows compose, and both mean one name. Names in any
other encoding pass through unharmed (Python's ``surrogateescape``).
"""

import codecs
import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, without its byte order mark, line ends as they are.

    Args:
        path: the file.

    Returns:
        str; bytes that are no UTF-8 are kept as surrogates.

    Raises:
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def numbered_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, names in them composed.

    Args:
        path: the file.

    Yields:
        (number, from 1; the line as a str without the white space around it).

    Raises:
        OSError: the file cannot be read.
    """
    # splitlines would also split at rarer separators inside a name.
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip():
            yield number, composed(line)


def composed(name: str) -> str:
    """A name in Unicode's composed form, by which names are compared.

    Returns:
        str; the same object where it is composed already.
    """
    if name.isascii() or unicodedata.is_normalized("NFC", name):
        return name
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> list[str]:
    """The ways in which a file system may have stored a name: as given, composed, decomposed.

    Returns:
        list of different str, the name itself first.
    """
    if name.isascii():
        return [name]
    return list(dict.fromkeys([name, *(unicodedata.normalize(form, name)
                                       for form in ("NFC", "NFD"))]))


def quoted(path: str | os.PathLike) -> str:
    """A path for a message: on one line and printable, whatever its name holds."""
    return repr(os.fspath(path))


def few(names: Iterable[str], limit: int = 5) -> str:
    """The first few of many names, quoted, and how many more there are; for one sentence."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more
