"""Predictions and score maps of a trained method, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from common.backbones import require_side, takes_side
from common.compute import Compute
from common.datasets import Record
from common.loading import FrameBatch, consecutive, load_frames, to_float
from common.mask_cache.reader import MaskCache
from common.progress import silent
from common.threads import map_in_order, one_thread_per_operation
from stage2_ct.model import LocalizationMethod, Prediction
from stage2_ct.score_maps import score_maps
from stage2_ct.training_config import TrainingConfig

# Random crops show objects larger in training than in whole images; enlarging these by this factor
# makes up for it (Touvron et al., NeurIPS 2019). Chosen on training images held out.
ENLARGEMENT = 9 / 7


def default_input_side(training_side: int) -> int:
    """Side of the square that images are squashed to for localizing, in pixels."""
    return round(ENLARGEMENT * training_side)


def require_sizes(backbone: str, config: TrainingConfig) -> None:
    """Refuse a network that cannot be trained and then localize with larger images.

    Raises:
        ValueError: says which size it does not take.
    """
    side, larger = config.image_size, default_input_side(config.image_size)
    require_side(side, backbone, config.fine)
    if not takes_side(larger, backbone, config.fine):
        raise ValueError(f"{backbone} takes images of {side} x {side} pixels, and not the enlarged "
                         f"ones of {larger} x {larger} that localizing needs: train another "
                         "--backbone; this one can still make the masks (--bc-backbone)")


def predict(method: LocalizationMethod, records: Sequence[Record], side: int, compute: Compute,
            look: Callable, cache: MaskCache | None = None, unreadable: dict | None = None,
            progress: Callable = silent, description: str = "predicting") -> Iterator[tuple]:
    """Apply a function to the predictions of a trained method, batch by batch.

    Several batches are in flight at once, so that the caller works on one batch while the network
    computes the next. On the CPU the figures are the same to the last bit for any number of cores.

    Args:
        method: trained method on the device of ``compute``.
        records: the images.
        side: of the square that images are squashed to, in pixels.
        compute: device, batch size and workers.
        look: called with a list of Record and their Prediction, in a thread.
        cache: MaskCache whose images these must still be; None compares nothing.
        unreadable: dict that takes the reason of each image that cannot be read, by its id; None
            raises at the first.
        progress: see ``common.progress``.
        description: what is done, for the progress bar.

    Yields:
        (list of at most ``batch_size`` Record, what ``look`` gave for them).

    Raises:
        BadImage: an image cannot be read and ``unreadable`` is None.
        MaskCacheError: an image has changed since its mask in ``cache`` was made.
    """
    count = len(records)
    batches = load_frames(records, (side, side), consecutive(count, compute.batch_size),
                          compute.workers, checksums=cache is not None)

    @torch.no_grad()
    def see(batch: FrameBatch):
        seen = [records[index] for index in batch.positions]
        if not seen:
            return batch, seen, None
        return batch, seen, look(seen, predict_frames(method, batch.images, compute.device))
    with progress(count, description) as advance, one_thread_per_operation() as threads:
        for batch, seen, found in map_in_order(see, batches, compute.device, threads):
            for index, error in batch.bad:
                if unreadable is None:
                    raise error
                unreadable[records[index].image_id] = error.reason
            advance(len(batch.positions) + len(batch.bad))
            if cache is not None:
                for record, index in zip(seen, batch.positions):
                    cache.check_crc32(record.image_id, record.path, batch.file_crc32[index])
            if seen:
                yield seen, found


@torch.no_grad()
def predict_frames(method: LocalizationMethod, frames: torch.Tensor,
                   device: str | torch.device) -> Prediction:
    """Prediction of (N, 3, H, W) uint8 RGB frames by a trained method on ``device``."""
    images = to_float(frames.to(device))
    return method.predict(images.contiguous(memory_format=torch.channels_last))


def scored_batches(method: LocalizationMethod, records: Sequence[Record], kind: str, frame: int,
                   side: int, compute: Compute, labelled: bool = True,
                   **options: Any) -> Iterator[tuple]:
    """Score maps, and how the true class ranks, batch by batch.

    Args:
        method: trained method on the device of ``compute``.
        records: the images.
        kind: which score map, see ``stage2_ct.score_maps``.
        frame: side of the score maps, in pixels.
        side: of the square that images are squashed to, in pixels.
        compute: device, batch size and workers.
        labelled: whether the maps are those of the images' labels; otherwise they are those of the
            predicted classes.
        options: the optional arguments of ``predict``.

    Yields:
        (list of N Record, *what ``score_prediction`` gives for them).

    Raises:
        FloatingPointError: the method's logits are not finite.
    """
    def score(batch, prediction):
        labels = [record.label for record in batch] if labelled else None
        return score_prediction(prediction, kind, frame, labels)
    for batch, found in predict(method, records, side, compute, score, **options):
        yield batch, *found


def score_prediction(prediction: Prediction, kind: str, frame: int,
                     labels: Sequence[int] | None = None) -> tuple:
    """Score maps of one batch: the one place where evaluating and localizing look at a prediction.

    Args:
        prediction: Prediction of N images.
        kind: which score map, see ``stage2_ct.score_maps``.
        frame: side of the score maps, in pixels.
        labels: the class of each image whose map is wanted; None for the predicted classes.

    Returns:
        ((N, frame, frame) float32 array in [0, 1], (ranks of the labels, predicted classes, their
        probabilities) as lists of N).

    Raises:
        FloatingPointError: the logits are not finite.
    """
    logits = prediction.logits.float()
    if not logits.isfinite().all():
        raise FloatingPointError("the trained model gives logits that are not finite; train it "
                                 "again with lower learning rates")
    scores, predicted = logits.softmax(1).max(1)
    classes = predicted if labels is None else torch.tensor(labels, device=logits.device)
    maps = score_maps(prediction, kind, classes, (frame, frame))
    # Ties count against the true class: a model without a preference is not always right.
    ranks = (logits >= logits.gather(1, classes[:, None])).sum(1) - 1
    return np.asarray(maps.cpu()), (ranks.tolist(), predicted.tolist(), scores.tolist())
