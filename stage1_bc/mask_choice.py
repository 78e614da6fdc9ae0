"""Which finished masks a command uses: those that are named, or those that fit."""

from collections.abc import Iterable
from pathlib import Path

from common.artefacts import CLASSIFIERS, MASKS, resolve
from common.datasets.listed_once import Images
from common.mask_cache.finding import caches_of_images, find_by_key, holds_delta
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from stage1_bc.mask_settings import recorded_facts
from stage1_bc.stage1_job import Stage1Job


def find_masks(job: Stage1Job, split: str, delta: float) -> MaskCache:
    """The masks of a split in CACHE that the job's settings made, by their manifests.

    The background images are read only if masks by several classifiers fit.

    Raises:
        MaskCacheError: none fits, which names the command that makes them, or several do, which
            lists them.
    """
    root, broken = job.cache / MASKS, []
    caches = caches_of_images(root, job.images.digest(split), broken)
    fitting = _fitting(caches, job.settings.facts(), delta)
    if len(fitting) > 1 and job.backgrounds is not None and job.backgrounds.root.is_dir():
        fitting = [folder for folder in fitting
                   if caches[folder]["about"].get("backgrounds") == job.backgrounds.digest]
    if len(fitting) == 1:
        return MaskCache(fitting[0], delta)
    if fitting:
        raise MaskCacheError("these settings made several mask caches of these images: "
                             f"{', '.join(folder.name for folder in fitting)}; name one with "
                             "--masks")
    others = ", ".join(sorted(folder.name for folder in caches))
    hints = [f"there are others of these images, which --masks names: {others}"] if others else []
    classifiers = job.cache / CLASSIFIERS
    nothing = "" if any(classifiers.glob("*.pt")) else (
        f"there is no background classifier in {classifiers} yet, and ")
    raise MaskCacheError("; ".join([
        f"{nothing}there are no finished masks of these images by these settings in {root}",
        *hints, *broken, "run make masks with the same settings, or: "
        f"{job.masks_command(split, [delta])}"]))


def _fitting(caches: dict[Path, dict], facts: dict, delta: float) -> list[Path]:
    """The folders of caches that hold a delta of masks made by settings; see ``recorded_facts``."""
    return [folder for folder, manifest in caches.items()
            if recorded_facts(manifest) == facts and holds_delta(manifest, delta)]


def open_named_masks(named: Path | str, cache: Path, delta: float, images: Images) -> MaskCache:
    """The masks of training images that a user names by folder or by the beginning of a name.

    Raises:
        ArtefactError: there is none of that name.
        MaskCacheError: it is damaged, without that delta, or of other images.
    """
    masks = MaskCache(resolve(named, cache / MASKS, "mask cache"), delta)
    if masks.manifest["provenance"]["dataset"] != images.digest("train"):
        masks.require_images(images.split("train"))
    return masks


def masks_of_run(manifest: dict, images: Images, roots: Iterable[Path]) -> MaskCache:
    """The training images' masks that a run learnt from, or that its settings would look for.

    Args:
        manifest: the run's.
        images: the run's data set.
        roots: folders of mask caches to look through where the recorded folder is gone.

    Raises:
        MaskCacheError: they are nowhere; says what to do.
    """
    recorded, roots = manifest["masks"], list(roots)
    where = " or ".join(map(str, roots))
    otherwise = ("name some with --masks, or choose tau otherwise: --tau-from val, test or a "
                 "number")
    if recorded is not None:
        folder = find_by_key(recorded["key"], Path(recorded["folder"]), roots)
        if folder is None:
            raise MaskCacheError(f"the masks that this run was trained with are neither in "
                                 f"{recorded['folder']} nor in {where}; {otherwise}")
        return MaskCache(folder, recorded["delta"])
    asked = manifest["mask_settings"]
    for root in roots:
        found = _fitting(caches_of_images(root, images.digest("train")), asked["facts"],
                         asked["delta"])
        if len(found) == 1:
            return MaskCache(found[0], asked["delta"])
    raise MaskCacheError("there are no stage-1 masks of the training images by this run's settings "
                         f"in {where}; make them with bcct masks, or {otherwise}")
