"""LogicLayer: gates whose functions are learned. Soft they are probabilities, hard they are bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.operands import check_choice, values_are_checked
from hardgrad.logic.gate_evaluation import evaluate_gates
from hardgrad.logic.gates import hard_table, response_of, soft_table, table_words, weights_per_gate
from hardgrad.logic.initialisation import initial_weights
from hardgrad.logic.lut import CircuitWriter
from hardgrad.logic.wiring import LearnableWiring, random_wiring, unique_wiring

CONNECTIONS = ("random", "unique", "learnable")
ROUNDINGS = ("gate", "table", "sampled")
OUTSIDE = 1e-3  # rounding may carry a probability this far out of [0, 1]; further out something is wrong


class LogicLayer(Relaxed):
    """A layer of gates, each of which reads a few inputs and learns which function of them it is.

    Parameters
    ----------
    in_features, out_features : inputs and gates.
    connections : which inputs a gate reads: "random"; "unique", no two gates the same ones; "learnable", see `LearnableWiring`; or wires,
        int64 `[fan_in, out_features]`.
    parametrization : "input_wise", one number a row of the truth table; or "softmax", one a gate of the sixteen, of which only four
        matter and pairs cancel.
    response : of input-wise numbers w, what entry of the table they are: "sine", (1 + sin w) / 2, or "sigmoid".
    init : see `initial_weights`; by default gates hand on their first input.
    fan_in : inputs a gate, 2 to 6; 2 for "softmax".
    n_candidates : of learnable connections.
    grad_factor : multiplies the gradient that is handed on to earlier layers, 1 to 2 for deep stacks of "softmax" gates.
    temperature : below 1 sharpens the tables, and the choices of learnable connections.
    generator : draws connections and weights.

    Raises
    ------
    ParameterError : an argument outside its range.

    Examples
    --------
    >>> layer = LogicLayer(4, 8, generator=torch.Generator().manual_seed(0))
    >>> layer(torch.rand(3, 4)).shape, layer.weight.shape
    (torch.Size([3, 8]), torch.Size([8, 4]))
    >>> layer(torch.tensor([1.0, 0.0, 1.0, 1.0]), mode="hard").unique().tolist()
    [0.0, 1.0]

    Source: Petersen, Borgelt, Kuehne and Deussen, 2022, Deep Differentiable Logic Gate Networks; Rüttgers, Aczel, Plesner and Wattenhofer,
    2026, Light Differentiable Logic Gate Networks.
    """

    fixed_wires: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        connections: str | Tensor = "random",
        parametrization: str = "input_wise",
        response: str = "sine",
        init: str = "residual",
        fan_in: int = 2,
        n_candidates: int = 8,
        grad_factor: float = 1.0,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(temperature)
        self.in_features, self.out_features, self.fan_in = in_features, out_features, fan_in
        self.response = response_of(parametrization, response)
        weights_per_gate(self.response, fan_in)
        if not grad_factor > 0:
            raise ParameterError(f"LogicLayer() got grad_factor={grad_factor!r}; expected a positive number.")
        self.grad_factor = grad_factor
        self.wiring: LearnableWiring | None = None
        if isinstance(connections, Tensor):
            wires = _checked_wires(connections, in_features, out_features, fan_in)
        else:
            check_choice("LogicLayer", "connections", connections, CONNECTIONS)
            if connections == "learnable":
                self.wiring = LearnableWiring(
                    in_features,
                    out_features,
                    fan_in,
                    n_candidates,
                    temperature=temperature,
                    generator=generator,
                )
                wires = torch.arange(fan_in * out_features).view(fan_in, out_features)
            else:
                draw = random_wiring if connections == "random" else unique_wiring
                wires = draw(in_features, out_features, fan_in, generator=generator)
        self.register_buffer("fixed_wires", wires)
        self.weight = nn.Parameter(
            initial_weights(init, self.response, out_features, fan_in, generator=generator)
        )

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return what the gates answer.

        Parameters
        ----------
        x : `[..., in_features]`: probabilities in "soft" mode, bits (Boolean, or zeros and ones of any dtype) in "st" and "hard".
        temperature : of the tables, and of the choices of learnable connections.
        mode : "soft"; "st", exact tables with the gradients of the soft ones; or "hard", exact tables.

        Returns
        -------
        y : `[..., out_features]`, of the dtype of the weights.

        Raises
        ------
        InputError : NaN, numbers outside [0, 1], or numbers that are no bits where bits are expected.
        """
        chosen = self.resolved_mode(mode)
        check_input(x, self.in_features, chosen)
        return self.evaluate(x, chosen, temperature)

    def evaluate(self, x: Tensor, mode: Mode, temperature: Any = None) -> Tensor:
        """Do what `forward` does, without a look at the numbers of x: for inner layers, whose inputs are outputs."""
        with torch.autocast(x.device.type, enabled=False):  # tables in half precision would take other gates
            x = x.to(self.weight.dtype)
            if self.grad_factor != 1.0:
                x = straight_through(x, self.grad_factor * x)
            if self.wiring is not None:
                x = self.wiring(x, temperature=temperature, mode=mode)
            return evaluate_gates(x, self.fixed_wires, self.table(mode, temperature))

    def set_temperature(self, value: float) -> None:
        """Set the temperature of the tables, and of the choices of learnable connections."""
        super().set_temperature(value)
        if self.wiring is not None:
            self.wiring.set_temperature(value)

    def table(self, mode: Mode = "soft", temperature: Any = None) -> Tensor:
        """Return the truth tables `[out_features, 2**fan_in]`, in the order of `gate_ids`."""
        if mode == "hard":
            return hard_table(self.weight.detach(), self.response)
        soft = soft_table(self.weight, self.response, self.resolved_temperature(temperature))
        return soft if mode == "soft" else straight_through(hard_table(self.weight, self.response), soft)

    def wires(self) -> Tensor:
        """Return the inputs that each gate reads when hard, int64 `[fan_in, out_features]`."""
        return self.fixed_wires if self.wiring is None else self.wiring.wires()

    def undecided(self) -> Tensor:
        """Return how far each gate is from its exact table: the mean of |entry - nearest bit|, `[out_features]`, at most 1/2."""
        table = self.table().detach()
        return (table - (table >= 0.5).to(table.dtype)).abs().mean(dim=-1)

    def harden(self) -> ExactLogicLayer:
        """Return the layer of exact gates."""
        return ExactLogicLayer(self.in_features, self.wires().clone(), self.table("hard"))

    def exact_table(self, rounding: str = "gate", generator: torch.Generator | None = None) -> Tensor:
        """Return exact tables `[out_features, 2**fan_in]` by one of three roundings (see `LogicNetwork.harden`)."""
        if rounding == "gate":
            return self.table("hard")
        soft = self.table().detach()
        bound = torch.rand(soft.shape, generator=generator).to(soft) if rounding == "sampled" else 0.5
        return (soft >= bound).to(soft.dtype)

    def append_to(
        self,
        writer: CircuitWriter,
        wires: NDArray[np.int32],
        rounding: str,
        generator: torch.Generator | None,
    ) -> NDArray[np.int32]:
        """Append the exact gates to a circuit: wires `[in_features, ...]` to `[out_features, ...]`, one set of gates a position."""
        words = table_words(self.exact_table(rounding, generator))
        return writer.add_tables(
            words.reshape(-1, *[1] * (wires.ndim - 1)), wires[self.wires().cpu().numpy()]
        )

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"{self.in_features}, {self.out_features}, fan_in={self.fan_in}, response={self.response!r}"


