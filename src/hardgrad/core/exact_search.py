"""ExactSearch: what exact minimisers share: deadline, incumbent, lower bound, progress, certificate. Never imports torch.

A solver is a function that takes the search and tells it three things: `tick()` at every node, `propose(solution, value)` for a solution
found, `raise_bound(value)` for a value proven. The search decides when to stop, and what may then be claimed.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from hardgrad.core.errors import ParameterError

T = TypeVar("T")
Status = Literal["optimal", "feasible", "infeasible", "unknown"]
StoppedBy = Literal["proof", "time_limit", "node_limit", "interrupt"]
SAY = 0.2  # seconds between two words of progress


@dataclass(frozen=True)
class Certificate:
    """How a result was reached.

    Parameters
    ----------
    stopped_by : "proof" (the search came to its end), "time_limit", "node_limit" or "interrupt".
    nodes : search nodes visited.
    seconds : wall-clock time.
    bounds : (value, nodes, seconds) each time the lower bound rose: everything below `value` was refuted by then.
    incumbents : (value, nodes, seconds) each time a better solution was found.
    """

    stopped_by: StoppedBy
    nodes: int
    seconds: float
    bounds: tuple[tuple[float, int, float], ...]
    incumbents: tuple[tuple[float, int, float], ...]


@dataclass(frozen=True)
class SearchResult(Generic[T]):
    """What an exact search found, and what it proved.

    Parameters
    ----------
    status : "optimal" (no smaller value exists), "feasible" (the search was stopped before it could say so), "infeasible" (there is no
        solution), or "unknown" (stopped with neither).
    solution : the best found, or None.
    value : its value, or None.
    lower_bound : no solution has a smaller value than this; infinite where there is none.
    certificate : how the result was reached.
    """

    status: Status
    solution: T | None
    value: float | None
    lower_bound: float
    certificate: Certificate


@dataclass(frozen=True)
class SearchProgress:
    """One word from a running search: best value so far (or None), proven lower bound, nodes, seconds, share of the time limit."""

    value: float | None
    lower_bound: float
    nodes: int
    seconds: float
    fraction: float


class _Stop(Exception):  # no error: the search is over
    """Leaves the solver."""

    def __init__(self, stopped_by: StoppedBy) -> None:
        self.stopped_by = stopped_by


@dataclass
class ExactSearch(Generic[T]):
    """An anytime exact minimisation: it can be stopped at any moment and never claims more than it proved.

    Parameters
    ----------
    time_limit : seconds; None for no limit.
    node_limit : nodes, for a search that stops at the same place on every machine; None for no limit.
    on_progress : called with a `SearchProgress` a few times a second.
    lower_bound : a value that is known to be a bound before the search begins.
    limit : the largest value that is allowed; where no solution is within it, the result is "infeasible".

    Examples
    --------
    The smallest number whose square is at least 50:

    >>> def solver(search):
    ...     for number in range(100):
    ...         search.tick()
    ...         if number**2 >= 50:
    ...             search.propose(f"the number {number}", number)
    ...             return
    ...         search.raise_bound(number + 1)
    >>> result = ExactSearch(time_limit=10).run(solver)
    >>> result.status, result.solution, result.lower_bound
    ('optimal', 'the number 8', 8.0)
    """

    time_limit: float | None = None
    node_limit: int | None = None
    on_progress: Callable[[SearchProgress], None] | None = None
    lower_bound: float = -math.inf
    limit: float = math.inf
    solution: T | None = field(default=None, init=False)
    value: float | None = field(default=None, init=False)
    nodes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("time_limit", "node_limit"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Real) and float(value) > 0):
                raise ParameterError(f"{name} got {value!r}; expected a number above 0, or None.")
        self._bounds: list[tuple[float, int, float]] = []
        self._incumbents: list[tuple[float, int, float]] = []
        self._begun, self._said = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock time since the search was made."""
        return time.monotonic() - self._begun

    @property
    def cutoff(self) -> float:
        """A branch whose values are all at or above this is not worth a visit."""
        return min(math.inf if self.value is None else self.value, math.nextafter(self.limit, math.inf))

    def tick(self) -> None:
        """Count a node. Leaves the solver when the time or the number of nodes is up."""
        if self.nodes == self.node_limit:
            raise _Stop("node_limit")
        self.nodes += 1
        seconds = self.seconds
        if self.time_limit is not None and seconds >= self.time_limit:
            raise _Stop("time_limit")
        if self.on_progress is not None and seconds - self._said >= SAY:
            self._said = seconds
            share = 0.0 if self.time_limit is None else seconds / self.time_limit
            self.on_progress(SearchProgress(self.value, self.lower_bound, self.nodes, seconds, share))

    def propose(self, solution: T, value: float) -> bool:
        """Offer a solution; return whether it is the best so far. Leaves the solver where it closes the gap to the lower bound."""
        if not value < self.cutoff:
            return False
        self.solution, self.value = solution, value
        self._incumbents.append((value, self.nodes, self.seconds))
        self._stop_when_closed()
        return True

    def raise_bound(self, value: float) -> None:
        """State that no solution is below `value`. Leaves the solver where nothing better can remain."""
        if value > self.lower_bound:
            self.lower_bound = float(value)
            self._bounds.append((float(value), self.nodes, self.seconds))
        self._stop_when_closed()

    def _stop_when_closed(self) -> None:
        if self.lower_bound >= self.cutoff:
            raise _Stop("proof")

    def deepen(self, decide: Callable[[int], T | None]) -> None:
        """Solve a minimisation over whole numbers from below: ask for each value, from the lower bound on, whether it can be reached.

        Parameters
        ----------
        decide : returns a solution of at most the given value, or None as proof that there is none.
        """
        while True:
            value = math.ceil(self.lower_bound)
            found = decide(value)
            if found is not None:
                self.propose(found, value)
                return
            self.raise_bound(value + 1)

    def run(self, solver: Callable[[ExactSearch[T]], None]) -> SearchResult[T]:
        """Run a solver to its end, to the time limit, or to Ctrl-C, which returns the best so far; without one it goes through.

        A solver that returns has searched everything: its best is optimal, and without one there is no solution.
        """
        stopped_by: StoppedBy = "proof"
        try:
            self._stop_when_closed()
            solver(self)
            self.lower_bound = self.cutoff
        except _Stop as stop:
            stopped_by = stop.stopped_by
        except KeyboardInterrupt:
            if self.value is None:
                raise
            stopped_by = "interrupt"
        return self._result(stopped_by)

    def _result(self, stopped_by: StoppedBy) -> SearchResult[T]:
        proven = stopped_by == "proof"
        status: Status
        if self.value is None:
            status = "infeasible" if proven else "unknown"
        else:
            status = "optimal" if proven else "feasible"
        certificate = Certificate(
            stopped_by, self.nodes, self.seconds, tuple(self._bounds), tuple(self._incumbents)
        )
        return SearchResult(status, self.solution, self.value, self.lower_bound, certificate)
