"""VectorQuantizer: modes, gradients, moving averages against plain NumPy, dead codes, and the exact counterpart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import hardgrad
from hardgrad.core.errors import InputError, ParameterError, TemperatureError
from hardgrad.nn import NearestCode, VectorQuantizer


def quantizer(codes: int = 5, dim: int = 3, seed: int = 0, **options: float) -> VectorQuantizer:
    torch.manual_seed(seed)
    return VectorQuantizer(codes, dim, **options)


def vectors(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nearest(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    return np.square(x[:, None] - codebook).sum(axis=-1).argmin(axis=1)


def lloyd(x: np.ndarray, codes: int, rounds: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Centres and how many vectors each has, begun at vectors at even distances."""
    centres = x[np.linspace(0, len(x) - 1, codes).astype(int)]
    for _ in range(rounds):
        found = nearest(x, centres)
        counts = np.bincount(found, minlength=codes)
        centres = np.stack([x[found == k].mean(axis=0) if counts[k] else centres[k] for k in range(codes)])
    return centres, counts


@pytest.mark.parametrize("mode", ["st", "hard"])
def test_exact_modes_give_the_nearest_code(mode: str) -> None:
    soft, x = quantizer().eval(), vectors(2, 7, 3)
    found = soft(x, mode=mode)
    expected = nearest(x.numpy().reshape(-1, 3), soft.codebook.numpy())
    assert np.array_equal(found.codes.numpy().ravel(), expected) and found.codes.shape == (2, 7)
    assert torch.equal(found.vectors, soft.codebook[found.codes]) and torch.equal(
        soft.lookup(found.codes), found.vectors
    )
    assert float(found.loss) == pytest.approx(
        0.25 * np.square(x.numpy().reshape(-1, 3) - soft.codebook.numpy()[expected]).mean(), rel=1e-5
    )


def test_soft_mixes_by_distance() -> None:
    soft, x = quantizer(temperature=0.7).eval(), vectors(6, 3)
    squares = np.square(x.numpy()[:, None] - soft.codebook.numpy()).sum(axis=-1)
    weights = np.exp(-squares / 0.7) / np.exp(-squares / 0.7).sum(axis=1, keepdims=True)
    assert np.allclose(soft(x, mode="soft").vectors.numpy(), weights @ soft.codebook.numpy(), atol=1e-5)
    with hardgrad.mode("soft", temperature=1e-3):
        assert torch.allclose(soft(x).vectors, soft(x, mode="hard").vectors, atol=1e-4)
    with hardgrad.mode("hard"):
        assert not torch.equal(soft(x, mode="soft").vectors, soft(x).vectors)


def test_gradients_pass_straight_through_and_towards_the_code() -> None:
    soft = quantizer(commitment=0.3).eval()
    x = vectors(6, 3).requires_grad_()
    found = soft(x)
    weight = vectors(6, 3, seed=2)
    (found.vectors * weight).sum().backward()
    assert torch.equal(x.grad, weight)
    x.grad = None
    found.loss.backward()
    pull = 0.3 * 2 * (x.detach() - found.vectors.detach()) / x.numel()
    assert torch.allclose(x.grad, pull) and not found.vectors.detach().requires_grad
    hard = soft(vectors(6, 3).requires_grad_(), mode="hard").vectors
    assert not hard.requires_grad


def test_soft_gradients_are_differences_also_in_training() -> None:
    soft = quantizer().double().eval()
    x = vectors(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: tuple(soft(z, mode="soft")[::2]), (x,))
    expected = torch.autograd.grad(soft(x, mode="soft").vectors.square().sum(), x)[0]
    soft.train()
    soft.started.fill_(True)
    found = torch.autograd.grad(soft(x, mode="soft").vectors.square().sum(), x)[0]
    assert torch.allclose(found, expected)  # although the codes have moved by then


def test_codes_start_at_lloyds_means_and_follow_as_moving_averages() -> None:
    soft = quantizer(4, 2, decay=0.9)
    first, second = vectors(200, 2).numpy(), vectors(60, 2, seed=2).numpy() + 0.3
    soft(torch.from_numpy(first))
    centres, use = lloyd(first, 4)
    total, use = centres * use[:, None], use.astype(float)
    codebook = centres
    for batch in (first, second, second):
        found = nearest(batch, codebook)
        if batch is not first:
            said = soft(torch.from_numpy(batch))
            assert np.array_equal(said.codes.numpy(), found)
        counts = np.bincount(found, minlength=4)
        sums = np.stack([batch[found == k].sum(axis=0) for k in range(4)])
        use, total = 0.9 * use + 0.1 * counts, 0.9 * total + 0.1 * sums
        codebook = total / use[:, None]
        assert (use > 0.05 * len(batch) / 4).all()  # none is dead
        if batch is first:
            assert np.allclose(soft.codebook.numpy(), codebook, atol=1e-5)
    assert np.allclose(soft.codebook.numpy(), codebook, atol=1e-5)
    assert np.allclose(soft.use.numpy(), use, rtol=1e-5)
    share = use / use.sum()
    assert soft.perplexity() == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-5)


