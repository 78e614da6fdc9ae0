"""The manifest of a mask cache: what its shards hold, and that they are complete.

It has counts, checksums and what the masks depend on, and is written last, after the shards and
their index: a folder without one is incomplete.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.config import digest
from common.files import file_sha256, read_json, sync_folder, write_json
from common.mask_cache.index import PLACE_FIELDS, Places, write_index
from common.mask_cache.manifest_rules import BadManifest, check_manifest
from common.mask_cache.shards import (FORMAT_VERSION, SHARD_NAME, SHARD_SIZE, MaskCacheError,
                                      Provenance, delta_groups, delta_name, read_checksums,
                                      read_ids, read_places, read_unreadable, shard_opened,
                                      shard_path, shard_slices)
from common.system_errors import MISSING

MANIFEST = "manifest.json"
INDEX = "index.h5"
AGAIN = "run bcct masks (bcct refine-masks for those by a trained model) again"
ADDING = "adding"  # the folder inside a cache where a further delta is made ready


@dataclasses.dataclass
class Survey:
    """What the shards of a cache hold together."""

    shards: list[dict]
    """Of each shard a dict: ``file``, ``count``, ``first_image_id`` and ``sha256``."""
    image_ids: list[str]
    """All image ids, in the order of the shards."""
    file_crc32: np.ndarray
    """(N,) uint32."""
    places: dict[str, Places]
    """Delta's name to the arrays of its group in the index."""
    unreadable: dict[str, str]
    """Image id to reason."""


def survey(folder: str | Path, count: int, deltas: Sequence[float],
           mask_size: tuple[int, int]) -> Survey:
    """Read what a manifest and an index are made of.

    Args:
        folder: the cache.
        count: number of shards.
        deltas: iterable of float, those in the shards.
        mask_size: (height, width) of a mask in pixels.

    Raises:
        MaskCacheError: a shard is missing or not as ``write_shard`` writes it.
        CannotRead: the system does not give a shard's bytes.
    """
    names = [delta_name(delta) for delta in deltas]
    shards, image_ids, checksums, unreadable = [], [], [np.zeros(0, np.uint32)], {}
    parts = {name: {field: [] for field in PLACE_FIELDS} for name in names}
    for index in range(count):
        path = shard_path(folder, index)
        with shard_opened(path) as (file, content):
            ids = read_ids(file, content)
            checksums.append(read_checksums(file))
            unreadable.update(read_unreadable(file))
            for name in names:
                arrays = read_places(file, name, content, mask_size)
                for field in PLACE_FIELDS:
                    parts[name][field].append(arrays[field])
        shards.append({"file": path.name, "count": len(ids), "first_image_id": ids[0],
                       "sha256": hashlib.sha256(content).hexdigest()})
        image_ids += ids
    places = {name: {field: np.concatenate(found) for field, found in fields.items()}
              for name, fields in parts.items()}
    return Survey(shards, image_ids, np.concatenate(checksums), places, unreadable)


