"""A CategoryTable run as SQL in DuckDB and as compiled C."""

import ctypes

import numpy as np
import pyarrow as pa

from hardgrad.export.compiled_c import compile_shared
from hardgrad.tabular.category_table import CategoryTable
from hardgrad.tabular.raw import category_text, is_missing, plain_array
from hardgrad.tabular.schema import TableSchema, encode_column

FLAGS = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def codes_in_duckdb(table: CategoryTable, columns: dict) -> np.ndarray:
    """The codes that the exported SELECT gives, in the order of the rows."""
    import duckdb

    types = {
        "categorical": pa.string(),
        "boolean": pa.bool_(),
        "datetime": pa.timestamp("us"),
        "numeric": pa.float64(),
    }
    data = {}
    for column in table.columns:
        values = plain_array(np.asarray(columns[column.name])).tolist()
        data[column.name] = pa.array([None if is_missing(v) else v for v in values], types[column.kind])
    rows = pa.table({**data, "row": pa.array(range(len(next(iter(data.values())))))})
    with duckdb.connect() as connection:
        connection.register("rows_to_score", rows)
        query = table.to_sql("duckdb", table="rows_to_score", keep=["row"])
        found = connection.execute(f'SELECT * FROM ({query}) ORDER BY "row"').fetchall()
    return np.array(found, dtype=np.float64)[:, 1:]


def codes_in_c(table: CategoryTable, columns: dict) -> tuple[np.ndarray, np.ndarray]:
    """The codes that the exported C gives, and what it returned for each row."""
    code = table.to_c("coder")
    library = compile_shared(code.source, flags=FLAGS, name="coder", headers={"coder.h": code.header})
    kinds = [ctypes.c_char_p if column.kind == "categorical" else ctypes.c_double for column in table.columns]
    Row = type("Row", (ctypes.Structure,), {"_fields_": [(f"m{i}", kind) for i, kind in enumerate(kinds)]})
    picked = TableSchema(table.columns, ()).pick(columns)
    values = [
        [None if is_missing(v) else category_text(v).encode() for v in plain_array(raw).tolist()]
        if column.kind == "categorical" else encode_column(column, raw).tolist()
        for column, raw in zip(table.columns, picked, strict=True)
    ]  # fmt: skip
    n = len(values[0])
    codes, refused = np.full((n, len(table.features)), np.nan), np.zeros(n, dtype=int)
    for i in range(n):
        row = Row(*(column[i] for column in values))
        refused[i] = library.coder_transform(ctypes.byref(row), ctypes.c_void_p(codes[i].ctypes.data))
    return codes, refused
