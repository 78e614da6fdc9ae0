"""The images that a command works on: each data set is listed once per command."""

import functools
from pathlib import Path

from common.datasets import Dataset, open_backgrounds, open_dataset


class Images:
    """A data set as a command line names it.

    Args:
        kind: layout, see ``open_dataset``; None to recognize it.
        root: the data set's folder.
    """

    def __init__(self, kind: str | None, root: Path):
        self.kind, self.root = kind, root
        self._splits, self._digests = {}, {}

    def split(self, name: str) -> Dataset:
        """The Dataset of a split, listed on first use."""
        if name not in self._splits:
            self._splits[name] = open_dataset(self.kind or "cub", self.root, name)
        return self._splits[name]

    def digest(self, name: str) -> str:
        """``Dataset.digest`` of a split; each file is looked at once."""
        if name not in self._digests:
            self._digests[name] = self.split(name).digest()
        return self._digests[name]


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
        """Digest of the files' contents: backgrounds are few, and nothing else notices a change."""
        return self._dataset.content_digest()

    @functools.cached_property
    def _dataset(self):
        return open_backgrounds(self.root)
