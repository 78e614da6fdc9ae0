"""Where CACHE keeps each kind of artefact, and how a user names one."""

from pathlib import Path

CLASSIFIERS, MASKS, CLUSTERS, RUNS = "bc", "masks", "clusters", "ct"  # folders in CACHE


class ArtefactError(ValueError):
    """No artefact, or more than one, is what was asked for; says what to do."""


def file_name(name: str) -> str:
    """An artefact's name without the colon in timm:NAME, which other systems take for a host."""
    return name.replace(":", "-")


def resolve(named: Path | str, root: Path, what: str) -> Path:
    """The artefact that a user names.

    Args:
        named: a path, or the name of a folder in ``root``, whole or a unique beginning of it.
        root: the folder in CACHE that holds artefacts of this kind, each a folder.
        what: the kind, for messages.

    Raises:
        ArtefactError: there is none, or several names begin so; lists them.
    """
    if not str(named):
        raise ArtefactError(f"name a {what}: its path, or the beginning of a name in {root}; bcct "
                            "list shows what is there")
    if Path(named).exists() or len(Path(named).parts) > 1:
        return Path(named)  # whoever opens it says what is wrong with it
    if (root / named).is_dir():
        return root / named
    found = sorted(path for path in root.glob("*")
                   if path.is_dir() and path.name.startswith(str(named)))
    if len(found) == 1:
        return found[0]
    if found:
        raise ArtefactError(f"several names in {root} begin with {str(named)!r}: "
                            f"{', '.join(path.name for path in found)}; name one {what}")
    raise ArtefactError(f"there is no {what} {str(named)!r}: neither a path nor the beginning of a "
                        f"name in {root}; bcct list shows what is there")
