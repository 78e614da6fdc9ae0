"""How masks are made, as requested by a command and as recorded in a mask cache."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence

from common.backbones import require_side, require_weights, takes_side
from common.config import ConfigError, from_dict, override, to_dict
from common.files import load_checkpoint
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from common.precision import PRECISIONS
from common.stored_weights import weights_identity
from stage1_bc.classifier import load_classifier
from stage1_bc.classifier_training import ClassifierConfig
from stage1_bc.maker import MaskMaker
from stage1_bc.program_versions import versions_of_classifier, versions_of_recipe
from stage1_bc.recipe import RECIPES, UNITS_READ, Recipe

STAGE1_OPTIONS = ("recipe", "recipe_set", "precision", "bc_backbone", "bc_weights", "bc_seed",
                  "not_target", "head", "bc_set")
"""Options of commands that say how the background classifier and its recipe make masks."""
DOUBTFUL_CLUSTERS = 2  # where a recipe reads the tuned network
NEWER_SETTINGS = {"pixel_network": False, "tuned_network": False, "doubtful_clusters": 0}
"""Settings of the background classifier that there have not always been, and the value of
classifiers without them."""
NEWER_FIELDS = {"sharpen_by": "grabcut", "tuned_scales": [1.0]}
"""Fields of recipes that there have not always been, as ``to_dict`` gives them, and the value of
recipes without them."""


@dataclasses.dataclass(frozen=True)
class MaskSettings:
    """All that masks depend on, apart from the images."""

    backbone: str
    """As for ``build_backbone``."""
    weights: str
    """As for ``build_backbone``."""
    config: ClassifierConfig
    """Of the background classifier."""
    recipe_name: str
    """Key of ``RECIPES`` that the recipe started from."""
    recipe: Recipe
    """With overrides applied."""
    precision: str = "float32"
    """Key of ``PRECISIONS``."""
    not_target: str | None = None
    """``NotTarget.digest`` of the clusters that a person has named as not the target."""

    @property
    def recipe_fields(self) -> dict:
        """The recipe's fields, the precision where it is not the usual one, and the versions.

        Without the fields of ``NEWER_FIELDS`` that have their usual value: masks that were made
        when there was nothing else keep their key.
        """
        fields = _without_usual({**to_dict(self.recipe), **versions_of_recipe(self.recipe)},
                                NEWER_FIELDS)
        return fields if self.precision == "float32" else {**fields, "precision": self.precision}

    @property
    def classifier_fields(self) -> dict:
        """The background classifier's settings, and the versions of what trains it.

        With what is not the target only where a person has said so, and without
        ``NEWER_SETTINGS`` that have their usual value: those trained when there was nothing else
        keep their key.
        """
        config = self.config
        versions = versions_of_classifier(config.units, config.doubtful_clusters > 0)
        fields = _without_usual({**to_dict(config), **versions}, NEWER_SETTINGS)
        return {**fields, "not_target": self.not_target} if self.not_target else fields

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a mask in pixels."""
        return (self.config.image_size,) * 2

    def require_possible(self) -> None:
        """Refuse settings by which no mask can be made, before anything is read.

        Raises:
            ConfigError, ValueError: says which do not go together.
        """
        require_weights(self.backbone, self.weights)
        config, recipe = self.config, self.recipe
        units = UNITS_READ.get(recipe.signal, ())
        if self.not_target and not units:
            raise ConfigError(f"the recipe {self.recipe_name} has no unit for pixels that could "
                              "learn what --not-target names: take another --recipe, such as "
                              "default")
        scales = (1.0, *recipe.scales)
        require_side(round(min(scales) * config.image_size), self.backbone,
                     fully_connected=config.head == "fc7")
        if not all(takes_side(round(scale * config.image_size), self.backbone)
                   for scale in recipe.tuned_scales):
            raise ConfigError(f"{self.backbone} does not take images at every size of "
                              f"tuned_scales={','.join(map(str, recipe.tuned_scales))}: set "
                              "--recipe-set tuned_scales=1")
        for unit in units:
            if not getattr(config, unit):
                name = unit.replace("_", " ")
                raise ConfigError(f"the recipe {self.recipe_name} needs the {name}: leave out "
                                  f"--bc-set {unit}=false, or take another --recipe")
        if config.doubtful_clusters and not config.tuned_network:
            raise ConfigError(f"doubtful_clusters={config.doubtful_clusters} is for the tuned "
                              f"network, which the recipe {self.recipe_name} does without: take "
                              "another --recipe, such as default")
        if config.head == "flattened" and not units and set(scales) != {1.0}:
            raise ConfigError("the head flattened reads images of one size: set scales=1, or "
                              "take --head pooled")

    def facts(self) -> dict:
        """What a mask cache records of these settings, as plain values; see ``recorded_facts``."""
        return {"backbone": self.backbone, "weights": weights_identity(self.weights),
                "classifier": self.classifier_fields, "recipe": self.recipe_fields,
                "mask_size": list(self.size)}

    def about(self) -> dict:
        """The facts as a manifest's ``about`` holds them."""
        return {"backbone": self.backbone, "recipe": self.recipe_name, "weights": self.weights,
                "classifier": {"weights": weights_identity(self.weights), **self.classifier_fields}}

    @classmethod
    def from_facts(cls, facts: dict, weights: str, recipe_name: str, found_in: str
                   ) -> "MaskSettings":
        """The settings that ``facts`` were given by.

        Args:
            found_in: what records them, for messages, such as "the masks in FOLDER".

        Raises:
            ConfigError: there are settings among them that this version does not have.
        """
        fields = dict(facts["recipe"])
        precision = fields.pop("precision", "float32")
        fields.pop("versions", None)
        config = dict(facts["classifier"])
        config.pop("versions", None)
        not_target = config.pop("not_target", None)
        try:
            return cls(facts["backbone"], weights, from_dict(ClassifierConfig, config),
                       recipe_name, from_dict(Recipe, fields), precision, not_target)
        except ConfigError as error:
            raise ConfigError(f"{found_in}: made with settings that this version of bcct does not "
                              f"have; make masks again with bcct masks ({error})") from error


