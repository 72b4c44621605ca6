"""Calling autograd functions: one that serves `torch.func` costs 30 us more a call than it need, except where it serves `torch.func`."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


def apply_function(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    """Return `function.apply(*inputs)`, sooner.

    torch binds the arguments of a function with `setup_context` to its signature in every call. Outside the transforms of `torch.func`
    and `torch.compile`, which need that form, the same forward, context and backward run as a function of the older form.

    Parameters
    ----------
    function : with `forward(*inputs)`, `setup_context(ctx, inputs, output)`, `backward` and perhaps `jvp`, all static.
    inputs : of its forward, by position.

    Examples
    --------
    >>> class Double(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(x):
    ...         return 2 * x
    ...     @staticmethod
    ...     def setup_context(ctx, inputs, output):
    ...         pass
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         return 2 * gradient
    >>> x = torch.ones(1, requires_grad=True)
    >>> apply_function(Double, x).backward(); x.grad
    tensor([2.])
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return function.apply(*inputs)
    return _older_form(function).apply(*inputs)


@cache
def _older_form(function: type[torch.autograd.Function]) -> type[torch.autograd.Function]:
    def forward(ctx: Any, *inputs: Any) -> Any:
        output = function.forward(*inputs)
        function.setup_context(ctx, inputs, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    if function.jvp is not torch.autograd.Function.jvp:
        members["jvp"] = staticmethod(function.jvp)
    return type(function.__name__, (torch.autograd.Function,), members)
