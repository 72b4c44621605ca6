"""The compiled runtime of circuits: the system's compiler makes `runtime_kernel.c` once a machine. Never imports torch or numba."""

from __future__ import annotations

import ctypes
import functools
from importlib import resources
from typing import Any

import numpy as np

from hardgrad.core.errors import ExportError
from hardgrad.export.compiled_c import compile_shared
from hardgrad.logic.counting import Groups
from hardgrad.logic.program import MASKS, Program

FLAGS = ("-std=gnu11", "-O3")
TARGET = ("-march=native",)
NUMBERS = ("n_gates", "n_used", "n_outputs", "n_inputs", "n_groups", "n_shifts", "n_planes", "n_index")
ARRAYS = (
    "gate",
    "left",
    "right",
    "target",
    "input_wire",
    "input_place",
    "output_place",
    "masks",
    "member",
    "member_start",
)
ALIGNMENT = 64


class _ProgramStruct(ctypes.Structure):
    """`program_t` of runtime_kernel.c, field by field."""

    _fields_ = [(name, ctypes.c_int64) for name in NUMBERS] + [(name, ctypes.c_void_p) for name in ARRAYS]


class CKernel:
    """Runs one circuit in compiled C. Calls share nothing that is written."""

    engine = "c"

    def __init__(self, program: Program, groups: Groups) -> None:
        self._run = _function()
        arrays = {name: getattr(program, name) for name in ARRAYS[:7]}
        arrays |= {
            "masks": MASKS,
            "member": program.output_place[groups.member],
            "member_start": groups.member_start,
        }
        self._arrays = arrays  # keeps them alive
        self._struct = _ProgramStruct(
            n_gates=len(program.gate), n_used=len(program.input_wire), n_outputs=len(program.output_place), n_inputs=program.n_inputs,
            n_groups=groups.n_groups, n_shifts=groups.n_shifts, n_planes=groups.n_planes, n_index=max(groups.n_groups - 1, 1).bit_length(),
            **{name: array.ctypes.data for name, array in arrays.items()},
        )  # fmt: skip
        self._n_places, self._n_inputs = program.n_places, program.n_inputs

    def run(
        self,
        words: Any,
        rows: Any,
        out: Any,
        counts: Any,
        winner: Any,
        n_rows: int,
        start: int,
        stop: int,
        lanes: int,
    ) -> None:
        """Evaluate words `start:stop` of packed inputs or of rows; arrays without elements are not asked for."""
        n_words = words.shape[1] if words.size else out.shape[1]
        state = np.empty(8 * self._n_places * lanes + ALIGNMENT, np.uint8)
        octets, tile = np.empty(8 * self._n_inputs, np.uint8), np.empty(self._n_inputs, np.uint64)
        self._run(
            ctypes.addressof(self._struct), _address(words), _address(rows), _address(out), _address(counts), _address(winner),
            n_rows, n_words, start, stop, lanes // 8,
            state.ctypes.data + -state.ctypes.data % ALIGNMENT, octets.ctypes.data, tile.ctypes.data,
        )  # fmt: skip


def _address(array: Any) -> int | None:
    return array.ctypes.data if array.size else None


@functools.cache
def _function() -> Any:
    source = (resources.files("hardgrad.logic") / "runtime_kernel.c").read_text(encoding="utf-8")
    try:
        library = compile_shared(source, flags=(*FLAGS, *TARGET), name="hardgrad_circuit")
    except ExportError as error:
        if "refused" not in str(error):
            raise
        # Some compilers have no notion of "native" on some processors.
        library = compile_shared(source, flags=FLAGS, name="hardgrad_circuit")
    function = library["hardgrad_run_circuit"]
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 5 + [ctypes.c_void_p] * 3
    function.restype = None
    return function
