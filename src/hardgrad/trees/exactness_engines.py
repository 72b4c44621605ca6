"""The engines that `exactness` compares with the reference, each made ready for one forest. Never imports torch.

An engine takes rows as `probe.generate_rows` makes them. Heavy packages are imported when an engine is made; what is missing raises
`Unavailable` with the reason. Compiled C and node are driven in `exactness_compiled`, ONNX Runtime in `exactness_onnx`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.tabular.schema import TableSchema
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import Rows, to_arrow


class Unavailable(Exception):
    """An engine that cannot run here; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What an engine said of n rows; None where it does not say.

    Parameters
    ----------
    leaves : int [n, trees]; node numbers.
    raw : float64 [n, outputs].
    probabilities : float64 [n, classes].
    predicted : int [n], the position of the class (-1: none of them), or float64 [n, outputs] for regression.
    """

    leaves: NDArray[Any] | None = None
    raw: NDArray[np.float64] | None = None
    probabilities: NDArray[np.float64] | None = None
    predicted: NDArray[Any] | None = None


class Engine(Protocol):
    """A forest made ready in one engine."""

    def rows(self, rows: Rows) -> Rows:
        """Return the rows in the precision that the engine takes."""

    def score(self, rows: Rows) -> Answer:
        """Return what the engine says of rows."""


class RuntimeEngine:
    """A runtime of `hardgrad.trees.runtime`."""

    def __init__(self, forest: Forest, name: str) -> None:
        from hardgrad.trees.runtime import prepare

        if name == "numba":
            _require("numba", "pip install numba")
        self.forest = forest
        self.runtime = prepare(forest, name)

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Score through the methods that take raw columns."""
        probabilities = self.runtime.predict_proba(rows) if self.forest.task == "classification" else None
        predicted = class_positions(self.forest, self.runtime.predict(rows))
        return Answer(self.runtime.apply(rows), self.runtime.predict_raw(rows), probabilities, predicted)


class DuckDBEngine:
    """The exported SELECT in DuckDB, over a table that holds missing numbers both as NULL and as NaN."""

    def __init__(self, forest: Forest) -> None:
        _require("duckdb", "pip install duckdb")
        self.forest = forest

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Score one table and read every output of the query."""
        from hardgrad.trees.score_sql import score_duckdb

        table = to_arrow(rows, self.forest.schema)
        result = score_duckdb(self.forest, table, outputs="all", leaves=True)
        return sql_answer(self.forest, [column.to_pylist() for column in result.columns], len(table))


class SQLiteEngine:
    """The exported SELECT in the SQLite that comes with Python."""

    def __init__(self, forest: Forest) -> None:
        from hardgrad.trees.export_sql import to_sql

        self.forest = forest
        self.query = to_sql(forest, "sqlite", outputs="all", leaves=True)

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Insert the rows into a table in memory and run the query."""
        schema = self.forest.schema
        kinds = {"numeric": "REAL", "boolean": "INTEGER", "categorical": "TEXT", "datetime": "TEXT"}
        columns = ", ".join(f"{_quoted(column.name)} {kinds[column.kind]}" for column in schema.columns)
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute(f"CREATE TABLE data ({columns})")
            places = ", ".join("?" * len(schema.columns))
            connection.executemany(f"INSERT INTO data VALUES ({places})", _sqlite_rows(rows, schema))
            result = connection.execute(self.query).fetchall()
        except sqlite3.OperationalError as error:  # its limits on columns and on the length of a query
            raise Unavailable(f"SQLite {sqlite3.sqlite_version} refuses the query: {error}") from error
        finally:
            connection.close()
        return sql_answer(self.forest, [list(values) for values in zip(*result, strict=True)], len(result))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sqlite_rows(rows: Rows, schema: TableSchema) -> Any:
    columns = []
    for column, values in zip(schema.columns, to_arrow(rows, schema).columns, strict=True):
        cells = values.to_pylist()
        if column.kind == "datetime":
            cells = [None if cell is None else cell.isoformat(" ") for cell in cells]
        columns.append(cells)
    return zip(*columns, strict=True)


def sql_answer(forest: Forest, columns: list[list[Any]], n: int) -> Answer:
    """Read the result columns of `to_sql(.., outputs="all", leaves=True)`: leaves, raw scores, probabilities, predictions."""
    parts = []
    for count in (forest.n_trees, forest.n_outputs, len(forest.classes)):
        parts.append(columns[:count])
        columns = columns[count:]
    leaves = np.array(parts[0], dtype=np.int64).T.reshape(n, forest.n_trees)
    raw, probabilities = (np.array(part, dtype=np.float64).T.reshape(n, len(part)) for part in parts[1:])
    if forest.task == "regression":
        return Answer(leaves, raw, None, np.array(columns, dtype=np.float64).T)
    return Answer(leaves, raw, probabilities, class_positions(forest, np.array(columns[0], dtype=object)))


def class_positions(forest: Forest, predicted: NDArray[Any]) -> NDArray[Any]:
    """Return the position of predicted labels among the classes (-1: none of them); predicted values as they are."""
    if forest.task == "regression":
        return predicted
    position = {label: k for k, label in enumerate(forest.classes)}
    return np.array([position.get(label, -1) for label in predicted.tolist()], dtype=np.int64)


def _require(package: str, command: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise Unavailable(f"the package {package} is not installed ({command})")


def _numba(forest: Forest) -> Engine:
    return RuntimeEngine(forest, "numba")


def _native(forest: Forest) -> Engine:
    return RuntimeEngine(forest, "c")


def _c(forest: Forest) -> Engine:
    from hardgrad.trees.exactness_compiled import CEngine

    return CEngine(forest)


def _packed_c(forest: Forest) -> Engine:
    from hardgrad.trees.exactness_compiled import CEngine

    if forest.packing is None:
        raise Unavailable("the forest was not made for a number of bytes")
    return CEngine(forest, form="packed")


def _javascript(forest: Forest) -> Engine:
    from hardgrad.trees.exactness_compiled import NodeEngine

    return NodeEngine(forest)


def _onnx(forest: Forest) -> Engine:
    from hardgrad.trees.exactness_onnx import OnnxEngine

    return OnnxEngine(forest)


ENGINES: dict[str, Callable[[Forest], Engine]] = {
    "numba": _numba,
    "native": _native,
    "c": _c,
    "packed c": _packed_c,
    "javascript": _javascript,
    "duckdb": DuckDBEngine,
    "sqlite": SQLiteEngine,
    "onnx": _onnx,
}
