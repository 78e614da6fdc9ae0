import pytest
import torch

from common.precision import autocast, choose_precision


@pytest.mark.parametrize("has_amx, chosen", [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_takes_bfloat16_where_it_multiplies_it_itself(monkeypatch, has_amx, chosen):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert choose_precision("auto", "cpu") == chosen
    assert choose_precision("auto", "cuda:1") == torch.float16
    assert choose_precision("float32", "cuda") == torch.float32


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_products_are_of_that_precision(precision):
    one = torch.ones(2, 2)
    with autocast("cpu", precision):
        assert (one @ one).dtype == precision
    assert (one @ one).dtype == torch.float32
