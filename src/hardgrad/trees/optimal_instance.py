"""What exact tree search sees of a table: distinct examples, cuts as bitsets, bounds on the number of cuts. Never imports torch.

A set of examples is a Python integer, bit i for example i. A cut is a feature with a threshold, and the set of examples that
go left there.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError, ParameterError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PAIRS = 200_000  # pairs of examples that the lower bounds look at
CLOSEST = 10_000  # of these, how many they choose from
MOST_BITS = 10**9  # of all cuts together: a table of 3,000 rows and 100 numeric features is within it


def bits(members: NDArray[np.bool_]) -> int:
    """Return the set whose bit i is `members[i]`.

    >>> bits(np.array([True, False, True]))
    5
    """
    return int.from_bytes(np.packbits(members, bitorder="little").tobytes(), "little")


def members(examples: int) -> Iterator[int]:
    """Iterate over the examples of a set, smallest first."""
    while examples:
        lowest = examples & -examples
        yield lowest.bit_length() - 1
        examples ^= lowest


def thresholds(values: Floats) -> Floats:
    """Return a threshold between each two neighbours of increasing values: `lower <= threshold < upper` after rounding too."""
    lower, upper = values[:-1], values[1:]
    middle = lower / 2 + upper / 2
    return np.asarray(np.where((lower <= middle) & (middle < upper), middle, lower))


@dataclass(frozen=True)
class Chain:
    """The cuts of one feature, in order: `left[i]` is the set of examples that go left at `threshold[i]`, each within the next."""

    feature: int
    threshold: tuple[float, ...]
    left: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """A test `x[feature] <= threshold` and the set of examples that it sends left."""

    feature: int
    threshold: float
    left: int


class Instance:
    """Distinct (row, label) pairs with what they weigh, in sorted order, so that the order and repetition of rows mean nothing.

    Parameters
    ----------
    X : float64 [n, features], finite.
    y : class numbers [n], from 0.
    weight : [n], positive; how many errors a row counts for.
    max_errors : weight of the rows that may be predicted wrong.

    Attributes
    ----------
    X, label : the examples.
    weights, max_errors : whole numbers, the given ones in a unit that makes all of them whole: sums of errors are exact.
    everything : the set of all examples.
    of_class : for each class, the set of its examples.
    """

    def __init__(self, X: Floats, y: Ints, weight: Floats | None = None, max_errors: float = 0) -> None:
        self.n_classes = int(y.max()) + 1
        weight = np.ones(len(X)) if weight is None else weight
        keyed = np.column_stack([X + 0.0, y])  # + 0.0: -0 is 0
        distinct, index = np.unique(keyed, axis=0, return_inverse=True)
        self.X, self.label = distinct[:, :-1], distinct[:, -1].astype(np.int64)
        self.weights, self.max_errors = _whole(weight, index.reshape(-1), len(distinct), max_errors)
        self.everything = (1 << len(distinct)) - 1
        self.of_class = tuple(bits(self.label == c) for c in range(self.n_classes))
        planes = max(weight.bit_length() for weight in self.weights)
        self._planes = tuple(
            bits(np.array([weight >> p & 1 for weight in self.weights], dtype=bool)) for p in range(planes)
        )

    def __len__(self) -> int:
        return len(self.label)

    def weight(self, examples: int) -> int:
        """Return what a set of examples weighs."""
        if len(self._planes) == 1:
            return examples.bit_count()
        return sum((examples & plane).bit_count() << p for p, plane in enumerate(self._planes))

    def leaf(self, examples: int) -> tuple[int, int]:
        """Return the class that errs least on a set of examples (the first of several), and the weight of its errors."""
        counts = [self.weight(examples & own) for own in self.of_class]
        best = max(counts)
        return counts.index(best), sum(counts) - best

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The cuts feature by feature, without features whose every cut is a cut of another one too."""
        total = sum(len(np.unique(column)) - 1 for column in self.X.T) * len(self)
        if total > MOST_BITS:
            raise DataError(
                f"{len(self)} distinct rows of {self.X.shape[1]} features are too many for exact search ({total:,} bits of cuts; at most "
                f"{MOST_BITS:,}). Take a sample of the rows, or round the features."
            )
        found: list[tuple[set[int], Chain]] = []
        for f in range(self.X.shape[1]):
            values, rank = np.unique(self.X[:, f], return_inverse=True)
            left = tuple(bits(rank.reshape(-1) <= j) for j in range(len(values) - 1))
            kinds = {self._kind(cut) for cut in left}
            if any(kinds <= others for others, _ in found):
                continue
            found = [(others, chain) for others, chain in found if not others <= kinds]
            found.append((kinds, Chain(f, tuple(thresholds(values).tolist()), left)))
        return tuple(chain for _, chain in found)

    def _kind(self, left: int) -> int:
        """Return the same number for a cut and the one that swaps its sides."""
        return min(left, self.everything ^ left)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts that split the examples differently, one of each kind."""
        found: dict[int, Cut] = {}
        for chain in self.chains:
            for threshold, left in zip(chain.threshold, chain.left, strict=True):
                found.setdefault(self._kind(left), Cut(chain.feature, threshold, left))
        return tuple(found.values())

    @cached_property
    def signature(self) -> tuple[int, ...]:
        """For each example the set of the cuts that send it left, bit c for `cuts[c]`; two examples differ in the cuts between them."""
        size = len(self)
        packed = b"".join(cut.left.to_bytes((size + 7) // 8, "little") for cut in self.cuts)
        rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(self.cuts), (size + 7) // 8)
        left = np.unpackbits(rows, axis=1, bitorder="little", count=size).astype(bool)
        return tuple(bits(side) for side in left.T)

    # --- bounds --------------------------------------------------------------------------------------------------------------
    @cached_property
    def unavoidable(self) -> int:
        """Weight of the errors of every tree and ensemble: rows that are equal with unequal labels."""
        _, row = np.unique(self.X, axis=0, return_inverse=True)
        table = np.zeros((int(row.max()) + 1, self.n_classes), dtype=object)
        np.add.at(table, (row.reshape(-1), self.label), np.array(self.weights, dtype=object))
        return int((table.sum(axis=1) - table.max(axis=1)).sum())

    @cached_property
    def separated_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of examples of different labels such that no cut lies between two of the pairs.

        Every tree without errors needs a cut for each of them, and so does every ensemble: where no cut of any tree lies between two
        examples, all trees vote alike on both. Where errors are allowed, the pairs share no example. Greedy, the closest pairs first.
        """
        used = taken = 0
        chosen = []
        for between, first, second in self._closest_pairs:
            both = 1 << first | 1 << second
            if between and not between & used and not (self.max_errors and both & taken):
                chosen.append((first, second))
                used |= between
                taken |= both
        return tuple(chosen)

    def closest(self, most: int) -> list[int]:
        """Return sets of cuts of which every tree or ensemble without errors has one: those between examples of different labels."""
        return list(dict.fromkeys(between for between, _, _ in self._closest_pairs))[:most]

    @cached_property
    def _closest_pairs(self) -> list[tuple[int, int, int]]:
        """(cuts between them, example, example) of different labels, fewest cuts first."""
        sides, label = self.signature, self.label.tolist()
        everyone = itertools.combinations(range(len(self)), 2)
        pairs = ((a, b) for a, b in everyone if label[a] != label[b])
        between = ((sides[a] ^ sides[b], a, b) for a, b in itertools.islice(pairs, PAIRS))
        return heapq.nsmallest(CLOSEST, between, key=lambda pair: (pair[0].bit_count(), pair[1], pair[2]))

    def least_cuts(self, n_estimators: int = 1) -> int:
        """Return a lower bound on the cuts of an ensemble that errs on at most `max_errors`."""
        pairs = self.separated_pairs
        cheapest = sorted(min(self.weights[first], self.weights[second]) for first, second in pairs)
        given_up = sum(total <= self.max_errors for total in itertools.accumulate(cheapest))
        if n_estimators == 1 and not self.max_errors:
            return max(len(pairs) - given_up, len(set(self.label.tolist())) - 1)
        return max(len(pairs) - given_up, int(self.leaf(self.everything)[1] > self.max_errors))


