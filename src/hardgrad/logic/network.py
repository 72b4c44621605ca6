"""LogicNetwork: layers of gates in a row, with a head; hard it is one circuit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.core.errors import BudgetError, HardenError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.operands import check_choice
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.convolution import LogicConv2d
from hardgrad.logic.layers import ROUNDINGS, LogicLayer
from hardgrad.logic.lut import CircuitWriter

MOST_GATES = 20_000_000
"""Gates of the largest circuit that a network is written out as: 180 MB of arrays."""
UNDECIDED = 0.1


@runtime_checkable
class GateModule(Protocol):
    """What can stand in a `LogicNetwork`: soft it is a module, hard it is gates behind wires."""

    def append_to(
        self,
        writer: CircuitWriter,
        wires: NDArray[np.int32],
        rounding: str,
        generator: torch.Generator | None,
    ) -> NDArray[np.int32]:
        """Append the gates to a circuit and return the wires of the outputs."""
        ...


class LogicNetwork(Relaxed):
    """Layers of gates, one behind another, and a head that makes scores of their last outputs.

    Parameters
    ----------
    layers : `LogicLayer`, `LogicConv2d`, `OrPool2d` and `torch.nn.Flatten`, in order.
    head : a module such as `GroupSum`, or None for the bits themselves.
    input_shape : of one sample; by default that of the first layer's inputs.

    Raises
    ------
    ParameterError : no layer; a layer of another kind; a first layer that does not say the shape of its inputs.

    Examples
    --------
    >>> from hardgrad.logic import GroupSum, LogicLayer
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = LogicNetwork([LogicLayer(4, 8, generator=generator), LogicLayer(8, 6, generator=generator)], GroupSum(3))
    >>> bits = torch.randint(2, (5, 4), generator=generator)
    >>> scores = network(bits, mode="hard")
    >>> counts = network.harden().evaluate(bits.numpy()).reshape(5, 3, 2).sum(axis=2)
    >>> np.array_equal(counts, scores)
    True
    """

    def __init__(
        self, layers: Sequence[nn.Module], head: nn.Module | None = None, *, input_shape: Sequence[int] = ()
    ) -> None:
        super().__init__()
        if not layers or not all(isinstance(layer, GateModule | nn.Flatten) for layer in layers):
            raise ParameterError(
                f"LogicNetwork() got layers {[type(layer).__name__ for layer in layers]}; expected at least one, each a LogicLayer, "
                "LogicConv2d, OrPool2d or Flatten."
            )
        first = layers[0]
        if not input_shape and not isinstance(first, LogicLayer):
            raise ParameterError(
                f"LogicNetwork() got a first layer {type(first).__name__} and no input_shape; expected the shape of one sample, as "
                "(channels, height, width)."
            )
        self.layers = nn.ModuleList(layers)
        self.head = head
        self.input_shape = (
            (first.in_features,)
            if not input_shape and isinstance(first, LogicLayer)
            else tuple(map(int, input_shape))
        )

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the scores of the head, or what the last layer answers.

        Parameters
        ----------
        x : `[batch, *input_shape]`, probabilities in "soft" mode, bits in "st" and "hard".
        temperature : of all gates; by default each layer's own.
        mode : as for `LogicLayer`.

        Raises
        ------
        InputError : as for `LogicLayer`.
        """
        chosen = self.resolved_mode(mode)
        return self.score(self.answers(x, chosen, temperature), chosen)

    def score(self, answers: Tensor, mode: Mode) -> Tensor:
        """Return what the head makes of the answers of the last layer, or the answers, where there is none."""
        if self.head is None:
            return answers
        scores: Tensor = (
            self.head(answers, mode=mode) if isinstance(self.head, Relaxed) else self.head(answers)
        )
        return scores

    def answers(self, x: Tensor, mode: Mode, temperature: Any = None) -> Tensor:
        """Return what the last layer answers, `[batch, outputs]`."""
        for number, layer in enumerate(self.layers):
            if not isinstance(layer, LogicLayer | LogicConv2d):
                x = layer(x)
            elif number == 0:
                x = layer(x, temperature=temperature, mode=mode)
            else:  # what the others get is known to be probabilities, or bits
                x = layer.evaluate(x, mode, temperature)
        return x

    def gate_layers(self) -> list[LogicLayer]:
        """Return the layers of gates, those inside convolutions too, in order."""
        return [module for module in self.modules() if isinstance(module, LogicLayer)]

    def set_temperature(self, value: float) -> None:
        """Set the temperature of all layers."""
        super().set_temperature(value)
        for layer in self.layers:
            if isinstance(layer, Relaxed):
                layer.set_temperature(value)

    def harden(
        self,
        rounding: str = "gate",
        *,
        score: Callable[[Circuit], float] | None = None,
        n: int = 32,
        generator: torch.Generator | None = None,
    ) -> Circuit:
        """Return the circuit, whose outputs are those of the last layer.

        Parameters
        ----------
        rounding : "gate", what mode "hard" computes: the most likely gate of "softmax", else each entry of a table rounded; "table",
            entries rounded for "softmax" too, which may be another gate; "sampled", the best of `n` circuits whose entries are drawn by
            their probabilities, and of that of "gate".
        score : of a circuit, larger is better, for "sampled": its accuracy on rows that were not trained on.
        n, generator : circuits that are drawn, and by what.

        Raises
        ------
        ParameterError : a rounding that is not known, or "sampled" without a score.
        BudgetError : more than 20 million gates, as a convolution over many positions may have.
        """
        check_choice("harden", "rounding", rounding, ROUNDINGS)
        if rounding != "sampled":
            return self._circuit(rounding, generator)
        if score is None:
            raise ParameterError(
                "harden() got rounding='sampled' without a score; expected a function of a circuit."
            )
        candidates = (self._circuit("sampled" if k else "gate", generator) for k in range(n + 1))
        return max(candidates, key=score)

    def _circuit(self, rounding: str, generator: torch.Generator | None) -> Circuit:
        n_inputs = int(np.prod(self.input_shape))
        writer = CircuitWriter(n_inputs)
        wires: NDArray[np.int32] = np.arange(n_inputs, dtype=np.int32).reshape(self.input_shape)
        for layer in self.layers:
            if isinstance(layer, nn.Flatten):
                wires = wires.ravel()
            elif isinstance(layer, GateModule):
                wires = layer.append_to(writer, wires, rounding, generator)
            if writer.n_wires > MOST_GATES:
                raise BudgetError(
                    f"the network has more than {MOST_GATES:,} gates when written out ({writer.n_wires - n_inputs:,} up to a "
                    f"{type(layer).__name__}). Take fewer channels or positions."
                )
        if wires.ndim != 1:
            raise HardenError(
                f"the last layer answers an array of shape {wires.shape} a sample; expected one row. Put a torch.nn.Flatten behind it."
            )
        return writer.circuit(wires)

    @torch.no_grad()
    def measure_gap(self, x: Tensor, y: Tensor) -> GapReport:
        """Measure the accuracy of the soft network against that of the exact one.

        Parameters
        ----------
        x : bits `[n, *input_shape]`.
        y : int64 `[n]`, the numbers of the classes.

        Returns
        -------
        report : its detail holds, for every layer of gates, the share of gates whose table has an entry further than 0.1 from a bit.
        """
        soft, hard = self(x, mode="soft"), self(x, mode="hard")
        chosen = soft.argmax(dim=-1), hard.argmax(dim=-1)
        detail = {}
        for number, layer in enumerate(self.gate_layers()):
            table = layer.table()
            far = ((table - (table >= 0.5).to(table.dtype)).abs() > UNDECIDED).any(dim=-1)
            detail[f"undecided_{number}"] = float(far.double().mean())
        return GapReport(
            "accuracy",
            soft=float((chosen[0] == y).double().mean()),
            hard=float((chosen[1] == y).double().mean()),
            agreement=float((chosen[0] == chosen[1]).double().mean()),
            worst_disagreement=float((soft - hard).abs().max()),
            higher_is_better=True,
            rows=len(x),
            detail=detail,
        )
