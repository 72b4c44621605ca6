"""What reverse derivative ascent trains: Boolean functions of parameter bits and input bits. Never imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from hardgrad.core.errors import InputTypeError, ParameterError, suggestion
from hardgrad.logic.adders import count_ones
from hardgrad.logic.circuit import MAX_TABLE_INPUTS, Bits, Circuit
from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder
from hardgrad.logic.reverse_derivatives import RULES, Rule, differences, reverse_derivative


class ParametricModel(ABC):
    """A Boolean function of parameters and inputs. One of your own needs its numbers of bits, `evaluate` and `signals`.

    Attributes
    ----------
    n_params, n_inputs, n_outputs : its bits.
    """

    n_params: int
    n_inputs: int
    n_outputs: int

    @abstractmethod
    def evaluate(self, params: Bits, X: Bits) -> Bits:
        """Return the outputs, bool [N, n_outputs], of rows [N, n_inputs] under parameters [n_params]; both were looked at already."""

    @abstractmethod
    def signals(self, net: NetworkBuilder, params: Sequence[int], inputs: Sequence[int]) -> list[int]:
        """Build the function of given signals, some of which may be constants, and return the signals of its outputs."""

    def derivative(self, params: Bits, X: Bits, dy: Bits) -> Bits:
        """Return the reverse derivative for the parameters alone, bool [N, n_params], of the outputs in dy [N, n_outputs]."""
        before = self.evaluate(params, X)
        out = np.empty((len(X), self.n_params), bool)
        for i in range(self.n_params):
            flipped = params.copy()
            flipped[i] = not flipped[i]
            out[:, i] = np.logical_xor.reduce((self.evaluate(flipped, X) ^ before) & dy, axis=1)
        return out

    def circuit(self) -> Circuit:
        """Return the function as a circuit, parameters first."""
        net = NetworkBuilder(self.n_params + self.n_inputs)
        bits = [net.input(i) for i in range(net.n_inputs)]
        return net.circuit(self.signals(net, bits[: self.n_params], bits[self.n_params :]))

    def harden(self, params: Bits) -> Circuit:
        """Return the circuit of the inputs alone, with the parameters [n_params] as constants that are folded away."""
        net = NetworkBuilder(self.n_inputs)
        inputs = [net.input(i) for i in range(self.n_inputs)]
        constants = [TRUE if bit else FALSE for bit in params.tolist()]
        return net.circuit(self.signals(net, constants, inputs)).simplify()


def joined_rows(params: Bits, X: Bits) -> Bits:
    """Return rows of parameters and inputs, bool [N, n_params + n_inputs]."""
    return np.concatenate([np.broadcast_to(params, (len(X), len(params))), X], axis=1)


class LookupTableModel(ParametricModel):
    """A table with a cell for every input; an update writes the label into the cell, so that the last label seen wins.

    Cell r has the parameters `n_outputs * r` onwards, r being the input read as a number, first bit most significant.

    Parameters
    ----------
    n_inputs : 1 to 20.
    n_outputs : bits of a cell, 1 or more.

    Raises
    ------
    ParameterError : a number out of range.

    Examples
    --------
    >>> table = LookupTableModel(2, 1)
    >>> table.evaluate(np.array([0, 0, 1, 0], bool), np.array([[1, 0]], bool))
    array([[ True]])
    """

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        if not 1 <= n_inputs <= MAX_TABLE_INPUTS or n_outputs < 1:
            raise ParameterError(
                f"LookupTableModel got n_inputs={n_inputs}, n_outputs={n_outputs}; expected 1 to {MAX_TABLE_INPUTS}, and 1 or more."
            )
        self.n_inputs, self.n_outputs = n_inputs, n_outputs
        self.n_params = n_outputs << n_inputs

    def _cells(self, X: Bits) -> np.ndarray:
        return X @ (1 << np.arange(self.n_inputs)[::-1])

    def evaluate(self, params: Bits, X: Bits) -> Bits:
        """Return the cells that rows point at (see `ParametricModel.evaluate`)."""
        answers: Bits = params.reshape(-1, self.n_outputs)[self._cells(X)]
        return answers

    def derivative(self, params: Bits, X: Bits, dy: Bits) -> Bits:
        """Return dy in the cell that each row points at, 0 elsewhere."""
        out = np.zeros((len(X), 1 << self.n_inputs, self.n_outputs), bool)
        out[np.arange(len(X)), self._cells(X)] = dy
        return out.reshape(len(X), self.n_params)

    def signals(self, net: NetworkBuilder, params: Sequence[int], inputs: Sequence[int]) -> list[int]:
        """Build a tree of choices for each output bit."""
        outputs = []
        for output in range(self.n_outputs):
            cells = list(params[output :: self.n_outputs])
            for signal in reversed(inputs):
                cells = [net.choose(signal, yes, no) for no, yes in zip(cells[::2], cells[1::2], strict=True)]
            outputs += cells
        return outputs


class MaskedThresholdModel(ParametricModel):
    """Says 1 where few of the bits of a learned mask are 1: `popcount(params & x) <= floor(popcount(params) / ratio)`.

    The empty mask says 1 to everything; the first x that should have 0 becomes the mask, so that training begins at params0=0.

    Parameters
    ----------
    n_inputs : 1 or more; as many parameters.
    ratio : above 1, read as the decimal number that it is written as, and divided by without rounding.

    Raises
    ------
    ParameterError : a number out of range.

    Examples
    --------
    >>> few = MaskedThresholdModel(4, ratio=2)
    >>> few.evaluate(np.array([1, 1, 1, 0], bool), np.array([[1, 0, 0, 1], [1, 1, 0, 0]], bool)).tolist()
    [[True], [False]]
    """

    n_outputs = 1

    def __init__(self, n_inputs: int, ratio: float | Fraction) -> None:
        try:
            exact = Fraction(str(ratio))
        except ValueError:  # NaN, infinity, no number
            exact = Fraction(0)
        if n_inputs < 1 or exact <= 1:
            raise ParameterError(
                f"MaskedThresholdModel got n_inputs={n_inputs}, ratio={ratio!r}; expected 1 or more, and a number above 1 "
                "(up to 1 no mask says 0 to anything)."
            )
        self.n_inputs = self.n_params = n_inputs
        self.ratio = exact
        self._most = np.array([int(total / exact) for total in range(n_inputs + 1)])

    def evaluate(self, params: Bits, X: Bits) -> Bits:
        """Return whether few of the mask are 1 (see `ParametricModel.evaluate`)."""
        few: Bits = X[:, params].sum(axis=1) <= self._most[params.sum()]
        return few[:, None]

    def derivative(self, params: Bits, X: Bits, dy: Bits) -> Bits:
        """Return the masks' bits that change the answers, by their effect on the two counts."""
        change = np.where(params, -1, 1)
        counts = X[:, params].sum(axis=1)[:, None] + change * X
        few: Bits = counts <= self._most[params.sum() + change]
        return (few ^ self.evaluate(params, X)) & dy

    def signals(self, net: NetworkBuilder, params: Sequence[int], inputs: Sequence[int]) -> list[int]:
        """Build two counters, a table of thresholds and a comparison."""
        count = count_ones(net, [net.both(mask, bit) for mask, bit in zip(params, inputs, strict=True)])
        total = count_ones(net, params)
        most = [int(value) for value in self._most] + [0] * ((1 << len(total)) - len(self._most))
        fits = TRUE
        for place, bit in enumerate(
            count
        ):  # the highest place at which they differ decides, so it comes last
            word = sum((value >> place & 1) << row for row, value in enumerate(most))
            allowed = net.table(word, total[::-1])
            fits = net.choose(net.differ(bit, allowed), allowed, fits)
        return [fits]


