"""``bcct refine-masks``: make masks again, with the model that earlier masks have trained."""

import click

from common import processes
from common.artefacts import RUNS, resolve
from common.compute import choose_compute
from common.mask_cache.reader import DEFAULT_DELTA, MaskCache
from pipelines.jobs import options
from pipelines.jobs.terminal import TERMINAL, report_bad_images, report_masks
from stage2_ct.localizer import Localizer, load_model
from stage2_ct.refine_job import RefineJob, refine_masks
from stage2_ct.run import recorded_images


@options.grouped_command("refine-masks")
@click.argument("run")
@click.option("--split", type=options.SPLIT, default="train", show_default=True,
              help="Which images get masks.")
@click.option("--tau", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Threshold on the score map.  [default: the run's own, chosen when it was "
              "trained or evaluated]")
@click.option("--delta", "deltas", type=options.DELTA, multiple=True, default=[DEFAULT_DELTA],
              show_default=True, help="Threshold as for bcct masks; may be repeated. 0.80 is tau; "
              "below it, masks are more generous.")
@options.options("data", "dataset", "on_bad_image", "cache", *options.COMPUTE)
def command(run, split, tau, deltas, data, dataset, on_bad_image, cache, device, workers,
            batch_size):
    """Make a mask for every image of a split again, with a trained model: a second round.

    RUN is the folder of a training run, the beginning of its name in CACHE/ct, or a file that bcct
    pack wrote. Its masks can be better than those it learned from, and supervise the next model,
    of any backbone: bcct train-ct --masks NAME. No label and no box is used. Writes
    CACHE/masks/NAME-KEY/, as bcct masks does, and resumes like it.
    """
    with processes.process_group():
        path = resolve(run, cache / RUNS, "run")
        model = load_model(path, tau)
        images = recorded_images(model.origin["data"], data, dataset, click.echo)
        job = RefineJob(Localizer(model, choose_compute(device, batch_size, workers)), path,
                        images, split, cache, TERMINAL)
        folder = refine_masks(job, deltas)
        if processes.rank() == 0:
            masks = MaskCache(folder, check=False)
            report_masks(masks)
            if split == "train":
                delta = "" if DEFAULT_DELTA in deltas else f" --delta {deltas[0]:.2f}"
                click.echo(f"next: bcct train-ct --masks {folder.name}{delta}, with --data and "
                           "any --backbone")
            click.echo(f"wrote {folder}")
            report_bad_images(masks.manifest["unreadable"], on_bad_image)
            for delta in deltas:
                MaskCache(folder, delta, check=False).require_valid()
