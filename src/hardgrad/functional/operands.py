"""What every operation does first and last: check its tensors, settle mode and temperature, return in the dtype that came in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, InputTypeError, ParameterError, TemperatureError, suggestion
from hardgrad.core.mode import Mode, checks_forced, resolve_mode, resolve_temperature
from hardgrad.core.relaxed import straight_through

DEFAULT_TEMPERATURE = 0.1
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Operands:
    """The tensors of one call, ready to compute with, and how it is to be computed.

    Parameters
    ----------
    name : of the operation, for messages.
    given : the tensors as they came, for the exact result.
    tensors : the same, floating, with one dtype that is at least float32, for the relaxed result; empty in mode "hard".
    temperature : float or tensor, positive.
    mode : "soft", "st" or "hard".
    dtype : floating dtype of the result.
    """

    name: str
    given: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]
    temperature: Any
    mode: Mode
    dtype: torch.dtype

    def result(self, hard: Callable[[], Tensor], soft: Callable[[], Tensor]) -> Tensor:
        """Return the exact, the relaxed or the straight-through result; what is not needed is not computed."""
        if self.mode == "hard":
            return hard()
        relaxed = soft().to(self.dtype)
        if self.mode == "soft":
            return relaxed
        return straight_through(hard().to(self.dtype), relaxed)


def settle(
    name: str,
    *tensors: Tensor,
    temperature: Any = None,
    mode: Mode | None = None,
    infinite: bool = False,
    truths: bool = False,
    default_temperature: float = DEFAULT_TEMPERATURE,
) -> Operands:
    """Check the tensors of a call and settle its mode and temperature.

    Parameters
    ----------
    name : of the operation, for messages.
    *tensors : what it computes with; in "soft" and "st" integers become the default floating dtype and halves are computed in float32.
    temperature, mode : as given by the caller; None stands for that of the surrounding block.
    infinite : True where -inf is a mask that the relaxed form understands.
    truths : True where the tensors are degrees of truth: Booleans are legal, and become 0 and 1; numbers outside [0, 1] are refused.
    default_temperature : where neither the call nor a block says one.

    Raises
    ------
    InputTypeError : not a tensor; in "soft" and "st", a Boolean or complex tensor.
    InputError : in "soft" and "st", NaN, or an infinity that the relaxed form cannot take; in any mode, a truth outside [0, 1].
    TemperatureError : a temperature that is not positive and finite.
    ModeError : an unknown mode.
    """
    resolved = resolve_mode(mode)
    level = resolve_temperature(temperature, default_temperature, check=False)
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise InputTypeError(f"{name}() got a {type(tensor).__name__}; expected a torch.Tensor.")
    check_level(name, level)
    if truths:
        for tensor in tensors:
            check_truth(name, tensor)
    if resolved == "hard":
        return Operands(name, tensors, (), level, resolved, _result_dtype(tensors))
    for tensor in tensors:
        if not truths:
            check_real(name, tensor)
        check_finite(name, tensor, masked=infinite, needs_gradient=resolved == "soft")
    dtype = _result_dtype(tensors)
    computing = torch.float32 if dtype in HALF else dtype
    return Operands(name, tensors, tuple(t.to(computing) for t in tensors), level, resolved, dtype)


def operand(name: str, value: Any, like: Tensor) -> Tensor:
    """Return a number as a tensor that goes with `like` without changing the dtype of the result; tensors stay as they are."""
    if isinstance(value, Tensor) or not isinstance(like, Tensor):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputTypeError(f"{name}() got a {type(value).__name__}; expected a torch.Tensor or a number.")
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    return torch.full((), value, dtype=dtype, device=like.device)


def check_real(name: str, tensor: Tensor) -> None:
    """Raise `InputTypeError` for a Boolean or complex tensor."""
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise InputTypeError(
            f"{name}() got a tensor of {tensor.dtype}; expected real numbers. "
            + (
                "Convert it: x.float()."
                if tensor.dtype == torch.bool
                else "Take its real part or its absolute value."
            )
        )


def check_truth(name: str, tensor: Tensor) -> None:
    """Raise `InputTypeError` for a complex tensor and `InputError` for numbers outside [0, 1]; NaN is left to `check_finite`."""
    if tensor.dtype == torch.bool:
        return
    check_real(name, tensor)
    if values_are_checked(tensor) and bool(((tensor < 0) | (tensor > 1)).any()):
        raise InputError(
            f"{name}() got values outside [0, 1] in a tensor of shape {tuple(tensor.shape)}; expected degrees of truth. "
            "Map scores to them first, by torch.sigmoid or a soft comparison."
        )


def check_finite(name: str, tensor: Tensor, *, masked: bool = False, needs_gradient: bool = True) -> None:
    """Raise `InputError` for NaN and for infinities; -inf may be a `masked` element, and all are legal where no gradient is asked for."""
    if not values_are_checked(tensor) or not tensor.is_floating_point():
        return
    if not tensor.numel():
        return
    low, high = (
        float(bound) for bound in torch.aminmax(tensor.detach())
    )  # both are NaN where one element is
    if math.isnan(low):
        raise InputError(
            f'{name}() got NaN in a tensor of shape {tuple(tensor.shape)}; expected numbers. Fill or mask them first; mode="hard" '
            "does with NaN what torch does."
        )
    if not (needs_gradient or tensor.requires_grad):
        return
    if high == math.inf or (low == -math.inf and not masked):
        allowed = "finite numbers or -inf for what is left out" if masked else "finite numbers"
        raise InputError(
            f'{name}() got infinity in a tensor of shape {tuple(tensor.shape)}; expected {allowed}. Clamp them, or use mode="hard".'
        )


def values_are_checked(tensor: Tensor) -> bool:
    """Tell whether the values of a tensor are looked at: on the CPU, outside torch.compile and vmap, unless `hardgrad.checks` says so."""
    if torch.compiler.is_compiling() or is_batched(tensor):
        return False
    forced = checks_forced()
    return tensor.device.type == "cpu" if forced is None else forced


def reads_are_cheap(tensor: Tensor) -> bool:
    """Tell whether an algorithm may look at the values of a tensor: on the CPU, outside torch.compile and torch.func's transforms."""
    wrapped = torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not wrapped and tensor.device.type == "cpu"


