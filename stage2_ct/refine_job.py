"""Making a split's masks with a trained model, into a mask cache of their own."""

import dataclasses
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.artefacts import MASKS
from common.datasets.listed_once import Images
from common.mask_cache.finding import folder_of_masks
from common.mask_cache.manifest import held_deltas
from common.mask_cache.shards import delta_name
from common.mask_cache.updating import update_masks
from common.progress import Reports
from stage2_ct.localizer import Localizer
from stage2_ct.mask_maker import ModelMaskMaker


@dataclasses.dataclass(frozen=True)
class RefineJob:
    """Whose masks a model makes, and where they go."""

    localizer: Localizer
    """The model, with its tau and the machine it may use."""
    model: Path
    """Its run's folder or its file."""
    images: Images
    """The data set."""
    split: str
    """train, test or all."""
    cache: Path
    """CACHE, the folder for everything that is made."""
    reports: Reports = Reports()
    """Where it tells what it does."""

    def command(self, deltas: Iterable[float]) -> str:
        """The command line that makes these masks, to be copied and run from any folder."""
        words = ["bcct", "refine-masks", os.path.abspath(self.model),
                 "--dataset", self.images.split(self.split).name,
                 "--data", os.path.abspath(self.images.root),
                 "--cache", os.path.abspath(self.cache), "--split", self.split,
                 "--tau", str(self.localizer.tau)]
        for delta in sorted(deltas):
            words += ["--delta", delta_name(delta)]
        return shlex.join(words)

    def about(self, folder: Path, deltas: Iterable[float]) -> dict[str, Any]:
        """What the manifest says of the masks besides what they depend on."""
        model = self.localizer.model
        return {"backbone": model.description["backbone"], "recipe": "refined",
                "model": os.path.abspath(self.model), "taught_by": model.origin.get("masks"),
                "dataset": self.images.split(self.split).name, "split": self.split,
                "data": os.path.abspath(self.images.root),
                "command": self.command({*held_deltas(folder), *deltas}),
                "folder": os.path.abspath(folder)}


def refine_masks(job: RefineJob, deltas: Sequence[float]) -> Path:
    """Make a split's masks that are missing, damaged, or of images that have become readable.

    Args:
        deltas: thresholds; 0.80 is the model's tau, see ``stage2_ct.mask_maker.threshold``.

    Returns:
        Path of their folder.

    Raises:
        MaskCacheError: images have changed since masks were made of them; names them.
    """
    localizer, dataset = job.localizer, job.images.split(job.split)
    maker = ModelMaskMaker(localizer)
    provenance = maker.provenance(job.images.digest(job.split))
    backbone = localizer.model.description["backbone"]
    folder = folder_of_masks(provenance, job.cache / MASKS,
                             f"{dataset.name}-{job.split}-{backbone}-refined")
    update_masks(dataset.records, lambda: maker, deltas, folder, provenance, localizer.compute,
                 job.about(folder, deltas), job.reports.progress, job.reports.warn)
    return folder
