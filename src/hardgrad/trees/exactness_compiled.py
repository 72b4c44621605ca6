"""Exported C and JavaScript run from Python, for the exactness checks. Never imports torch."""

from __future__ import annotations

import base64
import ctypes
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.export.compiled_c import DEFAULT_FLAGS, compile_shared
from hardgrad.tabular.row_c import row_members
from hardgrad.tabular.schema import Column, category_text
from hardgrad.trees.exactness_engines import Answer, Unavailable
from hardgrad.trees.export_c import to_c
from hardgrad.trees.export_javascript import to_javascript
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import Rows

FRACTIONS_EXACT = 2.0**32
"""Seconds up to this are handed over with their microseconds: a double still holds them. Later ones are handed over whole."""


# --- C ------------------------------------------------------------------------------------------------------
_LOOP = """
void model_all(const struct model_row *rows, int32_t n, int32_t *leaf, double *raw, double *p, double *predicted)
{{
    (void)p;
    for (int32_t i = 0; i < n; i++) {{
        {leaves}
        model_raw(rows + i, raw + (size_t)i * MODEL_OUTPUTS);
        {outputs}
    }}
}}
"""


class CEngine:
    """The exported source, compiled by the system's compiler and called row by row through its row struct.

    Parameters
    ----------
    forest : the forest.
    form, layout : see `hardgrad.trees.export_c.to_c`.
    flags : options of the compiler.
    """

    def __init__(
        self,
        forest: Forest,
        *,
        form: str = "double",
        layout: str = "auto",
        flags: Sequence[str] = DEFAULT_FLAGS,
    ) -> None:
        self.forest = forest
        code = to_c(forest, "model", form=form, layout=layout)
        self.has_leaves = "model_leaves(" in code.header
        leaves = (
            "model_leaves(rows + i, leaf + (size_t)i * MODEL_TREES);" if self.has_leaves else "(void)leaf;"
        )
        if forest.task == "classification":
            outputs = "model_proba(rows + i, p + (size_t)i * MODEL_CLASSES);\n        predicted[i] = model_predict(rows + i);"
        elif forest.n_outputs == 1:
            outputs = "predicted[i] = model_predict(rows + i);"
        else:
            outputs = "model_predict(rows + i, predicted + (size_t)i * MODEL_OUTPUTS);"
        source = code.source + _LOOP.format(leaves=leaves, outputs=outputs)
        self.run = compile_shared(source, flags=flags, headers={"model.h": code.header}).model_all

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Lay the rows out as structs and call the library once."""
        forest = self.forest
        table, keep = self._structs(rows)
        n, classify = len(table), forest.task == "classification"
        leaves = np.full((n, forest.n_trees), -1, dtype=np.int32)
        raw = np.full((n, forest.n_outputs), np.nan)
        p = np.full((n, max(len(forest.classes), 1)), np.nan)
        predicted = np.full((n, 1 if classify else forest.n_outputs), np.nan)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (table, leaves, raw, p, predicted)]
        self.run(pointers[0], ctypes.c_int32(n), *pointers[1:])
        del keep  # the texts had to live until here
        said = predicted[:, 0].astype(np.int64) if classify else predicted
        return Answer(leaves if self.has_leaves else None, raw, p if classify else None, said)

    def _structs(self, rows: Rows) -> tuple[NDArray[Any], Any]:
        columns = self.forest.schema.columns
        members = row_members(self.forest.schema.columns)
        kinds = [np.uintp if column.kind == "categorical" else np.float64 for column in columns]
        fields: Any = list(zip(members, kinds, strict=True)) or [("unused", np.uint8)]
        n = len(next(iter(rows.values()))) if rows else 1
        table = np.zeros(n, dtype=np.dtype(fields, align=True))
        keep = []
        for column, member in zip(columns, members, strict=True):
            values = rows[column.name]
            if column.kind == "categorical":
                table[member], buffer = _texts(values)
                keep.append(buffer)
            else:
                table[member] = _doubles(column, values)
        return table, keep


def _texts(values: NDArray[Any]) -> tuple[NDArray[np.uintp], ctypes.Array[Any]]:
    """Addresses of the NUL-terminated UTF-8 of every text, 0 where missing, and the buffer that holds them."""
    encoded = {value: category_text(value).encode() for value in values.tolist() if value is not None}
    start: dict[Any, int] = {}
    position = 0
    for value, data in encoded.items():
        start[value] = position
        position += len(data) + 1
    buffer = ctypes.create_string_buffer(b"\0".join(encoded.values()) + b"\0")
    base = ctypes.addressof(buffer)
    addresses = [0 if value is None else base + start[value] for value in values.tolist()]
    return np.array(addresses, dtype=np.uintp), buffer


def _doubles(column: Column, values: NDArray[Any]) -> NDArray[np.float64]:
    if column.kind == "datetime":
        return seconds_with_fraction(values)
    return np.array([np.nan if v is None else float(v) for v in values.tolist()], dtype=np.float64)


def seconds_with_fraction(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return datetime64 values as seconds since 1970, with their microseconds where a double holds them exactly enough."""
    micro = values.astype("datetime64[us]").astype(np.int64)
    whole = np.floor_divide(micro, 1_000_000).astype(np.float64)
    fraction = np.mod(micro, 1_000_000) / 1e6
    seconds = np.where(np.abs(whole) < FRACTIONS_EXACT, whole + fraction, whole)
    return np.where(np.isnat(values), np.nan, seconds)


