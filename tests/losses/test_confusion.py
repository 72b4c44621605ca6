"""Soft confusion metrics against the sheet's closed forms, finite differences, and their own hard limit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import hardgrad
from hardgrad.core.errors import HardgradWarning, InputError, InputTypeError, ParameterError, TemperatureError
from hardgrad.core.schedule import Schedule
from hardgrad.losses import ConfusionCounts, ConfusionMetricLoss, soft_confusion
from hardgrad.losses.confusion_counts import CONFUSION_METRICS

GENERATOR = torch.Generator().manual_seed(0)
Z = torch.randn(40, dtype=torch.float64, generator=GENERATOR)
Y = torch.randint(0, 2, (40,), generator=GENERATOR)
ZK = torch.randn(40, 3, dtype=torch.float64, generator=GENERATOR)
YK = torch.randint(0, 3, (40,), generator=GENERATOR)
W = torch.rand(40, dtype=torch.float64, generator=GENERATOR) + 0.1


def _closed_form(metric, temperature=0.1, beta=1.0):
    """The paper's formulas, written out once more with NumPy."""
    z, y, w = Z.numpy(), Y.numpy(), W.numpy()
    a = 1 / (1 + np.exp(-(1 / (1 + np.exp(-z)) - 0.5) / temperature))
    tp, fn, fp, tn = (
        (w * y * a).sum(),
        (w * y * (1 - a)).sum(),
        (w * (1 - y) * a).sum(),
        (w * (1 - y) * (1 - a)).sum(),
    )
    n, tpr, tnr = w.sum(), tp / (w * y).sum(), tn / (w * (1 - y)).sum()
    chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / n**2
    fbeta = (1 + beta**2) * tp / (beta**2 * (w * y).sum() + (w * a).sum())
    return {
        "f1": fbeta, "fbeta": fbeta, "gmean": np.sqrt(tpr * tnr), "rate_product": tpr * tnr, "balanced_accuracy": (tpr + tnr) / 2,
        "accuracy": (tp + tn) / n, "jaccard": tp / (tp + fp + fn), "youden": tpr + tnr - 1,
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        "kappa": ((tp + tn) / n - chance) / (1 - chance),
    }[metric]  # fmt: skip


@pytest.mark.parametrize("metric", CONFUSION_METRICS)
def test_closed_forms_and_finite_differences(metric):
    beta = 2.0 if metric == "fbeta" else 1.0
    loss = ConfusionMetricLoss(metric, beta=beta)
    assert 1 - loss(Z, Y, W).item() == pytest.approx(_closed_form(metric, beta=beta), abs=1e-6)
    assert torch.autograd.gradcheck(
        lambda z, w: loss(z, Y, w), (Z.clone().requires_grad_(), W.clone().requires_grad_())
    )
    for average in ("macro", "micro", None):
        several = ConfusionMetricLoss(metric, beta=beta, average=average)
        assert torch.autograd.gradcheck(lambda z, f=several: f(z, YK, W), (ZK.clone().requires_grad_(),))
        assert several(ZK, YK).shape == ((3,) if average is None else ())


@pytest.mark.parametrize("metric", CONFUSION_METRICS)
@pytest.mark.parametrize("average", ["macro", "micro", None])
def test_a_batch_given_twice_or_weighed_double_has_the_same_loss(metric, average):
    loss = ConfusionMetricLoss(metric, average=average)
    for z, y in ((Z, Y), (ZK, YK)):
        once = loss(z, y, W)
        assert torch.allclose(loss(torch.cat([z, z]), torch.cat([y, y]), torch.cat([W, W])), once, atol=1e-12)
        assert torch.allclose(loss(z, y, 1000 * W), once, atol=1e-12)
        whole = torch.arange(40) % 3
        repeated = loss(z.repeat_interleave(whole, 0), y.repeat_interleave(whole, 0))
        assert torch.allclose(loss(z, y, whole), repeated, atol=1e-12)


