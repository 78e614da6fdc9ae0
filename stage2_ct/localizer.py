"""A trained model that localizes pictures which nobody has labelled.

The network, the score map and the box rule are those of ``bcct evaluate``: where the predicted
class is the true one, the boxes are the same to the last pixel.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.boxes import rescale, resize_mask, whole_pixels
from common.compute import Compute, choose_compute
from common.datasets import Record
from common.images import image_size, read_image
from common.localized import BoxedObject, PictureResult
from common.mask_cache.contact_sheet import draw_box, overlay
from common.progress import silent
from common.threads import one_thread_per_operation
from stage2_ct.found_objects import OBJECTS, FrameObject, cut_objects
from stage2_ct.model import Prediction
from stage2_ct.model_file import PackedModel, read_model
from stage2_ct.prediction import default_input_side, predict, predict_frames, score_prediction
from stage2_ct.run import load_run

Picture = str | os.PathLike | np.ndarray
"""A file's path, or an (H, W, 3) uint8 RGB array of a picture as displayed."""


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """What a model sees in one picture, in the frame of its score map."""

    label: int
    """Index of the predicted class."""
    probability: float
    """Of that class, in [0, 1]."""
    objects: tuple[FrameObject, ...]
    """The largest first; () where no pixel reaches tau."""
    score_map: np.ndarray
    """(H, W) float32 in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class FoundObject(BoxedObject):
    """One object in a picture, with its mask."""

    frame_mask: np.ndarray
    """(h, w) bool mask of the whole picture, squashed to the model's frame."""
    size: tuple[int, int]
    """(height, width) of the picture in pixels."""

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """(H, W) bool mask, of the picture's own size."""
        return resize_mask(self.frame_mask, self.size)


@dataclasses.dataclass(frozen=True)
class Found(PictureResult):
    """What was found in a picture, with its masks and its score map."""

    objects: tuple[FoundObject, ...]
    picture: Picture
    """The picture as it was given."""
    score_map: np.ndarray
    """(h, w) float32 in [0, 1], of the whole picture squashed to the model's frame."""

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool mask of all objects, of the picture's own size."""
        masks = [each.mask for each in self.objects]
        return np.logical_or.reduce(masks) if masks else np.zeros(self.size, bool)

    def drawn(self) -> np.ndarray:
        """The picture with its masks and boxes drawn over it, (H, W, 3) uint8 RGB.

        Raises:
            BadImage: the file cannot be read any more.
        """
        picture = self.picture if isinstance(self.picture, np.ndarray) else read_image(self.picture)
        for each in self.objects:
            picture = draw_box(overlay(picture, each.mask), each.box)
        return picture

    def show(self) -> None:
        """Show the picture with its masks and boxes, in a notebook or in a window."""
        from matplotlib import pyplot  # slow to import, and only needed here
        figure, axes = pyplot.subplots()
        axes.imshow(self.drawn())
        axes.set_title(f"{self.label} ({self.probability:.0%}), score {self.score:.2f}")
        axes.set_axis_off()
        pyplot.show()


