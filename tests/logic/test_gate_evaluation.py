from __future__ import annotations

import itertools

import pytest
import torch

from hardgrad.logic import gate_evaluation
from hardgrad.logic.gate_evaluation import evaluate_gates, interpolate

FAN_INS = [2, 3, 4, 5, 6]


def _drawn(fan_in, *, samples=70, features=9, gates=11, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(samples, features, generator=generator, dtype=dtype)
    wires = torch.stack([torch.randperm(features, generator=generator)[:fan_in] for _ in range(gates)], 1)
    table = torch.rand(gates, 2**fan_in, generator=generator, dtype=dtype)
    return x.requires_grad_(), wires, table.requires_grad_()


def _by_definition(x, wires, table):
    """The expectation over independent bits, row by row of the table."""
    total = 0.0
    for u, row in enumerate(itertools.product([0, 1], repeat=len(wires))):
        chance = 1.0
        for bit, wire in zip(row, wires, strict=True):
            chance = chance * (x[..., wire] if bit else 1.0 - x[..., wire])
        total = total + table[:, u] * chance
    return total


@pytest.fixture
def compiled(monkeypatch):
    monkeypatch.setattr(gate_evaluation, "COMPILED_SIZE", 1)


@pytest.mark.parametrize("fan_in", FAN_INS)
def test_both_ways_are_the_expectation_over_rows(fan_in, compiled):
    x, wires, table = _drawn(fan_in)
    expected = _by_definition(x, wires, table)
    gradient = torch.rand(expected.shape, dtype=expected.dtype)
    of_expected = torch.autograd.grad(expected, (x, table), gradient)
    for way in (evaluate_gates, interpolate):
        y = way(x, wires, table)
        assert torch.allclose(y, expected, atol=1e-12)
        for found, wanted in zip(torch.autograd.grad(y, (x, table), gradient), of_expected, strict=True):
            assert torch.allclose(found, wanted, atol=1e-11)


@pytest.mark.parametrize("fan_in", FAN_INS)
def test_compiled_loops_give_torchs_own_bits(fan_in, compiled):
    x, wires, table = _drawn(fan_in, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(evaluate_gates(x, wires, table), interpolate(x, wires, table))


@pytest.mark.parametrize("fan_in", [2, 3, 6])
def test_threads_change_no_bit(fan_in, compiled):
    x, wires, table = _drawn(fan_in, samples=300, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = evaluate_gates(x, wires, table)
            results.append([y, *torch.autograd.grad(y.square().sum(), (x, table))])
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], others, strict=True))


@pytest.mark.parametrize("fan_in", FAN_INS)
def test_derivatives_against_finite_differences(fan_in):
    x, wires, table = _drawn(fan_in, samples=3, gates=4)
    assert torch.autograd.gradcheck(lambda x, t: evaluate_gates(x, wires, t), (x, table))
    assert torch.autograd.gradgradcheck(lambda x, t: evaluate_gates(x, wires, t), (x, table))


@pytest.mark.parametrize("trained", [(True, False), (False, True)])
def test_only_what_is_asked_for_has_a_gradient(trained, compiled):
    x, wires, table = _drawn(2)
    x, table = x.detach().requires_grad_(trained[0]), table.detach().requires_grad_(trained[1])
    evaluate_gates(x, wires, table).sum().backward()
    assert [t.grad is not None for t in (x, table)] == list(trained)


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_leading_dimensions_and_their_absence(size, monkeypatch):
    monkeypatch.setattr(gate_evaluation, "COMPILED_SIZE", size)
    x, wires, table = _drawn(3, samples=12)
    flat = evaluate_gates(x, wires, table)
    assert torch.allclose(evaluate_gates(x.reshape(3, 4, -1), wires, table).reshape(flat.shape), flat)
    assert torch.allclose(evaluate_gates(x[0], wires, table), flat[0])
    assert evaluate_gates(x[:0], wires, table).shape == (0, 11)


def test_layers_hand_over_without_a_copy(compiled):
    x, wires, table = _drawn(2, dtype=torch.float32)
    y = evaluate_gates(x, wires, table)
    assert y.t().is_contiguous()


def test_vmap_and_compile_go_through_torchs_operations():
    x, wires, table = _drawn(3)
    expected = evaluate_gates(x, wires, table)
    assert torch.allclose(torch.func.vmap(lambda row: evaluate_gates(row, wires, table))(x), expected)
    jacobian = torch.func.jacrev(lambda t: evaluate_gates(x[0], wires, t))(table.detach())
    assert jacobian.shape == (11, 11, 8)