def check_choice(name: str, option: str, value: object, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Raise `ParameterError` for a value that is not one of the known names."""
    if value not in known:
        raise ParameterError(
            f"{name}() got {option}={value!r}; expected one of {', '.join(known)}.{suggestion(str(value), list(known))}"
        )


def check_options(
    name: str,
    method: str,
    given: Mapping[str, Any],
    owners: Mapping[str, tuple[str, ...]],
    choice: str = "method",
) -> dict[str, Any]:
    """Return the options of a call that were given. Raises `ParameterError` for one that belongs to another method than the chosen one.

    Parameters
    ----------
    given : options by name, None where the caller did not say one.
    owners : the methods that take each option.
    choice : name of the argument that chose the method.
    """
    for option, value in given.items():
        if value is not None and method not in owners[option]:
            raise ParameterError(
                f"{name}() got {option}={value!r} with {choice}={method!r}, which does not use it. Leave it out, or choose {choice}="
                f"{' or '.join(map(repr, owners[option]))}."
            )
    return {option: value for option, value in given.items() if value is not None}


@dataclass(frozen=True)
class Lists:
    """A tensor as lists along its last dimension, for operations that reduce or reorder one dimension.

    Parameters
    ----------
    x : (..., n), what to compute with.
    axis : where the last dimension stood; counted from the front.
    temperature : number, 0-dim tensor, or (...) + (1,).
    scalar : True where the tensor had no dimension at all.
    """

    x: Tensor
    axis: int
    temperature: Any
    scalar: bool

    def restore(self, tensor: Tensor) -> Tensor:
        """Return a tensor of shape (..., k) with its last dimension put back in its place."""
        return tensor.squeeze(-1) if self.scalar else tensor.movedim(-1, self.axis)


def as_lists(call: Operands, dim: int) -> Lists:
    """Return the first tensor of a call as lists along `dim`; the exact form in mode "hard".

    Raises
    ------
    IndexError : as in torch, where the tensor has no such dimension.
    InputError : a temperature that does not broadcast to the shape without `dim`.
    """
    x = call.tensors[0] if call.tensors else call.given[0]
    axis = normalise_dim(call.name, x, dim)
    level = call.temperature
    scalar = x.dim() == 0
    moved = x.reshape(1) if scalar else x.movedim(axis, -1)
    if isinstance(level, Tensor) and level.dim():
        _check_broadcast(call.name, level, moved.shape[:-1])
        level = level.to(moved.dtype).unsqueeze(-1)
    return Lists(moved, axis, level, scalar)


def normalise_dim(name: str, tensor: Tensor, dim: int) -> int:
    """Return `dim` counted from the front. Raises `IndexError`, as torch does, where the tensor has no such dimension."""
    dims = max(tensor.dim(), 1)
    if not -dims <= dim < dims:
        raise IndexError(
            f"{name}() got dim={dim} for a tensor of shape {tuple(tensor.shape)}; expected a dim from {-dims} to {dims - 1}."
        )
    return dim % dims


class Once:
    """A computation that is made when it is first asked for, and then kept."""

    def __init__(self, compute: Callable[[], Any]) -> None:
        self._compute: Callable[[], Any] | None = compute
        self._value: Any = None

    def __call__(self) -> Any:
        """Return the value."""
        if self._compute is not None:
            self._value, self._compute = self._compute(), None
        return self._value


def _check_broadcast(name: str, temperature: Tensor, shape: torch.Size) -> None:
    sizes = zip(reversed(temperature.shape), reversed(shape), strict=False)
    if temperature.dim() > len(shape) or any(t not in (1, s) for t, s in sizes):
        raise InputError(
            f"{name}() got a temperature of shape {tuple(temperature.shape)}; expected one that broadcasts to {tuple(shape)}, the shape "
            "without the reduced dimension."
        )


def is_batched(tensor: Tensor) -> bool:
    """Tell whether a tensor is seen from inside torch.func.vmap."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def _result_dtype(tensors: tuple[Tensor, ...]) -> torch.dtype:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype if dtype.is_floating_point else torch.get_default_dtype()


def check_level(name: str, value: Any) -> None:
    """Raise `TemperatureError` for a temperature, number or tensor, that is not positive and finite."""
    if isinstance(value, Tensor):
        if values_are_checked(value) and not bool(((value > 0) & torch.isfinite(value)).all()):
            raise TemperatureError(
                _temperature_message(name, f"a tensor with values down to {float(value.min())!r}")
            )
    elif (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (value > 0 and math.isfinite(value))
    ):
        raise TemperatureError(_temperature_message(name, f"{value!r}"))


def _temperature_message(name: str, got: str) -> str:
    return (
        f"{name}() got temperature={got}; it must be positive and finite (small is hard). "
        'For the exact result use mode="hard".'
    )
