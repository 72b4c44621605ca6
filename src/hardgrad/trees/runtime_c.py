"""The compiled C runtime: the system's compiler makes `runtime_kernel.c` once a machine; every forest is a table for it.

What the tables hold is in `runtime_tables`, the handle that users hold in `runtime`. Never imports torch or numba.
"""

from __future__ import annotations

import ctypes
import functools
from importlib import resources
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hardgrad.export.compiled_c import NATIVE, compile_for
from hardgrad.trees.runtime_tables import Tables

FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off")
TARGET = NATIVE
NUMBERS = (
    "n_features", "n_used", "n_oblique", "n_linear", "n_trees", "n_outputs", "n_slots", "n_scratch", "n_tested", "wide", "mean"
)  # fmt: skip
ARRAYS = (
    "used", "step", "root", "value", "node", "base", "term_offset", "term_feature", "term_weight", "limit",
    "cut_offset", "cut", "score_offset", "score", "rank_offset", "rank_cut", "low_slot", "high_slot", "high_rank", "test",
    "test_offset", "oblique_offset", "leaf_offset", "tested", "linear", "linear_weight", "slope",
)  # fmt: skip


class _ForestStruct(ctypes.Structure):
    """`forest_t` of runtime_kernel.c, field by field."""

    _fields_ = [(name, ctypes.c_int64) for name in NUMBERS] + [(name, ctypes.c_void_p) for name in ARRAYS]


class CKernel:
    """Runs one forest in compiled C. Calls share nothing that is written: threads may use one kernel together."""

    engine = "c"
    few_rows = 64

    def __init__(self, tables: Tables) -> None:
        self._tables = tables  # keeps the arrays alive that the struct points to
        numbers = {name: int(getattr(tables, name)) for name in NUMBERS}
        pointers = {name: getattr(tables, name).ctypes.data for name in ARRAYS}
        self._struct = _ForestStruct(**numbers, **pointers)
        self._forest = ctypes.addressof(self._struct)
        name = "affine" if tables.slope.size else "linear" if tables.n_linear else ""
        self._run, self._run_with_gil = _functions(TARGET, f"hardgrad_run_{name}".rstrip("_"))
        self._n_outputs = tables.n_outputs
        self._row = ctypes.c_double * tables.n_outputs

    def few(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw scores of at most `few_rows` rows."""
        # The cheapest way across: rows as a copy in bytes, scores in a fresh buffer, and no release of the lock for microseconds.
        scores = (self._row * len(X))()
        if self._run_with_gil(self._forest, X.tobytes(), len(X), scores, None):
            raise MemoryError
        return np.ndarray((len(X), self._n_outputs), np.float64, cast(Any, scores))

    def raw(self, X: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Raw scores of all rows of X [n, features] into out [n, outputs]; both contiguous."""
        if self._run(self._forest, X.ctypes.data, len(X), out.ctypes.data, None):
            raise MemoryError

    def leaves(self, X: NDArray[np.float64], out: NDArray[np.int32]) -> None:
        """Leaves of all rows of X into out int32 [n, trees]; both contiguous."""
        if self._run(self._forest, X.ctypes.data, len(X), None, out.ctypes.data):
            raise MemoryError


@functools.cache
def _functions(
    target: tuple[str, ...], name: str
) -> tuple[ctypes._NamedFuncPointer, ctypes._NamedFuncPointer]:
    """The compiled function of a name twice: releasing the interpreter lock, and keeping it."""
    folder = resources.files("hardgrad.trees")
    source = (folder / "runtime_kernel.c").read_text(encoding="utf-8")
    headers = {
        file: (folder / file).read_text(encoding="utf-8")
        for file in ("runtime_cells.h", "runtime_weighted.h")
    }
    library = compile_for(target, source, flags=FLAGS, name="hardgrad_runtime", headers=headers)
    with_gil = ctypes.PyDLL(library._name)
    functions = (library[name], with_gil[name])
    for function in functions:
        function.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        function.restype = ctypes.c_int
    return functions
