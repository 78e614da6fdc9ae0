"""A trained method's figures, kept in its run's folder so that no table measures them twice."""

import dataclasses

from common.config import digest
from common.files import read_json, write_json
from common.mask_cache.shards import MaskCacheError
from pipelines.jobs.localizing import (ENLARGEMENT, LOCALIZING, TAU_IMAGES,
                                       Protocol, localize)
from pipelines.jobs.reporting import file_digest
from pipelines.paper.experiment import percent
from pipelines.stage2 import load_trained, train
from stage2_ct.variants import VARIANTS

FIGURES = ("top1_loc", "top5_loc", "gt_known", "max_box_acc_v2", "top1_cls", "top5_cls")


def measure(job):
    """Figures of a job, which is trained first, or trained to its end, where it is not yet.

    Args:
        job: Stage2; the masks of its training images, which tau comes from, must be there.

    Returns:
        dict in percent: ``FIGURES``; ``gt_known_low`` and ``gt_known_high``, the ends of its 95 %
        interval; ``oracle_gt_known``, at the tau that is best on the test images; and ``tau``.
    """
    held = measured(job)
    if held is not None:
        return held
    train(job)
    result = localize(job, load_trained(job))
    gt_known = result.metrics["gt_known"]
    figures = {**{name: percent(result.metrics[name].value) for name in FIGURES},
               "gt_known_low": percent(gt_known.low), "gt_known_high": percent(gt_known.high),
               "oracle_gt_known": percent(max(result.tau_curve["iou_50"])),
               "tau": round(result.tau.tau, 2)}
    write_json(_path(job), {"of": _identity(job), "figures": figures})
    return figures


def measured(job):
    """What ``measure`` found for the model and the masks that are there now; None before."""
    try:
        path = _path(job)
        if path.is_file() and job.run.checkpoint.is_file():
            held = read_json(path)
            if held["of"] == _identity(job):
                return held["figures"]
    except MaskCacheError:  # no masks yet: nothing that learns from them is trained
        pass
    return None


def _path(job):
    """A file for each way to localize that shares a run; SPG-plain is the very one of CAM."""
    method = VARIANTS[job.variant].method.__name__
    return job.run.folder / f"figures-{method}-{job.config.score_map}.json"


def _identity(job):
    """What the figures depend on."""
    test = job.stage1.images("test")
    truths = [(record.image_id, record.label, record.boxes) for record in test.records]
    return {"checkpoint": file_digest(job.run.checkpoint), "delta": job.delta,
            "localizing": [LOCALIZING, ENLARGEMENT, TAU_IMAGES, dataclasses.asdict(Protocol())],
            "masks": job.stage1.provenance("train").key(),
            "test": [test.digest(), digest(truths)]}
