"""ExactSearch stops when it must, and claims no more than it proved."""

import math

import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.core.exact_search import SAY, ExactSearch


def forever(search):
    while True:
        search.tick()


def test_a_solver_that_returns_has_searched_everything():
    def solver(search):
        assert search.propose("long", 5)
        assert not search.propose("longer", 6)
        assert search.propose("short", 3)
        assert search.cutoff == 3

    result = ExactSearch().run(solver)
    assert (result.status, result.solution, result.value, result.lower_bound) == ("optimal", "short", 3, 3)
    assert result.certificate.stopped_by == "proof"
    assert [value for value, _, _ in result.certificate.incumbents] == [5, 3]


def test_nothing_found_is_infeasible():
    result = ExactSearch().run(lambda search: None)
    assert (result.status, result.solution, result.value, result.lower_bound) == (
        "infeasible",
        None,
        None,
        math.inf,
    )


def test_a_closed_gap_ends_the_search():
    def solver(search):
        search.propose("best", 4)
        search.raise_bound(4)
        raise AssertionError("the gap is closed")

    result = ExactSearch().run(solver)
    assert (result.status, result.lower_bound) == ("optimal", 4)


@pytest.mark.parametrize("limits", [{"time_limit": 1e-9}, {"node_limit": 10}])
def test_limits_keep_the_best_and_the_bound(limits):
    def solver(search):
        search.raise_bound(2)
        search.propose("something", 7)
        forever(search)

    result = ExactSearch(**limits).run(solver)
    assert (result.status, result.solution, result.lower_bound) == ("feasible", "something", 2)
    assert result.certificate.stopped_by == next(iter(limits))
    assert result.certificate.nodes == limits.get("node_limit", 1)
    assert [(bound, nodes) for bound, nodes, _ in result.certificate.bounds] == [(2, 0)]


def test_limits_without_a_solution_leave_it_open():
    result = ExactSearch(node_limit=1).run(forever)
    assert (result.status, result.solution, result.value, result.lower_bound) == (
        "unknown",
        None,
        None,
        -math.inf,
    )


def interrupted(search):
    search.tick()
    raise KeyboardInterrupt


def test_an_interrupt_returns_the_best():
    def solver(search):
        search.propose("something", 7)
        interrupted(search)

    result = ExactSearch().run(solver)
    assert (result.status, result.solution, result.certificate.stopped_by) == (
        "feasible",
        "something",
        "interrupt",
    )
    with pytest.raises(KeyboardInterrupt):
        ExactSearch().run(interrupted)


def test_deepening_refutes_value_by_value():
    asked = []

    def solver(search):
        search.raise_bound(1.5)
        search.deepen(lambda value: asked.append(value) or ("it" if value >= 4 else None))

    result = ExactSearch().run(solver)
    assert asked == [2, 3, 4]
    assert (result.status, result.value) == ("optimal", 4)
    assert [bound for bound, _, _ in result.certificate.bounds] == [1.5, 3, 4]


def test_values_above_the_limit_do_not_count():
    def solver(search):
        assert not search.propose("large", 6)
        search.raise_bound(3)
        search.deepen(lambda value: None)

    result = ExactSearch(limit=5).run(solver)
    assert (result.status, result.value, result.lower_bound) == ("infeasible", None, 6)
    assert ExactSearch(limit=5).run(lambda search: search.propose("fits", 5)).status == "optimal"


def test_progress_is_told_a_few_times_a_second(monkeypatch):
    clock = iter(0.4 * SAY * tick for tick in range(1000))
    monkeypatch.setattr("hardgrad.core.exact_search.time.monotonic", lambda: next(clock))
    told = []

    def solver(search):
        search.raise_bound(1)
        search.propose("something", 7)
        for _ in range(9):
            search.tick()

    ExactSearch(time_limit=4 * SAY, on_progress=told.append).run(solver)
    assert [progress.nodes for progress in told] == [1, 4, 7]
    assert [(progress.value, progress.lower_bound) for progress in told] == [(7, 1)] * 3
    assert 0 < told[0].fraction < told[1].fraction < told[2].fraction < 1


@pytest.mark.parametrize(
    "bad", [{"time_limit": 0}, {"time_limit": "soon"}, {"node_limit": -1}, {"time_limit": math.nan}]
)
def test_bad_limits(bad):
    with pytest.raises(ParameterError, match="got"):
        ExactSearch(**bad)