class ParametricCircuit(ParametricModel):
    """A circuit whose first inputs are parameters.

    Parameters
    ----------
    circuit : with inputs for the parameters and then for the data.
    n_params : how many of its inputs are parameters.
    rule : of its reverse derivative, "difference" or "formal" (see `reverse_derivative`).

    Raises
    ------
    ParameterError : n_params out of range, or another rule.
    InputTypeError : something else than a circuit.

    Examples
    --------
    >>> model = ParametricCircuit(Circuit.from_expression("y = p ^ q & a"), n_params=2)
    >>> model.n_inputs, model.harden(np.array([1, 1], bool)).gate_counts()
    (1, {'NOT_A': 1})
    """

    def __init__(self, circuit: Circuit, n_params: int, *, rule: Rule = "difference") -> None:
        if not isinstance(circuit, Circuit):
            raise InputTypeError(
                f"ParametricCircuit got {type(circuit).__name__}; expected a Circuit. Write a ParametricModel instead."
            )
        if not 0 <= n_params <= circuit.n_inputs:
            raise ParameterError(
                f"n_params got {n_params}; expected 0 to {circuit.n_inputs}, the inputs of the circuit."
            )
        if rule not in RULES:
            raise ParameterError(
                f"rule got {rule!r}; expected one of {', '.join(RULES)}.{suggestion(rule, RULES)}"
            )
        self._circuit, self.rule, self.n_params = circuit, rule, n_params
        self.n_inputs, self.n_outputs = circuit.n_inputs - n_params, circuit.n_outputs

    def evaluate(self, params: Bits, X: Bits) -> Bits:
        """Return the outputs of the circuit (see `ParametricModel.evaluate`)."""
        return self._circuit.evaluate(joined_rows(params, X))

    def derivative(self, params: Bits, X: Bits, dy: Bits) -> Bits:
        """Return the reverse derivative by the rule, its part for the parameters."""
        rows = joined_rows(params, X)
        if self.rule == "formal":
            return reverse_derivative(self._circuit, rows, dy, rule="formal")[:, : self.n_params]
        return differences(self._circuit.evaluate, rows, dy, self.n_params)

    def circuit(self) -> Circuit:
        """Return the circuit as it was given."""
        return self._circuit

    def signals(self, net: NetworkBuilder, params: Sequence[int], inputs: Sequence[int]) -> list[int]:
        """Add the circuit."""
        return net.add(self._circuit, [*params, *inputs])
