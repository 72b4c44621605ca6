"""Functions of one number that have a jump or a kink at given places: sign, heaviside, abs, relu, clamp and hardtanh."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.comparisons import step_methods
from hardgrad.functional.operands import check_choice, operand, settle, values_are_checked
from hardgrad.functional.soft_steps import KINDS, soft_equal, soft_relu, soft_step

Bound = Tensor | float | None


def kink_methods(*laws: str, kinks: int = 1) -> dict[str, Method]:
    """Return the ways to relax an operation that is made of soft relus, with how far each can be from the exact one."""
    return {
        kind: Method(
            frozenset(laws),
            f"{kinks * relu_gap(kind):.3g} * temperature",
            "" if member.relu else "no drift far away: x * step(x), whose derivative is not the step",
            smooth=kind not in ("optimal", "c0"),
        )
        for kind, member in KINDS.items()
    }


def relu_gap(kind: str) -> float:
    """Return the largest distance of `soft_relu` from max(x, 0), in units of the temperature.

    Examples
    --------
    >>> relu_gap("logistic"), relu_gap("cauchy")
    (0.6931, 0.3183)
    """
    member = KINDS[kind]
    at_zero = torch.zeros((), dtype=torch.float64)
    return member.swap_error if member.relu is None else float(member.relu(at_zero))


SIGN_METHODS = step_methods("scale-invariant")
RELU_METHODS = kink_methods("scale-equivariant")
ABS_METHODS = kink_methods("scale-equivariant", kinks=2)
CLAMP_METHODS = kink_methods("shift-equivariant", "scale-equivariant")
HARDTANH_METHODS = kink_methods()


def _heaviside_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-3, 3, (*batch, 5), generator=generator) + 0.25
    return (x.to(dtype),), {"values": torch.tensor(0.75, dtype=dtype)}


def _clamp_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-3, 3, (*batch, 5), generator=generator) + 0.3
    low = -1.5 + 0.1 * torch.rand(x.shape, generator=generator)
    return (x.to(dtype), low.to(dtype), (low + 3.0).to(dtype)), {}


@operation("sign", hard=torch.sign, option="kind", methods=SIGN_METHODS, inputs="elements")
def sign(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return -1 for negative, 1 for positive elements and what lies between near 0.

    Parameters
    ----------
    x : any shape, real.
    temperature : positive number or tensor that broadcasts with x, in the units of x; by default that of the surrounding
        `hardgrad.mode` block, else 0.1. Small is hard.
    kind : the soft step, one of `KINDS`.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard" (what torch.sign returns).

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> sign(torch.tensor([-2.0, 0.0, 0.3]), mode="st").tolist()
    [-1.0, 0.0, 1.0]
    """
    check_choice("sign", "kind", kind, KINDS)
    call = settle("sign", x, temperature=temperature, mode=mode)
    return call.result(
        lambda: torch.sign(x), lambda: 2.0 * soft_step(call.tensors[0], call.temperature, kind) - 1.0
    )


