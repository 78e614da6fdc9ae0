"""Guided backpropagation (Springenberg et al., 2015) for any network, without touching it."""

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RECTIFIERS = (functional.relu, functional.relu6, torch.relu, torch.relu_, torch.Tensor.relu,
               torch.Tensor.relu_)


class GuidedBackpropagation(TorchFunctionMode):
    """While active, every rectifier (ReLU, ReLU6) passes back only positive gradients.

    It watches the calls, not the modules, so that it also reaches rectifiers that a network calls
    as functions or in place, and leaves nothing behind when it ends.
    """

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        result = function(*arguments, **keywords)
        if _is_rectifier(function, arguments, keywords) and result.requires_grad:
            result.register_hook(_positive)
        return result


def _is_rectifier(function, arguments, keywords):
    """Whether a call is to a rectifier; a hard tanh with lower bound 0 is one."""
    if function is functional.hardtanh:
        bounds = dict(zip(("min_val", "max_val"), arguments[1:]), **keywords)
        return bounds.get("min_val", -1.0) == 0
    return function in _RECTIFIERS


def _positive(gradient):
    return gradient.clamp_min(0)
