"""Stage 1: a background classifier, its gradient maps, and the masks cut from them."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from stage1_bc.classifier import BackgroundClassifier, build_classifier, load_classifier
    from stage1_bc.classifier_training import ClassifierConfig
    from stage1_bc.maker import MaskMaker
    from stage1_bc.recipe import RECIPES, Recipe

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "classifier": ("BackgroundClassifier", "build_classifier", "load_classifier"),
    "classifier_training": ("ClassifierConfig",),
    "maker": ("MaskMaker",),
    "recipe": ("RECIPES", "Recipe"),
})
