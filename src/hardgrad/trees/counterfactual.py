"""The nearest counterfactual of a row: the smallest change that changes the answer, found exactly or with its bound. Never imports torch.

Distance: the sum over the columns that change of |change| / spread for numbers and dates (the spread is the range between the 5th and
95th percentile of the column in the given table) and 1 for a category, a boolean or a missing value that becomes known.

Exactness: every node decides alike on a cell (see `cells`), so the search is over finitely many points. It is branch and bound,
cheapest box first: a box is a set of allowed cells for each column, and it is dropped where not even the best reachable leaf of every
tree together gives the wished answer. The first point that is taken from the queue with the wished answer is therefore the nearest.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.trees.boxes import Boxes
from hardgrad.trees.cells import Cells, Scale, cells_of
from hardgrad.trees.conditions import value_text
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_sums import require_plain
from hardgrad.trees.goals import Goal, make_goal

BATCH = 16


@dataclass(frozen=True)
class Change:
    """One column that changes, from what to what, and its share of the distance."""

    column: str
    old: Any
    new: Any
    cost: float

    def __str__(self) -> str:
        return f"{self.column}: {value_text(self.old)} -> {value_text(self.new)}"


@dataclass(frozen=True)
class Counterfactual:
    """What must change for another answer.

    Parameters
    ----------
    wish : the answer that was looked for, in words.
    found : whether a row with that answer was found.
    changes : the columns that change, dearest first.
    distance : sum of the costs of the changes; infinite where nothing was found.
    bound : no row with the wished answer is nearer than this.
    proven : True where the distance is proven to be the smallest, or where it is proven that no change helps.
    prediction : what the changed row gets.
    raw : its raw scores, one an output.
    boxes : boxes that the search looked at.
    """

    wish: str
    found: bool
    changes: tuple[Change, ...]
    distance: float
    bound: float
    proven: bool
    prediction: Any
    raw: tuple[float, ...]
    boxes: int

    def to_dict(self) -> dict[str, Any]:
        """Return a form that `json` can write."""
        from hardgrad.trees.explanation import plain

        return {
            "wish": self.wish,
            "found": self.found,
            "changes": [
                {"column": c.column, "old": plain(c.old), "new": plain(c.new), "cost": c.cost}
                for c in self.changes
            ],
            "distance": self.distance if self.found else None,
            "bound": self.bound if math.isfinite(self.bound) else None,
            "proven": self.proven,
            "prediction": plain(self.prediction),
            "raw": list(self.raw),
            "boxes": self.boxes,
        }


def nearest_counterfactual(
    forest: Forest,
    row: Mapping[str, Any],
    scales: Sequence[Scale],
    *,
    to: Any = None,
    keep: Sequence[str] = (),
    candidates: Mapping[str, NDArray[Any]] | None = None,
    time_budget: float = 5.0,
) -> Counterfactual:
    """Return the smallest change of a row that changes the answer.

    Parameters
    ----------
    forest : the model.
    row : raw values by column name.
    scales : what a change of each column costs (see `cells.measure_scales`).
    to : the class to reach, by default any other than now; for regression the value to reach or pass (needed).
    keep : columns that may not change.
    candidates : raw columns of other rows, a source of first guesses.
    time_budget : seconds; when they are over the best so far is returned with its bound.

    Raises
    ------
    UnsupportedError : the forest has linear nodes or affine leaves.
    ParameterError : `to` is no class, is the present answer, or is missing for regression; `keep` names no column.
    """
    require_plain(forest, "nearest_counterfactual()", "Use scipy.optimize with the forest's predict_raw().")
    for name in keep:
        if name not in forest.schema.names:
            raise ParameterError(
                f"keep got {name!r}, which is no column of the model; it has {list(forest.schema.names)}."
            )
    cells = cells_of(forest, row, scales, keep)
    goal = make_goal(forest, _points(forest, cells, np.zeros((1, len(cells)), dtype=np.int64)), to)
    search = _Search(forest, cells, goal, time.monotonic() + time_budget)
    search.guess(_candidate_cells(forest, cells, candidates))
    search.run()
    return _result(forest, row, cells, goal, search)


def _points(forest: Forest, cells: Sequence[Cells], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Encoded rows, one a line of chosen cell numbers [n, columns]."""
    X = np.empty((len(chosen), forest.n_features))
    for column, cell in enumerate(cells):
        X[:, cell.feature_numbers] = cell.features[chosen[:, column]]
    return X


def _candidate_cells(
    forest: Forest, cells: Sequence[Cells], candidates: Mapping[str, NDArray[Any]] | None
) -> NDArray[np.int64]:
    """Other rows, moved into the cells that they lie in; a value that no allowed cell matches leaves the column as it is."""
    if candidates is None:
        return np.zeros((0, len(cells)), dtype=np.int64)
    X = forest.encode(candidates)
    boxes = Boxes(forest, cells)
    return np.stack([boxes.locate(column, X) for column in range(len(cells))], axis=1)


