"""What a reader of a data set gives: its images, and what it found while listing them."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from common.config import digest
from common.files import file_crc32
from common.text import composed, few, quoted


class DatasetError(ValueError):
    """A folder or file that is not what its reader expects, in one sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set."""

    image_id: str
    """POSIX path of the image relative to ``folder``, in Unicode's composed form; names its
    mask."""
    folder: Path
    """The folder that holds the images, one object for all of them: with 1.28 million images, a
    path in each record would be most of the memory."""
    label: int
    """Index into the data set's classes; -1 for a background image."""
    boxes: tuple = ()
    """(x0, y0, x1, y1) floats in pixels of the original image as displayed, x1 and y1 exclusive,
    one for each object; () when they are not known. As annotated: a few of CUB's and ILSVRC's
    boxes reach beyond the image, and some of ILSVRC's are stated in another frame, see
    ``frame``."""
    stored: str = dataclasses.field(default="", compare=False)
    """The image's relative path as it is on disk, where that is not ``image_id``."""
    size_bytes: int | None = dataclasses.field(default=None, compare=False)
    """Size of the file when it was listed, -1 for a missing file; None when nobody has looked."""
    frame: tuple | None = dataclasses.field(default=None, compare=False)
    """(height, width) in pixels of the picture that the boxes were drawn on, where the annotation
    says it; ``common.annotations.displayed_boxes`` compares it with the picture."""
    split: str = dataclasses.field(default="", compare=False)
    """``train`` or ``test``; "" where there are no splits."""

    @property
    def path(self) -> Path:
        """The image file; it may turn out to be missing or damaged."""
        return self.folder / (self.stored or self.image_id)


def listed(name: str, folder: Path, label: int, boxes: tuple = (), size_bytes: int | None = None,
           frame: tuple | None = None, split: str = "") -> Record:
    """The Record of a file with the name that it has on disk."""
    image_id = composed(name)
    return Record(image_id, folder, label, boxes, "" if image_id == name else name, size_bytes,
                  frame, split)


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of one split."""

    split: str
    """``train`` or ``test``; ``all`` where there are no splits."""
    images: int
    """How many there are, whether or not they belong to the split that was asked for."""
    folder: str = ""
    """Name of the split's own folder as it is on disk; "" where it has none."""


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Files or folders of one kind that were left out."""

    what: str
    """The kind, in the plural: ``empty folders``."""
    count: int
    names: tuple
    """Paths of the first of them, relative to the data set's folder."""

    def __str__(self):
        more = " ..." if self.count > len(self.names) else ""
        return f"{self.what} ({self.count}: {', '.join(map(repr, self.names))}{more})"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The images of one split, in the order of their ids."""

    name: str
    """The kind: ``cub``, ``imagenet``, ``folder``, ``pictures`` or ``background``."""
    root: Path
    """The folder that was opened."""
    split: str
    """``train``, ``test`` or ``all``."""
    classes: tuple
    """Class names; () for background images."""
    records: tuple
    """Record of each image, sorted by image_id."""
    parts: tuple = dataclasses.field(default=(), compare=False)
    """Part of each split that was listed."""
    skipped: tuple = dataclasses.field(default=(), compare=False)
    """Skipped of each kind of what was left out."""
    notes: tuple = dataclasses.field(default=(), compare=False)
    """Oddities of the data set, as half sentences."""

    def summary(self) -> str:
        """What was read, in one line, for a command to print first.

        Returns:
            str: the folder, its kind, how many classes and images of which split, and what was
            left out, counted and named.
        """
        about = [f"{quoted(self.root)}: {_KIND_NAMES.get(self.name, self.name)}"]
        if self.classes:
            plural = "class" if len(self.classes) == 1 else "classes"
            about.append(f"{len(self.classes):,} {plural} ({few(self.classes, 3)})")
        about.append(" and ".join(self._described(part) for part in self.parts)
                     or f"{len(self.records):,} images")
        line = ", ".join(about)
        if self.notes:
            line += "; " + "; ".join(self.notes)
        if self.skipped:
            line += "; left out: " + ", ".join(map(str, self.skipped))
        return line

    def _described(self, part):
        name = "" if part.split == "all" else f"{part.split} "
        place = f" in {part.folder!r}" if part.folder and part.folder != part.split else ""
        return f"{part.images:,} {name}{'image' if part.images == 1 else 'images'}{place}"

    def part(self, split: str) -> "Dataset":
        """The images of one split of a data set that was opened with both.

        Args:
            split: ``train`` or ``test``; images without a split are training images.
        """
        return dataclasses.replace(self, split=split, records=tuple(
            record for record in self.records if (record.split or "train") == split))

    def digest(self) -> str:
        """SHA-256 of the sorted pairs of image id and file size, in hexadecimal.

        Changes when an image is added, removed, renamed or replaced by one of another size; a
        missing file counts as -1 bytes. Looks at every file as it is now, without opening it.
        """
        return _digest_of_sizes(self.records, _size_now)

    @functools.cached_property
    def listing_digest(self) -> str:
        """``digest`` as of when the data set was listed; looks at no file again."""
        return _digest_of_sizes(self.records, lambda record: _size_now(record)
                                if record.size_bytes is None else record.size_bytes)

    @functools.cached_property
    def classes_digest(self) -> str:
        """Digest of which records share a class, whatever their classes' names and numbers are."""
        numbers: dict[int, int] = {}
        return digest([numbers.setdefault(record.label, len(numbers))
                       for record in _sorted(self.records)])

    def content_digest(self) -> str:
        """SHA-256 of the ids and of the CRC-32 of every file, in hexadecimal; reads them all.

        For few images: it takes about 0.1 ms for each. A file that cannot be read counts as 0.
        """
        return digest([(record.image_id, file_crc32(record.path))
                       for record in _sorted(self.records)])


_KIND_NAMES = {"cub": "CUB-200-2011's layout", "imagenet": "ILSVRC's CLS-LOC layout",
               "folder": "a folder of class folders", "pictures": "pictures without classes",
               "background": "background images"}


def sorted_records(records: Iterable[Record]) -> tuple[Record, ...]:
    """Records in the order of their ids.

    Raises:
        DatasetError: two files have one id; names them.
    """
    ordered = _sorted(records)
    for one, other in zip(ordered, ordered[1:]):
        if one.image_id == other.image_id:
            raise DatasetError(f"expected each image's name once, found {ascii(one.stored)} and "
                               f"{ascii(other.stored or other.image_id)} in "
                               f"{quoted(one.folder)}, which are one name in two Unicode forms; "
                               "rename one of them")
    return ordered


def _digest_of_sizes(records, size_of):
    pairs = hashlib.sha256()
    for record in _sorted(records):
        # No file name holds a NUL, so two different lists never give the same bytes.
        name = record.image_id.encode("utf-8", "surrogateescape")
        pairs.update(name + b"\0%d\0" % size_of(record))
    return pairs.hexdigest()


def _size_now(record):
    return file_size(record.path)


def file_size(path: str | os.PathLike) -> int:
    """Size of a file in bytes, -1 when it is missing."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _sorted(records):
    return tuple(sorted(records, key=lambda record: record.image_id))
