"""prepare(circuit, engine) -> CircuitRuntime: a handle that runs fast and equals `Circuit` bit for bit.

The engines are in `runtime_c` (system compiler), `runtime_numba` and `runtime_numpy`; all execute the same `Program`. None is compiled for
a circuit: C and numba compile their loops once a machine. Never imports torch.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import WORD_BITS, pack_bits, unpack_bits, word_count
from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.core.threads import effective_jobs, in_blocks
from hardgrad.logic.circuit import Bits, Circuit, Words
from hardgrad.logic.counting import Groups, count_outputs, make_groups
from hardgrad.logic.program import MASKS, Program
from hardgrad.logic.runtime_numpy import run_program

Engine = Literal["auto", "c", "numba", "numpy"]
ENGINES: tuple[Engine, ...] = ("auto", "c", "numba", "numpy")
SMALL_WORK = 5e9
"""Gates times rows that NumPy does in some tenths of a second: less than importing numba, or asking for the compiler."""

BLOCK_WORDS = (8, 16, 32, 64)
"""Words of a block: 512 rows to 4096."""

_log = logging.getLogger("hardgrad")


class Kernel(Protocol):
    """What a compiled engine offers."""

    engine: str

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
        """Evaluate words `start:stop` of packed inputs, or of rows; arrays without elements are not asked for."""


class CircuitRuntime:
    """A prepared circuit. Made by `prepare`; gives what `Circuit` gives, bit for bit. Threads may share it.

    Attributes
    ----------
    circuit : the circuit.
    n_jobs : threads that a call with many rows uses.
    """

    def __init__(self, circuit: Circuit, groups: Groups, engine: str, n_jobs: int) -> None:
        self.circuit = circuit
        self.n_jobs = n_jobs
        self._groups = groups
        self._wanted = engine
        self._kernel: Kernel | None = None
        if engine in ("c", "numba"):
            self._kernel = make_kernel(circuit.program, groups, engine)

    @property
    def engine(self) -> str:
        """The engine in use: "c", "numba", "numpy", or "auto" as long as the work was too small to choose one."""
        return self._kernel.engine if self._kernel is not None else self._wanted

    def evaluate(self, bits: Any) -> Bits:
        """Return the outputs, bool [n, outputs], of rows of input bits [n, inputs] (see `Circuit.evaluate`)."""
        rows = self.circuit.check_bits(bits)
        out = np.empty((self.circuit.n_outputs, word_count(len(rows))), np.uint64)
        self._run(None, rows, out, None, None, len(rows))
        return unpack_bits(out, len(rows)).T

    def evaluate_packed(self, words: Words) -> Words:
        """Return packed outputs [outputs, w] of packed inputs [inputs, w] (see `Circuit.evaluate_packed`)."""
        words = np.ascontiguousarray(self.circuit.check_words(words))
        out = np.empty((self.circuit.n_outputs, words.shape[1]), np.uint64)
        self._run(words, None, out, None, None, WORD_BITS * words.shape[1])
        return out

    def counts(
        self, bits: Any = None, *, packed: Words | None = None, n_rows: int | None = None
    ) -> NDArray[np.int32]:
        """Return how many outputs of each group are 1, weighted: int32 [n, groups], of rows of bits or of packed inputs of n rows."""
        words, rows, count = self._input(bits, packed, n_rows)
        counts = np.empty((count, self._groups.n_groups), np.int32)
        self._run(words, rows, None, counts, None, count)
        return counts

    def winners(
        self, bits: Any = None, *, packed: Words | None = None, n_rows: int | None = None
    ) -> NDArray[np.int32]:
        """Return the group with the largest count, the first of those that tie: int32 [n]."""
        words, rows, count = self._input(bits, packed, n_rows)
        winner = np.empty(count, np.int32)
        self._run(words, rows, None, None, winner, count)
        return winner

    def _input(
        self, bits: Any, packed: Words | None, n_rows: int | None
    ) -> tuple[Words | None, Bits | None, int]:
        if packed is None:
            rows = self.circuit.check_bits(bits)
            return None, rows, len(rows)
        words = np.ascontiguousarray(self.circuit.check_words(packed))
        return words, None, WORD_BITS * words.shape[1] if n_rows is None else n_rows

    def _run(
        self, words: Words | None, rows: Bits | None, out: Words | None, counts: NDArray[np.int32] | None, winner: NDArray[np.int32] | None,
        n_rows: int,
    ) -> None:  # fmt: skip
        kernel = self._choose(n_rows)
        if kernel is None:
            self._reference(words, rows, out, counts, winner, n_rows)
            return
        n_words = word_count(n_rows)
        if not n_words:
            return
        lanes = block_words(self.circuit.program, n_words)
        arrays = (
            np.empty((0, 0), np.uint64) if words is None else words,
            np.empty((0, 0), np.uint8) if rows is None else np.ascontiguousarray(rows).view(np.uint8),
            np.empty((0, n_words), np.uint64) if out is None else out,
            np.empty((0, self._groups.n_groups), np.int32) if counts is None else counts,
            np.empty(0, np.int32) if winner is None else winner,
        )
        in_blocks(
            lambda start, stop: kernel.run(*arrays, n_rows, start, stop, lanes),
            n_words,
            self.n_jobs,
            multiple=lanes,
        )

    def _reference(
        self, words: Words | None, rows: Bits | None, out: Words | None, counts: NDArray[np.int32] | None, winner: NDArray[np.int32] | None,
        n_rows: int,
    ) -> None:  # fmt: skip
        packed = words if words is not None else pack_bits(np.asarray(rows).T)
        answer = run_program(self.circuit.program, packed)
        if out is not None:
            out[:] = answer
        if counts is not None or winner is not None:
            counted = count_outputs(answer, self._groups, n_rows)
            if counts is not None:
                counts[:] = counted
            if winner is not None:
                winner[:] = counted.argmax(axis=1) if counted.shape[1] else 0

    def _choose(self, n_rows: int) -> Kernel | None:
        if self._kernel is None and self._wanted == "auto" and n_rows * self.circuit.n_gates > SMALL_WORK:
            self._wanted = fastest_engine()
            _log.debug("circuit of %d gates, %d rows: engine %s", self.circuit.n_gates, n_rows, self._wanted)
            if self._wanted != "numpy":
                self._kernel = make_kernel(self.circuit.program, self._groups, self._wanted)
        return self._kernel

    def __repr__(self) -> str:
        return f"CircuitRuntime({self.circuit!r}, engine={self.engine!r}, n_jobs={self.n_jobs})"


class NumbaKernel:
    """Runs one circuit in loops that numba compiled."""

    engine = "numba"

    def __init__(self, program: Program, groups: Groups) -> None:
        from hardgrad.logic.runtime_numba import run_circuit

        self._program, self._groups = program, groups
        self._loop: Any = run_circuit

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
        """Evaluate words `start:stop` (see `Kernel.run`)."""
        p, g = self._program, self._groups
        state = np.empty((p.n_places, lanes), np.uint64)
        octets, tile = np.empty((8, p.n_inputs), np.uint8), np.empty(p.n_inputs, np.uint64)
        index = max(g.n_groups - 1, 1).bit_length()
        self._loop(
            words, rows, out, counts, winner, n_rows, start, stop, lanes, p.gate, p.left, p.right, p.target, p.input_wire, p.input_place,
            p.output_place, MASKS, g.member, g.member_start, g.n_shifts, g.n_planes, index, state, octets, tile,
        )  # fmt: skip


def make_kernel(program: Program, groups: Groups, engine: str) -> Kernel:
    """Return a compiled engine. Raises `ExportError` where it does not run here."""
    if engine == "c":
        from hardgrad.logic.runtime_c import CKernel

        return CKernel(program, groups)
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"the numba runtime needs numba: {error}. pip install numba, or use engine 'c' or 'numpy'."
        ) from error
    return NumbaKernel(program, groups)


@functools.cache
def fastest_engine() -> str:
    """Return the first of "c", "numba" and "numpy" that runs here."""
    one_gate = Circuit.from_expression("a & b")
    for engine in ("c", "numba"):
        try:
            make_kernel(one_gate.program, make_groups([], [], 0), engine)
        except (ExportError, OSError) as error:
            _log.debug("circuits do not run with engine %s here: %s", engine, error)
        else:
            return engine
    return "numpy"


def prepare(
    circuit: Circuit,
    engine: Engine | str = "auto",
    *,
    n_jobs: int | None = 1,
    group: Any = (),
    weight: Any = None,
    n_groups: int | None = None,
) -> CircuitRuntime:
    """Return a fast handle on a circuit that gives the same bits.

    Parameters
    ----------
    circuit : the circuit.
    engine : "c" (compiled by the system's compiler once a machine, in a second or two), "numba" (no compiler needed; compiled on first use,
        then cached where numba finds a writable folder), "numpy" (neither: the reference), or "auto": NumPy for little work, else the
        first of these that runs here.
    n_jobs : threads for calls with many rows: 1 by default, -1 all processors, None is 1.
    group : int [outputs], the group that each output counts for in `counts` and `winners`; by default there are none.
    weight : int [outputs], how many times it counts; by default once.
    n_groups : number of groups; by default one more than the largest.

    Raises
    ------
    ExportError : engine "c" without a compiler, "numba" without numba. ParameterError : an unknown engine, n_jobs=0, a wrong group.

    Examples
    --------
    >>> adder = Circuit.from_expression("s = a ^ b; c = a & b")
    >>> prepare(adder, "numpy", group=[0, 1]).winners([[0, 0], [0, 1], [1, 1]]).tolist()
    [0, 0, 1]
    """
    if engine not in ENGINES:
        raise ParameterError(f"got engine={engine!r}; expected one of {', '.join(map(repr, ENGINES))}.")
    member = np.asarray(group, np.int64)
    count = int(member.max(initial=-1)) + 1 if n_groups is None else n_groups
    if len(member) not in (0, circuit.n_outputs):
        raise ParameterError(f"got groups of {len(member)} outputs; the circuit has {circuit.n_outputs}.")
    groups = make_groups(member, np.ones(len(member), np.int64) if weight is None else weight, count)
    return CircuitRuntime(circuit, groups, engine, effective_jobs(n_jobs))


def block_words(program: Program, n_words: int) -> int:
    """Return how many words a block has: what fits half of the second cache, and no more than there are."""
    fitting = [width for width in BLOCK_WORDS if 8 * width * program.n_places <= _second_cache() // 2]
    enough = [width for width in BLOCK_WORDS if width >= n_words]
    return min(max(fitting, default=BLOCK_WORDS[0]), min(enough, default=BLOCK_WORDS[-1]))


def _second_cache() -> int:
    """Bytes of this processor's second cache; 1 MiB where nobody says."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text(encoding="ascii").strip()
        return int(text.rstrip("KM")) * (1 << (20 if text.endswith("M") else 10))
    except (OSError, ValueError):
        return 1 << 20
