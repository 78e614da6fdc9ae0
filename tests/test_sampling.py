"""Which of ILSVRC's 1.28 million training images the background classifier learns from."""

import contextlib
import types

import numpy as np
import pytest
import torch

from common import processes
from common.compute import Compute
from stage1_bc import classifier_training, reading
from stage1_bc.classifier_training import ClassifierConfig, train_classifier
from stage1_bc.first_labels import FirstLabels
from stage1_bc.reading import sample_targets
from tests.networks import small_classifier

ILSVRC = 1_281_167


class Numbered:
    """So many records, each its own number."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return types.SimpleNamespace(path=int(index))


@pytest.fixture
def used(monkeypatch):
    """Numbers of the records that are looked at: those of the unit, and those of the pixel unit."""
    seen = {}

    def read(classifier, records, sample, of_tail, config, compute, unreadable, progress,
             description):
        seen[description] = [record.path for record in records]
        features = torch.rand(len(records), 6, generator=torch.Generator().manual_seed(0))
        return features, *(torch.zeros(len(rows), 1, 1).half() for rows in (sample, of_tail))

    def loaded(records, size, batch_size, workers):
        seen.setdefault("pixels", []).append([record.path for record in records])
        return []
    monkeypatch.setattr(reading, "_read", read)
    monkeypatch.setattr(classifier_training, "load_again", loaded)
    monkeypatch.setattr(classifier_training, "read_seeds",
                        lambda classifier, targets: list(targets))
    monkeypatch.setattr(classifier_training, "label_seeds",
                        lambda *given: FirstLabels(None, None, None))
    monkeypatch.setattr(classifier_training, "train_pixel_unit",
                        lambda classifier, moments, labels: None)
    return seen


@contextlib.contextmanager
def silent(total, description, unit="images"):
    yield lambda count: None


def test_ilsvrc_is_sampled_down(used):
    config = ClassifierConfig(steps=1, pixel_unit=True)
    about = train_classifier(small_classifier(), Numbered(ILSVRC), Numbered(10), config,
                             Compute("cpu", 16, 0), silent)
    assert about["targets"] == len(used["targets"]) == 20_000 and about["backgrounds"] == 10
    assert len(set(used["targets"])) == 20_000 and used["targets"] == sorted(used["targets"])
    assert len(set(used["pixels"][0])) == 1000 and set(used["pixels"][0]) < set(used["targets"])
    # All of the data set: each tenth of it gives about a tenth of the sample.
    assert np.histogram(used["targets"], 10, (0, ILSVRC))[0].min() > 1850


@pytest.mark.parametrize("world", [2, 8])
def test_the_sample_does_not_depend_on_the_number_of_processes(used, monkeypatch, world):
    config, samples = ClassifierConfig(steps=1, pixel_unit=True), []
    for count in (1, world):
        monkeypatch.setattr(processes, "world_size", lambda: count)
        monkeypatch.setattr(processes, "rank", lambda: count - 1)
        monkeypatch.setenv("WORLD_SIZE", str(count))
        train_classifier(small_classifier(), Numbered(ILSVRC), Numbered(10), config,
                         Compute("cpu", 16 * count, count), silent)
        samples.append((used["targets"], used["pixels"].pop()))
    assert samples[0] == samples[1] and len(samples[0][1]) == 1000


def test_few_targets_are_all_used_and_seeds_draw_others():
    assert sample_targets(5994, 20_000, 0).tolist() == list(range(5994))
    first, other = (set(sample_targets(ILSVRC, 20_000, seed)) for seed in (0, 1))
    assert 100 < len(first & other) < 600  # 312 are to be expected
