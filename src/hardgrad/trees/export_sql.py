"""A forest as one SELECT over raw columns, equal to the NumPy reference on every row. Never imports torch.

The query is a stack of common table expressions: features (raw columns as doubles, missing as NULL), scores (integers for oblique
nodes), then for every group of trees its leaves or leaf values and their running sum. A row that lacks a value which a linear node or a
slope weighs has NULL for every answer. Products of huge values are infinite as in the reference; PostgreSQL and BigQuery raise an error
instead. What an engine spells differently is in
`hardgrad.export.sql_dialects`; the output (link, labels) is in `hardgrad.tabular.table_sql_output`; running the query is
`hardgrad.trees.score_sql`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from sqlglot import exp

from hardgrad.core.errors import ParameterError
from hardgrad.export.sql import (
    SqlDialect,
    above,
    at_most,
    case,
    choose,
    column,
    integer,
    is_null,
    left_sum,
    negative,
    null,
    parenthesised,
    step_function,
    weighted_sum,
)
from hardgrad.export.sql_dialects import sql_dialect
from hardgrad.export.sql_query import Items
from hardgrad.tabular.table_sql import TableQuery
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest

Outputs = Literal["prediction", "all"]
NESTED_LEVELS = 9
"""Levels of a tree in one expression: SQLite's parser stack holds 100 entries, a nested CASE takes five."""
TREES_TOGETHER = 100
"""Trees in one SELECT: engines limit the columns of a result (SQLite 2,000, PostgreSQL 1,664) and the depth of a sum."""


def to_sql(
    forest: Forest,
    dialect: str = "duckdb",
    *,
    table: str = "data",
    keep: Sequence[str] = (),
    outputs: Outputs = "all",
    leaves: bool = False,
    rename: Mapping[str, str] | None = None,
    pretty: bool = True,
) -> str:
    """Return one SELECT that scores a table of raw columns exactly as the forest does.

    Parameters
    ----------
    forest : the forest to write.
    dialect : "duckdb", "postgres", "spark", "bigquery", "snowflake" or "sqlite".
    table : what stands after FROM, in the words of the dialect: a name, perhaps qualified, a function such as
        `read_parquet('new.parquet')`, or a SELECT in parentheses.
    keep : columns of the table to hand through before the outputs.
    outputs : "all" gives `raw_0`.., `probability_<class>`.. (classification) and the prediction; "prediction" the prediction only.
        The prediction is `prediction`, or `prediction_0`.. for a regression of several targets.
    leaves : whether to give `leaf_0`.. first, the number of the node that the row reaches in each tree.
    rename : column of the table -> column that the model expects, where they differ.
    pretty : whether to lay the query out over lines; without it the text is shorter, for engines that limit its length.

    Returns
    -------
    The text of the query, without a semicolon.

    Raises
    ------
    ParameterError : an unknown dialect, output or column, or a table that is not one.
    ExportError : the engine cannot have such columns.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> print(to_sql(forest_from_trees([tree], ["age"]), outputs="prediction", table="people", pretty=False)[:77])
    WITH hg_features AS (SELECT NULLIF(CAST(hg_rows."age" AS DOUBLE), CAST('NaN'
    """
    from hardgrad.tabular.table_sql_output import add_outputs

    if outputs not in ("all", "prediction"):
        raise ParameterError(f"got outputs={outputs!r}; expected 'all' or 'prediction'.")
    writer = ForestQuery(forest, sql_dialect(dialect), table, rename or {})
    writer.add_features(keep)
    writer.add_scores()
    writer.add_trees(numbered=leaves)
    add_outputs(
        writer,
        keep,
        everything=outputs == "all",
        n_leaves=forest.n_trees if leaves else 0,
        may_be_null=forest.has_linear,
    )
    return writer.text(pretty)


