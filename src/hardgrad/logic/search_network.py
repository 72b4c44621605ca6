"""SearchNetwork: many circuits searched for at once, the wiring and the gates of each of them relaxed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hardgrad.core.errors import DataError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.choices import choice
from hardgrad.gradients.families import waiting_times
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.gate_evaluation import blend
from hardgrad.logic.gate_ids import GATE_OF_WORD, TRUTH_TABLES, Gate
from hardgrad.logic.gates import hard_table, known_tables, soft_table, table_words
from hardgrad.logic.search_readout import Candidates
from hardgrad.logic.truth_tables import TruthTable

SearchGate = Literal["lut2", "nand"]
GATES: tuple[SearchGate, ...] = ("lut2", "nand")
PROPOSED_WEIGHT = 1.0
"""Weight, up to sign, of the rows of a proposed gate's table: a row is then right by 92 %."""


class SearchNetwork(nn.Module):
    """Layers of gates, each operand a mixture of all earlier wires, in as many copies as there are restarts.

    Parameters
    ----------
    n_inputs, n_outputs : of the circuits.
    layers : gates of each layer.
    n_restarts : copies, which learn nothing from each other.
    gate : "lut2", gates of two inputs whose tables are learned, or "nand".
    generator : draws all weights from N(0, 1).

    Examples
    --------
    >>> network = SearchNetwork(3, 2, (4, 4), n_restarts=5, generator=torch.Generator().manual_seed(0))
    >>> network(torch.rand(8, 3)).shape
    torch.Size([5, 2, 8])
    """

    open: Tensor

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        layers: Sequence[int],
        n_restarts: int,
        gate: SearchGate = "lut2",
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_inputs, self.layers, self.gate = n_inputs, tuple(layers), gate
        self.first = [n_inputs + sum(self.layers[:k]) for k in range(len(self.layers) + 1)]

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(n_restarts, *shape, generator=generator))

        self.wiring = nn.ParameterList(
            [drawn(2 * width, before) for width, before in zip(self.layers, self.first, strict=False)]
        )
        self.outputs = drawn(n_outputs, self.first[-1])
        self.tables = nn.ParameterList([drawn(width, 4) for width in self.layers if gate == "lut2"])
        self.pruned = False
        self.register_buffer(
            "open", torch.ones(n_restarts, self.first[-1], dtype=torch.bool)
        )  # wires that may be read

    def forward(
        self,
        x: Tensor,
        *,
        temperature: Any = 1.0,
        mode: Mode = "soft",
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the outputs [restarts, outputs, rows] of rows of bits [rows, inputs].

        Parameters
        ----------
        x : floating, in [0, 1].
        temperature : of the choices of wires.
        mode : of the choices and of the tables.
        noise : how many times Gumbel noise is added to the scores; generator : of it.
        """

        def chosen(scores: Tensor, wires: Tensor) -> Tensor:
            if noise:
                scores = scores - noise * waiting_times(scores, generator).log()
            if self.pruned:
                scores = scores.masked_fill(~self.open[:, None, : wires.shape[1]], -torch.inf)
            weights = choice(scores, temperature=temperature, mode=mode)
            return weights @ wires

        wires = x.T.expand(len(self.outputs), -1, -1)
        for k, width in enumerate(self.layers):
            a, b = chosen(self.wiring[k], wires).split(width, dim=1)
            wires = torch.cat([wires, blend(a, b, self._table(k, mode)[..., None, :])], dim=1)
        return chosen(self.outputs, wires)

    def _table(self, layer: int, mode: Mode) -> Tensor:
        if self.gate == "nand":
            return known_tables(self.outputs)[Gate.NAND]
        soft, exact = soft_table(self.tables[layer], "sine"), hard_table(self.tables[layer], "sine")
        return {"soft": soft, "hard": exact, "st": straight_through(exact, soft)}[mode]

    # --- proposals -----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def propose(self, restart: int, circuit: Circuit, strength: float, *, prune: bool = False) -> int:
        """Begin one restart near a circuit, and return how many of its gates found a place.

        A gate is put in the first layer behind what it reads that has room; one that finds none is left out, with what reads it.

        Parameters
        ----------
        restart : its number.
        circuit : of as many inputs and outputs.
        strength : what is added to the scores of the wires that it reads.
        prune : whether wires that the circuit has no use for are left out of this restart.

        Raises
        ------
        DataError : another number of inputs or outputs.
        """
        if (circuit.n_inputs, circuit.n_outputs) != (self.n_inputs, self.outputs.shape[1]):
            raise DataError(
                f"got a proposal of {circuit.n_inputs} inputs and {circuit.n_outputs} outputs; expected {self.n_inputs} and "
                f"{self.outputs.shape[1]}."
            )
        place = {wire: wire for wire in range(self.n_inputs)}
        layer_of = dict.fromkeys(place, -1)
        room = list(self.layers)
        for wire, (gate, a, b) in enumerate(
            zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True), self.n_inputs
        ):  # fmt: skip
            if a not in place or b not in place:
                continue
            earliest = 1 + max(layer_of[a], layer_of[b])
            layer = next((k for k in range(earliest, len(room)) if room[k]), None)
            if layer is None:
                continue
            slot = self.layers[layer] - room[layer]
            room[layer] -= 1
            place[wire], layer_of[wire] = self.first[layer] + slot, layer
            self.wiring[layer][restart, slot, place[a]] += strength
            self.wiring[layer][restart, self.layers[layer] + slot, place[b]] += strength
            if self.gate == "lut2":
                self.tables[layer][restart, slot] = PROPOSED_WEIGHT * torch.from_numpy(
                    2.0 * TRUTH_TABLES[gate] - 1.0
                )
        if prune:
            self.pruned = True
            self.open[restart] = False
            self.open[restart, list(place.values())] = True
        for output, wire in enumerate(circuit.outputs.tolist()):
            if wire in place:
                self.outputs[restart, output, place[wire]] += strength
        return len(place) - self.n_inputs

    # --- the hard side -------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def candidates(self, table: TruthTable) -> Candidates:
        """Return the exact circuits as they are now, one a restart; their outputs are found by the table among the open wires."""
        left, right, gates = [], [], []
        for k, width in enumerate(self.layers):
            scores = self.wiring[k].masked_fill(~self.open[:, None, : self.first[k]], -torch.inf)
            a, b = scores.argmax(dim=-1).cpu().numpy().reshape(len(scores), 2, width).swapaxes(0, 1)
            left.append(a)
            right.append(b)
            if self.gate == "nand":
                gates.append(np.full(a.shape, Gate.NAND, np.uint8))
            else:
                words = table_words(hard_table(self.tables[k], "sine"))
                gates.append(GATE_OF_WORD[words])
        ids, a, b = (np.concatenate(parts, axis=1) for parts in (gates, left, right))
        return Candidates(ids, a, b, self.layers, table, self.open[:, self.n_inputs :].cpu().numpy())
