"""Operations made of an order: argsort, rank, topk and kthvalue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.isotonic import soft_rank
from hardgrad.functional.operands import Lists, Once, as_lists, check_choice, settle
from hardgrad.functional.order_statistics import STATISTICS, one_statistic
from hardgrad.functional.permutations import neural_sort, per_list, sinkhorn_sort, softsort
from hardgrad.functional.results import Selection, choose_weights, mixture
from hardgrad.functional.selection import ORDER_LAWS, RELAXED_SORTS, SORT_METHODS, made_weights
from hardgrad.functional.soft_steps import KINDS, soft_step
from hardgrad.functional.topk_projection import topk_rows

INVARIANT = frozenset({"shift-invariant", "scale-invariant"})
ARGSORT_METHODS = {
    name: replace(method, laws=INVARIANT, bound="exact to exp(-gap / temperature)", weights=False)
    for name, method in SORT_METHODS.items()
    if method.weights
}


@operation(
    "argsort",
    hard=partial(torch.argsort, stable=True),
    option="method",
    methods=ARGSORT_METHODS,
    inputs="along",
)
def argsort(
    x: Tensor,
    dim: int = -1,
    descending: bool = False,
    *,
    temperature: Any = None,
    method: str = "softsort",
    mode: Mode | None = None,
) -> Tensor:
    """Return where the elements of the sorted order stand: expected positions in "soft", exact ones else.

    Parameters
    ----------
    x, dim, descending, temperature : as for `sort`.
    method : as for `sort`, of those that have weights.
    mode : "soft" (floating, between positions), "st" (exact positions as floats, with the relaxed gradient) or "hard" (int64, as
        torch.argsort, stable).

    Raises
    ------
    TemperatureError, ModeError, ParameterError, InputError, InputTypeError : as for `sort`.

    Examples
    --------
    >>> x = torch.tensor([3.0, 1.0, 2.0])
    >>> argsort(x, temperature=0.5).tolist(), argsort(x, mode="hard").tolist()
    ([1.101, 1.680, 0.250], [1, 2, 0])
    """
    check_choice("argsort", "method", method, ARGSORT_METHODS)
    call = settle("argsort", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)

    def soft() -> Tensor:
        _, weights = RELAXED_SORTS[method](lists.x, lists.temperature, descending)
        made = made_weights(weights)
        assert isinstance(made, Tensor)
        places = torch.arange(lists.x.shape[-1], dtype=lists.x.dtype, device=x.device)
        return lists.restore((made * places).sum(-1))

    return call.result(lambda: torch.argsort(x, dim=lists.axis, descending=descending, stable=True), soft)


# rank
def _pairwise(x: Tensor, temperature: Any, kind: str) -> Tensor:
    ahead = soft_step(x.unsqueeze(-1) - x.unsqueeze(-2), per_list(temperature), kind)
    return 0.5 + ahead.sum(-1)


def _by_places(relax: Callable[..., Tensor], x: Tensor, temperature: Any, kind: str) -> Tensor:
    places = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    return (relax(x, temperature) * places.unsqueeze(-1)).sum(-2)


RELAXED_RANKS: dict[str, Callable[..., Tensor]] = {
    "pairwise": _pairwise,
    "permutahedron": lambda x, temperature, kind: soft_rank(x, temperature),
    "permutahedron_kl": lambda x, temperature, kind: soft_rank(x, temperature, entropic=True),
    "softsort": partial(_by_places, softsort),
    "neural_sort": partial(_by_places, neural_sort),
    "sinkhorn": partial(_by_places, sinkhorn_sort),
}
RANK_METHODS = {
    "pairwise": Method(
        INVARIANT, "within (n - 1) s(-gap / temperature) for the soft step s", "any n up to some thousands; sums to n (n + 1) / 2"
    ),
    "permutahedron": Method(
        INVARIANT, "exact where all are at least temperature apart", "long lists: O(n log n)", smooth=False
    ),
    "permutahedron_kl": Method(
        INVARIANT, "exact where all are at least temperature apart", "as permutahedron, ranks stay positive ratios", smooth=False
    ),
    **{
        name: replace(
            SORT_METHODS[name], laws=INVARIANT, bound="exact to n exp(-gap / temperature)", when=f"with sort by {name}", weights=False
        )
        for name in ("softsort", "neural_sort", "sinkhorn")
    },
}  # fmt: skip


def exact_rank(x: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Return ranks 1..n, floating; equal elements share the mean of theirs, as in `scipy.stats.rankdata`."""
    moved = (x.reshape(1) if x.dim() == 0 else x.movedim(dim, -1)).detach().contiguous()
    ordered = torch.sort(moved, dim=-1).values
    below = torch.searchsorted(ordered, moved, side="left")
    up_to = torch.searchsorted(ordered, moved, side="right")
    dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
    ranks = (below + up_to + 1).to(dtype) / 2
    if descending:
        ranks = x.shape[dim] + 1 - ranks if x.dim() else ranks
    return ranks.squeeze(-1) if x.dim() == 0 else ranks.movedim(-1, dim)


