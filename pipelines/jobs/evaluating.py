"""Trained runs on a data set: localizing with them, their figures, and their report."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
import numpy as np

from common.artefacts import MASKS
from common.compute import Compute
from common.datasets.listed_once import Images
from common.files import file_sha256
from common.locks import write_lock
from common.mask_cache.reader import MaskCache
from evaluation.bootstrap import seeds_summary
from evaluation.localization import Localization, Protocol
from evaluation.report_building import Evaluated, build_report, readable_dataset, small_picture
from evaluation.report_content import GradientItem, Method, Report
from evaluation.threshold import TauChoice
from pipelines.jobs.terminal import progress_bar, warn
from pipelines.jobs.training_job import TrainingJob
from stage1_bc.example_maps import example_maps
from stage1_bc.mask_choice import masks_of_run
from stage1_bc.online import TEACHER
from stage2_ct.prediction import default_input_side, scored_batches
from stage2_ct.run import TrainedRun

GRADIENTS = 6  # rows like those of Fig. 3


class RunLocalization(Localization):
    """Localization by TrainedRuns; ``masks`` that tau comes from are each run's own where None."""

    def __init__(self, images: Images, protocol: Protocol, compute: Compute,
                 mask_roots: Iterable[Path] = (), masks: MaskCache | None = None,
                 unreadable: dict | None = None):
        super().__init__(images, protocol, mask_roots, unreadable)
        self.compute = compute
        self.named_masks, self._masks = masks, {}
        self._training_images: dict[tuple[str, str], Images] = {}

    def masks(self, model: TrainedRun) -> MaskCache:
        """The masks of a run's training images."""
        folder = model.run.folder.resolve()
        if folder not in self._masks:
            roots = dict.fromkeys(root.resolve() for root in (folder.parent.parent / MASKS,
                                                              *self.mask_roots))
            self._masks[folder] = self.named_masks or masks_of_run(
                model.manifest, self.training_images(model), roots)
        return self._masks[folder]

    def training_images(self, model: TrainedRun) -> Images:
        """A run's own training images, also where other images are evaluated."""
        recorded = model.manifest["data"]["folder"], model.manifest["description"]["dataset"]
        if recorded not in self._training_images:
            self._training_images[recorded] = model.training_images(self.images, click.echo)
        return self._training_images[recorded]

    def frame(self, model: TrainedRun) -> int:
        """The side that a run was trained at."""
        return model.config.image_size

    def facts(self, model: TrainedRun) -> dict:
        """Which score map a run's boxes are cut from, and the side of its input in pixels."""
        return {"score_map": self.protocol.score_map or model.config.score_map,
                "input_size": self.protocol.input_size or default_input_side(self.frame(model))}

    def scored(self, model: TrainedRun, records, description, **options):
        """``scored_batches`` of a run under the protocol."""
        facts = self.facts(model)
        return scored_batches(
            model.method, records, facts["score_map"], self.frame(model), facts["input_size"],
            self.compute, progress=progress_bar,
            description=f"{description} ({model.variant})", **options)


def localization_of(job: TrainingJob, **options) -> RunLocalization:
    """How the commands that train evaluate a job's runs: test images, tau from masks."""
    return RunLocalization(job.images, Protocol(), job.compute, [job.stage1.cache / MASKS],
                           **options)


def evaluate(runs: Sequence[TrainedRun], localization: RunLocalization,
             record: Callable | None = None) -> Evaluated:
    """Figures of finished runs that differ in their seed only.

    Args:
        record: ``record_tau`` or ``record_where_same``; None leaves the runs as they are.
    """
    results = [localization.localize(trained) for trained in runs]
    if record is not None:
        for trained, result in zip(runs, results):
            record(trained, result.tau, localization)
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


def told_apart(*evaluated: Evaluated) -> tuple[Evaluated, ...]:
    """The same with the runs' folders for names where two are of one variant."""
    if len({each.entry.name for each in evaluated}) == len(evaluated):
        return evaluated
    return tuple(dataclasses.replace(each, entry=dataclasses.replace(
        each.entry, name=each.model.run.folder.resolve().name)) for each in evaluated)


def record_where_same(trained: TrainedRun, choice: TauChoice, localization: RunLocalization
                      ) -> None:
    """``record_tau``, unless boxes are cut in another way than those of other pictures will be.

    A comparison must not change what ``bcct localize`` does with a run.
    """
    if not records_tau(localization.protocol):
        return
    own = _way(trained, localization)
    others = [f"{name} {value}, not {own[name]}" for name, value in trained.localizes_by.items()
              if own[name] != value]
    if not others:
        record_tau(trained, choice, localization)
    elif "localization" in trained.manifest:
        warn(f"tau is not recorded in the run {trained.run.folder.name}: bcct localize cuts its "
             f"boxes in another way ({', '.join(others)}); --record changes that")
    else:
        warn(f"the run {trained.run.folder.name} has no tau for bcct localize yet: evaluate it "
             "without --variant, --score-map and --input-size, or add --record to localize as "
             "here")


def _way(trained, localization):
    """What a run's boxes are cut from under a protocol."""
    return {"variant": trained.variant, **localization.facts(trained)}


def records_tau(protocol: Protocol) -> bool:
    """Whether a protocol's tau may be recorded for localizing other pictures.

    Not where test boxes were looked at, nor where boxes were cut by another rule than the one that
    new pictures are localized by.
    """
    return protocol.tau_from != "test" and protocol.box_rule == "largest"


def record_tau(trained: TrainedRun, choice: TauChoice, localization: RunLocalization) -> None:
    """Write tau and what it depends on into a run's manifest, if ``records_tau``."""
    protocol = localization.protocol
    if not records_tau(protocol):
        return
    found = {"tau": choice.tau, "source": choice.source, "note": choice.note,
             "box_rule": protocol.box_rule, **_way(trained, localization)}
    run = trained.run
    try:
        with write_lock(run.folder, notify=warn):  # a second train-ct may have the run by now
            manifest = run.manifest()
            run.write_manifest({**manifest, "localization": found})
    except OSError as error:  # a read-only run is used all the same
        warn(f"tau is not recorded in the run: {error}")
        return
    before = manifest.get("localization")
    if before is not None and any(before.get(name) != found[name] for name in (
            "tau", *trained.localizes_by)):
        click.echo(f"recorded in the run {run.folder.name} for bcct localize: tau "
                   f"{choice.tau:.2f}, variant {found['variant']} (before: "
                   f"{before['tau']:.2f}, {before['variant']})")


def _settings(trained, localization):
    """All settings that the figures depend on, of both stages."""
    manifest, description = trained.manifest, trained.manifest["description"]
    made = manifest["mask_settings"]
    stage1 = {}
    if model := made.get("model"):
        stage1 = {"masks by": model, "delta": made["delta"], "masks": description["masks"]}
    elif masks := description["masks"]:
        replaced = isinstance(masks, list) and masks[1] != made["facts"]["recipe"]
        stage1 = {"stage 1": made["facts"], "recipe": TEACHER if replaced else made["recipe_name"],
                  "delta": made["delta"], "masks": masks}
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

    () if the background classifier that made the masks is no longer there: a finished run does
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
