"""How Boolean functions are read, the order of rows, and polynomials over subsets."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from hardgrad.core.errors import DataError, InputError, ParameterError
from hardgrad.logic import (
    Circuit,
    PointerValueRetrieval,
    cube,
    evaluate_terms,
    hamming_weight,
    influence,
    influences,
    inverse_walsh_hadamard,
    min_degree_interpolator,
    random_points,
    spectrum_terms,
    truth_table,
)
from hardgrad.logic.boolean_functions import evaluate, points_and_values, row_index


class Bare:
    """What is asked of a circuit, and no more."""

    def __init__(self, n_inputs, *functions):
        self.n_inputs, self.functions = n_inputs, functions

    def truth_table(self):
        rows = list(product([False, True], repeat=self.n_inputs))
        return np.array([[f(*row) for f in self.functions] for row in rows], dtype=bool)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_rows_are_in_the_order_of_itertools(n):
    bits = np.array(list(product([0, 1], repeat=n))).reshape(2**n, n)
    np.testing.assert_array_equal(cube(n), 1.0 - 2.0 * bits)
    np.testing.assert_array_equal(row_index(cube(n)), np.arange(2**n))
    np.testing.assert_array_equal(hamming_weight(cube(n)), bits.sum(axis=1))


def test_a_circuit_is_its_bits_with_minus_one_for_true():
    circuit = Bare(3, lambda a, b, c: a and (b or c), lambda a, b, c: a)
    expected = [-1 if a and (b or c) else 1 for a, b, c in product([0, 1], repeat=3)]
    assert truth_table(circuit, output=0).tolist() == expected
    assert truth_table(circuit, output=1).tolist() == cube(3)[:, 0].tolist()
    assert truth_table(Bare(1, lambda a: not a)).tolist() == [-1, 1]
    with pytest.raises(ParameterError, match="output=None"):
        truth_table(circuit)
    with pytest.raises(ParameterError, match="output=2"):
        truth_table(circuit, output=2)


def test_circuits_and_tasks_are_one_thing():
    task = PointerValueRetrieval(2, 3)
    circuit = Circuit.from_truth_table(task.truth_table())
    np.testing.assert_array_equal(truth_table(circuit), truth_table(task))
    np.testing.assert_array_equal(influences(circuit), influences(task))
    assert influence(Circuit.from_expression("y = a & b & c"), 0) == 0.25


def test_the_least_degree_becomes_a_circuit_by_its_signs():
    X = cube(3)
    seen = (X[:, 0] == 1) | (X[:, 1] == 1)
    terms = min_degree_interpolator(X[seen], X[seen, 0] * X[seen, 1] * X[seen, 2])
    circuit = Circuit.from_truth_table(evaluate_terms(terms, X) < 0)
    assert (truth_table(circuit)[seen] == X[seen].prod(axis=1)).all()
    assert (truth_table(circuit)[~seen] == -X[~seen].prod(axis=1)).all()


def test_a_table_of_booleans_is_bits_and_a_table_of_numbers_is_values():
    assert truth_table([False, True]).tolist() == [1, -1]
    assert truth_table([0, 1]).tolist() == [0, 1]
    assert truth_table(torch.tensor([1.0, -1.0])).tolist() == [1, -1]
    given = np.array([1.0, -1.0])
    truth_table(given)[0] = 5
    assert given[0] == 1


def test_a_callable_is_asked_everywhere_in_blocks():
    asked = []

    def first(X):
        asked.append(len(X))
        return X[:, 0]

    table = truth_table(first, 17)
    assert asked == [1 << 16, 1 << 16]
    assert table[0] == 1 and table[-1] == -1 and table.sum() == 0


def test_a_module_is_asked_in_evaluation_mode_and_left_as_it_was():
    module = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.9)).double()
    table = truth_table(module, 3)
    assert module.training and module[1].training
    weights, bias = module[0].weight.detach().numpy()[0], module[0].bias.item()
    np.testing.assert_allclose(table, cube(3) @ weights + bias)
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize(
    ("f", "n", "error", "message"),
    [
        ([], None, InputError, r"got \(0,\)"),
        ([1, 1, 1], None, InputError, r"shape \[2\^n\], got \(3,\)"),
        ([[1, 1], [1, 1]], None, InputError, "got"),
        ([1, np.nan], None, InputError, "NaN"),
        ([1, -1], 2, ParameterError, "2 rows, which is 1 inputs; got n_inputs=2"),
        (lambda X: X[:, 0], None, ParameterError, "pass n_inputs"),
        (lambda X: X[:, 0], 25, ParameterError, "pass samples="),
        (lambda X: X, 2, InputError, r"shape \(4, 2\)"),
        (lambda X: X[:, 0] * np.inf, 2, InputError, "infinite"),
        (Bare(30, lambda *x: True), None, ParameterError, "got 30"),
    ],
)
def test_what_is_no_function_is_refused(f, n, error, message):
    with pytest.raises(error, match=message):
        truth_table(f, n)


def test_output_is_for_circuits_alone():
    with pytest.raises(ParameterError, match="for circuits"):
        truth_table([1, -1], output=0)


def test_random_points_are_signs_from_the_seed():
    X = random_points(20, 500, 7)
    assert set(np.unique(X)) == {-1.0, 1.0} and X.shape == (500, 20)
    np.testing.assert_array_equal(X, random_points(20, 500, 7))
    assert abs(X.mean()) < 0.05
    with pytest.raises(ParameterError, match="count=-1"):
        random_points(2, -1)


def test_an_answer_of_one_column_counts_as_values():
    assert evaluate(lambda X: X[:, :1], cube(1)).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[1, -1]], [1, 1], "shapes"),
        (np.zeros((0, 2)), [], "s >= 1"),
        ([1, -1], [1, 1], "shapes"),
        ([[1, 0]], [1], "-1 and \\+1"),
        ([[1, -1]], [np.nan], "finite"),
    ],
)
def test_training_points_are_looked_at(X, y, message):
    with pytest.raises(DataError, match=message):
        points_and_values(X, y)


def test_terms_and_spectrum_are_one_polynomial():
    rng = np.random.default_rng(3)
    spectrum = np.where(rng.random(32) < 0.4, rng.normal(size=32), 0.0)
    terms = spectrum_terms(spectrum)
    assert len(terms) == np.count_nonzero(spectrum)
    assert [len(s) for s in terms] == sorted(len(s) for s in terms)
    np.testing.assert_allclose(evaluate_terms(terms, cube(5)), inverse_walsh_hadamard(spectrum))


def test_between_the_points_terms_are_the_mean_over_rounded_points():
    """The multilinear extension at x is the mean of f over independent signs with means x."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=8)
    x = np.array([0.3, -0.5, 0.9])
    chance = ((1 + cube(3) * x) / 2).prod(axis=1)
    terms = spectrum_terms(inverse_walsh_hadamard(table) / 8)
    assert evaluate_terms(terms, x[None])[0] == pytest.approx(chance @ table)


def test_a_term_with_an_unknown_variable_is_refused():
    with pytest.raises(InputError, match=r"\(0, 3\)"):
        evaluate_terms({(0, 3): 1.0}, cube(3))
    with pytest.raises(InputError, match=r"\[B, n\]"):
        evaluate_terms({(): 1.0}, np.ones(3))