@operation("rank", hard=exact_rank, option="method", methods=RANK_METHODS, inputs="along")
def rank(
    x: Tensor,
    dim: int = -1,
    descending: bool = False,
    *,
    temperature: Any = None,
    method: str = "pairwise",
    kind: str = "logistic",
    mode: Mode | None = None,
) -> Tensor:
    """Return the rank of every element among those of its dimension, 1 for the smallest.

    Parameters
    ----------
    x : any shape, real; halves are computed in float32.
    dim : the dimension to rank, the last by default.
    descending : 1 for the largest.
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, in the units of x; by default that of the
        surrounding `hardgrad.mode` block, else 0.1. Small is hard.
    method : how to relax, one of "pairwise" (a soft count of smaller elements), "permutahedron" and "permutahedron_kl" (O(n log n)),
        "softsort", "neural_sort" and "sinkhorn" (expected places).
    kind : the soft step of "pairwise", one of `KINDS`.
    mode : "soft", "st" or "hard" (floating ranks; equal elements share the mean of theirs).

    Raises
    ------
    TemperatureError, ModeError, ParameterError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a Boolean or complex tensor.

    Examples
    --------
    >>> x = torch.tensor([1.0, -2.0, 2.0, 3.0, 0.5, -1.0])
    >>> rank(x, temperature=1.0, method="permutahedron").tolist()
    [3.875, 1.0, 4.875, 5.875, 3.375, 2.0]
    >>> rank(x, mode="hard").tolist()
    [4.0, 1.0, 5.0, 6.0, 3.0, 2.0]

    Source: Blondel, Teboul, Berthet and Djolonga, 2020, Fast Differentiable Sorting and Ranking, for the projections.
    """
    check_choice("rank", "method", method, RANK_METHODS)
    check_choice("rank", "kind", kind, KINDS)
    call = settle("rank", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)
    return call.result(
        lambda: exact_rank(x, lists.axis if x.dim() else dim, descending),
        lambda: lists.restore(
            RELAXED_RANKS[method](-lists.x if descending else lists.x, lists.temperature, kind)
        ),
    )


# topk and kthvalue
def _rows_of(relax: Callable[..., Tensor], x: Tensor, temperature: Any, k: int) -> Tensor:
    return relax(x, temperature, True)[..., :k, :]


TOPK_ROWS: dict[str, Callable[..., Tensor]] = {
    "softsort": lambda x, temperature, k: softsort(x, temperature, True, slice(0, k)),
    "neural_sort": partial(_rows_of, neural_sort),
    "sinkhorn": partial(_rows_of, sinkhorn_sort),
    "projection": topk_rows,
}
TOPK_METHODS = {
    **{name: SORT_METHODS[name] for name in ("softsort", "neural_sort", "sinkhorn")},
    "projection": Method(
        ORDER_LAWS, "exact where neighbours are at least temperature apart", "sparse weights; no element is taken more than once",
        smooth=False, weights=True,
    ),
}  # fmt: skip