class ForestQuery(TableQuery):
    """The query of a forest while it grows."""

    def __init__(self, forest: Forest, dialect: SqlDialect, table: str, rename: Mapping[str, str]) -> None:
        super().__init__(forest, dialect, table, rename)
        self.forest = forest

    def bounds(self, f: int) -> np.ndarray:
        """Return every number that some node or cut compares feature f with, sorted; a weight tells all codes apart."""
        forest = self.forest
        if f in forest.weighted_features:
            return np.unique(forest.schema.features[f].codes)
        cuts = forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]]
        return np.unique(np.concatenate([forest.threshold[forest.feature == f], cuts]))

    def add_scores(self) -> None:
        """Look up the integer score `s_<feature>` of every feature that an oblique node uses."""
        forest = self.forest
        scored = forest.scored_features.tolist()
        if not scored:
            return
        items: Items = {}
        for f in scored:
            cuts = forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]].tolist()
            scores = forest.score[forest.cut_offset[f] + f : forest.cut_offset[f + 1] + f + 1].tolist()
            found = step_function(
                lambda f=f: column(f"f_{f}"),  # type: ignore[misc]
                [self.dialect.number(cut) for cut in cuts],
                scores,
                lambda k, scores=scores: integer(scores[k]),  # type: ignore[misc]
            )
            items[f"s_{f}"] = choose(is_null(column(f"f_{f}")), integer(0), found)
        tested = {
            f"f_{f}"
            for f in [*forest.feature[forest.feature >= 0].tolist(), *forest.weighted_features.tolist()]
        }
        self.layer("scores", items, carry=[n for n in self.names if n[0] == "k" or n in tested])

    # --- trees ---------------------------------------------------------------------------------------------------------------------
    def add_trees(self, *, numbered: bool) -> None:
        """Sum the leaf values of all trees, in order, into `r_<output>`.

        Parameters
        ----------
        numbered : whether to keep the leaf of every tree as `t_<tree>`.
        """
        forest = self.forest
        groups = [
            range(start, min(start + TREES_TOGETHER, forest.n_trees))
            for start in range(0, forest.n_trees, TREES_TOGETHER)
        ]
        needed = [self._inputs(group) for group in groups]
        for number, group in enumerate(groups, start=1):
            later: set[str] = set().union(*needed[number:])
            self._add_group(number, group, later, numbered)
        if not groups:
            self.layer("sums", {f"r_{o}": self.dialect.number(b) for o, b in enumerate(forest.base.tolist())})

    def _inputs(self, trees: range) -> set[str]:
        """Return the names of the features and scores that some trees use."""
        forest = self.forest
        nodes = slice(forest.tree_offset[trees[0]], forest.tree_offset[trees[-1] + 1])
        terms = slice(forest.term_offset[nodes.start], forest.term_offset[nodes.stop])
        tested = forest.feature[nodes]
        linear = np.repeat(tested == LINEAR, np.diff(forest.term_offset[nodes.start : nodes.stop + 1]))
        term_feature = forest.term_feature[terms]
        values = {*tested[tested >= 0].tolist(), *term_feature[linear].tolist()}
        if forest.has_slopes:
            values |= set(np.flatnonzero(forest.leaf_slope[nodes].any(axis=(0, 1))).tolist())
        return {f"f_{f}" for f in values} | {f"s_{f}" for f in term_feature[~linear].tolist()}

    def _add_group(self, number: int, group: range, later: set[str], numbered: bool) -> None:
        depth = {tree: self._tree_depth(tree) for tree in group}
        by_value = {
            tree
            for tree in group
            if self.forest.n_outputs == 1 and not numbered and depth[tree] <= NESTED_LEVELS
        }
        for stage, top in enumerate(range(0, max(max(depth.values()), 1), NESTED_LEVELS)):
            items = {
                f"t_{t}": self._descend(t, top, t in by_value) for t in group if top == 0 or depth[t] > top
            }
            self.layer(
                f"trees_{number}" + (f"_from_{top}" if stage else ""),
                items,
                reused=len(by_value) < len(group),
            )
        sums = {f"r_{o}": self._sum(o, number == 1, group, by_value) for o in range(self.forest.n_outputs)}
        carry = [n for n in self.names if n in later or n[0] == "k" or (numbered and n[0] == "t")]
        self.layer(f"sums_{number}", sums, carry=carry)

    def _tree_depth(self, tree: int) -> int:
        offset = self.forest.tree_offset
        return int(self.forest.node_depth[offset[tree] : offset[tree + 1]].max())

    def _descend(self, tree: int, top: int, by_value: bool) -> exp.Expr:
        """Write how a row gets from depth `top` of a tree to its leaf, or to the node `NESTED_LEVELS` further down."""
        forest = self.forest
        first, last = forest.tree_offset[tree], forest.tree_offset[tree + 1]
        depth = forest.node_depth
        written: dict[int, exp.Expr] = {}
        for node in range(int(last) - 1, int(first) - 1, -1):
            if not top <= depth[node] <= top + NESTED_LEVELS:
                continue
            if forest.feature[node] == LEAF or depth[node] == top + NESTED_LEVELS:
                written[node] = self._leaf(node, 0) if by_value else integer(node)
            else:
                written[node] = self._branch(
                    node, written.pop(int(forest.left[node])), written.pop(int(forest.right[node]))
                )
        if top == 0:
            return written[int(first)]
        starts = [
            (integer(n), e)
            for n, e in sorted(written.items())
            if depth[n] == top and forest.feature[n] != LEAF
        ]
        return case(starts, column(f"t_{tree}"), of=column(f"t_{tree}"))

    def _branch(self, node: int, left: exp.Expr, right: exp.Expr) -> exp.Expr:
        """Write one node. A comparison with NULL is not true, so the side of a missing value is the ELSE."""
        forest = self.forest
        if forest.feature[node] == OBLIQUE:
            terms = range(forest.term_offset[node], forest.term_offset[node + 1])
            pairs = [(int(forest.term_weight[k]), column(f"s_{forest.term_feature[k]}")) for k in terms]
            return choose(at_most(weighted_sum(pairs), integer(int(forest.threshold[node]))), left, right)
        if forest.feature[node] == LINEAR:
            span = slice(forest.term_offset[node], forest.term_offset[node + 1])
            total = self._weighted(forest.term_feature[span].tolist(), forest.linear_weight[span].tolist())
            return choose(at_most(total, self.dialect.number(float(forest.threshold[node]))), left, right)
        value = column(f"f_{forest.feature[node]}")
        threshold = self.dialect.number(float(forest.threshold[node]))
        if forest.default_left[node]:
            return choose(above(value, threshold), right, left)
        return choose(at_most(value, threshold), left, right)

    def _weighted(self, features: list[int], weights: list[float], start: exp.Expr | None = None) -> exp.Expr:
        """Write a sum of weight * feature from left to right; taking off a product is adding the negative one, to the bit."""
        total = start
        for f, weight in zip(features, weights, strict=True):
            size = self.dialect.number(weight if total is None else abs(weight))
            product = exp.Mul(this=size, expression=column(f"f_{f}"))
            if total is None:
                total = product
            else:
                total = (exp.Sub if negative(weight) else exp.Add)(this=total, expression=product)
        assert total is not None
        return total

    def _leaf(self, node: int, output: int) -> exp.Expr:
        """Write what a leaf gives: its value, and the products of its slopes in the order of the features."""
        forest = self.forest
        value = self.dialect.number(float(forest.value[node, output]))
        if not forest.has_slopes:
            return value
        slope = forest.leaf_slope[node, output]
        features = np.flatnonzero(slope).tolist()
        return parenthesised(self._weighted(features, slope[features].tolist(), value))

    def _start(self, output: int) -> exp.Expr:
        """Write where the sum starts: the base, or NULL where a value is missing that is weighed, so that every answer is."""
        base = self.dialect.number(float(self.forest.base[output]))
        weighed = [is_null(column(f"f_{f}")) for f in self.forest.weighted_features.tolist()]
        return case([(condition, null()) for condition in weighed], base)

    def _sum(self, output: int, first: bool, group: range, by_value: set[int]) -> exp.Expr:
        forest = self.forest
        start = self._start(output) if first else column(f"r_{output}")
        total = left_sum(
            [start, *(column(f"t_{t}") if t in by_value else self._leaf_value(t, output) for t in group)]
        )
        if forest.aggregation == "mean" and group[-1] == forest.n_trees - 1:
            return self.dialect.divide(total, self.dialect.number(float(forest.n_trees)))
        return total

    def _leaf_value(self, tree: int, output: int) -> exp.Expr:
        """Look up the value of the leaf `t_<tree>`, by binary search over the numbers of the leaves."""
        forest = self.forest
        nodes = np.arange(forest.tree_offset[tree], forest.tree_offset[tree + 1])
        leaves = nodes[forest.feature[nodes] == LEAF].tolist()
        slopes = forest.leaf_slope[leaves, output] if forest.has_slopes else np.empty((len(leaves), 0))
        return step_function(
            lambda: column(f"t_{tree}"),
            [integer(leaf) for leaf in leaves[:-1]],
            [(v.tobytes(), s.tobytes()) for v, s in zip(forest.value[leaves, output], slopes, strict=True)],
            lambda k: self._leaf(leaves[k], output),
        )
