"""A folder of class folders, with or without folders of splits above them."""

from collections.abc import Iterator
from pathlib import Path

from common.datasets.annotated import with_boxes
from common.datasets.listing import (Notes, content, entries, files_under, is_called_picture,
                                     is_folder, is_picture, is_unsupported, loose_pictures,
                                     subfolders)
from common.datasets.recognition import require
from common.datasets.records import DatasetError, Part, Record, listed
from common.datasets.splits import split_folders
from common.text import composed, few, quoted


def read_folder(root: Path, split: str,
                notes: Notes) -> tuple[list[str], list[Record], tuple[Part, ...]]:
    """Classes, records and parts; ids are relative to the root.

    Args:
        split: ``train``, ``test`` or ``all``.

    Returns:
        (list of str, list of Record, tuple of Part).

    Raises:
        DatasetError: the folder is not as expected.
    """
    require("folder", root)
    folders = split_folders(root)
    if not folders and split == "test":
        raise DatasetError(f"expected the folders train and test in {quoted(root)} for its test "
                           f"split, found {content(root)}; without them all are training images")
    if folders:
        _note_what_lies_beside(root, folders.values(), notes)
    # Both splits, whatever was asked for: they share their classes and boxes.csv.
    found = {name: list(class_files(root, folder, notes))
             for name, folder in (folders or {"all": "."}).items()}
    classes = sorted({name for groups in found.values() for name, _ in groups})
    index_of_class = {name: index for index, name in enumerate(classes)}
    records = [listed(file, root, index_of_class[name], (), size,
                      split="" if part == "all" else part)
               for part, groups in found.items() for name, files in groups for file, size in files]
    records = with_boxes(records, root)
    parts = tuple(Part(name, sum(len(files) for _, files in groups), folders.get(name, ""))
                  for name, groups in found.items())
    _note_unsupported(records, notes)
    _note_one_sided_classes(found, notes)
    if folders and split != "all":
        records = [record for record in records if record.split == split]
    return classes, records, parts


def class_files(images: Path, part: str,
                notes: Notes) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """The files of each class folder in ``images/part``.

    Args:
        part: name of the folder that holds the class folders; "." for ``images`` itself.
        notes: Notes, which take the folders that are no classes.

    Yields:
        (class name in Unicode's composed form, list of (name relative to ``images``, bytes)).

    Raises:
        DatasetError: there are pictures next to the class folders, or a folder that cannot be a
            class because its pictures lie in folders of their own.
    """
    prefix = "" if part == "." else f"{part}/"
    _refuse_loose_pictures(images / part)
    for name in subfolders(images / part, notes):
        folder = images / part / name
        files = list(files_under(folder, notes, f"{prefix}{name}/"))
        depth = prefix.count("/") + 1
        if any(file.count("/") == depth and is_picture(file, images) for file, _ in files):
            yield composed(name), files
        elif any(is_picture(file, images) for file, _ in files):
            _refuse_nested(folder)
        else:
            notes.skip("folders without pictures" if files else "empty folders", folder)


def _refuse_loose_pictures(folder):
    """Refuse pictures next to the class folders: they have no class and must not vanish."""
    loose = loose_pictures(folder)
    if loose:
        others = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
        raise DatasetError(f"expected every image in the folder of its class, found "
                           f"{quoted(loose[0])}{others} in none; move them into class folders or "
                           "away, or use --dataset pictures if no picture has a class")


def _refuse_nested(folder):
    """Refuse a folder whose pictures all lie deeper: classes, splits or something else."""
    inside = subfolders(folder)
    raise DatasetError(
        f"expected pictures directly in the class folder {quoted(folder)}, found only the folders "
        f"{few(inside)} there; if these are the classes, give {quoted(folder)} itself; if "
        f"{folder.name!r} is a split, call it train or test; if it is one class, move its pictures "
        "up, and move away what is not a class")


def _note_what_lies_beside(root, folders, notes):
    """Count what lies next to the folders of the splits."""
    taken = set(folders)
    for entry in sorted(entries(root, notes), key=lambda entry: entry.name):
        if is_folder(entry):
            if entry.name not in taken:
                notes.skip("folders that are no split in use", entry.path)
        elif is_called_picture(entry.name):
            notes.skip("pictures outside the splits", entry.path)


def _note_unsupported(records, notes):
    """Say how many listed files are pictures of kinds that the decoder does not know."""
    names = [record.image_id for record in records if is_unsupported(record.image_id)]
    if names:
        notes.say(f"{len(names)} of the files are pictures of kinds that are not supported "
                  f"({few(names, 3)})")


def _note_one_sided_classes(found, notes):
    """Name the classes that only one of two splits has: a name may be spelled in two ways."""
    if len(found) < 2:
        return
    classes = {split: {name for name, _ in groups} for split, groups in found.items()}
    for split, names in classes.items():
        missing = sorted(set.union(*classes.values()) - names)
        if missing:
            notes.say(f"{len(missing)} of the classes without {split} images ({few(missing, 3)})")
