"""Staircases: round, floor, ceil and remainder. The soft ones are the exact ones blurred: a sum of soft steps over the near jumps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.comparisons import step_methods
from hardgrad.functional.operands import check_choice, operand, settle, values_are_checked
from hardgrad.functional.soft_steps import KINDS, soft_step

JUMPS = 5  # on either side that are summed one by one; further away they are too dense to tell from a ramp
STAIR_METHODS = step_methods()
SINE = Method(
    bound="at most 1/2, which it reaches where the exact one jumps",
    when="a smooth round of fixed softness, exact at whole numbers; it has no temperature",
    limit=None,
)
ROUND_METHODS = {**STAIR_METHODS, "sine": SINE}
REMAINDER_METHODS = step_methods("scale-equivariant")


def _remainder_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-3, 4, (*batch, 5), generator=generator) + 0.3
    x = x + 0.1 * torch.rand(x.shape, generator=generator)
    signs = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
    return (x.to(dtype), (2.0 * signs).to(dtype)), {}


@operation("round", hard=torch.round, option="kind", methods=ROUND_METHODS, inputs="elements")
def round(
    x: Tensor, *, decimals: int = 0, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return the nearest whole numbers, with gradients; mode "st" is the usual quantiser.

    Parameters
    ----------
    x : any shape, real.
    decimals : to round to tenths (1), hundredths (2) or tens (-1) instead of ones.
    temperature : positive number or tensor that broadcasts with x, in the units of x; by default that of the surrounding
        `hardgrad.mode` block, else 0.1. Small is hard; from about 1, one blurred step runs into the next and what is left is a ramp.
    kind : the soft step, one of `KINDS`; or "sine", x - sin(2 pi x) / (2 pi), of fixed softness, which takes no temperature.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard" (what torch.round returns: halves go to the even neighbour).

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range; a temperature given to kind "sine".
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> round(torch.tensor([0.2, 0.5, 1.8]), temperature=0.1).tolist()
    [0.0465, 0.5, 1.9535]
    >>> round(torch.tensor([0.2, 0.5, 1.5, 1.8]), mode="st").tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    check_choice("round", "kind", kind, ROUND_METHODS)
    if kind == "sine" and temperature is not None:
        raise ParameterError(
            "round() got a temperature with kind='sine', which has none; leave it out, or choose another kind."
        )
    call = settle("round", x, temperature=temperature, mode=mode)
    scale = 10.0**decimals

    def relaxed() -> Tensor:
        at = call.tensors[0] * scale
        if kind == "sine":
            return (at - torch.sin(2.0 * math.pi * at) / (2.0 * math.pi)) / scale
        return _staircase(at, call.temperature * scale, kind) / scale

    return call.result(lambda: torch.round(x, decimals=decimals) if decimals else torch.round(x), relaxed)


@operation("floor", hard=torch.floor, option="kind", methods=STAIR_METHODS, inputs="elements")
def floor(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return the whole numbers below, with gradients; soft, it is half way up at whole numbers.

    Parameters
    ----------
    x, temperature, mode : as for `round`.
    kind : the soft step, one of `KINDS`.

    Examples
    --------
    >>> floor(torch.tensor([0.5, 1.0, 1.5]), temperature=0.1, kind="c1").tolist()
    [0.0, 0.5, 1.0]
    """
    check_choice("floor", "kind", kind, KINDS)
    call = settle("floor", x, temperature=temperature, mode=mode)
    return call.result(
        lambda: torch.floor(x), lambda: _staircase(call.tensors[0] - 0.5, call.temperature, kind)
    )


@operation("ceil", hard=torch.ceil, option="kind", methods=STAIR_METHODS, inputs="elements")
def ceil(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return the whole numbers above, with gradients; soft, it is half way up at whole numbers.

    Parameters
    ----------
    x, temperature, mode : as for `round`.
    kind : the soft step, one of `KINDS`.

    Examples
    --------
    >>> ceil(torch.tensor([0.5, 1.0, 1.5]), temperature=0.1, kind="c1").tolist()
    [1.0, 1.5, 2.0]
    """
    check_choice("ceil", "kind", kind, KINDS)
    call = settle("ceil", x, temperature=temperature, mode=mode)
    return call.result(
        lambda: torch.ceil(x), lambda: _staircase(call.tensors[0] + 0.5, call.temperature, kind)
    )


@operation(
    "remainder", hard=torch.remainder, option="kind", methods=REMAINDER_METHODS, inputs=_remainder_inputs
)
def remainder(
    x: Tensor, other: Tensor | float, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:  # fmt: skip
    """Return what is left of x after division by `other`, with the sign of `other`: Python's %, as torch.remainder has it.

    Parameters
    ----------
    x, temperature, mode : as for `round`. The relaxed form is x - other * floor(x / other) with the soft `floor`.
    other : number, or tensor that broadcasts with x; not 0.
    kind : the soft step, one of `KINDS`.

    Raises
    ------
    InputError : a divisor of 0 in "soft" and "st".

    Examples
    --------
    >>> remainder(torch.tensor([-0.5, 2.5]), 2.0, temperature=0.01).tolist()
    [1.5, 0.5]
    """
    check_choice("remainder", "kind", kind, KINDS)
    call = settle("remainder", x, operand("remainder", other, x), temperature=temperature, mode=mode)
    if call.tensors and values_are_checked(call.tensors[1]) and bool((call.tensors[1] == 0).any()):
        raise InputError(
            'remainder() got a divisor of 0; expected other numbers. Mask it, or use mode="hard".'
        )

    def relaxed() -> Tensor:
        at, divisor = call.tensors
        whole = _staircase(at / divisor - 0.5, call.temperature / divisor.abs(), kind)
        return at - divisor * whole

    return call.result(lambda: torch.remainder(x, other), relaxed)


def _staircase(x: Tensor, temperature: Any, kind: str) -> Tensor:
    """The soft round. From the middle of a tread, the jumps above count what they are up, those below what they are not.

    The jumps beyond the nearest `JUMPS` are summed as the straight line they nearly are; its slope is what makes the ends of one tread
    meet those of the next, so that the result is continuous and so is its derivative, at any temperature and for any tail.
    """
    tread = x.detach().round()
    offset = x - tread
    total = tread
    for jump in range(JUMPS):
        total = total + soft_step(offset - (jump + 0.5), temperature, kind)
        total = total - soft_step(-offset - (jump + 0.5), temperature, kind)
    beyond = soft_step(torch.full_like(offset, -float(JUMPS)), temperature, kind)
    return total + 2.0 * beyond * offset
