"""What the fields of a manifest may hold.

A manifest's own checksum tells that it is as somebody wrote it, not that this package did. What
follows from its fields, such as names of files and sizes of arrays, is trusted only after this.
"""

import re

from common.boxes import LARGEST_SIDE

MOST = 2 ** 32  # images of a cache: the index counts them so
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadManifest(ValueError):
    """A manifest holds what this package does not write; the text names the field."""


def check_manifest(manifest: dict, index_name: str, shard_name: str) -> None:
    """Refuse a manifest with a field that this package would not write.

    Args:
        manifest: from JSON.
        index_name: name of the index file.
        shard_name: names of the shards, with a place for their number, as for ``str.format``.

    Raises:
        BadManifest: names the field.
    """
    _require(isinstance(manifest, dict) and _are(str, manifest), "the whole")
    _require(isinstance(manifest["about"], dict), "about")
    _check_provenance(manifest["provenance"])
    count, size, shards = manifest["count"], manifest["shard_size"], manifest["shards"]
    _require(_is_count(count), "count")
    _require(_is_count(size), "shard_size")
    _require(isinstance(shards, list) and len(shards) == -(-count // size), "shards")
    for number, entry in enumerate(shards):
        _require(isinstance(entry, dict) and entry["file"] == shard_name.format(number)
                 and _is_digest(entry["sha256"]) and isinstance(entry["first_image_id"], str)
                 and entry["count"] == min(size, count - number * size), f"shard {number}")
    index = manifest["index"]
    _require(isinstance(index, dict) and index["file"] == index_name
             and _is_digest(index["sha256"]), "index")
    _check_counts(manifest)


def _check_provenance(provenance):
    _require(isinstance(provenance, dict) and set(provenance) == {
        "dataset", "classifier", "recipe", "mask_size", "format_version"}, "provenance")
    _require(_are(str, [provenance["dataset"], provenance["classifier"]]), "provenance")
    _require(isinstance(provenance["recipe"], dict), "recipe")
    size = provenance["mask_size"]
    _require(isinstance(size, list) and len(size) == 2 and _are(int, size)
             and all(0 < side <= LARGEST_SIDE for side in size), "mask_size")


def _check_counts(manifest):
    deltas, valid, unreadable = (manifest[name] for name in ("deltas", "valid", "unreadable"))
    _require(isinstance(deltas, list) and deltas and all(
        type(delta) in (int, float) and 0 < delta <= 1 and round(delta, 2) == delta
        for delta in deltas) and sorted(set(deltas)) == deltas, "deltas")
    _require(isinstance(valid, dict) and set(valid) == {f"{delta:.2f}" for delta in deltas}
             and _are(int, valid.values())
             and all(0 <= number <= manifest["count"] for number in valid.values()), "valid")
    _require(isinstance(unreadable, dict) and _are(str, unreadable.values())
             and len(unreadable) <= manifest["count"], "unreadable")


def _is_count(value):
    return type(value) is int and 0 < value < MOST


def _is_digest(value):
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _are(kind, values):
    return all(type(value) is kind for value in values)


def _require(condition, field):
    if not condition:
        raise BadManifest(f"{field} is not as this program writes it")
