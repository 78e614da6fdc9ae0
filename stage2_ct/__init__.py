"""Stage 2: a classification model trained under labels and masks."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from stage2_ct.data import EpochBatches, TrainingImages, training_loader
    from stage2_ct.localizer import Found, Localizer, load
    from stage2_ct.model import Prediction
    from stage2_ct.model_file import PackedModel, read_model, write_model
    from stage2_ct.run import Run, TrainedRun, load_run
    from stage2_ct.training_config import TrainingConfig
    from stage2_ct.training_loop import fit
    from stage2_ct.variants import VARIANTS, Variant

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "data": ("EpochBatches", "TrainingImages", "training_loader"),
    "localizer": ("Found", "Localizer", "load"),
    "model": ("Prediction",),
    "model_file": ("PackedModel", "read_model", "write_model"),
    "run": ("Run", "TrainedRun", "load_run"),
    "training_loop": ("fit",),
    "training_config": ("TrainingConfig",),
    "variants": ("VARIANTS", "Variant"),
})
