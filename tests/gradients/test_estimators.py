"""Every estimator's mean and variance: enumerated where its outcomes can be, else within standard errors of the true gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import hardgrad
from hardgrad import gradients
from hardgrad.core.errors import InputError, ParameterError, TemperatureError, UnsupportedError
from hardgrad.gradients.families import BERNOULLI, CATEGORICAL, race_won_by, waiting_of_race
from hardgrad.gradients.samplers import ESTIMATORS
from hardgrad.gradients.score_functions import score_sum

TARGET = 0.45


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squared(b: Tensor) -> Tensor:
    return (b - TARGET) ** 2


def samples_of(estimator: object, logit: float, n: int = 100_000, temperature: float = 1.0) -> Tensor:
    """Gradients of single samples of the bandit E[(b - 0.45)^2]."""
    leaf = torch.full((n,), logit, dtype=torch.float64, requires_grad=True)
    value = gradients.surrogate_loss(
        squared, leaf, estimator=estimator, distribution="bernoulli", temperature=temperature, generator=generator()
    )  # fmt: skip
    return torch.autograd.grad(value.sum(), leaf)[0]


def true_gradient(logit: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return p * (1 - p) * ((1 - TARGET) ** 2 - TARGET**2)


def enumerated(name: str, logit: float) -> tuple[float, float]:
    """Mean and standard deviation of one gradient, from the two outcomes and their probabilities."""
    p = 1 / (1 + math.exp(-logit))
    slope = {h: 2 * (h - TARGET) for h in (0.0, 1.0)}
    if name == "smooth_times_stochastic":
        root = math.sqrt(p)
        one, zero, chance = 2 * (root - TARGET) * 0.5 * root * (1 - p), 0.0, root
    else:
        outcome = {
            "reinforce": lambda h: (h - p) * (h - TARGET) ** 2,
            "optimal": lambda h: (h - p) * ((h - TARGET) ** 2 - optimal_baseline(p)),
            "identity": lambda h: slope[h],
            "sigmoid": lambda h: slope[h] * p * (1 - p),
        }[name]
        one, zero, chance = outcome(1.0), outcome(0.0), p
    mean = chance * one + (1 - chance) * zero
    return mean, math.sqrt(max(chance * one**2 + (1 - chance) * zero**2 - mean**2, 0.0))


def optimal_baseline(p: float) -> float:
    weight = {1.0: p * (1 - p) ** 2, 0.0: (1 - p) * p**2}
    return sum(w * (h - TARGET) ** 2 for h, w in weight.items()) / sum(weight.values())


@pytest.mark.parametrize(
    ("name", "logit", "mean", "deviation"),
    [
        ("reinforce", 0.0, 0.025, 0.12625),
        ("optimal", 0.0, 0.025, 0.0),
        ("identity", 0.0, 0.1, 1.0),
        ("sigmoid", 0.0, 0.025, 0.25),
        ("smooth_times_stochastic", 0.0, 0.06428, 0.0414),
        ("reinforce", 2.0, 0.010499, 0.0695),
        ("identity", 2.0, 0.8616, 0.648),
        ("sigmoid", 2.0, 0.0905, 0.068),
        ("smooth_times_stochastic", 2.0, 0.05129, 0.0131),
    ],
)
def test_mean_and_deviation_on_the_bandit(name: str, logit: float, mean: float, deviation: float) -> None:
    assert enumerated(name, logit) == pytest.approx((mean, deviation), rel=5e-3, abs=1e-9)
    p = 1 / (1 + math.exp(-logit))
    estimator = {
        "optimal": gradients.Reinforce(optimal_baseline(p)),
        "identity": gradients.StraightThrough("identity"),
        "sigmoid": gradients.StraightThrough("sigmoid"),
    }.get(name, name)
    found = samples_of(estimator, logit)
    exact_mean, exact_deviation = enumerated(name, logit)
    assert float(found.mean()) == pytest.approx(
        exact_mean, abs=4 * exact_deviation / len(found) ** 0.5 + 1e-12
    )
    assert float(found.std()) == pytest.approx(exact_deviation, rel=0.03, abs=1e-9)


@pytest.mark.parametrize(
    ("temperature", "mean", "deviation"), [(1.0, 0.0167, 0.069), (0.5, 0.0215, 0.119), (0.1, 0.0246, 0.293)]
)
def test_gumbel_on_the_bandit_is_biased_the_less_the_colder(
    temperature: float, mean: float, deviation: float
) -> None:
    """The density of the relaxed sample is integrated on a grid of its noise; in "soft" mode this is the relaxed loss."""
    u = torch.linspace(0, 1, 400_002, dtype=torch.float64)[1:-1]
    z = torch.logit(u)
    y = torch.sigmoid(z / temperature)
    gradient = 2 * (y - TARGET) * y * (1 - y) / temperature
    assert float(gradient.mean()) == pytest.approx(mean, abs=2e-4)
    assert float(gradient.std()) == pytest.approx(deviation, abs=2e-3)
    leaf = torch.zeros(200_000, dtype=torch.float64, requires_grad=True)
    soft = gradients.sample_bernoulli(
        leaf, estimator="gumbel", temperature=temperature, mode="soft", generator=generator()
    )
    found = torch.autograd.grad(squared(soft).sum(), leaf)[0]
    assert float(found.mean()) == pytest.approx(mean, abs=4 * deviation / 200_000**0.5 + 5e-5)


@pytest.mark.parametrize("logit", [0.0, 2.0])
@pytest.mark.parametrize(
    "estimator",
    ["rebar", gradients.Rebar(0.5), gradients.Relax(lambda z: 0.3 * torch.sin(z)), gradients.Reinforce(7.0)],
)
def test_unbiased_estimators_on_the_bandit(estimator: object, logit: float) -> None:
    found = samples_of(estimator, logit)
    assert float(found.mean()) == pytest.approx(
        true_gradient(logit), abs=4 * float(found.std()) / len(found) ** 0.5
    )


def test_rebar_has_less_variance_than_reinforce_where_the_relaxed_loss_follows_the_exact_one() -> None:
    leaf = torch.zeros(20_000, dtype=torch.float64, requires_grad=True)
    variances = []
    for estimator in ("rebar", "reinforce"):
        value = gradients.surrogate_loss(
            lambda b: (b + 3) ** 2, leaf, estimator=estimator, distribution="bernoulli", generator=generator()
        )
        variances.append(torch.autograd.grad(value.sum(), leaf)[0].var())
    assert variances[0] < 0.1 * variances[1]


def test_running_baseline_comes_near_the_best_one() -> None:
    baseline = gradients.RunningBaseline(0.9)
    estimator = gradients.Reinforce(baseline)
    first = samples_of(estimator, 0.0, n=1000)
    for _ in range(60):
        last = samples_of(estimator, 0.0, n=1000)
    assert float(first.std()) == pytest.approx(0.12625, rel=0.05), "nothing is known before the first batch"
    assert float(baseline.value) == pytest.approx(0.2525, abs=1e-3)
    assert float(last.var()) < 1e-3 * float(first.var())
    units = gradients.RunningBaseline()
    units.update(torch.tensor([1.0, 3.0]), torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    assert units.value.tolist() == [2.0, 3.0]


def test_smooth_times_stochastic_halves_a_linear_gradient() -> None:
    leaf = torch.full((200_000,), 0.7, dtype=torch.float64, requires_grad=True)
    h = gradients.sample_bernoulli(leaf, estimator="smooth_times_stochastic", generator=generator())
    p = torch.sigmoid(leaf[:1]).item()
    assert h.mean().item() == pytest.approx(p, abs=0.005)
    (gradient,) = torch.autograd.grad(h.sum(), leaf)
    assert gradient.mean().item() == pytest.approx(0.5 * p * (1 - p), rel=0.01)


def test_noisy_rectifier() -> None:
    leaf = torch.tensor([-1.0, 0.5, 2.0]).repeat(50_000, 1).requires_grad_()
    h = gradients.sample_bernoulli(leaf, estimator="noisy_rectifier", generator=generator())
    assert bool((h >= 0).all()) and float((h == 0).float().mean(0)[0]) == pytest.approx(0.841, abs=0.01)
    gradient = torch.autograd.grad(h.sum(), leaf)[0].mean(0)
    assert torch.allclose(gradient, torch.special.ndtr(torch.tensor([-1.0, 0.5, 2.0])), atol=0.01)
    assert gradients.sample_bernoulli(leaf[0], estimator="noisy_rectifier", mode="hard").tolist() == [
        0,
        0.5,
        2,
    ]
    bounded = gradients.sample_bernoulli(leaf, estimator=gradients.NoisyRectifier(saturating=True))
    assert bool(((bounded > 0) & (bounded < 1)).all())


# --- categorical ------------------------------------------------------------------------------------------------------------
LOGITS = torch.tensor([0.5, -0.3, 1.0], dtype=torch.float64)
VALUES = torch.tensor([0.2, 1.5, -0.7], dtype=torch.float64)


def curved(z: Tensor) -> Tensor:
    return torch.sin(z @ VALUES) + (z * z) @ VALUES.flip(0)


def of_categorical(estimator: object, n: int = 30_000, temperature: float = 0.7) -> Tensor:
    leaf = LOGITS.repeat(n, 1).requires_grad_()
    value = gradients.surrogate_loss(
        curved, leaf, estimator=estimator, temperature=temperature, generator=generator()
    )
    return torch.autograd.grad(value.sum(), leaf)[0]


def exact_categorical() -> Tensor:
    leaf = LOGITS.clone().requires_grad_()
    return torch.autograd.grad((torch.softmax(leaf, 0) * curved(torch.eye(3).double())).sum(), leaf)[0]


@pytest.mark.parametrize(
    "estimator",
    [
        "reinforce",
        "rebar",
        gradients.Relax(lambda z: torch.softmax(z, -1) @ VALUES),
        gradients.Reinforce(0.4),
    ],
)
def test_unbiased_estimators_of_categorical_units(estimator: object) -> None:
    found = of_categorical(estimator)
    error = 4 * found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - exact_categorical()).abs() <= error).all())


def test_straight_through_of_categorical_units_is_enumerated() -> None:
    p = torch.softmax(LOGITS, 0)
    leaf = torch.eye(3).double().requires_grad_()
    slopes = torch.autograd.grad(curved(leaf).sum(), leaf)[0]
    jacobian = torch.diag(p) - torch.outer(p, p)
    found = of_categorical("straight_through", temperature=1.0)
    assert torch.allclose(found.mean(0), p @ (slopes @ jacobian), atol=0.01)


def test_gumbel_rao_has_the_mean_of_gumbel_and_less_variance() -> None:
    plain, averaged = of_categorical("gumbel"), of_categorical(gradients.GumbelRao(samples=8))
    error = 4 * (plain.var(0) / len(plain) + averaged.var(0) / len(averaged)).sqrt()
    assert bool(((plain.mean(0) - averaged.mean(0)).abs() <= error).all())
    assert averaged.var(0).sum() < 0.8 * plain.var(0).sum()


def test_control_variates_of_relax_are_learned_by_its_own_squared_gradient() -> None:
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    estimator = gradients.Relax(lambda z: torch.softmax(z / 0.7, -1) @ weight)
    optimiser = torch.optim.Adam([weight], lr=0.1)
    for seed in range(60):
        leaf = LOGITS.repeat(100, 1).requires_grad_()
        value = gradients.surrogate_loss(curved, leaf, estimator=estimator, generator=generator(seed))
        (g,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        optimiser.zero_grad()
        g.square().sum().backward()
        optimiser.step()
    assert of_categorical(estimator).var(0).sum() < 0.85 * of_categorical("reinforce").var(0).sum()


@pytest.mark.parametrize("family", [BERNOULLI, CATEGORICAL])
def test_noise_given_the_sample_is_noise(family: object) -> None:
    """Drawing a sample and then the noise that leads to it is drawing noise: same means and second moments, and the same sample."""
    logits = torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64).repeat(100_000, 1)
    free = family.perturb(logits, generator(1))  # type: ignore[attr-defined]
    sample = family.exact(free)  # type: ignore[attr-defined]
    given = family.perturb_given(logits, sample, generator(2))  # type: ignore[attr-defined]
    assert torch.equal(family.exact(given), sample)  # type: ignore[attr-defined]
    assert torch.allclose(given.mean(0), free.mean(0), atol=0.04)
    assert torch.allclose(given.T @ given, free.T @ free, rtol=0.03, atol=1500)
    assert torch.allclose(family.follow(logits, sample, free), free, atol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", [BERNOULLI, CATEGORICAL])
def test_following_the_sample_keeps_it_when_the_logits_move(family: object) -> None:
    """The same noise at other logits: the derivative is that of differences, and the sample stays."""
    logits = torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64)
    free = family.perturb(logits, generator(1))  # type: ignore[attr-defined]
    sample = family.exact(free)  # type: ignore[attr-defined]
    if family is BERNOULLI:
        leaf = logits.clone().requires_grad_()
        p = torch.sigmoid(leaf)
        u = torch.sigmoid(free - logits)
        v = torch.where(sample > 0, (u - 1 + p.detach()) / p.detach(), u / (1 - p.detach()))
        moved = leaf + torch.logit(torch.where(sample > 0, v * p + 1 - p, v * (1 - p)))  # as published
        expected = torch.autograd.grad(moved.sum(), leaf)[0]
        ours = torch.autograd.grad(family.follow(leaf, sample, free).sum(), leaf)[0]
        assert torch.allclose(ours, expected)
    else:
        waiting = waiting_of_race(logits, sample, free)
        for step in (-3.0, 3.0):
            moved = race_won_by(logits + step * torch.tensor([1.0, 0.0, -1.0]), sample, waiting)
            assert torch.equal(CATEGORICAL.exact(moved), sample)


# --- samples ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("estimator", ["gumbel", "gumbel_rao", "straight_through"])
def test_exact_samples_have_the_right_frequencies(estimator: str) -> None:
    logits = torch.tensor([1.0, -torch.inf, 0.0, -0.5]).repeat(20_000, 1).requires_grad_()
    for temperature in (5.0, 0.1):
        z = gradients.sample_categorical(
            logits, estimator=estimator, temperature=temperature, generator=generator()
        )
        assert torch.equal(z.sum(-1), torch.ones(20_000)) and bool(((z == 0) | (z == 1)).all())
        p = torch.distributions.Categorical(logits=logits[0].detach()).probs
        assert torch.allclose(z.mean(0), p, atol=0.015) and z[:, 1].sum() == 0
        (gradient,) = torch.autograd.grad((z * torch.arange(4.0)).sum(), logits)
        assert bool(torch.isfinite(gradient).all()) and bool((gradient[:, 1] == 0).all())
        soft = gradients.sample_categorical(logits, estimator=estimator, mode="soft", generator=generator())
        assert bool((soft[:, 1] == 0).all()) and torch.allclose(soft.sum(-1), torch.ones(20_000))


@pytest.mark.parametrize(
    "estimator", ["gumbel", "straight_through", "gumbel_rao", "reinforce", "smooth_times_stochastic"]
)
def test_hard_samples_are_exact_and_without_gradient(estimator: str) -> None:
    logits = torch.full((20_000,), 0.8, requires_grad=True)
    with hardgrad.mode("hard"):
        z = gradients.sample_bernoulli(logits, estimator=estimator, generator=generator())
    assert not z.requires_grad and bool(((z == 0) | (z == 1)).all())
    assert z.mean().item() == pytest.approx(0.69, abs=0.012)


def test_the_same_noise_in_every_mode_and_the_same_bits_from_the_same_seed() -> None:
    logits = torch.randn(200, 6, generator=generator(3))
    draw = lambda mode: gradients.sample_categorical(logits, mode=mode, generator=generator(1))  # noqa: E731
    assert torch.equal(draw("st"), draw("hard"))
    assert torch.equal(draw("soft").argmax(-1), draw("hard").argmax(-1))
    assert torch.equal(draw("soft"), draw("soft"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    logits = torch.randn(5, 255, generator=generator()).to(dtype).requires_grad_()
    for estimator in ("gumbel", "gumbel_rao", "straight_through"):
        z = gradients.sample_categorical(logits, estimator=estimator, temperature=0.1, generator=generator())
        assert z.dtype == dtype
        assert bool(torch.isfinite(torch.autograd.grad(z[:, 0].sum(), logits)[0]).all())


def test_extreme_logits_have_finite_samples_and_gradients() -> None:
    big = torch.tensor([[1e4, -1e4, 0.0], [0.0, -torch.inf, -torch.inf]], requires_grad=True)
    for estimator in ("gumbel", "gumbel_rao", "straight_through", "rebar"):
        value = gradients.surrogate_loss(lambda z: z[:, 0], big, estimator=estimator, temperature=0.05)
        assert bool(torch.isfinite(torch.autograd.grad(value.sum(), big)[0]).all())
    conditional = race_won_by(big.detach(), torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]), torch.zeros(2, 3))
    assert not bool(torch.isnan(conditional).any()) and bool((conditional[1, 1:] == -torch.inf).all())


# --- stochastic graph -------------------------------------------------------------------------------------------------------
def test_graph_of_two_layers_has_the_enumerated_gradient() -> None:
    n = 200_000
    first = torch.full((n, 1), 0.3, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    graph = gradients.StochasticGraph()
    a = gradients.sample_bernoulli(first, estimator="reinforce", graph=graph, generator=generator(1))
    b = gradients.sample_bernoulli(
        weight * a - 0.4, estimator="reinforce", graph=graph, generator=generator(2)
    )
    loss = ((a + b - 0.8) ** 2).squeeze(-1)
    surrogate = graph.surrogate(loss, baseline=torch.full((n,), 0.5, dtype=torch.float64))
    assert len(graph) == 0 and torch.equal(surrogate, loss)
    found = torch.autograd.grad(surrogate.mean(), [first, weight])
    x = torch.tensor([0.3, 1.2], dtype=torch.float64, requires_grad=True)
    expected = 0.0
    for h in (0.0, 1.0):
        p = torch.sigmoid(x[0]) if h else 1 - torch.sigmoid(x[0])
        q = torch.sigmoid(x[1] * h - 0.4)
        expected = expected + p * (q * (h + 0.2) ** 2 + (1 - q) * (h - 0.8) ** 2)
    exact = torch.autograd.grad(expected, x)[0]
    assert found[0].sum().item() == pytest.approx(exact[0].item(), abs=0.004)
    assert found[1].item() == pytest.approx(exact[1].item(), abs=0.004)


def test_parameters_of_the_loss_get_the_gradient_of_the_exact_sample_alone() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    logits = torch.zeros(500, requires_grad=True)
    for estimator in ("rebar", "reinforce"):
        value = gradients.surrogate_loss(
            lambda b: scale * b, logits, estimator=estimator, distribution="bernoulli", generator=generator()
        )
        (gradient,) = torch.autograd.grad(value.sum(), scale)
        assert gradient.item() == pytest.approx((value.sum() / scale).item())


# --- errors -----------------------------------------------------------------------------------------------------------------
def test_bad_calls_say_what_to_do() -> None:
    logits = torch.zeros(4, 3)
    with pytest.raises(ParameterError, match="graph=StochasticGraph"):
        gradients.sample_bernoulli(logits, estimator="reinforce")
    with pytest.raises(ParameterError, match="Did you mean 'gumbel'"):
        gradients.sample_categorical(logits, estimator="gumble")
    with pytest.raises(ParameterError, match="draw"):
        gradients.sample_categorical(logits, estimator=gradients.Gumbel)
    for name in ("smooth_times_stochastic", "noisy_rectifier"):
        with pytest.raises(UnsupportedError, match="Bernoulli"):
            gradients.sample_categorical(logits, estimator=name)
    with pytest.raises(UnsupportedError, match="surrogate_loss"):
        gradients.sample_bernoulli(logits, estimator="rebar")
    with pytest.raises(InputError, match="infinity"):
        gradients.sample_bernoulli(torch.tensor([-torch.inf]))
    with pytest.raises(InputError, match="every element is -inf"):
        gradients.sample_categorical(torch.full((2, 3), -torch.inf))
    with pytest.raises(TemperatureError, match="sample_categorical"):
        gradients.sample_categorical(logits, temperature=0.0)
    for bad in (
        lambda: gradients.GumbelRao(0),
        lambda: gradients.RunningBaseline(1.0),
        lambda: gradients.StraightThrough("up"),
    ):
        with pytest.raises(ParameterError):
            bad()
    graph = gradients.StochasticGraph()
    h = gradients.sample_bernoulli(logits.requires_grad_(), estimator="reinforce", graph=graph)
    with pytest.raises(InputError, match="Average the surrogate"):
        graph.surrogate(h.mean())
    with pytest.raises(InputError, match="one loss an example"):
        graph.surrogate(h.sum(0))
    with pytest.raises(InputError, match="one loss an example"):
        score_sum(torch.zeros(3), torch.zeros(3, 2))


def test_every_named_estimator_follows_the_protocol() -> None:
    assert all(isinstance(member, gradients.GradientEstimator) for member in ESTIMATORS.values())
