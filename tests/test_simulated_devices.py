"""Machines with several GPUs, simulated: which process takes which card, and how much at once."""

import pytest
import torch

from common import processes
from common.compute import choose_compute
from common.loading import default_workers
from stage2_ct import training_loop
from stage2_ct.data import EpochBatches, TrainingBatch, TrainingImages, training_loader
from stage2_ct.variants import TrainingConfig

GIGABYTE = 2 ** 30


class Cards:
    """GPUs that are not there."""

    def __init__(self, memory):
        self.memory, self.current = memory, 0

    def properties(self, device):
        index = torch.device(device).index
        return type("Card", (), {"total_memory": self.memory[
            self.current if index is None else index]})

    def select(self, index):
        assert index < len(self.memory)
        self.current = index


@pytest.fixture
def cards(request, monkeypatch):
    """Cards with the memory that the test asks for, in gigabytes."""
    cards = Cards([size * GIGABYTE for size in request.param])
    for name, value in (("is_available", lambda: True),
                        ("device_count", lambda: len(cards.memory)),
                        ("set_device", cards.select), ("current_device", lambda: cards.current),
                        ("get_device_properties", cards.properties)):
        monkeypatch.setattr(torch.cuda, name, value)
    return cards


@pytest.mark.parametrize("cards, ranks, taken, backend", [
    ([80] * 2, 2, [0, 1], "cpu:gloo,cuda:nccl"),
    ([80] * 8, 8, list(range(8)), "cpu:gloo,cuda:nccl"),
    ([80] * 8, 2, [0, 1], "cpu:gloo,cuda:nccl"), ([80] * 2, 4, [0, 1, 0, 1], "gloo"),
    ([80] * 8, 16, [*range(8), *range(8)], "gloo")], indirect=["cards"])
def test_each_process_takes_its_card_and_shares_one_without_nccl(cards, ranks, taken, backend,
                                                                 monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    found = []
    for rank in range(ranks):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert processes._backend() == backend
        found.append(cards.current)
    assert found == taken


@pytest.mark.parametrize("cards", [[80] * 2], indirect=True)
def test_the_process_groups_start_on_the_right_card(cards, monkeypatch):
    """Training is told of the card that its process has taken."""
    told = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    monkeypatch.setattr(training_loop, "DistributedDataParallel",
                        lambda method, devices: told.append(devices))
    processes._backend()
    training_loop.shared(torch.nn.Linear(1, 1), "cuda")
    training_loop.shared(torch.nn.Linear(1, 1), "cpu")
    assert told == [[1], None]


@pytest.mark.parametrize("cards, device, images", [
    ([80] * 2, "auto", 160), ([8] * 8, "cuda", 16), ([4, 24], "cuda:0", 16),
    ([4, 24], "cuda:1", 48), ([200] * 8, "cuda:7", 256)], indirect=["cards"])
def test_batches_are_as_large_as_the_card_allows(cards, device, images):
    compute = choose_compute(device)
    assert compute.device == ("cuda" if device == "auto" else device)
    assert compute.batch_size == images


@pytest.mark.parametrize("cards", [[80] * 2], indirect=True)
def test_a_card_that_is_not_there_is_refused(cards):
    with pytest.raises(ValueError, match="PyTorch sees 2 GPU"):
        choose_compute("cuda:2")


@pytest.mark.parametrize("cores, ranks, workers", [(64, 1, 16), (64, 8, 8), (2, 8, 1)])
def test_processes_share_the_cores_that_decode(cores, ranks, workers, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert default_workers("cuda:1") == workers


@pytest.mark.parametrize("device, pinned", [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_batches_for_a_gpu_are_page_locked(device, pinned):
    batches = EpochBatches(count=0, batch_size=1, seed=0)
    loader = training_loader(TrainingImages([], TrainingConfig()), batches, 0, device)
    assert loader.pin_memory is pinned


@pytest.mark.parametrize("masks", [True, False])
def test_all_of_a_batch_is_page_locked(masks, monkeypatch):
    locked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: locked.append(self) or self)
    parts = [torch.zeros(1), torch.ones(1)] if masks else [None, None]
    batch = TrainingBatch(torch.zeros(2), torch.ones(2), *parts).pin_memory()
    assert len(locked) == (4 if masks else 2) and (batch.masks is None) is not masks
