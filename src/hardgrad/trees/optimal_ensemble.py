"""OptimalTreeEnsemble: trees and majority votes of trees with provably the fewest cuts. Never imports torch."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.errors import DataError, HardgradWarning, ParameterError, suggestion
from hardgrad.core.exact_search import ExactSearch, SearchProgress, SearchResult
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_estimator import TableClassifier
from hardgrad.tabular.table_model import Label
from hardgrad.train.progress import emit, listen
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.optimal_instance import Instance, check_finite, read
from hardgrad.trees.optimal_tree import BudgetedTrees, Tree, count_cuts, greedy_tree
from hardgrad.trees.optimal_witness import WitnessSearch

Method = Literal["auto", "recursion", "witness"]
METHODS: tuple[Method, ...] = ("auto", "recursion", "witness")


def minimum_cuts(
    X: Any,
    y: Any,
    n_estimators: int = 1,
    *,
    max_cuts: int | None = None,
    max_errors: float = 0,
    sample_weight: Any = None,
    time_limit: float | None = 60.0,
    node_limit: int | None = None,
    method: Method = "auto",
    on_progress: Callable[[SearchProgress], None] | None = None,
) -> SearchResult[Forest]:
    """Find the fewest cuts (inner nodes, over all trees) with which a majority vote of trees is right on the rows.

    Parameters
    ----------
    X : [n, features], finite numbers.
    y : class labels [n].
    n_estimators : trees, an odd number. A row is right where more than half of the trees vote for its label.
    max_cuts : most cuts that are of interest; None for any number.
    max_errors : weight of the rows that may be wrong.
    sample_weight : how many errors each row counts for; rows of weight 0 are left out.
    time_limit : seconds; None for no limit.
    node_limit : nodes of search, to stop at the same place on every machine; None for no limit.
    method : "recursion" (over sets of rows under a budget; one tree only), "witness" (witness tree search) or "auto", which takes the
        recursion for one tree.
    on_progress : called a few times a second.

    Returns
    -------
    `SearchResult` : `value` is the number of cuts of `solution`, a `Forest`; nothing smaller than `lower_bound` exists; `status` is
    "optimal" only where that was proven, else "feasible", "infeasible" or "unknown".

    Raises
    ------
    DataError : rows that are no table of finite numbers, or labels of fewer than two classes.
    ParameterError : a parameter outside its range.

    Examples
    --------
    The majority of three bits takes a tree five cuts, and three trees one each:

    >>> from hardgrad.trees import majority_gap
    >>> gap = majority_gap(3)
    >>> [minimum_cuts(gap.X, gap.y, trees).value for trees in (1, 3)]
    [5, 3]

    Source: Komusiewicz, Kunz, Sommer and Sorge, 2023, On Computing Optimal Tree Ensembles; the recursion is ours.
    """
    from hardgrad.tabular.weights import check_weights

    table, labels, classes = read(X, y)
    _check_parameters(n_estimators, max_cuts, max_errors, method)
    weight = check_weights(sample_weight, len(table))
    instance = Instance(table[weight > 0], labels[weight > 0], weight[weight > 0], max_errors)
    limit = math.inf if max_cuts is None else max_cuts
    search = ExactSearch[list[Tree]](time_limit, node_limit, on_progress, limit=limit)
    result = search.run(_solver(instance, n_estimators, method))
    schema = TableSchema.numeric([f"x{i}" for i in range(table.shape[1])])
    solution = None if result.solution is None else _forest(result.solution, schema, classes.tolist())
    return SearchResult(result.status, solution, result.value, result.lower_bound, result.certificate)


def minimum_trees(X: Any, y: Any, *, limit: int = 1000) -> list[Forest]:
    """Return all smallest trees that are right on all rows, as forests of one tree each.

    Trees are told apart by how their nodes split the rows that reach them: of the cuts that split these alike, one is taken.

    Parameters
    ----------
    X : [n, features], finite numbers.
    y : class labels [n].
    limit : most trees that are returned. There is no time limit: ask `minimum_cuts` first whether the smallest size can be proven.

    Raises
    ------
    DataError : as `minimum_cuts`; and equal rows have unequal labels.

    Examples
    --------
    >>> len(minimum_trees([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]))
    2
    """
    table, labels, classes = read(X, y)
    instance = Instance(table, labels)
    if instance.unavoidable:
        raise DataError(
            f"{instance.unavoidable} rows equal others of another label; no tree is right on all rows."
        )
    schema = TableSchema.numeric([f"x{i}" for i in range(table.shape[1])])
    trees = itertools.islice(BudgetedTrees(instance).smallest(), limit)
    return [_forest([tree], schema, classes.tolist()) for tree in trees]


def _solver(
    instance: Instance, n_estimators: int, method: Method
) -> Callable[[ExactSearch[list[Tree]]], None]:
    """Return what an `ExactSearch` runs: incumbents and bound first, then sizes from the bound on."""
    majority = n_estimators // 2 + 1

    def solver(search: ExactSearch[list[Tree]]) -> None:
        if instance.unavoidable > instance.max_errors:
            return
        tree = greedy_tree(instance)
        constant: Tree = {"value": instance.leaf(instance.everything)[0]}
        search.propose([tree] * majority + [constant] * (majority - 1), count_cuts(tree) * majority)
        search.raise_bound(instance.least_cuts(n_estimators))
        if method == "recursion" or (method == "auto" and n_estimators == 1):
            single = BudgetedTrees(instance, search.tick)
            search.deepen(lambda cuts: None if (found := single.tree(cuts)) is None else [found])
            return
        witness = WitnessSearch(instance, n_estimators, search.tick)
        greedy = witness.greedy(search.cutoff)
        if greedy is not None:
            search.propose(greedy, sum(map(count_cuts, greedy)))
        search.deepen(witness.ensemble)

    return solver


def _forest(trees: Sequence[Tree], schema: TableSchema, classes: Sequence[Label], target: str = "") -> Forest:
    """Turn class numbers into one-hot votes, the mean of which is the majority vote."""
    votes = np.eye(len(classes))

    def voted(tree: Tree) -> Tree:
        root: Tree = {}
        stack = [(tree, root)]
        while stack:
            node, copy = stack.pop()
            if "value" in node:
                copy["value"] = votes[node["value"]]
                continue
            copy.update(feature=node["feature"], threshold=node["threshold"], left={}, right={})
            stack += [(node["left"], copy["left"]), (node["right"], copy["right"])]
        return root

    return forest_from_trees(
        [voted(tree) for tree in trees], schema, n_outputs=len(classes), aggregation="mean", link="identity",
        task="classification", classes=classes, target=target,
    )  # fmt: skip


def _check_parameters(n_estimators: Any, max_cuts: Any, max_errors: Any, method: Any = "auto") -> None:
    if not _whole(n_estimators) or n_estimators < 1 or n_estimators % 2 == 0:
        raise ParameterError(
            f"n_estimators got {n_estimators!r}; expected an odd number: an even vote can tie."
        )
    if max_cuts is not None and not (_whole(max_cuts) and max_cuts >= 0):
        raise ParameterError(f"max_cuts got {max_cuts!r}; expected a whole number from 0 on, or None.")
    if isinstance(max_errors, bool) or not (
        isinstance(max_errors, (int, float, np.number)) and 0 <= max_errors < math.inf
    ):
        raise ParameterError(f"max_errors got {max_errors!r}; expected a finite number from 0 on.")
    if method not in METHODS:
        raise ParameterError(
            f"method got {method!r}; expected one of {', '.join(METHODS)}.{suggestion(str(method), METHODS)}"
        )
    if method == "recursion" and n_estimators != 1:
        raise ParameterError(
            f"the recursion is for one tree, got n_estimators={n_estimators}; use 'witness'."
        )


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


class OptimalTreeEnsemble(TableClassifier):
    """The tree, or the majority vote of trees, with provably the fewest cuts that is right on all rows, or on all but so many.

    For small tables: auditing ("is there a model of 5 cuts?"), teaching, and as teacher of other models. Ask `cut_complexity` how hard a
    table is. Stopped by the time limit or by Ctrl-C, the best ensemble so far and the proven bound remain.

    Parameters
    ----------
    n_estimators : trees, an odd number. A row is right where more than half of the trees vote for its label.
    max_cuts : most cuts (inner nodes, over all trees) that are allowed; None for any number.
    max_errors : weight of the rows that may be wrong.
    time_limit : seconds; None for no limit.
    node_limit : nodes of search, to stop at the same place on every machine; None for no limit.
    verbose : print progress if positive.

    Attributes
    ----------
    ensemble_ : the `Forest`, of one-hot votes under the aggregation "mean"; None where no ensemble within the limits is known.
    n_cuts_ : its cuts, or None.
    lower_bound_ : no ensemble has fewer cuts than this.
    status_ : "optimal", "feasible" (not proven the smallest), "infeasible" (there is none within the limits), or "unknown" (stopped before
        one was found or excluded). Without an ensemble, prediction raises `DataError`.
    certificate_ : `Certificate`, how far each size was refuted, by how many nodes of search, and what ended it.
    classes_, n_features_in_, feature_names_in_, schema_, typing_ : as for the other estimators of tables.

    Raises
    ------
    ValueError (a `HardgradError`) : data or parameters that cannot be learned from, missing values among them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = OptimalTreeEnsemble().fit(X[50:], y[50:])
    >>> model.status_, model.n_cuts_, model.score(X[50:], y[50:])
    ('optimal', 6, 1.0)

    Source: Komusiewicz, Kunz, Sommer and Sorge, 2023, On Computing Optimal Tree Ensembles.
    """

    accepts_missing = False
    artifact_attribute = "ensemble_"

    def __init__(
        self,
        n_estimators: int = 1,
        *,
        max_cuts: int | None = None,
        max_errors: float = 0,
        time_limit: float | None = 60.0,
        node_limit: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_cuts = max_cuts
        self.max_errors = max_errors
        self.time_limit = time_limit
        self.node_limit = node_limit
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Search.

        Parameters
        ----------
        X : array [n, features], or any data frame of numbers, booleans, dates and categories; nothing missing.
        y : class labels [n].
        sample_weight : [n], how many errors a row counts for; rows of weight 0 are left out.
        """
        _check_parameters(self.n_estimators, self.max_cuts, self.max_errors)
        limit = math.inf if self.max_cuts is None else self.max_cuts
        search = ExactSearch[list[Tree]](self.time_limit, self.node_limit, _say, limit=limit)
        X, y = self._check_input(X, y)
        index = self._class_numbers(y)
        weight = self._weights(sample_weight, len(index))
        schema, encoded = self._encode_training(
            X, index, weight, task="classification", n_classes=len(self.classes_)
        )
        check_finite(encoded, [schema.names[feature.column] for feature in schema.features])
        used = weight > 0
        instance = Instance(encoded[used], index[used], weight[used], self.max_errors)
        with listen(self._print_event):
            result = search.run(_solver(instance, self.n_estimators, "auto"))
        self.ensemble_ = (
            None if result.solution is None else _forest(result.solution, schema, self._class_labels())
        )
        self.n_cuts_ = None if result.value is None else int(result.value)
        self.lower_bound_, self.status_, self.certificate_ = (
            result.lower_bound,
            result.status,
            result.certificate,
        )
        if self.certificate_.stopped_by == "interrupt":
            warnings.warn(
                f"{type(self).__name__} was interrupted and kept the best so far: {self.n_cuts_} cuts, of which at least "
                f"{self.lower_bound_:g} are needed. Fit again, without interrupting, for the whole search.",
                HardgradWarning,
                stacklevel=2,
            )
        return self

    def harden(self) -> Forest:
        """Return the exact `Forest` artifact.

        Raises
        ------
        DataError : no ensemble within the limits is known (see `status_`).
        """
        check_is_fitted(self)
        if self.ensemble_ is None:
            found = "there is none" if self.status_ == "infeasible" else "none was found in time"
            raise DataError(
                f"no ensemble of {self.n_estimators} trees with max_cuts={self.max_cuts} and max_errors={self.max_errors}: {found} "
                f"(lower_bound_ is {self.lower_bound_:g}). Allow more cuts or errors, or a longer time_limit."
            )
        forest: Forest = self.ensemble_
        return forest

    def plot_search(self, ax: Any = None) -> Any:
        """Draw the best number of cuts and the proven bound over the seconds of the search; return the axis. Needs matplotlib."""
        check_is_fitted(self)
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.figure().add_subplot()
        end = self.certificate_.seconds
        for name, steps in (("best", self.certificate_.incumbents), ("bound", self.certificate_.bounds)):
            if steps:
                ax.step(
                    [*(step[2] for step in steps), end], [*(step[0] for step in steps), steps[-1][0]], where="post", label=name
                )  # fmt: skip
        ax.set_xlabel("seconds")
        ax.set_ylabel("cuts")
        ax.set_title(f"{self.status_}: {self.n_cuts_} cuts, at least {self.lower_bound_:g}")
        ax.legend()
        return ax


def _say(progress: SearchProgress) -> None:
    best = "none" if progress.value is None else f"{progress.value:g}"
    emit(
        "exact search",
        min(1.0, progress.fraction),
        message=f"{best} cuts, at least {progress.lower_bound:g}, {progress.nodes:,} nodes",
    )
