"""Reports on points not seen: each verdict from a model made to deserve it, errors by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor
from torch import nn

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import (
    LengthGeneralizationTask,
    Parity,
    PointerValueRetrieval,
    cube,
    evaluate_terms,
    holdout_generalization,
    influence,
    min_degree_interpolator,
    truth_table,
    unseen_report,
    walsh_hadamard,
)

X = cube(4)
TASK = PointerValueRetrieval(1, 2, "parity", wrap=False)
SEEN = ~((X[:, 0] == -1) & (X[:, 1] == -1))


def least(points):
    return evaluate_terms(min_degree_interpolator(X[SEEN], TASK(X)[SEEN]), points)


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (least, "the minimum-degree interpolator"),
        (TASK, "the function itself"),
        (lambda Z: 0.8 * least(Z) + 0.2 * TASK(Z), "between or beyond: it leaks into other degrees"),
        (lambda Z: 0.5 * TASK(Z), "does not fit the points seen"),
    ],
)
def test_a_verdict_is_what_the_model_deserves(model, verdict):
    report = unseen_report(model, TASK, SEEN)
    assert report.verdict == verdict
    np.testing.assert_allclose(report.leak, np.mean((model(X) - least(X)) ** 2), atol=1e-12)
    np.testing.assert_allclose(report.unseen_error, np.mean((model(X) - TASK(X))[~SEEN] ** 2), atol=1e-12)
    np.testing.assert_allclose(report.gap.hard, np.mean((least(X) - TASK(X))[~SEEN] ** 2))
    assert sum(report.profile) == pytest.approx(np.mean(model(X) ** 2))
    assert report.gap.rows == 4 and f"{report.leak:.4f}" in str(report)


def test_short_strings_of_a_parity_say_nothing_of_long_ones():
    task = LengthGeneralizationTask(Parity(5), 2)
    report = unseen_report(task, task, task.seen(cube(5)))
    assert report.verdict == "the function itself" and report.gap.hard > 1
    assert max(d for d, weight in enumerate(report.interpolator_profile) if weight > 1e-9) == 2


def test_the_report_is_json_and_a_picture():
    report = unseen_report(least, TASK, SEEN)
    assert report.to_dict()["gap"]["soft"] == pytest.approx(report.unseen_error)
    assert '"(2,)"' in report.to_json()
    pytest.importorskip("matplotlib").use("agg")
    assert len(report.plot().patches) == 10


@pytest.mark.parametrize("mask", [np.ones(16, bool), np.zeros(16, bool), np.ones(8, bool)])
def test_masks_with_one_side_are_refused(mask):
    with pytest.raises(DataError, match="both sides"):
        unseen_report(TASK, TASK, mask)


def test_a_tolerance_is_positive():
    with pytest.raises(ParameterError, match="tolerance got 0"):
        unseen_report(TASK, TASK, SEEN, tolerance=0)


# --- the canonical holdout ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bit", range(4))
@pytest.mark.parametrize("value", [-1, 1])
def test_what_ignores_the_frozen_input_errs_by_its_influence(bit, value):
    """A tree splits on no input that does not vary."""
    report = holdout_generalization(DecisionTreeRegressor(random_state=0), TASK, bit, frozen_value=value)
    assert report.measured == pytest.approx(influence(TASK, bit)) == report.predicted
    assert report.training_error == 0 and report.verdict == "ignores the frozen input"


def zeros(n):
    model = nn.Linear(n, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def test_linear_regression_from_zero_shares_the_frozen_input_with_the_bias():
    report = holdout_generalization(
        zeros(4), 0.7 * X[:, 2], 2, optimizer=torch.optim.SGD, learning_rate=0.2, max_steps=100
    )
    assert report.measured == pytest.approx(0.7**2 / 4, abs=1e-9)
    assert report.predicted == pytest.approx(0.7**2)


def test_linear_regression_has_its_closed_form_on_any_function():
    table = np.random.default_rng(0).normal(size=16)
    spectrum = walsh_hadamard(table)
    report = holdout_generalization(
        zeros(4), table, 0, optimizer=torch.optim.SGD, learning_rate=0.2, max_steps=200, tolerance=1e9
    )
    twice = (spectrum[0] - spectrum[8]) ** 2 / 2
    twice += sum(spectrum[8 | 1 << k] ** 2 for k in range(3))
    twice += sum(spectrum[k] ** 2 for k in range(16) if k.bit_count() >= 2)
    assert report.measured == pytest.approx(twice / 2, abs=1e-9)


def test_other_verdicts():
    one = lambda Z: Z[:, 0]  # noqa: E731
    through_zero = Ridge(alpha=1e-9, fit_intercept=False)
    assert holdout_generalization(through_zero, one, 0, n_inputs=3).verdict == "recovers the function"
    poor = holdout_generalization(Ridge(), Parity(3), 0)
    assert poor.verdict == "does not fit the points seen"
    halfway = holdout_generalization(
        zeros(3), one, 0, n_inputs=3, optimizer=torch.optim.SGD, learning_rate=0.2
    )
    assert halfway.verdict == "neither ignores the frozen input nor recovers the function"


def test_the_model_is_left_as_it_is():
    model = zeros(4)
    holdout_generalization(model, TASK, 1, max_steps=3)
    assert not model.weight.any()
    tree = DecisionTreeRegressor()
    holdout_generalization(tree, TASK, 1)
    assert not hasattr(tree, "tree_")


@pytest.mark.parametrize(
    "settings", [{"frozen_value": 0}, {"tolerance": 0.0}, {"frozen_bit": 4}, {"frozen_bit": -1}]
)
def test_holdouts_out_of_range_are_refused(settings):
    with pytest.raises(ParameterError):
        holdout_generalization(zeros(4), TASK, **{"frozen_bit": 0, **settings})


def test_a_network_is_asked_in_the_type_it_has():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1))
    report = holdout_generalization(model, TASK, 0, max_steps=400, learning_rate=1e-2)
    assert report.training_error < 1e-3 and report.frozen_bit == 0
    assert truth_table(TASK).shape == (16,)
