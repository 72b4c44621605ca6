from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.core.errors import BudgetError, HardenError, InputError, ParameterError
from hardgrad.logic import CircuitWriter, GroupSum, LogicConv2d, LogicLayer, LogicNetwork, OrPool2d
from hardgrad.logic import network as network_module


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _flat(seed, **options):
    generator = _generator(seed)
    widths = [9, 14, 12]
    return LogicNetwork(
        [LogicLayer(a, b, generator=generator, init="uniform", **options) for a, b in itertools.pairwise(widths)],
        GroupSum(3, tau=2.0),
    )  # fmt: skip


FLAT = {
    "sine": {},
    "sigmoid": {"response": "sigmoid"},
    "softmax": {"parametrization": "softmax"},
    "unique": {"connections": "unique"},
    "learnable": {"connections": "learnable", "n_candidates": 3},
    "three inputs": {"fan_in": 3},
    "six inputs": {"fan_in": 6},
}


@pytest.mark.parametrize("options", FLAT.values(), ids=FLAT)
def test_the_circuit_is_the_network_in_mode_hard(options):
    network = _flat(0, **options)
    bits = torch.randint(2, (200, 9), generator=_generator(1))
    with torch.no_grad():
        hard, straight = network(bits, mode="hard"), network(bits, mode="st")
    circuit = network.harden()
    counts = circuit.evaluate(bits.numpy()).reshape(200, 3, 4).sum(axis=2)
    assert np.array_equal(counts, 2.0 * hard)
    assert torch.equal(hard, straight)
    with hardgrad.mode("hard"), torch.no_grad():
        assert torch.equal(network(bits), hard)


@pytest.mark.parametrize("options", FLAT.values(), ids=FLAT)
def test_the_parts_harden_by_themselves(options):
    network = _flat(0, **options)
    plain = nn.Sequential(*network.layers, network.head)
    bits = torch.randint(2, (50, 9), generator=_generator(1)).bool()
    with torch.no_grad():
        assert torch.equal(hardgrad.harden(plain)(bits), network(bits, mode="hard"))


def _image_network(seed=0, response="sine"):
    generator = _generator(seed)
    return LogicNetwork(
        [
            LogicConv2d(2, 5, 3, padding=1, depth=3, response=response, init="uniform", generator=generator),
            OrPool2d(2),
            LogicConv2d(5, 4, 2, stride=2, depth=2, init="uniform", generator=generator),
            nn.Flatten(),
            LogicLayer(4 * 1 * 2, 12, init="uniform", generator=generator),
        ],
        GroupSum(3),
        input_shape=(2, 5, 8),
    )


def test_a_convolution_is_unrolled_exactly():
    network = _image_network()
    bits = torch.randint(2, (60, 2, 5, 8), generator=_generator(1))
    with torch.no_grad():
        hard = network(bits, mode="hard")
        assert torch.equal(hardgrad.harden(nn.Sequential(*network.layers, network.head))(bits), hard)
    counts = network.harden().evaluate(bits.flatten(1).numpy()).reshape(60, 3, 4).sum(axis=2)
    assert np.array_equal(counts, hard)


def test_a_convolution_is_the_same_gates_at_every_position():
    generator = _generator()
    layer = LogicConv2d(3, 4, 3, depth=2, init="gauss", generator=generator)
    x = torch.rand(2, 3, 6, 7, generator=generator)
    y = layer(x)
    assert y.shape == (2, 4, 4, 5)
    for row, column in ((0, 0), (3, 4), (1, 2)):
        alone = layer(x[:, :, row : row + 3, column : column + 3])
        assert torch.allclose(alone[..., 0, 0], y[..., row, column])


def test_convolutions_train():
    network = _image_network()
    x = torch.rand(7, 2, 5, 8, generator=_generator(1))
    network(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("fan_in", [2, 3, 4, 5, 6])
def test_tables_become_gates_of_two_inputs(fan_in):
    rng = np.random.default_rng(fan_in)
    tables = rng.integers(0, 2, (5, 2**fan_in)).astype(bool)
    words = np.array([sum(int(bit) << row for row, bit in enumerate(table)) for table in tables], np.uint64)
    writer = CircuitWriter(fan_in)
    wires = writer.add_tables(words, np.arange(fan_in, dtype=np.int32)[:, None])
    assert np.array_equal(writer.circuit(wires).truth_table(), tables.T)


def test_tables_of_other_sizes_are_refused():
    with pytest.raises(InputError, match="7 operands"):
        CircuitWriter(7).add_tables(0, np.arange(7, dtype=np.int32))


def test_roundings():
    network = _flat(3, parametrization="softmax")
    with torch.no_grad():  # no gate has a majority, but the tables lean to OR
        network.layers[0].weight.zero_()[:, [1, 6, 7]] = torch.tensor([2.0, 1.9, 1.9])
    bits = torch.randint(2, (100, 9), generator=_generator(1)).numpy()
    by_gate, by_table = network.harden(), network.harden("table")
    assert set(by_gate.gates[:14]) == {1} and set(by_table.gates[:14]) == {7}
    target = by_table.evaluate(bits)

    def score(circuit):
        return float((circuit.evaluate(bits) == target).mean())

    sampled = network.harden("sampled", score=score, n=5, generator=_generator())
    assert score(sampled) >= score(by_gate)
    with pytest.raises(ParameterError, match="score"):
        network.harden("sampled")
    with pytest.raises(ParameterError, match="rounding"):
        network.harden("up")


def test_the_gap_is_measured():
    network = _flat(0)
    bits, y = torch.randint(2, (80, 9), generator=_generator(1)), torch.arange(80) % 3
    report = network.measure_gap(bits, y)
    hard = network(bits, mode="hard").argmax(dim=1)
    assert report.hard == pytest.approx(float((hard == y).double().mean()))
    assert set(report.detail) == {"undecided_0", "undecided_1"}
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.copy_(torch.pi / 2 * layer.weight.sign())
    sure = network.measure_gap(bits, y)
    assert sure.gap == 0 and sure.agreement == 1 and not any(sure.detail.values())


def test_a_cold_network_is_the_hard_one():
    network = _flat(0)
    bits = torch.randint(2, (80, 9), generator=_generator(1))
    hardgrad.set_temperature(network, 1e-4)
    assert float(network.layers[0].temperature) == pytest.approx(1e-4)
    assert torch.allclose(network(bits), network(bits, mode="hard"), atol=1e-3)
    images = _image_network()
    hardgrad.set_temperature(images, 0.5)
    assert {float(m.temperature) for m in images.modules() if isinstance(m, LogicLayer)} == {0.5}


def test_wrong_networks_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="Linear"):
        LogicNetwork([nn.Linear(2, 2)])
    with pytest.raises(ParameterError, match="at least one"):
        LogicNetwork([])
    with pytest.raises(ParameterError, match="input_shape"):
        LogicNetwork([OrPool2d(2)])
    with pytest.raises(HardenError, match="Flatten"):
        LogicNetwork([OrPool2d(2)], input_shape=(1, 4, 4)).harden()
    with pytest.raises(ParameterError, match="depth=4"):
        LogicConv2d(1, 2, 3, depth=4)
    with pytest.raises(InputError, match="height"):
        LogicConv2d(1, 2, 3)(torch.zeros(3, 4, 4))
    with pytest.raises(InputError, match="expected"):
        LogicConv2d(2, 2, 3)(torch.zeros(3, 1, 4, 4))
    monkeypatch.setattr(network_module, "MOST_GATES", 100)
    with pytest.raises(BudgetError, match="gates when written out"):
        _image_network().harden()
