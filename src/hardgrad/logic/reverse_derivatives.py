"""Learning without real numbers: reverse derivatives over Z2, and the ascent that trains bits with them. Never imports torch.

Addition is XOR and multiplication is AND. What is trained, functions of parameters and inputs, is in `parametric_models`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from hardgrad.core.bit_words import pack_bits, unpack_bits
from hardgrad.core.errors import DataError, ParameterError, UnsupportedError, suggestion
from hardgrad.logic.boolean_functions import Seed
from hardgrad.logic.circuit import Bits, Circuit, Words, check_bits
from hardgrad.logic.program import MASKS
from hardgrad.logic.runtime_numpy import STATE_WORDS, all_signals
from hardgrad.train.progress import emit

if TYPE_CHECKING:
    from hardgrad.logic.parametric_models import ParametricModel

Rule = Literal["difference", "formal"]
RULES: tuple[Rule, ...] = ("difference", "formal")
BitFunction = Callable[[Bits], Any]
"""Takes bits [N, n] and returns bits [N, m]."""
MOST_BITS = 1 << 24
"""Input bits of the neighbours that are looked at together: 16 MiB."""


def reverse_derivative(
    f: Circuit | BitFunction, x: ArrayLike, dy: ArrayLike, *, rule: Rule = "difference"
) -> Bits:
    """Return which input bits to flip so that the wanted output bits flip, as far as one bit alone can tell.

    With "difference", input i is flipped where an odd number of the outputs in dy change with it: `parity((f(x) ^ f(x ^ e_i)) & dy)`, n + 1
    evaluations. With "formal", derivatives of polynomials are chained backwards gate by gate, one pass: XOR passes g to both operands, AND
    passes g & b and g & a, what is read twice adds up. The two agree where no product meets a variable twice; a & a has the
    difference 1 and the formal derivative a + a = 0. The formal one belongs to the gates, not to the function: simplifying may change it.

    Parameters
    ----------
    f : a circuit, or a callable that takes bool [N, n] and returns bits [N, m]; it is called with many rows at once.
    x : bits [B, n].
    dy : bits [B, m], the outputs that should change.
    rule : "difference", or "formal" for circuits.

    Returns
    -------
    dx : bool [B, n].

    Raises
    ------
    ParameterError : another rule.
    UnsupportedError : the formal rule for a callable.
    DataError : other shapes, or a value that is neither 0 nor 1.

    Examples
    --------
    >>> circuit = Circuit.from_expression("y = a & b ^ c")
    >>> reverse_derivative(circuit, [[1, 0, 0]], [[1]]).astype(int)
    array([[0, 1, 1]])
    >>> circuit = Circuit.from_expression("y = (a ^ b) & (a ^ c)")  # the product meets a twice
    >>> [reverse_derivative(circuit, [[0, 0, 0]], [[1]], rule=rule).astype(int).tolist() for rule in ("difference", "formal")]
    [[[1, 0, 0]], [[0, 0, 0]]]

    Source: Wilson and Zanasi, 2020, Reverse Derivative Ascent: A Categorical Approach to Learning Boolean Circuits.
    """
    if rule not in RULES:
        raise ParameterError(
            f"rule got {rule!r}; expected one of {', '.join(RULES)}.{suggestion(rule, RULES)}"
        )
    taker = "reverse_derivative()"
    X = check_bits(x, f.n_inputs if isinstance(f, Circuit) else _columns(x, "x"), f"x of {taker}")
    dY = check_bits(dy, f.n_outputs if isinstance(f, Circuit) else _columns(dy, "dy"), f"dy of {taker}")
    if len(X) != len(dY):
        raise DataError(f"{taker} got {len(X):,} rows of x and {len(dY):,} of dy; expected as many.")
    if rule == "difference":
        return differences(f.evaluate if isinstance(f, Circuit) else f, X, dY, X.shape[1])
    if not isinstance(f, Circuit):
        raise UnsupportedError(
            f"the formal rule works on gates; got {type(f).__name__}. Use rule='difference', or pass a Circuit."
        )
    words, wanted = pack_bits(X.T), pack_bits(dY.T)
    lanes = max(1, STATE_WORDS // max(f.n_wires, 1))
    parts = [
        _backward(f, words[:, start : start + lanes], wanted[:, start : start + lanes])
        for start in range(0, words.shape[1], lanes)
    ]
    return unpack_bits(np.concatenate([words[:, :0], *parts], axis=1), len(X)).T


def _columns(bits: ArrayLike, name: str) -> int:
    array = np.asarray(bits)
    if array.ndim != 2:
        raise DataError(
            f"{name} of reverse_derivative() got an array of shape {array.shape}; expected two dimensions."
        )
    return int(array.shape[1])


def differences(f: BitFunction, X: Bits, dY: Bits, count: int) -> Bits:
    """Return `reverse_derivative` by differences for the first `count` input bits, bool [B, count]."""
    out = np.empty((len(X), count), bool)
    flips = np.eye(count, X.shape[1], dtype=bool)
    together = max(1, MOST_BITS // max(flips.size, 1))
    for start in range(0, len(X), together):
        x, dy = X[start : start + together], dY[start : start + together]
        neighbours = (x[:, None] ^ flips).reshape(len(x) * count, X.shape[1])
        before, after = (_outputs(f, rows, dY.shape[1]) for rows in (x, neighbours))
        changed = after.reshape(len(x), count, dY.shape[1]) ^ before[:, None]
        out[start : start + together] = np.logical_xor.reduce(changed & dy[:, None], axis=2)
    return out


def _outputs(f: BitFunction, rows: Bits, columns: int) -> Bits:
    said = check_bits(f(rows), columns, "what the function returned to reverse_derivative()")
    if len(said) != len(rows):
        raise DataError(f"the function returned {len(said):,} rows for {len(rows):,}; expected as many.")
    return said


def _backward(circuit: Circuit, words: Words, wanted: Words) -> Words:
    """The formal reverse derivative, packed [inputs, w]: every gate is c0 ^ c1 a ^ c2 b ^ c3 ab."""
    state = all_signals(circuit, words)
    flow = np.zeros_like(state)
    np.bitwise_xor.at(flow, circuit.outputs, wanted)
    for gates in reversed(circuit.steps):
        _, of_a, of_b, of_both = MASKS[circuit.gates[gates[0]]]
        a, b, arrived = circuit.left[gates], circuit.right[gates], flow[circuit.n_inputs + gates]
        np.bitwise_xor.at(flow, a, arrived & (of_a ^ of_both & state[b]))
        np.bitwise_xor.at(flow, b, arrived & (of_b ^ of_both & state[a]))
    return flow[: circuit.n_inputs]


def _groups(
    count: int, size: int, epochs: int, rng: np.random.Generator | None
) -> Iterator[tuple[float, np.ndarray]]:
    """The share of the work that is done after each group of examples, and the rows of the group."""
    for epoch in range(epochs):
        order = np.arange(count) if rng is None else rng.permutation(count)
        for start in range(0, count, size):
            rows = order[start : start + size]
            yield (epoch + (start + len(rows)) / count) / epochs, rows


class ReverseDerivativeAscent:
    """Trains the bits of a hard model by flipping them: no real numbers, no surrogate, and nothing to harden but constants.

    An example (x, y) flips the parameters in the reverse derivative of the error, `params ^= R[f](y ^ f(params, x))`. Examples come one by
    one and in order, and the order matters: a lookup table remembers the last label seen.

    Parameters
    ----------
    model : a `ParametricModel`: `LookupTableModel`, `MaskedThresholdModel`, `ParametricCircuit`, or one of your own.
    params0 : where to start: 0 or 1 for all parameters, or bits [n_params].

    Attributes
    ----------
    params : bool [n_params], what was learned so far.

    Raises
    ------
    ParameterError : params0 of another shape or with another value.

    Examples
    --------
    >>> from hardgrad.logic import LookupTableModel
    >>> ascent = ReverseDerivativeAscent(LookupTableModel(2, 1))
    >>> ascent.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]).harden().gate_counts()
    {'XOR': 1}

    Source: Wilson and Zanasi, 2020, Reverse Derivative Ascent: A Categorical Approach to Learning Boolean Circuits.
    """

    def __init__(self, model: ParametricModel, params0: ArrayLike = 0) -> None:
        self.model = model
        start = np.asarray(params0)
        if start.shape not in ((), (model.n_params,)) or not np.isin(start, (0, 1)).all():
            raise ParameterError(
                f"params0 got {params0!r}; expected 0, 1 or {model.n_params:,} bits, one a parameter."
            )
        self.params: Bits = np.broadcast_to(start, model.n_params).astype(bool)

    def step(self, x: ArrayLike, y: ArrayLike) -> bool:
        """Learn from one example, or from several at once, and tell whether a parameter changed.

        Parameters
        ----------
        x : bits [n_inputs], or [k, n_inputs]: then a parameter is flipped where more than half of the k examples ask for it.
        y : bits [n_outputs], or [k, n_outputs]; for a model of one output also a bit, or [k].

        Raises
        ------
        DataError : other shapes, no example, or a value that is neither 0 nor 1.
        """
        if np.ndim(x) == 1:
            x, y = np.asarray(x)[None], np.asarray(y)[None]
        return self._update(*self._examples(x, y))

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 1,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        accumulate: int = 1,
        shuffle: bool = False,
        random_state: Seed = 0,
    ) -> Self:
        """Learn from examples, beginning at the present parameters; an interruption keeps what was learned.

        Parameters
        ----------
        X : bits [N, n_inputs].
        y : bits [N, n_outputs], or [N] for a model of one output.
        epochs : passes over the examples.
        validation : X and y to score after every change; the parameters with the best score are kept, the earliest of equals.
        accumulate : examples an update; a parameter is flipped where more than half of them ask for it.
        shuffle : take the examples in another order in each pass, instead of in theirs.
        random_state : seed of these orders.

        Returns
        -------
        self : with `params` changed.

        Raises
        ------
        ParameterError : epochs or accumulate below 1.
        DataError : other shapes, no example, or a value that is neither 0 nor 1.
        """
        if epochs < 1 or accumulate < 1:
            raise ParameterError(
                f"fit() got epochs={epochs}, accumulate={accumulate}; expected 1 or more of both."
            )
        inputs, wanted = self._examples(X, y)
        held_out = None if validation is None else self._examples(*validation)
        rng = np.random.default_rng(random_state) if shuffle else None
        best, best_params = (None if held_out is None else self._accuracy(*held_out)), self.params
        try:
            for fraction, rows in _groups(len(inputs), accumulate, epochs, rng):
                changed = self._update(inputs[rows], wanted[rows])
                if changed and held_out is not None and best is not None:
                    score = self._accuracy(*held_out)
                    if score > best:
                        best, best_params = score, self.params
                emit("ascent", fraction, hard=best)
        finally:
            if best is not None:
                self.params = best_params
        return self

    def predict(self, X: ArrayLike) -> Bits:
        """Return the outputs, bool [N, n_outputs], for bits [N, n_inputs]; raises `DataError` where they are not that."""
        return self.model.evaluate(self.params, self._inputs(X))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the share of examples with every output bit right (see `fit` for X, y and what is raised)."""
        return self._accuracy(*self._examples(X, y))

    def harden(self) -> Circuit:
        """Return the circuit of the inputs alone, the parameters folded in; it predicts the same bits, so that the gap is 0."""
        return self.model.harden(self.params)

    def _accuracy(self, X: Bits, y: Bits) -> float:
        return float((self.model.evaluate(self.params, X) == y).all(axis=1).mean())

    def _update(self, X: Bits, y: Bits) -> bool:
        error = self.model.evaluate(self.params, X) ^ y
        wrong = error.any(axis=1)
        if not wrong.any():  # an example that is right asks for nothing
            return False
        votes = self.model.derivative(self.params, X[wrong], error[wrong]).sum(axis=0)
        flips = 2 * votes > len(X)
        self.params = self.params ^ flips
        return bool(flips.any())

    def _inputs(self, X: ArrayLike) -> Bits:
        advice = "Compare features with thresholds first."
        return check_bits(X, self.model.n_inputs, "X of reverse derivative ascent", advice)

    def _examples(self, X: ArrayLike, y: ArrayLike) -> tuple[Bits, Bits]:
        inputs, labels, outputs = self._inputs(X), np.asarray(y), self.model.n_outputs
        if labels.ndim == 1 and outputs == 1:
            labels = labels[:, None]
        advice = f"The model has {outputs} output bits: code classes as bits, binary or one bit a class, and give it as many outputs."
        labels = check_bits(labels, outputs, "y of reverse derivative ascent", advice)
        if not len(inputs) or len(inputs) != len(labels):
            raise DataError(
                f"reverse derivative ascent got {len(inputs):,} rows of X and {len(labels):,} of y; expected as many, at least 1."
            )
        return inputs, labels
