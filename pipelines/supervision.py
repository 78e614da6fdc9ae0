"""Whose masks supervise where their folder is named, and whether they are those asked for."""

from common.backbones import weights_identity
from common.config import to_dict
from common.mask_cache.shards import MaskCacheError


def describe(cache):
    """One line on a cache: its key, its recipe and the background classifier.

    Args:
        cache: MaskCache.
    """
    manifest, about = cache.manifest, cache.manifest["about"]
    seed = about.get("classifier", {}).get("seed", "unknown")
    return (f"masks of {cache.folder}: key {cache.key}, recipe {about.get('recipe', 'unnamed')}, "
            f"background classifier {manifest['provenance']['classifier'][:12]} "
            f"({about.get('backbone', 'unknown backbone')}, seed {seed})")


def require_agreement(cache, stage1, given):
    """Make sure that masks are those that a command line asks for, as far as it says so.

    Args:
        cache: MaskCache.
        stage1: Stage1 of the command line.
        given: names of the options that stand on it; the others may differ.

    Raises:
        MaskCacheError: some differ; names each with both values.
    """
    differences = [f"--{option.replace('_', '-')} asks for {name} {asked}, there it is {held}"
                   for option, name, asked, held in _compared(cache, stage1)
                   if option in given and held is not None and asked != held]
    if differences:
        raise MaskCacheError(
            f"the masks in {cache.folder} are not those asked for: {'; '.join(differences)}; leave "
            "these options out to take the masks as they are, or give the folder of others")


def _compared(cache, stage1):
    """Yield (option, what it sets, value asked for, the cache's value or None where unknown)."""
    about, recipe = cache.manifest["about"], cache.manifest["provenance"]["recipe"]
    classifier = about.get("classifier", {})
    chosen, config = to_dict(stage1.chosen_recipe), to_dict(stage1.classifier_config)
    yield from (("recipe", name, value, recipe.get(name)) for name, value in chosen.items())
    yield from (("recipe_set", name, chosen[name], recipe.get(name))
                for name in _fields(stage1.recipe_set))
    yield "precision", "precision", stage1.precision, recipe.get("precision", "float32")
    yield "bc_backbone", "backbone", stage1.backbone, about.get("backbone")
    yield "bc_weights", "weights", weights_identity(stage1.weights)[:12], (
        classifier.get("weights", "")[:12] or None)
    yield "bc_seed", "seed", stage1.seed, classifier.get("seed")
    yield "head", "head", stage1.head, classifier.get("head")
    yield from (("bc_set", name, config[name], classifier.get(name))
                for name in _fields(stage1.bc_set))


def _fields(assignments):
    return [assignment.partition("=")[0] for assignment in assignments]
