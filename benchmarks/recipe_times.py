"""How long each recipe takes to make masks of images that are in memory."""

import time
from collections.abc import Iterable

import torch

from common.loading import consecutive, load_frames, to_float
from stage1_bc.classifier_file import StoredClassifier
from stage1_bc.maker import MaskMaker
from stage1_bc.recipe import RECIPES
from stage1_bc.stage1_job import Stage1Job

TIMED_IMAGES = 64
ROUNDS = 5


def recipe_seconds(job: Stage1Job, stored: StoredClassifier, names: Iterable[str],
                   delta: float) -> dict[str, float]:
    """Shortest time that each recipe takes for a few training images, the recipes in turn.

    Batches run one after another and each operation has one thread, so that no recipe gains from
    additional threads.
    """
    classifier = stored.build(job.settings.weights)
    makers = {name: MaskMaker(classifier, RECIPES[name], job.settings.size, job.compute.device)
              for name in names}
    records = job.images.split("train").records[:TIMED_IMAGES]
    batches = [to_float(batch.images) for batch in load_frames(
        records, job.settings.size, consecutive(len(records), job.compute.batch_size), 0)]
    shortest = dict.fromkeys(names, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        for name, maker in sorted(makers.items()):
            start = time.process_time()
            for images in batches:
                maker.masks(images, [delta])
            shortest[name] = min(shortest[name], time.process_time() - start)
    torch.set_num_threads(threads)
    return shortest
