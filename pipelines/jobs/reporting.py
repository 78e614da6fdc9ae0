"""Evaluating trained runs: their figures, tau in their manifests, and what their report shows."""

from collections.abc import Sequence

import numpy as np

from common.files import file_sha256
from evaluation.bootstrap import seeds_summary
from evaluation.report import GradientItem, Method, Report
from evaluation.report_building import Evaluated, build_report, readable_dataset, small_picture
from evaluation.threshold import TauChoice
from pipelines.jobs.localizing import RunLocalization
from pipelines.jobs.terminal import warn
from stage1_bc.example_maps import example_maps
from stage2_ct.run import TrainedRun

GRADIENTS = 6  # rows like those of Fig. 3


def evaluate(runs: Sequence[TrainedRun], localization: RunLocalization) -> Evaluated:
    """Figures of one variant over its seeds; each run's manifest records tau and its source.

    Args:
        runs: finished runs that differ in their seed only.
        localization: RunLocalization.
    """
    results = [localization.localize(trained) for trained in runs]
    for trained, result in zip(runs, results):
        record_tau(trained, result.tau, localization)
    over_seeds = {}
    if len(runs) > 1:
        over_seeds = seeds_summary([{name: figure.value for name, figure in result.metrics.items()}
                                    for result in results])
    first = runs[0]
    description = first.manifest["description"]
    return Evaluated(first, Method(
        first.variant, results[0], tuple(each.seed for each in runs), over_seeds,
        hashes={"masks": description["masks"], "dataset": description["dataset"],
                **{f"checkpoint of seed {each.seed}": file_sha256(each.run.checkpoint)
                   for each in runs}},
        settings=_settings(first, localization)))


def record_tau(trained: TrainedRun, choice: TauChoice, localization: RunLocalization) -> None:
    """Write tau and what it depends on into a run's manifest, for localizing other pictures.

    Not where test boxes were looked at, nor where boxes were cut by another rule than the one that
    new pictures are localized by.
    """
    protocol = localization.protocol
    if protocol.tau_from == "test" or protocol.box_rule != "largest":
        return
    found = {"tau": choice.tau, "source": choice.source, "note": choice.note,
             "box_rule": protocol.box_rule, "variant": trained.variant,
             **localization.facts(trained)}
    try:
        trained.run.write_manifest({**trained.run.manifest(), "localization": found})
    except OSError as error:  # a read-only run is used all the same
        warn(f"tau is not recorded in the run: {error}")


def _settings(trained, localization):
    """All settings that the figures depend on, of both stages."""
    manifest, description = trained.manifest, trained.manifest["description"]
    made = manifest["mask_settings"]
    stage1 = {}
    if description["masks"]:
        stage1 = {"stage 1": made["facts"], "recipe": made["recipe_name"], "delta": made["delta"],
                  "masks": description["masks"]}
    return {"backbone": description["backbone"], **stage1, **localization.facts(trained),
            **description["config"]}


def report_of_runs(main: Evaluated, localization: RunLocalization,
                   compared: Evaluated | None = None, made: dict[str, str] | None = None) -> Report:
    """``build_report`` with gradient maps and training log; ``made`` is its command and date."""
    return build_report(localization, main, compared, made=made or {},
                        gradients=_gradients(main.model, localization),
                        training=tuple(main.model.run.logged()))


def _gradients(trained, localization):
    """Rows like those of Fig. 3, of images spread evenly over the data set.

    None if the background classifier that made the masks is no longer there: a finished run does
    not need it.
    """
    records = readable_dataset(localization).records
    places = np.linspace(0, len(records) - 1, min(GRADIENTS, len(records)))
    shown = [records[place] for place in places.round().astype(int)]
    try:
        maps = example_maps(localization.masks(trained), shown, localization.compute.device)
    except (ValueError, OSError) as error:
        warn(f"the report has no gradient maps: {error}")
        return ()
    return tuple(GradientItem(record.image_id, small_picture(record), *three)
                 for record, three in zip(shown, maps))
