"""The images that a command works on: each data set is listed once per command."""

import functools
from pathlib import Path

import click

from common import processes
from common.datasets import Dataset, open_backgrounds, open_dataset


class Images:
    """A data set as a command line names it; prints a summary when it is listed.

    Args:
        kind: layout, see ``open_dataset``; None to recognize it.
        root: the data set's folder.
    """

    def __init__(self, kind: str | None, root: Path):
        self.kind, self.root = kind, root
        self._splits: dict[str, Dataset] = {}

    def split(self, name: str) -> Dataset:
        """The Dataset of a split, from one listing of the folder."""
        if name not in self._splits:
            self._splits[name] = self._open(name)
        return self._splits[name]

    def _open(self, name: str) -> Dataset:
        # ILSVRC's splits are listed separately: training needs none of the 50,000 annotations.
        by_split = self.kind == "imagenet" or (self.root / "Data" / "CLS-LOC").is_dir()
        if name == "all" or by_split:
            dataset = open_dataset(self.kind, self.root, name)
            if processes.rank() == 0:
                click.echo(dataset.summary())
            return dataset
        part = self.split("all").part(name)
        return part if part.records else open_dataset(self.kind, self.root, name)  # says why not

    def digest(self, name: str) -> str:
        """``Dataset.digest`` of a split, from the file sizes found when it was listed."""
        return self.split(name).listing_digest


class Backgrounds:
    """A folder of background images as a command line names it."""

    def __init__(self, root: Path):
        self.root = root

    @functools.cached_property
    def records(self) -> tuple:
        """Record of each background image."""
        return self._dataset.records

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the files' contents: backgrounds are few, and nothing else detects a change."""
        return self._dataset.content_digest()

    @functools.cached_property
    def _dataset(self):
        return open_backgrounds(self.root)
