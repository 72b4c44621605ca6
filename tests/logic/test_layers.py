from __future__ import annotations

import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.core.errors import HardgradError, HardgradWarning, InputError, ParameterError
from hardgrad.logic import (
    CodebookHead,
    GroupSum,
    LearnableWiring,
    LogicLayer,
    ThresholdSum,
    WeightedGroupSum,
    hard_table,
    initial_weights,
    input_wise_to_softmax,
    random_wiring,
    soft_table,
    softmax_to_input_wise,
    suggest_tau,
    unique_wiring,
)
from hardgrad.logic.gate_ids import TRUTH_TABLES, Gate
from hardgrad.logic.gates import table_words
from hardgrad.logic.initialisation import INITIALISATIONS


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Parametrisations.
@pytest.mark.parametrize("response", ["sine", "sigmoid"])
def test_a_round_trip_through_softmax_keeps_the_table(response):
    weight = torch.randn(200, 4, generator=_generator(), dtype=torch.float64)
    back = softmax_to_input_wise(input_wise_to_softmax(weight, response), response)
    assert torch.allclose(soft_table(back, response), soft_table(weight, response), atol=1e-5)
    logits = torch.randn(200, 16, generator=_generator(), dtype=torch.float64)
    there = softmax_to_input_wise(logits, response)
    assert torch.allclose(soft_table(there, response), soft_table(logits, "softmax"), atol=1e-5)


@pytest.mark.parametrize("gate", Gate)
def test_a_sure_gate_is_its_own_table_in_every_form(gate):
    table = torch.tensor(TRUTH_TABLES[gate])
    logits = 50.0 * nn.functional.one_hot(torch.tensor(int(gate)), 16).double()
    assert torch.equal(hard_table(logits, "softmax"), table)
    for response in ("sine", "sigmoid"):
        weight = 3.0 * (table - 0.5)
        assert torch.equal(hard_table(weight, response), table)
        assert torch.equal(hard_table(softmax_to_input_wise(logits, response), response), table)
    assert int(table_words(table)) == hardgrad.logic.lut_word(gate)


@pytest.mark.parametrize("response", ["sine", "sigmoid", "softmax"])
def test_temperature_sharpens_and_crosses_no_half(response):
    width = 16 if response == "softmax" else 4
    weight = torch.randn(50, width, generator=_generator(), dtype=torch.float64, requires_grad=True)
    plain, sharp, cold = (soft_table(weight, response, t) for t in (1.0, 0.5, 1e-6))
    assert torch.allclose(plain, soft_table(weight, response, torch.tensor(1.0 + 1e-9)), atol=1e-6)
    assert torch.allclose(cold, hard_table(weight, response), atol=1e-6)
    if response != "softmax":  # the expected table of sharper chances may lean to another gate
        assert ((sharp - 0.5).abs() >= (plain - 0.5).abs()).all()
    (gradient,) = torch.autograd.grad(sharp.sum(), weight)
    assert gradient.isfinite().all()


def test_a_table_entry_of_one_half_is_a_one():
    assert (
        hard_table(torch.zeros(4), "sine").tolist()
        == hard_table(torch.zeros(4), "sigmoid").tolist()
        == [1.0] * 4
    )
    assert hard_table(torch.zeros(16), "softmax").tolist() == [0.0] * 4  # the first of equals


@pytest.mark.parametrize("response", ["sine", "sigmoid", "softmax"])
@pytest.mark.parametrize("init", INITIALISATIONS)
def test_initialisations_start_near_the_gates_they_name(init, response):
    weight = initial_weights(init, response, 400, generator=_generator())
    words = set(table_words(hard_table(weight, response)).tolist())
    expected = {
        "residual": {0b1100},
        "and_or": {0b1000, 0b1110},
        "and_or_residual": {0b1000, 0b1110, 0b1100, 0b1010},
    }
    assert words == expected.get(init, set(range(16)))
    with pytest.raises(ParameterError, match="init"):
        initial_weights("zero", response, 4)


@pytest.mark.parametrize("fan_in", [3, 6])
def test_residual_gates_of_more_inputs_hand_on_the_first(fan_in):
    layer = LogicLayer(20, 30, fan_in=fan_in, generator=_generator())
    bits = torch.randint(2, (40, 20), generator=_generator(1))
    assert torch.equal(layer(bits, mode="hard"), bits[:, layer.wires()[0]].float())


# Wiring.
@pytest.mark.parametrize(
    ("inputs", "gates", "fan_in"), [(2, 5, 2), (5, 40, 2), (3, 7, 3), (7, 30, 6), (9, 40, 4)]
)
def test_random_wiring_is_even_and_reads_no_input_twice(inputs, gates, fan_in):
    for seed in range(10):
        wires = random_wiring(inputs, gates, fan_in, generator=_generator(seed))
        ordered = wires.sort(dim=0).values
        assert (ordered[1:] != ordered[:-1]).all()
        counts = torch.bincount(wires.flatten(), minlength=inputs)
        assert counts.max() - counts.min() <= 1


