"""Opening a data set: by its kind, or by what is in its folder."""

import os
from pathlib import Path

from common.datasets.annotated import with_boxes
from common.datasets.class_folders import read_folder
from common.datasets.cub import read_cub
from common.datasets.ilsvrc import read_ilsvrc
from common.datasets.listing import Notes, files_under, is_picture, is_unsupported
from common.datasets.recognition import recognized_kind, require, require_folder
from common.datasets.records import Dataset, DatasetError, Part, listed, sorted_records
from common.text import quoted

KINDS = ("cub", "imagenet", "folder", "pictures")
SPLITS = ("train", "test", "all")
AUTO = "auto"


def open_dataset(kind: str | None, root: str | os.PathLike, split: str = "train") -> Dataset:
    """Open a data set of labelled images.

    Args:
        kind: ``cub``, CUB-200-2011's official layout; ``imagenet``, ILSVRC's CLS-LOC layout, with
            the validation images as the test split; ``folder``, a folder of class folders, either
            ``root/<class>/*``, all of them training images, or ``root/train/<class>/*`` and
            ``root/test/<class>/*``, where names such as ``Train``, ``training`` and ``valid`` also
            work; ``pictures``, all pictures in a folder and its subfolders as one class,
            ``target``, without a test split; ``auto`` or None, one of the first three, recognized
            from what is there. ``folder`` and ``pictures`` take boxes from an optional
            ``root/boxes.csv`` of columns ``image_id, x0, y0, x1, y1``, one line for each box, x1
            and y1 exclusive.
        root: the data set's folder.
        split: ``train``, ``test`` or ``all``.

    Returns:
        Dataset with at least one record.

    Raises:
        DatasetError: the folder or one of its files is not as expected, no layout or several fit,
            or the split is empty.
    """
    if kind is not None and kind not in (AUTO, *KINDS):
        raise DatasetError(f"expected a kind of data set among {', '.join(KINDS)}, found {kind!r}")
    if split not in SPLITS:
        raise DatasetError(f"expected a split among {', '.join(SPLITS)}, found {split!r}")
    folder = _given_folder(root, "a data set", "--data", refuse_current=kind in (None, AUTO))
    if kind is None or kind == AUTO:
        require_folder("a data set", folder)
        kind = recognized_kind(folder)
    read = {"cub": read_cub, "imagenet": read_ilsvrc, "folder": read_folder,
            "pictures": _read_pictures}[kind]
    notes = Notes(folder)
    try:
        classes, records, parts = read(folder, split, notes)
        if not records:
            raise DatasetError(f"expected {'' if split == 'all' else split + ' '}images in "
                               f"{quoted(folder)}, found none{_but_skipped(notes)}")
    except DatasetError as error:
        if folder == Path():  # where a folder was forgotten
            raise DatasetError(f"{error} ('.' is the current folder: give another by --data "
                               "FOLDER, or make DATA=FOLDER)") from None
        raise
    return Dataset(kind, folder, split, tuple(classes), sorted_records(records), parts,
                   notes.skipped, tuple(notes.sentences))


def open_backgrounds(root: str | os.PathLike) -> Dataset:
    """Open a folder of background images, its subfolders included.

    Returns:
        Dataset named ``background`` without classes, its labels -1, with at least one record.

    Raises:
        DatasetError: there is no such folder, or it holds no file.
    """
    folder = _given_folder(root, "background images", "--background", refuse_current=True)
    require_folder("a folder of background images", folder)
    notes = Notes(folder)
    records = [listed(name, folder, -1, (), size) for name, size in files_under(folder, notes)]
    if not records:
        raise DatasetError(f"expected background images in {quoted(folder)}, found none"
                           f"{_but_skipped(notes)}")
    return Dataset("background", folder, "all", (), sorted_records(records),
                   (Part("all", len(records)),), notes.skipped, tuple(notes.sentences))


def _read_pictures(root, split, notes):
    """One class, records and parts of a folder of pictures, its subfolders included."""
    require("pictures", root)
    if split == "test":
        raise DatasetError(f"the pictures in {quoted(root)} have no test split: use --split train "
                           "or all, or keep test pictures in a folder of their own")
    records = []
    for name, size in files_under(root, notes):
        if is_unsupported(name):
            notes.skip("pictures of kinds that are not supported", root / name)
        elif not is_picture(name, root):
            notes.skip("files that are no pictures", root / name)
        else:
            records.append(listed(name, root, 0, (), size))
    return ["target"], with_boxes(records, root), (Part("all", len(records)),)


def _given_folder(root: str | os.PathLike, what: str, option: str,
                  refuse_current: bool) -> Path:
    """The folder as a Path; refuses the current folder, which means that none was given."""
    if os.fspath(root) == "" or (refuse_current and Path(root) == Path()):
        raise DatasetError(
            f"expected the folder of {what}, found {'none' if os.fspath(root) == '' else repr('.')}"
            f": give it by {option} FOLDER (make: {option[2:].upper()}=FOLDER); if the current "
            "folder is meant, give its whole path")
    return Path(root)


def _but_skipped(notes):
    skipped = notes.skipped
    return f" but {', '.join(map(str, skipped))}, which are left out" if skipped else ""
