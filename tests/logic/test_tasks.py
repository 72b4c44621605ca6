"""Tasks against their definitions, bit by bit."""

from collections import Counter
from itertools import product
from math import comb

import numpy as np
import pytest

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.logic import (
    LengthGeneralizationTask,
    Majority,
    Parity,
    PointerValueRetrieval,
    cube,
    hamming_weight,
    truth_table,
)

AGGREGATES = {
    "parity": lambda w: -1 if sum(v < 0 for v in w) % 2 else 1,
    "majority": lambda w: -1 if sum(v < 0 for v in w) * 2 > len(w) else 1,
    "min": min,
    "first": lambda w: w[0],
}


def by_hand(x, p, w, aggregate, wrap):
    pointer = int("".join("1" if v < 0 else "0" for v in x[:p]), 2)
    data = x[p:]
    return aggregate([data[(pointer + k) % len(data)] if wrap else data[pointer + k] for k in range(w)])


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize(("p", "w"), [(1, 1), (2, 3), (3, 1), (2, 1)])
def test_pointer_value_retrieval_is_its_definition(p, w, name, wrap):
    task = PointerValueRetrieval(p, w, name, wrap)
    assert task.n_inputs == p + 2**p + (0 if wrap else w - 1)
    expected = [by_hand(x, p, w, AGGREGATES[name], wrap) for x in product([1, -1], repeat=task.n_inputs)]
    assert truth_table(task).tolist() == expected


def test_an_aggregator_may_be_a_function():
    task = PointerValueRetrieval(2, 2, lambda window: -window[:, 1])
    expected = [by_hand(x, 2, 2, lambda w: -w[1], False) for x in product([1, -1], repeat=task.n_inputs)]
    assert truth_table(task).tolist() == expected


def test_parity_and_majority_are_their_definitions():
    for x in product([1, -1], repeat=5):
        assert Parity(5)([x])[0] == np.prod(x)
        assert Parity(5, (1, 4))([x])[0] == x[1] * x[4]
        assert Parity(5, ())([x])[0] == 1
        assert Majority(5)([x])[0] == np.sign(sum(x))


def test_a_task_has_the_truth_table_of_a_circuit():
    table = Majority(3).truth_table()
    assert table.dtype == bool and table.shape == (8, 1)
    assert table[:, 0].tolist() == [sum(bits) >= 2 for bits in product([0, 1], repeat=3)]


def test_samples_follow_from_the_seed_and_bear_their_labels():
    task = PointerValueRetrieval(3, 3)
    X, y = task.sample(50, 4)
    np.testing.assert_array_equal(y, task(X))
    np.testing.assert_array_equal(X, task.sample(50, 4)[0])
    assert not np.array_equal(X, task.sample(50, 5)[0])


def test_short_strings_are_drawn_uniformly_and_long_ones_apart():
    task = LengthGeneralizationTask(Parity(4), 2)
    assert task.n_inputs == 4 and truth_table(task).tolist() == truth_table(Parity(4)).tolist()
    assert task.seen(cube(4)).sum() == 1 + 4 + 6
    X, y = task.sample(11_000, 0)
    np.testing.assert_array_equal(y, X.prod(axis=1))
    counts = Counter(map(tuple, X))
    assert len(counts) == 11 and all(abs(count - 1000) < 5 * 1000**0.5 for count in counts.values())
    Z, _ = task.sample_unseen(5_000, 0)
    lengths = np.bincount(hamming_weight(Z), minlength=5)
    assert lengths[:3].sum() == 0
    assert lengths[3] == pytest.approx(5000 * comb(4, 3) / 5, abs=5 * 5000**0.5 / 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PointerValueRetrieval(0), "pointer_bits=0"),
        (lambda: PointerValueRetrieval(2, 0), "window=0"),
        (lambda: PointerValueRetrieval(2, 2), "odd"),
        (lambda: PointerValueRetrieval(1, 3, wrap=True), "wraps onto itself"),
        (lambda: PointerValueRetrieval(1, 1, "party"), "Did you mean 'parity'"),
        (lambda: Majority(4), "odd"),
        (lambda: Majority(-1), "odd"),
        (lambda: Parity(3, (3,)), "subset"),
        (lambda: Parity(3, (1, 1)), "subset"),
        (lambda: Parity(-1), "n=-1"),
        (lambda: LengthGeneralizationTask(Parity(3), 4), "max_length got 4"),
        (lambda: LengthGeneralizationTask(Parity(3), 3).sample_unseen(1), "no point unseen"),
        (lambda: Parity(30).truth_table(), "0 to 24"),
    ],
)
def test_sizes_out_of_range_are_refused(build, message):
    with pytest.raises(ParameterError, match=message):
        build()


def test_points_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"\[B, 3\]; got shape \(1, 2\)"):
        Parity(3)([[1, -1]])
    with pytest.raises(InputError, match="another number"):
        Majority(3)([[1, -1, 0]])