def _whole(weight: Floats, index: Ints, n: int, max_errors: float) -> tuple[tuple[int, ...], int]:
    """Sum the weights of equal examples exactly and return them, and the allowed errors, as whole numbers of one unit."""
    if not max_errors:  # which row errs means nothing where none may
        return (1,) * n, 0
    exact = [Fraction(float(w)) for w in weight]
    unit = Fraction(1, max(w.denominator for w in exact))
    total = [Fraction(0)] * n
    for i, w in zip(index.tolist(), exact, strict=True):
        total[i] += w
    return tuple(int(w / unit) for w in total), int(Fraction(max_errors) // unit)


# --- what one may want to know of a table before a search --------------------------------------------------------------------------------
@dataclass(frozen=True)
class CutComplexity:
    """How hard a table is for exact tree search.

    Parameters
    ----------
    delta : most features in which two rows of different labels differ.
    values : most distinct values of a feature (D in the paper).
    lower_bound : cuts that every tree or ensemble without errors needs.
    """

    delta: int
    values: int
    lower_bound: int

    def bound(self, cuts: int) -> int:
        """Return (4 delta D S)^S for S cuts: what bounds the nodes of the witness search, up to a polynomial."""
        return int((4 * self.delta * self.values * cuts) ** cuts)


def cut_complexity(X: Any, y: Any) -> CutComplexity:
    """Tell how hard a table is for exact tree search.

    Parameters
    ----------
    X : [n, features], finite numbers.
    y : class labels [n].

    Raises
    ------
    DataError : X is not a table of finite numbers, or y has another length.

    Examples
    --------
    >>> cut_complexity([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    CutComplexity(delta=1, values=2, lower_bound=2)

    Source: Komusiewicz, Kunz, Sommer and Sorge, 2023, On Computing Optimal Tree Ensembles.
    """
    instance = Instance(*read(X, y)[:2])
    delta = 0
    for c in range(instance.n_classes):
        own, others = instance.X[instance.label == c], instance.X[instance.label > c]
        delta = max([delta, *(int((others != row).sum(axis=1).max(initial=0)) for row in own)])
    values = max(len(np.unique(column)) for column in instance.X.T)
    return CutComplexity(delta, values, instance.least_cuts(3))


@dataclass(frozen=True)
class MajorityGap:
    """The majority of bits as a table, and what it takes to compute it.

    Parameters
    ----------
    X, y : all rows of 0 and 1, [2^d, d], and whether most of a row are 1.
    ensemble_cuts : cuts of the smallest ensemble of d trees: one stump a bit.
    tree_cuts : cuts of the smallest single tree.
    """

    X: Floats
    y: Ints
    ensemble_cuts: int
    tree_cuts: int


def majority_gap(n_features: int) -> MajorityGap:
    """Return a table on which an ensemble needs exponentially fewer cuts than a tree: `n_features` against C(d + 1, (d + 1) / 2) - 1.

    Raises
    ------
    ParameterError : `n_features` is not odd or not within 1 to 19.

    Examples
    --------
    >>> gap = majority_gap(5)
    >>> gap.X.shape, gap.ensemble_cuts, gap.tree_cuts
    ((32, 5), 5, 19)
    """
    from math import comb

    if n_features not in range(1, 20, 2):
        raise ParameterError(f"n_features got {n_features!r}; expected an odd number from 1 to 19.")
    X = np.array(list(itertools.product((0.0, 1.0), repeat=n_features)))
    y = (X.sum(axis=1) > n_features / 2).astype(np.int64)
    return MajorityGap(X, y, n_features, comb(n_features + 1, (n_features + 1) // 2) - 1)


def read(X: Any, y: Any) -> tuple[Floats, Ints, NDArray[Any]]:
    """Return X as finite float64 [n, features], y as class numbers [n], and the classes."""
    try:
        table = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"X is no table of numbers: {error}.") from None
    labels = np.asarray(y)
    if table.ndim != 2 or not table.size or labels.shape != (len(table),):
        raise DataError(
            f"X has shape {table.shape} and y {labels.shape}; expected [n, features] and [n], neither empty."
        )
    check_finite(table)
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"y holds {classes.tolist()} alone; expected labels of at least 2 classes.")
    return table, index.reshape(-1).astype(np.int64), classes


def check_finite(X: Floats, names: Any = None) -> None:
    """Raise `DataError` that names row and column where a value is missing or infinite: a cut has no side for it."""
    wrong = np.argwhere(~np.isfinite(X))
    if len(wrong):
        row, column = wrong[0].tolist()
        name = f"x{column}" if names is None else names[column]
        raise DataError(
            f"column {name!r} holds {X[row, column]} in row {row}; exact trees need finite numbers. Fill it in or leave the row out."
        )
