"""The k-th smallest element, relaxed: by rows of a permutation matrix, or as the root of a smoothed count, with n numbers of memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.operation import Method
from hardgrad.functional.operands import Lists, Once, Operands
from hardgrad.functional.permutations import neural_sort, per_list, sinkhorn_sort, softsort
from hardgrad.functional.results import Selection, choose_weights
from hardgrad.functional.selection import ORDER_LAWS, SORT_METHODS

HALVINGS = {torch.float32: 40, torch.float64: 64}
STATISTICS = {
    **{name: SORT_METHODS[name] for name in ("softsort", "neural_sort", "sinkhorn")},
    "pinball": Method(
        ORDER_LAWS - {"symmetric"},
        "within a few temperatures",
        "n numbers of memory; the gradient is spread over near elements",
    ),
}


def statistics(x: Tensor, places: Tensor, temperature: Any, method: str) -> Tensor:
    """Return the elements at `places` (k,) of the ascending order of x (..., n), relaxed, shape (..., k)."""
    if method == "pinball":
        return _roots(x, places, temperature)
    return (statistic_weights(x, places, temperature, method) * x.unsqueeze(-2)).sum(-1)


def statistic_weights(x: Tensor, places: Tensor, temperature: Any, method: str) -> Tensor:
    """Return the rows (..., k, n) at `places` of the relaxed permutation matrix of x."""
    if method == "softsort":
        return softsort(x, temperature, places=places)
    relax: Callable[..., Tensor] = {"neural_sort": neural_sort, "sinkhorn": sinkhorn_sort}[method]
    return relax(x, temperature)[..., places, :]


def _roots(x: Tensor, places: Tensor, temperature: Any) -> Tensor:
    """Return q with mean_i s((q - x_i) / t) = (place + 1/2) / n: the point below which that share of the smoothed elements lies.

    Halving finds it without gradients; two steps of Newton's method, which do not move it, carry first and second derivatives.
    """
    n = x.shape[-1]
    level = (places.to(x.dtype) + 0.5) / n
    t = per_list(temperature)
    z = (x / temperature).unsqueeze(-2)
    fixed = z.detach()
    reach = math.log(2.0 * n) + 1.0
    low = fixed.amin(-1) - reach + torch.zeros_like(level)
    high = fixed.amax(-1) + reach + torch.zeros_like(level)
    for _ in range(HALVINGS.get(x.dtype, 64)):
        middle = 0.5 * (low + high)
        below = torch.sigmoid(middle.unsqueeze(-1) - fixed).mean(-1) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    q = 0.5 * (low + high)
    for _ in range(2):
        share = torch.sigmoid(q.unsqueeze(-1) - z)
        q = q - (share.mean(-1) - level) / (share * (1.0 - share)).mean(-1)
    root: Tensor = q * (t.squeeze(-1) if isinstance(t, Tensor) and t.dim() else t)
    return root


def one_statistic(
    call: Operands, lists: Lists, place: int, keepdim: bool, method: str, exact: Once
) -> Selection:
    """Return the element at one place of the ascending order as torch's reductions do; `exact` gives torch's own result."""
    places = torch.tensor([place], device=lists.x.device)

    def reduced(tensor: Tensor) -> Tensor:
        full = lists.restore(tensor)
        return full if lists.scalar or keepdim else full.squeeze(lists.axis)

    def indices() -> Tensor:
        found: Tensor = exact().indices
        return found.squeeze(lists.axis) if keepdim and not lists.scalar else found

    def weights() -> Tensor | str:
        if method == "pinball":
            return f"{call.name}() has no weights with method='pinball'. Use method='softsort', 'neural_sort' or 'sinkhorn'."
        rows = statistic_weights(lists.x, places, lists.temperature, method).squeeze(-2)
        return rows.reshape(-1) if lists.scalar else rows

    values = call.result(
        lambda: exact().values, lambda: reduced(statistics(lists.x, places, lists.temperature, method))
    )
    return Selection(
        values, lambda: exact().indices, choose_weights(call, indices, lists.x.shape[-1], weights)
    )
