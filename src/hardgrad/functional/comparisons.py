"""Comparisons of two tensors, element by element: greater, less, equal, close and their relatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import Operands, check_choice, operand, settle
from hardgrad.functional.soft_steps import KINDS, soft_equal, soft_step


def step_methods(*laws: str) -> dict[str, Method]:
    """Return the ways to relax an operation that is made of one soft step, with the laws that hold for it."""
    return {
        kind: Method(
            frozenset(laws),
            f"{member.tail} at v = distance / temperature",
            "gradients that never have the wrong sign in a swap" if member.monotone_swap else "",
            smooth=kind not in ("optimal", "c0"),
        )
        for kind, member in KINDS.items()
    }


PAIR_METHODS = step_methods("shift-invariant", "scale-invariant")
CLOSE_METHODS = step_methods()
NORMAL = Method(
    frozenset({"shift-invariant", "scale-invariant"}),
    "exp(-v^2) at v = distance / temperature",
    "a kernel whose width is the temperature itself",
)
EQUAL_METHODS = {**PAIR_METHODS, "normal": NORMAL}


@operation("greater", hard=torch.gt, option="kind", methods=PAIR_METHODS, inputs="pairs")
def greater(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x is greater than y, between 0 and 1; Boolean in mode "hard".

    Parameters
    ----------
    x : real tensor.
    y : real tensor that broadcasts with x, or a number.
    temperature : positive number or tensor that broadcasts with them, in their units; by default that of the surrounding
        `hardgrad.mode` block, else 0.1. Small is hard.
    kind : the soft step, one of `KINDS`.
    mode : "soft", "st" (0 and 1 forward, relaxed backward) or "hard" (what torch.gt returns).

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> greater(torch.tensor([0.0, 1.0]), torch.tensor(0.5), temperature=0.5, kind="c1").tolist()
    [0.0, 1.0]
    """
    call = _pair("greater", x, y, temperature, kind, mode)
    return call.result(lambda: torch.gt(x, y), lambda: soft_step(_difference(call), call.temperature, kind))


@operation("greater_equal", hard=torch.ge, option="kind", methods=PAIR_METHODS, inputs="pairs")
def greater_equal(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x is at least y, between 0 and 1; soft, it is 1/2 where both are equal, as `greater` is.

    Parameters
    ----------
    x, y, temperature, kind, mode : as for `greater`.

    Examples
    --------
    >>> greater_equal(torch.tensor([0.0, 1.0]), 1.0, mode="st").tolist()
    [0.0, 1.0]
    """
    call = _pair("greater_equal", x, y, temperature, kind, mode)
    return call.result(lambda: torch.ge(x, y), lambda: soft_step(_difference(call), call.temperature, kind))


@operation("less", hard=torch.lt, option="kind", methods=PAIR_METHODS, inputs="pairs")
def less(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x is less than y, between 0 and 1; Boolean in mode "hard".

    Parameters
    ----------
    x, y, temperature, kind, mode : as for `greater`.

    Examples
    --------
    >>> less(torch.tensor([0.0, 1.0]), 0.5, temperature=0.5, kind="c1").tolist()
    [1.0, 0.0]
    """
    call = _pair("less", x, y, temperature, kind, mode)
    return call.result(lambda: torch.lt(x, y), lambda: soft_step(-_difference(call), call.temperature, kind))


@operation("less_equal", hard=torch.le, option="kind", methods=PAIR_METHODS, inputs="pairs")
def less_equal(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x is at most y, between 0 and 1; soft, it is 1/2 where both are equal, as `less` is.

    Parameters
    ----------
    x, y, temperature, kind, mode : as for `greater`.

    Examples
    --------
    >>> less_equal(torch.tensor([0.0, 1.0]), 0.0, mode="hard").tolist()
    [True, False]
    """
    call = _pair("less_equal", x, y, temperature, kind, mode)
    return call.result(lambda: torch.le(x, y), lambda: soft_step(-_difference(call), call.temperature, kind))


@operation("eq", hard=torch.eq, option="kind", methods=EQUAL_METHODS, inputs="pairs")
def eq(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x equals y: 1 where they are equal, towards 0 as they part; Boolean in mode "hard".

    Parameters
    ----------
    x, y, temperature, mode : as for `greater`.
    kind : one of `KINDS`, for 4 s (1 - s) with that soft step s of the difference, or "normal", for exp(-(difference / temperature)^2).

    Examples
    --------
    >>> eq(torch.tensor([0.0, 0.5, 1.0]), 0.0, temperature=0.5, kind="normal").tolist()
    [1.0, 0.3679, 0.0183]
    """
    call = _pair("eq", x, y, temperature, kind, mode, EQUAL_METHODS)
    return call.result(lambda: torch.eq(x, y), lambda: soft_equal(_difference(call), call.temperature, kind))


@operation("ne", hard=torch.ne, option="kind", methods=EQUAL_METHODS, inputs="pairs")
def ne(
    x: Tensor, y: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x differs from y: 1 - `eq`.

    Parameters
    ----------
    x, y, temperature, kind, mode : as for `eq`.

    Examples
    --------
    >>> ne(torch.tensor([0.0, 1.0]), 0.0, temperature=0.5, kind="normal").tolist()
    [0.0, 0.9817]
    """
    call = _pair("ne", x, y, temperature, kind, mode, EQUAL_METHODS)
    return call.result(
        lambda: torch.ne(x, y), lambda: 1.0 - soft_equal(_difference(call), call.temperature, kind)
    )


@operation("isclose", hard=torch.isclose, option="kind", methods=CLOSE_METHODS, inputs="pairs")
def isclose(
    x: Tensor,
    y: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
    *,
    temperature: Any = None,
    kind: str = "logistic",
    mode: Mode | None = None,
) -> Tensor:
    """Return how far x lies within atol + rtol * abs(y) of y: 1 where they are equal, towards 0 as they part.

    Parameters
    ----------
    x, y, temperature, kind, mode : as for `greater`. The relaxed form is the product of the two soft steps at the ends of the
        interval, over its value in the middle; where the tolerance is 0 it is `eq`.
    rtol, atol : relative and absolute tolerance, not negative.
    equal_nan : whether NaN is close to NaN, in mode "hard"; "soft" and "st" take no NaN.

    Examples
    --------
    >>> x = torch.tensor([0.0, 0.9, 1.1])
    >>> isclose(x, torch.tensor(0.0), atol=1.0, temperature=0.01, kind="c1").tolist()
    [1.0, 1.0, 0.0]
    """
    call = _pair("isclose", x, y, temperature, kind, mode)

    def relaxed() -> Tensor:
        difference = _difference(call)
        tolerance = atol + rtol * call.tensors[1].abs()
        above, below, middle = (
            soft_step(end, call.temperature, kind)
            for end in (tolerance - difference, tolerance + difference, tolerance)
        )
        return above * below / middle.square()

    return call.result(lambda: torch.isclose(x, y, rtol, atol, equal_nan), relaxed)


def _pair(
    name: str, x: Tensor, y: Tensor | float, temperature: Any, kind: str, mode: Mode | None,
    kinds: dict[str, Method] = PAIR_METHODS,
) -> Operands:  # fmt: skip
    check_choice(name, "kind", kind, kinds)
    return settle(name, x, operand(name, y, x), temperature=temperature, mode=mode)


def _difference(call: Operands) -> Tensor:
    return call.tensors[0] - call.tensors[1]
