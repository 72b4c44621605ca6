"""LatticeQuantizer: better than scalar quantisers, calibrated where there are inputs; what it cannot take; bits for each group."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hardgrad.bits import InputMoments, LatticeQuantizer, allocate_bits
from hardgrad.bits.lattice_groups import compand, cut, expand, joined
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.train.progress import listen


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(weight: torch.Tensor, decoded: np.ndarray) -> float:
    return float((weight.double() - torch.from_numpy(decoded).double()).square().mean())


def uniform_error(weight: torch.Tensor, bits: int) -> float:
    """Error of the best uniform scalar quantiser, by trying steps."""
    half = 2 ** (bits - 1)
    steps = torch.linspace(0.02, 2.0, 200)[:, None] * weight.std()
    flat = weight.flatten()
    return float(
        ((((flat / steps).floor().clamp(-half, half - 1) + 0.5) * steps - flat).square()).mean(dim=1).min()
    )


# --- pieces -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [1, 7, 8, 17, 24])
def test_vectors_join_to_the_matrix_that_was_cut(columns: int) -> None:
    W = normal(0, 5, columns)
    vectors = cut(W, 8, 4)
    assert vectors.shape == (-(-columns // 8), 5, 2, 4)
    assert torch.equal(joined(vectors, columns), W)
    assert vectors.square().sum() == pytest.approx(float(W.square().sum()), rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, 1e-7, 0.05, 8.0, 6e4])
def test_companding_has_an_inverse(mu: float) -> None:
    x = 3 * normal(1, 1, 50, 4).double()
    scale = x.abs().amax(dim=(1, 2))
    how = (torch.tensor([mu], dtype=torch.float64), scale)
    u = compand(x, *how)
    assert float(u.abs().max()) == pytest.approx(1.0)
    torch.testing.assert_close(expand(u, *how), x, rtol=1e-7, atol=1e-9)
    if mu <= 1e-7:
        torch.testing.assert_close(u, x / scale, rtol=1e-6, atol=1e-7)


def test_moments_are_those_of_all_rows_whatever_the_batches() -> None:
    x = normal(2, 30, 5).double()
    moments = InputMoments(5, group_size=4)
    for batch in (x[:7], x[7:8], x[8:].reshape(2, 11, 5)):
        moments.update(batch)
    whole = x.T @ x / 30
    assert moments.rows == 30
    torch.testing.assert_close(moments.blocks[0], whole[:4, :4])
    torch.testing.assert_close(moments.blocks[1, :1, :1], whole[4:, 4:])
    assert not moments.blocks[1, 1:].any()
    for wrong in (x[:, :4], x * torch.nan):
        with pytest.raises(InputError):
            moments.update(wrong)
    with pytest.raises(InputError, match="no inputs"):
        InputMoments(5, 4).blocks


# --- bits for each group ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("target", "spread"), [(2, 1), (1, 1), (3, 2), (2.5, 1), (2.25, 0), (8, 1)])
def test_bits_are_allocated_for_the_least_loss(target: float, spread: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        salience = np.exp(2 * rng.normal(size=5))
        bits = allocate_bits(salience.tolist(), target, spread=spread)
        total = int(np.floor(target * 5))
        levels = range(max(1, int(np.floor(target)) - spread), min(8, int(np.ceil(target)) + spread) + 1)
        every = [c for c in itertools.product(levels, repeat=5) if sum(c) == total]
        least = min((salience * 0.25 ** np.array(c)).sum() for c in every)
        assert tuple(bits) in every
        assert (salience * 0.25 ** np.array(bits)).sum() == pytest.approx(least)


def test_equal_groups_have_equal_bits_and_bad_salience_is_refused() -> None:
    assert allocate_bits([1.0] * 4, 3) == [3] * 4
    assert allocate_bits([0.0] * 3, 2.4) == [3, 2, 2]
    assert allocate_bits([], 2) == []
    for salience in ([-1.0], [float("nan")], [float("inf")]):
        with pytest.raises(InputError):
            allocate_bits(salience, 2)
    for target, spread in ((0.5, 1), (9, 1), (2, -1)):
        with pytest.raises(ParameterError):
            allocate_bits([1.0], target, spread=spread)


# --- learning -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rounding", ["nearest_plane", "rounding"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_correlated_weights_are_quantised_better_than_one_by_one(rounding: str, bits: int) -> None:
    places = torch.arange(4)
    L = torch.linalg.cholesky(0.9 ** (places[:, None] - places).abs().float())
    W = (normal(4, 4096, 4) @ L.T).reshape(512, 32)
    quantizer = LatticeQuantizer(4, bits, 32, max_iter=60, rounding=rounding).fit(W)
    assert error(W, quantizer.quantize().decode()) < 0.8 * uniform_error(W, bits)
    fresh = (normal(5, 1024, 4) @ L.T).reshape(128, 32)
    assert error(fresh, quantizer.quantize(fresh).decode()) < 0.85 * uniform_error(fresh, bits)


def test_companding_serves_heavy_tails() -> None:
    W = torch.from_numpy(np.random.default_rng(6).laplace(size=(256, 32)))
    found = {
        how: error(W, LatticeQuantizer(1, 3, 32, companding=how, max_iter=60).fit(W).quantize().decode())
        for how in ("mu", "none")
    }
    assert found["mu"] < 0.9 * found["none"]


def test_calibration_lowers_the_error_of_the_outputs() -> None:
    W, mix = normal(7, 64, 32), normal(8, 32, 32)
    X = normal(9, 500, 32) @ mix.T

    def output_error(**options) -> float:
        quantizer = LatticeQuantizer(4, 2, 32, max_iter=60, **options).fit(W, X)
        decoded = torch.from_numpy(quantizer.quantize().decode())
        return float((X @ (W - decoded).T).square().mean() / (X @ W.T).square().mean())

    weights, alone, fed_back = (output_error(**o) for o in ({"learn": "weights"}, {"feedback": False}, {}))
    assert fed_back < 0.8 * alone < 0.8 * weights


def test_feedback_rounds_the_adjusted_weights_and_no_others() -> None:
    W, X = normal(10, 16, 24), normal(11, 100, 24) @ normal(12, 24, 24)
    quantizer = LatticeQuantizer(4, 2, 8, max_iter=10).fit(W, X)
    alone = LatticeQuantizer(4, 2, 8, max_iter=10, feedback=False).fit(W, X)
    codes, adjusted = quantizer.quantize(), quantizer.adjusted()
    assert torch.equal(alone.adjusted(), W) and not torch.equal(adjusted, W)
    assert torch.equal(adjusted[:, 0:4], W[:, 0:4])  # nothing is on the left of a group's first vector
    assert np.array_equal(alone.quantize(adjusted).decode(), codes.decode())


def test_feedback_is_optimal_where_the_rest_need_not_be_rounded() -> None:
    from hardgrad.bits.lattice_learning import DAMPING, spread_errors

    x, X = normal(13, 1, 3, 2, 2).double(), normal(14, 50, 4).double()
    H = (X.T @ X / 50)[None]
    calls = iter([lambda block: block.round(), lambda block: block])
    targets = spread_errors(x, H, lambda block: next(calls)(block))
    damped = H[0] + DAMPING * H[0].diagonal().mean() * torch.eye(4)
    done = x[0, :, 0] - x[0, :, 0].round()
    best = torch.linalg.solve(
        damped[2:, 2:], damped[2:, :2] @ done.T
    ).T  # normal equations of the second half
    torch.testing.assert_close(targets[0, :, 1], x[0, :, 1] + best)


def test_codes_are_the_best_of_the_starts_as_they_are_stored() -> None:
    W = normal(15, 128, 16)
    quantizer = LatticeQuantizer(4, 2, 16, max_iter=20).fit(W)
    codes, report = quantizer.quantize(), quantizer.gap()
    relative = error(W, codes.decode()) / float(W.double().square().mean())
    assert report.hard == pytest.approx(relative, rel=1e-6) == quantizer.relative_error_
    assert abs(report.gap) < 0.01 and report.agreement > 0.97 and report.rows == 128
    assert report.detail["closest"] <= report.hard
    closest = quantizer.quantize(rounding="closest")
    assert error(W, closest.decode()) / float(W.double().square().mean()) == pytest.approx(
        report.detail["closest"]
    )
    assert LatticeQuantizer(16, 2, 16, max_iter=1).fit(W).gap().detail == {}


def test_salience_moves_bits_between_groups() -> None:
    W = torch.cat([0.1 * normal(16, 32, 16), 4 * normal(17, 32, 16), normal(18, 32, 4)], dim=1)
    plain = LatticeQuantizer(4, 3, 16, max_iter=15).fit(W)
    moved = LatticeQuantizer(4, 3, 16, max_iter=15, allocation="salience").fit(W)
    assert plain.bits_.tolist() == [3, 3, 3] and moved.bits_.tolist() == [2, 4, 3]
    assert error(W, moved.quantize().decode()) < 0.5 * error(W, plain.quantize().decode())
    between = LatticeQuantizer(4, 2.5, 16, max_iter=0, allocation="salience").fit(W)
    assert between.bits_.tolist() == [1, 4, 2]


def test_groups_do_not_meet() -> None:
    W = normal(19, 32, 48)
    together = LatticeQuantizer(4, 2, 16, max_iter=10).fit(W).quantize()
    alone = LatticeQuantizer(4, 2, 16, max_iter=10).fit(W[:, 16:32]).quantize()
    np.testing.assert_allclose(together.decode_group(1), alone.decode_group(0), rtol=1e-5, atol=1e-6)


def test_large_layers_are_learned_in_chunks_of_groups(monkeypatch) -> None:
    W = normal(20, 16, 48)
    whole = LatticeQuantizer(4, 2, 16, max_iter=5).fit(W).quantize().decode()
    monkeypatch.setattr("hardgrad.bits.lattice.CHUNK", 1)
    chunks = LatticeQuantizer(4, 2, 16, max_iter=5).fit(W).quantize().decode()
    np.testing.assert_allclose(chunks, whole, rtol=1e-5, atol=1e-6)


def test_same_seed_same_bits_and_rows_are_sampled() -> None:
    W = normal(21, 300, 16)
    one, two, other = (
        LatticeQuantizer(4, 2, 16, max_iter=5, max_vectors=200, random_state=seed).fit(W).quantize()
        for seed in (0, 0, 1)
    )
    assert one.equals(two) and not one.equals(other) and one.shape == (300, 16)


def test_awkward_weights() -> None:
    silent = LatticeQuantizer(4, 2, 8, max_iter=3).fit(torch.zeros(6, 16)).quantize()
    assert not silent.decode().any()
    half = torch.cat([torch.zeros(6, 8), normal(22, 6, 8)], dim=1)
    assert not LatticeQuantizer(4, 2, 8, max_iter=3).fit(half).quantize().decode()[:, :8].any()
    for W in (
        torch.ones(5, 8), normal(23, 1, 1), normal(24, 3, 5), 1e-30 * normal(25, 8, 8), 1e30 * normal(26, 8, 8),
        torch.eye(8), normal(27, 40, 8) * torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0]), normal(28, 8, 8).double(),
    ):  # fmt: skip
        quantizer = LatticeQuantizer(4, 4, 8, max_iter=10).fit(W)
        decoded = quantizer.quantize().decode()
        assert np.isfinite(decoded).all() and decoded.shape == tuple(W.shape)
        assert error(W, decoded) < 0.2 * float(W.double().square().mean())
        assert np.isfinite(quantizer.gap().hard)


def test_inputs_that_never_vary_do_not_stop_calibration() -> None:
    W = normal(29, 8, 16)
    for X in (torch.zeros(4, 16), torch.ones(4, 16), torch.cat([normal(30, 4, 8), torch.zeros(4, 8)], dim=1)):
        quantizer = LatticeQuantizer(4, 2, 8, max_iter=5).fit(W, X)
        assert np.isfinite(quantizer.quantize().decode()).all() and np.isfinite(quantizer.relative_error_)


def test_progress_is_told() -> None:
    seen = []
    with listen(seen.append):
        LatticeQuantizer(4, 2, 8, max_iter=10).fit(normal(31, 8, 8))
    assert seen[-1].phase == "lattices" and seen[-1].fraction == 1.0 and seen[-1].soft < seen[0].soft


# --- what is refused ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0}, {"dim": 65}, {"dim": 2.0}, {"bits": 0}, {"bits": 9}, {"bits": 2.5}, {"bits": float("nan")}, {"group_size": 100},
        {"group_size": 0}, {"companding": "log"}, {"learn": "both"}, {"rounding": "closest"}, {"allocation": "greedy"}, {"max_iter": -1},
        {"learning_rate": -1.0}, {"anchor": float("nan")}, {"max_vectors": 0}, {"max_iter": True},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ParameterError):
        LatticeQuantizer(**options)


def test_inputs_that_do_not_fit_are_refused() -> None:
    quantizer = LatticeQuantizer(4, 2, 8, max_iter=1)
    with pytest.raises(InputError, match="fit"):
        quantizer.quantize()
    for W in (torch.zeros(8), torch.zeros(0, 8), torch.full((2, 8), torch.nan), torch.zeros(2, 8, dtype=torch.complex64),
              torch.full((2, 8), 1e300, dtype=torch.float64)):  # fmt: skip
        with pytest.raises(InputError):
            quantizer.fit(W)
    W = normal(32, 4, 16)
    for inputs in (
        torch.zeros(3, 15),
        torch.full((3, 16), torch.nan),
        InputMoments(16, 4),
        InputMoments(16, 8),
    ):
        with pytest.raises(InputError):
            quantizer.fit(W, inputs)
    with pytest.raises(ParameterError, match="no inputs"):
        LatticeQuantizer(4, 2, 8, learn="calibrated").fit(W)
    quantizer.fit(W)
    with pytest.raises(InputError, match="15 columns"):
        quantizer.quantize(W[:, :15])
    with pytest.raises(ParameterError, match="closest"):
        quantizer.quantize(rounding="nearest")
