"""Tasks to test reasoning with: pointer value retrieval, parities, majorities, and short strings to learn from. Never imports torch.

A task is a Boolean function that can be asked at points, that has a truth table where it is small, and that draws samples of itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hardgrad.core.errors import InputError, ParameterError, suggestion
from hardgrad.logic.boolean_functions import (
    Floats,
    Seed,
    hamming_weight,
    random_points,
    truth_table,
)

Aggregator = Literal["parity", "majority", "min", "first"]


class BooleanTask(ABC):
    """A Boolean function with a name of its own: call it on points `[B, n]` of -1 and +1 for values `[B]` of -1 and +1."""

    @property
    @abstractmethod
    def n_inputs(self) -> int:
        """Number of inputs."""

    @abstractmethod
    def labels(self, X: Floats) -> Floats:
        """Return the values at points that were looked at already."""

    def __call__(self, X: ArrayLike) -> Floats:
        """Return the values `[B]` at points `[B, n_inputs]` of -1 and +1.

        Raises
        ------
        InputError : another shape, or another number than -1 and +1.
        """
        points = np.asarray(X, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != self.n_inputs:
            raise InputError(
                f"{type(self).__name__} takes points [B, {self.n_inputs}]; got shape {points.shape}."
            )
        if not (np.abs(points) == 1).all():
            raise InputError(f"{type(self).__name__} takes points of -1 and +1; got another number.")
        return self.labels(points)

    def truth_table(self) -> NDArray[np.bool_]:
        """Return the outputs `[2^n_inputs, 1]` as bits, true for -1: what a circuit of this function has.

        Raises
        ------
        ParameterError : more than 24 inputs.
        """
        return (truth_table(self.__call__, self.n_inputs) < 0)[:, None]

    def sample(self, count: int, random_state: Seed = 0) -> tuple[Floats, Floats]:
        """Return `count` uniform points `[count, n_inputs]` and their values `[count]`."""
        X = random_points(self.n_inputs, count, random_state)
        return X, self(X)


@dataclass(frozen=True)
class Parity(BooleanTask):
    """The product of some of the inputs.

    Parameters
    ----------
    n : number of inputs.
    subset : the variables that count; all by default.

    Raises
    ------
    ParameterError : a variable out of range or named twice.

    Examples
    --------
    >>> Parity(3, (0, 2))([[-1, 1, 1]])
    array([-1.])
    """

    n: int
    subset: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        chosen = self.subset if self.subset is not None else ()
        if self.n < 0 or len(set(chosen)) < len(chosen) or any(not 0 <= i < self.n for i in chosen):
            raise ParameterError(
                f"Parity got n={self.n}, subset={self.subset}; expected distinct variables from 0 to n - 1."
            )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.n

    def labels(self, X: Floats) -> Floats:
        """Return the products."""
        chosen = X if self.subset is None else X[:, list(self.subset)]
        return np.asarray(chosen.prod(axis=1))


@dataclass(frozen=True)
class Majority(BooleanTask):
    """The sign that most inputs have.

    Parameters
    ----------
    n : number of inputs, odd.

    Raises
    ------
    ParameterError : n is even, so that there are ties.

    Examples
    --------
    >>> Majority(3)([[-1, 1, 1]])
    array([1.])
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.n % 2 == 0:
            raise ParameterError(f"Majority got n={self.n}; expected an odd number, which has no ties.")

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.n

    def labels(self, X: Floats) -> Floats:
        """Return the signs of the sums."""
        return np.asarray(np.sign(X.sum(axis=1)))


AGGREGATORS: dict[str, Callable[[Floats], Floats]] = {
    "parity": lambda window: window.prod(axis=1),
    "majority": lambda window: np.sign(window.sum(axis=1)),
    "min": lambda window: window.min(axis=1),
    "first": lambda window: window[:, 0],
}