class ExactLogicLayer(nn.Module):
    """Gates whose functions are fixed, on bits.

    Parameters
    ----------
    in_features : inputs.
    wires : int64 `[fan_in, gates]`.
    tables : `[gates, 2**fan_in]` of zeros and ones.
    """

    wires: Tensor
    tables: Tensor

    def __init__(self, in_features: int, wires: Tensor, tables: Tensor) -> None:
        super().__init__()
        self.in_features = in_features
        self.register_buffer("wires", wires)
        self.register_buffer("tables", tables)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bits `[..., gates]` of bits `[..., in_features]`, zeros and ones. Raises `InputError` for other numbers."""
        check_input(x, self.in_features, "hard")
        return evaluate_gates(x.to(self.tables.dtype), self.wires, self.tables)


def _checked_wires(wires: Tensor, in_features: int, out_features: int, fan_in: int) -> Tensor:
    fine = wires.dtype == torch.int64 and tuple(wires.shape) == (fan_in, out_features)
    if not fine or (wires.numel() and not 0 <= int(wires.min()) <= int(wires.max()) < in_features):
        raise ParameterError(
            f"LogicLayer() got connections of shape {tuple(wires.shape)} and dtype {wires.dtype}; expected int64 numbers of "
            f"inputs from 0 to {in_features - 1}, of shape ({fan_in}, {out_features})."
        )
    return wires.clone()


def check_input(x: Tensor, in_features: int, mode: Mode) -> None:
    """Raise `InputError` for a wrong last dimension, NaN, numbers outside [0, 1], or numbers that are no bits in "st" and "hard"."""
    if not x.dim() or x.shape[-1] != in_features:
        raise InputError(
            f"a layer of gates got a tensor of shape {tuple(x.shape)}; expected [..., {in_features}]."
        )
    if x.dtype == torch.bool or not x.numel() or not values_are_checked(x):
        return
    if mode != "soft":
        if not ((x == 0) | (x == 1)).all():
            raise InputError(
                f"a layer of gates in mode {mode!r} got numbers that are no bits; expected zeros and ones. Put thresholds in "
                "front (`ThermometerEncoder`, `SoftThermometer`), or take mode='soft'."
            )
        return
    low, high = (float(bound) for bound in torch.aminmax(x.detach()))
    if not (low >= -OUTSIDE and high <= 1.0 + OUTSIDE):  # also for NaN
        raise InputError(
            f"a layer of gates got numbers from {low:g} to {high:g}; expected probabilities in [0, 1]. Put thresholds in front "
            "(`ThermometerEncoder`, `SoftThermometer`)."
        )
