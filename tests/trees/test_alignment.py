"""Alignment of soft forests: planted rearrangements, every turn tried out, barriers and merges by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees import (
    ForestAlignment,
    SoftForest,
    interpolate,
    interpolation_barrier,
    match_forests,
    merge_forests,
)
from hardgrad.trees.alignment_search import turn_list, turn_nested, turn_oblivious
from hardgrad.trees.assemble import Frame
from hardgrad.trees.codes import FeatureCodes

SHAPES = [
    ("sparse_oblique", 0), ("sparse_oblique", 1), ("sparse_oblique", 3), ("axis", 2), ("oblivious", 0), ("oblivious", 1), ("oblivious", 3),
    ("oblivious", 5), ("decision_list", 0), ("decision_list", 1), ("decision_list", 3),
]  # fmt: skip
TREES, FEATURES = 6, 4


def _forest(split: Any, depth: int, seed: int, outputs: int = 2, frame: Frame | None = None) -> SoftForest:
    generator = torch.Generator().manual_seed(seed)
    forest = SoftForest(
        FEATURES, TREES, depth, outputs, split=split, temperature=0.7, frame=frame
    ).requires_grad_(False)
    for p in forest.parameters():
        torch.nn.init.normal_(p, generator=generator)
    return forest


def _rows(n: int = 40) -> torch.Tensor:
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(9))


# --- rearrangements made by hand -----------------------------------------------------------------------------------------------------
def _nested_turn(flip: Any, depth: int) -> tuple[list[int], list[int], list[int]]:
    """Tests, signs and leaves of a perfect tree whose node k, by its old number, flips where flip[k]: as the tree is, recursively."""
    test, sign, leaf = [0] * (2**depth - 1), [1] * (2**depth - 1), [0] * 2**depth

    def place(old: int, new: int) -> None:
        if new >= len(test):
            leaf[new - len(test)] = old - len(test)
            return
        test[new], sign[new] = old, -1 if flip[old] else 1
        children = (2 * old + 2, 2 * old + 1) if flip[old] else (2 * old + 1, 2 * old + 2)
        for side, child in enumerate(children):
            place(child, 2 * new + 1 + side)

    place(0, 0)
    return test, sign, leaf


def _level_turn(order: Any, flip: Any) -> tuple[list[int], list[int], list[int]]:
    """The same of an oblivious tree, by the axes of its table of leaves."""
    depth = len(order)
    table = np.arange(2**depth).reshape((2,) * depth).transpose(order)
    for level in range(depth):
        if flip[level]:
            table = np.flip(table, axis=level)
    return list(order), [-1 if f else 1 for f in flip], table.reshape(-1).tolist()


def _list_turn(flip: bool, depth: int) -> tuple[list[int], list[int], list[int]]:
    sign, leaf = [1] * depth, list(range(depth + 1))
    if flip and depth:
        sign[-1], leaf[-2:] = -1, leaf[:-3:-1]
    return list(range(depth)), sign, leaf


def _turns(split: str, depth: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Every turn of a tree."""
    if split == "oblivious":
        flips = list(itertools.product((False, True), repeat=depth))
        return [_level_turn(o, f) for o in itertools.permutations(range(depth)) for f in flips]
    if split == "decision_list":
        return [_list_turn(flip, depth) for flip in (False, True)]
    return [_nested_turn(f, depth) for f in itertools.product((False, True), repeat=2**depth - 1)]


def _planted(split: str, depth: int, seed: int = 3) -> ForestAlignment:
    rng = np.random.default_rng(seed)
    turns = _turns(split, depth)
    drawn = [turns[k] for k in rng.integers(len(turns), size=TREES)]
    test, sign, leaf = (
        np.array(part, dtype=np.int64).reshape(TREES, -1) for part in zip(*drawn, strict=True)
    )
    return ForestAlignment(rng.permutation(TREES), test, sign, leaf, 0.0)


