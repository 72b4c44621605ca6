"""Boolean functions on {-1, +1}^n: how tables, callables and circuits are read, and the points of the cube. Never imports torch.

The conventions of the whole package: +1 is bit 0 and -1 is bit 1; variable 0 is the most significant bit of a row's index. What is
measured on a function lives in `boolean_analysis`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import DataError, InputError, ParameterError

Floats = NDArray[np.float64]
T = TypeVar("T", float, Floats)
MOST_INPUTS = 24
"""Inputs of the largest truth table that is built: 2^24 numbers are 128 MiB."""
ROWS_AT_ONCE = 1 << 16


@runtime_checkable
class HasTruthTable(Protocol):
    """A circuit or a task: anything that knows its inputs and its truth table.

    `truth_table()` returns `[2^n_inputs, n_outputs]` Booleans, variable 0 the most significant bit of the row's index.
    """

    @property
    def n_inputs(self) -> int:
        """Number of input bits."""

    def truth_table(self) -> NDArray[np.bool_]:
        """Return the outputs `[2^n_inputs, n_outputs]` in the order of the rows."""


PointFunction = Callable[[Floats], Any]
"""Takes points `[B, n]` of -1 and +1 and returns values `[B]`; a torch module counts."""
BooleanFunction = ArrayLike | HasTruthTable | PointFunction
Seed = int | np.random.Generator


class Estimate(NamedTuple, Generic[T]):
    """A figure from random samples: its value and its standard error."""

    value: T
    standard_error: T


def cube(n_inputs: int) -> Floats:
    """Return all points of {-1, +1}^n in the order of a truth table.

    Parameters
    ----------
    n_inputs : n, 0 to 24.

    Returns
    -------
    points : `[2^n, n]`; the first row is all +1 (all bits 0), and variable 0 changes slowest.

    Raises
    ------
    ParameterError : n is out of range.

    Examples
    --------
    >>> cube(2)
    array([[ 1.,  1.],
           [ 1., -1.],
           [-1.,  1.],
           [-1., -1.]])
    """
    return _points(np.arange(1 << _checked_inputs(n_inputs)), n_inputs)


def random_points(n_inputs: int, count: int, random_state: Seed = 0) -> Floats:
    """Return points `[count, n_inputs]` of -1 and +1 drawn uniformly, with repetition.

    Raises
    ------
    ParameterError : a count below 0 or inputs below 0.
    """
    if n_inputs < 0 or count < 0:
        raise ParameterError(f"random_points() got n_inputs={n_inputs}, count={count}; expected 0 or more.")
    rng = np.random.default_rng(random_state)
    return np.where(rng.integers(0, 2, (count, n_inputs)) == 1, -1.0, 1.0)


def hamming_weight(X: ArrayLike) -> NDArray[np.int64]:
    """Return how many coordinates of each point `[..., n]` are -1, that is, how many bits are 1.

    Examples
    --------
    >>> hamming_weight([[1, -1, -1], [1, 1, 1]])
    array([2, 0])
    """
    return np.asarray((np.asarray(X) < 0).sum(axis=-1, dtype=np.int64))


def row_index(X: ArrayLike) -> NDArray[np.int64]:
    """Return the rows `[B]` of a truth table that points `[B, n]` of -1 and +1 stand for.

    Examples
    --------
    >>> row_index([[1, -1], [-1, -1]])
    array([1, 3])
    """
    bits = np.asarray(X) < 0
    place = np.arange(bits.shape[-1], dtype=np.int64)[::-1]
    return np.asarray(np.where(bits, np.int64(1) << place, np.int64(0)).sum(axis=-1))


def truth_table(f: BooleanFunction, n_inputs: int | None = None, *, output: int | None = None) -> Floats:
    """Return the values of a Boolean function at all points of the cube.

    Parameters
    ----------
    f : a table `[2^n]` of -1 and +1 or of real values (Booleans are bits: true becomes -1); a circuit or task with `n_inputs` and
        `truth_table()`; or a callable, which is asked at all points.
    n_inputs : n, needed for a callable.
    output : which output of a circuit that has several.

    Returns
    -------
    table : `[2^n]`, a copy.

    Raises
    ------
    InputError : the table is not one-dimensional, its length is no power of two, or a value is not finite.
    ParameterError : n is missing, does not fit, or is above 24; or `output` is needed or out of range.

    Examples
    --------
    >>> truth_table(lambda x: x[:, 0] * x[:, 1], 2)
    array([ 1., -1., -1.,  1.])
    """
    if isinstance(f, HasTruthTable):
        _checked_inputs(f.n_inputs)
        values: Any = _output(np.asarray(f.truth_table()), output)
    elif output is not None:
        raise ParameterError(f"output={output} is for circuits; got a {type(f).__name__}.")
    elif callable(f):
        if n_inputs is None:
            raise ParameterError("a callable does not say how many inputs it has; pass n_inputs=.")
        rows = np.arange(1 << _checked_inputs(n_inputs))
        parts = np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))
        values = np.concatenate([evaluate(f, _points(part, n_inputs)) for part in parts])
    else:
        values = f
    table = _as_values(values)
    if n_inputs is not None and len(table) != 1 << n_inputs:
        raise ParameterError(
            f"the function has {len(table)} rows, which is {table_inputs(table)} inputs; got n_inputs={n_inputs}."
        )
    return table


def table_inputs(table: Floats) -> int:
    """Return n of a table `[2^n]`."""
    return len(table).bit_length() - 1


def evaluate(f: PointFunction, X: Floats) -> Floats:
    """Return the values `[B]` of a callable or torch module at points `[B, n]`.

    A module is put in evaluation mode for it, asked without gradients in the type and on the device of its parameters, and left as it
    was. An answer `[B, 1]` counts as `[B]`.

    Raises
    ------
    InputError : the answer has another shape or is not finite.
    """
    torch = sys.modules.get("torch")  # whoever has a module has loaded torch
    values = _ask_module(torch, f, X) if torch and isinstance(f, torch.nn.Module) else np.asarray(f(X))
    if values.shape == (len(X), 1):
        values = values[:, 0]
    if values.shape != (len(X),):
        raise InputError(
            f"the function answered {X.shape} points with shape {values.shape}; expected ({len(X)},) or ({len(X)}, 1)."
        )
    return _finite(values.astype(np.float64))


def points_and_values(X: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return training points `[s, n]` and values `[s]` as arrays, after a look at them.

    Raises
    ------
    DataError : no points, shapes that do not fit, other numbers than -1 and +1, or values that are not finite.
    """
    points, values = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if points.ndim != 2 or values.shape != points.shape[:1] or not len(points):
        raise DataError(
            f"expected points [s, n] and values [s] with s >= 1; got shapes {points.shape} and {values.shape}."
        )
    if not (np.abs(points) == 1).all() or not np.isfinite(values).all():
        raise DataError("points hold -1 and +1 and values are finite numbers; got something else.")
    return points, values


