"""Cross-predictability against all permutations, the report against the measures, and the gap of influences."""

from itertools import permutations
from math import comb

import numpy as np
import pytest
import torch
from torch import nn

from hardgrad.core.errors import ParameterError
from hardgrad.logic import (
    DifficultyReport,
    Majority,
    Parity,
    PointerValueRetrieval,
    cross_predictability,
    cube,
    degree_profile,
    influence_gap,
    influences,
    noise_stability,
)


def over_all_permutations(table, n):
    squares = []
    for order in permutations(range(n)):
        permuted = [table[sum(1 << (n - 1 - i) for i in range(n) if x[order[i]] < 0)] for x in cube(n)]
        squares.append(np.mean(table * np.array(permuted)) ** 2)
    return np.mean(squares)


@pytest.mark.parametrize("seed", range(4))
def test_all_images_are_all_permutations(seed):
    rng = np.random.default_rng(seed)
    table = rng.choice([-1.0, 1.0], 16)
    if seed % 2:  # two inputs that can be exchanged
        axes = table.reshape(2, 2, 2, 2)
        table = (axes + axes.transpose(2, 1, 0, 3)).ravel() / 2
    found = cross_predictability(table)
    assert found.value == pytest.approx(over_all_permutations(table, 4))
    assert found.standard_error == 0.0


def test_closed_forms():
    assert cross_predictability(Parity(9)).value == 1.0
    assert cross_predictability(Majority(9)).value == 1.0
    assert cross_predictability([2.0]).value == 16.0
    for k in (1, 2, 4):
        assert cross_predictability(Parity(9, tuple(range(k)))).value == pytest.approx(1 / comb(9, k))


def test_beyond_twenty_thousand_images_it_is_sampled():
    table = np.random.default_rng(0).choice([-1.0, 1.0], 256)  # no two inputs are alike: 40,320 images
    found = cross_predictability(table, 400, random_state=1)
    other = cross_predictability(table, 2000, random_state=2)
    assert found.standard_error > other.standard_error > 0
    assert abs(found.value - other.value) < 5 * found.standard_error
    assert found == cross_predictability(table, 400, random_state=1)
    with pytest.raises(ParameterError, match="n_permutations got 1"):
        cross_predictability(table, 1)


def test_the_report_holds_the_measures():
    task = PointerValueRetrieval(2, 3)
    report = DifficultyReport.measure(task, n_permutations=50)
    assert report.verdict == "stable under noise"
    assert report.stability == tuple(noise_stability(task, delta) for delta in (0.05, 0.1, 0.25))
    assert report.influences == tuple(influences(task))
    assert report.profile == tuple(degree_profile(task)) and report.degree == 5
    assert report.to_dict()["total_influence"] == pytest.approx(2.125)
    assert DifficultyReport.measure(Parity(8)).verdict == "sensitive to noise"
    assert DifficultyReport.measure([3.0, 3.0]).degree == 0


def test_the_report_draws_its_degrees():
    pytest.importorskip("matplotlib").use("agg")
    axis = DifficultyReport.measure(Parity(3)).plot()
    assert [bar.get_height() for bar in axis.patches] == [0, 0, 0, 1]


def test_a_gap_of_influences_is_none_between_equals_and_that_of_scale_otherwise():
    task = Majority(3)
    equal = influence_gap(task, task)
    assert equal.gap == 0 and set(equal.detail.values()) == {0.0} and equal.agreement == 1
    halved = influence_gap(lambda X: 0.5 * task(X), task)
    assert halved.soft == pytest.approx(halved.hard / 4)
    assert halved.detail["x1"] == pytest.approx(0.5 * 3 / 4)
    assert halved.worst_disagreement == 0.5 and halved.rows == 8


def test_a_soft_network_is_held_against_its_signs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 1), nn.Tanh())
    weight, bias = network[0].weight.detach().double().numpy()[0], network[0].bias.item()
    table = np.tanh(cube(4) @ weight + bias)
    report = influence_gap(network, np.where(table >= 0, 1, -1))
    assert report.agreement == 1 and report.soft == pytest.approx(influences(table).sum(), rel=1e-5)
    with pytest.raises(ParameterError, match="n_inputs=3"):
        influence_gap(table, Majority(3))
