"""Figures of a mask cache against annotated boxes."""

from common.mask_cache.checks import require_unchanged
from common.mask_cache.reader import MaskCache
from evaluation.evaluator import MaskEvaluator
from evaluation.truth import truths_from_dataset


def mask_figures(dataset, folder, delta):
    """BC* and the strict rate of a mask cache against a Dataset's boxes, as a Result.

    Raises:
        MaskCacheError: the cache is damaged, or an image has changed since its mask was made.
    """
    cache = MaskCache(folder, delta)
    require_unchanged(cache, dataset.records)
    evaluator = MaskEvaluator(truths_from_dataset(dataset))
    for record in dataset.records:
        evaluator.accumulate(cache[record.image_id], record.image_id)
    return evaluator.compute()
