"""The compiled runtime of circuits: the system's compiler makes `runtime_kernel.c` once a machine. Never imports torch or numba."""

from __future__ import annotations

import ctypes
import functools
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import word_count
from hardgrad.export.c import c_table
from hardgrad.export.compiled_c import NATIVE, compile_for
from hardgrad.logic.circuit_c import gate_functions
from hardgrad.logic.counting import Groups
from hardgrad.logic.program import MASKS, Program, Work

FLAGS = ("-std=gnu11", "-O3")
STRAIGHT_FLAGS = ("-std=gnu11", "-O1")
GATES_A_FUNCTION = 200
APART = "static __attribute__((noinline)) void"
"""Parts must stay apart: compilers take time that grows faster than the length of a function."""
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
    """Runs one circuit in compiled C. Calls share nothing that is written.

    Parameters
    ----------
    program, groups : what to run and to count.
    straight : compile the gates of this very circuit, one after the other; else the loop that runs any circuit.
    """

    engine = "c"

    def __init__(self, program: Program, groups: Groups, *, straight: bool = False) -> None:
        library = _straight_library(program) if straight else _library()
        self._run, self._pack_above = library
        self.lanes: int | None = 64 if straight else None
        used, outputs = len(program.input_wire), len(program.output_place)
        # Gates by themselves have places of their own: outside them, there are inputs and then outputs.
        self._n_places = used + outputs if straight else program.n_places
        input_place = np.arange(used, dtype=np.int32) if straight else program.input_place
        output_place = used + np.arange(outputs, dtype=np.int32) if straight else program.output_place
        self._arrays: dict[str, NDArray[Any]] = {
            "gate": program.gate, "left": program.left, "right": program.right, "target": program.target, "input_wire": program.input_wire,
            "input_place": input_place, "output_place": output_place, "masks": MASKS, "member": output_place[groups.member],
            "member_start": groups.member_start,
        }  # fmt: skip
        self._struct = _ProgramStruct(
            n_gates=len(program.gate), n_used=used, n_outputs=outputs, n_inputs=program.n_inputs, n_groups=groups.n_groups,
            n_shifts=groups.n_shifts, n_planes=groups.n_planes, n_index=max(groups.n_groups - 1, 1).bit_length(),
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )  # fmt: skip
        self._n_inputs = program.n_inputs

    def run(self, work: Work, start: int, stop: int, lanes: int) -> None:
        """Do the part of some work that is in words `start:stop`, `lanes` words at a time."""
        n_words = work.words.shape[1] if work.words.size else word_count(work.n_rows)
        state = np.empty(8 * self._n_places * lanes + ALIGNMENT, np.uint8)
        octets, tile = np.empty(8 * self._n_inputs, np.uint8), np.empty(self._n_inputs, np.uint64)
        arrays = (work.words, work.rows, work.out, work.counts, work.winner)
        self._run(
            ctypes.addressof(self._struct), *map(_address, arrays), work.n_rows, n_words, start, stop, lanes // 8,
            state.ctypes.data + -state.ctypes.data % ALIGNMENT, octets.ctypes.data, tile.ctypes.data,
        )  # fmt: skip

    def pack_above(self, x: Any, feature: Any, threshold: Any, out: Any, start: int, stop: int) -> None:
        """Write words `start:stop` of the bits `x[:, feature] > threshold` (see `Kernel.pack_above`)."""
        tile = np.empty(len(feature), np.uint64)
        self._pack_above(
            *map(_address, (x, feature, threshold, out)), *x.shape, *out.shape, start, stop, _address(tile)
        )


def _address(array: Any) -> int | None:
    return array.ctypes.data if array.size else None


@functools.cache
def _library() -> tuple[Any, Any]:
    return _compiled({}, FLAGS, "hardgrad_circuit")


def _straight_library(program: Program) -> tuple[Any, Any]:
    parts = [
        part.replace("static void", APART, 1) for part in gate_functions(program, "vector", GATES_A_FUNCTION)
    ]
    whole = [
        c_table("int32_t INPUT_PLACE[]", map(str, program.input_place.tolist())),
        c_table("int32_t OUTPUT_PLACE[]", map(str, program.output_place.tolist())),
        "static void all_parts(const vector *in, vector *out, int64_t stride)", "{", f"    vector s[{program.n_places}];", "    int64_t i;",
        f"    for (i = 0; i < {len(program.input_place)}; i++) s[INPUT_PLACE[i]] = in[i * stride];",
        *(f"    part_{k}(s);" for k in range(len(parts))),
        f"    for (i = 0; i < {len(program.output_place)}; i++) out[i * stride] = s[OUTPUT_PLACE[i]];", "}", "",
    ]  # fmt: skip
    headers = {"gates.h": "\n".join([*parts, *whole])}
    return _compiled(headers, (*STRAIGHT_FLAGS, '-DHARDGRAD_GATES="gates.h"'), "hardgrad_gates")


def _compiled(headers: dict[str, str], flags: tuple[str, ...], name: str) -> tuple[Any, Any]:
    """Return the function that runs circuits and the one that packs what is above thresholds."""
    source = (resources.files("hardgrad.logic") / "runtime_kernel.c").read_text(encoding="utf-8")
    library = compile_for(NATIVE, source, flags=flags, name=name, headers=headers)
    function = library["hardgrad_run_circuit"]
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 5 + [ctypes.c_void_p] * 3
    function.restype = None
    pack = library["hardgrad_pack_above"]
    pack.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 6 + [ctypes.c_void_p]
    pack.restype = None
    return function, pack
