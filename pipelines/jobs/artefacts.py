"""Finding what earlier commands made: by a folder, by the beginning of a name, or by manifest.

Nothing here works out what an artefact must have been called; it reads what each says of itself.
"""

from collections.abc import Iterator
from pathlib import Path

from common.files import load_checkpoint
from common.mask_cache.manifest import read_manifest
from common.mask_cache.shards import MaskCacheError
from stage2_ct.run import Run

CLASSIFIERS, MASKS, RUNS = "bc", "masks", "ct"  # folders in CACHE


class ArtefactError(ValueError):
    """No artefact, or more than one, is what was asked for; says what to do."""


def resolve(named: Path | str, root: Path, what: str) -> Path:
    """The artefact that a user names.

    Args:
        named: a path, or a unique beginning of a name in ``root``.
        root: the folder in CACHE that holds artefacts of this kind.
        what: the kind, for messages.

    Raises:
        ArtefactError: there is none, or several names begin so; lists them.
    """
    if Path(named).exists():
        return Path(named)
    found = sorted(root.glob(f"{_literal(str(named))}*")) if str(named) else []
    if len(found) == 1:
        return found[0]
    if found:
        raise ArtefactError(f"several {what}s in {root} begin with {str(named)!r}: "
                            f"{', '.join(path.name for path in found)}; name one")
    raise ArtefactError(f"there is no {what} {str(named)!r}: neither a path nor the beginning of a "
                        f"name in {root}; bcct list shows what is there")


def _literal(name: str) -> str:
    return "".join(f"[{each}]" if each in "*?[" else each for each in name)


def mask_caches(root: Path, broken: list | None = None) -> Iterator[tuple[Path, dict]]:
    """Yield (folder, manifest) of each finished mask cache in a folder.

    Args:
        root: the folder.
        broken: list that takes the sentence about each that is unfinished or damaged.
    """
    for folder in _subfolders(root):
        try:
            yield folder, read_manifest(folder)
        except MaskCacheError as error:
            if broken is not None:
                broken.append(str(error))


def runs(root: Path) -> Iterator[tuple[Run, dict]]:
    """Yield (Run, manifest) of each training run in a folder."""
    for folder in _subfolders(root):
        try:
            yield Run(folder), Run(folder).manifest()
        except (ValueError, OSError):
            continue


def classifiers(root: Path) -> Iterator[tuple[Path, dict]]:
    """Yield (file, checkpoint) of each background classifier in a folder."""
    for path in sorted(root.glob("*.pt")):
        try:
            checkpoint = load_checkpoint(path)
        except (ValueError, OSError):
            continue
        if "description" in checkpoint:
            yield path, checkpoint


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
