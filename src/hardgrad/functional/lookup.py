"""Reading and writing at places that are only known softly: where, index_select, gather, take, take_along_dim, narrow, scatter.

A place is what torch takes (int64: exact, with torch's own gradient), a floating position of the same shape, as the soft `argsort` and
`argmax` return, or weights over the positions, with one dimension more. All follow one rule: the expectation under the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, InputTypeError
from hardgrad.core.mode import Mode, resolve_temperature
from hardgrad.core.operation import Method, operation
from hardgrad.functional.operands import Operands, normalise_dim, settle
from hardgrad.functional.soft_steps import soft_step

PLACE_METHODS = {"": Method(bound="exact to exp(-1 / temperature^2) at whole positions")}
Example = tuple[tuple[Any, ...], dict[str, Any]]


def _position_weights(position: Tensor, size: int, temperature: Any) -> Tensor:
    """Return weights (..., size) of floating positions: a softmax of minus the squared distance over the squared temperature."""
    place = torch.arange(size, dtype=position.dtype, device=position.device)
    level = (
        temperature.unsqueeze(-1) if isinstance(temperature, Tensor) and temperature.dim() else temperature
    )
    return torch.softmax(-(((position.unsqueeze(-1) - place) / level) ** 2), dim=-1)


def _whole_positions(index: Tensor, dims: int, size: int) -> Tensor:
    """Return int64 positions of any kind of place: whole ones as they are, the nearest, or those of the largest weight."""
    if not index.dtype.is_floating_point:
        return index
    if index.dim() > dims:
        return index.argmax(-1)
    return index.detach().round().clamp(0, max(size - 1, 0)).long()


def _weights(call: Operands, index: Tensor, dims: int, size: int) -> Tensor:
    """Return weights (..., size) of floating places; `dims` is how many dimensions a position has."""
    if index.dim() > dims:
        if index.shape[-1] != size:
            raise InputError(
                f"{call.name}() got weights of shape {tuple(index.shape)}; expected {size} in the last dimension, one for each position."
            )
        return index
    return _position_weights(index, size, call.temperature)


def _settle(name: str, x: Tensor, index: Any, temperature: Any, mode: Mode | None, *more: Tensor) -> Operands:
    """Settle a call; a floating index is one of its tensors, a whole one is not computed with."""
    if not isinstance(index, Tensor):
        raise InputTypeError(
            f"{name}() got an index of type {type(index).__name__}; expected a torch.Tensor."
        )
    soft = (index,) if _is_soft(index) else ()
    return settle(name, x, *soft, *more, temperature=temperature, mode=mode)


def _is_soft(index: Tensor) -> bool:
    return index.dtype.is_floating_point


def _exactly(call: Operands, result: Callable[[], Tensor]) -> Tensor:
    """Return torch's own result for whole positions, in the dtype that the mode asks for."""
    return result() if call.mode == "hard" else result().to(call.dtype)


