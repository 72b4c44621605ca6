"""Modules for learning from orders: a relaxed sorting network, and a scorer that looks at whole sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.measured_gap import gap
from hardgrad.functional.network_layers import Network, as_layers, network_layers
from hardgrad.functional.results import Selection
from hardgrad.functional.selection import sort
from hardgrad.functional.soft_steps import swap_error_bound
from hardgrad.functional.sorting_networks import check_swap
from hardgrad.nn.comparator_network import ComparatorNetwork


class SortingNetwork(Relaxed):
    """Sort lists of n numbers through a network of relaxed comparators; hardens to a `ComparatorNetwork`.

    Parameters
    ----------
    n : length of the lists.
    network : "odd_even", "bitonic", or layers of pairs (wire of the smaller, wire of the larger).
    kind : the soft step of a swap, see `hardgrad.functional.sort`.
    swap : "soft", or "error_free" (exact forward, relaxed backward).
    temperature : positive, in the units of the numbers; small is hard.
    descending : largest first.

    Raises
    ------
    ParameterError, TemperatureError : an argument outside its range, or layers that do not sort.

    Examples
    --------
    >>> sorter = SortingNetwork(3, temperature=0.2, kind="optimal")
    >>> [round(v, 3) for v in sorter(torch.tensor([3.0, 1.0, 2.0])).values.tolist()]
    [1.025, 2.0, 2.975]
    >>> sorter.harden().unsorted_inputs()
    0
    """

    def __init__(
        self,
        n: int,
        network: Network = "odd_even",
        *,
        kind: str = "cauchy",
        swap: str = "soft",
        temperature: float = 0.1,
        descending: bool = False,
    ) -> None:
        super().__init__(temperature)
        if type(n) is not int or n < 0:
            raise ParameterError(f"SortingNetwork got n={n!r}; expected the length of the lists.")
        check_swap("SortingNetwork", kind, swap)
        self.n, self.kind, self.swap, self.descending = n, kind, swap, descending
        self.network: Network = network if isinstance(network, str) else as_layers("SortingNetwork", network)
        self.depth = len(network_layers("SortingNetwork", self.network, n))

    def forward(self, x: Tensor, *, mode: Mode | None = None) -> Selection:
        """Return the sorted lists of x (..., n): values, exact indices and weights (..., n, n) (see `hardgrad.functional.sort`).

        Raises
        ------
        InputError : lists of another length.
        """
        if x.dim() < 1 or x.shape[-1] != self.n:
            raise InputError(
                f"SortingNetwork for n={self.n} got a tensor of shape {tuple(x.shape)}; expected (..., {self.n})."
            )
        return sort(
            x, -1, self.descending, temperature=self.resolved_temperature(), method="network", network=self.network,
            kind=self.kind, swap=self.swap, mode=mode,
        )  # fmt: skip

    def harden(self) -> ComparatorNetwork:
        """Return the exact network."""
        return ComparatorNetwork.build(self.network, self.n, descending=self.descending)

    def gap(self, x: Tensor, *, tolerance: float = 1e-3) -> GapReport:
        """Return what hardening costs on lists x (..., n).

        Returns
        -------
        report : of the sorted values; `detail["bound"]` is how far they can be from the exact ones: depth times the error of one swap,
            `detail["no_permutation"]` the share of lists whose weights have two largest entries in one column.
        """
        report = gap(self.forward, x, temperature=float(self.temperature), tolerance=tolerance)
        bound = 0.0 if self.swap == "error_free" else self.depth * swap_error_bound(self.kind, float(self.temperature))  # fmt: skip
        with torch.no_grad():
            chosen = self.forward(x, mode="soft").weights.argmax(-1).sort(-1).values
        broken = (chosen != torch.arange(self.n, device=x.device)).any(-1)
        more = {"bound": bound, "no_permutation": float(broken.double().mean())}
        return replace(report, detail={**report.detail, **more})

    def extra_repr(self) -> str:
        """Return the arguments, for the text of a model."""
        network = self.network if isinstance(self.network, str) else "given"
        return f"{self.n}, {network}, kind={self.kind}, swap={self.swap}, descending={self.descending}"


class PermutationEquivariantScorer(nn.Module):
    """Score every item of a set with the others in view: a Transformer encoder over the set, without positions.

    Permuting the items permutes the scores.

    Parameters
    ----------
    embedding : what makes vectors of `width` of a batch of items, (items, ...) to (items, width); or the number of features of an item,
        which are then embedded linearly.
    width : of the encoder; `heads` divides it.
    layers, heads : of the encoder.
    dropout : between 0 and 1; 0 by default.

    Raises
    ------
    ParameterError : heads that do not divide the width.

    Examples
    --------
    >>> scorer = PermutationEquivariantScorer(5, width=8, layers=1, heads=2)
    >>> scorer(torch.zeros(3, 7, 5)).shape
    torch.Size([3, 7])

    Source: Kim, Yoon and Cho, 2024, Generalized Neural Sorting Networks with Error-Free Differentiable Swap Functions.
    """

    def __init__(
        self,
        embedding: nn.Module | int,
        *,
        width: int = 32,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ParameterError(
                f"PermutationEquivariantScorer got width={width} and heads={heads}; expected heads that divide the width."
            )
        self.embedding = nn.Linear(embedding, width) if isinstance(embedding, int) else embedding
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.score = nn.Linear(width, 1)

    def forward(self, items: Tensor) -> Tensor:
        """Return scores (sets, n) of items (sets, n, ...).

        Raises
        ------
        InputError : fewer than three dimensions.
        """
        if items.dim() < 3:
            raise InputError(
                f"PermutationEquivariantScorer got a tensor of shape {tuple(items.shape)}; expected (sets, items, ...)."
            )
        embedded: Any = self.embedding(items.flatten(0, 1))
        scores: Tensor = self.score(torch.relu(self.encoder(embedded.unflatten(0, items.shape[:2]))))
        return scores.squeeze(-1)
