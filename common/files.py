"""Files that are whole or absent: written under a temporary name, synced, renamed."""

import contextlib
import json
import os
import pickle
from pathlib import Path

import torch


@contextlib.contextmanager
def replacing(path):
    """Give a temporary path beside ``path`` to write to; rename it to ``path`` at the end.

    When the body raises, the temporary file is removed and ``path`` stays as it was. A killed
    process leaves at most the temporary file, which the next writer of ``path`` overwrites.

    Args:
        path: the final path; its folder is made when missing.

    Yields:
        Path of the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path, value):
    """Write a value as indented JSON with sorted keys: the same value gives the same bytes."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path):
    """The value of a JSON file; ValueError naming the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it and make it again") from error


def save_checkpoint(path, checkpoint):
    """Save a dict of tensors and plain values with ``torch.save``, whole or not at all."""
    with replacing(path) as temporary:
        torch.save(checkpoint, temporary)


def load_checkpoint(path, map_location="cpu"):
    """Load a dict saved by ``torch.save``; runs no code that the file may hold.

    Raises:
        ValueError: the file is damaged or holds anything but tensors and plain values.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError,
            OSError) as error:  # torch reports damage as any of these
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a checkpoint that can be trusted ({reason}); "
                         "make or fetch it again") from error


def _sync_folder(folder):
    """Make a rename survive a power cut; only POSIX opens folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
