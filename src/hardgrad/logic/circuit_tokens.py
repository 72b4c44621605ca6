"""CircuitTokenizer: circuits as short sequences of codes, by an autoencoder with a codebook, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.circuit_graphs import (
    COMPLEMENT,
    EMPTY,
    KINDS,
    MOST_INPUTS,
    OUTPUT,
    CircuitGraphs,
    Ints,
)
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.graph_training import GraphPlan, train_on_graphs
from hardgrad.nn.vector_quantizer import Quantized, VectorQuantizer

HEADS = 4
READS_WEIGHT = 2.0
"""Of the wires that are read, beside the kinds of nodes."""


@dataclass(frozen=True)
class TokenSizes:
    """Sizes of the networks of a tokenizer and of a generator.

    Parameters
    ----------
    n_inputs, n_outputs, max_gates : of the circuits.
    n_codes : of the codebook. dim : of all vectors, a multiple of 4. depth : layers of a Transformer.
    """

    n_inputs: int
    n_outputs: int
    max_gates: int
    n_codes: int = 512
    dim: int = 64
    depth: int = 2

    @property
    def nodes(self) -> int:
        """Length of a sequence: a code a slot for a gate, and one an output."""
        return self.max_gates + self.n_outputs

    @property
    def wires(self) -> int:
        """Inputs and slots."""
        return self.n_inputs + self.max_gates


def transformer(sizes: TokenSizes, *, depth: int | None = None) -> nn.TransformerEncoder:
    """Return layers of self-attention for vectors [B, L, dim]."""
    layer = nn.TransformerEncoderLayer(
        sizes.dim, HEADS, 2 * sizes.dim, dropout=0.0, batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(
        layer, depth or sizes.depth, nn.LayerNorm(sizes.dim), enable_nested_tensor=False
    )


class TableEncoder(nn.Module):
    """Truth tables [B, rows, outputs] of 0 and 1 as a few vectors [B, TOKENS, dim] to attend to.

    A network sees them through their spectrum, and through how far the parts agree that two inputs cut the table into: equal parts are
    what a gate of these two inputs leaves.
    """

    TOKENS = 4

    def __init__(self, sizes: TokenSizes) -> None:
        super().__init__()
        n = sizes.n_inputs
        self.pairs = list(combinations(range(n), 2))
        features = sizes.n_outputs * (3 * 2**n + 12 * len(self.pairs))
        wide = 4 * sizes.dim
        self.layers = nn.Sequential(
            nn.Linear(features, wide), nn.GELU(), nn.Linear(wide, wide), nn.GELU(), nn.Linear(wide, self.TOKENS * sizes.dim)
        )  # fmt: skip
        rows = torch.from_numpy(truth_rows(n)).float()
        self.register_buffer("walsh", 1.0 - 2.0 * ((rows @ rows.T) % 2), persistent=False)
        self.n_inputs, self.dim = n, sizes.dim

    walsh: Tensor

    def forward(self, tables: Tensor) -> Tensor:
        """Return the vectors."""
        signs = 1.0 - 2.0 * tables.transpose(1, 2)  # [B, outputs, rows]
        spectrum = signs @ self.walsh.to(signs.dtype) / signs.shape[-1]
        seen = [signs, spectrum, spectrum.abs()]
        cube = signs.unflatten(-1, (2,) * self.n_inputs)
        first, second = torch.triu_indices(4, 4, 1)
        for i, j in self.pairs:
            parts = cube.movedim((2 + i, 2 + j), (2, 3)).reshape(
                *signs.shape[:2], 4, -1
            )  # [B, outputs, 4, rows / 4]
            agreement = (parts[:, :, first] * parts[:, :, second]).mean(dim=-1)
            seen += [agreement, (agreement.abs() == 1).to(agreement.dtype)]
        vectors: Tensor = self.layers(torch.cat(seen, dim=-1).flatten(1))
        return vectors.view(len(tables), self.TOKENS, self.dim)


class TokenizerNetwork(nn.Module):
    """The autoencoder: nodes to vectors to codes, and codes to kinds of nodes and scores of the wires they read."""

    def __init__(self, sizes: TokenSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.kind, self.slot = nn.Embedding(KINDS, sizes.dim), nn.Embedding(sizes.nodes, sizes.dim)
        self.read = nn.ModuleList([nn.Embedding(sizes.wires, sizes.dim) for _ in range(2)])
        self.table = TableEncoder(sizes)
        self.encoder, self.decoder = transformer(sizes), transformer(sizes)
        self.quantizer = VectorQuantizer(sizes.n_codes, sizes.dim)
        self.input = nn.Embedding(sizes.n_inputs, sizes.dim)
        self.place = nn.Embedding(sizes.nodes, sizes.dim)
        self.to_kind = nn.Linear(sizes.dim, KINDS)
        self.to_query, self.to_key = nn.Linear(sizes.dim, 2 * sizes.dim), nn.Linear(sizes.dim, sizes.dim)
        place = torch.arange(sizes.nodes).clamp_max(sizes.max_gates) + sizes.n_inputs
        self.register_buffer("earlier", torch.arange(sizes.wires) < place[:, None], persistent=False)

    earlier: Tensor

    def encode(self, kinds: Tensor, operands: Tensor, tables: Tensor) -> Tensor:
        """Return the vectors [B, nodes, dim] of circuits, before they become codes."""
        nodes = self.kind(kinds) + self.slot.weight
        for side, embed in enumerate(self.read):
            nodes = nodes + embed(operands[..., side])
        vectors: Tensor = self.encoder(torch.cat([self.table(tables), nodes], dim=1))
        return vectors[:, TableEncoder.TOKENS :]

    def decode(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of kinds [B, nodes, KINDS] and of wires read [B, nodes, 2, wires]; -inf where a wire is not earlier."""
        inputs = self.input.weight.expand(len(vectors), -1, -1)
        known = self.decoder(torch.cat([inputs, vectors + self.place.weight], dim=1))
        nodes, wires = known[:, self.sizes.n_inputs :], known[:, : self.sizes.wires]
        queries = self.to_query(nodes).unflatten(-1, (2, -1))
        scores = torch.einsum("bnkd,bwd->bnkw", queries, self.to_key(wires)) / self.sizes.dim**0.5
        kinds: Tensor = self.to_kind(nodes)
        return kinds, scores.masked_fill(~self.earlier[:, None], -torch.inf)

    def losses(self, graphs: CircuitGraphs) -> Tensor:
        """Return the loss of circuits: of the kinds, of the wires read, and of the codebook."""
        kinds, operands, tables = tensors(graphs)
        found: Quantized = self.quantizer(self.encode(kinds, operands, tables))
        of_kinds, of_wires = self.decode(found.vectors)
        reads = torch.stack([kinds != EMPTY, kinds < EMPTY], dim=-1)  # an output reads one wire
        of_reads = cross_entropy(of_wires[reads], operands[reads])
        of_nodes = cross_entropy(of_kinds.flatten(0, 1), kinds.flatten())
        total: Tensor = of_nodes + READS_WEIGHT * of_reads + found.loss
        return total


