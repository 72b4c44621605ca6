"""Circuit: the exact Boolean function, gates of two inputs as NumPy arrays. Never imports torch.

Here are the arrays, their checks and the reference semantics; how circuits are made, simplified, compared, run fast and written in other
languages is in the modules that the methods name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.artifact import Artifact
from hardgrad.core.bit_words import pack_bits, unpack_bits
from hardgrad.core.errors import ArtifactError, DataError, ParameterError
from hardgrad.logic.gate_ids import Gate, truth_rows

if TYPE_CHECKING:
    from hardgrad.bits.packed import PackedNetwork
    from hardgrad.export.c import CSource
    from hardgrad.export.forms import Form
    from hardgrad.export.verilog import VerilogSource
    from hardgrad.logic.circuit_report import CircuitCost, Roofline
    from hardgrad.logic.program import Program
    from hardgrad.logic.proving import EquivalenceResult
    from hardgrad.logic.runtime import CircuitRuntime

Bits = NDArray[np.bool_]
Words = NDArray[np.uint64]
MAX_TABLE_INPUTS = 20


@dataclass(frozen=True, eq=False)
class Circuit(Artifact, kind="circuit"):
    """A Boolean function of `n_inputs` bits as gates of two inputs, exact in every runtime and export.

    Wires are numbered: 0 .. n_inputs - 1 are the inputs, `n_inputs + g` is the output of gate g. A gate reads earlier wires only, so that
    there is no cycle and one pass evaluates it.

    Parameters
    ----------
    gates : uint8 [gates], ids of `hardgrad.logic.gate_ids.Gate`.
    left, right : int32 [gates], the wires a and b that a gate reads; 0 where the gate is a constant and reads nothing.
    outputs : int32 [outputs], wires.
    n_inputs : number of input bits.
    input_names, output_names : one a bit, or empty: then they are x0, x1, .. and y0, y1, ..

    Raises
    ------
    ArtifactError : arrays of other types or lengths, an unknown gate, a gate or an output that reads a wire which does not come before it.

    Examples
    --------
    >>> half_adder = Circuit.from_expression("s = a ^ b; c = a & b")
    >>> half_adder.evaluate([[0, 1], [1, 1]]).astype(int).tolist()
    [[1, 0], [0, 1]]
    """

    gates: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    outputs: NDArray[np.int32]
    n_inputs: int
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind in (
            ("gates", np.uint8), ("left", np.int32), ("right", np.int32), ("outputs", np.int32),
        ):  # fmt: skip
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
                got = (
                    f"{array.dtype} with shape {array.shape}"
                    if isinstance(array, np.ndarray)
                    else type(array).__name__
                )
                raise ArtifactError(
                    f"circuit array {name!r} is {got}; expected {np.dtype(kind)} with 1 dimension."
                )
        if type(self.n_inputs) is not int or self.n_inputs < 0:
            raise ArtifactError(
                f"a circuit got n_inputs={self.n_inputs!r}; expected a whole number, 0 or more."
            )
        self._check_wires()
        self._check_names("input", self.input_names, self.n_inputs)
        self._check_names("output", self.output_names, len(self.outputs))
        self.freeze()

    def _check_wires(self) -> None:
        count = len(self.gates)
        if len(self.left) != count or len(self.right) != count:
            raise ArtifactError(
                f"a circuit of {count:,} gates has {len(self.left):,} left and {len(self.right):,} right operands; expected as many."
            )
        if count and self.gates.max() > Gate.TRUE:
            raise ArtifactError(f"a circuit has gate id {self.gates.max()}; expected 0 to 15.")
        constant = (self.gates == Gate.FALSE) | (self.gates == Gate.TRUE)
        own = np.where(
            constant, 1, self.n_inputs + np.arange(count, dtype=np.int64)
        )  # a constant reads wire 0 in name only
        for name, wires in (("left", self.left), ("right", self.right)):
            wrong = (wires < 0) | (wires >= own)
            if wrong.any():
                g = int(np.argmax(wrong))
                raise ArtifactError(
                    f"gate {g} of a circuit reads wire {wires[g]} as its {name} operand; expected one before its own wire "
                    f"{self.n_inputs + g} (0 for a constant). A circuit has no cycles: put gates after what they read."
                )
        if len(self.outputs) and (self.outputs.min() < 0 or self.outputs.max() >= self.n_wires):
            raise ArtifactError(f"a circuit has an output on a wire outside 0 .. {self.n_wires - 1}.")

    @staticmethod
    def _check_names(what: str, names: tuple[str, ...], count: int) -> None:
        listed: object = names  # a file may hold anything
        if not isinstance(listed, tuple) or not all(isinstance(name, str) and name for name in listed):
            raise ArtifactError(f"the {what} names of a circuit must be a tuple of texts that are not empty.")
        if names and len(names) != count:
            raise ArtifactError(f"a circuit has {len(names)} {what} names for {count} {what}s.")
        if len(set(names)) < len(names):
            raise ArtifactError(f"a circuit has two {what}s of one name; expected different names.")

    # --- what it is made of --------------------------------------------------------------------------------------------------
    @property
    def n_gates(self) -> int:
        """Number of gates."""
        return len(self.gates)

    @property
    def n_outputs(self) -> int:
        """Number of output bits."""
        return len(self.outputs)

    @property
    def n_wires(self) -> int:
        """Inputs and gates together."""
        return self.n_inputs + len(self.gates)

    @cached_property
    def levels(self) -> NDArray[np.int32]:
        """Level of every wire, int32 [wires]: 0 for inputs and constants, else one more than the higher of the two that it reads."""
        level = [0] * self.n_wires
        for wire, (gate, a, b) in enumerate(
            zip(self.gates.tolist(), self.left.tolist(), self.right.tolist(), strict=True), self.n_inputs
        ):
            if 0 < gate < 15:
                level[wire] = 1 + max(level[a], level[b])
        return np.array(level, np.int32)

    @property
    def depth(self) -> int:
        """Gates on the longest way from an input to an output."""
        return int(self.levels[self.outputs].max(initial=0))

    def gate_counts(self) -> dict[str, int]:
        """Return how many gates of each kind there are, by name, commonest first.

        Examples
        --------
        >>> Circuit.from_expression("s = a ^ b; c = a & b").gate_counts()
        {'AND': 1, 'XOR': 1}
        """
        counts = np.bincount(self.gates, minlength=16)
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda gate: (-counts[gate], gate))
        return {Gate(gate).name: int(counts[gate]) for gate in order}

    @cached_property
    def names_of_inputs(self) -> tuple[str, ...]:
        """The input names, made up where there are none."""
        return self.input_names or tuple(f"x{i}" for i in range(self.n_inputs))

    @cached_property
    def names_of_outputs(self) -> tuple[str, ...]:
        """The output names, made up where there are none."""
        return self.output_names or tuple(f"y{i}" for i in range(self.n_outputs))

    # --- evaluation ----------------------------------------------------------------------------------------------------------
    def evaluate(self, bits: Any) -> Bits:
        """Return the outputs, bool [n, outputs], for rows of input bits [n, inputs]: the reference, in NumPy.

        Parameters
        ----------
        bits : Booleans, or numbers that are 0 or 1; [n, inputs].

        Raises
        ------
        DataError : another number of columns, or a value that is neither 0 nor 1.
        """
        array = self.check_bits(bits)
        return unpack_bits(self.evaluate_packed(pack_bits(array.T)), len(array)).T

    def evaluate_packed(self, words: Words) -> Words:
        """Return packed outputs, uint64 [outputs, w], for packed inputs [inputs, w] (see `core.bit_words`): one lane a row."""
        from hardgrad.logic.runtime_numpy import evaluate_packed

        return evaluate_packed(self, self.check_words(words))

    def check_bits(self, bits: Any) -> Bits:
        """Return rows of input bits as Booleans [n, inputs]; raises `DataError` where they are not that (see `evaluate`)."""
        return check_bits(bits, self.n_inputs, "the circuit", "Compare features with thresholds first.")

    def check_words(self, words: Any) -> Words:
        """Return packed inputs; raises `DataError` where they are not uint64 [inputs, w]."""
        if (
            not isinstance(words, np.ndarray)
            or words.dtype != np.uint64
            or words.ndim != 2
            or len(words) != self.n_inputs
        ):
            got = (
                f"{words.dtype} with shape {words.shape}"
                if isinstance(words, np.ndarray)
                else type(words).__name__
            )
            raise DataError(
                f"the circuit got packed inputs of {got}; expected uint64 [{self.n_inputs}, words]. Use pack_bits(bits.T)."
            )
        return words

    @cached_property
    def steps(self) -> list[NDArray[np.int64]]:
        """The gates in an order of evaluation, those of one kind and one level together."""
        from hardgrad.logic.runtime_numpy import steps

        return steps(self)

    @cached_property
    def program(self) -> Program:
        """The gates in the order in which compiled runtimes evaluate them, and where their values lie."""
        from hardgrad.logic.program import make_program

        return make_program(self)

    def runtime(
        self, engine: str = "auto", *, compile: Literal["c"] | None = None, n_jobs: int | None = 1
    ) -> CircuitRuntime:
        """Return a fast handle that gives the same bits (see `hardgrad.logic.runtime.prepare`)."""
        from hardgrad.logic.runtime import prepare

        return prepare(self, engine, compile=compile, n_jobs=n_jobs)

    def truth_table(self) -> Bits:
        """Return the outputs of all inputs, bool [2**inputs, outputs], input 0 changing slowest.

        Raises
        ------
        ParameterError : more than 20 inputs.

        Examples
        --------
        >>> Circuit.from_expression("y = a & ~b").truth_table()[:, 0].astype(int).tolist()
        [0, 0, 1, 0]
        """
        if self.n_inputs > MAX_TABLE_INPUTS:
            raise ParameterError(
                f"a truth table of {self.n_inputs} inputs has 2^{self.n_inputs} rows; at most {MAX_TABLE_INPUTS} inputs."
            )
        return unpack_bits(self.evaluate_packed(all_inputs(self.n_inputs)), 1 << self.n_inputs).T

    # --- other circuits ------------------------------------------------------------------------------------------------------
    def simplify(self) -> Circuit:
        """Return a circuit of the same function, inputs and outputs with no more gates (see `hardgrad.logic.simplification`)."""
        from hardgrad.logic.simplification import simplify

        return simplify(self)

    def equivalent(self, other: Circuit, *, time_limit: float = 60.0) -> EquivalenceResult:
        """Prove that another circuit has the same function, or find an input where it has not (see `hardgrad.logic.proving`)."""
        from hardgrad.logic.proving import equivalence

        return equivalence(self, other, time_limit=time_limit)

    def cost(self) -> CircuitCost:
        """Return what the circuit costs: gates, levels, ANDs after expansion, places of memory (see `hardgrad.logic.circuit_report`)."""
        from hardgrad.logic.circuit_report import circuit_cost

        return circuit_cost(self)

    def roofline(self, engine: str = "auto", *, n_jobs: int | None = 1) -> Roofline:
        """Measure how fast it runs here, beside what memory allows (see `hardgrad.logic.circuit_report`)."""
        from hardgrad.logic.circuit_report import roofline

        return roofline(self, engine, n_jobs=n_jobs)

    def with_names(self, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Self:
        """Return the circuit with other names of its bits."""
        fields = (self.gates, self.left, self.right, self.outputs, self.n_inputs)
        return type(self)(*fields, tuple(inputs), tuple(outputs))

    # --- made from something else --------------------------------------------------------------------------------------------
    @classmethod
    def from_truth_table(
        cls, table: Any, *, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
    ) -> Circuit:
        """Return a circuit of a truth table, bits or a `TruthTable` (see `hardgrad.logic.circuit_build`)."""
        from hardgrad.logic.circuit_build import from_truth_table

        return from_truth_table(table, input_names=input_names, output_names=output_names)

    @classmethod
    def from_expression(cls, text: str, *, inputs: Sequence[str] | None = None) -> Circuit:
        """Return a circuit of expressions such as `"s = a ^ b; c = a & b"` (see `hardgrad.logic.expression`)."""
        from hardgrad.logic.expression import from_expression

        return from_expression(text, inputs=inputs)

    @classmethod
    def from_network(
        cls, network: PackedNetwork, *, input_names: Sequence[str] = (), output_names: Sequence[str] = ()
    ) -> Circuit:
        """Return the circuit of a binary network (see `hardgrad.logic.network_circuit.circuit_of_network`)."""
        from hardgrad.logic.network_circuit import circuit_of_network

        return circuit_of_network(network, input_names=input_names, output_names=output_names)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Circuit:
        """Read a circuit from a BLIF or AIGER file (see `hardgrad.logic.netlists.read_circuit`)."""
        from hardgrad.logic.netlists import read_circuit

        return read_circuit(path)

    # --- other forms ---------------------------------------------------------------------------------------------------------
    def to_c(self, name: str = "circuit") -> CSource:
        """Return C99 (see `hardgrad.logic.circuit_c.to_c`)."""
        from hardgrad.logic.circuit_c import to_c

        return to_c(self, name)

    def to_verilog(self, name: str = "circuit", *, pipelined: bool = False) -> VerilogSource:
        """Return a Verilog module (see `hardgrad.logic.circuit_verilog.to_verilog`)."""
        from hardgrad.logic.circuit_verilog import to_verilog

        return to_verilog(self, name, pipelined=pipelined)

    def to_blif(self, name: str = "circuit") -> str:
        """Return BLIF (see `hardgrad.logic.blif.to_blif`)."""
        from hardgrad.logic.blif import to_blif

        return to_blif(self, name)

    def to_aiger(self, *, binary: bool = True) -> bytes:
        """Return AIGER, binary or as text (see `hardgrad.logic.aiger.to_aiger`)."""
        from hardgrad.logic.aiger import to_aiger

        return to_aiger(self, binary=binary)

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, name: str = "circuit") -> bytes:
        """Return, and write where a path is given, an ONNX model of Booleans (see `hardgrad.logic.circuit_onnx.to_onnx`)."""
        from hardgrad.logic.circuit_onnx import to_onnx

        return to_onnx(self, path, name=name)

    def to_sql(self, dialect: str = "duckdb", *, table: str = "bits") -> str:
        """Return a query that computes the outputs of a table of Booleans (see `hardgrad.logic.circuit_sql.circuit_to_sql`)."""
        from hardgrad.logic.circuit_sql import circuit_to_sql

        return circuit_to_sql(self, dialect, table=table)

    def to_dot(self) -> str:
        """Return a picture in the language of Graphviz (see `hardgrad.logic.circuit_drawing`)."""
        from hardgrad.logic.circuit_drawing import to_dot

        return to_dot(self)

    def draw(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return, and write where a path is given, an SVG picture (see `hardgrad.logic.circuit_drawing`)."""
        from hardgrad.logic.circuit_drawing import draw

        return draw(self, path)

    def to_networkx(self) -> Any:
        """Return a `networkx.DiGraph` of wires, with the gate's name as attribute `gate` (see `hardgrad.logic.circuit_drawing`)."""
        from hardgrad.logic.circuit_drawing import to_networkx

        return to_networkx(self)

    def forms(self) -> Mapping[str, Form]:
        """Return the languages that the circuit can be written in (see `hardgrad.logic.circuit_forms.circuit_forms`)."""
        from hardgrad.logic.circuit_forms import circuit_forms

        return circuit_forms(self)

    @classmethod
    def metadata_from_json(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Invert `metadata_to_json`."""
        names = {key: tuple(metadata[key]) for key in ("input_names", "output_names")}
        return {**metadata, **names}

    def __repr__(self) -> str:
        return f"Circuit({self.n_inputs} inputs, {self.n_gates:,} gates, {self.n_outputs} outputs, depth {self.depth})"


def check_bits(bits: Any, columns: int, taker: str, advice: str = "") -> Bits:
    """Return rows of bits as Booleans [n, columns].

    Parameters
    ----------
    bits : Booleans, or numbers that are 0 or 1; [n, columns].
    columns : how many are expected.
    taker : who got them, for the message.
    advice : what to do about another number, for the message.

    Raises
    ------
    DataError : another number of columns, or a value that is neither 0 nor 1.
    """
    array = np.asarray(bits)
    if array.ndim != 2 or array.shape[1] != columns:
        raise DataError(
            f"{taker} got an array of shape {array.shape}; expected [n, {columns}], one column a bit."
        )
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{taker} got an array of {array.dtype}; expected Booleans, or numbers that are 0 or 1."
        )
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise DataError(
            f"{taker} got {array[row, column]} in row {row}, column {column}; expected bits, 0 or 1. {advice}".rstrip()
        )
    return array.astype(bool)


def all_inputs(n_inputs: int) -> Words:
    """Return all 2^n inputs packed, uint64 [n, words], in the order of a truth table: input 0 changes slowest.

    Examples
    --------
    >>> [bin(int(word)) for word in all_inputs(2)[:, 0]]
    ['0b1100', '0b1010']
    """
    rows = 1 << n_inputs
    if n_inputs <= 6:
        return pack_bits(truth_rows(n_inputs).T) if n_inputs else np.zeros((0, 1), np.uint64)
    low = pack_bits(truth_rows(6).T)
    words = np.empty((n_inputs, rows // 64), np.uint64)
    words[n_inputs - 6 :] = low
    high = np.arange(rows // 64)
    for i in range(n_inputs - 6):
        words[i] = np.where(high >> (n_inputs - 7 - i) & 1, ~np.uint64(0), np.uint64(0))
    return words