def _without_usual(fields, newer):
    """Fields without those in ``newer`` that have the value there."""
    return {name: value for name, value in fields.items()
            if name not in newer or value != newer[name]}


def mask_settings(backbone: str, weights: str, bc_backbone: str | None, bc_weights: str | None,
                  bc_seed: int, head: str, bc_set: Sequence[str], image_size: int,
                  recipe: str = "default", recipe_set: Sequence[str] = (),
                  precision: str = "float32") -> MaskSettings:
    """The MaskSettings of a command line; ``bcct masks --help`` says what each option means."""
    chosen = override(RECIPES[recipe], recipe_set)
    config = override(plain_config(head, image_size, bc_seed, chosen), bc_set)
    settings = MaskSettings(bc_backbone or backbone, bc_weights or weights, config, recipe,
                            chosen, precision)
    settings.require_possible()
    return settings


def plain_config(head: str, image_size: int, seed: int, recipe: Recipe) -> ClassifierConfig:
    """The background classifier's settings for a recipe, without overrides."""
    units = UNITS_READ.get(recipe.signal, ())
    config = ClassifierConfig(
        head=head, image_size=image_size, seed=seed,
        doubtful_clusters=DOUBTFUL_CLUSTERS if "tuned_network" in units else 0)
    return config.with_units(units)


def recorded_facts(manifest: dict) -> dict:
    """``MaskSettings.facts`` of the masks in a cache, from its manifest; None where unknown."""
    about, provenance = manifest["about"], manifest["provenance"]
    classifier = dict(about.get("classifier", {}))
    weights = classifier.pop("weights", None)
    return {"backbone": about.get("backbone"), "weights": weights, "classifier": classifier,
            "recipe": provenance["recipe"], "mask_size": list(provenance["mask_size"])}


def describe_masks(cache: MaskCache) -> str:
    """One line on a cache: its key, its recipe and the classifier or model that made it."""
    manifest, about = cache.manifest, cache.manifest["about"]
    if cache.model:
        return (f"masks of {cache.folder}: key {cache.key}, made by the trained model "
                f"{cache.model} ({about['backbone']})")
    seed = about.get("classifier", {}).get("seed", "unknown")
    return (f"masks of {cache.folder}: key {cache.key}, recipe {about.get('recipe', 'unnamed')}, "
            f"background classifier {manifest['provenance']['classifier'][:12]} "
            f"({about.get('backbone', 'unknown backbone')}, seed {seed})")


