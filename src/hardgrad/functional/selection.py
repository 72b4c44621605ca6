"""Sort and its relatives: operations that put the elements of one dimension in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.isotonic import soft_sort
from hardgrad.functional.network_layers import Network, check_network
from hardgrad.functional.operands import Once, as_lists, check_choice, check_options, settle
from hardgrad.functional.permutations import neural_sort, sinkhorn_sort, softsort
from hardgrad.functional.results import Selection, choose_weights, mixture
from hardgrad.functional.sorting_networks import check_swap, network_sort

ORDER_LAWS = frozenset({"shift-equivariant", "scale-equivariant", "symmetric"})
SORT_METHODS = {
    "softsort": Method(
        ORDER_LAWS, "each value within temperature * (n - 1) / e", "one softmax, any n", weights=True
    ),
    "network": Method(
        frozenset({"shift-equivariant", "scale-equivariant"}),
        "depth * swap_error_bound(kind, temperature)",
        "gradients without a wrong sign, sums kept, P doubly stochastic",
        weights=True,
    ),
    "neural_sort": Method(
        ORDER_LAWS,
        "rows are exact to exp(-gap / temperature)",
        "unimodal rows, as ranking losses use",
        weights=True,
    ),
    "sinkhorn": Method(
        ORDER_LAWS, "exact to exp(-gap / temperature)", "rows and columns that sum to 1; O(n^3)", weights=True
    ),
    "permutahedron": Method(
        frozenset({"shift-equivariant"}),
        "exact where neighbours in the order are at most 1 / temperature apart",
        "long lists: O(n log n), no n x n weights; its temperature is in the inverse units of x",
        smooth=False,
    ),
    "permutahedron_kl": Method(
        frozenset({"shift-equivariant"}),
        "exact to exp(gap - 1 / temperature)",
        "as permutahedron, in the Kullback-Leibler sense",
        limit=1e-2,
        smooth=False,
    ),
}
SORT_OPTIONS = {"network": ("network",), "kind": ("network",), "swap": ("network",)}
Weights = Tensor | Callable[[], Tensor] | str  # (..., n, n), what makes them, or why there are none
RelaxedSort = tuple[Tensor, Weights]  # values (..., n) first


@operation("sort", hard=torch.sort, option="method", methods=SORT_METHODS, inputs="along")
def sort(
    x: Tensor,
    dim: int = -1,
    descending: bool = False,
    *,
    temperature: Any = None,
    method: str = "softsort",
    network: Network | None = None,
    kind: str | None = None,
    swap: str | None = None,
    mode: Mode | None = None,
) -> Selection:
    """Return the elements of one dimension in order, with gradients through the order.

    Parameters
    ----------
    x : any shape, real; halves are computed in float32.
    dim : the dimension to sort, the last by default.
    descending : largest first.
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, in the units of x; by default that of the
        surrounding `hardgrad.mode` block, else 0.1. Small is hard.
    method : how to relax, one of "softsort", "network" (a sorting network of relaxed swaps), "neural_sort", "sinkhorn" (rows and columns
        of the weights sum to 1), "permutahedron" and "permutahedron_kl" (no weights, O(n log n), and the temperature is in the inverse
        units of x).
    network : of method "network": "odd_even" (the default), "bitonic" (fewer layers), or layers of pairs (wire of the smaller, wire of
        the larger).
    kind : of method "network": the soft step of a swap, one of `KINDS` or "art"; by default "cauchy". The gradients of cauchy, reciprocal
        and optimal swaps never have the wrong sign. Under "art" the law of scale does not hold.
    swap : of method "network": "soft" (the default), or "error_free": every swap is exact forward and relaxed backward, so that values and
        weights are exact in mode "soft" too.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard" (what torch.sort returns, stable); by default that of the surrounding
        block, else "soft".

    Returns
    -------
    selection : `values` in the shape of x, exact int64 `indices`, and `weights` (..., n, n) with values = weights @ x.

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range, or an option of another method.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
    >>> [round(v, 3) for v in sort(x, temperature=0.2).values.tolist()]
    [1.007, 2.0, 2.993]
    >>> sort(x, mode="st").values.tolist(), sort(x).indices.tolist()
    ([1.0, 2.0, 3.0], [1, 2, 0])
    >>> [round(v, 3) for v in sort(x, temperature=0.2, method="network", kind="optimal").values.tolist()]
    [1.025, 2.0, 2.975]
    """
    check_choice("sort", "method", method, SORT_METHODS)
    given = {"network": network, "kind": kind, "swap": swap}
    options = check_options("sort", method, given, SORT_OPTIONS)
    check_network("sort", network or "odd_even")
    check_swap("sort", kind or "cauchy", swap or "soft")
    call = settle("sort", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)
    exact = Once(lambda: torch.sort(x, dim=lists.axis, descending=descending, stable=True))
    order = Once(lambda: torch.sort(lists.x, dim=-1, descending=descending, stable=True).indices)
    soft = Once(lambda: RELAXED_SORTS[method](lists.x, lists.temperature, descending, **options))
    values = call.result(lambda: exact().values, lambda: lists.restore(soft()[0]))
    weights = choose_weights(call, order, lists.x.shape[-1], lambda: made_weights(soft()[1]))
    return Selection(values, lambda: exact().indices, weights)


def _sort_by_weights(
    relax: Callable[..., Tensor], x: Tensor, temperature: Any, descending: bool
) -> RelaxedSort:
    weights = relax(x, temperature, descending)
    return mixture(weights, x), weights


def made_weights(weights: Weights) -> Tensor | str:
    """Return the weights of a relaxed sort, made now where they were not yet, or why there are none."""
    return weights() if callable(weights) else weights


def _sort_by_projection(entropic: bool, x: Tensor, temperature: Any, descending: bool) -> RelaxedSort:
    return soft_sort(x, temperature, descending, entropic), (
        "sort() has no weights with method='permutahedron': it never makes an n x n matrix. Use method='softsort', 'network', "
        "'neural_sort' or 'sinkhorn'."
    )


RELAXED_SORTS: dict[str, Callable[..., RelaxedSort]] = {
    "network": network_sort,
    "softsort": partial(_sort_by_weights, softsort),
    "neural_sort": partial(_sort_by_weights, neural_sort),
    "sinkhorn": partial(_sort_by_weights, sinkhorn_sort),
    "permutahedron": partial(_sort_by_projection, False),
    "permutahedron_kl": partial(_sort_by_projection, True),
}
