"""Which finished masks a command uses: those that are named, or those that fit."""

from collections.abc import Iterable
from pathlib import Path

from common import processes
from common.artefacts import CLASSIFIERS, MASKS, resolve
from common.datasets import DatasetError
from common.datasets.listed_once import Images
from common.mask_cache.finding import caches_of_images, find_by_key, holds_delta
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from stage1_bc.mask_settings import recorded_facts
from stage1_bc.stage1_job import Stage1Job


class SeveralFit(MaskCacheError):
    """Several mask caches are what settings ask for."""


def find_masks(job: Stage1Job, split: str, delta: float) -> MaskCache:
    """The masks of a split in CACHE that the job's settings made, by their manifests.

    Where several fit, those made with the job's background images count. A single one that was
    made with others is taken with a warning: finished masks need nothing of what made them.

    Raises:
        SeveralFit: several do; lists them.
        MaskCacheError: none fits; names the command that makes them.
    """
    root, broken = job.cache / MASKS, []
    caches = caches_of_images(root, job.images.digest(split), broken)
    fitting = _fitting(caches, job.settings.facts(), delta)
    if fitting and job.backgrounds is not None and job.backgrounds.root.is_dir():
        made_with = {folder: caches[folder]["about"].get("backgrounds") for folder in fitting}
        try:
            same = [folder for folder in fitting if made_with[folder] == job.backgrounds.digest]
        except DatasetError:  # there is no picture in the folder
            same = []
        if len(fitting) == 1 and not same and made_with[fitting[0]] and processes.rank() == 0:
            job.reports.warn(f"the masks {fitting[0].name} were made with other background images "
                             f"than those in {job.backgrounds.root}; for masks made with these, "
                             "run bcct masks first")
        if len(fitting) > 1:
            fitting = same
    if fitting:
        return MaskCache(_only(fitting), delta)
    others = ", ".join(sorted(folder.name for folder in caches))
    hints = [f"there are others of these images, which --masks names: {others}"] if others else []
    classifiers = job.cache / CLASSIFIERS
    nothing = "" if any(classifiers.glob("*.pt")) else (
        f"there is no background classifier in {classifiers} yet, and ")
    raise MaskCacheError("; ".join([
        f"{nothing}there are no finished masks of these images by these settings in {root}",
        *hints, *broken, "run make masks with the same settings, or: "
        f"{job.masks_command(split, [delta])}"]))


def _only(fitting: list[Path]) -> Path:
    """The one folder of masks among those that fit."""
    if len(fitting) > 1:
        raise SeveralFit("these settings made several mask caches of these images: "
                         f"{', '.join(folder.name for folder in fitting)}; name one with --masks")
    return fitting[0]


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
        SeveralFit: the run learnt from none, and its settings made several.
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
        if found:
            return MaskCache(_only(found), asked["delta"])
    raise MaskCacheError("there are no stage-1 masks of the training images by this run's settings "
                         f"in {where}; make them with bcct masks, or {otherwise}")