@dataclass(frozen=True)
class PointerValueRetrieval(BooleanTask):
    """A window of the data, where the pointer points, aggregated: the first bits say where to look.

    The pointer is P, its first bit the most significant (-1 is 1). The label is the aggregate of data P to P + window - 1.

    Parameters
    ----------
    pointer_bits : p, at least 1; 1 to 2^p places can be pointed at.
    window : w, at least 1.
    aggregator : "parity", "majority" (w odd), "min", "first", or a function from `[B, w]` to `[B]`, both of -1 and +1.
    wrap : take 2^p data bits and go on at the first after the last, instead of 2^p + w - 1.

    Raises
    ------
    ParameterError : a size out of range, an unknown aggregator, a majority of an even window, a window that wraps onto itself.

    Examples
    --------
    >>> task = PointerValueRetrieval(2, 3, "majority")
    >>> task.n_inputs
    8
    >>> task([[1, -1, -1, -1, 1, 1, -1, -1]])  # the pointer is 1: data 1 to 3 are -1, 1, 1
    array([1.])

    Source: Zhang, Raghu, Kleinberg and Bengio, 2021, Pointer Value Retrieval: A New Benchmark for Understanding the Limits of Neural
    Network Generalization.
    """

    pointer_bits: int
    window: int = 1
    aggregator: Aggregator | Callable[[Floats], Floats] = "majority"
    wrap: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.pointer_bits <= 20 or self.window < 1:
            raise ParameterError(
                f"PointerValueRetrieval got pointer_bits={self.pointer_bits}, window={self.window}; expected 1 to 20, and at least 1."
            )
        if self.wrap and self.window > 1 << self.pointer_bits:
            raise ParameterError(
                f"a window of {self.window} wraps onto itself in {1 << self.pointer_bits} data bits."
            )
        if isinstance(self.aggregator, str) and self.aggregator not in AGGREGATORS:
            raise ParameterError(
                f"aggregator got {self.aggregator!r}; expected one of {', '.join(AGGREGATORS)}, or a function."
                f"{suggestion(self.aggregator, list(AGGREGATORS))}"
            )
        if self.aggregator == "majority" and self.window % 2 == 0:
            raise ParameterError(f"a majority of {self.window} has ties; take an odd window.")

    @property
    def n_inputs(self) -> int:
        """Pointer bits and data bits."""
        places = 1 << self.pointer_bits
        return self.pointer_bits + places + (0 if self.wrap else self.window - 1)

    def labels(self, X: Floats) -> Floats:
        """Return the aggregates of the windows."""
        p, data = self.pointer_bits, X[:, self.pointer_bits :]
        pointer = (X[:, :p] < 0) @ (1 << np.arange(p)[::-1])
        columns = (pointer[:, None] + np.arange(self.window)) % data.shape[1]
        window = np.take_along_axis(data, columns, axis=1)
        aggregate = AGGREGATORS[self.aggregator] if isinstance(self.aggregator, str) else self.aggregator
        return np.asarray(aggregate(window), dtype=np.float64)


@dataclass(frozen=True)
class LengthGeneralizationTask(BooleanTask):
    """A task learned from its short strings: points with at most `max_length` inputs of -1 are seen, the longer ones are not.

    Parameters
    ----------
    task : the function.
    max_length : inputs of -1 in the longest string seen, 0 to n.

    Raises
    ------
    ParameterError : a length out of range.

    Examples
    --------
    >>> task = LengthGeneralizationTask(Parity(4), max_length=1)
    >>> X, y = task.sample(100)
    >>> int(hamming_weight(X).max()), task.seen([[-1, 1, 1, 1], [-1, -1, 1, 1]]).tolist()
    (1, [True, False])

    Source: Abbe, Bengio, Lotfi and Rizk, 2023, Generalization on the Unseen, Logic Reasoning and Degree Curriculum.
    """

    task: BooleanTask
    max_length: int

    def __post_init__(self) -> None:
        if not 0 <= self.max_length <= self.task.n_inputs:
            raise ParameterError(
                f"max_length got {self.max_length}; expected 0 to {self.task.n_inputs}, the inputs of the task."
            )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.task.n_inputs

    def labels(self, X: Floats) -> Floats:
        """Return the values of the task."""
        return self.task.labels(X)

    def seen(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Tell which points `[B, n]` are seen."""
        return hamming_weight(X) <= self.max_length

    def sample(self, count: int, random_state: Seed = 0) -> tuple[Floats, Floats]:
        """Return `count` points drawn uniformly from those seen, and their values."""
        return self._of_lengths(0, self.max_length, count, random_state)

    def sample_unseen(self, count: int, random_state: Seed = 0) -> tuple[Floats, Floats]:
        """Return `count` points drawn uniformly from those not seen, and their values.

        Raises
        ------
        ParameterError : all points are seen.
        """
        if self.max_length == self.n_inputs:
            raise ParameterError(
                f"max_length={self.max_length} of {self.n_inputs} inputs leaves no point unseen."
            )
        return self._of_lengths(self.max_length + 1, self.n_inputs, count, random_state)

    def _of_lengths(
        self, shortest: int, longest: int, count: int, random_state: Seed
    ) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(random_state)
        sizes = [comb(self.n_inputs, length) for length in range(shortest, longest + 1)]
        total = sum(sizes)
        lengths = shortest + rng.choice(len(sizes), count, p=[size / total for size in sizes])
        place = rng.random((count, self.n_inputs)).argsort(axis=1)
        X = np.where(place < lengths[:, None], -1.0, 1.0)
        return X, self(X)
