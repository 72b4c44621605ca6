"""Blocks fitted to a matrix: least squares against NumPy's, saliencies against leaving out, budgets, and the artifact's products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st

import hardgrad
from hardgrad.bits import BlockLowRank, BlockLowRankMatrix
from hardgrad.bits import block_low_rank_fit as fit
from hardgrad.core.errors import ArtifactError, BudgetError, InputError, ParameterError
from hardgrad.train.progress import listen


def random_side(rng: np.random.Generator, blocks: int, n: int, rank: int) -> fit.Side:
    side = fit.Side(
        rng.integers(0, n, blocks), rng.integers(1, n + 1, blocks), rng.normal(size=(blocks, n, rank))
    )
    return replace(side, factors=side.factors * side.support[..., None])


def random_matrix(seed: int, dtype: type = np.float64, rank: int = 2) -> BlockLowRankMatrix:
    rng = np.random.default_rng(seed)
    matrix = BlockLowRank(6, 9, 4, rank_per_block=rank)
    matrix.set_sides(random_side(rng, 4, 6, rank), random_side(rng, 4, 9, rank))
    return matrix.to(torch.float64 if dtype is np.float64 else torch.float32).harden()


def by_hand(matrix: BlockLowRankMatrix) -> np.ndarray:
    dense, row, column = np.zeros(matrix.shape), 0, 0
    for b, (height, breadth) in enumerate(zip(matrix.row_count, matrix.column_count, strict=True)):
        for i in range(height):
            for j in range(breadth):
                u = matrix.left[(row + i) * matrix.rank : (row + i + 1) * matrix.rank]
                v = matrix.right[(column + j) * matrix.rank : (column + j + 1) * matrix.rank]
                at = (
                    (matrix.row_start[b] + i) % matrix.n_rows,
                    (matrix.column_start[b] + j) % matrix.n_columns,
                )
                dense[at] += float(u @ v)
        row, column = row + height, column + breadth
    return dense


# --- the artifact -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rank", [1, 2])
@given(seed=st.integers(0, 1000))
def test_products_are_those_of_the_dense_matrix(rank: int, seed: int) -> None:
    matrix, rng = random_matrix(seed, rank=rank), np.random.default_rng(seed)
    dense, X, y = by_hand(matrix), rng.normal(size=(9, 4)), rng.normal(size=6)
    assert np.allclose(matrix.to_dense(), dense)
    assert np.allclose(matrix.matmul(X), dense @ X) and np.allclose(matrix.matvec(X[:, 0]), dense @ X[:, 0])
    assert np.allclose(matrix.rmatvec(y), dense.T @ y)
    operator = scipy.sparse.linalg.aslinearoperator(matrix)
    assert np.allclose(operator.matmat(X), dense @ X)
    found = scipy.sparse.linalg.lsqr(operator, y, atol=1e-12, btol=1e-12)[0]
    best = np.linalg.lstsq(dense, y)[0]
    assert np.linalg.norm(dense @ found - y) == pytest.approx(
        np.linalg.norm(dense @ best - y), rel=1e-4, abs=1e-4
    )


def test_few_blocks_take_two_products_and_many_take_one() -> None:
    rng = np.random.default_rng(0)
    for blocks, products in ((2, 2), (8, 1)):
        matrix = BlockLowRank(6, 9, blocks, generator=torch.Generator().manual_seed(0)).harden()
        assert len(matrix._operators) == products
        X = rng.normal(size=(9, 2))
        assert (
            np.allclose(matrix.matmul(X), by_hand(matrix) @ X, atol=1e-5)
            and matrix.matmul(X).dtype == np.float32
        )


def test_bad_operands_and_artifacts() -> None:
    matrix = random_matrix(0)
    for bad in (np.zeros(8), np.full(9, np.nan), np.zeros((9, 2)), ["a"] * 9, [1j] * 9):
        with pytest.raises(InputError, match="matvec"):
            matrix.matvec(bad)
    with pytest.raises(InputError, match="matmul"):
        matrix.matmul(np.zeros(9))
    parts = dict(matrix.arrays()) | {"n_rows": 6, "n_columns": 9, "rank": 2}
    wrong = {
        "n_rows": 0,
        "rank": True,
        "row_start": matrix.row_start.astype(np.int64),
        "row_count": matrix.row_count[:-1],
        "column_start": matrix.column_start + np.int32(9),
        "column_count": matrix.column_count * np.int32(0),
        "left": matrix.left[:-1],
        "right": matrix.right.astype(np.float32),
    }
    for name, value in wrong.items():
        with pytest.raises(ArtifactError, match="block|factors are"):
            BlockLowRankMatrix(**parts | {name: value})


# --- least squares ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rank", [1, 2])
def test_one_side_is_numpys_least_squares(rank: int) -> None:
    rng = np.random.default_rng(3)
    target, rows, columns = (
        rng.normal(size=(6, 20)),
        random_side(rng, 3, 6, rank),
        random_side(rng, 3, 20, rank),
    )
    solved, saliency = fit._solve(target, rows, columns)
    for i in range(6):
        active = np.flatnonzero(rows.support[:, i])
        basis = columns.factors[active].transpose(1, 0, 2).reshape(20, -1)
        best, residual, *_ = np.linalg.lstsq(basis, target[i])
        assert np.allclose(solved.factors[active, i].ravel(), best, atol=1e-6)
        for k, block in enumerate(active):  # leave one block out of this row
            rest = np.delete(basis, np.s_[k * rank : (k + 1) * rank], axis=1)
            without = np.square(target[i] - rest @ np.linalg.lstsq(rest, target[i])[0]).sum()
            assert saliency[block, i] == pytest.approx(without - residual[0], rel=1e-5)
    assert (solved.factors[~rows.support] == 0).all()


@given(seed=st.integers(0, 300), budget=st.integers(0, 60))
def test_trimming_keeps_the_budget_and_the_places(seed: int, budget: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = random_side(rng, 3, 6, 1), random_side(rng, 3, 9, 1)
    target = rng.normal(size=(6, 9))
    cut = fit.trim(target, rows, columns, budget)
    assert fit.numbers(*cut) <= budget
    for before, after in zip((rows, columns), cut, strict=True):
        assert not (after.support & ~before.support).any() and (after.factors[~after.support] == 0).all()
    assert fit.error(target, *cut) <= 1 + 1e-9


def test_trimming_cuts_what_is_not_there() -> None:
    target = np.zeros((8, 8))
    target[2:5, 4:6] = np.outer([1.0, 2.0, 3.0], [4.0, 5.0])
    rows, columns = fit.truncated(target, 2, 1, 2)
    cut = fit.trim(target, rows, columns, 5)
    assert fit.error(target, *cut) < 1e-12 and fit.numbers(*cut) == 5


# --- from a dense matrix ------------------------------------------------------------------------------------------------------
def diagonal_blocks(seed: int, size: int = 6, blocks: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    dense = np.zeros((size * blocks, size * blocks))
    for b in range(blocks):
        at = slice(b * size, (b + 1) * size)
        dense[at, at] = np.outer(rng.normal(size=size), rng.normal(size=size))
    return dense


def truncation_error(W: np.ndarray, budget: int) -> float:
    values = np.linalg.svd(W, compute_uv=False)
    return float(np.square(values[budget // sum(W.shape) :]).sum() / np.square(values).sum())


def test_blocks_are_found() -> None:
    W = diagonal_blocks(0)
    assert truncation_error(W, 45) > 0.2
    heard: list[float | None] = []
    with listen(lambda event: heard.append(event.soft)):
        matrix = BlockLowRank.from_dense(W, 45, steps=300)
    assert np.square(W - matrix.harden().to_dense()).sum() < 0.05 * np.square(W).sum()
    assert matrix.numbers <= 45 and matrix.left.dtype == torch.float64 and len(heard) > 10
    gap = torch.linalg.norm(matrix.weight() - matrix.weight(mode="hard")) / torch.linalg.norm(
        matrix.weight(mode="hard")
    )
    assert gap.item() < 0.01
    with hardgrad.mode("hard", temperature=3.0):  # a surrounding block is not asked
        again = BlockLowRank.from_dense(W, 45, steps=300)
    assert again.harden().equals(matrix.harden())


@pytest.mark.parametrize("rank", [1, 2])
def test_never_further_than_the_singular_value_decomposition(rank: int) -> None:
    rng = np.random.default_rng(1)
    W = rng.normal(size=(12, 8)).astype(np.float32)
    matrix = BlockLowRank.from_dense(W, 85, steps=5, rank_per_block=rank)
    error = np.square(W - matrix.harden().to_dense()).sum() / np.square(W).sum()
    assert matrix.numbers <= 85 and matrix.left.dtype == torch.float32
    assert error <= truncation_error(W, 80) + 1e-5


def test_matrices_of_zeros_and_of_one_number() -> None:
    assert (BlockLowRank.from_dense(np.zeros((3, 4)), 7, steps=3).harden().to_dense() == 0).all()
    assert BlockLowRank.from_dense([[3.0]], 2, steps=3).harden().to_dense().item() == pytest.approx(3.0)


def test_bad_matrices_and_budgets() -> None:
    for bad in (np.zeros(3), np.full((2, 2), np.inf), [["a"]], np.zeros((0, 2))):
        with pytest.raises(InputError, match="from_dense"):
            BlockLowRank.from_dense(bad, 4)
    for budget in (1, 0, 0.01, 1.5, float("inf")):
        with pytest.raises(BudgetError, match="budget"):
            BlockLowRank.from_dense(np.ones((3, 3)), budget)
    for bad in ({"steps": 0}, {"temperature": 0.0}, {"learning_rate": -1.0}, {"rank_per_block": 0}):
        with pytest.raises(ParameterError, match="positive"):
            BlockLowRank.from_dense(np.ones((3, 3)), 4, **bad)