def test_only_training_in_a_relaxed_mode_moves_the_codes() -> None:
    soft, x = quantizer(), vectors(50, 3)
    before = soft.codebook.clone()
    soft(x, mode="hard")
    soft.eval()(x)
    assert torch.equal(soft.codebook, before) and not bool(soft.started)
    soft.train()(x[:0])
    assert torch.equal(soft.codebook, before)
    soft(x)
    assert not torch.equal(soft.codebook, before) and bool(soft.started)


def test_dead_codes_start_anew_at_the_vectors_that_are_missed_most() -> None:
    soft = quantizer(3, 2, decay=0.5)
    soft.started.fill_(True)
    soft.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]]))
    soft.use.copy_(torch.tensor([10.0, 0.01, 0.01]))
    soft.total.copy_(soft.codebook * soft.use[:, None])
    x = torch.cat([torch.zeros(28, 2), torch.tensor([[0.0, 9.0], [8.0, 0.0]])])
    soft(x)
    assert torch.equal(soft.codebook[1:], x[28:])
    assert soft.use[1:].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rows", [64, 4096])
def test_a_code_that_starts_anew_stays_when_it_is_chosen(rows: int) -> None:
    soft = quantizer(4, 2, decay=0.98)
    corners = torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])
    x = corners.repeat(rows // 4, 1) + 0.1 * vectors(rows, 2)
    soft.started.fill_(True)
    soft.codebook.copy_(torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 2.0], [99.0, 99.0]]))
    soft.use.copy_(torch.tensor([0.25, 0.25, 0.5, 0.0]) * rows)
    soft.total.copy_(soft.codebook * soft.use[:, None])
    soft(x)
    again = soft.codebook[3].clone()  # at a vector of the corners that share a code
    for _ in range(300):
        soft(x)
    assert (soft.codebook[3] - again).norm() < 0.6 and soft.perplexity() == pytest.approx(4.0, abs=0.1)
    assert torch.cdist(corners, soft.codebook).amin(dim=1).max() < 0.1


def test_codes_without_vectors_stay_where_they_are() -> None:
    soft, x = quantizer(6, 2, decay=0.5), torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    for _ in range(40):
        soft(x)
        near = torch.cdist(soft.codebook, x).amin(dim=1)
        assert near.max() < 1e-5  # at the vectors, and not at the origin


def test_the_exact_counterpart_is_mode_hard() -> None:
    soft, x = quantizer(16, 3), vectors(4, 100, 3)
    soft(x)
    exact = hardgrad.harden(torch.nn.Sequential(soft))[0]
    assert isinstance(exact, NearestCode)
    found, expected = exact(x), soft(x, mode="hard")
    assert torch.equal(found.codes, expected.codes) and torch.equal(found.vectors, expected.vectors)
    assert float(found.loss) == 0
    soft(x + 1)
    assert torch.equal(exact(x).vectors, expected.vectors)  # it does not follow
    ties = NearestCode(torch.tensor([[1.0], [-1.0]]))
    assert ties(torch.zeros(3, 1)).codes.tolist() == [0, 0, 0]


def test_vectors_of_another_type_and_none() -> None:
    soft = quantizer()
    found = soft(vectors(20, 3).double())
    assert found.vectors.dtype == torch.float64 and soft.codebook.dtype == torch.float32
    assert soft.harden()(vectors(20, 3).double()).vectors.dtype == torch.float64
    none = soft(torch.zeros(0, 3))
    assert none.vectors.shape == (0, 3) and none.codes.shape == (0,) and float(none.loss) == 0
    assert soft(vectors(3)).codes.shape == ()


def test_same_seed_same_bits_and_a_state_is_read_back() -> None:
    one, two = quantizer(8, 3), quantizer(8, 3)
    for soft in (one, two):
        for seed in range(5):
            soft(vectors(30, 3, seed=seed))
    assert torch.equal(one.codebook, two.codebook)
    three = quantizer(8, 3, seed=9)
    three.load_state_dict(one.state_dict())
    for soft in (one, three):
        soft(vectors(30, 3, seed=7))
    assert torch.equal(one.codebook, three.codebook) and torch.equal(one.use, three.use)


@pytest.mark.parametrize(
    "options",
    [{"n_codes": 0}, {"dim": 0}, {"commitment": -1.0}, {"commitment": math.nan}, {"decay": 1.0}, {"decay": -0.1}, {"decay": math.nan}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=f"VectorQuantizer.*{next(iter(options))}"):
        VectorQuantizer(**{"n_codes": 2, "dim": 2} | options)


def test_bad_temperatures_codebooks_and_vectors_are_refused() -> None:
    with pytest.raises(TemperatureError):
        VectorQuantizer(2, 2, temperature=0.0)
    for codebook in (torch.zeros(3), torch.zeros(0, 2), torch.zeros(2, 2, dtype=torch.int64)):
        with pytest.raises(ParameterError, match="NearestCode"):
            NearestCode(codebook)
    for module in (quantizer(), NearestCode(torch.zeros(2, 3))):
        for x in (torch.zeros(4, 2), torch.tensor(1.0), torch.zeros(4, 3, dtype=torch.int64)):
            with pytest.raises(InputError, match=f"{type(module).__name__}.*expected floating .*3\\]"):
                module(x)
