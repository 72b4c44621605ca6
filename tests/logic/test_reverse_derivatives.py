"""Reverse derivatives against their definition, polynomials and influences; the ascent against its own definition, and bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from random_circuits import plain_evaluation, random_circuit, random_rows

from hardgrad.core.errors import DataError, ParameterError, UnsupportedError
from hardgrad.logic import (
    Circuit,
    Gate,
    LookupTableModel,
    Majority,
    MaskedThresholdModel,
    ParametricCircuit,
    PointerValueRetrieval,
    ReverseDerivativeAscent,
    influences,
    reverse_derivative,
)
from hardgrad.logic import reverse_derivatives as module
from hardgrad.train.progress import listen


def by_definition(circuit: Circuit, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Row by row and bit by bit: parity((f(x) ^ f(x ^ e_i)) & dy)."""
    out = np.zeros_like(x)
    for b, i in itertools.product(range(len(x)), range(x.shape[1])):
        near = x[b].copy()
        near[i] = not near[i]
        before, after = plain_evaluation(circuit, [x[b], near])
        out[b, i] = ((before ^ after) & dy[b]).sum() % 2
    return out


def by_polynomials(circuit: Circuit, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Expand the outputs over the integers, where a * a is not a; differentiate, evaluate, take it all modulo 2."""
    out = np.zeros_like(x)
    n = circuit.n_inputs
    wires = [{tuple(int(i == k) for k in range(n)): 1} for i in range(n)]
    for gate, a, b in zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True):
        rows = [gate >> (3 - row) & 1 for row in range(4)]
        c0, c1, c2, c3 = rows[0], rows[0] ^ rows[2], rows[0] ^ rows[1], sum(rows) % 2
        total = {(0,) * n: c0}
        if 0 < gate < 15:
            product = {}
            for (p, u), (q, v) in itertools.product(wires[a].items(), wires[b].items()):
                key = tuple(np.add(p, q).tolist())
                product[key] = product.get(key, 0) + u * v
            for factor, terms in ((c1, wires[a]), (c2, wires[b]), (c3, product)):
                for key, value in terms.items():
                    total[key] = total.get(key, 0) + factor * value
        wires.append({key: value % 2 for key, value in total.items() if value % 2})
    for b, i, o in itertools.product(range(len(x)), range(n), range(circuit.n_outputs)):
        slope = 0
        for key, value in wires[circuit.outputs[o]].items():
            left = [power - (k == i) for k, power in enumerate(key)]
            if key[i]:
                slope += value * key[i] * all(x[b, k] or not power for k, power in enumerate(left))
        out[b, i] ^= bool(slope % 2 and dy[b, o])
    return out


def read_once(seed: int) -> Circuit:
    """A random tree of gates in which every wire is read once."""
    rng = np.random.default_rng(seed)
    ready, gates, left, right = list(range(7)), [], [], []
    while len(ready) > 1:
        a, b = (ready.pop(int(rng.integers(len(ready)))) for _ in range(2))
        ready.append(7 + len(gates))
        gates.append(int(rng.integers(1, 15)))
        left.append(a)
        right.append(b)
    return Circuit(
        np.array(gates, np.uint8),
        np.array(left, np.int32),
        np.array(right, np.int32),
        np.array(ready, np.int32),
        7,
    )


# --- the derivative ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(25))
def test_differences_are_the_definition(seed):
    circuit = random_circuit(seed)
    x, dy = random_rows(seed, 9, circuit.n_inputs), random_rows(seed + 1, 9, circuit.n_outputs)
    expected = by_definition(circuit, x, dy)
    assert (reverse_derivative(circuit, x, dy) == expected).all()
    assert (reverse_derivative(circuit.evaluate, x.astype(int), dy.astype(float)) == expected).all()


@pytest.mark.parametrize("seed", range(25))
def test_the_formal_rule_is_the_derivative_of_the_polynomial(seed):
    circuit = random_circuit(seed, inputs=1 + seed % 4, gates=8, outputs=3)
    x, dy = random_rows(seed, 9, circuit.n_inputs), random_rows(seed + 1, 9, 3)
    assert (reverse_derivative(circuit, x, dy, rule="formal") == by_polynomials(circuit, x, dy)).all()


@pytest.mark.parametrize("seed", range(10))
def test_the_rules_agree_where_every_wire_is_read_once(seed):
    circuit = read_once(seed)
    x = random_rows(seed, 100, 7)
    dy = np.ones((100, 1), bool)
    formal = reverse_derivative(circuit, x, dy, rule="formal")
    assert (formal == reverse_derivative(circuit, x, dy)).all()
    assert formal.any()


def test_the_rules_agree_on_sums_of_distinct_monomials_and_differ_on_a_square():
    sums = Circuit.from_expression("y = a & b ^ b & c ^ a & c & d ^ 1; z = a ^ d")
    x = np.array(list(itertools.product((0, 1), repeat=4)))
    for wanted in ((0, 1), (1, 0), (1, 1)):
        dy = np.tile(wanted, (16, 1))
        assert (reverse_derivative(sums, x, dy, rule="formal") == reverse_derivative(sums, x, dy)).all()
    ints = np.zeros(1, np.int32)
    square = Circuit(np.array([Gate.AND], np.uint8), ints, ints, ints + 1, 1)
    assert reverse_derivative(square, [[0], [1]], [[1], [1]]).all()
    assert not reverse_derivative(square, [[0], [1]], [[1], [1]], rule="formal").any()


@pytest.mark.parametrize("task", [Majority(5), PointerValueRetrieval(2, 3)])
def test_the_mean_of_the_difference_is_the_influence(task):
    circuit = Circuit.from_truth_table(task.truth_table())
    x = np.array(list(itertools.product((0, 1), repeat=task.n_inputs)))
    assert np.array_equal(reverse_derivative(circuit, x, np.ones((len(x), 1))).mean(axis=0), influences(task))


def test_many_rows_are_taken_in_parts(monkeypatch):
    circuit = random_circuit(5, inputs=9, gates=50, outputs=4)
    x, dy = random_rows(0, 300, 9), random_rows(1, 300, 4)
    whole = [reverse_derivative(circuit, x, dy, rule=rule) for rule in module.RULES]
    monkeypatch.setattr(module, "MOST_BITS", 1000)
    monkeypatch.setattr(module, "STATE_WORDS", 128)
    for before, rule in zip(whole, module.RULES, strict=True):
        assert (reverse_derivative(circuit, x, dy, rule=rule) == before).all()


@pytest.mark.parametrize("rule", ["difference", "formal"])
def test_no_rows_no_inputs_no_outputs(rule):
    circuit = random_circuit(5, inputs=3, gates=9, outputs=2)
    assert reverse_derivative(circuit, np.zeros((0, 3)), np.zeros((0, 2)), rule=rule).shape == (0, 3)
    constants = Circuit.from_expression("p = 0; q = 1")
    assert reverse_derivative(constants, np.zeros((4, 0)), np.ones((4, 2)), rule=rule).shape == (4, 0)
    silent = random_circuit(5, inputs=3, gates=9, outputs=0)
    assert not reverse_derivative(silent, np.ones((4, 3)), np.ones((4, 0)), rule=rule).any()


def test_bad_derivatives_are_refused():
    circuit = Circuit.from_expression("y = a & b")
    one = [[1]]
    with pytest.raises(ParameterError, match="difference, formal. Did you mean 'formal'"):
        reverse_derivative(circuit, [[0, 1]], one, rule="fromal")
    with pytest.raises(UnsupportedError, match="pass a Circuit"):
        reverse_derivative(circuit.evaluate, [[0, 1]], one, rule="formal")
    for x, dy, said in (
        ([0, 1], one, "shape"),
        ([[0, 1, 1]], one, "shape"),
        ([[0, 2]], one, "got 2 in row 0, column 1"),
        ([[0, np.nan]], one, "nan"),
        ([["0", "1"]], one, "expected Booleans"),
        ([[0, 1]], [1], "shape"),
        ([[0, 1]], [[1, 1]], "shape"),
        ([[0, 1]], [[1], [1]], "1 rows of x and 2 of dy"),
    ):
        with pytest.raises(DataError, match=said):
            reverse_derivative(circuit, x, dy)
    with pytest.raises(DataError, match="two dimensions"):
        reverse_derivative(circuit.evaluate, [0, 1], one)
    with pytest.raises(DataError, match="what the function returned.*got -1"):
        reverse_derivative(lambda rows: rows[:, :1] - 2, [[1, 1]], one)
    with pytest.raises(DataError, match="returned 1 rows for 2"):
        reverse_derivative(lambda rows: rows[:1, :1], [[0, 1], [1, 1]], [[1], [1]])


# --- the ascent ----------------------------------------------------------------------------------------------------------------
def test_a_table_remembers_the_last_label_of_every_input():
    rng = np.random.default_rng(3)
    X, y = rng.random((200, 4)) < 0.5, rng.random((200, 3)) < 0.5
    ascent = ReverseDerivativeAscent(LookupTableModel(4, 3)).fit(X, y)
    last = {tuple(x): label for x, label in zip(X.tolist(), y.tolist(), strict=True)}
    assert ascent.predict(list(last)).tolist() == list(last.values())


def test_a_pass_is_the_published_update():
    rng = np.random.default_rng(4)
    X, y = rng.random((60, 6)) < 0.5, rng.random(60) < 0.5
    ascent = ReverseDerivativeAscent(MaskedThresholdModel(6, 1.5)).fit(X, y)

    def answers(bits):
        p, x = bits[:, :6], bits[:, 6:]
        return ((p & x).sum(axis=1) <= np.floor(p.sum(axis=1) / 1.5))[:, None]

    params = np.zeros(6, bool)
    for x, label in zip(X, y, strict=True):
        both = np.concatenate([params, x])[None]
        params = params ^ reverse_derivative(answers, both, answers(both) ^ label)[0, :6]
    assert params.any()
    assert (ascent.params == params).all()


def test_steps_are_the_fit_and_say_whether_anything_changed():
    X, y = [[0, 1], [1, 1], [0, 1]], [1, 0, 1]
    ascent = ReverseDerivativeAscent(LookupTableModel(2, 1))
    assert [ascent.step(x, label) for x, label in zip(X, y, strict=True)] == [True, False, False]
    fitted = ReverseDerivativeAscent(LookupTableModel(2, 1)).fit(X, y)
    assert (ascent.params == fitted.params).all()
    wide = ReverseDerivativeAscent(LookupTableModel(2, 2))
    assert wide.step([1, 0], [1, 1]) and wide.predict([[1, 0]]).all()


def test_several_examples_vote():
    ascent = ReverseDerivativeAscent(LookupTableModel(1, 1))
    assert not ascent.step([[1], [1]], [1, 0])  # one of two is not a majority
    assert ascent.step([[1], [1], [0]], [1, 1, 1])
    assert ascent.params.tolist() == [False, True]
    # the last group of a fit is what is left: here one example
    assert ReverseDerivativeAscent(LookupTableModel(1, 1)).fit(
        [[1], [1], [0]], [1, 0, 1], accumulate=2
    ).params.tolist() == [True, False]


def test_the_best_on_validation_is_kept_and_the_earliest_of_equals():
    table = LookupTableModel(1, 1)
    good, bad = ([[0], [1]], [1, 0]), ([[0], [1], [0], [1]], [1, 1, 0, 0])
    ascent = ReverseDerivativeAscent(table).fit(*bad, validation=good)
    assert ascent.params.tolist() == [True, False] and ascent.score(*good) == 1.0
    again = ascent.fit([[0]], [0], validation=good)  # never worse than at the beginning
    assert again.params.tolist() == [True, False]
    assert ascent.fit([[0]], [0]).params.tolist() == [False, False]


def test_an_interrupted_fit_keeps_the_best():
    def stop(event):
        if event.fraction >= 0.5:
            raise KeyboardInterrupt

    ascent = ReverseDerivativeAscent(LookupTableModel(1, 1))
    with pytest.raises(KeyboardInterrupt), listen(stop):
        ascent.fit([[0], [0], [1], [1]], [1, 0, 1, 1], validation=([[0]], [1]))
    assert ascent.params.tolist() == [True, False]


def test_progress_is_told():
    seen = []
    with listen(seen.append):
        ReverseDerivativeAscent(LookupTableModel(1, 1)).fit([[0], [1]], [1, 1], epochs=2)
    assert [event.fraction for event in seen] == [0.25, 0.5, 0.75, 1.0]


def test_order_matters_and_is_changed_only_when_asked():
    X, y = np.zeros((40, 1)), np.arange(40) % 2
    last = [
        ReverseDerivativeAscent(LookupTableModel(1, 1)).fit(X, y, shuffle=True, random_state=seed).params[0]
        for seed in range(10)
    ]
    assert len(set(last)) == 2
    again = ReverseDerivativeAscent(LookupTableModel(1, 1)).fit(X, y, shuffle=True, random_state=0)
    assert again.params[0] == last[0]
    assert ReverseDerivativeAscent(LookupTableModel(1, 1)).fit(X, y, random_state=0).params[0]


def test_a_score_wants_every_bit():
    ascent = ReverseDerivativeAscent(LookupTableModel(1, 2), params0=[1, 0, 1, 1])
    assert ascent.score([[0], [0], [1], [1]], [[1, 0], [1, 1], [0, 1], [1, 1]]) == 0.5


@pytest.mark.parametrize("rule", ["difference", "formal"])
def test_a_circuit_learns_its_parameters(rule):
    choice = Circuit.from_expression("y = (p & a) ^ (q & b) ^ r", inputs=["p", "q", "r", "a", "b"])
    model = ParametricCircuit(choice, 3, rule=rule)
    X = np.array(list(itertools.product((0, 1), repeat=2)))
    ascent = ReverseDerivativeAscent(model).fit(
        X, 1 ^ X[:, 1], epochs=20, validation=(X, 1 ^ X[:, 1]), shuffle=True
    )
    assert ascent.score(X, 1 ^ X[:, 1]) == 1.0
    assert ascent.harden().gate_counts() == {"NOT_A": 1}


def test_bad_ascents_are_refused():
    table = LookupTableModel(2, 1)
    for params0 in (2, [0, 1], np.nan, [[0, 0, 0, 0]], "0000"):
        with pytest.raises(ParameterError, match="4 bits, one a parameter"):
            ReverseDerivativeAscent(table, params0)
    ascent = ReverseDerivativeAscent(table, 1)
    assert ascent.params.all()
    for arguments in ({"epochs": 0}, {"accumulate": 0}):
        with pytest.raises(ParameterError, match="1 or more"):
            ascent.fit([[0, 0]], [0], **arguments)
    for X, y, said in (
        ([[0, 0], [0, 1], [1, 1]], [0, 1, 2], "got 2 in row 2, column 0; expected bits, 0 or 1. The model has 1 output bits: code"),
        ([[0, 0]], ["setosa"], "expected Booleans"),
        ([[0, 0]], [[0, 1]], "shape"),
        ([[0, 0]], [0, 1], "1 rows of X and 2 of y"),
        (np.zeros((0, 2)), [], "at least 1"),
        ([[0.3, 0]], [0], "Compare features with thresholds"),
        ([[0]], [0], "shape"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            ascent.fit(X, y)
        with pytest.raises(DataError, match=said):
            ascent.fit([[0, 0]], [0], validation=(X, y))
        with pytest.raises(DataError, match=said):
            ascent.score(X, y)
    with pytest.raises(DataError, match="shape"):
        ReverseDerivativeAscent(LookupTableModel(2, 2)).fit([[0, 0]], [0])
    with pytest.raises(DataError, match="got 3"):
        ascent.step([0, 1], 3)
    with pytest.raises(DataError, match="shape"):
        ascent.predict([0, 1])