class CircuitTokenizer:
    """Learns to say a circuit in codes, one for each gate and output, and to read them again.

    Parameters
    ----------
    max_gates : most gates of a circuit.
    n_codes, dim, depth : of the codebook and the networks.
    n_steps, batch_size, learning_rate : of Adam.
    random_state : seed.

    Attributes
    ----------
    network_ : the trained `TokenizerNetwork`.
    sizes_ : its sizes.

    Examples
    --------
    >>> from hardgrad.logic import random_circuits
    >>> circuits = random_circuits(40, 3, 4)
    >>> tokenizer = CircuitTokenizer(4, n_codes=32, dim=16, depth=1, n_steps=20).fit(circuits)
    >>> tokenizer.encode(circuits).shape, len(tokenizer.decode(tokenizer.encode(circuits[:3])))
    ((40, 5), 3)

    Source: Wu, Zheng, Hu, He and Yu, 2025, Architect of the Bits World: Masked Autoregressive Modeling for Circuit Generation Guided by
    Truth Table.
    """

    def __init__(
        self,
        max_gates: int,
        *,
        n_codes: int = 512,
        dim: int = 64,
        depth: int = 2,
        n_steps: int = 200,
        batch_size: int = 128,
        learning_rate: float = 3e-3,
        random_state: int = 0,
    ) -> None:
        if min(max_gates, n_codes, dim, depth) < 1 or dim % HEADS:
            raise ParameterError(
                f"CircuitTokenizer() got max_gates={max_gates}, n_codes={n_codes}, dim={dim}, depth={depth}; expected at least 1 of "
                f"each, and dim a multiple of {HEADS}."
            )
        self.max_gates, self.n_codes, self.dim, self.depth = max_gates, n_codes, dim, depth
        self.plan = GraphPlan(n_steps, batch_size, learning_rate, random_state)

    def fit(self, circuits: Sequence[Circuit]) -> Self:
        """Learn from circuits of as many inputs and outputs, varied by permuting and complementing inputs and outputs.

        Raises
        ------
        DataError : no circuits, circuits of different shapes, with too many gates, or of no inputs or more than 6.
        """
        graphs = CircuitGraphs.of(circuits, self.max_gates)
        if not 1 <= graphs.n_inputs <= MOST_INPUTS or not graphs.n_outputs:
            raise DataError(
                f"got circuits of {graphs.n_inputs} inputs and {graphs.n_outputs} outputs; expected 1 to {MOST_INPUTS} and at least 1."
            )
        self.sizes_ = TokenSizes(
            graphs.n_inputs, graphs.n_outputs, self.max_gates, self.n_codes, self.dim, self.depth
        )
        network: TokenizerNetwork = self.plan.build(lambda: TokenizerNetwork(self.sizes_))
        train_on_graphs(
            network, graphs, lambda batch, _: network.losses(batch), self.plan, "circuit tokenizer"
        )
        self.network_ = network
        return self

    @property
    def sizes(self) -> TokenSizes:
        """The sizes that were learned; raises `ParameterError` where nothing was."""
        if not hasattr(self, "sizes_"):
            raise ParameterError("the CircuitTokenizer has learned no circuits yet; call fit() first.")
        return self.sizes_

    @torch.no_grad()
    def encode(self, circuits: Sequence[Circuit] | CircuitGraphs) -> Ints:
        """Return the codes, int64 [circuits, max_gates + outputs]."""
        graphs = (
            circuits
            if isinstance(circuits, CircuitGraphs)
            else CircuitGraphs.of(circuits, self.max_gates).canonical()
        )
        sizes = self.sizes
        if (graphs.n_inputs, graphs.n_outputs, graphs.max_gates) != (
            sizes.n_inputs,
            sizes.n_outputs,
            sizes.max_gates,
        ):
            raise DataError(
                f"the tokenizer learned circuits of {sizes.n_inputs} inputs, {sizes.n_outputs} outputs and {sizes.max_gates} slots for "
                f"gates; got {graphs.n_inputs}, {graphs.n_outputs} and {graphs.max_gates}."
            )
        found = self.network_.quantizer(self.network_.encode(*tensors(graphs)), mode="hard")
        return np.asarray(found.codes.numpy())

    def decode(self, codes: Any) -> list[Circuit]:
        """Return the circuits that codes [circuits, max_gates + outputs] stand for: a circuit for any codes."""
        graphs = self.decode_graphs(codes)
        return [graphs.circuit(k) for k in range(len(graphs))]

    @torch.no_grad()
    def decode_graphs(self, codes: Any) -> CircuitGraphs:
        """Return the same as arrays."""
        array, nodes = np.asarray(codes), self.sizes.nodes
        if array.ndim != 2 or array.shape[1] != nodes or array.dtype.kind not in "iu":
            raise DataError(f"got codes of shape {array.shape}; expected whole numbers [circuits, {nodes}].")
        if len(array) and not (array.min() >= 0 and array.max() < self.n_codes):
            raise DataError(f"got a code outside 0 .. {self.n_codes - 1}.")
        vectors = self.network_.quantizer.lookup(torch.from_numpy(array.astype(np.int64)))
        return self._most_likely(*self.network_.decode(vectors))

    def _most_likely(self, of_kinds: Tensor, of_wires: Tensor) -> CircuitGraphs:
        """The likeliest kind of each node, and of the wires that are there the likeliest ones."""
        slots, n = self.sizes_.max_gates, self.sizes_.n_inputs
        allowed = torch.zeros(self.sizes_.nodes, KINDS, dtype=torch.bool)
        allowed[:slots, : EMPTY + 1] = True
        allowed[slots:, OUTPUT : COMPLEMENT + 1] = True
        kinds = of_kinds.masked_fill(~allowed, -torch.inf).argmax(dim=-1)
        there = torch.cat([torch.ones(len(kinds), n, dtype=torch.bool), kinds[:, :slots] < EMPTY], dim=1)
        operands = of_wires.masked_fill(~there[:, None, None], -torch.inf).argmax(dim=-1)
        operands[kinds == EMPTY] = 0
        operands[:, slots:, 1] = 0  # an output reads one wire
        return CircuitGraphs.computed(kinds.numpy(), operands.numpy(), n, self.sizes_.n_outputs)


def tensors(graphs: CircuitGraphs) -> tuple[Tensor, Tensor, Tensor]:
    """Return kinds, operands and tables as tensors."""
    tables = torch.from_numpy(graphs.tables).to(torch.get_default_dtype())
    return torch.from_numpy(graphs.kinds), torch.from_numpy(graphs.operands), tables
