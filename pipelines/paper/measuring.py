"""A trained method's figures, stored in its run's folder so that tables share them."""

import dataclasses

from common.config import digest
from common.files import file_sha256, read_json, write_json
from common.mask_cache.shards import MaskCacheError
from evaluation.localization import LOCALIZING, TAU_IMAGES, Protocol
from pipelines.jobs.evaluating import localization_of
from pipelines.jobs.training_job import plan, train
from stage2_ct.prediction import ENLARGEMENT
from stage2_ct.run import load_run
from stage2_ct.variants import VARIANTS

FIGURES = ("top1_loc", "top5_loc", "gt_known", "max_box_acc_v2", "top1_cls", "top5_cls")


def percent(fraction):
    """A fraction in percent, to a hundredth."""
    return round(100 * fraction, 2)


def mask_rates(result):
    """Both rates of a MaskEvaluator's Result, in percent."""
    return {"mask_strict": percent(result.metrics["mask_strict"].value),
            "mask_bc_star": percent(result.metrics["bc_star"].value)}


def measure(job):
    """Figures of a TrainingJob in percent; trains it, or finishes its training, first if needed.

    ``FIGURES``; ``gt_known_low`` and ``gt_known_high``, the ends of its 95 % interval;
    ``oracle_gt_known``, at the tau that is best on the test images; ``tau``; and ``run``, the name
    of the run.
    """
    held = measured(job)
    if held is not None:
        return held
    planned = plan(job)
    train(planned)
    result = localization_of(job, masks=planned.cache).localize(
        load_run(planned.run.folder, job.compute.device, job.variant))
    gt_known = result.metrics["gt_known"]
    figures = {**{name: percent(result.metrics[name].value) for name in FIGURES},
               "gt_known_low": percent(gt_known.low), "gt_known_high": percent(gt_known.high),
               "oracle_gt_known": percent(max(result.tau_curve["iou_50"])),
               "tau": round(result.tau.tau, 2), "run": planned.run.folder.name}
    write_json(_path(planned), {"of": _identity(planned), "figures": figures})
    return figures


def measured(job):
    """What ``measure`` stored for the present model and masks; None if nothing."""
    try:
        planned = plan(job)
        if _path(planned).is_file() and planned.run.checkpoint.is_file():
            held = read_json(_path(planned))
            if held["of"] == _identity(planned):
                return held["figures"]
    except MaskCacheError:  # no masks yet: nothing that learns from them is trained
        pass
    return None


def over_seeds(jobs, train=False):
    """Figures of jobs that differ in their seed only; None while none is finished.

    Means of the rates, the first seed's interval and tau, and ``seeds`` and ``run`` of those that
    count. With ``train``, what is missing is trained first.
    """
    found = {job.seed: figures for job in jobs
             if (figures := measure(job) if train else measured(job)) is not None}
    if not found:
        return None
    figures = list(found.values())
    return {**figures[0], **{name: sum(each[name] for each in figures) / len(figures)
                             for name in (*FIGURES, "oracle_gt_known")},
            "seeds": " ".join(map(str, found)), "run": " ".join(each["run"] for each in figures)}


def _path(planned):
    """One file for each way to localize with a run; SPG-plain's is the same as CAM's."""
    job = planned.job
    method = VARIANTS[job.variant].method.__name__
    return planned.run.folder / f"figures-{method}-{job.config.score_map}.json"


def _identity(planned):
    """What the figures depend on."""
    job = planned.job
    test = job.images.split("test")
    truths = [(record.image_id, record.label, record.boxes) for record in test.records]
    return {"checkpoint": file_sha256(planned.run.checkpoint), "delta": job.delta,
            "localizing": [LOCALIZING, ENLARGEMENT, TAU_IMAGES, dataclasses.asdict(Protocol())],
            "masks": planned.cache and planned.cache.key,
            "test": [job.images.digest("test"), digest(truths)]}
