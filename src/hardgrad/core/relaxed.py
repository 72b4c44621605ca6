"""Relaxed modules: what is soft knows its temperature and its exact counterpart. The torch half of the contract."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import HardenError, InputError
from hardgrad.core.functions import apply_function
from hardgrad.core.mode import Mode, check_temperature, resolve_mode, resolve_temperature, trace_with

trace_with(torch.compiler.is_compiling)


class _Compiled(torch.autograd.Function):
    """Forward the hard value untouched, send the gradient to the soft one; torch.compile traces no function that has a `jvp`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hard: Tensor, soft: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing is needed for backward."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


class _StraightThrough(_Compiled):
    """The same with a forward-mode derivative: the tangent of the soft value."""

    @staticmethod
    def jvp(ctx: Any, hard_tangent: Tensor | None, soft_tangent: Tensor) -> Tensor:
        return soft_tangent.clone()


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return `hard`, bit for bit, with the gradient of `soft`.

    Parameters
    ----------
    hard : exact value, any shape and floating dtype.
    soft : relaxed value of the same shape and dtype; receives the gradient, backward, forward and of any order.

    Raises
    ------
    InputError : shapes or dtypes differ.

    Examples
    --------
    >>> x = torch.tensor([0.2, 0.7], requires_grad=True)
    >>> y = straight_through((x > 0.5).float(), x)
    >>> y.sum().backward(); y.tolist(), x.grad.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    if hard.shape != soft.shape or hard.dtype != soft.dtype:
        raise InputError(
            f"straight_through got hard {tuple(hard.shape)} {hard.dtype} and soft {tuple(soft.shape)} {soft.dtype}; "
            "expected equal shapes and dtypes."
        )
    function = _Compiled if torch.compiler.is_compiling() else _StraightThrough
    result: Tensor = apply_function(function, hard.detach(), soft)
    return result


class Relaxed(nn.Module):
    """A module with a temperature and an exact counterpart.

    Parameters
    ----------
    temperature : positive float; small is hard. Saved with the module as a buffer.
    """

    temperature: Tensor

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        value = float(check_temperature(temperature, type(self).__name__))
        self.register_buffer("temperature", torch.tensor(value))

    @abstractmethod
    def harden(self) -> nn.Module | Artifact:
        """Return the exact counterpart: a module that can stand in the same place, or an artifact."""
        raise NotImplementedError

    def resolved_mode(self, mode: Mode | None = None) -> Mode:
        """Return the mode of this call (see `resolve_mode`)."""
        return resolve_mode(mode)

    def resolved_temperature(self, temperature: Any = None) -> Any:
        """Return the temperature of this call: the argument, else the context's, else the module's own."""
        return resolve_temperature(temperature, self.own_temperature())

    def own_temperature(self) -> Tensor:
        """Return the module's own temperature; a module that learns it makes it here."""
        return self.temperature

    def set_temperature(self, value: float) -> None:
        """Set the module's own temperature in place."""
        self.temperature.fill_(value)


def harden(model: nn.Module) -> Any:
    """Return the exact counterpart of any module; the module itself stays as it is.

    Parameters
    ----------
    model : a `Relaxed` module, which gives what its `harden()` gives (an artifact for a family's top module), or any module, which
        gives a copy in which every `Relaxed` part is replaced by its exact counterpart.

    Raises
    ------
    HardenError : not a module, or a `Relaxed` part whose counterpart is an artifact stands inside another module.
    """
    if isinstance(model, Relaxed):
        return model.harden()
    if not isinstance(model, nn.Module):
        raise HardenError(f"harden() got a {type(model).__name__}; expected a torch.nn.Module.")
    result = copy.deepcopy(model)
    _replace(result, type(model).__name__, {})
    return result


def _replace(module: nn.Module, path: str, done: dict[int, nn.Module]) -> None:
    for name, child in list(module._modules.items()):  # named_children() names a part that stands twice once
        where = f"{path}.{name}"
        if child is None:
            continue
        if not isinstance(child, Relaxed):
            _replace(child, where, done)
            continue
        if id(child) not in done:  # a part that is shared stays shared
            exact = child.harden()
            if not isinstance(exact, nn.Module):
                raise HardenError(
                    f"{where} ({type(child).__name__}) hardens to a {type(exact).__name__}, which cannot stand inside a "
                    "module. Harden that part by itself."
                )
            done[id(child)] = exact
        setattr(module, name, done[id(child)])


def set_temperature(model: nn.Module, temperature: float) -> None:
    """Set the temperature of every `Relaxed` part of a model, in place.

    Raises
    ------
    TemperatureError : not a positive finite number; nothing is changed.
    """
    value = float(check_temperature(temperature, "set_temperature()"))
    for module in model.modules():
        if isinstance(module, Relaxed):
            module.set_temperature(value)
