"""Score maps in files, in the folder convention of Choe et al.'s published evaluation code.

One ``.npy`` an image, ``<folder>/<image id>.npy``: the id keeps its folders and its extension
(``001.Albatross/x.jpg.npy``), as the published code writes and reads it. A metadata folder
describes one split in four text files: ``image_ids.txt`` (an id a line), ``class_labels.txt``
(``id,label``), ``image_sizes.txt`` (``id,width,height``) and ``localization.txt``
(``id,x0,y0,x1,y1``, a line a box, in pixels of the original image).
"""

from pathlib import Path, PurePosixPath

import numpy as np

from evaluation.truth import EvaluationError, Truth


def min_max(score_map):
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


def score_map_path(folder, image_id):
    """File of an image's score map.

    Raises:
        EvaluationError: the id would lead out of the folder.
    """
    relative = PurePosixPath(image_id)
    if not image_id or relative.is_absolute() or ".." in relative.parts:
        raise EvaluationError(f"{image_id!r} cannot name a file of score maps; ids are relative "
                              "paths without '..'.")
    return Path(folder) / f"{image_id}.npy"


def write_score_map(folder, image_id, score_map):
    """Write one score map, folders included.

    Args:
        folder: where all score maps go.
        image_id: the image.
        score_map: (H, W) floating point in [0, 1].
    """
    path = score_map_path(folder, image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, score_map)


def read_score_map(folder, image_id):
    """Read one score map.

    Returns:
        The array as stored; the Evaluator checks its size, type and range.

    Raises:
        EvaluationError: the file is missing, or is no array.
    """
    path = score_map_path(folder, image_id)
    try:
        stored = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise EvaluationError(f"{image_id}: its score map is missing; expected {path}.") from None
    except (OSError, ValueError, EOFError) as error:
        raise EvaluationError(f"{image_id}: {path} is not an array that numpy.save wrote "
                              f"({error}); write it again.") from error
    if not isinstance(stored, np.ndarray):
        raise EvaluationError(f"{image_id}: {path} is an archive of arrays; expected one array.")
    return stored


def evaluate_folder(evaluator, folder, workers=1):
    """Score every image of an Evaluator by the maps in a folder.

    Args:
        evaluator: Evaluator; nothing needs to be accumulated before.
        folder: folder of score maps.
        workers: number of threads.

    Raises:
        EvaluationError: the folder is missing, it holds maps of images that are not to be scored,
            or lacks the map of one that is.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder of score maps; write them there first.")
    known = set(evaluator.image_ids)
    found = (path.relative_to(folder).as_posix().removesuffix(".npy")
             for path in folder.rglob("*.npy"))
    unknown = sorted(image_id for image_id in found if image_id not in known)
    if unknown:
        raise EvaluationError(f"{unknown[0]}: {folder} holds its score map, one of {len(unknown)} "
                              "for images that are not to be scored; is it of another split?")
    evaluator.accumulate_many(
        ((read_score_map(folder, image_id), image_id, {}) for image_id in evaluator.image_ids),
        workers)


def read_metadata(folder):
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
    labels = dict(_lines(folder / "class_labels.txt", 1, int))
    sizes = dict(_lines(folder / "image_sizes.txt", 2, int))
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


def write_metadata(folder, truths):
    """Write the four text files, so that the published code can score our maps.

    Boxes are rounded to whole pixels, for the published code reads no others.

    Args:
        folder: made if need be.
        truths: iterable of Truth.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    truths = tuple(truths)
    for truth in truths:
        if "," in truth.image_id or "\n" in truth.image_id:
            raise EvaluationError(f"{truth.image_id!r} holds a comma or a line break, which these "
                                  "files cannot; rename the image.")
    lines = {
        "image_ids.txt": [truth.image_id for truth in truths],
        "class_labels.txt": [f"{truth.image_id},{truth.label}" for truth in truths],
        "image_sizes.txt": [f"{truth.image_id},{truth.size[1]},{truth.size[0]}"
                            for truth in truths],
        "localization.txt": [",".join([truth.image_id, *(str(round(edge)) for edge in box)])
                             for truth in truths for box in truth.boxes],
    }
    for name, content in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8",
                                   errors="surrogateescape")


def _lines(path, numbers, kind):
    """Each line's image id and its ``numbers`` numbers, a tuple."""
    if not path.is_file():
        raise EvaluationError(f"{path} is missing; a metadata folder holds image_ids.txt, "
                              "class_labels.txt, image_sizes.txt and localization.txt.")
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        image_id, *fields = line.rsplit(",", numbers) if numbers else (line,)
        try:
            values = tuple(kind(field) for field in fields)
        except ValueError:
            values = ()
        if len(values) != numbers:
            raise EvaluationError(f"{path}, line {number}: expected an image id and {numbers} "
                                  f"numbers between commas, found {line!r}.")
        yield image_id, values
