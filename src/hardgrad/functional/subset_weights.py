"""topk_weights: one weight between 0 and 1 for each element, that sum to k and become those of the k largest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import (
    Lists,
    as_lists,
    check_choice,
    normalise_dim,
    settle,
    values_are_checked,
)
from hardgrad.functional.topk_projection import capped_simplex, entropic_capped_simplex

DEFAULT_TEMPERATURE = 0.05
LAWS = frozenset({"shift-invariant", "scale-invariant"})
METHODS = {
    "transport": Method(
        LAWS, "exact to n exp(-gap / (temperature * cost_scale)); the laws hold at a given cost_scale",
        "smooth; every element keeps a weight above 0",
    ),
    "projection": Method(
        LAWS, "exact where neighbours are at least temperature * cost_scale apart; the laws hold at a given cost_scale",
        "sparse: weights are exactly 0 and 1 outside a margin", smooth=False,
    ),
}  # fmt: skip


def exact_topk_weights(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, cost_scale: Any = None
) -> Tensor:
    """Return 1 for the k largest elements of one dimension and 0 for the others; of equal ones the first are taken."""
    _check_count(k, 1 if x.dim() == 0 else x.shape[normalise_dim("topk_weights", x, dim)])
    dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    if x.dim() == 0:
        return torch.full_like(x, float(k), dtype=dtype)
    order = torch.sort(x, dim=dim, descending=largest, stable=True).indices.narrow(dim, 0, k)
    return torch.zeros_like(x, dtype=dtype).scatter(dim, order, 1.0)


def _example(
    generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Five numbers at least 1 apart, a count, and a scale that does not move with the numbers: it has no gradient."""
    order = torch.rand((*batch, 5), generator=generator).argsort(-1)
    x = (1.25 * order + 0.2 * torch.rand((*batch, 5), generator=generator, dtype=torch.float64)).to(dtype)
    return (x, 3), {"dim": -1, "cost_scale": 1.0}


@operation("topk_weights", hard=exact_topk_weights, option="method", methods=METHODS, inputs=_example)
def topk_weights(
    x: Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    *,
    method: str = "transport",
    temperature: Any = None,
    cost_scale: Any = None,
    mode: Mode | None = None,
) -> Tensor:
    """Return weights in [0, 1] that sum to k along one dimension, near 1 for the k largest elements and near 0 for the others.

    This is the exact optimal transport of the elements to two anchors, 1 with mass k and 0 with the rest (swapped for the smallest), at
    squared distances as costs: a closed form with one unknown, which bisection finds. No iteration of Sinkhorn's is needed.

    Parameters
    ----------
    x : any shape, real. Costs are squared distances from 0 and 1, so that numbers of that order are natural; others work as well.
    k : sum of the weights, from 0 (all are 0) to the size of `dim` (all are 1).
    dim : the dimension to choose along, the last by default.
    largest : False for the k smallest, as for distances.
    method : "transport" (entropy as regulariser, smooth) or "projection" (squares as regulariser: the projection of
        x / (temperature * cost_scale) onto {0 <= w <= 1, sum w = k}).
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, as a share of `cost_scale`; by default that of
        the surrounding `hardgrad.mode` block, else 0.05. Small is hard.
    cost_scale : positive number or tensor that broadcasts like the temperature; by default the largest cost of the list, at least 1/4. It
        has no gradient: to compare a gradient with finite differences, hold it fixed.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard"; by default that of the surrounding block, else "soft".

    Returns
    -------
    weights : in the shape of x, floating.

    Raises
    ------
    InputError : k is negative or larger than the dimension; NaN, or infinity in "soft"; a cost_scale that is not positive.
    TemperatureError, ModeError, ParameterError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> distances = torch.tensor([0.1, 0.25, 0.4, 0.7, 0.9])
    >>> [round(w, 3) for w in topk_weights(distances, 2, largest=False).tolist()]
    [1.0, 0.976, 0.024, 0.0, 0.0]
    >>> topk_weights(distances, 2, largest=False, mode="hard").tolist()
    [1.0, 1.0, 0.0, 0.0, 0.0]

    Source: Wojcik et al., 2023, Domain-Agnostic Neural Architecture for Class Incremental Continual Learning in Document
    Processing Platform, for the use; Xie et al., 2020, Differentiable Top-k Operator with Optimal Transport, for the two anchors.
    """
    check_choice("topk_weights", "method", method, METHODS)
    call = settle(
        "topk_weights", x, temperature=temperature, mode=mode, default_temperature=DEFAULT_TEMPERATURE
    )
    lists = as_lists(call, dim)
    _check_count(k, lists.x.shape[-1])

    def soft() -> Tensor:
        u = lists.x
        if k in (0, u.shape[-1]):
            return lists.restore(0.0 * u + float(k > 0))
        scaled = (u if largest else -u) / (lists.temperature * _cost_scale(lists, cost_scale))
        if method == "projection":
            total = torch.tensor([float(k)], dtype=u.dtype, device=u.device)
            return lists.restore(capped_simplex(scaled, total).squeeze(-2))
        return lists.restore(entropic_capped_simplex(2.0 * scaled, k))

    return call.result(lambda: exact_topk_weights(x, k, dim, largest), soft)


def _check_count(k: object, size: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int):
        raise ParameterError(f"topk_weights() got k={k!r}; expected a whole number.")
    if not 0 <= k <= size:
        raise InputError(
            f"topk_weights() got k={k} for a dimension of size {size}; expected 0 to {size}. Weights are at most 1 each."
        )


def _cost_scale(lists: Lists, given: Any) -> Any:
    """Return the scale of costs, number or (...) + (1,), without a gradient: the largest squared distance from an anchor by default."""
    if given is None:
        u = lists.x.detach()
        return torch.maximum(u.square(), (u - 1.0).square()).amax(-1, keepdim=True)
    if not isinstance(given, Tensor):
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
            raise InputError(f"topk_weights() got cost_scale={given!r}; expected a positive, finite number.")
        return given
    if values_are_checked(given) and not bool(((given > 0) & torch.isfinite(given)).all()):
        raise InputError(
            f"topk_weights() got a cost_scale with values down to {float(given.min())!r}; expected positive, finite ones."
        )
    scale = given.detach().to(lists.x.dtype)
    return scale.unsqueeze(-1) if scale.dim() else scale
