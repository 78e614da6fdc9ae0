"""Images of a record list as batches of frames, decoded in worker processes."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import joblib
import torch
from torch.utils.data import Dataset

from common import processes
from common.batch_loading import BatchLoader
from common.datasets import Record
from common.images import BadImage, decode_image, read_bytes
from common.progress import silent


@dataclasses.dataclass(frozen=True)
class FrameBatch:
    """Images of some records; unreadable ones are listed, not dropped."""

    images: torch.Tensor
    """(n, 3, H, W) uint8 RGB of the readable ones."""
    positions: list[int]
    """Their n indices in the record list."""
    bad: list[tuple[int, BadImage]]
    """(index in the record list, BadImage) of the others."""
    file_crc32: dict[int, int]
    """Index in the record list to the file's CRC-32, 0 where unreadable; {} unless requested."""


class Frames(Dataset):
    """Records as RGB frames of one size.

    Args:
        size: (height, width) that every image is squashed to, in pixels.
        checksums: whether to compute the CRC-32 of each file.
    """

    def __init__(self, records: Sequence[Record], size: tuple[int, int], checksums: bool = False):
        self.records = records
        self.size = tuple(size)
        self.checksums = checksums

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        path, content = self.records[index].path, b""
        try:
            content = read_bytes(path)
            item = torch.from_numpy(decode_image(content, path, self.size)).permute(2, 0, 1)
        except BadImage as error:
            item = error
        return index, item, zlib.crc32(content) if self.checksums else None


def collate_frames(items: Iterable[tuple]) -> FrameBatch:
    """FrameBatch of (index, frame or BadImage, checksum or None)."""
    good = [(index, item) for index, item, _ in items if not isinstance(item, BadImage)]
    bad = [(index, item) for index, item, _ in items if isinstance(item, BadImage)]
    checksums = {index: checksum for index, _, checksum in items if checksum is not None}
    images = (torch.stack([frame for _, frame in good]) if good
              else torch.zeros(0, 3, 1, 1, dtype=torch.uint8))
    return FrameBatch(images, [index for index, _ in good], bad, checksums)


def load_frames(records: Sequence[Record], size: tuple[int, int], batches: Sequence[list[int]],
                workers: int, checksums: bool = False) -> BatchLoader:
    """Iterate over batches of frames in the given order.

    Args:
        size: (height, width) of a frame in pixels.
        batches: list of lists of indices into the records; one FrameBatch each.
        workers: processes that decode; 0 decodes in this one.
        checksums: whether to compute the CRC-32 of each file.
    """
    largest = max(map(len, batches), default=0)
    return BatchLoader(Frames(records, size, checksums), batches, collate_frames, workers,
                       batch_bytes=largest * 3 * size[0] * size[1])


def consecutive(count: int, batch_size: int, start: int = 0) -> list[list[int]]:
    """Lists of consecutive indices from ``start``, each of ``batch_size`` except the last."""
    return [list(range(first, min(first + batch_size, start + count)))
            for first in range(start, start + count, batch_size)]


def load_again(records: Sequence[Record], size: tuple[int, int], batch_size: int,
               workers: int) -> Iterator[FrameBatch]:
    """Iterate over consecutive batches of images that could be read before, none left out.

    Args:
        size, workers: as for ``load_frames``.
        batch_size: images in a batch, fewer in the last.

    Raises:
        BadImage: an image cannot be read any more.
    """
    for batch in load_frames(records, size, consecutive(len(records), batch_size), workers):
        if batch.bad:
            raise batch.bad[0][1]
        yield batch


def to_float(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) uint8 to float in [0, 1], on the device where the images are."""
    return images.float() / 255


def default_workers(device: str | torch.device) -> int:
    """Number of decoding processes for a device: on the CPU, the network itself needs the cores.

    The processes that torchrun started on this machine share its cores.
    """
    cores = max(1, joblib.cpu_count() // processes.local_world_size())
    return min(16, cores) if torch.device(device).type == "cuda" else min(2, cores - 1)


def find_unreadable(records: Sequence[Record], workers: int,
                    progress: Callable = silent) -> dict[str, str]:
    """Decode every image once and name those that cannot be read.

    Args:
        workers: decoding processes.
        progress: see ``common.progress``.

    Returns:
        dict from the image id to the reason.
    """
    found = {}
    # A small frame: the whole file is still read, and damage is found anywhere in it.
    batches = load_frames(records, (32, 32), consecutive(len(records), 64), workers)
    with progress(len(records), "looking for unreadable images") as advance:
        for batch in batches:
            found.update({records[index].image_id: error.reason for index, error in batch.bad})
            advance(len(batch.positions) + len(batch.bad))
    return found