@pytest.mark.parametrize("metric", CONFUSION_METRICS)
def test_the_hard_limit_is_the_exact_metric(metric):
    for z, y, guess, classes in ((Z, Y, Z > 0, None), (ZK, YK, ZK.argmax(1), 3)):
        exact = ConfusionCounts.from_labels(
            guess.numpy(), y.numpy(), n_classes=classes, sample_weight=W.numpy()
        )
        expected = exact.metric(metric, average="macro")
        cold = ConfusionMetricLoss(metric, temperature=1e-5)
        assert 1 - cold(z, y, W).item() == pytest.approx(expected, abs=1e-5)
        with hardgrad.mode("hard"):
            assert 1 - ConfusionMetricLoss(metric)(z, y, W).item() == pytest.approx(expected, abs=1e-5)
        leaf = z.clone().requires_grad_()
        with hardgrad.mode("st"):
            value = ConfusionMetricLoss(metric)(leaf, y, W)
        (slope,) = torch.autograd.grad(value, leaf)
        assert 1 - value.item() == pytest.approx(expected, abs=1e-5)
        assert slope.any() and torch.isfinite(slope).all()
        report = ConfusionMetricLoss(metric).gap(z, y, W)
        assert report.hard == pytest.approx(expected, abs=1e-12)
        assert report.soft == pytest.approx(1 - ConfusionMetricLoss(metric)(z, y, W).item())
        assert report.gap == pytest.approx(report.soft - report.hard) and report.rows == 40


def test_two_columns_are_the_binary_formula():
    columns = torch.stack([torch.zeros_like(Z), Z], 1)
    for temperature in (0.02, 0.1, 1.0):
        pair = ConfusionMetricLoss("fbeta", temperature, beta=2.0, average=None)(columns, Y, W)
        assert pair[1].item() == pytest.approx(
            ConfusionMetricLoss("fbeta", temperature, beta=2.0)(Z, Y, W).item()
        )
    soft, one = soft_confusion(torch.softmax(columns, 1), Y, 0.1), soft_confusion(torch.sigmoid(Z), Y, 0.1)
    assert torch.allclose(torch.stack([cell[1] for cell in soft.cells]), torch.stack(one.cells))


def test_ties_between_classes_go_to_the_first():
    counts = soft_confusion(torch.tensor([[0.4, 0.4, 0.2]]), torch.tensor([1]), mode="hard")
    assert (
        counts.tp.tolist() == [0, 0, 0]
        and counts.fp.tolist() == [1, 0, 0]
        and counts.fn.tolist() == [0, 1, 0]
    )
    assert soft_confusion(torch.tensor([0.5]), torch.tensor([1]), mode="hard").fn == 1  # 1/2 is not above 1/2


def test_a_function_as_metric():
    def f1(tn, fp, fn, tp):
        return 2 * tp / (2 * tp + fp + fn)

    for z, y in ((Z, Y), (ZK, YK)):
        for average in ("macro", "micro", None):
            own, named = ConfusionMetricLoss(f1, average=average), ConfusionMetricLoss("f1", average=average)
            assert torch.allclose(own(z, y, W), named(z, y, W), atol=1e-6)
    assert ConfusionMetricLoss(f1).gap(Z, Y).metric == "f1"
    missing = torch.where(YK == 2, 1, YK)
    assert torch.isfinite(ConfusionMetricLoss(lambda tn, fp, fn, tp: tp / (tp + fn))(ZK, missing))
    for bad in (lambda *cells: 0.5, lambda *cells: torch.ones(2)):
        with pytest.raises(InputError, match="expected a scalar tensor"):
            ConfusionMetricLoss(bad)(Z, Y)


@pytest.mark.parametrize("metric", CONFUSION_METRICS)
def test_batches_of_one_class_have_finite_slopes_and_warn_once(metric):
    loss = ConfusionMetricLoss(metric)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for y in (torch.zeros(40), torch.ones(40)):
            z = Z.clone().requires_grad_()
            value = loss(z, y)
            value.backward()
            assert torch.isfinite(value) and torch.isfinite(z.grad).all()
    by_class = metric in ("balanced_accuracy", "gmean", "rate_product", "youden")
    assert [w.category for w in said] == [HardgradWarning] * by_class
    if metric in ("balanced_accuracy", "gmean", "rate_product"):
        a = torch.sigmoid((torch.sigmoid(Z) - 0.5) / 0.1)
        assert 1 - loss(Z, torch.ones(40)).item() == pytest.approx(a.mean().item(), abs=1e-6)


def test_decided_rows_leave_finite_slopes():
    z = torch.tensor([200.0, -200.0, 90.0], requires_grad=True)
    for metric in CONFUSION_METRICS:
        for y in ([1, 0, 1], [0, 1, 0], [1, 1, 0]):
            value = ConfusionMetricLoss(metric, temperature=1e-3)(z, torch.tensor(y))
            (slope,) = torch.autograd.grad(value, z)
            assert torch.isfinite(value) and torch.isfinite(slope).all(), (metric, y)