# --- matching ----------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("split", "depth"), SHAPES)
@pytest.mark.parametrize("method", ["weight", "activation"])
def test_a_planted_copy_is_the_same_function_and_is_recovered(split: Any, depth: int, method: Any) -> None:
    forest, X = _forest(split, depth, 0), _rows()
    copy = _planted(split, depth).apply(forest)
    assert torch.allclose(copy(X), forest(X), atol=1e-5)
    assert torch.allclose(copy(X, mode="hard"), forest(X, mode="hard"), atol=1e-5)
    if depth == 0 and method == "activation":  # constants have no centred outputs to tell them apart
        return
    back = match_forests(forest, copy, method, X=X).apply(copy)
    for mine, theirs in zip(forest.parameters(), back.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    y = (forest(X)[:, 0] < forest(X)[:, 1]).long()
    assert interpolation_barrier(forest, back, X, y, 5).barrier == 0.0


@pytest.mark.parametrize(("split", "depth"), [s for s in SHAPES if s[1] == 3])
def test_the_best_turn_against_every_turn(split: str, depth: int) -> None:
    generator = torch.Generator().manual_seed(1)
    tests = depth if split in ("oblivious", "decision_list") else 2**depth - 1
    leaves = depth + 1 if split == "decision_list" else 2**depth
    G = torch.randn(5, tests, tests, dtype=torch.float64, generator=generator)
    H = torch.randn(5, leaves, leaves, dtype=torch.float64, generator=generator)
    below = {
        "oblivious": [8] * 3,
        "decision_list": [4, 3, 2],
        "sparse_oblique": [2 ** (depth - int(np.log2(i + 1))) for i in range(tests)],
    }[split]
    if split == "oblivious":
        found = turn_oblivious(G, H, flip=True, order=True)
    else:
        found = (turn_list if split == "decision_list" else turn_nested)(G, H, flip=True)

    def reached(pair: int, turn: Any) -> float:
        test, sign, leaf = turn
        own = sum(below[p] * sign[p] * G[pair, p, test[p]] for p in range(tests))
        return float(own + sum(H[pair, p, leaf[p]] for p in range(leaves)))

    for pair in range(5):
        best = max(reached(pair, turn) for turn in _turns(split, depth))
        assert float(found.value[pair]) == pytest.approx(best, abs=1e-12)
        mine = [part[pair].tolist() for part in found[1:]]
        assert reached(pair, mine) == pytest.approx(best, abs=1e-12)
        assert tuple(mine) in [tuple(turn) for turn in _turns(split, depth)]


def test_deep_oblivious_trees_are_turned_well_if_not_best() -> None:
    generator = torch.Generator().manual_seed(2)
    G = torch.randn(4, 5, 5, dtype=torch.float64, generator=generator)
    H = torch.randn(4, 32, 32, dtype=torch.float64, generator=generator)
    free, flips, none = (
        turn_oblivious(G, H, flip=f, order=o).value for f, o in ((True, True), (True, False), (False, False))
    )
    assert (flips >= none).all() and (free >= none).all() and (free > none).any()
    turned = turn_oblivious(G, H, flip=True, order=True)
    for level in range(5):  # no single flip is better
        sign = turned.sign.clone()
        sign[:, level] *= -1
        for pair in range(4):
            test, signs, leaf = _level_turn(turned.test[pair].tolist(), (sign[pair] < 0).tolist())
            own = sum(32 * s * G[pair, p, t] for p, (t, s) in enumerate(zip(test, signs, strict=True)))
            assert (
                float(own + sum(H[pair, p, q] for p, q in enumerate(leaf)))
                <= float(turned.value[pair]) + 1e-9
            )


def test_the_assignment_against_every_order_of_trees() -> None:
    a, b = _forest("sparse_oblique", 2, 0), _forest("sparse_oblique", 2, 1)
    alone = {
        (i, j): max(
            float(_similarity(a, ForestAlignment(*_single(i, j, turn), 0.0).apply(b), i)) for turn in _turns("sparse_oblique", 2)
        )
        for i in range(TREES)
        for j in range(TREES)
    }  # fmt: skip
    best = max(
        sum(alone[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(TREES))
    )
    assert match_forests(a, b).similarity == pytest.approx(best, rel=1e-6)


def _single(i: int, j: int, turn: Any) -> tuple[np.ndarray, ...]:
    """Tree j, turned, at place i; what stands at the other places does not matter."""
    return np.full(TREES, j), *(np.tile(np.array(part), (TREES, 1)) for part in turn)


def _similarity(a: SoftForest, b: SoftForest, tree: int) -> torch.Tensor:
    below = torch.tensor([4.0, 2.0, 2.0])
    rows = [torch.cat([f.weight[0], f.offset[0][:, None]], 1).view(TREES, 3, -1)[tree] for f in (a, b)]
    return (below * (rows[0] * rows[1]).sum(1)).sum() + (a.leaf[0, tree] * b.leaf[0, tree]).sum()


@pytest.mark.parametrize("split", ["sparse_oblique", "oblivious", "decision_list"])
def test_more_invariances_reach_more(split: Any) -> None:
    a, b = _forest(split, 2, 0), _forest(split, 2, 1)
    levels = [(), ("permutation",), ("permutation", "flip"), ("permutation", "flip", "order")]
    found = [match_forests(a, b, invariances=allowed) for allowed in levels]
    values = [alignment.similarity for alignment in found]
    assert values == sorted(values) and values[0] < values[2]
    assert not found[1].flips.any() and (found[0].tree == np.arange(TREES)).all()
    assert match_forests(a, b).to_dict() == match_forests(a, b).to_dict()


# --- between forests ---------------------------------------------------------------------------------------------------------------------
def _frame(shift: float = 0.0) -> Frame:
    X = np.random.default_rng(0).normal(loc=shift, size=(200, FEATURES))
    return Frame(
        TableSchema.numeric(list("pqrs")), FeatureCodes.fit(X), "softmax", "classification", ("a", "b")
    )


def test_barrier_by_hand_soft_and_hardened() -> None:
    frame = _frame()
    a, b = (_forest("sparse_oblique", 2, seed, frame=frame) for seed in (0, 1))
    table = np.random.default_rng(1).normal(size=(60, FEATURES))
    X, y = a.scores_of(table), np.random.default_rng(2).integers(0, 2, 60)
    line = interpolation_barrier(a, b, X, y, 3)
    middle = interpolate(a, b, 0.5)
    soft = [100.0 * float((f(X).argmax(1).numpy() == y).mean()) for f in (b, middle, a)]
    hard = [
        100.0 * float((f.harden().predict(table) == np.array(["a", "b"])[y]).mean()) for f in (b, middle, a)
    ]
    assert line.shares == (0.0, 0.5, 1.0)
    assert line.soft == pytest.approx(tuple(soft)) and line.hard == pytest.approx(tuple(hard))
    assert line.barrier == pytest.approx(max(0.0, (soft[0] + soft[2]) / 2 - soft[1]))
    assert line.to_dict()["hard_barrier"] == line.hard_barrier >= 0.0
    assert [len(curve.get_xdata()) for curve in line.plot().lines] == [3, 3]
    assert torch.allclose(interpolate(a, b, 0.25).leaf, 0.25 * a.leaf + 0.75 * b.leaf)


def test_barrier_of_any_score() -> None:
    a, b = _forest("oblivious", 2, 0, outputs=1), _forest("oblivious", 2, 1, outputs=1)
    X, y = _rows(), np.zeros(40)
    line = interpolation_barrier(a, b, X, y, 2, score=lambda raw, y: -float(np.mean((raw[:, 0] - y) ** 2)))
    assert line.soft[1] == pytest.approx(-float(a(X).square().mean()), rel=1e-5)


def test_merging_copies_gives_the_forest_back() -> None:
    frame = _frame()
    forest = _forest("oblivious", 2, 0, frame=frame)
    copies = [_planted("oblivious", 2, seed).apply(forest) for seed in (1, 2)]
    merged = merge_forests([forest, *copies], weights=[1, 2, 5])
    for mine, theirs in zip(forest.parameters(), merged.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert merged.frame is frame and merged.harden().n_trees == TREES
    other = _forest("oblivious", 2, 5, frame=frame)
    aligned = match_forests(forest, other).apply(other)
    assert torch.allclose(merge_forests([forest, other], [1, 3]).weight, 0.25 * forest.weight + 0.75 * aligned.weight)  # fmt: skip


def test_bad_input() -> None:
    a = _forest("oblivious", 2, 0)
    for other in (_forest("oblivious", 3, 0), _forest("axis", 2, 0), _forest("oblivious", 2, 0, outputs=1)):
        with pytest.raises(ParameterError, match="expected equal ones"):
            match_forests(a, other)
    warm = _forest("oblivious", 2, 0)
    warm.set_temperature(0.1)
    with pytest.raises(ParameterError, match="temperatures"):
        interpolate(a, warm, 0.5)
    framed = [_forest("oblivious", 2, 0, frame=_frame(shift)) for shift in (0.0, 0.0, 5.0)]
    assert match_forests(framed[0], framed[1]).similarity > 0  # equal frames need not be one object
    for other in (a, framed[2]):
        with pytest.raises(ParameterError, match="frames"):
            match_forests(framed[0], other)
    with pytest.raises(ParameterError, match="without X"):
        match_forests(a, a, "activation")
    with pytest.raises(ParameterError, match="expected 'weight' or 'activation'"):
        match_forests(a, a, "weight", ("mirror",))
    with pytest.raises(ParameterError, match="forest that was aligned"):
        match_forests(a, a).apply(_forest("oblivious", 3, 0))
    with pytest.raises(ParameterError, match="at least one"):
        merge_forests([])
    for weights in ([1.0], [0.0, 0.0], [1.0, -1.0]):
        with pytest.raises(ParameterError, match="expected 2 numbers"):
            merge_forests([a, a], weights)
    with pytest.raises(ParameterError, match="two ends"):
        interpolation_barrier(a, a, _rows(3), [0, 1, 0], 1)
    with pytest.raises(InputError, match="scores_of"):
        match_forests(a, a, "activation", X=np.zeros((5, FEATURES + 1)))
    with pytest.raises(InputError, match="3 rows and 2 targets"):
        interpolation_barrier(a, a, _rows(3), [0, 1])
    codes = FeatureCodes.fit(np.zeros((3, FEATURES)))
    number = _forest(
        "axis", 1, 0, frame=Frame(TableSchema.numeric(list("pqrs")), codes, "identity", "regression")
    )
    with pytest.raises(UnsupportedError, match="pass score="):
        interpolation_barrier(number, number, _rows(2), [0.0, 1.0])
