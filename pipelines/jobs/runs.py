"""Opening finished runs for the commands that localize with them."""

import dataclasses
from pathlib import Path

import click

from common.compute import Compute, choose_compute
from common.datasets import KINDS, Dataset
from common.stored_weights import weights_identity
from pipelines.jobs import options
from pipelines.jobs.artefacts import RUNS, ArtefactError, resolve
from pipelines.jobs.inputs import Images
from pipelines.jobs.mask_choice import open_named_masks
from pipelines.jobs.stage1_job import Stage1Job
from pipelines.jobs.training_job import SOURCES, TrainingJob
from stage1_bc.mask_settings import MaskSettings
from stage2_ct.run import Run, TrainedRun, load_run, stored_runs


def run_options(function):
    """Decorate a command with the options that a finished run leaves open."""
    for decorate in (options.options("cache", *options.COMPUTE),
                     click.option("--dataset", type=click.Choice(KINDS),
                                  help="Layout of --data.  [default: recognized]"),
                     click.option("--data", type=options.PATH, help="Other images of the run's "
                                  "classes.  [default: the run's data set]")):
        function = decorate(function)
    return function


def open_run(named: str | Path, cache: Path, data: Path | None = None, dataset: str | None = None,
             device: str = "auto", workers: int | None = None, batch_size: int | None = None,
             variant: str | None = None) -> tuple[TrainedRun, Images, Compute]:
    """A finished run with the images and the machine that a command line gives it.

    Args:
        named: the run's folder, or a unique beginning of its name in CACHE/ct.
        cache: CACHE.
        data, dataset: other images; None for those that the run records.
        device, workers, batch_size: as for ``choose_compute``.
        variant: another variant that shares the run's training, or None.

    Raises:
        ArtefactError, ValueError: no such run, it is not finished, or the images are of other
            classes.
    """
    compute = choose_compute(device, batch_size, workers)
    folder = resolve(named, cache / RUNS, "run")
    trained = load_run(folder, compute.device, variant)
    return trained, images_of(trained, data, dataset), compute


def images_of(trained: TrainedRun, data: Path | None = None, dataset: str | None = None) -> Images:
    """A run's data set, or another one whose classes are among the run's.

    Raises:
        ArtefactError: the run's data set is not where it was, and no other is named.
    """
    recorded = trained.manifest["data"]
    if data is None and not Path(recorded["folder"]).is_dir():
        raise ArtefactError(f"the data set of this run is not in {recorded['folder']} any more; "
                            "give --data")
    return ImagesOfClasses(dataset or (recorded["kind"] if data is None else None),
                           Path(data or recorded["folder"]), trained.classes)


class ImagesOfClasses(Images):
    """Images whose labels are those of a model's outputs.

    Args:
        kind, root: as for ``Images``.
        classes: the model's class names.
    """

    def __init__(self, kind, root, classes):
        super().__init__(kind, root)
        self.classes = tuple(classes)

    def split(self, name: str) -> Dataset:
        """The Dataset of a split, its labels those of the model.

        Raises:
            DatasetError: there is no such data set.
            ValueError: one of its classes is not the model's.
        """
        dataset = super().split(name)
        if dataset.classes == self.classes:
            return dataset
        if unknown := [each for each in dataset.classes if each not in self.classes]:
            raise ValueError(f"{self.root} has classes that the model does not know: "
                             f"{', '.join(map(repr, unknown[:5]))}; its own are "
                             f"{', '.join(map(repr, self.classes[:5]))} ...")
        labels = [self.classes.index(each) for each in dataset.classes]
        self._splits[name] = dataclasses.replace(dataset, classes=self.classes, records=tuple(
            dataclasses.replace(record, label=labels[record.label]) for record in dataset.records))
        return self._splits[name]


def find_run(job: TrainingJob) -> Run:
    """The run in CACHE that a job's settings made, by the runs' manifests.

    The masks that it was trained on may be gone.

    Raises:
        ArtefactError: there is none, or there are several, which lists them.
    """
    root = job.stage1.cache / RUNS
    found = [run for run, manifest in stored_runs(root) if _fits(manifest, job)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ArtefactError("these settings made several runs: "
                            f"{', '.join(run.folder.name for run in found)}; name one")
    raise ArtefactError(
        f"there is no trained model of these images and settings in {root}; run make train-ct (or "
        "bcct train-ct) with the same settings first, or name a run: bcct list shows them")


def _fits(manifest: dict, job: TrainingJob) -> bool:
    held = manifest["description"]
    same = (held["variant"], held["config"], held["seed"], held["backbone"], held["weights"],
            held["dataset"]) == (
        job.trained_variant, job.config.of_training(), job.seed, job.backbone,
        weights_identity(job.weights), job.images.digest("train"))
    if not same or not job.uses_masks:
        return same
    if job.masks not in SOURCES:
        return held["masks"] == open_named_masks(job.masks, job.stage1.cache, job.delta,
                                                 job.images).key
    made = held["masks"][0] if isinstance(held["masks"], list) else "cached"
    asked = manifest["mask_settings"]
    return made == job.masks and held["delta"] == job.delta and (
        asked["facts"] == job.stage1.settings.facts())


def job_of_run(trained: TrainedRun, images: Images, compute: Compute, cache: Path,
               seed: int) -> TrainingJob:
    """The job that trains a run's variant again with another seed, over the same masks."""
    manifest, description = trained.manifest, trained.manifest["description"]
    made = manifest["mask_settings"]
    settings = MaskSettings.from_facts(made["facts"], made["weights"], made["recipe_name"])
    masks = description["masks"]
    source = masks[0] if isinstance(masks, list) else "cached"
    if isinstance(masks, str):
        source = manifest["masks"]["folder"]
    return TrainingJob(Stage1Job(images, None, settings, compute, cache),
                       description["backbone"], manifest["weights"], trained.variant, source,
                       made["delta"], seed, trained.config)
