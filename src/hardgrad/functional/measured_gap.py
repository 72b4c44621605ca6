"""What hardening costs: the same computation soft and hard, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, InputTypeError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode, mode, resolve_temperature
from hardgrad.functional.operands import DEFAULT_TEMPERATURE
from hardgrad.functional.results import Selection
from hardgrad.functional.selection import sort

SIDES: tuple[Mode, Mode] = ("soft", "hard")


def gap(
    function: Callable[..., Any],
    *inputs: Any,
    temperature: Any = None,
    tolerance: float = 1e-3,
    **keywords: Any,
) -> GapReport:
    """Return what hardening a computation costs: it runs once soft and once hard, on the same inputs and random numbers.

    Parameters
    ----------
    function : a module or function made of hardgrad's operations, which follow the surrounding mode; returns a tensor, a `Selection`, or
        tuples, lists and mappings of them.
    *inputs, **keywords : passed on.
    temperature : of the soft run, where the operations inside do not say their own.
    tolerance : elements that differ by at most this, or this share of the exact one, agree.

    Returns
    -------
    report : metric "output", the mean of all elements; for one number, that number. `worst_disagreement` in its units; `rows` counts the
        elements; `detail["temperature"]` is that of the block, `detail["mean_disagreement"]` the mean absolute difference.

    Raises
    ------
    InputTypeError : a result that is no tensor.
    InputError : results of different shapes, or none.

    Examples
    --------
    >>> from hardgrad.functional import sort
    >>> report = gap(lambda x: sort(x).values, torch.tensor([3.0, 1.0, 2.0]), temperature=0.2)
    >>> report.agreement < 1, report.worst_disagreement
    (True, 0.0068)
    """
    results = []
    state = torch.get_rng_state()
    with torch.no_grad():
        for value in SIDES:
            torch.set_rng_state(state)
            with mode(value, temperature=temperature):
                results.append(list(_tensors(function(*inputs, **keywords))))
                level = resolve_temperature(None, DEFAULT_TEMPERATURE)
    soft, hard = (
        torch.cat([t.detach().double().flatten() for t in found] or [torch.empty(0)]) for found in results
    )
    shapes = [[tuple(t.shape) for t in found] for found in results]
    if shapes[0] != shapes[1] or not soft.numel():
        raise InputError(
            f"gap() got results of shapes {shapes[0]} (soft) and {shapes[1]} (hard); expected equal shapes, not empty."
        )
    apart = torch.where(soft == hard, torch.zeros_like(soft), (soft - hard).abs())
    agree = apart <= tolerance * hard.abs().clamp_min(1.0)
    return GapReport(
        "output",
        soft=float(soft.mean()),
        hard=float(hard.mean()),
        agreement=float(agree.double().mean()),
        worst_disagreement=float(apart.max()),
        rows=soft.numel(),
        detail={"temperature": float(torch.as_tensor(level).max()), "mean_disagreement": float(apart.mean())},
    )


def softening_error(
    x: Tensor,
    dim: int = -1,
    descending: bool = False,
    *,
    temperature: Any = None,
    method: str = "network",
    **options: Any,
) -> Tensor:
    """Return how far every softly sorted value is from the exact one, shape of x; it grows where elements are close to each other.

    Parameters
    ----------
    x, dim, descending, temperature, method, **options : as for `sort`; by default odd-even networks with cauchy swaps.

    Examples
    --------
    >>> [round(v, 3) for v in softening_error(torch.tensor([3.0, 1.0, 2.0]), kind="optimal").tolist()]
    [0.013, 0.0, 0.012]

    Source: Kim, Yoon and Cho, 2024, Generalized Neural Sorting Networks with Error-Free Differentiable Swap Functions.
    """
    how: dict[str, Any] = {"temperature": temperature, "method": method, **options}
    soft = sort(x, dim, descending, mode="soft", **how).values
    return (soft - sort(x, dim, descending, mode="hard", **how).values).abs()


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Selection):
        yield result.values
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _tensors(value)
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _tensors(value)
    else:
        raise InputTypeError(
            f"gap() got a result of type {type(result).__name__}; expected tensors, or collections of them."
        )