# --- JavaScript ---------------------------------------------------------------------------------------------
_SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
import * as model from "./model.mjs";

const input = JSON.parse(readFileSync("rows.json", "utf8"));
const n = input.n, missing = [null, undefined, NaN];
const doubles = (text) => new Float64Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
// Every way of writing a value takes its turn; every fourth missing value is an absent key.
const readers = input.columns.map(({ kind, values, seconds, texts }) => {
  if (kind === "numeric") { const v = doubles(values); return (i) => (v[i] === v[i] ? v[i] : missing[i % 3]); }
  if (kind !== "datetime") return (i) => (values[i] === null ? missing[i % 3] : values[i]);
  const v = doubles(seconds);
  return (i) => {
    if (texts[i] === null) return missing[i % 3];
    if (i % 4 === 0) return texts[i];
    if (i % 4 === 1) return `${texts[i].replace("T", " ")}Z`;
    return i % 4 === 2 ? new Date(`${texts[i].slice(0, 23)}Z`) : v[i];
  };
});
const classify = model.schema.task === "classification";
const labels = new Map(model.schema.classes.map((label, k) => [label, k]));
const out = { leaves: [], raw: [], probabilities: [], predicted: [] };
for (let i = 0; i < n; i++) {
  const row = {};
  input.columns.forEach(({ name }, c) => {
    const value = readers[c](i);
    if ((value !== null && value !== undefined) || i % 4 !== 3) {
      Object.defineProperty(row, name, { value, enumerable: true });
    }
  });
  out.leaves.push(...model.leaves(row));
  out.raw.push(...model.raw(row));
  const said = model.predict(row);
  if (classify) {
    out.probabilities.push(...model.probabilities(row));
    out.predicted.push(labels.has(said) ? labels.get(said) : -1);
  } else out.predicted.push(...[said].flat());
}
for (const [name, values] of Object.entries(out)) writeFileSync(name, Buffer.from(new Float64Array(values).buffer));
"""


class NodeEngine:
    """The exported JavaScript module in node."""

    def __init__(self, forest: Forest) -> None:
        node = shutil.which("node") or shutil.which("nodejs")
        if node is None:
            raise Unavailable("node is not installed")
        self.node = node
        self.forest = forest
        self.module = to_javascript(forest)

    def rows(self, rows: Rows) -> Rows:
        """Return the rows as they are."""
        return rows

    def score(self, rows: Rows) -> Answer:
        """Run node once over the rows."""
        forest = self.forest
        n = len(next(iter(rows.values()))) if rows else 1
        columns = [_json_column(column, rows[column.name]) for column in forest.schema.columns]
        with tempfile.TemporaryDirectory(prefix="hardgrad-js-") as name:
            folder = Path(name)
            (folder / "model.mjs").write_text(self.module, encoding="utf-8")
            (folder / "check.mjs").write_text(_SCRIPT, encoding="utf-8")
            (folder / "rows.json").write_text(json.dumps({"n": n, "columns": columns}), encoding="utf-8")
            done = subprocess.run(
                [self.node, "check.mjs"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                raise RuntimeError(f"node failed on the exported module:\n{done.stderr[-2000:]}")
            parts = ("leaves", "raw", "probabilities", "predicted")
            out = {part: np.frombuffer((folder / part).read_bytes()).reshape(n, -1) for part in parts}
        if forest.task == "regression":
            return Answer(out["leaves"], out["raw"], None, out["predicted"])
        return Answer(
            out["leaves"], out["raw"], out["probabilities"], out["predicted"][:, 0].astype(np.int64)
        )


def _json_column(column: Column, values: NDArray[Any]) -> dict[str, Any]:
    """A column as JSON; doubles travel as bytes, so that NaN, infinities and -0.0 arrive as they are."""
    entry: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "numeric":
        return entry | {"values": _base64(values)}
    if column.kind == "datetime":
        texts = np.datetime_as_string(values, unit="us").tolist()
        texts = [None if missing else text for text, missing in zip(texts, np.isnat(values), strict=True)]
        return entry | {"seconds": _base64(seconds_with_fraction(values)), "texts": texts}
    return entry | {"values": values.tolist()}


def _base64(values: NDArray[np.float64]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()
