"""Comparisons and what is made of them: greater, sign and their relatives, element by element."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import check_choice, settle
from hardgrad.functional.soft_steps import KINDS, soft_step


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
SIGN_METHODS = step_methods("scale-invariant")


@operation("greater", hard=torch.gt, option="kind", methods=PAIR_METHODS, inputs="pairs")
def greater(
    x: Tensor, y: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how far x is greater than y, between 0 and 1; Boolean in mode "hard".

    Parameters
    ----------
    x, y : real tensors that broadcast with each other.
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
    check_choice("greater", "kind", kind, KINDS)
    call = settle("greater", x, y, temperature=temperature, mode=mode)
    return call.result(
        lambda: torch.gt(x, y),
        lambda: soft_step(call.tensors[0] - call.tensors[1], call.temperature, kind),
    )


@operation("sign", hard=torch.sign, option="kind", methods=SIGN_METHODS, inputs="elements")
def sign(x: Tensor, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None) -> Tensor:
    """Return -1 for negative, 1 for positive elements and what lies between near 0.

    Parameters
    ----------
    x, temperature, kind, mode : as for `greater`.

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