def _spread_out(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Tensor:
    order = torch.rand((*batch, 5), generator=generator).argsort(-1)
    return (1.25 * order + 0.2 * torch.rand((*batch, 5), generator=generator, dtype=torch.float64)).to(dtype)


def _example(
    generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Five numbers at least 1 apart, and a count."""
    return (_spread_out(generator, dtype, batch), 3), {"dim": -1}


@operation("topk", hard=torch.topk, option="method", methods=TOPK_METHODS, inputs=_example)
def topk(
    x: Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
    *,
    temperature: Any = None,
    method: str = "softsort",
    mode: Mode | None = None,
) -> Selection:
    """Return the k largest elements of one dimension, with gradients through the choice.

    Parameters
    ----------
    x, dim, temperature, mode : as for `sort`.
    k : how many, at most the size of `dim`.
    largest : False for the k smallest.
    sorted : as in torch.topk; soft results are always in order.
    method : how to relax, one of "softsort", "neural_sort", "sinkhorn" and "projection": weights that are exactly 0 and 1 outside a
        margin of the temperature, with `weights.sum(-2)` the projection of x / temperature onto {0 <= w <= 1, sum w = k}.

    Returns
    -------
    selection : `values` and int64 `indices` with k elements along `dim`, and `weights` (..., k, n).

    Raises
    ------
    InputError : k is negative or larger than the dimension; NaN or infinity in "soft" and "st".
    TemperatureError, ModeError, ParameterError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> values, indices = topk(torch.tensor([0.1, 2.0, 0.7, 1.5]), 2, method="projection", temperature=0.25)
    >>> values.tolist(), indices.tolist()
    ([2.0, 1.5], [1, 3])
    """
    check_choice("topk", "method", method, TOPK_METHODS)
    call = settle("topk", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)
    n = lists.x.shape[-1]
    if isinstance(k, bool) or not isinstance(k, int):
        raise ParameterError(f"topk() got k={k!r}; expected a whole number.")
    if not 0 <= k <= n:
        raise InputError(f"topk() got k={k} for a dimension of size {n}; expected 0 to {n}.")
    exact = Once(lambda: torch.topk(x, k, dim=dim, largest=largest, sorted=sorted))
    order = Once(lambda: _as_list(exact().indices, lists))
    sign = 1.0 if largest else -1.0
    soft = Once(lambda: TOPK_ROWS[method](sign * lists.x, lists.temperature, k))
    values = call.result(lambda: exact().values, lambda: lists.restore(mixture(soft(), lists.x)))
    return Selection(values, lambda: exact().indices, choose_weights(call, order, n, soft))


def _as_list(indices: Tensor, lists: Lists) -> Tensor:
    return indices.reshape(1) if lists.scalar else indices.movedim(lists.axis, -1)


@operation("kthvalue", hard=torch.kthvalue, option="method", methods=STATISTICS, inputs=_example)
def kthvalue(
    x: Tensor,
    k: int,
    dim: int = -1,
    keepdim: bool = False,
    *,
    temperature: Any = None,
    method: str = "softsort",
    mode: Mode | None = None,
) -> Selection:
    """Return the k-th smallest element of one dimension, with gradients through the choice.

    Parameters
    ----------
    x, dim, temperature, mode : as for `sort`.
    k : 1 for the smallest.
    keepdim : keep `dim` with size 1.
    method : how to relax, one of "softsort", "neural_sort", "sinkhorn" and "pinball" (see `quantile`).

    Returns
    -------
    selection : `values` and int64 `indices` without `dim`, and `weights` (..., n).

    Raises
    ------
    InputError : k is not between 1 and the size of the dimension; NaN or infinity in "soft" and "st".
    TemperatureError, ModeError, ParameterError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> value, index = kthvalue(torch.tensor([3.0, 1.0, 2.0]), 2, temperature=0.2)
    >>> round(value.item(), 3), index.item()
    (2.0, 2)
    """
    check_choice("kthvalue", "method", method, STATISTICS)
    call = settle("kthvalue", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)
    n = lists.x.shape[-1]
    if isinstance(k, bool) or not isinstance(k, int):
        raise ParameterError(f"kthvalue() got k={k!r}; expected a whole number.")
    if not 1 <= k <= n:
        raise InputError(f"kthvalue() got k={k} for a dimension of size {n}; expected 1 to {n}.")
    exact = Once(lambda: torch.kthvalue(x, k, dim=dim, keepdim=keepdim))
    return one_statistic(call, lists, k - 1, keepdim, method, exact)
