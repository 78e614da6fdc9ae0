"""Duplicate pictures: the same bytes, or nearly the same look."""

import collections
import os
from collections.abc import Sequence
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from common.files import file_sha256

HASH_SIDE = 16
"""The hash holds the signs of the 16x16 lowest frequencies: 256 bits. The usual 64 call many
pictures of sea under sky the same."""
NEAR = 48
"""Hashes that differ in at most this many bits look alike; unrelated pictures differ in 128."""


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Hash of what a picture looks like, nearly the same after resizing or compressing it again.

    ImageHash's ``phash``: a small and long-standing package for what we would otherwise write.

    Args:
        image: (H, W, 3) uint8 RGB; its aspect ratio does not matter.

    Returns:
        (4,) uint64.
    """
    bits = imagehash.phash(Image.fromarray(image), hash_size=HASH_SIDE).hash
    return np.packbits(bits).view(np.uint64)


def distances(hashed: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Bits in which one hash differs from each of several.

    Args:
        hashed: (4,) uint64.
        hashes: (N, 4) uint64.

    Returns:
        (N,) int.
    """
    return np.bitwise_count(hashes ^ hashed).sum(axis=1, dtype=int)


def look_alikes(hashes: np.ndarray, others: np.ndarray | None = None,
                limit: int = NEAR) -> list[tuple[int, int, int]]:
    """Pairs of pictures that look alike.

    Args:
        hashes: (N, 4) uint64.
        others: (M, 4) uint64 to compare them with; None compares them with each other.
        limit: bits that may differ.

    Returns:
        list of (index into hashes, index into others, bits that differ), the closest first; each
        pair once.
    """
    pairs = []
    for index, hashed in enumerate(hashes):
        start = index + 1 if others is None else 0
        bits = distances(hashed, (hashes if others is None else others)[start:])
        pairs += [(index, start + int(other), int(bits[other]))
                  for other in np.flatnonzero(bits <= limit)]
    return sorted(pairs, key=lambda pair: (pair[2], pair[:2]))


def same_bytes(paths: Sequence[str | Path], first: int) -> list[list[int]]:
    """Groups of files with the same content that hold one of the first few.

    Only files as large as one of those are opened, so a large data set is not read through.

    Args:
        paths: list of paths; one that cannot be read is in no group.
        first: how many at the beginning of the list are looked for.

    Returns:
        list of lists of two or more indices into ``paths``, all ascending.
    """
    by_size = _groups(paths, range(len(paths)), os.path.getsize)
    groups = [group for same_size in by_size if same_size[0] < first
              for group in _groups(paths, same_size, file_sha256) if group[0] < first]
    return sorted(groups)


def _groups(paths, indices, key):
    """The indices that share a key with another one, together, each group ascending."""
    groups = collections.defaultdict(list)
    for index in indices:
        try:
            groups[key(paths[index])].append(index)
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]
