"""Score maps in files, in the folder convention of Choe et al.'s published evaluation code.

One ``.npy`` for each image, ``<folder>/<image id>.npy``: the id keeps its folders and its
extension (``001.Albatross/x.jpg.npy``), as the published code writes and reads it. A metadata
folder describes one split in four text files: ``image_ids.txt`` (one id in each line),
``class_labels.txt`` (``id,label``), ``image_sizes.txt`` (``id,width,height``) and
``localization.txt`` (``id,x0,y0,x1,y1``, a line for each box, in pixels of the original image).

Other people's files are read tolerantly: text with or without a byte order mark, with any line
ends, ids in any Unicode form, maps with an axis of one channel, values that rounding has moved past
0 or 1. Files that desktops put into folders are ignored.
"""

import collections
import io
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from common.datasets.listing import files_under
from common.datasets.records import DatasetError
from common.files import write_bytes
from common.text import composed, numbered_lines, spellings
from evaluation.evaluator import Evaluator
from evaluation.truth import EvaluationError, Truth

ROUNDING = 1e-5
"""How far a value may lie outside [0, 1] and count as rounded; of half precision 1e-3."""


def min_max(score_map: np.ndarray) -> np.ndarray:
    """Stretch a map to [0, 1], as the published code does after upsampling.

    Args:
        score_map: (H, W) floating point.

    Returns:
        (H, W) of the same type; zeros when the map is constant.

    Raises:
        EvaluationError: the map holds NaN or infinity. (The published code takes zeros for it.)
    """
    low, high = score_map.min(), score_map.max()
    if not np.isfinite([low, high]).all():
        raise EvaluationError("a score map holds NaN or infinity; look at the model's output.")
    if low == high:
        return np.zeros_like(score_map)
    shifted = score_map - low
    return shifted / shifted.max()


def score_map_path(folder: str | os.PathLike, image_id: str) -> Path:
    """File of an image's score map.

    Raises:
        EvaluationError: the id would lead out of the folder.
    """
    relative = PurePosixPath(image_id)
    if not image_id or relative.is_absolute() or ".." in relative.parts:
        raise EvaluationError(f"{image_id!r} cannot name a file of score maps; ids are relative "
                              "paths without '..'.")
    return Path(folder) / f"{image_id}.npy"


def write_score_map(folder: str | os.PathLike, image_id: str, score_map: np.ndarray) -> None:
    """Write one score map, whole or not at all, folders included.

    Args:
        folder: where all score maps go.
        image_id: the image.
        score_map: (H, W) floating point in [0, 1].

    Raises:
        CannotWrite: as on a full disk; names the file.
    """
    content = io.BytesIO()
    np.save(content, score_map)
    write_bytes(score_map_path(folder, image_id), content.getbuffer())


def read_score_map(folder: str | os.PathLike, image_id: str) -> np.ndarray:
    """Read one score map.

    Returns:
        (H, W) floating point in [0, 1]. A map with an axis of one channel, (1, H, W) or (H, W, 1),
        is taken without it; values that rounding has carried out of [0, 1] are clipped.

    Raises:
        EvaluationError: the file is missing, is no array, or is not such a map; names the file.
    """
    path = _stored_path(folder, image_id)
    try:
        stored = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise EvaluationError(f"{image_id}: its score map is missing; expected {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise EvaluationError(f"{image_id}: {path} is not an array that numpy.save wrote "
                              f"({error}); write it again.") from error
    if not isinstance(stored, np.ndarray):
        raise EvaluationError(f"{image_id}: {path} is an archive of arrays; expected one array.")
    return _in_range(_one_channel(stored, image_id, path), image_id, path)


def _stored_path(folder, image_id):
    """The file of a score map under whichever Unicode form of its name is there."""
    paths = [score_map_path(folder, spelling) for spelling in spellings(image_id)]
    return next((path for path in paths if path.exists()), paths[0])


def _one_channel(stored, image_id, path):
    """A map without axes of length 1 before or behind its height and width."""
    shape = stored.shape
    while stored.ndim > 2 and stored.shape[0] == 1:
        stored = stored[0]
    while stored.ndim > 2 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if stored.ndim != 2 or not stored.size:
        raise EvaluationError(f"{image_id}: the score map {path} has the shape {shape}, expected "
                              "(height, width); save one map of the image.")
    return stored


def _in_range(score_map, image_id, path):
    """A map clipped to [0, 1] where it is at most a rounding error outside."""
    if not np.issubdtype(score_map.dtype, np.floating):
        raise EvaluationError(f"{image_id}: the score map {path} holds {score_map.dtype}, expected "
                              "floating point in [0, 1].")
    low, high = score_map.min(), score_map.max()
    if not np.isfinite([low, high]).all():
        raise EvaluationError(f"{image_id}: the score map {path} holds NaN or infinity; look at "
                              "the model's output.")
    tolerance = max(ROUNDING, np.finfo(score_map.dtype).eps)
    if low < -tolerance or high > 1 + tolerance:
        raise EvaluationError(f"{image_id}: the score map {path} ranges over [{low!s}, {high!s}], "
                              "expected [0, 1]; normalise it (evaluation.scoremaps.min_max).")
    return score_map if low >= 0 and high <= 1 else score_map.clip(0, 1)


