"""The numba runtime: the same two walks as runtime_kernel.c, for machines without a C compiler.

What the tables hold is in `runtime_tables`, the handle that users hold in `runtime`. Compiled on first use (a few seconds) and cached on
disk by numba: beside this file where that is writable, else in the user's cache folder, or where NUMBA_CACHE_DIR says. Never imports torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.kernels import kernel
from hardgrad.trees.runtime_tables import Doubles, Ints, Tables

BLOCK = 64
TILE = 256
GROUP = 8
FEW = 24
"""Up to this many rows are walked one by one; a tile pays from about here."""
COPIED_ROWS = 4096


class Steps(NamedTuple):
    """The part of `Tables` that steps need."""

    used: Ints
    step: NDArray[np.void]
    root: Ints
    value: Doubles
    base: Doubles
    term_offset: Ints
    term_feature: Ints
    term_weight: Ints
    limit: Ints
    cut_offset: Ints
    cut: Doubles
    score_offset: Ints
    score: Ints
    mean: bool


class Tests(NamedTuple):
    """The part of `Tables` that tests need; cells are uint8 or uint16: (rank, first, first xor split)."""

    rank_offset: Ints
    rank_cut: Doubles
    low_slot: Ints
    high_slot: Ints
    high_rank: Ints
    slot: Ints
    cell: NDArray[Any]
    test_offset: Ints
    oblique_offset: Ints
    leaf_offset: Ints
    tested: Ints
    n_slots: int
    any_stepped: bool


class NumbaRows:
    """What the two numba kernels share: scores and leaves of many rows are one run with one of the outputs left empty."""

    engine = "numba"

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._steps = Steps(**{name: getattr(tables, name) for name in Steps._fields})
        self._no_rows = np.empty((0, tables.n_outputs))
        self._no_nodes = np.empty((0, tables.n_trees), dtype=np.int32)

    def raw(self, X: Doubles, out: Doubles) -> None:
        """Raw scores of all rows of X [n, features] into out [n, outputs]; both contiguous."""
        self._run(X, out, self._no_nodes)

    def leaves(self, X: Doubles, out: Ints) -> None:
        """Leaves of all rows of X into out int32 [n, trees]; both contiguous."""
        self._run(X, self._no_rows, out)
        np.take(self._tables.node, out, out=out, mode="clip")

    def _run(self, X: Doubles, out: Doubles, nodes: Ints) -> None:
        raise NotImplementedError


class NumbaKernel(NumbaRows):
    """Runs one forest in numba. Calls share nothing that is written: threads may use one kernel together."""

    few_rows = FEW

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self._cells = np.uint16 if tables.wide else np.uint8
        cell = np.stack([tables.test[:, 1], tables.test[:, 2], tables.test[:, 2] ^ tables.test[:, 3]], axis=1)
        shared = {
            name: getattr(tables, name)
            for name in Tests._fields
            if name not in ("slot", "cell", "any_stepped")
        }
        self._tests = Tests(
            **shared,
            slot=np.ascontiguousarray(tables.test[:, 0]),
            cell=cell.astype(self._cells),
            any_stepped=tables.n_tested < tables.n_trees,
        )
        self._compile()

    def _compile(self) -> None:
        """Run every path once on a row that can be thrown away, so that no later call has to wait for the compiler."""
        X = np.zeros((1, self._tables.n_features))
        self.few(X)
        out = np.empty((1, self._tables.n_outputs))
        _tiles(self._steps, self._tests, X, out, self._no_nodes, self._scratch())
        self.leaves(X, np.empty((1, self._tables.n_trees), dtype=np.int32))

    def _scratch(self) -> NDArray[Any]:
        return np.empty((self._tables.n_slots + self._tables.n_scratch, TILE), dtype=self._cells)

    def few(self, X: Doubles) -> Doubles:
        """Raw scores of at most `few_rows` rows."""
        return cast(Doubles, _few_rows(self._steps, X if X.flags.writeable else X.copy()))

    def _run(self, X: Doubles, out: Doubles, nodes: Ints) -> None:
        scratch = self._scratch()
        if X.flags.writeable:
            _tiles(self._steps, self._tests, X, out, nodes, scratch)
            return
        # To numba a read-only array is another type, and would cost another compilation: copy a few rows at a time instead.
        for a in range(0, len(X), COPIED_ROWS):
            b = a + COPIED_ROWS
            _tiles(self._steps, self._tests, X[a:b].copy(), out[a:b], nodes[a:b], scratch)


# --- compiled from here on: inner functions take arrays, because a tuple of many arrays is copied at every call -------------------
@kernel
def _count_below(ordered, start, size, x):  # type: ignore[no-untyped-def]
    """Number of entries below x of a sorted run padded by +inf to 2**k - 1 entries. NaN counts none."""
    at = 0
    half = (size + 1) >> 1
    while half:
        at += half if ordered[start + at + half - 1] < x else 0
        half >>= 1
    return at


@kernel
def _ranks(ordered, start, size, x, width, rank):  # type: ignore[no-untyped-def]
    """`_count_below` for a column of values, in step, so that the searches overlap. Unsigned numbers spare the check for negative ones."""
    one, none = np.uint64(1), np.uint64(0)
    start = np.uint64(start)
    half = np.uint64((size + 1) >> 1)
    for r in range(width):
        rank[r] = none
    while half:
        probe = start + half - one
        for r in range(width):
            rank[r] += half if ordered[probe + rank[r]] < x[r] else none
        half >>= one


@kernel
def _scores(cut_offset, cut, score_offset, score, u, x, out):  # type: ignore[no-untyped-def]
    """Integer scores of a column of values; a missing value scores 0."""
    start, size = cut_offset[u], cut_offset[u + 1] - cut_offset[u]
    for r in range(len(x)):
        out[r] = 0 if x[r] != x[r] else score[score_offset[u] + _count_below(cut, start, size, x[r])]


@kernel
def _lay_out(used, x, row):  # type: ignore[no-untyped-def]
    """Lay out one row for steps: the used features, the same with -inf for missing, -inf."""
    n = len(used)
    for u in range(n):
        v = x[used[u]]
        row[u] = v
        row[n + u] = -np.inf if v != v else v
    row[2 * n] = -np.inf


@kernel
def _oblique_right(term_offset, term_feature, term_weight, limit, k, score):  # type: ignore[no-untyped-def]
    total = 0
    for t in range(term_offset[k], term_offset[k + 1]):
        total += term_weight[t] * score[term_feature[t]]
    return 1 if total > limit[k] else 0


@kernel
def _walk(step, term_offset, term_feature, term_weight, limit, at, row, score):  # type: ignore[no-untyped-def]
    """The leaf that a laid out row, whose features have these scores, reaches from a root."""
    moving = True
    while moving:
        slot = step[at].slot
        if slot >= 0:
            right = 0 if row[slot] <= step[at].threshold else 1
        else:
            right = _oblique_right(term_offset, term_feature, term_weight, limit, -1 - slot, score)
        below = step[at].child + right
        moving = below != at
        at = below
    return np.int32(step[at].threshold)


@kernel
def _walk_group(step, root, e, row, at):  # type: ignore[no-untyped-def]
    """Walk one laid out row down GROUP axis trees from tree e on, in step, so that the processor overlaps the walks."""
    for g in range(GROUP):
        at[g] = root[e + g]
    moved = True
    while moved:
        moved = False
        for g in range(GROUP):
            here = step[at[g]]
            below = here.child + (0 if row[here.slot] <= here.threshold else 1)
            moved |= below != at[g]
            at[g] = below


@kernel
def _few_rows(steps, X):  # type: ignore[no-untyped-def]
    """Raw scores, one row after the other."""
    used, step, root, value = steps.used, steps.step, steps.root, steps.value
    n_used, n_trees, n_outputs = len(used), len(root), len(steps.base)
    row, at = np.empty(2 * n_used + 1), np.empty(GROUP, np.int64)
    oblique = len(steps.limit) > 0
    score = np.empty(n_used, np.int32)
    out = np.empty((len(X), n_outputs))
    together = 0 if oblique else n_trees // GROUP * GROUP
    for r in range(len(X)):
        _lay_out(used, X[r], row)
        if oblique:
            for u in range(n_used):
                _scores(
                    steps.cut_offset,
                    steps.cut,
                    steps.score_offset,
                    steps.score,
                    u,
                    row[u : u + 1],
                    score[u : u + 1],
                )
        for c in range(n_outputs):
            out[r, c] = steps.base[c]
        for e in range(0, together, GROUP):
            _walk_group(step, root, e, row, at)
            for g in range(GROUP):
                for c in range(n_outputs):
                    out[r, c] += value[np.int32(step[at[g]].threshold), c]
        for e in range(together, n_trees):
            leaf = _walk(
                step,
                steps.term_offset,
                steps.term_feature,
                steps.term_weight,
                steps.limit,
                root[e],
                row,
                score,
            )
            for c in range(n_outputs):
                out[r, c] += value[leaf, c]
        if steps.mean and n_trees:
            for c in range(n_outputs):
                out[r, c] /= n_trees
    return out


@kernel
def _fill_slots(low, high, missing, x, width, rank, slots):  # type: ignore[no-untyped-def]
    """Write the ranks of a feature into its slots; `missing` is the rank of NaN in the high one."""
    if low >= 0:
        for r in range(width):
            slots[low, r] = rank[r]
    if high >= 0:
        missing = np.uint64(missing)
        for r in range(width):
            slots[high, r] = missing if x[r] != x[r] else rank[r]


@kernel
def _open_tile(steps, tests, X, first, rows, width, slots, row, score):  # type: ignore[no-untyped-def]
    """Prepare a tile: ranks for tests, scores for oblique nodes, laid out rows for steps."""
    x, rank = np.zeros(TILE), np.empty(TILE, np.uint64)
    for u in range(len(steps.used)):
        for r in range(rows):
            x[r] = X[first + r, steps.used[u]]
        low, high, start = tests.low_slot[u], tests.high_slot[u], tests.rank_offset[u]
        if low >= 0 or high >= 0:
            _ranks(tests.rank_cut, start, tests.rank_offset[u + 1] - start, x, width, rank)
            _fill_slots(low, high, tests.high_rank[u], x, width, rank, slots)
        if len(steps.limit):
            _scores(steps.cut_offset, steps.cut, steps.score_offset, steps.score, u, x, score[u])
    if tests.any_stepped:
        for r in range(rows):
            _lay_out(steps.used, X[first + r], row[r])


@kernel
def _fill_oblique(term_offset, term_feature, term_weight, limit, k, score, total, slot):  # type: ignore[no-untyped-def]
    """An oblique test: 1 where the sum exceeds the limit."""
    for r in range(TILE):
        total[r] = 0
    for t in range(term_offset[k], term_offset[k + 1]):
        weight, column = term_weight[t], score[term_feature[t]]
        for r in range(TILE):
            total[r] += weight * column[r]
    bound = limit[k]
    for r in range(TILE):
        slot[r] = 1 if total[r] > bound else 0


@kernel
def _test_tree(slot, cell, a, b, slots, width, stand):  # type: ignore[no-untyped-def]
    """The leaf, counted from the left, where each row of a tile stands after the tests a..b of a tree."""
    none = slots.dtype.type(0)
    for r in range(width):
        stand[r] = none
    # Constant lengths become straight vector code, and xor a plain vector store. A whole tile overlaps better than block after block.
    if width == TILE:
        for i in range(a, b):
            x = slots[slot[i]]
            rank, first, jump = cell[i, 0], cell[i, 1], cell[i, 2]
            for r in range(TILE):
                stand[r] = stand[r] ^ (jump if (stand[r] == first) & (x[r] > rank) else none)
        return
    for block in range(0, width, BLOCK):
        here = stand[block : block + BLOCK]
        for i in range(a, b):
            x = slots[slot[i], block : block + BLOCK]
            rank, first, jump = cell[i, 0], cell[i, 1], cell[i, 2]
            for r in range(BLOCK):
                here[r] = here[r] ^ (jump if (here[r] == first) & (x[r] > rank) else none)


@kernel
def _add_leaves(value, leaf, out):  # type: ignore[no-untyped-def]
    if out.shape[1] == 1:
        for r in range(len(out)):
            out[r, 0] += value[leaf[r], 0]
    else:
        for r in range(len(out)):
            for c in range(out.shape[1]):
                out[r, c] += value[leaf[r], c]


@kernel
def _tiles(steps, tests, X, out, leaves, slots):  # type: ignore[no-untyped-def]
    """Raw scores of all rows into out, leaf numbers into leaves; either may have no rows, and is left out then."""
    n_used, n_trees = len(steps.used), len(steps.root)
    step, term_offset, term_feature, term_weight = (
        steps.step,
        steps.term_offset,
        steps.term_feature,
        steps.term_weight,
    )
    limit, test_slot, cell, test_offset, oblique_offset = (
        steps.limit, tests.slot, tests.cell, tests.test_offset, tests.oblique_offset
    )  # fmt: skip
    row = np.empty((TILE if tests.any_stepped else 0, 2 * n_used + 1))
    score = np.zeros((n_used if len(limit) else 0, TILE), np.int32)
    no_score = np.empty(0, np.int32)
    total, leaf, stand = np.empty(TILE, np.int32), np.empty(TILE, np.int32), np.empty(TILE, slots.dtype)
    for first in range(0, len(X), TILE):
        rows = min(TILE, len(X) - first)
        width = (rows + BLOCK - 1) // BLOCK * BLOCK
        _open_tile(steps, tests, X, first, rows, width, slots, row, score)
        tile = out[first : first + rows]
        for r in range(len(tile)):
            tile[r] = steps.base
        for e in range(n_trees):
            if tests.tested[e]:
                for k in range(oblique_offset[e], oblique_offset[e + 1]):
                    slot = slots[tests.n_slots + k - oblique_offset[e]]
                    _fill_oblique(term_offset, term_feature, term_weight, limit, k, score, total, slot)
                _test_tree(test_slot, cell, test_offset[e], test_offset[e + 1], slots, width, stand)
                for r in range(rows):
                    leaf[r] = tests.leaf_offset[e] + np.int32(stand[r])
            else:
                for r in range(rows):
                    scores = score[:, r].copy() if len(limit) else no_score
                    leaf[r] = _walk(
                        step, term_offset, term_feature, term_weight, limit, steps.root[e], row[r], scores
                    )
            _add_leaves(steps.value, leaf, tile)
            if len(leaves):
                for r in range(rows):
                    leaves[first + r, e] = leaf[r]
        if steps.mean and n_trees:
            for r in range(len(tile)):
                for c in range(len(steps.base)):
                    tile[r, c] /= n_trees