def test_running_counts_are_a_decaying_sum_without_gradient():
    loss = ConfusionMetricLoss("f1", momentum=0.5)
    parts = [(Z[i : i + 10], Y[i : i + 10]) for i in (0, 10, 20)]
    total = None
    for z, y in parts:
        leaf = z.clone().requires_grad_()
        value = loss(leaf, y)
        (slope,) = torch.autograd.grad(value, leaf)
        with torch.no_grad():
            new = loss.counts(z, y)
            before = ConfusionCounts(*(0.0 * cell for cell in new.cells)) if total is None else total
            before = ConfusionCounts(*(0.5 * cell for cell in before.cells))
            total = before + new
        assert value.item() == pytest.approx(1 - total.metric("f1", eps=1e-7).item())
        again = z.clone().requires_grad_()
        expected = 1 - (before + loss.counts(again, y)).metric("f1", eps=1e-7)
        assert torch.allclose(slope, torch.autograd.grad(expected, again)[0])
    loss.eval()
    alone = ConfusionMetricLoss("f1")(*parts[0]).item()
    assert loss(*parts[0]).item() == alone
    loss.train()
    with pytest.raises(InputError, match=r"reset\(\)"):
        loss(ZK, YK)
    loss.reset()
    assert loss(*parts[0]).item() == alone
    # A class that the batch lacks and the history has is not missing.
    rates = ConfusionMetricLoss("gmean", momentum=0.9)
    rates(Z, Y)
    assert torch.isfinite(rates(Z[:5], torch.ones(5)))


def test_temperatures():
    schedule = Schedule.exponential(0.1, 0.02)
    loss = ConfusionMetricLoss("f1", schedule)
    assert loss(Z, Y).item() == ConfusionMetricLoss("f1", 0.1)(Z, Y).item()
    loss.progress = 1.0
    assert loss(Z, Y).item() == pytest.approx(ConfusionMetricLoss("f1", 0.02)(Z, Y).item())
    with hardgrad.mode("soft", temperature=0.3):
        assert ConfusionMetricLoss("f1", None)(Z, Y).item() == ConfusionMetricLoss("f1", 0.3)(Z, Y).item()
        assert ConfusionMetricLoss("f1")(Z, Y).item() == ConfusionMetricLoss("f1", 0.1)(Z, Y).item()
        assert soft_confusion(torch.sigmoid(Z), Y).tp == soft_confusion(torch.sigmoid(Z), Y, 0.3).tp
    with pytest.raises(TemperatureError):
        ConfusionMetricLoss("f1", 0.0)
    loss = ConfusionMetricLoss("f1", Schedule.linear(1.0, 0.0))
    loss.progress = 1.0
    with pytest.raises(TemperatureError):
        loss(Z, Y)


def test_dtypes_and_probabilities():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        value = ConfusionMetricLoss("mcc")(Z.to(dtype), Y.bool(), W.to(dtype))
        assert value.dtype == dtype
        assert value.item() == pytest.approx(ConfusionMetricLoss("mcc")(Z, Y, W).item(), abs=0.01)
    given = ConfusionMetricLoss("f1", from_logits=False)
    assert given(torch.sigmoid(Z), Y.double()).item() == pytest.approx(ConfusionMetricLoss("f1")(Z, Y).item())
    assert given(torch.softmax(ZK, 1), YK).item() == pytest.approx(ConfusionMetricLoss("f1")(ZK, YK).item())


@pytest.mark.parametrize(
    ("z", "y", "w"),
    [
        (Z, Y[:3], None), (Z[:0], Y[:0], None), (Z[None, None], Y, None), (ZK[:, :1], Y, None), (Z, Y + 1, None),
        (Z, Y - 0.5, None), (Z, Y + torch.nan, None), (ZK, YK + 1, None), (ZK, YK - 1, None), (Z * torch.nan, Y, None),
        (Z, Y, W[:3]), (Z, Y, -W), (Z, Y, 0 * W),
        (Z, Y, W * torch.nan), (Y, Y, None),
    ],
)  # fmt: skip
def test_bad_input_says_what_was_got(z, y, w):
    with pytest.raises((InputError, InputTypeError), match="got"):
        ConfusionMetricLoss()(z, y, w)


def test_bad_parameters_say_what_was_got():
    for bad in (
        {"metric": "f2"}, {"average": "weighted"}, {"average": "multiclass"}, {"beta": 0.0}, {"eps": 0.0}, {"momentum": 1.0},
    ):  # fmt: skip
        with pytest.raises(ParameterError, match="got"):
            ConfusionMetricLoss(**bad)
    with pytest.raises(InputError, match=r"outside \[0, 1\]"):
        soft_confusion(Z, Y)
    with pytest.raises(ParameterError, match="average=None"):
        ConfusionMetricLoss(average=None).gap(ZK, YK)
