"""Folders of splits by their names, in several spellings."""

from pathlib import Path

from common.datasets.listing import entries, is_called_picture, is_folder, subfolders
from common.datasets.records import DatasetError
from common.text import quoted

_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test",
          "val": "validation", "valid": "validation", "validation": "validation"}


def split_folders(root: Path) -> dict[str, str]:
    """The folders of the splits in a data set's folder.

    A folder is a split's by its name, in capitals or not, if there are others next to it; alone it
    may be a class. Validation images are the test split where there is no folder called test.

    Returns:
        dict from ``train`` and ``test`` to the folder's name on disk; {} where there are no splits.

    Raises:
        DatasetError: two folders of one split, or a split alone.
    """
    found = {}
    for name in subfolders(root):
        if split := _NAMES.get(name.lower()):
            found.setdefault(split, []).append(name)
    if not any(_holds_class_folders(root / name) for names in found.values() for name in names):
        if not {"train", "test"} <= found.keys():
            return {}  # classes that happen to be trains, or tests
    chosen = {"train": found.get("train", []),
              "test": found.get("test") or found.get("validation", [])}
    if not all(chosen.values()):
        names = [name for several in found.values() for name in several]
        raise DatasetError(f"expected both train and test in {quoted(root)}, found only "
                           f"{', '.join(names)}; if that is all there is, name {names[0]} itself")
    for split, names in chosen.items():
        if len(names) > 1:
            raise DatasetError(f"expected one folder of the {split} split in {quoted(root)}, found "
                               f"{' and '.join(map(repr, names))}; move one of them away")
    return {split: names[0] for split, names in chosen.items()}


def _holds_class_folders(folder):
    """Whether there are folders in a folder, and no pictures next to them."""
    inside = entries(folder)
    return (any(is_folder(entry) for entry in inside)
            and not any(is_called_picture(entry.name) and not is_folder(entry)
                        for entry in inside))
