"""Files that are whole or absent: written under a temporary name, synced, renamed.

torch is imported only where a checkpoint needs it: reading a mask cache does not take its 400 MB.
"""

import contextlib
import io
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"  # what the name of an unfinished file ends in


class CannotWrite(OSError):
    """A file could not be written; its text is one sentence, without an error number."""

    def __str__(self):
        return self.strerror


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context that yields a temporary path next to ``path`` and renames it to ``path`` at the end.

    When the body raises, the temporary file is removed and ``path`` stays as it was. A killed
    process leaves at most the temporary file, which the next writer of ``path`` overwrites.

    Args:
        path: the final path; its folder is made when missing.

    Yields:
        Path of the temporary file.

    Raises:
        CannotWrite: as on a full disk; an OSError that names the file, its folder and what to do.
    """
    path = Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """A CannotWrite whose one sentence names the file and what to do."""
    reason = error.strerror or str(error)
    return CannotWrite(error.errno, f"cannot write {path.name} into the folder {path.parent} "
                       f"({reason}); what was finished before is kept: make room there, or allow "
                       "writing, and run the same command again")


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file's bytes, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys: the same value gives the same bytes."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """The value of a JSON file; ValueError naming the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it and make it again") from error


def save_checkpoint(path: str | Path, checkpoint: dict) -> None:
    """Save a dict of tensors and plain values with ``torch.save``, whole or not at all."""
    import torch

    content = io.BytesIO()  # torch's own writer has its own error for a full disk, a long one
    torch.save(checkpoint, content)
    write_bytes(path, content.getbuffer())


def load_checkpoint(path: str | Path) -> dict:
    """Load a dict saved by ``torch.save``; runs no code that the file may hold.

    Raises:
        ValueError: the file is damaged or holds anything but tensors and plain values.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # an unpickler that is fed with damaged bytes raises nearly anything
        reason = _damage(error)
        raise ValueError(f"{path} is not a checkpoint that can be trusted ({reason}); "
                         "make or fetch it again") from error


def _damage(error):
    """torch's reason, without its advice to run the code that a file may hold."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds more than tensors and plain values"
    return (str(error) or type(error).__name__).splitlines()[0]


def file_crc32(path: str | Path) -> int:
    """CRC-32 of a file's bytes, as an int; 0 for what is no file or cannot be read.

    Costs 0.03 to 0.1 ms for a photograph of 100 KB, a fiftieth of decoding it.
    """
    if not os.path.isfile(path):  # opening a named pipe would wait for ever
        return 0
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError:
        return 0


def sync_folder(folder: str | Path) -> None:
    """Make renames in a folder survive a power cut; only POSIX opens folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