class _Search:
    """Best-first branch and bound over boxes of cells."""

    def __init__(self, forest: Forest, cells: Sequence[Cells], goal: Goal, deadline: float) -> None:
        self.forest, self.cells, self.goal, self.deadline = forest, cells, goal, deadline
        self.boxes = Boxes(forest, cells)
        self.best = math.inf
        self.best_cells: NDArray[np.int64] | None = None
        self.bound = 0.0
        self.looked_at = 0
        self.finished = False

    def cost(self, chosen: NDArray[np.int64]) -> float:
        return math.fsum(float(cell.costs[k]) for cell, k in zip(self.cells, chosen, strict=True))

    def offer(self, chosen: NDArray[np.int64]) -> None:
        """Take rows [n, columns] of cells that reach the goal as the best so far where they are nearer."""
        for line in chosen:
            cost = self.cost(line)
            if cost < self.best:
                self.best, self.best_cells = cost, line.copy()

    def reaches(self, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self.goal.reached(_points(self.forest, self.cells, chosen))

    def guess(self, others: NDArray[np.int64]) -> None:
        """First guesses: every single change, and every other row with the wished answer, the nearest few cut down to what matters."""
        lines = []
        for column, cell in enumerate(self.cells):
            singles = np.zeros((len(cell.values) - 1, len(self.cells)), dtype=np.int64)
            singles[:, column] = np.arange(1, len(cell.values))
            lines.append(singles)
        pool = np.concatenate([*lines, others])
        if not len(pool):
            return
        pool = pool[self.reaches(pool)]
        costs = np.array([self.cost(line) for line in pool])
        for index in np.argsort(costs, kind="stable")[:8]:
            self.offer(self._reduce(pool[index])[None])

    def _reduce(self, line: NDArray[np.int64]) -> NDArray[np.int64]:
        """Move one column at a time back to a cheaper cell while the answer stays, dearest column first."""
        line = line.copy()
        for column in sorted(range(len(line)), key=lambda c: -self.cells[c].costs[line[c]]):
            trial = np.repeat(line[None], line[column] + 1, axis=0)
            trial[:, column] = np.arange(line[column] + 1)
            line[column] = int(
                np.argmax(self.reaches(trial))
            )  # cells are cheapest first, and the last one reaches
        return line

    def run(self) -> None:
        start = self.boxes.everything()
        queue: list[tuple[float, int, NDArray[np.bool_]]] = []
        counter = 0
        if self.boxes.promising(start[None], self.goal)[0]:
            queue.append((0.0, counter, start))
        while queue:
            self.bound = min(queue[0][0], self.best)
            if queue[0][0] >= self.best:
                break
            if time.monotonic() >= self.deadline:
                return
            taken = [heapq.heappop(queue)[2] for _ in range(min(BATCH, len(queue)))]
            for box in self._expand(np.stack(taken)):
                counter += 1
                cost = self.cost(self.boxes.cheapest(box[None])[0])
                if cost < self.best:
                    heapq.heappush(queue, (cost, counter, box))
        self.finished = True
        self.bound = self.best

    def _expand(self, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Settle the boxes whose cheapest point has the wished answer; split the others and keep the promising halves."""
        self.looked_at += len(taken)
        points = self.boxes.cheapest(taken)
        reached = self.reaches(points)
        self.offer(points[reached])
        halves = [half for box in taken[~reached] for half in self.boxes.split(box, self.goal)]
        if not halves:
            return taken[:0]
        stacked = np.stack(halves)
        return stacked[self.boxes.promising(stacked, self.goal)]


def _result(
    forest: Forest, row: Mapping[str, Any], cells: Sequence[Cells], goal: Goal, search: _Search
) -> Counterfactual:
    chosen = search.best_cells
    if chosen is None:
        return Counterfactual(
            goal.wish, False, (), math.inf, search.bound, search.finished, None, (), search.looked_at
        )
    changes = [
        Change(column.name, row[column.name], cell.values[k], float(cell.costs[k]))
        for column, cell, k in zip(forest.schema.columns, cells, chosen, strict=True)
        if k
    ]
    # The answer is that of the raw row itself, through the whole model, not of the search's own arithmetic.
    changed = {**row, **{change.column: change.new for change in changes}}
    raw = forest.predict_raw({name: _single(changed[name]) for name in forest.schema.names})
    prediction = forest.raw_to_prediction(raw)[0]
    return Counterfactual(
        goal.wish,
        True,
        tuple(sorted(changes, key=lambda change: -change.cost)),
        search.best,
        search.bound,
        search.finished,
        prediction.item() if isinstance(prediction, np.generic) else prediction,
        tuple(raw[0].tolist()),
        search.looked_at,
    )


def _single(value: Any) -> NDArray[Any]:
    array = np.empty(1, dtype=object)
    array[0] = value
    return array
