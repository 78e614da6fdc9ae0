"""A background classifier's file: the head, what made it, and how good it is."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from common.files import load_checkpoint, save_checkpoint
from stage1_bc.classifier import BackgroundClassifier, load_classifier


@dataclasses.dataclass(frozen=True)
class StoredClassifier:
    """A classifier's file, loaded; the frozen backbone's weights are not in it."""

    path: Path
    checkpoint: dict
    """See ``save_classifier``."""

    @property
    def about(self) -> dict:
        """Its accuracies, and the images that could not be read; see ``train_classifier``."""
        return self.checkpoint["about"]

    def build(self, weights: str) -> BackgroundClassifier:
        """The classifier itself, on the backbone's weights."""
        return load_classifier(self.checkpoint, weights)

    def accuracy(self) -> str:
        """One sentence on its accuracy."""
        about = self.about
        return (f"background classifier: held-back accuracy {about['target_accuracy']:.1%} on "
                f"{about['held_back_targets']} targets, {about['background_accuracy']:.1%} on "
                f"{about['held_back_backgrounds']} backgrounds")


def save_classifier(path: Path, classifier: BackgroundClassifier, about: dict,
                    description: dict) -> StoredClassifier:
    """Write a classifier's file, whole or not at all.

    Args:
        path: the file.
        classifier: trained BackgroundClassifier.
        about: from ``train_classifier``.
        description: everything that it depends on, as plain values.
    """
    save_checkpoint(path, {**classifier.checkpoint(about), "description": description,
                           "digest": classifier.digest()})
    return read_classifier(path)


def read_classifier(path: Path) -> StoredClassifier:
    """Load a classifier's file.

    Raises:
        ValueError: it is damaged, or no file of a background classifier of this version.
    """
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint, dict) or "description" not in checkpoint:
        raise ValueError(f"{path} is not a background classifier of this version; train it again "
                         "with bcct train-bc")
    return StoredClassifier(path, checkpoint)


def stored_classifiers(root: Path) -> Iterator[StoredClassifier]:
    """Each background classifier in a folder; files that are none are passed over."""
    for path in sorted(root.glob("*.pt")):
        try:
            yield read_classifier(path)
        except ValueError:  # and not what the system refuses: that says nothing about a file
            continue
