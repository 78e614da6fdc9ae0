"""The images that a command works on: each data set is listed once, when it is first asked for."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from common import processes
from common.datasets.opening import open_backgrounds, open_dataset
from common.datasets.records import Dataset, Record


class Images:
    """A data set as a command line names it.

    Args:
        kind: layout, see ``open_dataset``; None to recognize it.
        root: the data set's folder.
        notify: called by the first process with a summary when the folder is listed.
        classes: class names of a model, whose labels the images get; None for the data set's own.
    """

    def __init__(self, kind: str | None, root: Path, notify: Callable[[str], object],
                 classes: Sequence[str] | None = None):
        self.kind, self.root, self.notify = kind, root, notify
        self.classes = None if classes is None else tuple(classes)
        self._splits: dict[str, Dataset] = {}

    def split(self, name: str) -> Dataset:
        """The Dataset of a split, from one listing of the folder.

        Raises:
            DatasetError: there is no such data set.
            ValueError: one of its classes is not the model's.
        """
        if name not in self._splits:
            self._splits[name] = self._labelled(self._open(name))
        return self._splits[name]

    def _open(self, name: str) -> Dataset:
        # ILSVRC's splits are listed separately: training needs none of the 50,000 annotations.
        by_split = self.kind == "imagenet" or (self.root / "Data" / "CLS-LOC").is_dir()
        if name == "all" or by_split:
            dataset = open_dataset(self.kind, self.root, name)
            if processes.rank() == 0:
                self.notify(dataset.summary())
            return dataset
        part = self.split("all").part(name)
        return part if part.records else open_dataset(self.kind, self.root, name)  # says why not

    def _labelled(self, dataset: Dataset) -> Dataset:
        """The data set with the labels of the model."""
        if self.classes is None or dataset.classes == self.classes:
            return dataset
        if unknown := [each for each in dataset.classes if each not in self.classes]:
            raise ValueError(f"{self.root} has classes that the model does not know: "
                             f"{', '.join(map(repr, unknown[:5]))}; its own are "
                             f"{', '.join(map(repr, self.classes[:5]))} ...")
        labels = [self.classes.index(each) for each in dataset.classes]
        return dataclasses.replace(dataset, classes=self.classes, records=tuple(
            dataclasses.replace(record, label=labels[record.label]) for record in dataset.records))

    def digest(self, name: str) -> str:
        """``Dataset.digest`` of a split, from the file sizes found when it was listed."""
        return self.split(name).listing_digest

    def classes_digest(self, name: str) -> str:
        """``Dataset.classes_digest`` of a split."""
        return self.split(name).classes_digest


class Backgrounds:
    """A folder of background images as a command line names it."""

    def __init__(self, root: Path):
        self.root = root

    @functools.cached_property
    def records(self) -> tuple[Record, ...]:
        """Record of each background image."""
        return self._dataset.records

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the files' contents: backgrounds are few, and nothing else detects a change."""
        return self._dataset.content_digest()

    @functools.cached_property
    def _dataset(self) -> Dataset:
        return open_backgrounds(self.root)
