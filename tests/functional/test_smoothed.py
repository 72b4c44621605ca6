"""Blurred functions against the integral that defines them, and SAU against the published values."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from hardgrad import functional
from hardgrad.core.errors import InputError, TemperatureError
from hardgrad.functional.smoothed import KERNELS

DENSITIES = {
    "gaussian": lambda v: math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi),
    "logistic": lambda v: math.exp(-abs(v)) / (1 + math.exp(-abs(v))) ** 2,
    "laplace": lambda v: 0.5 * math.exp(-abs(v)),
    "box": lambda v: 0.5 * (abs(v) <= 1),
    "triangle": lambda v: max(0.0, 1 - abs(v)),
}
PIECES = ([-1.5, 0.5, 1.0], [0.5, -1.0, 2.0, 0.0], [0.5, 0.0, -0.25], 0.25)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("slope", "sharpness", "expected"),
    [
        (0.15, 1.0, [-0.29278290, 0.18174706, 0.33910094, 0.82144747]),
        (0.25, 2.0, [-0.49999732, -0.01174773, 0.14960336, 0.71375055]),
    ],
)
def test_sau_has_the_values_of_the_quadrature(slope: float, sharpness: float, expected: list[float]) -> None:
    out = functional.sau(double(-2.0, -0.3, 0.0, 0.7), slope, temperature=1 / sharpness)
    assert out.tolist() == pytest.approx(expected, abs=5e-9)


def test_sau_is_not_gelu_and_has_its_derivatives() -> None:
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).requires_grad_()
    (first,) = torch.autograd.grad(functional.sau(x, 0.15, temperature=0.5).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert torch.allclose(first, 0.15 + 0.85 * normal.cdf(2 * x))
    assert torch.allclose(second, 0.85 * 2 * normal.log_prob(2 * x).exp())
    assert torch.allclose(
        functional.sau(x, 0.0, temperature=1.0) - torch.nn.functional.gelu(x), normal.log_prob(x).exp()
    )
    gap = (functional.sau(x, 0.15, temperature=0.01) - torch.nn.functional.leaky_relu(x, 0.15)).abs().max()
    assert gap.item() == pytest.approx(0.85 * 0.01 / math.sqrt(2 * math.pi))


def test_sau_passes_gradients_to_slope_and_temperature_in_every_direction() -> None:
    x, slope, level = double(-1.2, -0.1, 0.0, 0.9).requires_grad_(), double(0.2)[0], double(0.7)[0]
    leaves = (x, slope.requires_grad_(), level.requires_grad_())

    def of(x: torch.Tensor, slope: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return functional.sau(x, slope, temperature=level)

    assert torch.autograd.gradcheck(of, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(of, leaves)
    per_row = double(0.5, 0.6, 0.7, 0.8).requires_grad_()
    assert torch.autograd.gradcheck(of, (x, leaves[1], per_row))
    assert torch.autograd.gradcheck(of, (x[:1].detach().requires_grad_(), leaves[1], per_row))
    plain = torch.stack([of(x[i], slope, per_row[i]) for i in range(4)])
    assert torch.allclose(torch.func.vmap(of, in_dims=(0, None, 0))(x, slope, per_row), plain)


def test_sau_keeps_x_alone_and_refuses_sharpness_that_is_not_positive() -> None:
    kept = []
    x = torch.randn(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        functional.sau(x, 0.15, temperature=0.1)
    assert sum(n for n in kept if n > 1) == 1000
    for bad in (0.0, -0.5):
        with pytest.raises(TemperatureError):
            functional.sau(x, temperature=bad)


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_blurring_is_the_integral(kernel: str) -> None:
    width = 0.3
    reach = 1.0 if kernel in ("box", "triangle") else 40.0
    for x in (-2.0, -1.5, -0.2, 0.6, 1.1, 3.0):

        def integrand(v: float, x: float = x) -> float:
            at = double(x - width * v)
            return DENSITIES[kernel](v) * float(functional.piecewise_linear(at, *PIECES, mode="hard"))

        kinks = [v for v in ((x - knot) / width for knot in PIECES[0]) if abs(v) < reach]
        exact, _ = quad(integrand, -reach, reach, points=[0.0, *kinks], limit=300)
        soft = functional.piecewise_linear(double(x), *PIECES, kernel=kernel, temperature=width)
        assert float(soft) == pytest.approx(exact, abs=1e-5)


def test_hard_is_what_torch_has_for_known_functions() -> None:
    x = torch.cat([torch.linspace(-8, 8, 33), torch.tensor([-1e8, 1e8])])
    known = (
        (([0.0], [0.0, 1.0]), torch.relu),
        (([0.0], [-1.0, 1.0]), torch.abs),
        (([0.0, 6.0], [0.0, 1.0, 0.0]), torch.nn.functional.relu6),
        (([-1.0, 1.0], [0.0, 1.0, 0.0], None, -1.0), torch.nn.functional.hardtanh),
    )
    for pieces, exact in known:
        assert torch.equal(functional.piecewise_linear(x, *pieces, mode="hard"), exact(x))
        assert torch.allclose(functional.piecewise_linear(x, *pieces, temperature=1e-4), exact(x), atol=1e-3)


def test_derivative_at_a_knot_is_the_mean_of_the_slopes() -> None:
    for kernel in KERNELS:
        x = double(0.0).requires_grad_()
        out = functional.piecewise_linear(x, [0.0], [-1.0, 3.0], kernel=kernel)
        assert torch.autograd.grad(out.sum(), x)[0].item() == pytest.approx(1.0)


def test_pieces_that_do_not_fit_are_refused() -> None:
    x = torch.zeros(2)
    with pytest.raises(InputError, match="to increase"):
        functional.piecewise_linear(x, [1.0, 0.0], [0.0, 1.0, 0.0])
    for knots, slopes, jumps in (([], [1.0], None), ([0.0], [1.0], None), ([0.0], [0.0, 1.0], [1.0, 1.0])):
        with pytest.raises(InputError, match="expected k knots, k \\+ 1 slopes and k jumps"):
            functional.piecewise_linear(x, knots, slopes, jumps)
