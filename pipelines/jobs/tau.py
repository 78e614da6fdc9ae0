"""tau in a run's manifest, so that the run localizes other pictures by itself."""

from evaluation.localization import Protocol
from evaluation.threshold import TauChoice
from pipelines.jobs.localizing import Localization, choose_run_tau
from pipelines.jobs.stage1_job import warn
from pipelines.jobs.training_job import PlannedRun
from stage2_ct.prediction import default_input_side
from stage2_ct.run import TrainedRun, load_run


def record_tau(trained: TrainedRun, choice: TauChoice, protocol: Protocol) -> None:
    """Write tau and what it depends on into a run's manifest.

    Not where test boxes were looked at, nor where boxes were cut by another rule than the one that
    new pictures are localized by.
    """
    if protocol.tau_from == "test" or protocol.box_rule != "largest":
        return
    found = {"tau": choice.tau, "source": choice.source, "note": choice.note,
             "score_map": protocol.score_map or trained.config.score_map,
             "box_rule": protocol.box_rule, "variant": trained.variant,
             "input_size": protocol.input_size or default_input_side(trained.config.image_size)}
    manifest = {**trained.run.manifest(), "localization": found}
    try:
        trained.run.write_manifest(manifest)
    except OSError as error:  # a read-only run is used all the same
        warn(f"tau is not recorded in the run: {error}")


def choose_tau_after_training(planned: PlannedRun) -> str:
    """Choose tau for a run that has just been trained, from its masks, and record it.

    Up to 500 training images are localized, which takes a part of an epoch.

    Returns:
        A sentence for the user.
    """
    job = planned.job
    if planned.cache is None:
        return ("tau is not chosen yet, since there are no masks: bcct evaluate chooses it, or "
                "state one with bcct localize --tau")
    trained = load_run(planned.run.folder, job.compute.device, job.variant)
    unreadable = dict(planned.run.manifest()["unreadable"])
    over = Localization(job.images, Protocol(), job.compute, masks=planned.cache,
                        unreadable=unreadable)
    choice = choose_run_tau(trained, over)
    record_tau(trained, choice, over.protocol)
    return f"tau {choice.tau:.2f}, from masks: {choice.note}"
