"""binary_sign, binary_step and their surrogates: exact forward, the published slopes backward, transforms and bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad
import hardgrad.functional as HF
from hardgrad.core.errors import InputError, InputTypeError, ModeError, ParameterError, TemperatureError

EACH = pytest.mark.parametrize("name", HF.SURROGATES)
OPERATIONS = pytest.mark.parametrize("operation", [HF.binary_sign, HF.binary_step])
X = torch.tensor([-2.0, -1.25, -0.3, -0.05, 0.05, 0.3, 1.25, 2.0], dtype=torch.float64)


def gradient(function: Any, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return found


@EACH
def test_forward_is_one_of_two_values_and_zero_has_a_side(name: str) -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 1.0])
    seen = torch.sin(20.0 * x) if name == "sine" else x
    expected = torch.where(seen >= 0, 1.0, -1.0)
    for mode in (None, "st", "hard"):
        assert torch.equal(HF.binary_sign(x, surrogate=name, mode=mode), expected)
        assert torch.equal(HF.binary_step(x, surrogate=name, mode=mode), (seen > 0).float())


@EACH
def test_backward_is_the_derivative_of_the_surrogate_in_soft_and_st(name: str) -> None:
    surrogate = HF.binary_surrogate(name)
    scales = {"sign": (1.0, 0.5), "step": (2.0, 1.0)}[surrogate.target]
    for operation, scale in zip((HF.binary_sign, HF.binary_step), scales, strict=True):
        for mode in ("soft", "st"):
            found = gradient(lambda x, o=operation, m=mode: o(x, surrogate=name, mode=m), X)
            assert torch.allclose(found, scale * surrogate.derivative(X))


@EACH
def test_derivative_is_the_slope_of_the_value_wherever_it_is_not_capped(name: str) -> None:
    surrogate = HF.binary_surrogate(name)
    x = X if name != "reste" else X[(X.abs() > 0.1) & (X.abs() < 1.5)]
    h = 1e-6
    slope = (surrogate.value(x + h) - surrogate.value(x - h)) / (2 * h)
    assert torch.allclose(surrogate.derivative(x), slope, atol=1e-6)


def test_published_slopes() -> None:
    def slope(name: str, x: float, **options: Any) -> float:
        return float(HF.binary_surrogate(name, **options).derivative(torch.tensor(x, dtype=torch.float64)))

    assert [slope("identity", x) for x in (-9.0, 0.0, 9.0)] == [1.0, 1.0, 1.0]
    assert [slope("clipped", x) for x in (-1.5, 0.0, 0.9)] == [0.0, 1.0, 1.0]
    assert [slope("bireal", x) for x in (-1.5, -0.25, 0.0, 0.75)] == [0.0, 1.5, 2.0, 0.5]
    assert [slope("constant", x) for x in (-1.5, 0.0, 1.0)] == [0.0, 1.0, 1.0]
    assert slope("bell", 0.0) == pytest.approx(1.0) and slope("bell", 0.0, temperature=3.0) == pytest.approx(
        1.0
    )
    assert slope("sigmoid", 0.0) == pytest.approx(0.25)
    assert slope("sine", 0.1, freq=5.0) == pytest.approx(5.0 * torch.cos(torch.tensor(0.5)).item())
    # Rectified: (1/o) |x|^((1-o)/o), the chord of the floor below it, nothing beyond the clip.
    assert slope("reste", 0.05) == pytest.approx(0.1 ** (1 / 3) / 0.1) == pytest.approx(4.6416, abs=1e-4)
    assert slope("reste", -0.1) == slope("reste", 0.0)
    assert slope("reste", -1.0) == pytest.approx(1 / 3)
    assert slope("reste", 1.5) == pytest.approx(1.5 ** (-2 / 3) / 3) and slope("reste", 1.501) == 0.0
    assert [slope("reste", x, o=1) for x in (-1.2, 0.0, 0.7)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("o", "error"), [(1.0, 0.5), (1.5, 0.404), (2.0, 0.342), (3.0, 0.263), (5.0, 0.181)])
def test_reste_has_the_estimating_error_of_its_closed_form(o: float, error: float) -> None:
    x = torch.linspace(-1.5, 1.5, 100_001, dtype=torch.float64)
    surrogate = HF.binary_surrogate("reste", o=o)
    found = (surrogate.exact(x) - surrogate.value(x)).square().mean().sqrt()
    assert float(found) == pytest.approx(error, abs=2e-3)


@pytest.mark.parametrize("name", ["bireal", "clipped", "sigmoid"])
def test_small_temperature_is_hard(name: str) -> None:
    soft = HF.binary_sign(X, surrogate=name, temperature=1e-3, mode="soft")
    assert torch.allclose(soft, HF.binary_sign(X, mode="hard"))
    with hardgrad.mode("soft", temperature=1e-3):
        assert torch.equal(HF.binary_sign(X, surrogate=name), soft)


def test_surrogates_that_are_soft_steps_agree_with_them() -> None:
    for name, soft in (
        ("clipped", HF.sign(X, temperature=0.7, kind="c0")),
        ("sigmoid", HF.sign(X, temperature=0.7)),
    ):
        assert torch.allclose(HF.binary_sign(X, surrogate=name, temperature=0.7, mode="soft"), soft)


@EACH
@OPERATIONS
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own, while it traces
def test_transforms_and_compilation(name: str, operation: Any) -> None:
    for mode in ("soft", "st", "hard"):

        def function(x: Tensor, m: str = mode) -> Tensor:
            return operation(x, surrogate=name, mode=m)  # type: ignore[no-any-return]

        expected = function(X)
        assert torch.equal(torch.func.vmap(function)(X), expected)
        if name in ("clipped", "reste", "sine"):  # the others differ in one elementary function
            torch.compiler.reset()
            assert torch.allclose(torch.compile(function, fullgraph=True, backend="eager")(X), expected)
        if mode != "hard":
            assert torch.allclose(torch.func.jacrev(function)(X), torch.func.jacfwd(function)(X))


@EACH
@OPERATIONS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_are_kept_and_no_element_is_fine(name: str, operation: Any, dtype: torch.dtype) -> None:
    for mode in ("soft", "st", "hard"):
        assert operation(X.to(dtype), surrogate=name, mode=mode).dtype == dtype
        assert operation(torch.empty(0, 3, dtype=dtype), surrogate=name, mode=mode).shape == (0, 3)
    assert operation(torch.tensor([-1, 2]), surrogate="clipped").dtype == torch.get_default_dtype()


def test_bit_of_a_fast_sine_is_that_of_the_stored_number() -> None:
    x = (torch.arange(1, 2000, dtype=torch.float64) * torch.pi / 977.0).float()
    exact = torch.where(torch.sin(977.0 * x.double()) >= 0, 1.0, -1.0)
    assert torch.equal(HF.binary_sign(x, surrogate="sine", freq=977.0), exact)


@OPERATIONS
def test_bad_arguments_say_what_is_expected(operation: Any) -> None:
    name = operation.__name__
    with pytest.raises(ParameterError, match=rf"{name}\(\) got surrogate='clip'; .* Did you mean 'clipped'"):
        operation(X, surrogate="clip")
    with pytest.raises(ParameterError, match="got o=2.0 with surrogate='clipped'.*choose surrogate='reste'"):
        operation(X, surrogate="clipped", o=2.0)
    with pytest.raises(ParameterError, match="got temperature=0.5 with surrogate='identity'"):
        operation(X, surrogate="identity", temperature=0.5)
    with pytest.raises(ParameterError, match="freq beside it"):
        operation(X, surrogate=HF.binary_surrogate("sine"), freq=3.0)
    for option, bad in (("o", 0.5), ("o", float("nan")), ("floor", 0.0), ("clip", 0.1)):
        with pytest.raises(ParameterError, match=f"got {option}="):
            operation(X, surrogate="reste", **{option: bad})
    with pytest.raises(ParameterError, match="got freq=0"):
        operation(X, surrogate="sine", freq=0)
    for bad_level in (0.0, -1.0, float("nan"), True, torch.tensor(0.0)):
        with pytest.raises(TemperatureError, match=rf"{name}\(\) got temperature"):
            operation(X, surrogate="clipped", temperature=bad_level)
    with pytest.raises(ModeError):
        operation(X, mode="softly")
    for wrong in (X > 0, X.to(torch.complex64)):
        with pytest.raises(InputTypeError, match=name):
            operation(wrong)


@OPERATIONS
def test_nan_never_becomes_a_bit(operation: Any) -> None:
    spoilt = torch.tensor([1.0, float("nan")])
    for mode in ("soft", "st", "hard"):
        with pytest.raises(InputError, match=operation.__name__):
            operation(spoilt, mode=mode)
    infinite = torch.tensor([-float("inf"), float("inf")])
    assert operation(infinite, mode="hard").tolist()[1] == 1.0
    with pytest.raises(InputError, match="infinity"):
        operation(infinite.requires_grad_())
