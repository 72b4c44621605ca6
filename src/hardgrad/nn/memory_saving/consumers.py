"""Which ReLUs are better left alone: where the next layer keeps the output of a ReLU anyway, torch's own ReLU keeps nothing more."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

_LINEAR = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_KEEP_INPUT = (
    nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Hardswish, nn.PReLU,
    nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention,
)  # fmt: skip
_SAME_STORAGE = (nn.Identity, nn.Flatten, nn.Unflatten)
_PRODUCTS = (torch.mul, torch.matmul, torch.bmm, operator.mul, operator.matmul)
_VIEWS = (torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze, torch.transpose, torch.permute)
_VIEW_METHODS = ("flatten", "reshape", "view", "squeeze", "unsqueeze", "transpose", "permute", "contiguous")


def kept_anyway(model: nn.Module) -> set[str]:
    """Return the names of the ReLUs of a model whose every output is kept for backward by what comes next.

    The model is traced by torch.fx, without data. One that cannot be traced is read where its order is plain: in `nn.Sequential`.
    """
    try:
        graph = fx.Tracer().trace(model)
    except (
        Exception
    ):  # a forward pass with control flow or without tensors fails in its own way; anything may be raised
        return set(_in_sequences(model))
    modules = dict(model.named_modules())
    answers: dict[str, list[bool]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and type(modules[node.target]) is nn.ReLU:
            keeps = any(_keeps(user, modules) for user in node.users)
            answers.setdefault(node.target, []).append(keeps)
    return {name for name, kept in answers.items() if all(kept)}


def _keeps(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Tell whether a node keeps its input for backward."""

    def later() -> bool:
        return any(_keeps(user, modules) for user in node.users)

    if node.op == "call_module":
        return _module_keeps(modules[str(node.target)], later)
    if node.op == "call_function":
        return node.target in _PRODUCTS or (node.target in _VIEWS and later())
    return node.op == "call_method" and node.target in _VIEW_METHODS and later()


def _module_keeps(module: nn.Module, later: Callable[[], bool]) -> bool:
    weight = getattr(module, "weight", None)
    trained = isinstance(weight, Tensor) and weight.requires_grad
    if isinstance(module, _LINEAR):
        return trained
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return trained or module.training
    if isinstance(module, _SAME_STORAGE) or (isinstance(module, nn.Dropout) and not module.training):
        return later()
    return isinstance(module, _KEEP_INPUT)


def _in_sequences(model: nn.Module) -> Iterator[str]:
    for prefix, parent in model.named_modules():
        if type(parent) is not nn.Sequential:
            continue
        children = list(parent.named_children())
        for place, (name, child) in enumerate(children):
            if type(child) is nn.ReLU and _rest_keeps([later for _, later in children[place + 1 :]]):
                yield f"{prefix}.{name}" if prefix else name


def _rest_keeps(rest: list[Any]) -> bool:
    return bool(rest) and _module_keeps(rest[0], lambda: _rest_keeps(rest[1:]))