def write_manifest(folder: str | Path, provenance: Provenance, image_ids: Sequence[str],
                   deltas: Sequence[float], shard_size: int = SHARD_SIZE,
                   about: dict | None = None) -> dict:
    """Close a cache: index, count, checksum, and say what the masks depend on.

    Args:
        folder: the cache, with every shard in place.
        provenance: Provenance of the cache.
        image_ids: list of str, sorted, of the whole cache.
        deltas: iterable of float, those in the shards.
        about: dict of further facts for a reader, such as names and the command.

    Returns:
        The manifest, a dict.

    Raises:
        MaskCacheError: the shards do not hold these images.
    """
    folder = Path(folder)
    found = survey(folder, len(shard_slices(len(image_ids), shard_size)), deltas,
                   provenance.mask_size)
    if found.image_ids != list(image_ids):
        raise MaskCacheError(f"the shards in {folder} do not hold the images that they should; "
                             "remove the folder and make them again")
    write_index(folder / INDEX, found.image_ids, found.file_crc32, found.places)
    manifest = {
        "about": about or {},
        "count": len(image_ids),
        "deltas": sorted(deltas),
        "index": {"file": INDEX, "sha256": file_sha256(folder / INDEX)},
        "key": provenance.key(),
        "provenance": {**dataclasses.asdict(provenance), "mask_size": list(provenance.mask_size)},
        "shard_size": shard_size,
        "shards": found.shards,
        "unreadable": found.unreadable,
        "valid": {name: int(places["valid"].sum()) for name, places in found.places.items()},
    }
    manifest["digest"] = digest(manifest)
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: str | Path) -> dict:
    """The manifest of a finished cache, a dict.

    Raises:
        MaskCacheError: no such cache, an unfinished one, or a damaged manifest.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        state = "is not finished" if path.parent.is_dir() else "does not exist"
        raise MaskCacheError(f"mask cache {folder} {state} (no {MANIFEST}); "
                             "run bcct masks (bcct refine-masks for those by a trained model) to "
                             "make or resume it")
    if (path.parent / ADDING / MANIFEST).is_file():
        raise MaskCacheError(f"mask cache {folder} was stopped while a new delta was put in place; "
                             f"{AGAIN}, which takes seconds")
    try:
        manifest = read_json(path)
        sound = manifest["digest"] == digest({name: value for name, value in manifest.items()
                                              if name != "digest"})
        version = manifest["provenance"]["format_version"]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise MaskCacheError(f"{path} is damaged or of an earlier version ({error!r}); "
                             f"{AGAIN}: sound shards are kept") from error
    if version != FORMAT_VERSION:
        raise MaskCacheError(f"mask cache {folder} has format version {version}, this "
                             f"program reads {FORMAT_VERSION}; make the masks again")
    if not sound:
        raise _damaged(path, "it does not match its own checksum")
    try:
        check_manifest(manifest, INDEX, SHARD_NAME)
    except BadManifest as error:
        raise _damaged(path, error) from error
    except (LookupError, TypeError) as error:
        raise _damaged(path, f"a field is missing: {error}") from error
    if manifest["key"] != Provenance(**manifest["provenance"]).key():
        raise _damaged(path, "its key is not that of its masks")
    return manifest


def _damaged(path, reason):
    return MaskCacheError(f"{path} is damaged ({reason}); {AGAIN}: sound shards are kept")


def original_of(folder: str | Path, manifest: dict) -> Path | None:
    """The folder that the masks were made in, where a cache is a copy of it; None where it is not.

    Args:
        folder: the cache.
        manifest: dict, from ``read_manifest``; one that does not say its folder counts as no copy.

    Returns:
        Path or None.
    """
    written = manifest["about"].get("folder")
    if written is None or os.path.realpath(written) == os.path.realpath(folder):
        return None
    return Path(written)


def damaged_files(folder: str | Path, manifest: dict) -> list[tuple[str, str]]:
    """The files of a cache that do not have the manifest's checksums.

    Args:
        folder: the cache.
        manifest: dict, from ``read_manifest``.

    Returns:
        list of (name, reason); empty for a sound cache.
    """
    def reason(entry):
        try:
            if file_sha256(Path(folder) / entry["file"]) != entry["sha256"]:
                return "its checksum is not the manifest's"
        except MISSING:
            return "it is missing"
        return None
    entries = [*manifest["shards"], manifest["index"]]
    with concurrent.futures.ThreadPoolExecutor() as threads:  # hashing frees the interpreter
        return [(entry["file"], found) for entry, found in
                zip(entries, threads.map(reason, entries)) if found]


def held_deltas(folder: str | Path) -> tuple[float, ...]:
    """The deltas that a cache's manifest names or, without a sound one, those in its shards."""
    folder = Path(folder)
    try:
        return tuple(read_manifest(folder)["deltas"])
    except MaskCacheError:
        held = set()
    for path in folder.glob("shard-*.h5"):
        with contextlib.suppress(MaskCacheError), shard_opened(path) as (file, _):
            held |= set(map(float, delta_groups(file)))
    return tuple(sorted(held))


def adopt_added(folder: str | Path) -> None:
    """Put the files made ready in ``folder/adding`` in the place of the cache's own.

    Until this starts, the cache stays as it was. While it runs, a manifest in ``adding`` marks it:
    readers refuse the cache, and the next writer completes this first.
    """
    folder, added = Path(folder), Path(folder) / ADDING
    if not (added / MANIFEST).is_file():
        return
    for path in sorted(added.glob("*.h5")):
        os.replace(path, folder / path.name)
    sync_folder(folder)
    os.replace(added / MANIFEST, folder / MANIFEST)
    sync_folder(folder)
    shutil.rmtree(added)
