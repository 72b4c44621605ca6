"""Relaxed sorting networks against a transcription of the definition, torch.sort and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import hardgrad.functional as HF
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.network_layers import network_layers
from hardgrad.functional.sorting_networks import SWAP_KINDS, Block, Scattered, _plan

GIVEN = [[(0, 3), (1, 2)], [(0, 1), (2, 3)], [(1, 2)]]
IRREGULAR = [
    [(0, 2), (1, 4)],
    [(0, 3), (2, 4)],
    [(0, 1), (2, 3)],
    [(1, 2), (3, 4)],
    [(2, 3)],
]  # strides 2 and 3 cross


def share(kind: str, d: Tensor, t: float) -> Tensor:
    v = d / t
    return {
        "cauchy": lambda: torch.atan(v) / math.pi + 0.5,
        "logistic": lambda: 1 / (1 + torch.exp(-v)),
        "reciprocal": lambda: 0.5 * (v / (2 + v.abs()) + 1),
        "art": lambda: 1 / (1 + torch.exp(-v / (d.abs() + 1e-10) ** 0.25)),
    }[kind]()


def by_definition(x: Tensor, network: Any, kind: str, t: float) -> tuple[Tensor, Tensor]:
    """One list, one swap after the other, as the paper writes it."""
    n = len(x)
    values, rows = list(x), list(torch.eye(n, dtype=x.dtype))
    for layer in network_layers("sort", network, n):
        for i, j in layer:
            a, b, p, q = values[i], values[j], rows[i], rows[j]
            al = share(kind, b - a, t)
            values[i], values[j] = al * a + (1 - al) * b, (1 - al) * a + al * b
            rows[i], rows[j] = al * p + (1 - al) * q, (1 - al) * p + al * q
    return torch.stack(values), torch.stack(rows)


def gradient_of_weights(x: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    weights = HF.sort(leaf, method="network", **how).weights
    probe = torch.arange(weights.numel(), dtype=x.dtype).reshape(weights.shape).sin()
    return weights, torch.autograd.grad((weights * probe).sum(), leaf)[0]


@pytest.mark.parametrize("kind", ["cauchy", "logistic", "reciprocal", "art"])
@pytest.mark.parametrize(
    ("network", "n"), [("odd_even", 2), ("odd_even", 5), ("odd_even", 6), ("bitonic", 8), ("bitonic", 7), ("bitonic", 5), (GIVEN, 4),
     (IRREGULAR, 5)],
)  # fmt: skip
def test_values_weights_and_gradients_are_those_of_the_definition(network: Any, n: int, kind: str) -> None:
    x = torch.randn(3, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    weights, gradient = gradient_of_weights(x, network=network, kind=kind, temperature=0.3)
    found = HF.sort(x, method="network", network=network, kind=kind, temperature=0.3)
    for k in range(3):
        leaf = x[k].clone().requires_grad_()
        values, rows = by_definition(leaf, network, kind, 0.3)
        probe = torch.arange(3 * n * n, dtype=x.dtype).reshape(3, n, n)[k].sin()
        assert torch.allclose(found.values[k], values) and torch.allclose(weights[k], rows)
        assert torch.allclose(gradient[k], torch.autograd.grad((rows * probe).sum(), leaf)[0])
    assert torch.allclose(weights.sum(-1), torch.ones(3, n).double()) and torch.allclose(
        weights.sum(-2), torch.ones(3, n).double()
    )
    assert torch.allclose((weights @ x.unsqueeze(-1)).squeeze(-1), found.values)


def test_layers_become_views_and_only_irregular_ones_gathers() -> None:
    for network, n in (("odd_even", 9), ("bitonic", 16), ("bitonic", 11)):
        assert all(isinstance(step, Block) for steps in _plan(network, n) for step in steps)
        assert all(len(steps) <= 2 + (n == 11) for steps in _plan(network, n))
    assert any(isinstance(step, Scattered) for steps in _plan(IRREGULAR, 5) for step in steps)


@pytest.mark.parametrize("swap", ["soft", "error_free"])
@pytest.mark.parametrize("network", ["odd_even", "bitonic", IRREGULAR])
def test_weights_transform_and_differentiate_twice(network: Any, swap: str) -> None:
    x = torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def weights(v: Tensor) -> Tensor:
        return HF.sort(v, method="network", network=network, swap=swap, temperature=0.7).weights

    leaf = x.clone().requires_grad_()
    row = torch.stack([torch.autograd.grad(weights(leaf)[2, k], leaf)[0] for k in range(5)])
    assert torch.allclose(torch.func.jacrev(weights)(x)[2], row)
    assert torch.allclose(torch.func.jacfwd(weights)(x)[2], row)
    several = torch.stack([x, x.flip(0)])
    assert torch.allclose(torch.func.vmap(weights)(several), weights(several))
    if swap == "soft":
        probe = torch.arange(25, dtype=x.dtype).reshape(5, 5).sin()
        assert torch.autograd.gradgradcheck(lambda v: (weights(v) * probe).sum(), [leaf])
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, torch.ones(5).double())
            tangent = torch.autograd.forward_ad.unpack_dual(weights(dual)).tangent
        assert tangent.abs().max() < 1e-12  # a shift of all moves no weight


@pytest.mark.parametrize("network", ["odd_even", "bitonic", IRREGULAR])
@pytest.mark.parametrize("kind", SWAP_KINDS)
def test_error_free_swaps_are_exact_with_the_gradient_of_soft_swaps_at_the_true_values(
    network: Any, kind: str
) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(60, 5, generator=generator)
    x[:20], x[20:40] = (2 * x[:20]).round(), 1e8 * x[20:40]
    found = HF.sort(x, method="network", network=network, kind=kind, swap="error_free", mode="soft")
    assert torch.equal(found.values, x.sort(-1).values)
    assert torch.equal((found.weights @ x.double().unsqueeze(-1).float()).squeeze(-1), found.values)
    assert torch.equal(found.weights.sum(-1), torch.ones(60, 5)) and torch.equal(
        found.weights.sum(-2), torch.ones(60, 5)
    )
    assert bool(((found.weights == 0) | (found.weights == 1)).all())


def test_the_gradient_of_error_free_swaps_by_hand() -> None:
    """Two layers on three wires: the second layer must see the true values of the first, in both directions."""
    layers = [[(0, 1)], [(1, 2)], [(0, 1)]]
    x = torch.tensor([0.3, 0.1, 0.2], dtype=torch.float64, requires_grad=True)
    values = HF.sort(
        x, method="network", network=layers, kind="logistic", swap="error_free", temperature=0.5
    ).values

    def swap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        al = torch.sigmoid((b - a) / 0.5)
        return al * a + (1 - al) * b, (1 - al) * a + al * b

    jacobian = torch.eye(3, dtype=torch.float64)
    state = x.detach().clone()
    for ((i, j),) in layers:
        local = torch.eye(3, dtype=torch.float64)
        pair = torch.autograd.functional.jacobian(swap, (state[i], state[j]))
        for row, wire in enumerate((i, j)):
            local[wire, i], local[wire, j] = pair[row]
        jacobian = local @ jacobian
        low, high = torch.minimum(state[i], state[j]), torch.maximum(state[i], state[j])
        state[i], state[j] = low, high
    found = torch.stack([torch.autograd.grad(v, x, retain_graph=True)[0] for v in values])
    assert torch.allclose(found, jacobian)


@pytest.mark.parametrize("kind", ["cauchy", "reciprocal", "optimal"])
def test_heavy_tails_never_push_a_sorted_value_the_wrong_way(kind: str) -> None:
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def least(kind: str) -> float:
        values = torch.func.vmap(torch.func.jacrev(lambda v: HF.sort(v, method="network", kind=kind).values))
        return float(values(x).min())

    assert least(kind) >= -1e-12 and least("logistic") < -0.1


@pytest.mark.parametrize("kind", SWAP_KINDS)
def test_one_swap_stays_within_its_bound_and_reaches_it(kind: str) -> None:
    distance = torch.logspace(-3, 5, 8001, dtype=torch.float64)
    pairs = torch.stack([torch.zeros_like(distance), distance], -1)
    worst = float(HF.softening_error(pairs, kind=kind, temperature=2.0).max())
    assert 0.99 * HF.swap_error_bound(kind, 2.0) <= worst <= (1 + 1e-9) * HF.swap_error_bound(kind, 2.0)


@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
def test_descending_and_any_dimension(network: str) -> None:
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    level = torch.rand(4, 3, dtype=torch.float64) + 0.1
    down = HF.sort(x, 1, True, method="network", network=network, temperature=level)
    up = HF.sort(-x, 1, method="network", network=network, temperature=level)
    assert torch.allclose(down.values, -up.values)
    one = HF.sort(x[2, :, 1], 0, True, method="network", network=network, temperature=float(level[2, 1]))
    assert torch.allclose(down.values[2, :, 1], one.values) and torch.allclose(
        down.weights[2, 1], one.weights
    )


def test_options_of_another_method_and_wrong_sizes_are_refused() -> None:
    x = torch.randn(5)
    for options in ({"network": "bitonic"}, {"kind": "cauchy"}, {"swap": "soft"}):
        with pytest.raises(ParameterError, match="which does not use it.*method='network'"):
            HF.sort(x, method="softsort", **options)  # type: ignore[arg-type]
    for options in ({"kind": "cauchi"}, {"swap": "exact"}, {"network": "bitonc"}):
        with pytest.raises(ParameterError, match="expected one of"):
            HF.sort(x, method="network", mode="hard", **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="for 5 elements"):
        HF.sort(x, method="network", network=GIVEN)
    with pytest.raises(InputError):
        HF.sort(torch.tensor([1.0, math.inf]), method="network", swap="error_free")
