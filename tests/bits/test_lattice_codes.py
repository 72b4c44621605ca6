"""LatticeCodes: indices that come back, weights by the definition, arrays that do not fit. Its file is tested by the contract suite."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hardgrad.bits import LatticeCodes
from hardgrad.core.errors import ArtifactError, InputError


def random_codes(seed: int, bits: list[int], shape: tuple[int, int], group_size: int, d: int) -> LatticeCodes:
    """Codes of random indices on random lattices."""
    rng = np.random.default_rng(seed)
    groups = len(bits)
    widths = [min(group_size, shape[1] - group * group_size) for group in range(groups)]
    indices = [
        rng.integers(-(1 << b >> 1), (1 << b) - (1 << b >> 1), (shape[0], -(-width // d), d))
        for b, width in zip(bits, widths, strict=True)
    ]
    codes = LatticeCodes.pack(
        indices,
        generators=(0.3 * rng.normal(size=(groups, d, d))).astype(np.float16),
        mu=rng.choice([0.0, 0.05, 2.0, 255.0], groups).astype(np.float16),
        scales=rng.exponential(size=groups).astype(np.float32),
        bits=np.array(bits, dtype=np.uint8),
        shape=shape,
        group_size=group_size,
    )
    assert all(np.array_equal(codes.indices(group), indices[group]) for group in range(groups))
    return codes


CASES = [
    ([2], (3, 8), 8, 8),
    ([1, 8, 3], (5, 20), 8, 4),
    ([5, 7, 6, 4], (1, 7), 2, 2),
    ([2, 3], (4, 10), 6, 4),  # groups that are no whole vectors
    ([2], (2, 3), 128, 1),
]


@pytest.mark.parametrize(("bits", "shape", "group_size", "d"), CASES)
def test_weights_are_those_of_the_definition(bits, shape, group_size, d) -> None:
    codes = random_codes(0, bits, shape, group_size, d)
    decoded = codes.decode()
    assert decoded.dtype == np.float32 and decoded.shape == shape
    for row, column in itertools.product(range(shape[0]), range(shape[1])):
        group, inside = divmod(column, group_size)
        vector, place = divmod(inside, d)
        z = codes.indices(group)[row, vector] + 0.5
        u = float((codes.generators[group, place].astype(np.float64) * z).sum())
        m, mu = float(codes.scales[group]), float(codes.mu[group])
        expected = m * u if mu == 0 else m * np.sign(u) * ((1 + mu) ** abs(u) - 1) / mu
        assert decoded[row, column] == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(("bits", "shape", "group_size", "d"), CASES)
def test_products_are_those_of_the_decoded_matrix(bits, shape, group_size, d) -> None:
    codes = random_codes(1, bits, shape, group_size, d)
    X = np.random.default_rng(2).normal(size=(6, shape[1]))
    np.testing.assert_allclose(
        codes.matmul(X), X @ codes.decode().T.astype(np.float64), rtol=1e-12, atol=1e-12
    )
    assert codes.matmul(X[:0]).shape == (0, shape[0])


def test_points_are_exact_in_any_order_of_summation() -> None:
    """Without companding nothing is rounded but the result: whole-number arithmetic gives the same bits."""
    rng = np.random.default_rng(3)
    d = 32
    G = np.concatenate(
        [rng.normal(size=(d, 16)) * 10.0 ** rng.integers(-4, 4, (d, 16)), rng.normal(size=(d, 16))], 1
    )
    index = rng.integers(-128, 128, (50, 1, d))
    codes = LatticeCodes.pack(
        [index], generators=G.astype(np.float16)[None], mu=np.zeros(1, np.float16), scales=np.ones(1, np.float32),
        bits=np.array([8], np.uint8), shape=(50, d), group_size=d,
    )  # fmt: skip
    whole = (G.astype(np.float16).astype(np.float64) * 2**24).astype(np.int64).astype(object)
    exact = ((2 * index[:, 0].astype(object) + 1) @ whole.T).astype(np.float64) / 2**25
    assert np.array_equal(codes.decode(), exact.astype(np.float32))


def test_bits_count_everything_that_is_stored() -> None:
    codes = random_codes(4, [2, 2], (64, 32), 16, 8)
    assert codes.bits_per_weight * 64 * 32 == 2 * (2 * 64 * 16 + 16 * 64 + 16 + 32 + 8)
    assert codes.n_groups == 2 and codes.dim == 8


def test_groups_of_zeros_decode_to_zeros() -> None:
    codes = random_codes(5, [2], (3, 8), 8, 8)
    silent = LatticeCodes(
        codes.words, codes.generators, codes.mu, np.zeros(1, np.float32), codes.bits, (3, 8), 8
    )
    assert not silent.decode().any()


def test_arrays_that_do_not_fit_are_refused() -> None:
    good = random_codes(6, [2, 3], (3, 16), 8, 4)
    fields = {**good.arrays(), "shape": good.shape, "group_size": good.group_size}
    LatticeCodes(**fields)
    wrong = {
        "words": [good.words[:-1], good.words.astype(np.int64), good.words[None], list(good.words)],
        "generators": [good.generators[:1], good.generators[:, :2], good.generators.astype(np.float32),
                       good.generators * np.float16(np.nan), np.full((2, 4, 4), 65504, np.float16)],
        "mu": [good.mu[:1], -good.mu - np.float16(1), np.full(2, np.inf, np.float16)],
        "scales": [good.scales[:1], -good.scales, np.full(2, np.nan, np.float32), np.full(2, 3e38, np.float32)],
        "bits": [np.array([0, 3], np.uint8), np.array([2, 9], np.uint8), np.array([3, 3], np.uint8), good.bits[:1]],
        "shape": [(3, 17), (2, 16), (0, 16), (3, True), [3, 16], (3.0, 16), (3, 16, 1)],
        "group_size": [0, 4, 16, None, 8.0],
    }  # fmt: skip
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ArtifactError):
                LatticeCodes(**(fields | {name: value}))


def test_indices_beyond_their_bits_are_refused() -> None:
    good = random_codes(7, [2], (1, 4), 4, 4)
    fields = {name: value for name, value in good.arrays().items() if name != "words"}
    for index in ([[0, 0, 0, 2]], [[-3, 0, 0, 0]]):
        with pytest.raises(ArtifactError, match="2 bits"):
            LatticeCodes.pack([index], **fields, shape=(1, 4), group_size=4)


@pytest.mark.parametrize("X", [np.zeros((2, 3)), np.zeros(4), np.full((1, 4), np.nan)])
def test_rows_that_do_not_fit_are_refused(X) -> None:
    with pytest.raises(InputError, match="matmul"):
        random_codes(8, [2], (1, 4), 4, 4).matmul(X)