def test_wiring_of_few_inputs_and_of_few_gates():
    assert random_wiring(1, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.warns(HardgradWarning, match="6 of 10 inputs"):
        assert random_wiring(10, 2).unique().numel() == 4


@pytest.mark.parametrize(("inputs", "gates", "fan_in"), [(6, 15, 2), (9, 20, 2), (6, 20, 3), (40, 25, 4)])
def test_unique_wiring_has_no_set_twice(inputs, gates, fan_in):
    wires = unique_wiring(inputs, gates, fan_in, generator=_generator())
    assert len({frozenset(column) for column in wires.T.tolist()}) == gates
    assert all(len(set(column)) == fan_in for column in wires.T.tolist())


def test_unique_wiring_takes_neighbours_first():
    wires = unique_wiring(8, 7, generator=_generator())
    assert sorted((wires[1] - wires[0]).tolist()) == [1] * 7
    with pytest.raises(ParameterError, match="28 sets of 2"):
        unique_wiring(8, 29)


def test_learned_wiring_finds_what_it_needs():
    generator = _generator(3)
    layer = LogicLayer(24, 4, connections="learnable", n_candidates=8, init="and_or", generator=generator)
    assert isinstance(layer.wiring, LearnableWiring)
    offered = layer.wiring.candidates
    assert all(offered[:, gate].unique().numel() == 16 for gate in range(4))
    x = torch.randint(2, (256, 24), generator=generator).float()
    y = x[:, offered[0, :, 5]] * x[:, offered[1, :, 2]]
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimiser.step()
    assert torch.equal(layer(x, mode="hard"), y)
    assert layer.wires()[0].tolist() == offered[0, :, 5].tolist()
    assert torch.equal(layer.harden()(x), y)
    picked = layer.wiring.harden()(x)
    assert torch.equal(picked, layer.wiring(x, mode="hard"))
    with pytest.raises(ParameterError, match="1 to 3"):
        LearnableWiring(6, 2, n_candidates=4)


# The layer.
def test_a_temperature_is_that_of_learned_wires_too():
    generator = torch.Generator().manual_seed(0)
    layer = LogicLayer(6, 3, connections="learnable", n_candidates=3, temperature=0.5, generator=generator)
    assert float(layer.wiring.temperature) == 0.5
    x = torch.rand(20, 6, generator=generator)
    cold = layer(x, temperature=1e-3)
    layer.set_temperature(1e-3)
    torch.testing.assert_close(layer(x), cold, rtol=0, atol=0)
    fixed = LogicLayer(6, 3, connections=layer.wires(), temperature=1e-3)
    fixed.weight = layer.weight
    torch.testing.assert_close(layer(x), fixed(x))  # at this temperature the choice is made


def test_states_are_loaded_with_their_wires():
    first, second = (LogicLayer(12, 20, generator=_generator(seed)) for seed in (0, 1))
    second.load_state_dict(first.state_dict())
    x = torch.rand(5, 12)
    assert torch.equal(first(x), second(x))


def test_straight_through_is_hard_forward_and_soft_backward():
    layer = LogicLayer(6, 40, init="gauss", generator=_generator())
    bits = torch.randint(2, (30, 6), generator=_generator(1))
    found = []
    for mode in ("soft", "st"):
        layer.zero_grad()
        y = layer(bits, mode=mode)
        y.sum().backward()
        found.append(layer.weight.grad.clone())
    assert torch.equal(y, layer(bits, mode="hard"))
    assert torch.allclose(*found)
    assert not layer(bits, mode="hard").requires_grad


def test_grad_factor_scales_what_is_handed_on():
    x = torch.rand(8, 6, requires_grad=True)
    gradients = []
    for factor in (1.0, 1.5):
        layer = LogicLayer(6, 9, grad_factor=factor, generator=_generator())
        y = layer(x)
        gradients.append(torch.autograd.grad(y.sum(), (x, layer.weight)))
    assert torch.allclose(gradients[1][0], 1.5 * gradients[0][0])
    assert torch.equal(gradients[1][1], gradients[0][1])


def test_the_negation_of_a_gate_does_not_cancel_its_gradient():
    """Near uniform, a choice among sixteen gates hands almost nothing on; input-wise residual gates hand on their first input."""
    ratios = {}
    for name, options in {
        "softmax": {"parametrization": "softmax", "init": "gauss"},
        "input-wise": {},
    }.items():
        generator = _generator()
        layers = nn.Sequential(
            *(LogicLayer(64, 64, generator=generator, **options) for _ in range(6)), GroupSum(4, 2.0)
        )
        loss = nn.functional.cross_entropy(
            layers(torch.rand(50, 64, generator=generator)), torch.arange(50) % 4
        )
        loss.backward()
        first, last = (layers[k].weight.grad.norm() for k in (0, 5))
        ratios[name] = float(first / last)
    assert ratios["input-wise"] > 0.1 and ratios["softmax"] < 0.01


@pytest.mark.parametrize(
    "x", [torch.tensor([[0.5, torch.nan]]), torch.tensor([[0.0, 1.5]]), torch.zeros(3, 3), torch.tensor(1.0)]
)
def test_bad_inputs_are_refused(x):
    with pytest.raises(InputError, match="expected"):
        LogicLayer(2, 2)(x)


@pytest.mark.parametrize("mode", ["st", "hard"])
def test_numbers_that_are_no_bits_are_refused_where_bits_are_meant(mode):
    with pytest.raises(InputError, match="no bits"):
        LogicLayer(2, 2)(torch.tensor([[0.0, 0.5]]), mode=mode)
    with hardgrad.checks(False):
        assert LogicLayer(2, 2)(torch.tensor([[0.0, 0.5]]), mode=mode).shape == (1, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"fan_in": 7}, {"fan_in": 1}, {"fan_in": 3, "parametrization": "softmax"}, {"parametrization": "walsh"}, {"response": "cosine"},
        {"connections": "dense"}, {"grad_factor": 0.0}, {"temperature": 0.0}, {"out_features": 0},
        {"connections": torch.zeros(2, 3, dtype=torch.int64)}, {"connections": torch.full((2, 4), 5)},
        {"connections": torch.zeros(2, 4)},
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(options):
    with pytest.raises(HardgradError, match="got"):
        LogicLayer(**{"in_features": 5, "out_features": 4, **options})


def test_half_precision_outside_leaves_tables_alone():
    layer = LogicLayer(6, 9, generator=_generator())
    x = torch.rand(4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), layer(x.float()))
        assert layer(x).dtype == torch.float32


