"""CircuitModel: compares the features of a table with thresholds, runs a circuit and counts its outputs. Never imports torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, DataError, SchemaError
from hardgrad.logic.circuit import Bits, Circuit, Words
from hardgrad.logic.counting import make_groups
from hardgrad.logic.program import without_unused_inputs
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Facts, Label, Link, TableModel, Task

if TYPE_CHECKING:
    from hardgrad.bits.packed_classifier import PackedClassifier
    from hardgrad.export.c import CSource
    from hardgrad.export.forms import Form
    from hardgrad.export.verilog import VerilogSource
    from hardgrad.trees.forest import Forest

Floats = NDArray[np.float64]
ROWS_AT_ONCE = 1 << 15


@dataclass(frozen=True, eq=False)
class CircuitModel(TableModel, kind="circuit-model"):
    """Predicts by bits: features above thresholds are inputs of a circuit, and the outputs of each group that are 1 are counted.

    Bit i is `X[:, bit_feature[i]] > bit_threshold[i]`: 0 where the feature is missing, which only columns may be that have a
    feature "missing" of their own. Raw score k is `offset[k] + scale[k] * count[k]`, where count k is the sum of the weights of the outputs
    of group k that are 1.

    Parameters
    ----------
    schema, link, task, classes, target : see `TableModel`.
    bit_feature : int32 [bits], the feature that a bit tests; bit_threshold : float64 [bits].
    gates, left, right, outputs : see `Circuit`, whose inputs are the bits.
    group : int32 [outputs], the raw score that an output counts for; weight : int32 [outputs], how many times, 0 or more.
    offset, scale : float64 [scores].
    """

    schema: TableSchema
    link: Link
    task: Task
    classes: tuple[Label, ...]
    target: str
    bit_feature: NDArray[np.int32]
    bit_threshold: Floats
    gates: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    outputs: NDArray[np.int32]
    group: NDArray[np.int32]
    weight: NDArray[np.int32]
    offset: Floats
    scale: Floats

    def __post_init__(self) -> None:
        for name, kind in (
            ("bit_feature", np.int32), ("bit_threshold", np.float64), ("group", np.int32), ("weight", np.int32),
            ("offset", np.float64), ("scale", np.float64),
        ):  # fmt: skip
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != kind or array.ndim != 1:
                raise ArtifactError(
                    f"circuit model array {name!r} must be {np.dtype(kind)} with 1 dimension."
                )
        if (
            len(self.bit_feature) != len(self.bit_threshold)
            or len(self.group) != len(self.weight)
            or len(self.offset) != len(self.scale)
        ):
            raise ArtifactError(
                "a circuit model needs one threshold a bit, one weight a group and one scale an offset."
            )
        if len(self.bit_feature) and (
            self.bit_feature.min() < 0 or self.bit_feature.max() >= self.n_features
        ):
            raise ArtifactError(f"a circuit model tests a feature outside 0 .. {self.n_features - 1}.")
        if not (np.isfinite(self.offset).all() and np.isfinite(self.scale).all()):
            raise ArtifactError("a circuit model has an offset or a scale that is not finite.")
        if np.isnan(self.bit_threshold).any():
            raise ArtifactError("a circuit model has a threshold that is NaN.")
        if len(self.group) != len(self.outputs):
            raise ArtifactError(
                f"a circuit model has {len(self.group)} groups for {len(self.outputs)} outputs; expected one an output."
            )
        self.check_answers()
        self.freeze()
        make_groups(self.group, self.weight, self.n_outputs)
        most = np.bincount(self.group, self.weight, self.n_outputs)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.abs(self.offset) + np.abs(self.scale) * most).all():
                raise ArtifactError("a circuit model has scores beyond the largest number.")
        self.circuit  # noqa: B018  checks the arrays of the circuit

    @classmethod
    def of(cls, circuit: Circuit, **fields: Any) -> Self:
        """Return the model of a circuit and of the other fields; weights are 1 where there are none."""
        fields.setdefault("weight", np.ones(circuit.n_outputs, np.int32))
        return cls(
            gates=circuit.gates, left=circuit.left, right=circuit.right, outputs=circuit.outputs, **fields
        )

    @classmethod
    def from_forest(cls, forest: Forest) -> CircuitModel:
        """Return the model that scores as a forest does, bit for bit (see `hardgrad.logic.forest_circuit`)."""
        from hardgrad.logic.forest_circuit import circuit_of_forest

        return circuit_of_forest(forest)

    @classmethod
    def from_network(cls, network: PackedClassifier) -> CircuitModel:
        """Return the model that scores as a packed classifier of bits does (see `hardgrad.logic.network_circuit`)."""
        from hardgrad.logic.network_circuit import circuit_of_classifier

        return circuit_of_classifier(network)

    @cached_property
    def circuit(self) -> Circuit:
        """The circuit; its inputs are named by what they test."""
        return Circuit(self.gates, self.left, self.right, self.outputs, len(self.bit_feature), self.bit_names)

    @cached_property
    def bit_names(self) -> tuple[str, ...]:
        """What each bit tests, as text; names that would be the same get their number."""
        names = [feature.name for feature in self.schema.features]
        texts = [
            f"{names[f]} > {t!r}"
            for f, t in zip(self.bit_feature.tolist(), self.bit_threshold.tolist(), strict=True)
        ]
        seen: set[str] = set()
        for place, text in enumerate(texts):
            texts[place] = text if text not in seen else f"{text} ({place})"
            seen.add(texts[place])
        return tuple(texts)

    @property
    def n_outputs(self) -> int:
        """Number of raw scores a row."""
        return len(self.offset)

    @property
    def counts_decide(self) -> bool:
        """Whether the largest count is the largest score: all scores have one offset and one positive scale."""
        return self.n_outputs > 1 and bool(
            (self.offset == self.offset[0]).all()
            and (self.scale == self.scale[0]).all()
            and self.scale[0] > 0
        )

    # --- answers -------------------------------------------------------------------------------------------------------------
    def bits(self, X: Floats) -> Bits:
        """Return the inputs of the circuit, bool [n, bits], of an encoded matrix X [n, features].

        Raises
        ------
        SchemaError : another number of features. DataError : a feature is missing in a row, and was not in any row that was learned from.
        """
        X = self.checked(X)
        return np.asarray(X[:, self.bit_feature] > self.bit_threshold)

    def checked(self, X: Floats) -> Floats:
        """Return an encoded matrix as float64. Raises as `bits` does."""
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise SchemaError(
                f"got an encoded matrix of shape {X.shape}; the model expects [n, {self.n_features}], one column a feature."
            )
        if np.isnan(X.min(initial=np.inf)):  # seldom, and cheaper to ask of all than of some columns
            self._require_present(X)
        return X

    def _require_present(self, X: Floats) -> None:
        found = self.schema.first_missing(X, self._complete)
        if found is not None:
            raise DataError(
                f"column {found[0]!r} is missing in row {found[1]}; the model learned from rows where "
                "it never was. Fill it, or train with missing values in that column."
            )

    @cached_property
    def _complete(self) -> NDArray[np.int64]:
        """Features that a bit reads, of columns that have no feature "missing"."""
        features = self.schema.features
        may_lack = {feature.column for feature in features if feature.transform == "missing"}
        return np.array(
            [f for f in self.used_features().tolist() if features[f].column not in may_lack], np.int64
        )

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return the raw scores, float64 [n, scores], of an encoded matrix X [n, features]."""
        return self._reference.predict_raw_encoded(X)

    @cached_property
    def _reference(self) -> CircuitModelRuntime:
        return self.runtime("numpy")

    def runtime(self, engine: str = "auto", *, n_jobs: int = 1) -> CircuitModelRuntime:
        """Return a fast handle that gives the same bits (see `hardgrad.logic.runtime.prepare`)."""
        return CircuitModelRuntime(self, engine, n_jobs)

    def fastest_engine(self) -> str:
        """Return the first of "c", "numba" and "numpy" that runs here."""
        from hardgrad.logic.runtime import fastest_engine

        return fastest_engine()

    def used_features(self) -> NDArray[np.int64]:
        """Return the numbers of the features that an output depends on, sorted."""
        return np.unique(self.bit_feature[self.circuit.program.input_wire]).astype(np.int64)

    def sizes(self) -> list[tuple[int, str]]:
        """Return the numbers of gates, levels, bits and bytes."""
        circuit = self.circuit
        return [
            (circuit.n_gates, "gate"),
            (circuit.depth, "level"),
            (circuit.n_inputs, "bit"),
            *super().sizes(),
        ]

    def facts(self) -> Facts:
        """Return the levels, what the circuit costs in ANDs, and how many gates of each kind there are."""
        cost = self.circuit.cost()
        return {
            "Circuit": {
                "levels": cost.depth,
                "gates of the widest level": cost.widest,
                "outputs": self.circuit.n_outputs,
                "ANDs with free complements": cost.ands,
                "values held at once": cost.places,
            },
            "Kinds of gates": {
                name.lower().replace("_", " "): count for name, count in self.circuit.gate_counts().items()
            },
        }

    def simplify(self) -> Self:
        """Return the same model with a simplified circuit, bits that nothing reads left out."""
        small, used = without_unused_inputs(self.circuit.simplify())
        return type(self).of(
            small, schema=self.schema, link=self.link, task=self.task, classes=self.classes, target=self.target,
            bit_feature=self.bit_feature[used], bit_threshold=self.bit_threshold[used], group=self.group, weight=self.weight,
            offset=self.offset, scale=self.scale,
        )  # fmt: skip

    def drawing(self) -> tuple[str, str] | None:
        """Return a caption and a picture of the circuit, or of a few outputs of each score where it is too large; None where one is."""
        from hardgrad.logic.circuit_drawing import first_outputs, picture

        shown = first_outputs(self._in_turn())
        if shown is None:
            return None
        part = (
            ""
            if shown.n_outputs == self.circuit.n_outputs
            else f" Drawn is what {shown.n_outputs:,} of its {self.circuit.n_outputs:,} outputs need."
        )
        caption = (
            "Inputs are tests of the table, on the left; every box is one gate of the wires that reach it, a above b; an output counts for "
            f"what it is named after.{part}"
        )
        return caption, picture(shown)

    def output_turns(self) -> tuple[list[int], tuple[str, ...]]:
        """Return of every output how many of its score came before it, plus 1, and a name of both: "setosa #3"."""
        seen = [0] * self.n_outputs
        turn = []
        for score in self.group.tolist():
            seen[score] += 1
            turn.append(seen[score])
        scores = self.score_names
        return turn, tuple(f"{scores[k]} #{t}" for k, t in zip(self.group.tolist(), turn, strict=True))

    def _in_turn(self) -> Circuit:
        """Return the circuit with the first output of every score first, then the second of every score, named by their score."""
        turn, names = self.output_turns()
        order = np.lexsort((self.group, np.array(turn, np.int64)))
        c = self.circuit
        named = tuple(names[o] for o in order)
        return Circuit(c.gates, c.left, c.right, c.outputs[order], c.n_inputs, self.bit_names, named)

    # --- other forms ---------------------------------------------------------------------------------------------------------
    def forms(self) -> Mapping[str, Form]:
        """Return the languages that the model can be written in (see `hardgrad.logic.circuit_forms.model_forms`)."""
        from hardgrad.logic.circuit_forms import model_forms

        return model_forms(self)

    def to_c(self, name: str = "model") -> CSource:
        """Return C99 that scores encoded rows (see `hardgrad.logic.circuit_model_export.to_c`)."""
        from hardgrad.logic.circuit_model_export import to_c

        return to_c(self, name)

    def to_verilog(self, name: str = "model") -> VerilogSource:
        """Return Verilog of the circuit and of its counts (see `hardgrad.logic.circuit_model_export.to_verilog`)."""
        from hardgrad.logic.circuit_model_export import to_verilog

        return to_verilog(self, name)

    def to_blif(self, name: str = "model") -> str:
        """Return BLIF of the circuit behind the thresholds (see `hardgrad.logic.circuit_model_export.named_circuit`)."""
        from hardgrad.logic.circuit_model_export import named_circuit

        return named_circuit(self).to_blif(name)

    def to_aiger(self, *, binary: bool = True) -> bytes:
        """Return AIGER of the circuit behind the thresholds (see `hardgrad.logic.circuit_model_export.named_circuit`)."""
        from hardgrad.logic.circuit_model_export import named_circuit

        return named_circuit(self).to_aiger(binary=binary)

    def to_onnx(self, path: str | os.PathLike[str] | None = None, **options: Any) -> bytes:
        """Return, and write where a path is given, an ONNX model (see `hardgrad.logic.circuit_model_onnx.to_onnx`)."""
        from hardgrad.logic.circuit_model_onnx import to_onnx

        return to_onnx(self, path, **options)

    def to_sql(self, dialect: str = "duckdb", **options: Any) -> str:
        """Return one SELECT over the raw columns (see `hardgrad.logic.circuit_sql.to_sql`)."""
        from hardgrad.logic.circuit_sql import to_sql

        return to_sql(self, dialect, **options)


