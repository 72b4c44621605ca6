"""Exact confusion metrics against scikit-learn, and the best threshold against every threshold there is."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.losses import ConfusionCounts, tune_threshold
from hardgrad.losses.confusion_counts import CONFUSION_METRICS

RNG = np.random.default_rng(0)


def _scikit_learn(y, guess, weight, average="binary"):
    options = {"sample_weight": weight}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": sk.accuracy_score(y, guess, **options),
            "balanced_accuracy": sk.balanced_accuracy_score(y, guess, **options),
            "f1": sk.f1_score(y, guess, average=average, zero_division=0, **options),
            "fbeta": sk.fbeta_score(y, guess, beta=2.0, average=average, zero_division=0, **options),
            "jaccard": sk.jaccard_score(y, guess, average=average, zero_division=0, **options),
            "kappa": sk.cohen_kappa_score(y, guess, **options),
            "mcc": sk.matthews_corrcoef(y, guess, **options),
        }


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_are_scikit_learns(weighted):
    for _ in range(20):
        y, guess = RNG.integers(0, 2, (2, 30))
        weight = RNG.uniform(0, 2, 30) if weighted else None
        counts = ConfusionCounts.from_labels(guess, y, sample_weight=weight)
        for name, expected in _scikit_learn(y, guess, weight).items():
            assert counts.metric(name, beta=2.0) == pytest.approx(expected, abs=1e-12), name
        recall, specificity = (sk.recall_score(y, guess, pos_label=k, sample_weight=weight) for k in (1, 0))
        assert counts.metric("gmean") == pytest.approx(np.sqrt(recall * specificity))
        assert counts.metric("rate_product") == pytest.approx(recall * specificity)
        assert counts.metric("youden") == pytest.approx(recall + specificity - 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_several_classes_are_scikit_learns(weighted):
    for _ in range(20):
        y, guess = RNG.integers(0, 4, (2, 60))
        weight = RNG.uniform(0, 2, 60) if weighted else None
        counts = ConfusionCounts.from_labels(guess, y, n_classes=4, sample_weight=weight)
        for name, expected in _scikit_learn(y, guess, weight, "macro").items():
            assert counts.metric(name, beta=2.0, average="multiclass") == pytest.approx(
                expected, abs=1e-12
            ), name
        recalls = sk.recall_score(y, guess, average=None, sample_weight=weight)
        assert counts.metric("gmean", average="multiclass") == pytest.approx(recalls.prod() ** 0.25)
        each = sk.f1_score(y, guess, average=None, sample_weight=weight)
        assert counts.metric("f1", average=None) == pytest.approx(each)
        micro = sk.f1_score(y, guess, average="micro", sample_weight=weight)
        assert counts.metric("f1", average="micro") == pytest.approx(micro)
        # Each class against the rest, as if it were a task of two classes.
        for k in range(4):
            one = ConfusionCounts.from_labels(guess == k, y == k, sample_weight=weight)
            assert np.allclose(one.cells, [cell[k] for cell in counts.cells])


@pytest.mark.parametrize("name", CONFUSION_METRICS)
def test_perfect_and_empty_cells(name):
    perfect = ConfusionCounts.from_labels([0, 1, 1], [0, 1, 1])
    assert perfect.metric(name) == 1.0
    assert ConfusionCounts(0.0, 0.0, 0.0, 0.0).metric(name) == (-1.0 if name == "youden" else 0.0)
    one_class = ConfusionCounts.from_labels([0, 1, 0], [0, 0, 0])
    expected = {"accuracy": 2 / 3, "youden": 1 / 3}.get(
        name, 2 / 3 if name in ("balanced_accuracy", "gmean", "rate_product") else 0.0
    )
    assert one_class.metric(name) == pytest.approx(expected)
    assert ConfusionCounts(3, 1, 2, 4).metric(name) == ConfusionCounts(3.0, 1.0, 2.0, 4.0).metric(name)
    assert 0 < ConfusionCounts(3e15, 1e15, 2e15, 4e15).metric(name, eps=1e-7) < 1


def test_a_class_without_rows_is_left_out_of_the_macro_mean():
    counts = ConfusionCounts.from_labels([0, 1, 2, 0], [0, 1, 1, 0], n_classes=4)
    assert counts.metric("f1", average="macro") == pytest.approx((1 + 2 / 3) / 2)
    assert counts.metric("balanced_accuracy", average="multiclass") == pytest.approx((1 + 0.5) / 2)
    assert counts.metric("gmean", average="multiclass") == pytest.approx(0.5**0.5)
    assert (counts + counts).metric("mcc", average="multiclass") == pytest.approx(
        counts.metric("mcc", average="multiclass")
    )


def test_bad_counts_say_what_was_got():
    for predicted, target, weight in (
        ([0, 1], [0, 1, 1], None), ([], [], None), ([0, 2], [0, 1], None), ([0, 1], [0, -1], None), ([0, 1], [0, 0.5], None),
        ([0, 1], [0, 1], [1, -1]), ([0, 1], [0, 1], [1, np.nan]), ([0, 1], [0, 1], [0, 0]), (["a", "b"], [0, 1], None),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"got"):
            ConfusionCounts.from_labels(predicted, target, sample_weight=weight)
    with pytest.raises(ParameterError, match="Did you mean 'jaccard'"):
        ConfusionCounts(1.0, 1.0, 1.0, 1.0).metric("jacard")
    with pytest.raises(ParameterError, match="average='weighted'"):
        ConfusionCounts(1.0, 1.0, 1.0, 1.0).metric(average="weighted")


# --- thresholds --------------------------------------------------------------------------------------------------------------------------
def _best_of_all(scores, y, weight, metric):
    """The best value over every set of decisions that a threshold can make."""
    return max(
        ConfusionCounts.from_labels(scores > t, y, sample_weight=weight).metric(metric, beta=0.5)
        for t in (-np.inf, *np.unique(scores))
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.sampled_from((0.0, 0.1, 1.0, 2.5))), min_size=1, max_size=12),
    st.sampled_from(CONFUSION_METRICS),
    st.sampled_from((np.float32, np.float64)),
)  # fmt: skip
def test_the_threshold_is_the_best_of_all(rows, metric, dtype):
    scores, y, weight = (np.array(column) for column in zip(*rows, strict=True))
    if not weight.any():
        weight = weight + 1.0
    scores = (scores / 3).astype(dtype)
    found = tune_threshold(scores, y, metric, beta=0.5, sample_weight=weight)
    at_it = ConfusionCounts.from_labels(scores > dtype(found.threshold), y, sample_weight=weight)
    assert at_it.metric(metric, beta=0.5) == pytest.approx(found.value, abs=1e-12)
    assert found.value == pytest.approx(_best_of_all(scores, y, weight, metric), abs=1e-12)


def test_thresholds_between_neighbouring_floats_and_at_the_ends():
    low = 0.3
    high = np.nextafter(low, 1.0)
    assert tune_threshold([low, high], [0, 1]).threshold == low
    assert tune_threshold([0.2, 0.7], [0, 0], "accuracy") == (0.7, 1.0)  # no answer is yes
    below = tune_threshold([0.2, 0.7], [1, 1])
    assert below.threshold < 0.2 and below.value == 1.0
    assert tune_threshold([-1e308, 1e308], [0, 1]).threshold == 0.0
    tied = tune_threshold([1, 1, 1, 0], [1, 1, 0, 0])
    assert tied == (0.5, pytest.approx(0.8))
    largest = tune_threshold([3, 2, 1], [1, 0, 1], lambda tn, fp, fn, tp: 0.0)
    assert largest.threshold == 3.0


def test_a_function_as_metric():
    scores, y = RNG.normal(size=50), RNG.integers(0, 2, 50)
    own = tune_threshold(scores, y, lambda tn, fp, fn, tp: 2 * tp / (2 * tp + fp + fn))
    assert own == pytest.approx(tune_threshold(scores, y, "f1"))
    precise = tune_threshold(
        [3, 2, 1], [1, 0, 1], lambda tn, fp, fn, tp: tp / (tp + fp)
    )  # 0 / 0 where nothing is yes
    assert precise == (2.5, 1.0)
    with pytest.raises(InputError, match="NaN at every threshold"):
        tune_threshold([1.0, 2.0], [0, 1], lambda tn, fp, fn, tp: np.nan)


def test_bad_thresholds_say_what_was_got():
    for scores, y in (
        ([np.nan, 1.0], [0, 1]),
        ([np.inf, 1.0], [0, 1]),
        ([0.0, 1.0], [0, 2]),
        ([0.0, 1.0], [0]),
    ):
        with pytest.raises(InputError, match="got"):
            tune_threshold(scores, y)
    with pytest.raises(ParameterError, match="got metric='auc'"):
        tune_threshold([0.0, 1.0], [0, 1], "auc")


def test_tensors_are_read_and_torch_is_not_needed():
    assert tune_threshold(torch.tensor([0.1, 0.6]), torch.tensor([0, 1])).value == 1.0
    code = "import sys; from hardgrad.losses import tune_threshold, ConfusionCounts; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
