"""Which layout a folder has, by what is in it."""

import os
from pathlib import Path

from common.datasets.listing import content, entries, is_called_picture, is_folder, subfolders
from common.datasets.records import DatasetError
from common.datasets.splits import split_folders
from common.text import quoted

LAYOUTS = {"cub": "CUB-200-2011's official layout", "imagenet": "ILSVRC's CLS-LOC layout",
           "folder": "a folder of class folders", "pictures": "a folder of pictures"}
_LOOKED_INTO = 20  # folders inside one that is no data set, to find it there


def recognize(root: str | os.PathLike) -> tuple[str, ...]:
    """The kinds of data set that a folder may be, of those that have a layout.

    Looks at names only, and stops in each folder at the first picture.

    Args:
        root: the folder.

    Returns:
        tuple of ``cub``, ``imagenet`` and ``folder``, or of none.
    """
    root, fits = Path(root), []
    if (root / "images").is_dir() and (root / "images.txt").is_file():
        fits.append("cub")
    if (root / "Data" / "CLS-LOC").is_dir():
        fits.append("imagenet")
    if _holds_class_folders(root):
        fits.append("folder")
    return tuple(fits)


def recognized_kind(root: Path) -> str:
    """The one kind of data set that a folder is.

    Raises:
        DatasetError: it may be several or none; says what to do.
    """
    fits = recognize(root)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise DatasetError(f"{quoted(root)} may be {' or '.join(LAYOUTS[kind] for kind in fits)}: "
                           f"say which by {' or '.join(f'--dataset {kind}' for kind in fits)}")
    if _holds_pictures(root):
        raise DatasetError(f"{quoted(root)} holds pictures but no class folders: sort them into "
                           "one folder for each class and use --dataset folder, or make masks of "
                           "them as they are with --dataset pictures")
    raise DatasetError(f"{quoted(root)} holds {content(root)}, which is none of the layouts "
                       f"{', '.join(list(LAYOUTS.values())[:3])}{_inside(root)}; the simplest is "
                       "one folder of pictures for each class, with --dataset folder")


def require(kind: str, root: Path, *needed: str) -> None:
    """Refuse a root that is no folder, lacks an entry of its layout, or has another layout.

    Args:
        kind: ``cub``, ``imagenet``, ``folder`` or ``pictures``.
        needed: paths relative to the root.

    Raises:
        DatasetError: names what is missing, and the layout that fits.
    """
    require_folder(LAYOUTS[kind], root)
    missing = [entry for entry in needed if not (root / entry).exists()]
    others = [other for other in recognize(root) if other != kind] if kind != "pictures" else []
    if missing:
        raise DatasetError(f"expected {LAYOUTS[kind]} in {quoted(root)}, found no "
                           f"{', '.join(missing)} there but {content(root)}"
                           f"{_advice(others) or _inside(root)}")
    if kind == "folder" and others and not _holds_class_folders(root):
        raise DatasetError(f"expected {LAYOUTS[kind]} in {quoted(root)}, found {content(root)}"
                           f"{_advice(others)}")


def require_folder(what: str, root: Path) -> None:
    """Refuse a root that is no folder.

    Raises:
        DatasetError: says so.
    """
    if root.is_file():
        raise DatasetError(f"expected {what} in {quoted(root)}, found no such folder but a file; "
                           "unpack an archive first")
    if not root.is_dir():
        raise DatasetError(f"expected {what} in {quoted(root)}, found no such folder")


def _advice(kinds):
    return "".join(f"; this looks like {LAYOUTS[kind]}: try --dataset {kind}" for kind in kinds)


def _inside(root):
    """Half a sentence on a data set in a folder of this folder; "" where there is none."""
    for name in subfolders(root)[:_LOOKED_INTO]:
        try:
            fits = recognize(root / name)
        except DatasetError:
            continue
        if fits:
            return (f"; {quoted(root / name)} looks like {LAYOUTS[fits[0]]}: give that with "
                    f"--dataset {fits[0]}")
    return ""


def _holds_class_folders(root):
    """Whether pictures lie directly in folders, or in folders of splits' class folders."""
    try:
        if split_folders(root):
            return True
    except DatasetError:
        return True  # there are splits, if not the right ones; their reader reports what is wrong
    return any(_holds_pictures(root / name) for name in subfolders(root))


def _holds_pictures(folder):
    """Whether a picture lies directly in a folder."""
    return any(is_called_picture(entry.name) and not is_folder(entry)
               for entry in entries(folder))
