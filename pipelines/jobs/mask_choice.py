"""Which finished masks a command works with: those that are named, or those that fit."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.compute import Compute
from common.config import from_dict, to_dict
from common.files import load_checkpoint
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError, delta_name
from common.precision import PRECISIONS
from pipelines.jobs import artefacts
from pipelines.jobs.inputs import Images
from pipelines.jobs.stage1_job import MaskSettings, Stage1Job, recorded_facts
from stage1_bc.classifier import load_classifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import Recipe


def describe_masks(cache: MaskCache) -> str:
    """One line on a cache: its key, its recipe and the background classifier."""
    manifest, about = cache.manifest, cache.manifest["about"]
    seed = about.get("classifier", {}).get("seed", "unknown")
    return (f"masks of {cache.folder}: key {cache.key}, recipe {about.get('recipe', 'unnamed')}, "
            f"background classifier {manifest['provenance']['classifier'][:12]} "
            f"({about.get('backbone', 'unknown backbone')}, seed {seed})")


def find_masks(job: Stage1Job, split: str, delta: float) -> MaskCache:
    """The masks in CACHE that the job's settings made of a split's images, by their manifests.

    The background images are looked at only where masks by several classifiers fit.

    Args:
        job: Stage1Job.
        split: train, test or all.
        delta: the threshold whose masks are wanted.

    Raises:
        MaskCacheError: none fits, which names the command that makes them, or several do, which
            lists them.
    """
    root, of_images, broken = job.cache / artefacts.MASKS, job.images.digest(split), []
    caches = _caches_of(root, of_images, broken)
    fitting = fitting_masks(caches, job.settings.facts(), delta)
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
    classifiers = job.cache / artefacts.CLASSIFIERS
    nothing = "" if any(classifiers.glob("*.pt")) else (
        f"there is no background classifier in {classifiers} yet, and ")
    raise MaskCacheError("; ".join([
        f"{nothing}there are no finished masks of these images by these settings in {root}",
        *hints, *broken, "run make masks with the same settings, or: "
        f"{job.masks_command(split, [delta])}"]))


def _caches_of(root: Path, of_images: str, broken: list | None = None) -> dict[Path, dict]:
    """Folder to manifest of the finished caches of some images; of copies, one."""
    by_key = {manifest["key"]: (folder, manifest)
              for folder, manifest in artefacts.mask_caches(root, broken)
              if manifest["provenance"]["dataset"] == of_images}
    return dict(by_key.values())


def fitting_masks(caches: dict[Path, dict], facts: dict, delta: float) -> list[Path]:
    """The folders of caches that hold a delta of masks made by settings; see ``recorded_facts``."""
    return [folder for folder, manifest in caches.items()
            if recorded_facts(manifest) == facts and _holds(manifest, delta)]


def _holds(manifest: dict, delta: float) -> bool:
    return delta_name(delta) in map(delta_name, manifest["deltas"])


def open_named_masks(named: Path | str, cache: Path, delta: float, images: Images) -> MaskCache:
    """The masks of training images that a user names by folder or by the beginning of a name.

    Raises:
        ArtefactError: there is none of that name.
        MaskCacheError: it is damaged, without that delta, or of other images.
    """
    folder = artefacts.resolve(named, cache / artefacts.MASKS, "mask cache")
    masks = MaskCache(folder, delta)
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
    if recorded is not None:
        for folder in _candidates(Path(recorded["folder"]), roots):
            with contextlib.suppress(MaskCacheError):
                if MaskCache(folder, recorded["delta"], check=False).key == recorded["key"]:
                    break
        else:
            raise MaskCacheError(f"the masks that this run was trained with are neither in "
                                 f"{recorded['folder']} nor in {_listed(roots)}; {_NAME_THEM}")
        return MaskCache(folder, recorded["delta"])
    asked = manifest["mask_settings"]
    for root in roots:
        found = fitting_masks(_caches_of(root, images.digest("train")), asked["facts"],
                              asked["delta"])
        if len(found) == 1:
            return MaskCache(found[0], asked["delta"])
    raise MaskCacheError("there are no stage-1 masks of the training images by this run's settings "
                         f"in {_listed(roots)}; make them with bcct masks, or {_NAME_THEM}")


_NAME_THEM = "name some with --masks, or choose tau otherwise: --tau-from val, test or a number"


def _listed(roots):
    return " or ".join(map(str, roots))


def _candidates(first: Path, roots: Iterable[Path]) -> Iterator[Path]:
    yield first
    for root in roots:
        yield from (folder for folder, _ in artefacts.mask_caches(root))


def masks_by_the_same_classifier(cache: MaskCache, digest: str, roots: Iterable[Path]):
    """The masks of other images that were made as those of a cache were.

    Args:
        cache: MaskCache.
        digest: of the other images, see ``Dataset.digest``.
        roots: folders of mask caches to look through.

    Returns:
        MaskCache at the same delta, or None where there is none.
    """
    wanted = {**cache.manifest["provenance"], "dataset": digest}
    for root in (cache.folder.parent, *roots):
        for folder, manifest in artefacts.mask_caches(root):
            if manifest["provenance"] == wanted and _holds(manifest, cache.delta):
                return MaskCache(folder, cache.delta)
    return None


def maker_of_masks(cache: MaskCache, compute: Compute) -> MaskMaker:
    """A MaskMaker that makes masks as those of a cache were made.

    Raises:
        ValueError, OSError: the classifier's file or its backbone's weights are not there any
            more, or are not those that made the masks.
    """
    about, provenance = cache.manifest["about"], cache.manifest["provenance"]
    checkpoint = load_checkpoint(about.get("classifier_file", ""))
    if checkpoint.get("digest") != provenance["classifier"]:
        raise ValueError(f"{about['classifier_file']} is not the background classifier that made "
                         f"the masks in {cache.folder}")
    fields = dict(provenance["recipe"])
    precision = PRECISIONS[fields.pop("precision", "float32")]
    return MaskMaker(load_classifier(checkpoint, about["weights"]), from_dict(Recipe, fields),
                     cache.mask_size, compute.device, precision)


def require_agreement(cache: MaskCache, settings: MaskSettings, options: dict, given) -> None:
    """Make sure that masks are those that a command line asks for, as far as it says so.

    Args:
        cache: MaskCache.
        settings: MaskSettings of the command line.
        options: the command line's values of ``recipe_set`` and ``bc_set``.
        given: names of the options that stand on it; the others may differ.

    Raises:
        MaskCacheError: some differ; names each with both values.
    """
    differences = [f"--{option.replace('_', '-')} asks for {name} {asked}, there it is {held}"
                   for option, name, asked, held in _compared(cache, settings, options)
                   if option in given and held is not None and asked != held]
    if differences:
        raise MaskCacheError(
            f"the masks in {cache.folder} are not those asked for: {'; '.join(differences)}; leave "
            "these options out to take the masks as they are, or give the folder of others")


def _compared(cache, settings, options):
    """Yield (option, what it sets, value asked for, the cache's value or None where unknown)."""
    held = recorded_facts(cache.manifest)
    recipe, classifier = held["recipe"], held["classifier"]
    facts = settings.facts()
    chosen, config = to_dict(settings.recipe), facts["classifier"]
    yield from (("recipe", name, value, recipe.get(name)) for name, value in chosen.items())
    yield from (("recipe_set", name, chosen[name], recipe.get(name))
                for name in _assigned(options["recipe_set"]))
    yield "precision", "precision", settings.precision, recipe.get("precision", "float32")
    yield "bc_backbone", "backbone", settings.backbone, held["backbone"]
    yield "bc_weights", "weights", facts["weights"][:12], (held["weights"] or "")[:12] or None
    yield "bc_seed", "seed", settings.config.seed, classifier.get("seed")
    yield "head", "head", settings.config.head, classifier.get("head")
    yield from (("bc_set", name, config[name], classifier.get(name))
                for name in _assigned(options["bc_set"]))


def _assigned(assignments):
    return [assignment.partition("=")[0] for assignment in assignments]
