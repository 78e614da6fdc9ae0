import pytest
import torch

from common import precision as precision_module
from common.precision import autocast, choose_precision


@pytest.mark.parametrize("capabilities, chosen", [
    ({"amx_bf16": True}, torch.bfloat16), ({"avx512_bf16": True}, torch.bfloat16),
    ({"avx512_bf16": False, "avx512_f": True}, torch.float32), ({}, torch.float32)])
def test_a_cpu_takes_bfloat16_where_it_multiplies_it_itself(monkeypatch, capabilities, chosen):
    monkeypatch.setattr(precision_module, "cpu_capabilities", lambda: capabilities)
    assert choose_precision("auto", "cpu") == chosen
    assert choose_precision("float32", "cuda") == torch.float32


@pytest.mark.parametrize("multiplies, chosen", [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_takes_the_format_that_needs_no_scaling_where_it_has_it(monkeypatch, multiplies,
                                                                      chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: multiplies)
    assert choose_precision("auto", "cuda:1") == chosen


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_products_are_of_that_precision(precision):
    one = torch.ones(2, 2)
    with autocast("cpu", precision):
        assert (one @ one).dtype == precision
    assert (one @ one).dtype == torch.float32
