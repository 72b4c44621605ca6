"""CircuitGenerator: proposes circuits for a truth table, codes filled in a few at a time; a prior for `CircuitSearch`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.gradients.families import race
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.circuit_graphs import CircuitGraphs
from hardgrad.logic.circuit_tokens import (
    CircuitTokenizer,
    TableEncoder,
    TokenSizes,
    tensors,
    transformer,
)
from hardgrad.logic.graph_training import GraphPlan, train_on_graphs
from hardgrad.logic.truth_tables import TruthTable
from hardgrad.train.loop import one_torch_thread


class GeneratorNetwork(nn.Module):
    """A Transformer that scores the codes of masked places, given the others and a truth table.

    Parameters
    ----------
    sizes : of the tokenizer.
    """

    def __init__(self, sizes: TokenSizes) -> None:
        super().__init__()
        self.mask = sizes.n_codes
        self.code, self.place = (
            nn.Embedding(sizes.n_codes + 1, sizes.dim),
            nn.Embedding(sizes.nodes, sizes.dim),
        )
        self.table, self.layers = TableEncoder(sizes), transformer(sizes)
        self.head = nn.Linear(sizes.dim, sizes.n_codes)

    def forward(self, codes: Tensor, tables: Tensor) -> Tensor:
        """Return scores [B, nodes, codes] of codes [B, nodes], some of them `mask`, and tables [B, rows, outputs]."""
        nodes = self.code(codes) + self.place.weight
        known = self.layers(torch.cat([self.table(tables), nodes], dim=1))
        scores: Tensor = self.head(known[:, TableEncoder.TOKENS :])
        return scores


class CircuitGenerator:
    """Learns which circuits compute which functions, and proposes some for a function that it has not seen.

    Parameters
    ----------
    tokenizer : a fitted `CircuitTokenizer`.
    n_rounds : in how many rounds codes are filled in, the surest first.
    temperature : of the codes that are drawn; below 1 proposals are more alike.
    n_draws : proposals drawn for each that is wanted; those with the fewest wrong bits are kept.
    n_steps, batch_size, learning_rate : of Adam.
    random_state : seed.

    Examples
    --------
    >>> from hardgrad.logic import TruthTable, random_circuits
    >>> circuits = random_circuits(40, 3, 4)
    >>> tokenizer = CircuitTokenizer(4, n_codes=32, dim=16, depth=1, n_steps=20).fit(circuits)
    >>> generator = CircuitGenerator(tokenizer, n_steps=20).fit(circuits)
    >>> len(generator(TruthTable.of(circuits[0]), 3))
    3

    Source: Wu, Zheng, Hu, He and Yu, 2025, Architect of the Bits World: Masked Autoregressive Modeling for Circuit Generation Guided by
    Truth Table.
    """

    def __init__(
        self,
        tokenizer: CircuitTokenizer,
        *,
        n_rounds: int = 6,
        temperature: float = 1.0,
        n_draws: int = 8,
        n_steps: int = 800,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        random_state: int = 0,
    ) -> None:
        if min(n_rounds, n_draws) < 1 or not temperature > 0:
            raise ParameterError(
                f"CircuitGenerator() got n_rounds={n_rounds}, n_draws={n_draws}, temperature={temperature}; expected at least 1, and a "
                "positive number."
            )
        self.tokenizer, self.n_rounds, self.temperature, self.n_draws = (
            tokenizer,
            n_rounds,
            temperature,
            n_draws,
        )
        self.plan = GraphPlan(n_steps, batch_size, learning_rate, random_state)

    def fit(self, circuits: Sequence[Circuit]) -> Self:
        """Learn from circuits, which are varied as for the tokenizer.

        Raises
        ------
        DataError : circuits of other inputs, outputs or sizes than the tokenizer's.
        ParameterError : the tokenizer has learned nothing yet.
        """
        sizes = self.tokenizer.sizes
        graphs = CircuitGraphs.of(circuits, sizes.max_gates)
        self.tokenizer.encode(graphs.rows(np.arange(1)))  # says what does not fit
        network: GeneratorNetwork = self.plan.build(lambda: GeneratorNetwork(sizes))
        train_on_graphs(
            network,
            graphs,
            lambda batch, rng: self._loss(network, batch, rng),
            self.plan,
            "circuit generator",
            self.tokenizer.network_,
        )
        self.network_ = network
        return self

    def _loss(self, network: GeneratorNetwork, graphs: CircuitGraphs, rng: np.random.Generator) -> Tensor:
        """Cross-entropy of masked codes; how many are masked follows a cosine, and it is at least one."""
        codes = torch.from_numpy(self.tokenizer.encode(graphs))
        share = np.cos(0.5 * np.pi * rng.random((len(codes), 1)))
        masked = torch.from_numpy(rng.random(codes.shape) < share)
        masked[torch.arange(len(codes)), torch.from_numpy(rng.integers(0, codes.shape[1], len(codes)))] = True
        scores = network(codes.masked_fill(masked, network.mask), tensors(graphs)[2])
        return cross_entropy(scores[masked], codes[masked])

    @torch.no_grad()
    def __call__(self, table: TruthTable, count: int, random_state: int = 0) -> list[Circuit]:
        """Return circuits that may compute a table, those with the fewest wrong bits first.

        Parameters
        ----------
        table : of as many inputs and outputs as the circuits that were learned. What does not matter in it is taken as it stands.
        count : how many. random_state : seed of the draws.

        Raises
        ------
        DataError : a table of another shape.
        ParameterError : a count below 1, or nothing was learned yet.
        """
        if not hasattr(self, "network_"):
            raise ParameterError("the CircuitGenerator has learned nothing yet; call fit() first.")
        if count < 1:
            raise ParameterError(f"CircuitGenerator got count={count}; expected at least 1.")
        sizes = self.tokenizer.sizes
        if (table.n_inputs, table.n_outputs) != (sizes.n_inputs, sizes.n_outputs):
            raise DataError(
                f"the generator learned circuits of {sizes.n_inputs} inputs and {sizes.n_outputs} outputs; got a table of "
                f"{table.n_inputs} and {table.n_outputs}."
            )
        with one_torch_thread():  # the networks are small
            codes = self._drawn(table, count * self.n_draws, torch.Generator().manual_seed(random_state))
            graphs = self.tokenizer.decode_graphs(codes.numpy())
        wrong = ((graphs.tables != table.outputs) & table.care).sum(axis=(1, 2))
        return [graphs.circuit(k) for k in np.argsort(wrong, kind="stable")[:count].tolist()]

    def _drawn(self, table: TruthTable, count: int, generator: torch.Generator) -> Tensor:
        """Codes [count, nodes]: in each round all masked places are drawn, and the surest are kept."""
        nodes, mask = self.tokenizer.sizes_.nodes, self.network_.mask
        bits = torch.from_numpy(table.outputs).to(torch.get_default_dtype()).expand(count, -1, -1)
        codes = torch.full((count, nodes), mask)
        for done in range(1, self.n_rounds + 1):
            logits = self.network_(codes, bits) / self.temperature
            drawn = torch.where(codes == mask, race(logits, generator).argmax(dim=-1), codes)
            left = math.floor(nodes * math.cos(0.5 * math.pi * done / self.n_rounds))
            surety = logits.log_softmax(dim=-1).gather(-1, drawn[..., None])[..., 0]
            surety = surety.masked_fill(codes != mask, torch.inf)
            again = surety.topk(left, dim=1, largest=False).indices if left else codes[:, :0]
            codes = drawn.scatter(1, again, mask)
        return codes