@operation("heaviside", hard=torch.heaviside, option="kind", methods=SIGN_METHODS, inputs=_heaviside_inputs)
def heaviside(
    x: Tensor, values: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return 0 for negative, 1 for positive elements and `values` at 0.

    Parameters
    ----------
    x, temperature, kind, mode : as for `sign`.
    values : what is returned at 0; broadcasts with x. The relaxed form adds (values - 1/2) * 4 s (1 - s) to the soft step s: it has
        the right value at 0 and is monotone for values from 1/4 to 3/4.

    Examples
    --------
    >>> heaviside(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor(0.75), temperature=0.5, kind="c2").tolist()
    [0.0, 0.75, 1.0]
    """
    check_choice("heaviside", "kind", kind, KINDS)
    call = settle("heaviside", x, values, temperature=temperature, mode=mode)

    def relaxed() -> Tensor:
        at, level = call.tensors
        bump = soft_equal(at, call.temperature, kind)
        return soft_step(at, call.temperature, kind) + (level - 0.5) * bump

    return call.result(lambda: torch.heaviside(x, values), relaxed)


@operation("relu", hard=torch.relu, option="kind", methods=RELU_METHODS, inputs="elements")
def relu(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return max(x, 0) with its kink rounded; the derivative is the soft step itself for kinds with a light tail.

    Parameters
    ----------
    x, temperature, mode : as for `sign`.
    kind : one of `KINDS`. "cauchy", "reciprocal" and "optimal" have tails too heavy for an antiderivative that approaches max(x, 0):
        they give x * step(x), whose derivative is not the step.

    Examples
    --------
    >>> relu(torch.tensor([-1.0, 0.0, 1.0]), temperature=0.5, kind="c0").tolist()
    [0.0, 0.125, 1.0]
    """
    check_choice("relu", "kind", kind, KINDS)
    call = settle("relu", x, temperature=temperature, mode=mode)
    return call.result(lambda: torch.relu(x), lambda: soft_relu(call.tensors[0], call.temperature, kind))


@operation("abs", hard=torch.abs, option="kind", methods=ABS_METHODS, inputs="elements")
def abs(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return the absolute value with its kink rounded; the derivative is the soft `sign` for kinds with a light tail.

    Parameters
    ----------
    x, temperature, kind, mode : as for `relu`. Heavy tails give x * sign(x).

    Examples
    --------
    >>> abs(torch.tensor([-1.0, 0.0, 1.0]), temperature=0.5, kind="c0").tolist()
    [1.0, 0.25, 1.0]
    """
    check_choice("abs", "kind", kind, KINDS)
    call = settle("abs", x, temperature=temperature, mode=mode)

    def relaxed() -> Tensor:
        at = call.tensors[0]
        return 2.0 * soft_relu(at, call.temperature, kind) - at

    return call.result(lambda: torch.abs(x), relaxed)


@operation("clamp", hard=torch.clamp, option="kind", methods=CLAMP_METHODS, inputs=_clamp_inputs)
def clamp(
    x: Tensor, min: Bound = None, max: Bound = None, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:  # fmt: skip
    """Return x held between two bounds, with rounded kinks.

    Parameters
    ----------
    x, temperature, kind, mode : as for `relu`.
    min, max : numbers, or tensors that broadcast with x; None for no bound. Unlike torch.clamp, a minimum above the maximum is an error.

    Raises
    ------
    ParameterError : neither bound is given.
    InputError : a minimum above its maximum.

    Examples
    --------
    >>> clamp(torch.tensor([-3.0, 0.25, 3.0]), 0.0, 1.0, temperature=0.1, kind="c1").tolist()
    [0.0, 0.25, 1.0]
    """
    return _clamp("clamp", lambda: _hard_clamp(x, min, max), x, min, max, temperature, kind, mode)


@operation(
    "hardtanh", hard=torch.nn.functional.hardtanh, option="kind", methods=HARDTANH_METHODS, inputs="elements"
)
def hardtanh(
    x: Tensor, min_val: float = -1.0, max_val: float = 1.0, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:  # fmt: skip
    """Return x held between -1 and 1, or two other bounds, with rounded kinks.

    Parameters
    ----------
    x, temperature, kind, mode : as for `relu`.
    min_val, max_val : the bounds; a minimum above the maximum is an error.

    Examples
    --------
    >>> hardtanh(torch.tensor([-3.0, 0.25, 3.0]), temperature=0.1, kind="c1").tolist()
    [-1.0, 0.25, 1.0]
    """
    return _clamp(
        "hardtanh", lambda: torch.nn.functional.hardtanh(x, min_val, max_val), x, min_val, max_val, temperature, kind, mode
    )  # fmt: skip


def _clamp(
    name: str, hard: Callable[[], Tensor], x: Tensor, low: Bound, high: Bound, temperature: Any, kind: str, mode: Mode | None
) -> Tensor:  # fmt: skip
    check_choice(name, "kind", kind, KINDS)
    if low is None and high is None:
        raise ParameterError(f"{name}() got no bound; expected min, max or both.")
    ends = [low, high]
    _check_order(name, low, high)
    # A number that is infinite bounds nothing; a tensor with infinities is refused by settle(), as any other.
    finite = [isinstance(end, Tensor) or (end is not None and math.isfinite(end)) for end in ends]
    present = [operand(name, end, x) for end, there in zip(ends, finite, strict=True) if there]
    call = settle(name, x, *present, temperature=temperature, mode=mode)

    def relaxed() -> Tensor:
        at, *found = call.tensors
        lower = found[0] if finite[0] else None
        upper = found[-1] if finite[1] else None
        return _soft_clamp(at, lower, upper, call.temperature, kind)

    return call.result(hard, relaxed)


def _hard_clamp(x: Tensor, low: Bound, high: Bound) -> Tensor:
    clamped: Any = torch.clamp  # its types do not know of a number beside a tensor
    if isinstance(low, Tensor) == isinstance(high, Tensor) or low is None or high is None:
        return clamped(x, low, high)  # type: ignore[no-any-return]
    return clamped(clamped(x, min=low), max=high)  # type: ignore[no-any-return]


def _soft_clamp(x: Tensor, low: Tensor | None, high: Tensor | None, temperature: Any, kind: str) -> Tensor:
    """The same function written from either end, each where its terms are small: far away nothing large cancels."""
    if low is None:
        return x + 0.0 if high is None else high - soft_relu(high - x, temperature, kind)
    if high is None:
        return low + soft_relu(x - low, temperature, kind)
    from_low = low + soft_relu(x - low, temperature, kind) - soft_relu(x - high, temperature, kind)
    from_high = high - soft_relu(high - x, temperature, kind) + soft_relu(low - x, temperature, kind)
    return torch.where(x < 0.5 * (low + high), from_low, from_high)


def _check_order(name: str, low: Bound, high: Bound) -> None:
    if low is None or high is None:
        return
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        tensors = [end for end in (low, high) if isinstance(end, Tensor)]
        wrong = all(values_are_checked(end) for end in tensors) and bool(torch.as_tensor(low > high).any())
    else:
        wrong = low > high
    if wrong:
        raise InputError(f"{name}() got a minimum above its maximum ({low!r} and {high!r}); swap them.")
