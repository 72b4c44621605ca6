"""Sorting networks as data: layers of comparators, the two classic constructions, and the proof that a network sorts.

How they are relaxed is in `sorting_networks`; the exact artifact is `hardgrad.nn.ComparatorNetwork`. Never imports torch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from hardgrad.core.errors import ParameterError, suggestion

Comparator = tuple[int, int]  # the wire that gets the smaller number, the wire that gets the larger one
Layer = tuple[Comparator, ...]  # comparators that touch no wire twice
Layers = tuple[Layer, ...]
MOST_PROVED = 16  # wires up to which all 2^n inputs are tried


def odd_even(n: int) -> Layers:
    """Return the odd-even transposition network: n layers of neighbours, n (n - 1) / 2 comparators.

    >>> odd_even(3)
    (((0, 1),), ((1, 2),), ((0, 1),))
    """
    layers = (tuple((i, i + 1) for i in range(layer % 2, n - 1, 2)) for layer in range(n if n > 1 else 0))
    return tuple(layer for layer in layers if layer)


def bitonic(n: int) -> Layers:
    """Return Batcher's bitonic network, k (k + 1) / 2 layers for k = ceil(log2 n).

    Where n is no power of two it is the network of the next one without its lowest wires: there the smallest numbers would stay, so
    comparators that touch these wires never swap.

    >>> bitonic(3)
    (((2, 1),), ((0, 2),), ((1, 2),))

    Source: Batcher, 1968, Sorting networks and their applications.
    """
    size = 1 << max(n - 1, 0).bit_length()
    dropped = size - n
    layers = []
    for block in (1 << k for k in range(1, size.bit_length())):
        stride = block // 2
        while stride:
            layers.append(
                tuple(
                    (i + stride - dropped, i - dropped) if i & block else (i - dropped, i + stride - dropped)
                    for i in range(dropped, size)
                    if not i & stride
                )
            )
            stride //= 2
    return tuple(layer for layer in layers if layer)


NETWORKS: dict[str, Callable[[int], Layers]] = {"odd_even": odd_even, "bitonic": bitonic}
Network = str | Sequence[Sequence[Sequence[int]]]


def network_layers(name: str, network: Network, n: int) -> Layers:
    """Return the layers of a network for n wires, given by its name or as layers of pairs (wire of the smaller, wire of the larger).

    Parameters
    ----------
    name : of the operation, for messages.
    network : "odd_even", "bitonic", or layers of pairs; these are checked, and up to 16 wires it is proved that they sort.
    n : number of wires.

    Raises
    ------
    ParameterError : an unknown name; pairs that are none, name a wire twice in a layer or a wire that there is not; a network that does
        not sort.

    Examples
    --------
    >>> network_layers("sort", [[(0, 1)], [(1, 2)], [(0, 1)]], 3) == odd_even(3)
    True
    """
    if isinstance(network, str):
        check_network(name, network)
        return _named(network, n)
    return _given(name, as_layers(name, network), n)


def check_network(name: str, network: Network) -> None:
    """Raise `ParameterError` for what is neither the name of a network nor layers of pairs."""
    if not isinstance(network, str):
        as_layers(name, network)
    elif network not in NETWORKS:
        raise ParameterError(
            f"{name}() got network={network!r}; expected one of {', '.join(NETWORKS)}, or layers of pairs of wires."
            f"{suggestion(network, list(NETWORKS))}"
        )


def as_layers(name: str, network: Iterable[Iterable[Iterable[int]]]) -> Layers:
    """Return layers of pairs as tuples of whole numbers. Raises `ParameterError` where they are something else."""
    try:
        layers = tuple(
            tuple((operator.index(low), operator.index(high)) for low, high in layer) for layer in network
        )
    except (TypeError, ValueError):
        raise ParameterError(
            f"{name}() got network={network!r}; expected layers of pairs (wire of the smaller, wire of the larger), as in "
            "[[(0, 1)], [(1, 2)], [(0, 1)]], or a name."
        ) from None
    for k, layer in enumerate(layers):
        wires = [wire for pair in layer for wire in pair]
        if len(set(wires)) < len(wires) or min(wires, default=0) < 0:
            raise ParameterError(
                f"{name}() got a network whose layer {k} is {layer!r}; expected every wire at most once in a layer, counted from 0."
            )
    return layers


def unsorted_inputs(layers: Layers, n: int, *, descending: bool = False) -> int:
    """Return how many of the 2^n inputs of zeros and ones a network leaves out of order; with none, it sorts everything (0-1 principle).

    >>> unsorted_inputs(odd_even(4), 4), unsorted_inputs(odd_even(4)[:3], 4)
    (0, 1)

    Source: Knuth, 1973, The Art of Computer Programming, volume 3, section 5.3.4.
    """
    numbers = np.arange(1 << n, dtype=np.int64)
    wires = [(numbers >> wire & 1).astype(bool) for wire in range(n)]
    for layer in layers:
        for low, high in layer:
            wires[low], wires[high] = wires[low] & wires[high], wires[low] | wires[high]
    wrong = np.zeros(1 << n, dtype=bool)
    ordered = wires[::-1] if descending else wires
    for smaller, larger in pairwise(ordered):
        wrong |= smaller & ~larger
    return int(wrong.sum())


@lru_cache(maxsize=64)
def _named(network: str, n: int) -> Layers:
    return NETWORKS[network](n)


@lru_cache(maxsize=64)
def _given(name: str, layers: Layers, n: int) -> Layers:
    wires = {wire for layer in layers for pair in layer for wire in pair}
    if max(wires, default=0) >= max(n, 1) or (n > 1 and len(wires) < n):
        raise ParameterError(
            f"{name}() got a network on {max(wires, default=-1) + 1} wires, of which {len(wires)} are compared, for {n} elements; "
            "expected one wire an element."
        )
    if 1 < n <= MOST_PROVED and (wrong := unsorted_inputs(layers, n)):
        raise ParameterError(
            f"{name}() got a network that leaves {wrong:,} of the {1 << n:,} inputs of zeros and ones out of order; expected one that "
            "sorts in ascending order."
        )
    return layers
