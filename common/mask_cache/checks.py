"""What can be wrong with a mask cache; each check yields Findings."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.boxes import mask_to_box
from common.datasets import Dataset, Record
from common.files import file_crc32
from common.images import BadImage, read_image
from common.mask_cache.hdf5_files import DamagedFile
from common.mask_cache.index import PLACE_FIELDS, MaskIndex
from common.mask_cache.manifest import (INDEX, MANIFEST, damaged_files, original_of, read_manifest,
                                        survey)
from common.mask_cache.shards import (MaskCacheError, Provenance, read_ids, read_shard,
                                      shard_opened, shard_path, shard_slices)
from common.progress import silent

if TYPE_CHECKING:  # the reader imports this module where it is needed
    from common.mask_cache.reader import MaskCache

CHANGED = "has changed since its mask was made"
LOST = "cannot be read any more, but could when its mask was made"
READABLE = "can be read now, but could not when its mask was made"
NAMED = 5  # images that a refusal names


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong with a cache."""

    file: str
    """The file of the cache to make again; "" if that would not help."""
    problem: str
    """What is wrong, half a sentence."""


def check_cache(folder: str | Path, manifest: dict, progress: Callable = silent) -> list[Finding]:
    """All checks that need no images; counts and index are compared only where all else is sound.

    Args:
        folder: the cache.
        manifest: dict, from ``read_manifest``.
        progress: see ``common.progress``.

    Raises:
        MaskCacheError: the shards cannot be surveyed.
    """
    findings = list(check_files(folder, manifest))
    damaged = {finding.file for finding in findings}
    with progress(len(manifest["shards"]), "checking", "shards") as advance:
        for index, entry in enumerate(manifest["shards"]):
            if entry["file"] not in damaged:
                findings += check_shard(folder, manifest, index)
            advance(1)
    return findings or list(check_index_and_counts(folder, manifest))


def check_files(folder: str | Path, manifest: dict) -> Iterator[Finding]:
    """Checksums, files that are missing, and shards that the manifest does not know."""
    for name, reason in damaged_files(folder, manifest):
        yield Finding(name, reason)
    known = {entry["file"] for entry in manifest["shards"]}
    for path in sorted(Path(folder).glob("shard-*.h5")):
        if path.name not in known:
            yield Finding(path.name, "the manifest does not know it; remove it")


def check_shard(folder: str | Path, manifest: dict, index: int) -> Iterator[Finding]:
    """The ids of one shard, and each of its masks against its own box and flag.

    Args:
        folder: the cache.
        manifest: dict, from ``read_manifest``.
        index: number of the shard, whose checksum is right.
    """
    entry, path = manifest["shards"][index], shard_path(folder, index)
    provenance = Provenance(**manifest["provenance"])
    try:
        with shard_opened(path) as (file, content):
            image_ids = read_ids(file, content)
        shard = read_shard(path, image_ids, provenance)
    except MaskCacheError as error:
        yield Finding(path.name, str(error))
        return
    if (len(image_ids), image_ids[0]) != (entry["count"], entry["first_image_id"]):
        yield Finding(path.name, "its images are not the manifest's")
    if image_ids != sorted(set(image_ids)):
        yield Finding(path.name, "its image ids are not sorted, or one occurs twice")
    if sorted(shard.cut) != sorted(manifest["deltas"]):
        yield Finding(path.name, "its deltas are not the manifest's")
    unreadable = [name in shard.unreadable for name in image_ids]
    for delta, cut in shard.cut.items():
        for row in _wrong_rows(cut.unpacked(provenance.mask_size[1]), unreadable,
                               provenance.recipe.get("smallest_area", 0)):
            yield Finding(path.name, f"the mask of {image_ids[row]!r} at delta {delta:.2f} does "
                          "not match its own box or valid flag")


def _wrong_rows(cut, unreadable, smallest_area):
    """Rows whose box or valid flag does not match the mask."""
    boxes = np.stack([mask_to_box(mask) for mask in cut.mask])
    areas = cut.mask.mean(axis=(1, 2))
    valid = (areas > 0) & (areas >= smallest_area) & ~np.array(unreadable)
    return np.flatnonzero((boxes != cut.box).any(axis=1) | (valid != cut.valid)).tolist()


def check_index_and_counts(folder: str | Path, manifest: dict) -> Iterator[Finding]:
    """The index and the manifest's counts against the shards, whose checksums are right."""
    found = survey(folder, len(manifest["shards"]), manifest["deltas"],
                   tuple(manifest["provenance"]["mask_size"]))
    try:
        index = MaskIndex(Path(folder) / INDEX, len(found.image_ids))
        places_of = {name: index.places(name) for name in found.places}
    except DamagedFile as error:
        yield Finding(INDEX, str(error))
        return
    same = np.array_equal(index.file_crc32, found.file_crc32) and all(
        np.array_equal(places_of[name][field], found.places[name][field])
        for name in found.places for field in PLACE_FIELDS)
    if not same or [index.find(name) for name in found.image_ids] != list(
            range(len(found.image_ids))):
        yield Finding(INDEX, "it does not match the shards")
    valid = {name: int(places["valid"].sum()) for name, places in found.places.items()}
    if (manifest["count"], manifest["valid"], manifest["unreadable"]) != (
            len(found.image_ids), valid, found.unreadable):
        yield Finding(MANIFEST, "its counts are not those of the shards")


