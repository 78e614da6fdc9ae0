"""Listing folders: every file once with its size, apart from files that are not images."""

import os
from collections.abc import Iterable, Iterator

from common.datasets.records import DatasetError, Skipped
from common.image_formats import begins_as_picture, picture_endings, unsupported_endings
from common.text import composed, quoted

# What desktops, cameras, network disks and archives put into folders; lower case.
_LITTER = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
    "zbthumbnail.info", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot",
    "@tmp", "__macosx", "lost+found", "$recycle.bin", "recycler", "system volume information",
    "network trash folder", "temporary items", "__pycache__", "found.000",
}
_LITTER_ENDINGS = ("@synoeastream", "@synoresource", ":zone.identifier", "~")

BOXES_FILE = "boxes.csv"
HIDDEN = "hidden or left by the desktop"
NAMES_KEPT = 3  # of each kind of what is left out


class Notes:
    """Collects what a reader leaves out or finds odd while it lists.

    Args:
        root: folder that names are given relative to.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = os.fspath(root)
        self.sentences = []
        self._skipped = {}

    def skip(self, what: str, path: str | os.PathLike) -> None:
        """Count a file or folder of some kind as left out."""
        names = self._skipped.setdefault(what, [])
        names.append(os.path.relpath(path, self.root) if len(names) < NAMES_KEPT else None)

    def say(self, sentence: str) -> None:
        """Add half a sentence."""
        self.sentences.append(sentence)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """tuple of Skipped."""
        return tuple(Skipped(what, len(names), tuple(names[:NAMES_KEPT]))
                     for what, names in self._skipped.items())


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left by a desktop or a camera."""
    lower = name.lower()
    return name.startswith(".") or lower in _LITTER or lower.endswith(_LITTER_ENDINGS)


def entries(folder: str | os.PathLike[str], notes: Notes | None = None) -> list[os.DirEntry]:
    """The entries of a folder, litter left out.

    Args:
        notes: Notes that count the litter, or None.

    Returns:
        list of os.DirEntry.

    Raises:
        DatasetError: the folder cannot be listed.
    """
    try:
        with os.scandir(os.fspath(folder)) as found:
            every = list(found)
    except OSError as error:
        raise DatasetError(f"cannot list the folder {quoted(folder)}: {error.strerror}") from None
    kept = []
    for entry in every:
        if not is_litter(entry.name):
            kept.append(entry)
        elif notes is not None:
            notes.skip(HIDDEN, entry.path)
    return kept


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is a bad file."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def subfolders(folder: str | os.PathLike, notes: Notes | None = None) -> list[str]:
    """Sorted names of the folders in a folder, as they are on disk."""
    return sorted(entry.name for entry in entries(folder, notes) if is_folder(entry))


def files_under(folder: str | os.PathLike, notes: Notes | None = None, prefix: str = "",
                above: tuple = ()) -> Iterator[tuple[str, int]]:
    """Every file in a folder and its subfolders, whatever its ending.

    Follows links. Litter and ``boxes.csv`` are left out.

    Args:
        notes: Notes that count the litter, or None.
        prefix: what names begin with.
        above: real paths of the folders above, to notice a link to one of them.

    Yields:
        (prefix and POSIX path relative to the folder, size in bytes or -1 where it is missing).

    Raises:
        DatasetError: a folder cannot be listed, or never ends.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DatasetError(f"expected a folder that ends, found that {quoted(folder)} is a link "
                           "to a folder above itself")
    for entry in entries(folder, notes):
        if is_folder(entry):
            yield from files_under(entry.path, notes, f"{prefix}{entry.name}/", (*above, real))
        elif entry.name.lower() != BOXES_FILE:
            try:
                yield prefix + entry.name, entry.stat().st_size
            except OSError:
                yield prefix + entry.name, -1


def ending_of(name: str) -> str:
    """A file's ending in lower case with its dot, "" where it has none."""
    stem, dot, ending = name[name.rfind("/") + 1:].rpartition(".")
    return f".{ending.lower()}" if stem and dot else ""


def is_picture(name: str, folder: str | os.PathLike) -> bool:
    """Whether a file's ending says that it is a picture; without one, whether its bytes do.

    Args:
        name: path of the file relative to the folder.
    """
    if ending_of(name):
        return is_called_picture(name)
    path = os.path.join(folder, name)
    return os.path.isfile(path) and begins_as_picture(path)


def is_called_picture(name: str) -> bool:
    """Whether a file's ending says that it is a picture, known to the decoder or not."""
    return ending_of(name) in picture_endings() or is_unsupported(name)


def is_unsupported(name: str) -> bool:
    """Whether a file's ending is that of a picture which the decoder does not know."""
    return ending_of(name) in unsupported_endings()


def loose_pictures(folder: str | os.PathLike) -> list[str]:
    """Sorted paths of the pictures that lie directly in a folder."""
    return sorted(entry.path for entry in entries(folder)
                  if is_called_picture(entry.name) and not is_folder(entry))


def one_spelling(names: Iterable[str]) -> list[str]:
    """Sorted composed forms of names, each once."""
    return sorted(set(map(composed, names)))


def content(folder: str | os.PathLike, limit: int = 6) -> str:
    """What a folder holds, in words."""
    names = sorted(entry.name for entry in entries(folder))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(repr, names[:limit])) + more if names else "nothing"
