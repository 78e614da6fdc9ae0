"""Mask caches that somebody crafted: every checksum is right, what is behind it is hostile.

``benchmarks.fault_runs`` tries thousands of seeds; the tests a hundred.
"""

import copy
import io
import json
import resource
import shutil
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np

from benchmarks import fault_injection as faults
from common.config import digest
from common.files import file_sha256
from common.mask_cache.checks import check_files, check_index_and_counts, check_shard
from common.mask_cache.manifest import MANIFEST, read_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, Provenance

HOSTILE = (2 ** 60, -1, 0, 2 ** 31, 1e308, float("nan"), None, True, "", "../../etc/passwd",
           "/etc/passwd", "a\0b", "x" * 10000, [], {}, [[]], {"a": 1}, [2 ** 60, 2 ** 60], [-1, 1])
LONGEST, MOST_MEMORY = 20.0, 400 * 2 ** 20  # seconds a cache, bytes that the process may grow by


def survive(whole: Path, work: Path, seeds: range) -> None:
    """Craft a cache for each seed and let every reader have it; AssertionError names the seed.

    Args:
        whole: a sound cache.
        work: folder to work in.
        seeds: of the caches.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for seed in seeds:
        folder = work / str(seed)
        shutil.copytree(whole, folder)
        what = craft(folder, np.random.default_rng(seed))
        begin = time.monotonic()
        try:
            read_all(folder)
        except Exception as error:
            raise AssertionError(f"seed {seed} ({what}): {error!r}") from error
        assert time.monotonic() - begin < LONGEST, f"seed {seed} ({what}) takes too long"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        assert grown < MOST_MEMORY, f"seed {seed} ({what}) takes {grown >> 20} MiB"
        shutil.rmtree(folder)


def read_all(folder: Path) -> None:
    """Check and read everything; a refusal must name a file of the cache."""
    try:
        manifest = read_manifest(folder)
        found = list(check_files(folder, manifest))
        for index in range(len(manifest["shards"])):
            found += check_shard(folder, manifest, index)
        if not found:
            found += check_index_and_counts(folder, manifest)
    except MaskCacheError as error:
        assert str(folder) in str(error), error
    try:
        cache = MaskCache(folder)
        for image_id in cache:
            if image_id in cache:
                cache.read(image_id)
    except MaskCacheError as error:
        assert str(folder) in str(error), error


def craft(folder: Path, random: np.random.Generator) -> str:
    """Make a cache hostile and its checksums right; says how."""
    kind = random.choice(["manifest", "bytes", "bytes", "structure", "structure"])
    manifest = json.loads((folder / MANIFEST).read_text())
    if kind == "manifest":
        what = _spoil_value(manifest, random)
    else:
        path = folder / random.choice(["index.h5", "shard-00001.h5", "shard-00003.h5"])
        what = _spoil_bytes(path, random) if kind == "bytes" else _spoil_structure(path, random)
        for entry in (manifest["index"], *manifest["shards"]):
            entry["sha256"] = file_sha256(folder / entry["file"])
    _seal(folder, manifest)
    return f"{kind}: {what}"


def _seal(folder, manifest):
    """Write a manifest with its digest, and with its key where it still has one."""
    try:
        manifest["key"] = Provenance(**manifest["provenance"]).key()
    except (KeyError, TypeError):
        pass
    manifest["digest"] = digest({name: value for name, value in manifest.items()
                                 if name != "digest"})
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _spoil_value(value, random, path=""):
    """Put something hostile somewhere into nested dicts and lists."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[random.integers(len(keys))]
    inner = value[key]
    if isinstance(inner, (dict, list)) and inner and random.random() < 0.7:
        return _spoil_value(inner, random, f"{path}/{key}")
    if random.random() < 0.2 and isinstance(value, dict):
        del value[key]
        return f"{path}/{key} missing"
    value[key] = copy.deepcopy(HOSTILE[random.integers(len(HOSTILE))])
    return f"{path}/{key} = {str(value[key])[:40]}"