def check_images(cache: "MaskCache", dataset: Dataset,
                 progress: Callable[[int], object] | None = None) -> Iterator[Finding]:
    """The cache's images against those that a data set holds now, byte for byte.

    Args:
        progress: called with the number of images each time more are done.
    """
    held, present = set(cache), {record.image_id for record in dataset.records}
    for image_id in sorted(present - held):
        yield Finding("", f"the image {image_id!r} of the data set has no mask")
    for image_id in sorted(held - present):
        yield Finding("", f"the image {image_id!r} is not in the data set")
    both = [record for record in dataset.records if record.image_id in held]
    for record, problem in outdated(cache, both, progress):
        yield Finding(cache.shard_file(record.image_id),
                      f"the image {record.image_id!r} {problem}")


def outdated(cache: "MaskCache", records: Sequence[Record],
             progress: Callable[[int], object] | None = None) -> Iterator[tuple[Record, str]]:
    """Images that are not what their masks were made from, by their files' CRC-32.

    Each file is read; only those that could not be read when masks were made are decoded.

    Args:
        records: sequence of Record, all of them in the cache.
        progress: called with the number of images each time more are done.

    Yields:
        (Record, CHANGED, LOST or READABLE).
    """
    unreadable = cache.manifest["unreadable"]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:  # reading frees the interpreter
        for part in shard_slices(len(records)):  # map() would queue them all at once
            some = records[part]
            for record, checksum in zip(some, threads.map(file_crc32, [
                    record.path for record in some])):
                problem = image_change(record.path, checksum, cache.image_crc32(record.image_id),
                                       record.image_id in unreadable, cache.mask_size)
                if problem is not None:
                    yield record, problem
                if progress is not None:
                    progress(1)


def image_change(path: str | Path, checksum: int, recorded: int, was_unreadable: bool,
                 size: tuple[int, int]) -> str | None:
    """What has happened to an image since its mask was made.

    Args:
        path: its file.
        checksum: CRC-32 of its bytes now, 0 if they cannot be read.
        recorded: CRC-32 of its bytes then, 0 if unknown.
        was_unreadable: whether it could not be read then.
        size: (height, width) of a mask in pixels.

    Returns:
        CHANGED, LOST, READABLE, or None if nothing has.
    """
    if was_unreadable:
        if _can_be_read(path, size):
            return READABLE
        return None if checksum == recorded else CHANGED
    if recorded in (0, checksum):
        return None
    return CHANGED if checksum else LOST


def _can_be_read(path, size):
    try:
        read_image(path, size)
    except BadImage:
        return False
    return True


def require_unchanged(cache: "MaskCache", records: Sequence[Record]) -> None:
    """Make sure that images are those that their masks were made from.

    Args:
        records: sequence of Record, all of them in the cache.

    Raises:
        MaskCacheError: some have changed; names the first few and says what to do.
    """
    refuse_changed(cache, outdated(cache, records))


def refuse_changed(cache: "MaskCache", problems: Iterable[tuple[Record, str]]) -> None:
    """Raise the error of ``require_unchanged`` for ``outdated``'s pairs.

    Images that could not be read when masks were made are skipped: their masks are empty and
    invalid.
    """
    problems = [(record, problem) for record, problem in problems
                if record.image_id not in cache.manifest["unreadable"]]
    if not problems:
        return
    named = "; ".join(f"{record.image_id!r} {problem}" for record, problem in problems[:NAMED])
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    shards = sorted({cache.shard_file(record.image_id) for record, _ in problems})
    raise MaskCacheError(
        f"{len(problems)} image(s) are not those that the masks in {cache.folder} were made from: "
        f"{named}{more}; put the old files back, or {cache.how_to_remake(*shards)}")


def _command_of(manifest):
    """The command that made a cache, in today's words."""
    command = manifest["about"].get("command", "bcct masks, with the settings that made them")
    if manifest["provenance"]["recipe"].get("signal") == "pixels":  # once the default, now linear
        return command.replace("--recipe default", "--recipe linear")
    return command


def how_to_repair(folder: Path, findings: Sequence[Finding]) -> str:
    """How a user repairs the faults that were found in a cache.

    For a copy, the recorded command alone is not enough: it writes to the original folder.
    """
    manifest = read_manifest(folder)
    files = " ".join(sorted({finding.file for finding in findings if finding.file}))
    if not files:
        return "these are other images than the cache's: make masks of them with bcct masks"
    if "run" in manifest["about"]:  # of bcct localize
        return ("the masks belong to the boxes beside them: make both again with the same bcct "
                "localize and --overwrite")
    again = _command_of(manifest)
    original = original_of(folder, manifest)
    if original is None:
        return (f"remove {files} from {folder} and run this, which makes only what is missing:\n"
                f"{again}")
    return (f"{folder} is a copy, to which the command below does not write: copy {files} from "
            f"{original}; where they are gone or wrong too, remove them there, run this, which "
            f"makes only what is missing there, and copy that whole folder:\n{again}")
