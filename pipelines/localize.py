"""Localizing with a trained method: tau without boxes, then the figures."""

import numpy as np
import torch

from common.mask_cache import MaskCache
from evaluation.evaluator import Evaluator, MaskEvaluator
from evaluation.threshold import tau_from_masks
from evaluation.truth import truth_from_mask, truths_from_dataset
from pipelines.stage1 import open_masks
from pipelines.stage2 import predict
from stage2_ct.score_maps import score_maps

TAU_IMAGES = 500  # training images that tau is chosen on: more change it by less than a step


def masks_for_tau(job):
    """The training images' MaskCache that tau is chosen by: the run's own, or stage 1's."""
    return job.cache if job.cache is not None else open_masks(job.stage1, "train", job.delta)


def choose_tau(job, method, score_map, box_rule, cache):
    """Tau from the cached masks of training images; no ground-truth box is looked at.

    Args:
        job: Stage2.
        method: trained method.
        score_map: "class", "mask" or "product".
        box_rule: name of a box rule.
        cache: MaskCache of the training images.

    Returns:
        TauChoice.
    """
    records = [record for record in job.stage1.targets.records
               if cache.read(record.image_id)[1]]
    chosen = np.random.default_rng(0).permutation(len(records))[:TAU_IMAGES]
    records = [records[index] for index in sorted(chosen)]
    truths = [truth_from_mask(record.image_id, cache[record.image_id], record.label)
              for record in records]
    evaluator = Evaluator(truths, rule=box_rule, size=cache.mask_size)
    accumulate(job, method, records, score_map, evaluator, "choosing tau")
    return tau_from_masks(evaluator)


def accumulate(job, method, records, score_map, evaluator, description):
    """Feed an Evaluator with a method's score maps of the true classes and its rankings."""
    for batch, prediction in predict(job, method, records, description):
        labels = torch.tensor([record.label for record in batch], device=prediction.logits.device)
        maps = score_maps(prediction, score_map, labels, evaluator.size).cpu().numpy()
        logits = prediction.logits.float()
        true = logits.gather(1, labels[:, None])
        ranks = (logits > true).sum(1).tolist()
        scores, predicted = logits.softmax(1).max(1)
        evaluator.accumulate_many(
            (one, record.image_id, {"rank": rank, "predicted": guess, "score": score})
            for one, record, rank, guess, score in zip(
                maps, batch, ranks, predicted.tolist(), scores.tolist()))


def localize(job, method, split="test", score_map=None, box_rule="largest"):
    """Figures of a trained method on a split.

    Returns:
        Result at the tau that the training images' masks choose.
    """
    score_map = score_map or job.config.score_map
    cache = masks_for_tau(job)
    choice = choose_tau(job, method, score_map, box_rule, cache)
    dataset = job.stage1.images(split)
    evaluator = Evaluator(truths_from_dataset(dataset), rule=box_rule, size=cache.mask_size,
                          class_names=dataset.classes)
    accumulate(job, method, dataset.records, score_map, evaluator, f"localizing ({split})")
    return evaluator.compute(choice)


def mask_figures(dataset, folder, delta):
    """BC* and the strict rate of a mask cache against a Dataset's boxes."""
    cache = MaskCache(folder, delta)
    evaluator = MaskEvaluator(truths_from_dataset(dataset))
    for record in dataset.records:
        evaluator.accumulate(cache[record.image_id], record.image_id)
    return evaluator.compute()