def evaluate_folder(evaluator: Evaluator, folder: str | os.PathLike) -> None:
    """Score every image of an Evaluator by the maps in a folder.

    Args:
        evaluator: Evaluator; nothing needs to be accumulated before.
        folder: folder of score maps.

    Raises:
        EvaluationError: the folder is missing, it holds maps of images that are not to be scored,
            or lacks the map of one that is.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder of score maps; write them there first.")
    found = collections.Counter(_image_ids_in(folder))
    unknown = sorted(found.keys() - set(map(composed, evaluator.image_ids)))
    if unknown:
        raise EvaluationError(f"{unknown[0]}: {folder} holds its score map, one of {len(unknown)} "
                              "for images that are not to be scored; is it of another split?")
    twice = [image_id for image_id, count in found.items() if count > 1]
    if twice:
        raise EvaluationError(f"{twice[0]}: {folder} holds two score maps of it, under names that "
                              "are one in Unicode; remove one of them.")
    evaluator.accumulate_many(
        (read_score_map(folder, image_id), image_id, {}) for image_id in evaluator.image_ids)


def _image_ids_in(folder):
    """Composed ids of the images whose score maps lie in a folder, litter left out."""
    try:
        return [composed(name.removesuffix(".npy")) for name, _ in files_under(folder)
                if name.endswith(".npy")]
    except DatasetError as error:
        raise EvaluationError(f"{error}.") from None


def read_metadata(folder: str | os.PathLike) -> list[Truth]:
    """The ground truth that a metadata folder describes.

    Args:
        folder: folder of the four text files.

    Returns:
        list of Truth in the order of ``image_ids.txt``; an image that ``localization.txt`` does
        not mention has no box.

    Raises:
        EvaluationError: a file is missing, a line is not as stated, an image has no label or size,
            or a file names an image that ``image_ids.txt`` does not.
    """
    folder = Path(folder)
    image_ids = [line for line, _ in _lines(folder / "image_ids.txt", 0, int)]
    labels = _one_line_each(folder / "class_labels.txt", 1)
    sizes = _one_line_each(folder / "image_sizes.txt", 2)
    boxes = {}
    for image_id, box in _lines(folder / "localization.txt", 4, float):
        boxes.setdefault(image_id, []).append(box)
    known = set(image_ids)
    for name, table in (("class_labels.txt", labels), ("image_sizes.txt", sizes),
                        ("localization.txt", boxes)):
        for image_id in table:
            if image_id not in known:
                raise EvaluationError(f"{image_id}: {folder / name} names it, but image_ids.txt "
                                      "does not; use files of one split.")
    for name, table in (("class_labels.txt", labels), ("image_sizes.txt", sizes)):
        for image_id in image_ids:
            if image_id not in table:
                raise EvaluationError(f"{image_id}: {folder / name} has no line for it; add one.")
    return [Truth(image_id, tuple(boxes.get(image_id, ())), sizes[image_id][::-1],
                  labels[image_id][0]) for image_id in image_ids]


def require_metadata_ids(image_ids: Iterable[str]) -> None:
    """Make sure that ``write_metadata`` can write such ids.

    Raises:
        EvaluationError: it cannot; names the first.
    """
    for image_id in image_ids:
        if set(",\n\r") & set(image_id) or image_id != image_id.strip():
            raise EvaluationError(f"{image_id!r} holds a comma or a line break, or begins or "
                                  "ends with a blank, which these files cannot; rename the image.")


def write_metadata(folder: str | os.PathLike, truths: Iterable[Truth]) -> None:
    """Write the four text files, whole or not at all, for the published code to score our maps.

    Boxes are rounded to whole pixels, for the published code reads no others.

    Args:
        folder: made if need be.
    """
    folder = Path(folder)
    truths = tuple(truths)
    require_metadata_ids(truth.image_id for truth in truths)
    lines = {
        "image_ids.txt": [truth.image_id for truth in truths],
        "class_labels.txt": [f"{truth.image_id},{truth.label}" for truth in truths],
        "image_sizes.txt": [f"{truth.image_id},{truth.size[1]},{truth.size[0]}"
                            for truth in truths],
        "localization.txt": [",".join([truth.image_id, *(str(round(edge)) for edge in box)])
                             for truth in truths for box in truth.boxes],
    }
    for name, content in lines.items():
        text = "".join(f"{line}\n" for line in content)
        write_bytes(folder / name, text.encode("utf-8", "surrogateescape"))


def _one_line_each(path, numbers):
    """{image id: its whole numbers}; refuses two lines of one image that contradict each other."""
    table = {}
    for image_id, values in _lines(path, numbers, int):
        if table.setdefault(image_id, values) != values:
            raise EvaluationError(f"{image_id}: {path} has two different lines for it; keep one.")
    return table


def _lines(path, numbers, kind):
    """Each line's image id and its ``numbers`` numbers, a tuple."""
    if not path.is_file():
        raise EvaluationError(f"{path} is missing; a metadata folder holds image_ids.txt, "
                              "class_labels.txt, image_sizes.txt and localization.txt.")
    for number, line in numbered_lines(path):
        image_id, *fields = line.rsplit(",", numbers) if numbers else (line,)
        try:
            values = tuple(kind(field) for field in fields)
        except ValueError:
            values = ()
        if len(values) != numbers:
            raise EvaluationError(f"{path}, line {number}: expected an image id and {numbers} "
                                  f"numbers between commas, found {line!r}.")
        yield image_id.rstrip(), values
