"""save_memory: put the memory-saving layers into a model, in place of torch's own of exactly that type."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterable

from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from hardgrad.core.errors import InputTypeError, ParameterError
from hardgrad.nn.memory_saving import convolution, normalisation, pointwise, pooling
from hardgrad.nn.memory_saving.consumers import kept_anyway

REPLACEMENTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: convolution.MemorySavingConv1d,
    nn.Conv2d: convolution.MemorySavingConv2d,
    nn.Conv3d: convolution.MemorySavingConv3d,
    nn.ConvTranspose1d: convolution.MemorySavingConvTranspose1d,
    nn.ConvTranspose2d: convolution.MemorySavingConvTranspose2d,
    nn.ConvTranspose3d: convolution.MemorySavingConvTranspose3d,
    nn.BatchNorm1d: normalisation.MemorySavingBatchNorm1d,
    nn.BatchNorm2d: normalisation.MemorySavingBatchNorm2d,
    nn.BatchNorm3d: normalisation.MemorySavingBatchNorm3d,
    nn.ReLU: pointwise.MemorySavingReLU,
    nn.ReLU6: pointwise.MemorySavingReLU6,
    nn.LeakyReLU: pointwise.MemorySavingLeakyReLU,
    nn.Hardtanh: pointwise.MemorySavingHardtanh,
    nn.Hardsigmoid: pointwise.MemorySavingHardsigmoid,
    nn.Threshold: pointwise.MemorySavingThreshold,
    nn.Dropout: pointwise.MemorySavingDropout,
    nn.MaxPool1d: pooling.MemorySavingMaxPool1d,
    nn.MaxPool2d: pooling.MemorySavingMaxPool2d,
    nn.MaxPool3d: pooling.MemorySavingMaxPool3d,
    nn.AvgPool2d: pooling.MemorySavingAvgPool2d,
    nn.AvgPool3d: pooling.MemorySavingAvgPool3d,
    nn.AdaptiveAvgPool2d: pooling.MemorySavingAdaptiveAvgPool2d,
    nn.ReflectionPad1d: pooling.MemorySavingReflectionPad1d,
    nn.ReflectionPad2d: pooling.MemorySavingReflectionPad2d,
    nn.ReplicationPad1d: pooling.MemorySavingReplicationPad1d,
    nn.ReplicationPad2d: pooling.MemorySavingReplicationPad2d,
}
_WITH_ACTIVATION = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def save_memory(
    model: nn.Module, *, layers: Iterable[type[nn.Module] | str] | None = None, inplace: bool = False
) -> nn.Module:
    """Return the model with layers that keep no more for backward than their gradients need; what it computes stays as it is.

    For training a few weights of a network that is otherwise frozen. Freeze first, then convert: a ReLU whose output the next layer
    keeps for a trainable weight is left as it is.

    Parameters
    ----------
    model : any module. Convolutions, batch norms, activations with two slopes, dropout, pooling and padding are converted where their
        type is exactly torch's own (also under a parametrisation); everything else, subclasses included, is left as it is.
    layers : what to convert, everything by default: types, as in `nn.Conv2d`, or patterns of names, as in "encoder.*".
    inplace : convert the model itself; by default a copy is returned, which shares parameters and buffers with it.

    Returns
    -------
    The converted model: forward values are torch's own bit for bit, gradients equal up to rounding. Double backward works; forward-mode
    differentiation does not. Under torch.compile, which decides by itself what to keep, the layers behave as torch's own. The first step
    with large activations on a CPU compiles a few loops, once a machine.

    Raises
    ------
    InputTypeError : not a module.
    ParameterError : a type that cannot be converted, or a pattern that fits no name.

    Examples
    --------
    >>> import torch
    >>> from hardgrad.gradients.diagnostics import saved_for_backward
    >>> net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6))).requires_grad_(False)
    >>> _ = net[0].requires_grad_(True)
    >>> x = torch.zeros(1, 4, 8, 8)
    >>> saved_for_backward(lambda: net(x)).total_bytes, saved_for_backward(lambda: save_memory(net)(x)).total_bytes
    (6144, 1024)

    Notes
    -----
    Bhatia and Dangel, Lowering PyTorch's Memory Consumption for Selective Differentiation (WANT workshop at ICML 2024).
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"save_memory got {type(model).__name__}; expected a torch.nn.Module.")
    chosen = _chosen(model, layers)
    left = kept_anyway(_copied(model, share_buffers=False))
    result = model if inplace else _copied(model, share_buffers=True)
    for name, module in result.named_modules():
        if name not in chosen or name in left:
            continue
        if type(module) in _WITH_ACTIVATION and module.activation is functional.relu:
            module.activation = pointwise.relu
        replacement = _replacement(module)
        if replacement is not None:
            module.__class__ = replacement
    return result


def _chosen(model: nn.Module, layers: Iterable[type[nn.Module] | str] | None) -> set[str]:
    names = dict(model.named_modules())
    if layers is None:
        return set(names)
    if isinstance(layers, str | type):
        layers = [layers]
    chosen: set[str] = set()
    for layer in layers:
        if isinstance(layer, str):
            found = set(fnmatch.filter(names, layer))
            if not found:
                known = ", ".join(list(names)[1:9])
                raise ParameterError(
                    f"save_memory got layers={layer!r}, which fits no name; the names begin with: {known}."
                )
        elif layer in REPLACEMENTS or layer in _WITH_ACTIVATION:
            found = {name for name, module in names.items() if _plain_type(module) is layer}
        else:
            known = ", ".join(sorted(kind.__name__ for kind in REPLACEMENTS))
            raise ParameterError(
                f"save_memory got layers={getattr(layer, '__name__', layer)!r}, which has no memory-saving form; there are: {known}."
            )
        chosen |= found
    return chosen


def _plain_type(module: nn.Module) -> type[nn.Module]:
    """The type of a module, seen through a parametrisation, which puts a class of its own on top."""
    kind = type(module)
    return kind.__bases__[0] if parametrize.is_parametrized(module) else kind


def _replacement(module: nn.Module) -> type[nn.Module] | None:
    kind = type(module)
    replacement = REPLACEMENTS.get(_plain_type(module))
    if replacement is None or kind in REPLACEMENTS:
        return replacement
    return type(f"Parametrized{replacement.__name__}", (replacement,), dict(kind.__dict__))


def _copied(model: nn.Module, *, share_buffers: bool) -> nn.Module:
    memo = {id(parameter): parameter for parameter in model.parameters()}
    if share_buffers:
        memo |= {id(buffer): buffer for buffer in model.buffers()}  # type: ignore[misc]
    return copy.deepcopy(model, memo)
