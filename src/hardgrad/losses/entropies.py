"""Entropies of partitions as losses: of a list into ascending runs, of points into ranges. The exact ones are in `exact`."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.functional.operands import check_choice, settle
from hardgrad.functional.recurrence import linear_recurrence

Unit = Literal["bits", "nats"]
UNITS = {"bits": math.log(2.0), "nats": 1.0}
MOST_HALFSPACES = 16


def run_entropy(
    x: Tensor, *, temperature: Any = None, margin: float = 0.0, unit: Unit = "bits", mode: Mode | None = None
) -> Tensor:
    """Return how far lists are from sorted: the entropy of their partition into ascending runs, with gradients.

    Adaptive sorting takes about n (H + 1) comparisons, so what lowers H makes lists quicker to sort.

    Parameters
    ----------
    x : (..., n), n >= 1.
    temperature : positive, in the units of x; small is hard. By default that of the surrounding block, else 0.1.
    margin : added to every difference; with repeats, a margin of a few temperatures keeps equal neighbours in one run.
    unit : "bits" or "nats".
    mode : "soft", "st" or "hard"; by default that of the surrounding block, else "soft".

    Returns
    -------
    entropy : shape (...): 0 for a sorted list, log n where every run has one element.

    Raises
    ------
    InputError : no elements, NaN or infinity.
    TemperatureError, ModeError, ParameterError : an argument outside its range.

    Examples
    --------
    >>> x = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])  # runs of 1, 3 and 2
    >>> [round(float(run_entropy(x, temperature=t)), 4) for t in (1.0, 0.1, 0.001)]
    [1.2399, 1.4591, 1.4591]

    Source: Shihab, Akter and Sharma, 2025, Differentiable Entropy Regularization for Geometry and Neural Networks; the estimator with an
    exact limit is hardgrad's own.
    """
    check_choice("run_entropy", "unit", unit, UNITS)
    call = settle("run_entropy", x, temperature=temperature, mode=mode)
    if x.dim() == 0 or not x.shape[-1]:
        raise InputError(f"run_entropy() got shape {tuple(x.shape)}; expected (..., n) with n >= 1.")

    def exact() -> Tensor:
        return _of_links((x.diff(dim=-1) + margin >= 0).to(call.dtype), unit)

    def soft() -> Tensor:
        return _of_links(torch.sigmoid((call.tensors[0].diff(dim=-1) + margin) / call.temperature), unit)

    return call.result(exact, soft)


def range_entropy(
    points: Tensor,
    anchors: Tensor | None = None,
    *,
    halfspaces: tuple[Tensor, Tensor] | None = None,
    temperature: Any = None,
    unit: Unit = "bits",
    mode: Mode | None = None,
) -> Tensor:
    """Return the entropy of how points share out among ranges, with gradients to points and ranges.

    On its own it is least where all points share one range: train it with a distortion or a task beside it.

    Parameters
    ----------
    points : (..., n, d), n >= 1.
    anchors : (k, d); a point belongs to anchors by a softmax of -distance^2 / temperature^2.
    halfspaces : in place of anchors, normals (m, d) and offsets (m,), m <= 16: a point belongs to the 2^m cells by products of sigmoids of
        (normal . x - offset) / temperature.
    temperature : positive, a distance; small is hard. By default that of the surrounding block, else 0.1.
    unit : "bits" or "nats".
    mode : "soft", "st" or "hard"; by default that of the surrounding block, else "soft".

    Returns
    -------
    entropy : shape (...), between 0 and the logarithm of the number of ranges.

    Raises
    ------
    InputError : no points, shapes that do not fit, NaN or infinity.
    ParameterError : neither or both of anchors and halfspaces, or too many half-spaces.

    Examples
    --------
    >>> points = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    >>> float(range_entropy(points, torch.tensor([[0.0], [1.0]]), temperature=0.1))
    1.0

    Source: Shihab, Akter and Sharma, 2025, Differentiable Entropy Regularization for Geometry and Neural Networks.
    """
    check_choice("range_entropy", "unit", unit, UNITS)
    if (anchors is None) == (halfspaces is None):
        raise ParameterError(
            "range_entropy() got neither or both of anchors and halfspaces; expected one of them."
        )
    ranges = (anchors,) if anchors is not None else halfspaces
    assert ranges is not None
    call = settle("range_entropy", points, *ranges, temperature=temperature, mode=mode)
    _check_ranges(points, *ranges)

    def membership(hard: bool) -> Tensor:
        x, *parts = (t.to(call.dtype) for t in call.given) if hard else call.tensors
        if len(parts) == 1:
            squared = ((x.unsqueeze(-2) - parts[0]) ** 2).sum(-1)
            if hard:
                return torch.nn.functional.one_hot(squared.argmin(-1), len(parts[0])).to(call.dtype)
            return torch.softmax(-squared / call.temperature**2, -1)
        height = x @ parts[0].mT - parts[1]
        above = (height > 0).to(call.dtype) if hard else torch.sigmoid(height / call.temperature)
        cells = torch.ones_like(above[..., :1])
        for j in range(above.shape[-1]):
            p = above[..., j : j + 1]
            cells = torch.cat([cells * (1.0 - p), cells * p], -1)
        return cells

    return call.result(
        lambda: _entropy(membership(True).mean(-2), unit), lambda: _entropy(membership(False).mean(-2), unit)
    )


def _of_links(links: Tensor, unit: Unit) -> Tensor:
    """The entropy of runs from how far each neighbour continues the run: (..., n - 1) links between n elements."""
    n = links.shape[-1] + 1
    nothing = torch.zeros_like(links[..., :1]) if n > 1 else links.new_zeros((*links.shape[:-1], 1))
    ones = torch.ones_like(torch.cat([nothing, links], -1))
    before = linear_recurrence(torch.cat([nothing, links], -1), ones)
    after = linear_recurrence(torch.cat([links, nothing], -1), ones, reverse=True)
    lengths = before + after - 1.0
    return (math.log(n) - torch.log(lengths).mean(-1)) / UNITS[unit]


def _entropy(share: Tensor, unit: Unit) -> Tensor:
    # An empty range has entropy 0 and no infinite slope: a softmax that underflows would make NaN of it.
    logarithm = torch.log(share.clamp_min(torch.finfo(share.dtype).tiny))
    return -(share * logarithm).sum(-1) / UNITS[unit]


def _check_ranges(points: Tensor, *ranges: Tensor) -> None:
    d = points.shape[-1] if points.dim() >= 2 else 0
    fits = (
        points.dim() >= 2
        and points.shape[-2]
        and ranges[0].dim() == 2
        and ranges[0].shape[1] == d
        and len(ranges[0])
    )
    if len(ranges) == 2:
        fits = fits and ranges[1].shape == ranges[0].shape[:1]
        if len(ranges[0]) > MOST_HALFSPACES:
            raise ParameterError(
                f"range_entropy() got {len(ranges[0])} half-spaces, that is 2^{len(ranges[0])} cells; expected at most {MOST_HALFSPACES}. "
                "Use anchors."
            )
    if not fits:
        shapes = " and ".join(str(tuple(r.shape)) for r in ranges)
        raise InputError(
            f"range_entropy() got points {tuple(points.shape)} with ranges {shapes}; expected points (..., n, d) with n >= 1 and anchors "
            "(k, d), or halfspaces (m, d) and (m,)."
        )
