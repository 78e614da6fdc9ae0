"""The arithmetic of the GPU's table, on the CPU."""

import pytest
import torch

from benchmarks import gpu


def test_share_and_time():
    # 1,000 images of 50 GFLOP a second are 50 TFLOP/s, a quarter of 200.
    row = gpu.Throughput("masks", 1000.0, 50e9, 200e12)
    assert row.share == pytest.approx(0.25)
    assert row.minutes(gpu.CUB) == pytest.approx(0.0999)
    assert row.minutes(60_000, cards=8) == pytest.approx(0.125)
    assert gpu.Throughput("decoding", 10.0).share is None


def test_the_slowest_part_bounds_the_whole():
    card, host = gpu.Throughput("card", 900.0), gpu.Throughput("host", 500.0)
    slowest, reached = gpu.bound(gpu.Throughput("whole", 450.0), [card, host])
    assert slowest is host and reached == pytest.approx(0.9)


def test_operations_of_a_product_and_of_a_gradient():
    weight = torch.ones(3, 4)
    assert gpu.operations(lambda: torch.ones(2, 3) @ weight) == 2 * 2 * 3 * 4
    value = torch.ones(2, 3, requires_grad=True)
    assert gpu.operations(
        lambda: torch.autograd.grad((value @ weight).sum(), value)) == 2 * 2 * 2 * 3 * 4
    rate = gpu.matrix_rate("cpu", torch.float32, size=8, seconds=0.01)
    assert 1e3 < rate < 1e13


def test_a_table_has_a_line_for_each_row_and_sentence():
    lines = gpu.throughput_table([gpu.Throughput("decoding", 2000.0)],
                                 ["bounded by decoding"]).splitlines()
    assert lines[2] == "| decoding | 2,000 |  | 0.0 | 10.7 | 1.3 |"
    assert lines[-1] == "- bounded by decoding"