class CircuitModelRuntime:
    """A prepared circuit model: answers as the model does, bit for bit."""

    def __init__(self, model: CircuitModel, engine: str, n_jobs: int) -> None:
        from hardgrad.logic.runtime import prepare

        self.model = model
        self.circuit = prepare(
            model.circuit,
            engine,
            n_jobs=n_jobs,
            group=model.group,
            weight=model.weight,
            n_groups=model.n_outputs,
        )

    @property
    def engine(self) -> str:
        """The engine in use (see `CircuitRuntime.engine`)."""
        return self.circuit.engine

    def predict_raw(self, table: Any) -> Floats:
        """Return the raw scores, float64 [n, scores], of raw columns."""
        return self.predict_raw_encoded(self.model.encode(table))

    def predict_proba(self, table: Any) -> Floats:
        """Return class probabilities [n, classes]. Raises `DataError` for a regression."""
        return self.model.raw_to_proba(self.predict_raw(table))

    def predict(self, table: Any) -> NDArray[Any]:
        """Return class labels or values (see `TableModel.predict`)."""
        return self.predict_encoded(self.model.encode(table))

    def predict_encoded(self, X: Floats) -> NDArray[Any]:
        """`predict` for an encoded matrix [n, features]; where counts decide, no score is computed."""
        model = self.model
        if model.task != "classification" or not model.counts_decide:
            return model.raw_to_prediction(self.predict_raw_encoded(X))
        parts = [self.circuit.winners(packed=self._inputs(part), n_rows=len(part)) for part in _parts(X)]
        return model.class_array[np.concatenate(parts)]

    def predict_raw_encoded(self, X: Floats) -> Floats:
        """Return the raw scores of an encoded matrix X [n, features]."""
        counts = np.concatenate(
            [self.circuit.counts(packed=self._inputs(part), n_rows=len(part)) for part in _parts(X)]
        )
        return np.asarray(self.model.offset + self.model.scale * counts)

    def _inputs(self, X: Floats) -> Words:
        model = self.model
        return self.circuit.pack_above(model.checked(X), model.bit_feature, model.bit_threshold)


def _parts(X: Floats) -> list[Floats]:
    """Rows in blocks whose bits fit in memory; at least one block."""
    return [X[start : start + ROWS_AT_ONCE] for start in range(0, max(len(X), 1), ROWS_AT_ONCE)]
