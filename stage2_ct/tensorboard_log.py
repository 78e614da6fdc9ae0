"""Losses, rates and a few pictures of a training run, in a folder that TensorBoard shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from common.datasets import Record
from common.images import BadImage, read_image
from common.mask_cache.contact_sheet import overlay
from stage2_ct.model import LocalizationMethod
from stage2_ct.prediction import predict_frames, score_prediction
from stage2_ct.run import losses_of
from stage2_ct.training_config import TrainingConfig

PICTURES = 8
CUT = 0.5  # of the score map, for the mask that is drawn; tau is not known before the end


class TensorBoardLog:
    """Writes one epoch after another; what ``fit`` takes as ``on_epoch``.

    Args:
        folder: folder of TensorBoard's files.
        records: training images, some of which are shown.
        device: torch device of the method.

    Raises:
        ValueError: the package tensorboard is missing; says how to install it.
    """

    def __init__(self, folder: Path, records: Sequence[Record], config: TrainingConfig,
                 device: str):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("--tensorboard needs the package tensorboard: pip install "
                             "'bcct[tensorboard]'") from error
        self.writer = SummaryWriter(str(folder))
        self.config, self.device = config, device
        places = np.linspace(0, len(records) - 1, min(PICTURES, len(records))).round().astype(int)
        self.frames = list(_readable([records[place] for place in places], config.image_size))

    def __call__(self, method: LocalizationMethod, line: dict) -> None:
        """Write a line of the log and the pictures as the method sees them now."""
        epoch = line["epoch"]
        for name, value in losses_of(line).items():
            self.writer.add_scalar(f"loss/{name}", value, epoch)
        for name in ("backbone_rate", "head_rate", "seconds"):
            self.writer.add_scalar(f"training/{name}", line[name], epoch)
        if self.frames:
            self.writer.add_images("score map at 0.5", self._drawn(method), epoch,
                                   dataformats="NHWC")
        self.writer.flush()

    def _drawn(self, method):
        """(N, H, W, 3) uint8 RGB."""
        method.eval()
        frames = torch.from_numpy(np.stack(self.frames)).permute(0, 3, 1, 2)
        maps, _ = score_prediction(predict_frames(method, frames, self.device),
                                   self.config.score_map, self.config.image_size)
        return np.stack([overlay(frame, one >= CUT) for frame, one in zip(self.frames, maps)])


def _readable(records, side):
    for record in records:
        try:
            yield read_image(record.path, (side, side))
        except BadImage:
            continue