def maker_of_masks(cache: MaskCache, device: str = "cpu") -> MaskMaker:
    """A MaskMaker that makes masks in the same way as those of a cache.

    Raises:
        ValueError, OSError: the classifier's file or its backbone's weights are not there any
            more, or are not those that made the masks; or an earlier version of the program made
            maps by this recipe in another way.
    """
    about, provenance = cache.manifest["about"], cache.manifest["provenance"]
    if cache.model:
        raise ValueError(f"the masks in {cache.folder} were made by the trained model "
                         f"{cache.model}, not by a background classifier: name masks of bcct masks")
    if "classifier_file" not in about:
        raise ValueError(f"the masks in {cache.folder} do not say which background classifier made "
                         "them: name masks of bcct masks")
    checkpoint = load_checkpoint(about["classifier_file"])
    if checkpoint.get("digest") != provenance["classifier"]:
        raise ValueError(f"{about['classifier_file']} is not the background classifier that made "
                         f"the masks in {cache.folder}")
    settings = MaskSettings.from_facts(recorded_facts(cache.manifest), about["weights"],
                                       about["recipe"], f"the masks in {cache.folder}")
    if provenance["recipe"].get("versions") != settings.recipe_fields.get("versions"):
        raise ValueError(f"the masks in {cache.folder} were made by another version of the recipe "
                         f"{about['recipe']}: make masks again with bcct masks")
    return MaskMaker(load_classifier(checkpoint, settings.weights), settings.recipe,
                     cache.mask_size, device, PRECISIONS[settings.precision])


def require_agreement(cache: MaskCache, settings: MaskSettings, options: dict,
                      given: Collection[str]) -> None:
    """Make sure that masks agree with the options given on a command line.

    Args:
        settings: MaskSettings of the command line.
        options: the command line's values of ``recipe_set`` and ``bc_set``.
        given: names of the options given there; the others may differ.

    Raises:
        MaskCacheError: some differ; names each with both values. Or a trained model has made the
            masks, to which none of these options applies.
    """
    if cache.model:
        if idle := [option for option in STAGE1_OPTIONS if option in given]:
            raise MaskCacheError(
                f"the masks in {cache.folder} were made by the trained model {cache.model}, not by "
                f"a background classifier: leave out {_listed(idle)}")
        return
    differences = [f"{_listed([option])} asks for {name} {asked}, the masks have {held}"
                   for option, name, asked, held in _compared(cache, settings, options)
                   if option in given and held is not None and asked != held]
    if differences:
        raise MaskCacheError(
            f"the masks in {cache.folder} are not those asked for: {'; '.join(differences)}; leave "
            "these options out to take the masks as they are, or give the folder of others")


def _compared(cache, settings, options) -> Iterator[tuple]:
    """Yield (option, what it sets, value asked for, the cache's value or None where unknown)."""
    held, facts = recorded_facts(cache.manifest), settings.facts()
    recipe = {**NEWER_FIELDS, **held["recipe"]}  # see ``recipe_fields``
    classifier, chosen = held["classifier"], to_dict(settings.recipe)
    yield from (("recipe", name, value, recipe.get(name)) for name, value in chosen.items())
    yield from _program_compared(facts, held)
    yield from (("recipe_set", name, chosen[name], recipe.get(name))
                for name in _assigned(options["recipe_set"]))
    yield "precision", "precision", settings.precision, recipe.get("precision", "float32")
    yield "bc_backbone", "backbone", settings.backbone, held["backbone"]
    yield "bc_weights", "weights", facts["weights"][:12], (held["weights"] or "")[:12] or None
    yield "bc_seed", "seed", settings.config.seed, classifier.get("seed")
    yield ("not_target", "clusters that are not the target", settings.not_target or "none",
           classifier.get("not_target", "none"))
    yield "head", "head", settings.config.head, classifier.get("head")
    # See ``classifier_fields``: without the field, a known classifier has the usual value.
    config = {**(NEWER_SETTINGS if classifier else {}), **classifier}
    yield from (("bc_set", name, to_dict(settings.config)[name], config.get(name))
                for name in _assigned(options["bc_set"]))


def _program_compared(facts, held) -> Iterator[tuple]:
    """As ``_compared``: what a recipe of the same name and fields was in earlier versions.

    The recipe also chooses the number of doubtful clusters.
    """
    if not held["classifier"] or held["recipe"].get("signal") != facts["recipe"]["signal"]:
        return  # not recorded, or another recipe anyway
    name, usual = "doubtful_clusters", NEWER_SETTINGS["doubtful_clusters"]
    clusters = held["classifier"].get(name, usual)
    yield "recipe", name, facts["classifier"].get(name, usual), clusters
    asked, made_by = ({**record["recipe"].get("versions", {}),
                       **record["classifier"].get("versions", {})} for record in (facts, held))
    if not clusters:
        asked.pop("doubting", None)
    # What is at version 1 is not recorded.
    yield from (("recipe", f"{part} at version", version, made_by.get(part, 1))
                for part, version in asked.items())


def _listed(options):
    """Options as they are typed."""
    return ", ".join(f"--{option.replace('_', '-')}" for option in options)


def _assigned(assignments):
    return [assignment.partition("=")[0] for assignment in assignments]