def _ask_module(torch: Any, module: Any, X: Floats) -> NDArray[Any]:
    parameter = next(module.parameters(), torch.zeros(()))
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            answer = module(torch.as_tensor(X, dtype=parameter.dtype, device=parameter.device))
    finally:
        module.train(was_training)
    return np.asarray(answer.double().cpu().numpy())


def _points(rows: NDArray[np.int64], n_inputs: int) -> Floats:
    return np.where((rows[:, None] >> np.arange(n_inputs)[::-1]) & 1, -1.0, 1.0)


def _checked_inputs(n_inputs: int) -> int:
    if not 0 <= n_inputs <= MOST_INPUTS:
        raise ParameterError(
            f"a truth table has 0 to {MOST_INPUTS} inputs, got {n_inputs}. Beyond that pass samples= and a callable, where the "
            "function has that parameter."
        )
    return n_inputs


def _output(bits: NDArray[Any], output: int | None) -> NDArray[np.bool_]:
    outputs = bits.shape[1] if bits.ndim == 2 else 0
    if not outputs or (output is None and outputs > 1) or (output is not None and not 0 <= output < outputs):
        raise ParameterError(
            f"a circuit with truth table {bits.shape} and output={output}: expected [2^n, outputs], and the number of one output."
        )
    return bits[:, output or 0].astype(bool)


def _as_values(values: Any) -> Floats:
    array = np.asarray(values)
    if array.dtype == bool:
        array = 1.0 - 2.0 * array
    if array.ndim != 1 or len(array) == 0 or len(array) & (len(array) - 1):
        raise InputError(f"a truth table has shape [2^n], got {array.shape}.")
    _checked_inputs(len(array).bit_length() - 1)
    return _finite(np.array(array, dtype=np.float64))


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise InputError(
            "the function has a value that is NaN or infinite; expected finite numbers everywhere."
        )
    return values