class Localizer:
    """A trained model, ready for pictures.

    Args:
        objects: "one" or "many", see ``cut_objects``.

    Raises:
        ValueError: ``objects`` is neither.
    """

    def __init__(self, model: PackedModel, compute: Compute, objects: str = "one"):
        if objects not in OBJECTS:
            raise ValueError(f"objects is {objects!r}; it must be one of {', '.join(OBJECTS)}")
        self.model, self.compute, self.objects = model, compute, objects
        method = model.build().to(compute.device)
        self.method = method.to(memory_format=torch.channels_last).eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self.model.classes

    @property
    def tau(self) -> float:
        """The threshold on the score map."""
        return self.model.localization["tau"]

    @property
    def score_map(self) -> str:
        """What boxes are cut from, see ``stage2_ct.score_maps``.

        With several objects, "object" is of no use, since it keeps one of them: the mask map that
        it is made from is cut instead.
        """
        kind = self.model.localization["score_map"]
        return "mask" if self.objects == "many" and kind == "object" else kind

    @property
    def frame(self) -> int:
        """Side of the score maps and of the masks, in pixels."""
        return self.model.config.image_size

    @property
    def side(self) -> int:
        """Side of the square that pictures are squashed to, in pixels."""
        return self.model.localization.get("input_size") or default_input_side(self.frame)

    def localize(self, pictures: Picture | Sequence[Picture]) -> Found | list[Found]:
        """Find the object in a picture, or in each of several.

        Args:
            pictures: a path, an (H, W, 3) uint8 RGB array, or a list of either.

        Returns:
            Found, or a list of them for a list.

        Raises:
            BadImage: a file cannot be read; names it.
            TypeError, ValueError: something else than a picture was given.
        """
        if isinstance(pictures, Iterable) and not isinstance(
                pictures, (str, os.PathLike, np.ndarray)):
            return self._localize_all(list(pictures))
        return self._localize_all([pictures])[0]

    def localized_batches(self, records: Sequence[Record], unreadable: dict | None = None,
                          progress: Callable = silent,
                          ) -> Iterator[tuple[list[Record], list[FrameResult]]]:
        """Localize picture files batch by batch; decodes ahead in worker processes.

        Args:
            records: the pictures; their labels are not looked at.
            unreadable: dict that takes the reason of each picture that cannot be read, by its id;
                None raises at the first.
            progress: see ``common.progress``.

        Raises:
            BadImage: a picture cannot be read and ``unreadable`` is None.
        """
        yield from predict(self.method, records, self.side, self.compute,
                           lambda batch, prediction: self._look(prediction),
                           unreadable=unreadable, progress=progress, description="localizing")

    def in_picture(self, result: FrameResult, picture: Picture, size: tuple[int, int]) -> Found:
        """A FrameResult in pixels of its picture.

        Args:
            picture: the picture.
            size: (height, width) of the picture as displayed, in pixels.
        """
        objects = tuple(FoundObject(
            whole_pixels(rescale(each.box, each.mask.shape, size), size), each.score, each.mask,
            size) for each in result.objects)
        return Found(size, self.classes[result.label], result.probability, objects, picture,
                     result.score_map)

    def _look(self, prediction: Prediction) -> list[FrameResult]:
        maps, (_, predicted, probabilities) = score_prediction(
            prediction, self.score_map, self.frame)
        return [FrameResult(label, probability, tuple(cut_objects(one, self.tau, self.objects)),
                            one)
                for one, label, probability in zip(maps, predicted, probabilities)]

    def _localize_all(self, pictures):
        found = []
        with one_thread_per_operation():
            for start in range(0, len(pictures), self.compute.batch_size):
                some = pictures[start:start + self.compute.batch_size]
                frames, sizes = zip(*(self._frame(each) for each in some))
                stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
                results = self._look(predict_frames(self.method, stacked, self.compute.device))
                found += [self.in_picture(*three) for three in zip(results, some, sizes)]
        return found

    def _frame(self, picture):
        """A picture squashed to the network's input, and its own (height, width)."""
        if not isinstance(picture, np.ndarray):
            if not isinstance(picture, (str, os.PathLike)):
                raise TypeError("a picture is a path or an (H, W, 3) uint8 RGB array, not "
                                f"{type(picture).__name__}")
            return read_image(picture, (self.side, self.side)), image_size(picture)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or (
                not picture.size):
            raise ValueError("an array must be (H, W, 3) uint8 RGB, not "
                             f"{picture.shape} {picture.dtype}")
        frame = Image.fromarray(picture).resize((self.side, self.side), Image.Resampling.BILINEAR)
        return np.array(frame), picture.shape[:2]


def load(path: str | os.PathLike, device: str = "auto", tau: float | None = None,
         objects: str = "one") -> Localizer:
    """A model that localizes, from a training run's folder or from a file by ``bcct pack``.

    Args:
        path: the run's folder, wherever it is, or the file.
        device: a torch device, or "auto" for a GPU where there is one.
        tau: threshold on the score map in [0, 1]; None for the run's own.
        objects: "one" object in each picture, or "many".

    Returns:
        Localizer; its ``localize`` takes pictures.

    Raises:
        ValueError: there is no such model, it is not finished, it is of a newer format, or it has
            no tau; says what to do.
    """
    return Localizer(load_model(Path(path), tau), choose_compute(device, workers=0), objects)


def load_model(path: Path, tau: float | None = None) -> PackedModel:
    """The PackedModel of a run's folder or of a model file; arguments and errors as for ``load``.

    A stated tau comes with the score map and the input size that the run records, or would use.
    """
    if path.is_dir():
        return pack_run(path, tau)
    if not path.is_file():
        raise ValueError(f"there is no model {path}: give a training run's folder or a file that "
                         "bcct pack wrote")
    model = read_model(path)
    return model if tau is None else dataclasses.replace(
        model, localization={**model.localization, "tau": _checked(tau), "source": "fixed",
                             "note": "A stated number."})


def pack_run(folder: Path, tau: float | None = None) -> PackedModel:
    """A finished run as a PackedModel.

    Raises:
        ValueError: the folder is not a finished run's, or it has no tau.
    """
    trained = load_run(folder)
    recorded = trained.manifest.get("localization")
    if recorded is None and tau is None:
        raise ValueError(f"{folder} has no tau yet, the threshold that boxes are cut at: run bcct "
                         f"evaluate {folder}, which chooses and records it, or state one with "
                         "--tau (in Python: load(..., tau=0.5))")
    localization = dict(recorded or {"variant": trained.variant,
                                     "score_map": trained.config.score_map,
                                     "input_size": default_input_side(trained.config.image_size)})
    if tau is not None:
        localization |= {"tau": _checked(tau), "source": "fixed", "note": "A stated number."}
    return PackedModel(localization, trained.manifest["description"],
                       {"run": Path(folder).resolve().name,
                        **{name: trained.manifest.get(name) for name in ("data", "masks")}},
                       trained.method.state_dict())


def _checked(tau):
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must lie in [0, 1], not {tau}")
    return float(tau)