# examples for the contract suite
def _numbers(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 4.0 - 2.0


def _near(generator: torch.Generator, shape: tuple[int, ...], size: int) -> Tensor:
    whole = torch.rand((*shape, size), generator=generator).argsort(-1)[..., :3]
    return whole + 0.1 * torch.rand(whole.shape, generator=generator, dtype=torch.float64) + 0.05


def _dim_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    x, places = _numbers(generator, (*batch, 5)), _near(generator, batch, 5)
    return (x.to(dtype), -1, places.to(dtype)), {}


def _select_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    return (_numbers(generator, (*batch, 5)).to(dtype), -1, _near(generator, (), 5)[:2].to(dtype)), {}


def _take_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    return (_numbers(generator, (6,)).to(dtype), _near(generator, batch, 6).to(dtype)), {}


def _along_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    x, places = _numbers(generator, (*batch, 5)), _near(generator, batch, 5)
    return (x.to(dtype), places.to(dtype), -1), {}


def _narrow_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    return (_numbers(generator, (*batch, 5)).to(dtype), -1, torch.tensor(1.1, dtype=dtype), 3), {}


def _scatter_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    x, places, source = (
        _numbers(generator, (*batch, 5)),
        _near(generator, batch, 5),
        _numbers(generator, (*batch, 3)),
    )
    return (x.to(dtype), -1, places.to(dtype), source.to(dtype)), {}


def _where_example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> Example:
    sides = torch.randint(0, 2, (*batch, 5), generator=generator)
    truth = 0.1 + 0.6 * sides + 0.2 * torch.rand((*batch, 5), generator=generator, dtype=torch.float64)
    return (
        truth.to(dtype),
        _numbers(generator, (*batch, 5)).to(dtype),
        _numbers(generator, (*batch, 5)).to(dtype),
    ), {}


# where
def exact_where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return torch.where; a degree of truth above 1/2 is true."""
    return torch.where(condition if condition.dtype == torch.bool else condition > 0.5, x, y)


@operation(
    "where",
    hard=exact_where,
    methods={"": Method(bound="exact to exp(-1 / temperature) at 0 and 1")},
    inputs=_where_example,
)
def where(
    condition: Tensor, x: Tensor, y: Tensor, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return x where a condition holds and y elsewhere, mixed where it half holds.

    Parameters
    ----------
    condition : degree of truth between 0 and 1, or Boolean, which is exact.
    x, y : real tensors that broadcast with each other and with the condition.
    temperature : positive number: the degree is sharpened to a logistic step of its distance from 1/2; by default degrees mix as they are,
        unless a surrounding `hardgrad.mode` block says a temperature.
    mode : "soft", "st" (exact forward, relaxed backward) or "hard" (what torch.where returns at the degrees above 1/2).

    Raises
    ------
    TemperatureError, ModeError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st"; a complex tensor.

    Examples
    --------
    >>> where(torch.tensor([0.0, 0.5, 1.0]), torch.tensor(8.0), torch.tensor(4.0)).tolist()
    [4.0, 6.0, 8.0]
    """
    if getattr(condition, "dtype", None) == torch.bool:
        return _exactly(
            settle("where", x, y, temperature=temperature, mode=mode), lambda: torch.where(condition, x, y)
        )
    call = settle("where", condition, x, y, temperature=temperature, mode=mode)
    sharpened = resolve_temperature(temperature, None, check=False) is not None

    def soft() -> Tensor:
        truth, first, second = call.tensors
        if sharpened:
            truth = soft_step(truth - 0.5, call.temperature)
        return truth * first + (1.0 - truth) * second

    return call.result(lambda: exact_where(condition, x, y), soft)


# reading
def exact_index_select(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return torch.index_select at the positions nearest to `index`."""
    return torch.index_select(x, dim, _whole_positions(index, 1, x.shape[dim]))


@operation("index_select", hard=exact_index_select, methods=PLACE_METHODS, inputs=_select_example)
def index_select(
    x: Tensor, dim: int, index: Tensor, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return the elements of one dimension at given places, the same for all lists.

    Parameters
    ----------
    x : any shape, real.
    dim : the dimension to read.
    index : (k,) int64, exact; (k,) floating positions; or weights (k, n).
    temperature : positive number or tensor that broadcasts to the positions: how far, in positions, one reaches; by default that of the
        surrounding `hardgrad.mode` block, else 0.1. Weights are taken as they are.
    mode : "soft" (the expectation), "st" (exact forward, relaxed backward) or "hard" (what torch.index_select returns at the nearest
        position, or that of the largest weight).

    Raises
    ------
    TemperatureError, ModeError : an argument outside its range.
    InputError, InputTypeError : NaN or infinity in "soft" and "st", weights of another size; a Boolean or complex tensor, no tensor.

    Examples
    --------
    >>> index_select(torch.tensor([5.0, 6.0, 9.0]), 0, torch.tensor([0.0, 1.5])).tolist()
    [5.0, 7.5]
    """
    call = _settle("index_select", x, index, temperature, mode)
    axis = normalise_dim("index_select", x, dim)
    if not _is_soft(index):
        return _exactly(call, lambda: torch.index_select(x, axis, index))

    def soft() -> Tensor:
        values, places = call.tensors
        rows = values.movedim(axis, -1)
        return (rows @ _weights(call, places, 1, rows.shape[-1]).mT).movedim(-1, axis)

    return call.result(lambda: exact_index_select(x, axis, index), soft)


def _along(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return int64 positions, with the dimension that is read in its place."""
    found = _whole_positions(index, x.dim(), x.shape[dim])
    return found.movedim(-1, dim) if index.dim() > x.dim() else found


def _read(call: Operands, axis: int) -> Tensor:
    values, places = call.tensors
    dims = values.dim()
    listed = places if places.dim() > dims else places.movedim(axis, -1)
    weights = _weights(call, listed, dims, values.shape[axis])
    rows = values.movedim(axis, -1)
    rows = rows[
        tuple(slice(0, size) for size in weights.shape[: dims - 1])
    ]  # as torch.gather: an index may be smaller
    return (weights * rows.unsqueeze(-2)).sum(-1).movedim(-1, axis)


def exact_gather(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return torch.gather at the positions nearest to `index`."""
    return torch.gather(x, dim, _along(x, dim, index))


@operation("gather", hard=exact_gather, methods=PLACE_METHODS, inputs=_dim_example)
def gather(
    x: Tensor, dim: int, index: Tensor, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return the elements of each list at places of its own.

    Parameters
    ----------
    x, dim, temperature, mode : as for `index_select`.
    index : int64 or floating positions with as many dimensions as x, as in torch.gather; or weights (..., k, n), `dim` last, as a
        `Selection` has them.

    Raises
    ------
    TemperatureError, ModeError, InputError, InputTypeError : as for `index_select`.

    Examples
    --------
    >>> from hardgrad.functional import argsort
    >>> x = torch.tensor([3.0, 1.0, 2.0])
    >>> gather(x, 0, argsort(x, mode="st"), mode="st").tolist()
    [1.0, 2.0, 3.0]
    """
    call = _settle("gather", x, index, temperature, mode)
    axis = normalise_dim("gather", x, dim)
    if not _is_soft(index):
        return _exactly(call, lambda: torch.gather(x, axis, index))
    return call.result(lambda: exact_gather(x, axis, index), lambda: _read(call, axis))


def exact_take(x: Tensor, index: Tensor) -> Tensor:
    """Return torch.take at the positions nearest to `index`; weights have x's elements in the last dimension."""
    return torch.take(x, index if not _is_soft(index) else _whole_positions(index, index.dim(), x.numel()))


@operation("take", hard=exact_take, methods=PLACE_METHODS, inputs=_take_example)
def take(
    x: Tensor, index: Tensor, *, weighted: bool = False, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return elements of the flattened tensor at given places.

    Parameters
    ----------
    x, temperature, mode : as for `index_select`.
    index : int64 or floating positions of any shape.
    weighted : `index` holds weights (..., number of elements) instead.

    Raises
    ------
    TemperatureError, ModeError, InputError, InputTypeError : as for `index_select`.

    Examples
    --------
    >>> x = torch.tensor([[5.0, 6.0], [9.0, 7.0]])
    >>> take(x, torch.tensor([2])).tolist(), take(x, torch.tensor([0.5, 0.5, 0.0, 0.0]), weighted=True).item()
    ([9.0], 5.5)
    """
    call = _settle("take", x, index, temperature, mode)
    if not _is_soft(index):
        return _exactly(call, lambda: torch.take(x, index))
    dims = index.dim() - 1 if weighted else index.dim()

    def soft() -> Tensor:
        values, places = call.tensors
        return _weights(call, places, dims, values.numel()) @ values.reshape(-1)

    return call.result(lambda: torch.take(x, _whole_positions(index, dims, x.numel())), soft)


def exact_take_along_dim(x: Tensor, index: Tensor, dim: int | None = None) -> Tensor:
    """Return torch.take_along_dim at the positions nearest to `index`."""
    if dim is None:
        return torch.take(x, _whole_positions(index, 1, x.numel()))
    return torch.take_along_dim(x, _along(x, dim, index), dim)


@operation("take_along_dim", hard=exact_take_along_dim, methods=PLACE_METHODS, inputs=_along_example)
def take_along_dim(
    x: Tensor, index: Tensor, dim: int | None = None, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return the elements of each list at places of its own; index and lists broadcast with each other.

    Parameters
    ----------
    x, temperature, mode : as for `index_select`.
    index : as for `gather`; where `dim` is None, (k,) positions or (k, n) weights of the flattened tensor.
    dim : the dimension to read; by default x is flattened.

    Raises
    ------
    TemperatureError, ModeError, InputError, InputTypeError : as for `index_select`.

    Examples
    --------
    >>> take_along_dim(torch.tensor([[5.0, 6.0], [9.0, 7.0]]), torch.tensor([[0.0], [1.0]]), 1).tolist()
    [[5.0], [7.0]]
    """
    if dim is None:
        return take_along_dim(x.reshape(-1), index, 0, temperature=temperature, mode=mode)
    call = _settle("take_along_dim", x, index, temperature, mode)
    axis = normalise_dim("take_along_dim", x, dim)
    if not _is_soft(index):
        return _exactly(call, lambda: torch.take_along_dim(x, index, axis))

    def soft() -> Tensor:
        values, places = call.tensors
        dims = values.dim()
        listed = places if places.dim() > dims else places.movedim(axis, -1)
        weights = _weights(call, listed, dims, values.shape[axis])
        return (weights * values.movedim(axis, -1).unsqueeze(-2)).sum(-1).movedim(-1, axis)

    return call.result(lambda: exact_take_along_dim(x, index, axis), soft)


def exact_narrow(x: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """Return torch.narrow from the position nearest to `start`."""
    if not isinstance(start, Tensor):
        return torch.narrow(x, dim, start, length)
    first = _whole_positions(start, 0, x.shape[dim] - length + 1)
    return torch.index_select(x, dim, first + torch.arange(length, device=x.device))


@operation("narrow", hard=exact_narrow, methods=PLACE_METHODS, inputs=_narrow_example)
def narrow(
    x: Tensor, dim: int, start: Any, length: int, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return a window of one dimension whose start is known softly.

    Parameters
    ----------
    x, dim, temperature, mode : as for `index_select`.
    start : whole number, exact; a floating tensor without dimensions; or weights (n - length + 1,) over the starts.
    length : of the window.

    Raises
    ------
    InputError : a length that does not fit; else as for `index_select`.
    TemperatureError, ModeError, InputTypeError : as for `index_select`.

    Examples
    --------
    >>> narrow(torch.tensor([5.0, 6.0, 9.0, 7.0]), 0, torch.tensor(0.5), 2).tolist()
    [5.5, 7.5]
    """
    place = start if isinstance(start, Tensor) else torch.tensor(start)
    call = _settle("narrow", x, place, temperature, mode)
    axis = normalise_dim("narrow", x, dim)
    size = x.shape[axis] if x.dim() else 0
    if not 0 <= length <= size:
        raise InputError(
            f"narrow() got length={length} for a dimension of size {size}; expected 0 to {size}."
        )
    if not _is_soft(place):
        return _exactly(call, lambda: torch.narrow(x, axis, start, length))

    def soft() -> Tensor:
        values, first = call.tensors
        starts = torch.arange(size - length + 1, device=x.device).unsqueeze(-1)
        windows = values.movedim(axis, -1)[..., starts + torch.arange(length, device=x.device)]
        weights = _weights(call, first, 0, windows.shape[-2])
        return (weights.unsqueeze(-1) * windows).sum(-2).movedim(-1, axis)

    return call.result(lambda: exact_narrow(x, axis, place, length), soft)


# writing
def exact_scatter(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return torch.scatter at the positions nearest to `index`."""
    return torch.scatter(x, dim, _along(x, dim, index), src)


@operation("scatter", hard=exact_scatter, methods=PLACE_METHODS, inputs=_scatter_example)
def scatter(
    x: Tensor, dim: int, index: Tensor, src: Tensor, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return x with the elements of each list written at places of its own: the transposed weights times what is written.

    Parameters
    ----------
    x, dim, temperature, mode : as for `index_select`.
    index : as for `gather`, places that differ from each other within a list; what two elements write to one place adds up.
    src : what is written, the shape of the positions. What was there before stays with the chance that none is written there.

    Raises
    ------
    TemperatureError, ModeError, InputError, InputTypeError : as for `index_select`.

    Examples
    --------
    >>> scatter(torch.zeros(3), 0, torch.tensor([2.0, 0.5]), torch.tensor([4.0, 6.0])).tolist()
    [3.0, 3.0, 4.0]
    """
    call = _settle("scatter", x, index, temperature, mode, src)
    axis = normalise_dim("scatter", x, dim)
    if not _is_soft(index):
        return _exactly(call, lambda: torch.scatter(x, axis, index, src))

    def soft() -> Tensor:
        values, places, written = call.tensors
        dims = values.dim()
        listed = places if places.dim() > dims else places.movedim(axis, -1)
        weights = _weights(call, listed, dims, values.shape[axis])
        rows = values.movedim(axis, -1)
        kept = (1.0 - weights).prod(-2)
        return (kept * rows + (weights * written.movedim(axis, -1).unsqueeze(-1)).sum(-2)).movedim(-1, axis)

    return call.result(lambda: exact_scatter(x, axis, index, src), soft)
