"""The folder that ``bcct localize`` writes: which boxes and masks were found in which pictures.

``boxes.csv`` and ``pictures.jsonl`` have the results, ``masks/`` is a mask cache, and
``localized.json``, the manifest, states which model found them and whether all of it is there.
Until then, finished parts are in ``parts/``; a stopped run resumes after them.
"""

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common.config import digest
from common.files import read_json, replacing, write_bytes, write_json
from common.mask_cache.shards import shard_path

LOCALIZED = "localized.json"
LOCALIZED_KIND = "localized pictures"
COLUMNS = ("image_id", "label", "probability", "x0", "y0", "x1", "y1", "score")
# What may be removed by --overwrite: names that this program gives, and none that a user chose.
OURS = (LOCALIZED, "boxes.csv", "pictures.jsonl", "index.html", "masks", "parts", "overlays",
        "coco.json", "yolo", "voc", "png", "objects.csv", "label_studio.json",
        "label_studio.xml")


class LocalizedError(ValueError):
    """A folder that is not what localizing expects; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class BoxedObject:
    """One object in a picture."""

    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the picture as displayed, x1 and y1 exclusive."""
    score: float
    """How far to trust the box, in [0, 1]; see docs/evaluation.md."""


@dataclasses.dataclass(frozen=True)
class LocalizedObject(BoxedObject):
    """One object, as it is stored."""

    frame_box: tuple[int, int, int, int]
    """The box in pixels of the mask."""


@dataclasses.dataclass(frozen=True)
class PictureResult:
    """What was found in one picture."""

    size: tuple[int, int]
    """(height, width) in pixels as displayed."""
    label: str
    """Name of the predicted class."""
    probability: float
    """Of that class, in [0, 1]."""
    objects: tuple[BoxedObject, ...]
    """The largest first; () where nothing was found."""

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Box of the largest object; None where nothing was found."""
        return self.objects[0].box if self.objects else None

    @property
    def score(self) -> float:
        """Score of the largest object; 0 where nothing was found."""
        return self.objects[0].score if self.objects else 0.0


@dataclasses.dataclass(frozen=True)
class LocalizedPicture(PictureResult):
    """What was found in one picture, as it is stored."""

    objects: tuple[LocalizedObject, ...]
    image_id: str
    """Its path below the folder of the pictures."""

    @classmethod
    def from_line(cls, line: str) -> "LocalizedPicture":
        """The picture of a line of ``pictures.jsonl``."""
        held = json.loads(line)
        objects = tuple(LocalizedObject(tuple(each["box"]), each["score"],
                                        tuple(each["frame_box"])) for each in held.pop("objects"))
        return cls(**{**held, "size": tuple(held["size"])}, objects=objects)

    def line(self) -> str:
        """The line of ``pictures.jsonl``."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True) + "\n"


