"""Readers of data sets: which images there are, of which class, with which boxes.

``open_dataset`` and ``open_backgrounds`` list files and read annotations; no image is opened, so
that ILSVRC's 1.28 million take seconds. A listed image that is missing or damaged is found, and
named, when ``common.images.read_image`` decodes it. What is left out is counted and named in the
data set's ``summary``.
"""

from common.datasets.opening import KINDS, SPLITS, open_backgrounds, open_dataset
from common.datasets.recognition import recognize
from common.datasets.records import Dataset, DatasetError, Part, Record, Skipped

__all__ = ["KINDS", "SPLITS", "Dataset", "DatasetError", "Part", "Record", "Skipped",
           "open_backgrounds", "open_dataset", "recognize"]
