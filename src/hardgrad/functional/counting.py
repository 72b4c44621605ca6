"""Counting: histogram, bucketize, the number of distinct values; and the nearest of a set of keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import Method, operation
from hardgrad.functional.comparisons import EQUAL_METHODS, PAIR_METHODS, step_methods
from hardgrad.functional.operands import Once, as_lists, check_choice, settle, values_are_checked
from hardgrad.functional.results import Selection, choose_weights
from hardgrad.functional.soft_steps import KINDS, soft_equal, soft_step

BIN_METHODS = step_methods()
DISTINCT_METHODS = {
    kind: Method(way.laws, f"{way.bound}, times the number of pairs", way.when, limit=1e-5, smooth=way.smooth)
    for kind, way in EQUAL_METHODS.items()
}
NEAREST_METHODS = {
    "": Method(
        frozenset({"shift-equivariant", "scale-equivariant"}),
        "weight of a key that is d^2 further in squared distance: at most exp(-d^2 / temperature^2)",
        limit=0.05,
        weights=True,
    )
}


class Histogram(NamedTuple):
    """Counts and where the bins end, as torch.histogram returns them."""

    hist: Tensor
    bin_edges: Tensor


def _histogram_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-4, 4, (7,), generator=generator) + 0.25 + 0.1 * torch.rand(7, generator=generator)
    return (x.to(dtype), 4), {"range": (-4.0, 4.0)}


def _bucketize_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    x = torch.randint(-3, 4, (*batch, 5), generator=generator) + 0.3
    boundaries = torch.tensor([-1.5, 0.0, 2.0, 2.8]) + 0.1 * torch.rand(4, generator=generator)
    return (x.to(dtype), boundaries.to(dtype)), {}


def _nearest_inputs(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Any:
    keys = 3.0 * torch.arange(4)[torch.randperm(4, generator=generator)].unsqueeze(-1) * torch.ones(2)
    query = torch.randint(0, 4, (*batch, 1), generator=generator) * 3.0 + torch.tensor([0.4, 0.3])
    return (query.to(dtype), keys.to(dtype)), {"k": 2}


def _hard_histogram(x: Tensor, bins: int | Tensor, *, range: tuple[float, float] | None = None, weight: Tensor | None = None,
                    density: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
    if isinstance(bins, Tensor):
        found = torch.histogram(x, bins, weight=weight, density=density)
    else:
        found = torch.histogram(x, bins, range=range, weight=weight, density=density)
    return found.hist, found.bin_edges


@operation("histogram", hard=_hard_histogram, option="kind", methods=BIN_METHODS, inputs=_histogram_inputs)
def histogram(
    x: Tensor,
    bins: int | Tensor,
    *,
    range: tuple[float, float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
    temperature: Any = None,
    kind: str = "logistic",
    mode: Mode | None = None,
) -> Histogram:
    """Return how many elements lie in each bin; soft, an element near an edge counts in part on either side.

    Parameters
    ----------
    x : any shape, real; all elements are counted together.
    bins : number of bins of equal width, or the increasing edges, (number of bins + 1).
    range : first and last edge for a number of bins; by default the least and the greatest element.
    weight : how much each element counts, shape of x; 1 by default.
    density : True for a density, whose integral over the range is 1.
    temperature : positive number or 0-dim tensor, in the units of x; by default that of the surrounding `hardgrad.mode` block, else 0.1.
    kind : the soft step, one of `KINDS`.
    mode : "soft", "st" (exact counts forward, relaxed backward) or "hard" (what torch.histogram returns).

    Returns
    -------
    histogram : `hist`, which sums to the number (or weight) of the elements in the range, exactly, in every mode: the first and the last
        bin are open towards the outside. Elements outside the range count nowhere, as in torch. And `bin_edges`.

    Raises
    ------
    ParameterError : no bin, or a range together with edges, or an empty range.
    InputError : edges that are not increasing; weights of another shape.

    Examples
    --------
    >>> hist, edges = histogram(torch.tensor([0.2, 0.9, 1.0, 3.0]), 2, range=(0.0, 4.0), temperature=0.5)
    >>> hist.tolist(), hist.sum().item(), edges.tolist()
    ([2.8737, 1.1263], 4.0, [0.0, 2.0, 4.0])
    """
    check_choice("histogram", "kind", kind, KINDS)
    _check_bins(bins, range)
    extra = [tensor for tensor in (bins, weight) if isinstance(tensor, Tensor)]
    call = settle("histogram", x, *extra, temperature=temperature, mode=mode)
    if weight is not None and weight.shape != x.shape:
        raise InputError(
            f"histogram() got weights of shape {tuple(weight.shape)} for elements of shape {tuple(x.shape)}; expected equal shapes."
        )
    fixed = None if weight is None else weight.detach()
    exact = Once(lambda: _hard_histogram(x.detach(), bins, range=range, weight=fixed, density=density))
    if call.mode == "hard":
        return Histogram(*exact())
    at = call.tensors[0].flatten()
    edges = call.tensors[1] if isinstance(bins, Tensor) else _edges(at, bins, range)

    def relaxed() -> Tensor:
        inner = soft_step(at.unsqueeze(-1) - edges[1:-1], call.temperature, kind)
        inside = ((at >= edges[0]) & (at <= edges[-1])).to(at.dtype)
        share = inside if weight is None else inside * call.tensors[-1].flatten()
        # Shares of neighbouring bins are differences of the same steps, so that their sum telescopes to 1.
        one = torch.ones_like(at).unsqueeze(-1)
        member = torch.cat([one, inner], -1) - torch.cat([inner, 0.0 * one], -1)
        hist = share @ member
        return hist / (hist.sum() * edges.diff()) if density else hist

    return Histogram(call.result(lambda: exact()[0], relaxed), edges.to(call.dtype))


@operation("bucketize", hard=torch.bucketize, option="kind", methods=PAIR_METHODS, inputs=_bucketize_inputs)
def bucketize(
    x: Tensor,
    boundaries: Tensor,
    *,
    right: bool = False,
    temperature: Any = None,
    kind: str = "logistic",
    mode: Mode | None = None,
) -> Tensor:
    """Return the number of the interval in which each element lies; soft, the expected number.

    Parameters
    ----------
    x : any shape, real.
    boundaries : (number of boundaries,), increasing.
    right : True where an element that equals a boundary lies above it; soft, it lies half above in either case.
    temperature : positive number or tensor that broadcasts with x, in the units of x; by default that of the surrounding
        `hardgrad.mode` block, else 0.1.
    kind : the soft step, one of `KINDS`.
    mode : "soft", "st" (exact numbers, floating, with the relaxed gradient) or "hard" (int64, what torch.bucketize returns).

    Examples
    --------
    >>> bucketize(torch.tensor([0.5, 1.0, 2.5]), torch.tensor([1.0, 2.0]), temperature=0.25, kind="c1").tolist()
    [0.0, 0.5, 2.0]
    """
    check_choice("bucketize", "kind", kind, KINDS)
    call = settle("bucketize", x, boundaries, temperature=temperature, mode=mode)
    if boundaries.dim() != 1:
        raise InputError(
            f"bucketize() got boundaries of shape {tuple(boundaries.shape)}; expected one dimension."
        )

    def relaxed() -> Tensor:
        at, ends = call.tensors
        level = call.temperature
        level = level.unsqueeze(-1) if isinstance(level, Tensor) and level.dim() else level
        return soft_step(at.unsqueeze(-1) - ends, level, kind).sum(-1)

    return call.result(lambda: torch.bucketize(x.contiguous(), boundaries.contiguous(), right=right), relaxed)


def _hard_unique_count(x: Tensor, dim: int = -1) -> Tensor:
    if not x.dim():
        return torch.ones_like(x, dtype=torch.int64)
    if not x.shape[dim]:
        return torch.zeros_like(x.sum(dim), dtype=torch.int64)
    return 1 + (x.sort(dim).values.diff(dim=dim) != 0).sum(dim)


@operation("unique_count", hard=_hard_unique_count, option="kind", methods=DISTINCT_METHODS, inputs="along")
def unique_count(
    x: Tensor, dim: int = -1, *, temperature: Any = None, kind: str = "logistic", mode: Mode | None = None
) -> Tensor:
    """Return how many different values there are along one dimension: each element counts one over the number of its equals.

    Parameters
    ----------
    x : any shape, real; every pair of elements along `dim` is compared.
    dim : the dimension to count along.
    temperature : positive number or tensor that broadcasts to the shape of x without `dim`, in the units of x; by default that of the
        surrounding `hardgrad.mode` block, else 0.1.
    kind : how equality is softened, as for `eq`.
    mode : "soft", "st" (the exact number, floating, with the relaxed gradient) or "hard" (int64, the length of torch.unique).

    Examples
    --------
    >>> unique_count(torch.tensor([1.0, 2.0, 2.0]), temperature=0.1, kind="normal").item()
    2.0
    """
    check_choice("unique_count", "kind", kind, DISTINCT_METHODS)
    call = settle("unique_count", x, temperature=temperature, mode=mode)
    lists = as_lists(call, dim)

    def relaxed() -> Tensor:
        apart = lists.x.unsqueeze(-1) - lists.x.unsqueeze(-2)
        level = lists.temperature
        level = level.unsqueeze(-1) if isinstance(level, Tensor) and level.dim() else level
        return (1.0 / soft_equal(apart, level, kind).sum(-1)).sum(-1)

    return call.result(lambda: _hard_unique_count(x, dim), relaxed)


def _hard_nearest(query: Tensor, keys: Tensor, k: int = 1) -> Tensor:
    return _take(keys, _squared_distances(query, keys).sort(dim=-1, stable=True).indices[..., :k])


@operation("nearest", hard=_hard_nearest, methods=NEAREST_METHODS, inputs=_nearest_inputs)
def nearest(
    query: Tensor, keys: Tensor, k: int = 1, *, temperature: Any = None, mode: Mode | None = None
) -> Selection:
    """Return the k keys that lie nearest to each query, nearest first; soft, mixtures of all keys.

    Parameters
    ----------
    query : (..., d), real.
    keys : (n, d). The distances of all pairs are formed from differences, which takes memory for queries x n x d numbers.
    k : from 1 to n.
    temperature : positive number or tensor that broadcasts to the shape of `query` without its last dimension; a distance, in the units
        of both. By default that of the surrounding `hardgrad.mode` block, else 0.1.
    mode : "soft", "st" (exact keys forward, relaxed backward) or "hard".

    Returns
    -------
    selection : `values` (..., k, d), exact int64 `indices` (..., k), and `weights` (..., k, n) with values = weights @ keys. The weights
        of the nearest are softmax(-distance^2 / temperature^2); those of the j-th are the same around the j-th squared distance.

    Raises
    ------
    ParameterError : k outside 1 to n.
    InputError : shapes that do not fit.

    Examples
    --------
    >>> keys = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> found = nearest(torch.tensor([0.9, 0.8]), keys, temperature=0.5)
    >>> found.values.tolist(), found.indices.tolist(), found.weights.tolist()
    ([[0.9963, 0.9963]], [1], [[0.0037, 0.9963]])

    Source: the weights of one neighbour as in Plötz and Roth, 2018, Neural Nearest Neighbors Networks; those of the next as in Prillo and
    Eisenschlos, 2020, SoftSort.
    """
    call = settle("nearest", query, keys, temperature=temperature, mode=mode)
    if keys.dim() != 2 or not query.dim() or query.shape[-1] != keys.shape[-1]:
        raise InputError(
            f"nearest() got queries of shape {tuple(query.shape)} and keys of shape {tuple(keys.shape)}; expected (..., d) and (n, d)."
        )
    if not 1 <= k <= len(keys):
        raise ParameterError(f"nearest() got k={k} for {len(keys)} keys; expected a number from 1 to {len(keys)}.")  # fmt: skip
    points, places = call.tensors or call.given
    squared = Once(lambda: _squared_distances(points, places))
    order = Once(lambda: _squared_distances(query, keys).sort(dim=-1, stable=True).indices[..., :k])

    def relaxed() -> Tensor:
        level = call.temperature
        level = level[..., None, None] if isinstance(level, Tensor) and level.dim() else level
        ordered = squared().sort(dim=-1, stable=True).values[..., :k]
        apart = (ordered.unsqueeze(-1) - squared().unsqueeze(-2)).abs()
        return torch.softmax(-apart / level**2, -1)

    soft = Once(relaxed)
    values = call.result(lambda: _take(keys, order()), lambda: soft() @ places)
    return Selection(values, order, choose_weights(call, order, len(keys), soft))


def _take(keys: Tensor, indices: Tensor) -> Tensor:
    return keys[indices]


def _squared_distances(query: Tensor, keys: Tensor) -> Tensor:
    return (query.unsqueeze(-2) - keys).square().sum(-1)


def _edges(at: Tensor, bins: int, range: tuple[float, float] | None) -> Tensor:
    if range is None and at.numel():
        low, high = at.amin(), at.amax()
    else:
        low, high = (at.new_full((), end) for end in (range or (0.0, 1.0)))
    flat = low == high  # torch widens an empty range by 1/2 on either side
    low, high = torch.where(flat, low - 0.5, low), torch.where(flat, high + 0.5, high)
    steps = torch.arange(bins + 1, dtype=at.dtype, device=at.device) / bins
    return torch.where(steps < 0.5, low + (high - low) * steps, high - (high - low) * (1.0 - steps))


def _check_bins(bins: Any, range: tuple[float, float] | None) -> None:
    if isinstance(bins, Tensor):
        if range is not None:
            raise ParameterError("histogram() got edges and a range; expected one of them.")
        if bins.dim() != 1 or len(bins) < 2:
            raise InputError(f"histogram() got edges of shape {tuple(bins.shape)}; expected at least two.")
        if values_are_checked(bins) and bool((bins.diff() <= 0).any()):
            raise InputError("histogram() got edges that are not increasing; sort them first.")
    elif isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ParameterError(f"histogram() got bins={bins!r}; expected a positive whole number or a tensor of edges.")  # fmt: skip
    elif range is not None and not range[0] <= range[1]:
        raise ParameterError(f"histogram() got range={range!r}; expected the lesser end first.")
