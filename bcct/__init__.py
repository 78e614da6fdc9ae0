"""BC-CT: weakly supervised object localization from image labels and background photographs.

Everything that a script or a notebook needs, each name imported when it is first used::

    import bcct

    model = bcct.load("cache/ct/bc-ct-s0-KEY")            # a run's folder, or bcct pack's file
    found = model.localize("photo.jpg")                  # also arrays, and lists of either
    print(found.box, found.label, found.score)           # found.mask, found.show()
    cache = bcct.MaskCache("cache/masks/NAME-KEY")       # what bcct masks wrote
    mask = cache["001.Albatross/x.jpg"]                  # (H, W) bool, squashed to the mask size
    box = bcct.mask_to_box(bcct.largest_component(mask))  # (4,) x0, y0, x1, y1, half-open
    dataset = bcct.open_dataset("cub", "CUB_200_2011", "train")
    bcct.save_picture("masks.png", cache.grid(list(cache)[:16], dataset))
    print("\\n".join(bcct.summary_lines(cache)))
    evaluator = bcct.MaskEvaluator(bcct.truths_from_dataset(dataset))
    for record in dataset.records:
        evaluator.accumulate(cache[record.image_id], record.image_id)
    print(evaluator.compute().metrics["mask_strict"])
"""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from common.backbones import ARCHITECTURES, build_backbone
    from common.boxes import iou, largest_component, mask_to_box, rescale
    from common.config import ConfigError, override
    from common.datasets import Dataset, DatasetError, Record, open_backgrounds, open_dataset
    from common.images import BadImage, image_size, read_image
    from common.mask_cache.contact_sheet import contact_sheet, draw_box, overlay, save_picture
    from common.mask_cache.reader import MaskCache
    from common.mask_cache.shards import MaskCacheError
    from common.mask_cache.summary import (dataset_of_masks, side_by_side, summary_lines,
                                           summary_sections, worst_and_best)
    from evaluation.evaluator import Evaluator, ImageResult, MaskEvaluator, Result
    from evaluation.mask_figures import figure_lines, score_masks
    from evaluation.report import write_report
    from evaluation.report_content import Method, Report
    from evaluation.tau_sources import tau_from_masks
    from evaluation.threshold import TauChoice, fixed_tau
    from evaluation.truth import EvaluationError, Truth, truth_from_mask, truths_from_dataset
    from stage1_bc.classifier import BackgroundClassifier, build_classifier, load_classifier
    from stage1_bc.classifier_training import ClassifierConfig
    from stage1_bc.maker import MaskMaker
    from stage1_bc.recipe import RECIPES, Recipe
    from stage2_ct.localizer import Found, Localizer, load
    from stage2_ct.training_config import TrainingConfig
    from stage2_ct.variants import VARIANTS

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "common.backbones": ("ARCHITECTURES", "build_backbone"),
    "common.boxes": ("iou", "largest_component", "mask_to_box", "rescale"),
    "common.config": ("ConfigError", "override"),
    "common.datasets": ("Dataset", "DatasetError", "Record", "open_backgrounds", "open_dataset"),
    "common.images": ("BadImage", "image_size", "read_image"),
    "common.mask_cache.contact_sheet": ("contact_sheet", "draw_box", "overlay", "save_picture"),
    "common.mask_cache.reader": ("MaskCache",),
    "common.mask_cache.shards": ("MaskCacheError",),
    "common.mask_cache.summary": ("dataset_of_masks", "side_by_side", "summary_lines",
                                  "summary_sections", "worst_and_best"),
    "evaluation.evaluator": ("Evaluator", "ImageResult", "MaskEvaluator", "Result"),
    "evaluation.mask_figures": ("figure_lines", "score_masks"),
    "evaluation.report": ("write_report",),
    "evaluation.report_content": ("Method", "Report"),
    "evaluation.tau_sources": ("tau_from_masks",),
    "evaluation.threshold": ("TauChoice", "fixed_tau"),
    "evaluation.truth": ("EvaluationError", "Truth", "truth_from_mask", "truths_from_dataset"),
    "stage1_bc.classifier": ("BackgroundClassifier", "build_classifier", "load_classifier"),
    "stage1_bc.classifier_training": ("ClassifierConfig",),
    "stage1_bc.maker": ("MaskMaker",),
    "stage1_bc.recipe": ("RECIPES", "Recipe"),
    "stage2_ct.localizer": ("Found", "Localizer", "load"),
    "stage2_ct.training_config": ("TrainingConfig",),
    "stage2_ct.variants": ("VARIANTS",),
}, inside=False)