@pytest.mark.slow
def test_it_compiles():
    layer = LogicLayer(6, 9, generator=_generator())
    x = torch.rand(4, 6)
    compiled = torch.compile(layer, backend="aot_eager")
    y = compiled(x)
    assert torch.allclose(y, layer(x), atol=1e-6)
    y.sum().backward()
    assert layer.weight.grad is not None


# Heads.
def test_group_sums_count():
    x = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]])
    assert GroupSum(3, tau=2.0)(x).tolist() == [[1.0, 0.5, 0.0]]
    with pytest.raises(InputError, match="6 outputs for k=4"):
        GroupSum(4)(x)
    for bad in ({"k": 0}, {"k": 2, "tau": 0.0}):
        with pytest.raises(ParameterError, match="got"):
            GroupSum(**bad)


def test_suggested_tau():
    assert suggest_tau(8000, 10) == pytest.approx(14.1421356)
    assert suggest_tau(12, 4) == 1.0
    with pytest.raises(ParameterError, match="n_outputs=3"):
        suggest_tau(3, 4)


def test_votes_are_learned_and_whole_when_hard():
    head = WeightedGroupSum(4, 2, tau=1.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([0.4, 2.6, -1.0, 9.0]))
    x = torch.ones(1, 4, requires_grad=True)
    assert head(x).tolist() == [[pytest.approx(3.0), 4.0]]
    assert head(x, mode="hard").tolist() == [[3.0, 4.0]] and head.votes().tolist() == [0.0, 3.0, 0.0, 4.0]
    assert head.harden()(x).tolist() == [[3.0, 4.0]]
    fresh = WeightedGroupSum(4, 2)
    fresh(x, mode="st").sum().backward()
    assert (fresh.weight.grad > 0).all()  # votes that are whole can change
    head(x, mode="st").sum().backward()
    assert head.weight.grad.abs().sum() > 0
    with pytest.raises(ParameterError, match="multiple of k"):
        WeightedGroupSum(5, 2)


def test_threshold_sums_say_yes_or_no():
    head = ThresholdSum(8, 2, tau=0.5)
    with torch.no_grad():
        head.threshold.copy_(torch.tensor([1.5, 3.0]))
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    expected = [[1.0, 0.0], [0.0, 1.0]]
    assert head(x, mode="hard").tolist() == expected
    assert head.harden()(x).tolist() == expected
    assert torch.allclose(
        head(x), torch.sigmoid((torch.tensor([[2.0, 3.0], [1.0, 4.0]]) - head.threshold) / 0.5)
    )
    with pytest.raises(ParameterError, match="multiple of k"):
        ThresholdSum(5, 2)


def test_code_words():
    codes = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
    head = CodebookHead(codes, tau=2.0)
    bits = torch.tensor([[1.0, 1, 1, 1, 0, 1, 0, 0]])  # two outputs a bit of the code: means 1, 1, 1/2, 0
    assert head(bits).tolist() == [[-0.5, 1.5, -1.5]]
    exact = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    distance = (exact.long()[:, None] != codes).sum(-1)
    assert torch.equal(head(exact), (4 - 2.0 * distance) / 2.0)
    assert torch.equal(CodebookHead(2 * codes - 1)(exact), CodebookHead(codes)(exact))
    for bad in ([[0, 1], [0, 1]], [[0, 2], [1, 0]], [0, 1]):
        with pytest.raises(ParameterError, match="codes"):
            CodebookHead(bad)
