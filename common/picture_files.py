"""Picture files as a user names them on a command line: folders and single files, no layout."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from common.datasets.listing import Notes, content, files_under, is_picture, is_unsupported
from common.datasets.records import Dataset, DatasetError, Record, Skipped, listed, sorted_records
from common.text import composed, few, quoted


@dataclasses.dataclass(frozen=True)
class PictureFiles:
    """The pictures to localize, each once."""

    root: Path
    """The folder that ids are relative to: the one that was given, or the deepest one that holds
    everything that was given."""
    records: tuple[Record, ...]
    """Record of each picture, sorted by id, labels -1."""
    repeated: tuple[str, ...]
    """Ids of the pictures that were given more than once."""
    skipped: tuple[Skipped, ...]
    """What was left out of the folders."""

    @property
    def digest(self) -> str:
        """Digest of the ids and file sizes, see ``Dataset.digest``."""
        return Dataset("pictures", self.root, "all", ("target",), self.records).listing_digest

    def remarks(self) -> list[str]:
        """Sentences for the user on what was given twice or left out."""
        said = []
        if self.repeated:
            said.append(f"{len(self.repeated)} picture(s) were given more than once and are done "
                        f"once: {few(self.repeated, 3)}")
        if self.skipped:
            said.append(f"left out: {', '.join(map(str, self.skipped))}")
        return said


def list_pictures(given: Sequence[str | os.PathLike]) -> PictureFiles:
    """List picture files and folders of them, subfolders included.

    Args:
        given: paths of files and folders.

    Raises:
        DatasetError: a path does not exist, or there is no picture.
    """
    paths = [_place(path) for path in given]
    for path, name in zip(paths, given):
        if not path.exists():
            raise DatasetError(f"there is no picture or folder {quoted(name)}")
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    notes, counts, sizes = Notes(root), {}, {}
    for path in paths:
        for name, size in _files(path, root, notes):
            counts[name] = counts.get(name, 0) + 1
            sizes[name] = size
    records = sorted_records([listed(name, root, -1, (), size) for name, size in sizes.items()])
    if not records:
        raise DatasetError("there are no pictures: " + "; ".join(
            f"{quoted(name)} holds {content(path)}" for name, path in zip(given[:3], paths)))
    repeated = tuple(sorted(composed(name) for name, count in counts.items() if count > 1))
    return PictureFiles(root, records, repeated, notes.skipped)


def _place(given):
    """Where a file or folder really is; a link to a file keeps its own name."""
    if os.path.isdir(given):
        return Path(os.path.realpath(given))
    folder, name = os.path.split(os.path.abspath(given))
    return Path(os.path.realpath(folder), name)


def _files(path, root, notes):
    """Yield (name relative to root, size) of a file, or of the pictures in a folder."""
    prefix = path.relative_to(root).as_posix()
    if not path.is_dir():  # named by the user: a picture whatever its ending
        yield prefix, path.stat().st_size
        return
    for name, size in files_under(path, notes, "" if prefix == "." else f"{prefix}/"):
        if is_unsupported(name):
            notes.skip("pictures of kinds that are not supported", root / name)
        elif is_picture(name, root):
            yield name, size
        else:
            notes.skip("files that are no pictures", root / name)
