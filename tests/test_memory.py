import pytest
import torch

from common.memory import batch_size_for, in_parts


def test_a_batch_that_does_not_fit_is_computed_in_parts():
    sizes = []

    def double(images):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("too large")
        return 2 * images
    assert in_parts(double, torch.arange(7)).tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [7, 3, 1, 2, 4, 2, 2]


def test_a_single_image_that_does_not_fit_is_an_error():
    def fail(images):
        raise torch.OutOfMemoryError("too large")
    with pytest.raises(torch.OutOfMemoryError):
        in_parts(fail, torch.arange(2))


def test_batches_are_as_large_as_the_memory_allows(monkeypatch):
    class Card:
        total_memory = 24 * 2 ** 30
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card)
    assert batch_size_for("cuda") == 48
    Card.total_memory = 2 ** 40
    assert batch_size_for("cuda:1") == 256
    assert batch_size_for("cpu") == 8


def test_several_results_are_put_together_one_by_one():
    def both(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("too large")
        return 2 * images, -images
    doubled, negative = in_parts(both, torch.arange(5))
    assert doubled.tolist() == [0, 2, 4, 6, 8] and negative.tolist() == [0, -1, -2, -3, -4]