@dataclasses.dataclass(frozen=True)
class LocalizedFolder:
    """A folder of results and the files in it."""

    folder: Path
    """Where the results are."""

    @property
    def masks(self) -> Path:
        """The mask cache of the pictures."""
        return self.folder / "masks"

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            LocalizedError: it is not such a folder.
        """
        path = self.folder / LOCALIZED
        manifest = read_json(path) if path.is_file() else None
        if not isinstance(manifest, dict) or manifest.get("kind") != LOCALIZED_KIND:
            raise LocalizedError(f"{self.folder} is not a folder that bcct localize wrote: it has "
                                 f"no {LOCALIZED}")
        return manifest

    def holds_stopped_run(self, description: dict[str, Any], overwrite: bool = False) -> bool:
        """Whether there are parts of a stopped run to resume from; changes nothing.

        Args:
            description: all that the results depend on, as plain values.
            overwrite: whether results of another run are to be removed.

        Raises:
            LocalizedError: the folder holds other results, or anything else.
        """
        if (self.folder / LOCALIZED).is_file():
            manifest = self.manifest()
            same = manifest["digest"] == digest(description)
            if overwrite:
                return False
            if same and manifest["finished"]:
                raise LocalizedError(f"{self.folder} holds these results already: bcct export "
                                     f"{self.folder} writes them in other formats; name another "
                                     "folder, or add --overwrite to make them again")
            if not same:
                raise LocalizedError(f"{self.folder} holds results of another model, other "
                                     "pictures or other settings: name another folder, or add "
                                     "--overwrite to replace them")
            return True
        if self.folder.is_dir() and any(entry.name != ".lock" for entry in self.folder.iterdir()):
            raise LocalizedError(f"{self.folder} holds something else than results of bcct "
                                 "localize, which is not overwritten: name another folder")
        return False

    def start(self, description: dict[str, Any], overwrite: bool = False) -> bool:
        """Make the folder ready unless it holds a stopped run; as ``holds_stopped_run``."""
        if self.holds_stopped_run(description, overwrite):
            return True
        self._clear()
        self._write_manifest({"description": description, "digest": digest(description),
                              "finished": False})
        return False

    def _clear(self):
        for name in OURS:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _write_manifest(self, manifest):
        write_json(self.folder / LOCALIZED, {"kind": LOCALIZED_KIND, "format": 1, **manifest})

    def part_is_done(self, index: int) -> bool:
        """Whether part ``index`` and its masks are there; both are whole or absent."""
        return self._part(index).is_file() and shard_path(self.masks, index).is_file()

    def write_part(self, index: int, pictures: Iterable[LocalizedPicture],
                   unreadable: dict[str, str]) -> None:
        """Write the results of one part, after its masks."""
        lines = "".join(picture.line() for picture in pictures)
        write_bytes(self._part(index), (json.dumps(unreadable, sort_keys=True) + "\n" + lines
                                        ).encode())

    def _part(self, index):
        return self.folder / "parts" / f"part-{index:05d}.jsonl"

    def gather(self, parts: int) -> dict[str, str]:
        """Write ``boxes.csv`` and ``pictures.jsonl`` from all parts.

        Returns:
            Reason by id of the pictures that could not be read.
        """
        unreadable = {}
        with (replacing(self.folder / "pictures.jsonl") as lines,
              replacing(self.folder / "boxes.csv") as table):
            with open(lines, "w", encoding="utf-8") as all_lines, open(
                    table, "w", encoding="utf-8", errors="surrogateescape", newline="") as boxes:
                writer = csv.writer(boxes, lineterminator="\n")
                writer.writerow(COLUMNS)
                for index in range(parts):
                    with open(self._part(index), encoding="utf-8") as part:
                        unreadable.update(json.loads(next(part)))
                        for line in part:
                            all_lines.write(line)
                            writer.writerows(rows_of(LocalizedPicture.from_line(line)))
        return unreadable

    def finish(self, facts: dict[str, Any]) -> None:
        """Say that everything is there; ``facts`` are for people and for later steps."""
        held = {name: value for name, value in self.manifest().items()
                if name not in ("kind", "format")}
        self._write_manifest({**held, **facts, "finished": True})
        shutil.rmtree(self.folder / "parts", ignore_errors=True)

    def pictures(self) -> Iterator[LocalizedPicture]:
        """The pictures in the order of their ids, one after another from the disk.

        Raises:
            LocalizedError: the folder is not finished.
        """
        path = self.folder / "pictures.jsonl"
        self.manifest()
        if not path.is_file():
            raise LocalizedError(f"{self.folder} is not finished: run the same bcct localize "
                                 "again, which goes on where it stopped")
        with open(path, encoding="utf-8") as file:
            yield from map(LocalizedPicture.from_line, file)


def rows_of(picture: LocalizedPicture) -> Iterator[Sequence]:
    """The rows of ``boxes.csv`` of one picture: one for each object, one without a box if none."""
    about = (picture.image_id, picture.label, round(picture.probability, 6))
    for each in picture.objects:
        yield (*about, *each.box, round(each.score, 6))
    if not picture.objects:
        yield (*about, "", "", "", "", 0)
