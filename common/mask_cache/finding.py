"""Finding mask caches in a folder by their manifests, never by their names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from common import processes
from common.artefacts import file_name
from common.mask_cache.manifest import read_manifest
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, Provenance, delta_name


def mask_caches(root: Path, broken: list | None = None) -> Iterator[tuple[Path, dict]]:
    """Yield (folder, manifest) of each finished mask cache in a folder.

    Args:
        root: the folder; may be missing.
        broken: list to append a sentence to for each that is unfinished or damaged.
    """
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        try:
            yield folder, read_manifest(folder)
        except MaskCacheError as error:
            if broken is not None:
                broken.append(str(error))


def caches_of_images(root: Path, images: str, broken: list | None = None) -> dict[Path, dict]:
    """Folder to manifest of the finished caches of some images; of several copies, one.

    Args:
        root: the folder of mask caches.
        images: digest of the images, see ``Dataset.digest``.
        broken: as for ``mask_caches``.
    """
    by_key = {manifest["key"]: (folder, manifest)
              for folder, manifest in mask_caches(root, broken)
              if manifest["provenance"]["dataset"] == images}
    return dict(by_key.values())


def holds_delta(manifest: dict, delta: float) -> bool:
    """Whether a cache holds masks at a threshold."""
    return delta_name(delta) in map(delta_name, manifest["deltas"])


def find_by_key(key: str, first: Path, roots: Iterable[Path]) -> Path | None:
    """The folder of a finished cache with a key: ``first`` if it is that, or one in ``roots``."""
    try:
        if read_manifest(first)["key"] == key:
            return first
    except MaskCacheError:
        pass
    return next((folder for root in roots for folder, manifest in mask_caches(root)
                 if manifest["key"] == key), None)


def folder_of_masks(provenance: Provenance, root: Path, name: str) -> Path:
    """The folder in ``root`` of finished masks with a provenance, or the one to make them in.

    Args:
        name: of a folder to make, without the key at its end.
    """
    key = provenance.key()
    new = root / file_name(f"{name}-{key}")
    return processes.broadcast_from_first(lambda: find_by_key(key, new, [root])) or new


def sibling_masks(cache: MaskCache, images: str, roots: Iterable[Path]) -> MaskCache | None:
    """The masks of other images that were made as those of a cache were.

    Args:
        images: digest of the other images.
        roots: folders of mask caches to look through, after the cache's own.

    Returns:
        MaskCache at the same delta, or None where there is none.
    """
    wanted = {**cache.manifest["provenance"], "dataset": images}
    for root in (cache.folder.parent, *roots):
        for folder, manifest in mask_caches(root):
            if manifest["provenance"] == wanted and holds_delta(manifest, cache.delta):
                return MaskCache(folder, cache.delta)
    return None
