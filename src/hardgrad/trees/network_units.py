"""Piecewise linear operations of a network as questions, one unit after the other. Never imports torch.

A value of a network is an affine function of its F inputs while all decisions so far hold: a *row* float64 [F + 1], the coefficients and,
last, the constant. A question is a row, too, and asks whether it is <= 0 (left) or not (right). A batch of rows is [F + 1, units].

Operations have the same methods. What is known about a unit is its state: `first` gives the state before any question, `question` what is
to be decided next (None: nothing), `after` the state after an answer, `result` the row of a decided unit. `at` decides all units by one
point [F + 1], with a 1 at its end: it gives their rows, and the rows that are <= 0 wherever they stay so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Pieces:
    """A piecewise linear function of each unit: `slope[j] * z + intercept[j]` where `cut[j - 1] < z <= cut[j]`.

    Parameters
    ----------
    z : rows of the units, [F + 1, units].
    cut : float64 [k - 1, units], rising; slope, intercept : float64 [k, units].
    shape : of the result, the batch left out.
    """

    z: Rows
    cut: Rows
    slope: Rows
    intercept: Rows
    shape: tuple[int, ...]

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.z.shape[1])

    @property
    def choices(self) -> int:
        """How many pieces a unit may be on."""
        return len(self.slope)

    def first(self, unit: int) -> tuple[int, bool]:
        """The lowest piece, not sure yet."""
        return (0, len(self.cut) == 0)

    def question(self, unit: int, state: tuple[int, bool]) -> Row | None:
        """Is z at most the upper cut of the piece?"""
        piece, sure = state
        if sure:
            return None
        row = self.z[:, unit].copy()
        row[-1] -= self.cut[piece, unit]
        return row

    def after(self, unit: int, state: tuple[int, bool], left: bool) -> tuple[int, bool]:
        """This piece, or the next one; the last needs no question."""
        piece = state[0] if left else state[0] + 1
        return (piece, left or piece == len(self.cut))

    def result(self, unit: int, state: tuple[int, bool]) -> Row:
        """The line of the piece."""
        row = self.slope[state[0], unit] * self.z[:, unit]
        row[-1] += self.intercept[state[0], unit]
        return np.asarray(row)

    def at(self, point: Row) -> tuple[Rows, Rows]:
        """The pieces that the point is on, and the cuts at either end of each."""
        unit = np.arange(self.units)
        piece = (point @ self.z > self.cut).sum(axis=0)
        rows = self.slope[piece, unit] * self.z
        rows[-1] += self.intercept[piece, unit]
        held = []
        for sign, inside, edge in ((1.0, piece < len(self.cut), piece), (-1.0, piece > 0, piece - 1)):
            row = sign * self.z[:, inside]
            row[-1] -= sign * self.cut[edge[inside], unit[inside]]
            held.append(row)
        return rows, np.concatenate(held, axis=1)


@dataclass(frozen=True)
class Largest:
    """The largest of some candidates for each unit; of equal ones the first.

    Parameters
    ----------
    candidates : rows, [F + 1, candidates, units].
    shape : of the result, the batch left out.
    sign : -1 for the smallest.
    index : True where the result is the number of the candidate instead of its value.
    """

    candidates: Rows
    shape: tuple[int, ...]
    sign: float = 1.0
    index: bool = False

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.candidates.shape[2])

    @property
    def choices(self) -> int:
        """How many candidates a unit has."""
        return int(self.candidates.shape[1])

    def first(self, unit: int) -> tuple[int, int]:
        """The best so far and the next candidate."""
        return (0, 1)

    def question(self, unit: int, state: tuple[int, int]) -> Row | None:
        """Is the next candidate at most the best so far?"""
        best, following = state
        if following == self.choices:
            return None
        found = self.candidates[:, following, unit] - self.candidates[:, best, unit]
        return np.asarray(self.sign * found)

    def after(self, unit: int, state: tuple[int, int], left: bool) -> tuple[int, int]:
        """Keep the best so far (left) or take the next."""
        best, following = state
        return (best if left else following, following + 1)

    def result(self, unit: int, state: tuple[int, int]) -> Row:
        """The row of the best, or its number."""
        if self.index:
            row = np.zeros(len(self.candidates))
            row[-1] = state[0]
            return row
        return np.asarray(self.candidates[:, state[0], unit])

    def at(self, point: Row) -> tuple[Rows, Rows]:
        """The candidates that win at the point; every other one stays at most as large."""
        unit = np.arange(self.units)
        best = np.argmax(self.sign * np.tensordot(point, self.candidates, 1), axis=0)
        rows = self.candidates[:, best, unit]
        others = self.sign * (self.candidates - rows[:, None])
        other = np.arange(self.choices)[:, None] != best
        if self.index:
            rows = np.zeros_like(rows)
            rows[-1] = best
        return rows, others[:, other]


Operation = Pieces | Largest


@dataclass(frozen=True)
class Pending:
    """An operation on its way: the rows of the units decided so far, and the state of the next one."""

    operation: Operation
    done: tuple[Row, ...]
    state: Any

    @classmethod
    def start(cls, operation: Operation) -> Pending:
        """Nothing decided."""
        return cls(operation, (), operation.first(0) if operation.units else None)

    def question(self) -> tuple[Row | None, Pending]:
        """Return the next question, and where it is asked; None where all units are decided."""
        operation, done, state = self.operation, list(self.done), self.state
        while len(done) < operation.units:
            unit = len(done)
            row = operation.question(unit, state)
            if row is not None:
                return row, Pending(operation, tuple(done), state)
            done.append(operation.result(unit, state))
            state = operation.first(unit + 1) if unit + 1 < operation.units else None
        return None, Pending(operation, tuple(done), state)

    def answered(self, left: bool) -> Pending:
        """Return what is pending after the answer to `question`."""
        return Pending(self.operation, self.done, self.operation.after(len(self.done), self.state, left))
