"""The smallest exact tree: a recursion over sets of examples under a budget of cuts, and all smallest trees. Never imports torch."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from hardgrad.trees.optimal_instance import Chain, Instance, Ints, bits

Tree = dict[str, Any]  # {"feature", "threshold", "left", "right"} or {"value": class}
Choice = tuple[Chain, int]


def count_cuts(tree: Tree) -> int:
    """Return the number of inner nodes of a nested tree."""
    stack, cuts = [tree], 0
    while stack:
        node = stack.pop()
        if "feature" in node:
            cuts += 1
            stack += [node["left"], node["right"]]
    return cuts


def greedy_tree(instance: Instance) -> Tree:
    """Return a tree within the allowed errors, grown greedily by the Gini impurity, worst leaf first: the first incumbent."""
    weight = np.array(instance.weights, dtype=np.float64)
    ranks = [np.searchsorted(chain.threshold, instance.X[:, chain.feature]) for chain in instance.chains]

    def split(rows: Ints) -> Choice | None:
        best: tuple[float, Choice] | None = None
        for chain, rank in zip(instance.chains, ranks, strict=True):
            table = np.zeros((len(chain.threshold) + 1, instance.n_classes))
            np.add.at(table, (rank[rows], instance.label[rows]), weight[rows])
            left = np.cumsum(table, axis=0)[:-1]
            sides = np.stack([left, table.sum(axis=0) - left])
            total = sides.sum(axis=2)
            with np.errstate(invalid="ignore"):
                score = (total - (sides**2).sum(axis=2) / total).sum(axis=0)  # NaN where a side is empty
            if not np.isnan(score).all() and (best is None or np.nanmin(score) < best[0]):
                best = (float(np.nanmin(score)), (chain, int(np.nanargmin(score))))
        return best and best[1]

    root: Tree = {}
    leaves: list[tuple[int, int, Tree, Ints]] = []
    order = itertools.count()
    errors = 0

    def add(node: Tree, rows: Ints) -> None:
        nonlocal errors
        inside = np.zeros(len(instance), dtype=bool)
        inside[rows] = True
        node["value"], own = instance.leaf(bits(inside))
        errors += own
        heapq.heappush(leaves, (-own, next(order), node, rows))

    add(root, np.arange(len(instance)))
    while errors > instance.max_errors and leaves:
        own, _, node, rows = heapq.heappop(leaves)
        choice = split(rows) if own else None
        if choice is not None:
            errors += own
            chain, i = choice
            left: Tree = {}
            right: Tree = {}
            node.clear()
            node.update(feature=chain.feature, threshold=chain.threshold[i], left=left, right=right)
            goes_left = instance.X[rows, chain.feature] <= chain.threshold[i]
            add(left, rows[goes_left])
            add(right, rows[~goes_left])
    return root


class _Found(NamedTuple):
    """The best tree found for a set: its errors, and its first cut with the budgets of the sides, or None for a leaf."""

    errors: int
    choice: Choice | None = None
    left_cuts: int = 0
    right_cuts: int = 0


class _Record:
    """What is known of one set of examples: for each number of cuts a proven least of errors, and the best tree found."""

    __slots__ = ("found", "proven")

    def __init__(self, counts: list[int]) -> None:
        # c cuts make c + 1 leaves, each right on one class at most.
        counts.sort(reverse=True)
        self.proven = [sum(counts[leaves:]) for leaves in range(1, len(counts) + 1)]
        self.found: dict[int, _Found] = {0: _Found(self.proven[0])}

    def least(self, cuts: int) -> int:
        return self.proven[cuts] if cuts < len(self.proven) else 0

    def prove(self, cuts: int, errors: int) -> None:
        """No tree of at most `cuts` cuts errs less; so none of fewer cuts does."""
        self.proven += [0] * (cuts + 1 - len(self.proven))
        for fewer in range(cuts, -1, -1):
            if self.proven[fewer] >= errors:
                break
            self.proven[fewer] = errors

    def best(self, cuts: int) -> _Found:
        """Return the best tree found with at most `cuts` cuts."""
        return min(
            (found for used, found in self.found.items() if used <= cuts), key=lambda found: found.errors
        )


class BudgetedTrees:
    """Answers, for any set of examples, how few errors a tree of so many cuts can make. What was proven is remembered for each set.

    Two facts make it fast. The errors of the best tree on a set never exceed those on a larger set; so of all cuts of a feature that leave
    one side solved by a given number of cuts, the one with the largest such side leaves least to do, and bisection finds it. And a rest
    that holds one for which there is no tree needs no trial.

    Parameters
    ----------
    instance : the examples.
    tick : called for every set that is searched; may raise to end the search.
    """

    def __init__(self, instance: Instance, tick: Callable[[], None] = lambda: None) -> None:
        self.instance = instance
        self.tick = tick
        self._known: dict[int, _Record] = {}
        # Sides of each feature from either end: a cut sends `left[i]` left, so sides grow with the position.
        ends = [(chain, range(len(chain.left)), 0) for chain in instance.chains]
        ends += [(chain, range(len(chain.left) - 1, -1, -1), -1) for chain in instance.chains]
        self._ends = [
            (chain, order, flip, [chain.left[i] ^ flip for i in order]) for chain, order, flip in ends
        ]

    def tree(self, cuts: int) -> Tree | None:
        """Return a tree of at most `cuts` cuts with the fewest errors, or None where these are more than the instance allows."""
        if self.errors(self.instance.everything, cuts, self.instance.max_errors) is None:
            return None
        return self._tree(self.instance.everything, cuts)

    def _tree(self, examples: int, cuts: int) -> Tree:
        record = self._known.get(examples)
        found = record.best(cuts) if record else None
        if found is None or found.choice is None:
            return {"value": self.instance.leaf(examples)[0]}
        chain, i = found.choice
        left = self._tree(examples & chain.left[i], found.left_cuts)
        right = self._tree(examples & ~chain.left[i], found.right_cuts)
        return {"feature": chain.feature, "threshold": chain.threshold[i], "left": left, "right": right}

    def smallest(self) -> Iterator[Tree]:
        """Iterate over all smallest trees without errors: all that differ in how a node splits the examples that reach it.

        Of the cuts that split them alike, here one is taken. Needs an instance without allowed or unavoidable errors.
        """
        return self._smallest(self.instance.everything)

    def _smallest(self, examples: int) -> Iterator[Tree]:
        cuts = self._least(examples)
        if cuts == 0:
            yield {"value": self.instance.leaf(examples)[0]}
            return
        seen = {0, examples}
        for cut in self.instance.cuts:
            left = examples & cut.left
            right = examples ^ left
            if left in seen:
                continue
            seen |= {left, right}
            few = next((few for few in range(cuts) if self.errors(left, few, 0) == 0), cuts)
            if few < cuts and self.errors(right, cuts - 1 - few, 0) == 0:
                for first, second in itertools.product(self._smallest(left), self._smallest(right)):
                    yield {"feature": cut.feature, "threshold": cut.threshold, "left": first, "right": second}

    def _least(self, examples: int) -> int:
        return next(cuts for cuts in itertools.count() if self.errors(examples, cuts, 0) == 0)

    def errors(self, examples: int, cuts: int, most: int) -> int | None:
        """Return the weight of the errors of the best tree of at most `cuts` cuts, or None where it is above `most`."""
        if any(not examples & ~own for own in self.instance.of_class):
            return 0
        if cuts == 0:
            errors = self.instance.leaf(examples)[1] if most else 1
            return errors if errors <= most else None
        record = self._known.get(examples)
        if record is None:
            record = _Record([self.instance.weight(examples & own) for own in self.instance.of_class])
            self._known[examples] = record
        if record.least(cuts) > most:
            return None
        found = record.best(cuts).errors
        if found <= record.least(cuts):
            return found
        return self._search(record, examples, cuts, most)

    def _search(self, record: _Record, examples: int, cuts: int, most: int) -> int | None:
        self.tick()
        failed: list[tuple[int, int, int]] = []  # (rest, cuts, errors) for which there is no tree
        found = record.best(cuts).errors
        best = found if found <= most else None
        bound = most if best is None else best - 1  # what is still of interest
        for few in range((cuts + 1) // 2):
            many = cuts - 1 - few
            for rest, errors, choice, flip in self._largest_sides(examples, few, bound, both_ends=few < many):
                if errors > bound or any(
                    not bad & ~rest and many <= c and bound - errors <= e for bad, c, e in failed
                ):
                    continue
                remaining = self.errors(rest, many, bound - errors)
                if remaining is None:
                    failed.append((rest, many, bound - errors))
                    continue
                best = errors + remaining
                bound = best - 1
                record.found[cuts] = _Found(best, choice, *((many, few) if flip else (few, many)))
                if best <= record.least(cuts):
                    return best
        record.prove(cuts, bound + 1)
        return best

    def _largest_sides(
        self, examples: int, cuts: int, bound: int, *, both_ends: bool
    ) -> list[tuple[int, int, Choice, int]]:
        """Return (rest, errors of the side, cut, which side) for the largest sides that `cuts` cuts solve, smallest rest first."""
        found = []
        for chain, order, flip, sides in self._ends if both_ends else self._ends[: len(self._ends) // 2]:
            start, level = 0, 0
            while start < len(sides):
                errors: int | None
                low, high = (
                    start - 1,
                    len(sides),
                )  # `low` is solved at this level of errors, or before the first
                while high - low > 1:
                    middle = (low + high) // 2
                    if self.errors(examples & sides[middle], cuts, level) is None:
                        high = middle
                    else:
                        low = middle
                if low >= start:
                    side = examples & sides[low]
                    errors = self.errors(side, cuts, level)
                    # A side that is everything is a tree of `cuts` cuts: its first cut was a candidate with fewer.
                    if side and side != examples and errors is not None:
                        found.append((examples ^ side, errors, (chain, order[low]), flip))
                if high == len(sides) or level >= bound:
                    break
                start = high
                errors = self.errors(examples & sides[high], cuts, bound)
                if errors is None:
                    break
                level = errors
        found.sort(key=lambda candidate: candidate[0].bit_count())
        return found
