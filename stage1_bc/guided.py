"""Guided backpropagation (Springenberg et al., 2015) for any network, without touching it."""

import math

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class _GuidedRectifier(torch.autograd.Function):
    """A rectifier that passes back only positive gradients, and only where it was active."""

    @staticmethod
    def forward(context, values, ceiling):
        context.save_for_backward((values > 0) & (values < ceiling))
        return values.clamp(0, ceiling)

    @staticmethod
    def backward(context, gradient):
        active, = context.saved_tensors
        return gradient.clamp_min(0) * active, None


class GuidedBackpropagation(TorchFunctionMode):
    """While active, every rectifier (ReLU, ReLU6) passes back only positive gradients.

    It replaces the calls, not the modules, so that it also reaches rectifiers that a network
    calls as functions or in place, and leaves nothing behind when it ends.
    """

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if function in (functional.relu, torch.relu, torch.relu_, torch.Tensor.relu):
            return _GuidedRectifier.apply(arguments[0], math.inf)
        if function is functional.relu6:
            return _GuidedRectifier.apply(arguments[0], 6.0)
        if function is functional.hardtanh:
            bounds = dict(zip(("min_val", "max_val"), arguments[1:]), **keywords)
            if bounds.get("min_val", -1.0) == 0:
                return _GuidedRectifier.apply(arguments[0], bounds.get("max_val", 1.0))
        return function(*arguments, **keywords)
