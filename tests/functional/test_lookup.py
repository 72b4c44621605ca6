"""Lookups: torch's own result for whole positions, expectations under weights, errors."""

from __future__ import annotations

import pytest
import torch

import hardgrad
from hardgrad import functional
from hardgrad.core.errors import InputError, InputTypeError

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
WHOLE = torch.tensor([[2, 0], [1, 3], [0, 0]])


@pytest.mark.parametrize("mode", ["soft", "st", "hard"])
def test_whole_positions_are_exact_in_every_mode(mode: str) -> None:
    with hardgrad.mode(mode):  # type: ignore[arg-type]
        assert torch.equal(functional.gather(X, 1, WHOLE), torch.gather(X, 1, WHOLE))
        assert torch.equal(
            functional.gather(X, 0, WHOLE[:2].clamp_max(2)), torch.gather(X, 0, WHOLE[:2].clamp_max(2))
        )
        assert torch.equal(functional.index_select(X, 0, WHOLE[0]), X[WHOLE[0]])
        assert torch.equal(functional.take(X, WHOLE), torch.take(X, WHOLE))
        assert torch.equal(functional.take_along_dim(X, WHOLE, 1), torch.take_along_dim(X, WHOLE, 1))
        assert torch.equal(functional.take_along_dim(X, WHOLE[0]), torch.take_along_dim(X, WHOLE[0]))
        assert torch.equal(functional.narrow(X, 1, 1, 2), X[:, 1:3])
        assert torch.equal(
            functional.scatter(X, 1, WHOLE[:, :1], X[:, :1]), torch.scatter(X, 1, WHOLE[:, :1], X[:, :1])
        )
        assert torch.equal(functional.where(X > 0, X, -X), X.abs())


def test_sorted_values_are_gathered_with_the_weights_of_sort() -> None:
    order = functional.sort(X, temperature=0.3)
    assert torch.allclose(functional.gather(X, -1, order.weights), order.values)
    assert torch.allclose(functional.take_along_dim(X, order.weights, -1), order.values)
    assert torch.equal(
        functional.gather(X, -1, order.weights, mode="hard"), X.gather(-1, order.weights.argmax(-1))
    )


def test_scatter_is_the_transposed_weights_times_what_is_written() -> None:
    weights = functional.sort(X, temperature=0.3, method="sinkhorn").weights
    written = functional.scatter(torch.zeros_like(X), -1, weights, X)
    assert torch.allclose(written, (weights.mT @ X.unsqueeze(-1)).squeeze(-1))


def test_weights_over_starts_and_over_all_elements() -> None:
    starts = torch.tensor([0.25, 0.0, 0.75])
    assert torch.allclose(functional.narrow(X, 1, starts, 2), 0.25 * X[:, :2] + 0.75 * X[:, 2:])
    weights = torch.softmax(torch.arange(24.0).reshape(2, 12), -1)
    assert torch.allclose(functional.take(X, weights, weighted=True), weights @ X.reshape(-1))
    assert torch.allclose(functional.index_select(X, 0, torch.eye(3)), X)


def test_where_mixes_degrees_as_they_are_unless_told_a_temperature() -> None:
    half = functional.where(torch.tensor(0.75), torch.tensor(8.0), torch.tensor(4.0))
    assert half.item() == 7.0
    sharp = functional.where(torch.tensor(0.75), torch.tensor(8.0), torch.tensor(4.0), temperature=1e-3)
    assert sharp.item() == pytest.approx(8.0)


def test_errors() -> None:
    with pytest.raises(InputError, match="expected 4 in the last dimension"):
        functional.gather(X, 1, torch.rand(3, 2, 5))
    with pytest.raises(InputTypeError, match=r"gather\(\) got an index of type int"):
        functional.gather(X, 1, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="length=5"):
        functional.narrow(X, 1, torch.tensor(0.0), 5)
