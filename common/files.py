"""Files that are whole or absent: written under a temporary name, synced, renamed.

torch is imported only where a checkpoint needs it: reading a mask cache does not take its 400 MB.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.system_errors import MISSING, SystemRefusal, cannot_read, cannot_write

TEMPORARY = ".tmp"  # what the name of an unfinished file ends in


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context that yields a temporary path next to ``path`` and renames it to ``path`` at the end.

    When the body raises, the temporary file is removed and ``path`` stays as it was. A
    SystemRefusal of another file that the body reads or writes is passed on as it is. A killed
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
        make_folder(path.parent)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, SystemRefusal):
            raise cannot_write(path, error) from error
        raise


def require_writable(folder: str | Path) -> None:
    """Make sure, before any work, that files can be written to a folder; changes nothing.

    Args:
        folder: may be missing, and then be made.

    Raises:
        CannotWrite: as of a read-only file system; names the folder.
    """
    folder = Path(os.path.abspath(folder))
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    number = None
    if not nearest.is_dir():
        number = errno.ENOTDIR
    elif os.statvfs(nearest).f_flag & os.ST_RDONLY:
        number = errno.EROFS
    elif not os.access(nearest, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number is not None:
        raise cannot_write(folder, OSError(number, os.strerror(number)))


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file's bytes, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys: the same value gives the same bytes."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_whole(path: str | Path) -> bytes:
    """The bytes of a file, read without any lock.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        CannotRead: the operating system does not give its bytes, which is no damage.
    """
    try:
        return Path(path).read_bytes()
    except MISSING:
        raise
    except OSError as error:
        raise cannot_read(path, error) from error


def read_json(path: str | Path) -> Any:
    """The value of a JSON file.

    Raises:
        ValueError: it is not JSON; names the file.
        FileNotFoundError, CannotRead: as for ``read_whole``.
    """
    try:
        return json.loads(read_whole(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); remove it and make it again") from error


def save_checkpoint(path: str | Path, checkpoint: dict) -> None:
    """Save a dict of tensors and plain values with ``torch.save``, whole or not at all."""
    import torch

    content = io.BytesIO()  # torch's own writer reports a full disk by a long error of another kind
    torch.save(checkpoint, content)
    write_bytes(path, content.getbuffer())


def load_checkpoint(path: str | Path) -> dict:
    """Load a dict saved by ``torch.save``; runs no code that the file may hold.

    Raises:
        ValueError: the file is damaged or holds anything but tensors and plain values.
        FileNotFoundError, CannotRead: as for ``read_whole``.
    """
    import torch

    try:
        with open(path, "rb") as file:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except (*MISSING, MemoryError):
        raise
    except Exception as error:  # an unpickler that is fed with damaged bytes raises nearly anything
        # A cut file lets torch seek to before its beginning, which is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise cannot_read(path, error) from error
        raise ValueError(f"{path} is not a checkpoint that can be trusted ({_damage(error)}); "
                         "make or fetch it again") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}; "
                         "make or fetch it again")
    return checkpoint


def _damage(error):
    """torch's own reason; neither its advice to run what a file may hold, nor how it stumbled."""
    if isinstance(error, RuntimeError) and str(error):
        return str(error).splitlines()[0]
    return "it is damaged, or holds more than tensors and plain values"


def file_crc32(path: str | Path) -> int:
    """CRC-32 of a file's bytes, as an int; 0 if it is not a file or cannot be read.

    Costs 0.03 to 0.1 ms for a photograph of 100 KB, a fiftieth of decoding it.
    """
    if not os.path.isfile(path):  # opening a named pipe would hang
        return 0
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError:
        return 0


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes; errors as for ``read_whole``."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except MISSING:
        raise
    except OSError as error:
        raise cannot_read(path, error) from error


def make_folder(folder: str | Path) -> None:
    """Make a folder where there is none, so that it survives a power cut with what is in it."""
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Make renames in a folder survive a power cut; only POSIX opens folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot
                raise
        finally:
            os.close(descriptor)
