"""GumbelSoftmax against torch's relaxed categorical, at cold temperatures, with categories left out; its divergences by name."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, RelaxedOneHotCategorical, kl_divergence

from hardgrad.core.errors import InputError, TemperatureError
from hardgrad.gradients import GumbelSoftmax

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_density_is_that_of_torch(temperature: float) -> None:
    ours = GumbelSoftmax(LOGITS + 7.0, temperature)
    theirs = RelaxedOneHotCategorical(torch.tensor(temperature, dtype=torch.float64), logits=LOGITS)
    y = ours.rsample((50,), generator=generator())
    assert y.shape == (50, 2, 3) and torch.allclose(y.sum(-1), torch.ones(50, 2).double())
    assert torch.allclose(ours.log_prob(y), theirs.log_prob(y))
    assert torch.allclose(ours.log_prob_of_log(y.log()), theirs.log_prob(y))


def test_density_of_two_categories_integrates_to_one() -> None:
    y = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    density = GumbelSoftmax(LOGITS[0, :2], 0.8).log_prob(torch.stack([y, 1 - y], -1)).exp()
    assert torch.trapezoid(density, y).item() == pytest.approx(1.0, abs=2e-3)


def test_cold_samples_keep_their_logarithms() -> None:
    distribution = GumbelSoftmax(LOGITS.float().requires_grad_(), 0.01)
    log_y = distribution.rsample_log((200,), generator=generator())
    y = distribution.rsample((200,), generator=generator())
    assert bool((y == 0).any()) and bool(torch.isfinite(log_y).all())
    assert torch.equal(y.argmax(-1), log_y.argmax(-1))
    assert bool(torch.isfinite(distribution.log_prob_of_log(log_y)).all())


def test_the_largest_element_is_an_exact_sample_at_any_temperature() -> None:
    p = torch.softmax(LOGITS[0], 0)
    for temperature in (0.1, 5.0):
        y = GumbelSoftmax(LOGITS[0], temperature).rsample((40_000,), generator=generator())
        counts = torch.bincount(y.argmax(-1), minlength=3).double() / 40_000
        assert torch.allclose(counts, p, atol=0.01)
    assert GumbelSoftmax(LOGITS[0]).mode.tolist() == [0.0, 0.0, 1.0]


def test_categories_that_are_left_out() -> None:
    masked = torch.tensor([0.5, -torch.inf, -1.0], dtype=torch.float64, requires_grad=True)
    distribution = GumbelSoftmax(masked, 0.7)
    y = distribution.rsample((100,), generator=generator())
    kept = GumbelSoftmax(masked[[0, 2]].detach(), 0.7)
    assert bool((y[:, 1] == 0).all())
    assert torch.allclose(distribution.log_prob(y), kept.log_prob(y[:, [0, 2]]))
    (gradient,) = torch.autograd.grad((distribution.log_prob(y).sum() + y[:, 0].sum()), masked)
    assert bool(torch.isfinite(gradient).all()) and gradient[1] == 0
    assert distribution.entropy().item() == pytest.approx(kept.entropy().item())


def test_samples_and_density_have_gradients() -> None:
    leaf = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GumbelSoftmax(x, 0.8).rsample(generator=generator()), [leaf])
    point = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: GumbelSoftmax(x, 0.8).log_prob(point.expand(2, 3)), [leaf])


def test_the_two_divergences_are_not_the_same() -> None:
    """The categorical one is torch's; the relaxed one is an integral over the simplex, here of two categories."""
    p, prior = LOGITS[0, :2], torch.zeros(2, dtype=torch.float64)
    first, second = GumbelSoftmax(p, 0.9), GumbelSoftmax(prior, 0.9)
    exact = kl_divergence(Categorical(logits=p), Categorical(logits=prior)).item()
    assert first.kl_categorical(prior).item() == pytest.approx(exact)
    log_y = first.rsample_log((200_000,), generator=generator())
    sampled = first.kl_relaxed_sample(second, log_y)
    x = torch.linspace(
        -30, 30, 60_001, dtype=torch.float64
    )  # log-odds, so that the ends of the simplex are seen
    log_points = torch.nn.functional.logsigmoid(torch.stack([x, -x], -1))
    log_density = first.log_prob_of_log(log_points)
    weight = (log_density + log_points.sum(-1)).exp()  # dy = y (1 - y) dx
    integral = torch.trapezoid(weight * (log_density - second.log_prob_of_log(log_points)), x).item()
    assert sampled.mean().item() == pytest.approx(integral, abs=4 * sampled.std().item() / 200_000**0.5)
    assert abs(integral - exact) > 0.05


def test_bad_arguments() -> None:
    with pytest.raises(TemperatureError, match="GumbelSoftmax"):
        GumbelSoftmax(LOGITS, 0.0)
    with pytest.raises(InputError, match="NaN"):
        GumbelSoftmax(torch.tensor([torch.nan, 0.0]))
    with pytest.raises(InputError, match="at least 1"):
        GumbelSoftmax(torch.empty(3, 0))
