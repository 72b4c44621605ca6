"""Comparisons against torch, with numbers, ties and tolerances."""

from __future__ import annotations

import pytest
import torch

from hardgrad import functional
from hardgrad.core.errors import InputTypeError

NAMES = ("greater", "greater_equal", "less", "less_equal", "eq", "ne")


@pytest.mark.parametrize("name", NAMES)
def test_numbers_stand_for_tensors(name: str) -> None:
    x = torch.tensor([-1.0, 0.5, 2.0])
    function, exact = getattr(functional, name), getattr(torch, name)
    assert torch.equal(function(x, 0.5, mode="hard"), exact(x, 0.5))
    assert torch.equal(function(x, 0.5, mode="st"), exact(x, 0.5).float())
    assert torch.allclose(function(x, 0.5), function(x, torch.full((3,), 0.5)))
    assert function(x.half(), 0.5).dtype == torch.float16
    assert function(torch.tensor([1, 2]), 1).dtype == torch.float32
    with pytest.raises(InputTypeError, match=rf"{name}\(\) got a str"):
        function(x, "1")


def test_opposites_and_ties() -> None:
    x, y = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for kind in functional.KINDS:
        assert torch.allclose(
            functional.greater(x, y, kind=kind) + functional.less_equal(x, y, kind=kind), torch.ones_like(x)
        )
        assert torch.allclose(
            functional.eq(x, y, kind=kind) + functional.ne(x, y, kind=kind), torch.ones_like(x)
        )
    assert torch.equal(functional.eq(x, x), torch.ones_like(x))
    assert torch.equal(functional.greater(x, x), torch.full_like(x, 0.5))
    assert (
        functional.greater_equal(x, x, mode="hard").all() and not functional.greater(x, x, mode="hard").any()
    )


@pytest.mark.parametrize("kind", list(functional.KINDS))
def test_isclose_is_1_in_the_middle_and_eq_without_tolerance(kind: str) -> None:
    y = torch.tensor(2.0, dtype=torch.float64)
    x = y + torch.linspace(-3, 3, 61, dtype=torch.float64)
    wide = functional.isclose(x, y, rtol=0.0, atol=1.0, temperature=0.3, kind=kind)
    assert wide[30] == pytest.approx(1.0) and (wide <= 1 + 1e-12).all()
    exact = functional.isclose(x, y, rtol=0.0, atol=0.0, temperature=0.3, kind=kind)
    assert torch.allclose(exact, functional.eq(x, y, temperature=0.3, kind=kind))
    away = (x - y).abs().sub(1.0).abs() > 0.05
    cold = functional.isclose(x, y, rtol=0.0, atol=1.0, temperature=1e-5, kind=kind)
    assert torch.allclose(cold[away], torch.isclose(x, y, rtol=0.0, atol=1.0)[away].double(), atol=1e-3)


def test_isclose_takes_nan_only_when_hard() -> None:
    nan = torch.tensor([float("nan")])
    assert functional.isclose(nan, nan, equal_nan=True, mode="hard").item() is True
    assert functional.isclose(nan, nan, mode="hard").item() is False
