"""Sorting networks as data: every size sorts, what does not is refused, and the two constructions have the known sizes."""

from __future__ import annotations

import math

import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.functional.network_layers import NETWORKS, bitonic, network_layers, odd_even, unsorted_inputs


@pytest.mark.parametrize("network", NETWORKS)
def test_every_size_sorts_all_zeros_and_ones(network: str) -> None:
    for n in range(17):
        assert unsorted_inputs(NETWORKS[network](n), n) == 0


def test_sizes_are_those_of_the_literature() -> None:
    for n in (2, 4, 8, 16, 32):
        k = int(math.log2(n))
        assert len(bitonic(n)) == k * (k + 1) // 2
        assert sum(map(len, bitonic(n))) == n * k * (k + 1) // 4
        assert len(odd_even(n)) == n or n == 2
        assert sum(map(len, odd_even(n))) == n * (n - 1) // 2


def test_dropping_the_highest_wires_instead_would_not_sort() -> None:
    for n in (3, 5, 6, 7, 9, 15):
        whole = bitonic(1 << (n - 1).bit_length())
        sliced = tuple(tuple(pair for pair in layer if max(pair) < n) for layer in whole)
        assert unsorted_inputs(sliced, n) > 0


def test_every_comparator_of_odd_even_is_needed() -> None:
    layers = odd_even(5)
    for k, layer in enumerate(layers):
        for pair in layer:
            less = (*layers[:k], tuple(p for p in layer if p != pair), *layers[k + 1 :])
            assert unsorted_inputs(less, 5) > 0


@pytest.mark.parametrize(
    "network",
    [
        "bubble", [[(0, 1)]], [[(0, 1), (1, 2)]], [[(0, 0)]], [[(0,)]], 3, [[(0, 1)], [(1, 3)], [(0, 1)]], [[(1, 0)], [(2, 1)], [(1, 0)]],
        [[(0.0, 1.0)]], [[(-1, 0)]],
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(network: object) -> None:
    with pytest.raises(ParameterError, match=r"sort\(\) got (a )?network"):
        network_layers("sort", network, 3)  # type: ignore[arg-type]