def _spoil_bytes(path, random):
    """Flip bits, or overwrite words with large numbers."""
    content = bytearray(path.read_bytes())
    for _ in range(random.integers(1, 9)):
        at = int(random.integers(len(content) - 8))
        if random.random() < 0.5:
            content[at] ^= 1 << random.integers(8)
        else:
            content[at:at + 8] = int(random.choice([2 ** 60, 2 ** 63, 2 ** 32, 255, 2 ** 40])
                                     ).to_bytes(8, "little")
    path.write_bytes(content)
    return path.name


def _spoil_structure(path, random):
    """Put another object into the place of one of an HDF5 file's."""
    content = io.BytesIO(path.read_bytes())
    with h5py.File(content, "r+") as file:
        names = []
        file.visit(names.append)
        name = names[random.integers(len(names))]
        spoil = SPOILERS[random.integers(len(SPOILERS))]
        attributes = dict(file[name].attrs)
        del file[name]
        spoil(file, name, random)
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            for attribute, value in attributes.items():
                file[name].attrs[attribute] = value
    path.write_bytes(content.getvalue())
    return f"{path.name}/{name}: {spoil.__name__}"


def _huge(file, name, random):
    file.create_dataset(name, (2 ** 40, 2, 2), "u1", chunks=(1, 2, 2), compression="gzip")


def _huge_chunk(file, name, random):
    file.create_dataset(name, (2, 2 ** 28), "u1", chunks=(2, 2 ** 28), compression="gzip",
                        fletcher32=True)


def _bomb(file, name, random):
    data = file.create_dataset(name, (2, 16, 2), "u1", chunks=(1, 16, 2), compression="gzip",
                               fletcher32=True)
    for row in range(2):
        data.id.write_direct_chunk((row, 0, 0), zlib.compress(bytes(2 ** 24)) + b"\0" * 4)


def _link(file, name, random):
    file[name] = h5py.SoftLink("/nowhere") if random.random() < 0.5 else h5py.SoftLink("/")


def _foreign(file, name, random):
    file[name] = h5py.ExternalLink("/etc/passwd", "/")


def _outside(file, name, random):
    file.create_dataset(name, (2,), "u1", external=[("/etc/passwd", 0, 2)])


def _virtual(file, name, random):
    layout = h5py.VirtualLayout((2,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (2,))
    file.create_virtual_dataset(name, layout)


def _names(file, name, random):
    ids = [["../a", "b"], ["/a", "b"], ["", "b"], ["a", "a"], ["b", "a"]][random.integers(5)]
    file.create_dataset(name, data=ids, dtype=h5py.string_dtype("utf-8"))


def _nothing(file, name, random):
    pass


def _other_type(file, name, random):
    file.create_dataset(name, data=np.full((2, 4), -1, random.choice(["i8", "f8", "i2"])))


SPOILERS = (_huge, _huge_chunk, _bomb, _link, _foreign, _outside, _virtual, _names, _nothing,
            _other_type)


def survive_in_child(whole: Path, work: Path, seeds: range) -> None:
    """``survive`` in a process of its own: HDF5 itself may not survive what it is given.

    Raises:
        AssertionError: the process died or something was not as it should be.
    """
    note = work / "seeds"
    child = faults.start_child(whole, work, seeds, note, target=_survive_and_note)
    child.join(LONGEST * len(seeds))
    child.kill()
    child.join()
    assert child.exitcode == 0, (
        f"exit code {child.exitcode}: {note.read_text() if note.exists() else 'nothing noted'}")


def _survive_and_note(whole, work, seeds, note):
    for seed in seeds:
        note.write_text(f"seed {seed}")
        try:
            survive(whole, work, range(seed, seed + 1))
        except AssertionError as error:
            note.write_text(str(error))
            sys.exit(1)
