"""Circuits and their models as one SELECT. Never imports torch.

A gate that several others read becomes a column of an inner SELECT, one that is read once becomes part of its reader's expression. No
expression is ever NULL: a bit of a missing value is false, as in the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from sqlglot import exp

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.export.sql import SqlDialect, above, choose, column, integer, weighted_sum
from hardgrad.export.sql_dialects import sql_dialect
from hardgrad.export.sql_query import Items, SqlQuery
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import live_wires, operands
from hardgrad.tabular.table_sql import TableQuery
from hardgrad.tabular.table_sql_output import add_outputs

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit
    from hardgrad.logic.circuit_model import CircuitModel

MOST_GATES = 20_000
NESTED = 6
"""Gates in one expression, one within the other: the parsers of engines are not deep."""
MOST_COLUMNS = 900
"""Columns that one SELECT may hand on: engines limit them (SQLite 2,000, PostgreSQL 1,664)."""


def circuit_to_sql(circuit: Circuit, dialect: str = "duckdb", *, table: str = "bits") -> str:
    """Return a SELECT of the outputs, by their names, from a table with a Boolean column for every input, by its name.

    Parameters
    ----------
    circuit : the circuit.
    dialect : "duckdb", "postgres", "spark", "bigquery", "snowflake" or "sqlite".
    table : what stands after FROM.

    Raises
    ------
    ExportError : the circuit is too large for a query, or an engine cannot have such columns. ParameterError : an unknown dialect.

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> print(circuit_to_sql(Circuit.from_expression("y = a & ~b")))
    SELECT
      hg_rows."a" AND NOT hg_rows."b" AS "y"
    FROM bits AS hg_rows
    """
    query = SqlQuery(sql_dialect(dialect), table)
    rows = exp.Identifier(this=f"{query.prefix}_rows", quoted=False)

    def read(i: int) -> exp.Expr:
        return exp.Column(this=query.dialect.identifier(circuit.names_of_inputs[i]), table=rows.copy())

    values = _GateQuery(query, circuit, read).outputs()
    query.finish(list(zip(map(query.dialect.output_name, circuit.names_of_outputs), values, strict=True)))
    return query.text(pretty=True)


def to_sql(
    model: CircuitModel,
    dialect: str = "duckdb",
    *,
    table: str = "data",
    keep: Sequence[str] = (),
    outputs: str = "all",
    rename: Mapping[str, str] | None = None,
    pretty: bool = True,
) -> str:
    """Return one SELECT that scores a table of raw columns exactly as the model does.

    The parameters are those of `hardgrad.trees.export_sql.to_sql`.

    Raises
    ------
    ParameterError : an unknown dialect, output or column. ExportError : the circuit is too large, or the engine cannot have such columns.
    """
    if outputs not in ("all", "prediction"):
        raise ParameterError(f"got outputs={outputs!r}; expected 'all' or 'prediction'.")
    query = _ModelQuery(model, sql_dialect(dialect), table, rename or {})
    query.add_features(keep)
    query.add_bits()
    query.add_scores()
    add_outputs(query, keep, everything=outputs == "all")
    return query.text(pretty)


class _ModelQuery(TableQuery):
    """The query of a circuit model while it grows."""

    def __init__(
        self, model: CircuitModel, dialect: SqlDialect, table: str, rename: Mapping[str, str]
    ) -> None:
        super().__init__(model, dialect, table, rename)
        self.circuit_model = model

    def bounds(self, f: int) -> np.ndarray:
        """Return the thresholds of feature f, sorted."""
        model = self.circuit_model
        return np.unique(model.bit_threshold[model.bit_feature == f])

    def add_bits(self) -> None:
        """Compare features with thresholds: `x_<bit>`."""
        model = self.circuit_model
        yes, no = self.dialect.truth(True), self.dialect.truth(False)
        items: Items = {}
        for i in model.circuit.program.input_wire.tolist():
            test = above(
                column(f"f_{model.bit_feature[i]}"), self.dialect.number(float(model.bit_threshold[i]))
            )
            items[f"x_{i}"] = choose(test, yes.copy(), no.copy())
        self.layer("bits", items, carry=[name for name in self.names if name[0] == "k"])

    def add_scores(self) -> None:
        """Count the outputs of every group: `r_<score>`."""
        model = self.circuit_model
        kept = [name for name in self.names if name[0] == "k"]
        values = _GateQuery(self, model.circuit, lambda i: column(f"x_{i}"), kept).outputs()
        counted = {f"y_{o}": choose(value, integer(1), integer(0)) for o, value in enumerate(values)}
        self.layer("outputs", counted, carry=kept)
        self.layer("scores", {f"r_{k}": self._score(k) for k in range(model.n_outputs)}, carry=kept)

    def _score(self, k: int) -> exp.Expr:
        model, number = self.circuit_model, self.dialect.number
        terms = [(int(model.weight[o]), column(f"y_{o}")) for o in np.flatnonzero(model.group == k).tolist()]
        count = self.dialect.double(weighted_sum(terms))
        scaled = exp.Mul(this=number(float(model.scale[k])), expression=count)
        return exp.Add(this=number(float(model.offset[k])), expression=scaled)


class _GateQuery:
    """Puts the gates of a circuit on a query, level by level."""

    def __init__(
        self, query: SqlQuery, circuit: Circuit, read: Callable[[int], exp.Expr], kept: Sequence[str] = ()
    ) -> None:
        if circuit.n_gates > MOST_GATES:
            raise ExportError(
                f"a circuit of {circuit.n_gates:,} gates is too large for a query; at most {MOST_GATES:,}. Export C instead."
            )
        self._query, self._circuit, self._read, self._kept = query, circuit, read, list(kept)
        self._layered = False  # whether inputs are columns of a SELECT of ours

    def outputs(self) -> list[exp.Expr]:
        """Stack the SELECTs that the outputs need and return their expressions over the topmost."""
        layer = self._layers()
        count = max(layer.values(), default=0)
        until = dict.fromkeys(
            [*range(self._circuit.n_inputs), *layer], 0
        )  # the last SELECT that reads a column
        for wire, own in [*layer.items(), *((wire, count + 1) for wire in self._circuit.outputs.tolist())]:
            for leaf in self._leaves(wire, layer, top=own <= count):
                until[leaf] = max(until[leaf], own)
        for number in range(1, count + 1):
            items = {
                f"n_{wire}": self._expression(wire, layer) for wire, own in layer.items() if own == number
            }
            handed = [wire for wire, last in until.items() if last > number and layer.get(wire, 0) < number]
            if len(items) + len(handed) > MOST_COLUMNS:
                raise ExportError(
                    f"a SELECT of {len(items) + len(handed):,} columns is wider than engines take. Export C instead."
                )
            items = {self._name(wire): self._column(wire) for wire in handed} | items
            self._query.layer(f"gates_{number}", items, carry=self._kept)
            self._layered = True
        return [
            self._column(wire) if wire in until else self._expression(wire, layer)
            for wire in self._circuit.outputs.tolist()
        ]

    def _layers(self) -> dict[int, int]:
        """In which SELECT each gate is computed that has a column of its own: because it is read twice, or deep within an expression."""
        circuit, inputs = self._circuit, self._circuit.n_inputs
        readers = np.bincount(
            np.concatenate([circuit.left, circuit.right, circuit.outputs]), minlength=circuit.n_wires
        )
        live = live_wires(circuit)
        layer: dict[int, int] = {}
        ready, nested = [0] * circuit.n_wires, [0] * circuit.n_wires
        for wire in range(inputs, circuit.n_wires):
            if not live[wire] or not 0 < int(circuit.gates[wire - inputs]) < 15:
                continue
            read = [operand for _, operand in operands(circuit, wire)]
            ready[wire] = max(ready[operand] for operand in read)
            nested[wire] = 1 + max(nested[operand] for operand in read)
            if readers[wire] > 1 or nested[wire] >= NESTED:
                layer[wire] = ready[wire] = ready[wire] + 1
                nested[wire] = 0
        return layer

    def _leaves(self, wire: int, layer: Mapping[int, int], *, top: bool) -> set[int]:
        """The columns that the expression of a wire reads; at the top, a wire that is a column is expanded."""
        inputs = self._circuit.n_inputs
        if wire < inputs or (wire in layer and not top):
            return {wire}
        return set().union(
            *(self._leaves(read, layer, top=False) for _, read in operands(self._circuit, wire))
        )

    def _name(self, wire: int) -> str:
        return f"x_{wire}" if wire < self._circuit.n_inputs else f"n_{wire}"

    def _column(self, wire: int) -> exp.Expr:
        if wire < self._circuit.n_inputs and not self._layered:
            return self._read(wire)
        return column(self._name(wire))

    def _operand(self, wire: int, layer: Mapping[int, int]) -> exp.Expr:
        if wire < self._circuit.n_inputs or wire in layer:
            return self._column(wire)
        return self._expression(wire, layer)

    def _expression(self, wire: int, layer: Mapping[int, int]) -> exp.Expr:
        """A gate of its operands. AND, OR and NOT of truth values; `<>` where they differ."""
        gate = int(self._circuit.gates[wire - self._circuit.n_inputs])
        if gate in (Gate.FALSE, Gate.TRUE):
            return self._query.dialect.truth(gate == Gate.TRUE)
        read = [self._operand(operand, layer) for _, operand in operands(self._circuit, wire)]
        return _written(gate, read[0], read[-1])


def _written(gate: int, a: exp.Expr, b: exp.Expr) -> exp.Expr:
    if gate in (Gate.A, Gate.B):
        return a if gate == Gate.A else b
    if gate in (Gate.NOT_A, Gate.NOT_B):
        return _not(a if gate == Gate.NOT_A else b)
    if gate in (Gate.XOR, Gate.XNOR):
        kind = exp.NEQ if gate == Gate.XOR else exp.EQ
        return kind(this=_enclosed(a), expression=_enclosed(b))
    if gate in (Gate.A_OR_NOT_B, Gate.B_OR_NOT_A, Gate.NAND, Gate.OR):
        left = _not(a) if gate in (Gate.B_OR_NOT_A, Gate.NAND) else _enclosed(a)
        right = _not(b) if gate in (Gate.A_OR_NOT_B, Gate.NAND) else _enclosed(b)
        return exp.Or(this=left, expression=right)
    left = _not(a) if gate in (Gate.B_AND_NOT_A, Gate.NOR) else _enclosed(a)
    right = _not(b) if gate in (Gate.A_AND_NOT_B, Gate.NOR) else _enclosed(b)
    return exp.And(this=left, expression=right)


def _enclosed(value: exp.Expr) -> exp.Expr:
    return (
        exp.Paren(this=value)
        if isinstance(value, (exp.Binary, exp.Not)) and not isinstance(value, exp.Column)
        else value
    )


def _not(value: exp.Expr) -> exp.Expr:
    return exp.Not(this=_enclosed(value))
