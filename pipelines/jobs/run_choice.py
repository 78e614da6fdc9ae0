"""Which training run a command uses: the one that is named, or the one that fits."""

from pathlib import Path

import click

from common.artefacts import MASKS, RUNS, ArtefactError, resolve
from common.compute import Compute, choose_compute
from common.datasets.listed_once import Backgrounds, Images
from pipelines.jobs.terminal import TERMINAL
from pipelines.jobs.training_job import SOURCES, TrainingJob, made_masks, require_score_map
from stage1_bc.mask_choice import masks_of_run, open_named_masks
from stage1_bc.mask_settings import MaskSettings
from stage1_bc.stage1_job import Stage1Job
from stage2_ct.run import Run, TrainedRun, load_run, stored_runs


def open_run(named: str | Path, cache: Path, data: Path | None = None, dataset: str | None = None,
             device: str = "auto", workers: int | None = None, batch_size: int | None = None,
             variant: str | None = None) -> tuple[TrainedRun, Images, Compute]:
    """A finished run with the images and the machine that a command line gives it.

    Raises:
        ArtefactError, ValueError: no such run, it is not finished, or the images are of other
            classes.
    """
    compute = choose_compute(device, batch_size, workers)
    folder = resolve(named, cache / RUNS, "run")
    found = load_run(folder, compute.device, variant)
    return found, found.images(data, dataset, click.echo), compute


def find_run(job: TrainingJob) -> Run:
    """The run in CACHE that a job's settings made, by the runs' manifests; its masks may be gone.

    Raises:
        ArtefactError: there is none, or there are several, which lists them.
    """
    root = job.stage1.cache / RUNS
    fitting = [(run, manifest) for run, manifest in stored_runs(root) if _fits(manifest, job)]
    found, backgrounds = [run for run, _ in fitting], job.stage1.backgrounds
    if backgrounds is not None and backgrounds.root.is_dir() and (
            len(found) > 1 or job.makes_masks):
        same = [run for run, manifest in fitting if _of_backgrounds(manifest, job)]
        found = same if same or job.makes_masks else found
    elif job.makes_masks and backgrounds is not None:
        raise ArtefactError(f"there is no folder {backgrounds.root} of background images")
    if len(found) == 1:
        require_score_map(found[0], job)
        return found[0]
    if fitting and not found:
        raise ArtefactError(
            f"{', '.join(run.folder.name for run, _ in fitting)} in {root} had other background "
            f"images than those in {backgrounds.root}, or is of an earlier version; name one")
    if found:
        raise ArtefactError("these settings made several runs: "
                            f"{', '.join(run.folder.name for run in found)}; name one")
    raise ArtefactError(
        f"there is no trained model of these images and settings in {root}; run make train-ct (or "
        "bcct train-ct) with the same settings first, or name a run: bcct list shows them")


def _fits(manifest: dict, job: TrainingJob) -> bool:
    held = manifest["description"]
    if any(held[name] != value for name, value in job.description().items()):
        return False
    if not job.uses_masks:
        return True
    if job.masks not in SOURCES:
        return held["masks"] == open_named_masks(job.masks, job.stage1.cache, job.delta,
                                                 job.images).key
    made = held["masks"][0] if isinstance(held["masks"], list) else "cached"
    asked = manifest["mask_settings"]
    return made == job.masks and held["delta"] == job.delta and (
        asked["facts"] == job.stage1.settings.facts() and not asked.get("model"))


def _of_backgrounds(manifest: dict, job: TrainingJob) -> bool:
    """Whether a run that fits is of the background images that a job names."""
    if job.makes_masks:
        return manifest["description"]["masks"] == made_masks(job)
    return (manifest["masks"] or {}).get("backgrounds") == job.stage1.backgrounds.digest


def job_of_run(found: TrainedRun, images: Images, compute: Compute, cache: Path,
               seed: int) -> TrainingJob:
    """The job that trains a run's variant again with another seed, over the same masks.

    Raises:
        ArtefactError: the images are not those that the run learnt from; or it makes its masks,
            and its background images are other ones by now.
        MaskCacheError: its masks are gone.
    """
    manifest, description = found.manifest, found.manifest["description"]
    made = manifest["mask_settings"]
    settings = MaskSettings.from_facts(made["facts"], made["weights"], made["recipe_name"],
                                       f"the masks of the run {found.run.folder}")
    if images.digest("train") != description["dataset"]:
        raise ArtefactError(f"the training images in {images.root} are not those that the run "
                            f"{found.run.folder.name} learnt from: other seeds would learn from "
                            "other images; give --data the folder with those")
    masks = description["masks"]
    source = masks[0] if isinstance(masks, list) else "cached"
    if isinstance(masks, str):
        roots = [found.run.folder.resolve().parent.parent / MASKS, cache / MASKS]
        source = str(masks_of_run(manifest, images, roots).folder)
    folder = manifest.get("background")
    backgrounds = Backgrounds(Path(folder)) if folder else None
    job = TrainingJob(Stage1Job(images, backgrounds, settings, compute, cache, reports=TERMINAL),
                      description["backbone"], manifest["weights"], found.variant, source,
                      made["delta"], seed, found.config)
    if job.makes_masks and made_masks(job) != masks:
        raise ArtefactError(f"the background images in {folder} are not those that the run "
                            f"{found.run.folder.name} was trained with: other seeds would be of "
                            "other backgrounds")
    return job
