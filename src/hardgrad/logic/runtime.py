"""prepare(circuit, engine) -> CircuitRuntime: a handle that runs fast and equals `Circuit` bit for bit.

The engines are in `runtime_c` (system compiler), `runtime_numba` and `runtime_numpy`; all execute the same `Program`. None is compiled for
a circuit: C and numba compile their loops once a machine. Never imports torch.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.bit_words import WORD_BITS, pack_bits, unpack_bits, word_count
from hardgrad.core.errors import DataError, ExportError, ParameterError
from hardgrad.core.threads import effective_jobs, in_blocks
from hardgrad.logic.circuit import Bits, Circuit, Words
from hardgrad.logic.counting import Groups, count_outputs, make_groups
from hardgrad.logic.program import MASKS, Program, Work
from hardgrad.logic.runtime_numpy import evaluate_packed

Engine = Literal["auto", "c", "numba", "numpy"]
ENGINES: tuple[Engine, ...] = ("auto", "c", "numba", "numpy")
SMALL_WORK = 5e9
"""Gates times rows of all calls together that NumPy does in some tenths of a second: less than importing numba or asking for a compiler."""

BLOCK_WORDS = (8, 16, 32, 64)
LONG_RUN = 32
"""Words of a block from which a gate costs little beside its words, and caches fetch ahead; fewer of them only fit better."""
"""Words of a block: 512 rows to 4096."""

_log = logging.getLogger("hardgrad")


class Kernel(Protocol):
    """What a compiled engine offers."""

    engine: str
    lanes: int | None
    """Words of a block; None where it is free."""

    def run(self, work: Work, start: int, stop: int, lanes: int) -> None:
        """Do the part of some work that is in words `start:stop`, `lanes` words at a time."""

    def pack_above(self, x: Any, feature: Any, threshold: Any, out: Words, start: int, stop: int) -> None:
        """Write words `start:stop` of the bits `x[:, feature] > threshold`."""


class CircuitRuntime:
    """A prepared circuit. Made by `prepare`; gives what `Circuit` gives, bit for bit. Threads may share it.

    Attributes
    ----------
    circuit : the circuit.
    n_jobs : threads that a call with many rows uses.
    """

    def __init__(
        self, circuit: Circuit, groups: Groups, engine: str, n_jobs: int, *, straight: bool = False
    ) -> None:
        self.circuit = circuit
        self.n_jobs = n_jobs
        self._groups = groups
        self._wanted = engine
        self._work_so_far = 0
        self._kernel: Kernel | None = None
        if engine in ("c", "numba"):
            self._kernel = make_kernel(circuit.program, groups, engine, straight=straight)

    @property
    def engine(self) -> str:
        """The engine in use: "c", "numba", "numpy", or "auto" as long as the work was too small to choose one."""
        return self._kernel.engine if self._kernel is not None else self._wanted

    def evaluate(self, bits: Any) -> Bits:
        """Return the outputs, bool [n, outputs], of rows of input bits [n, inputs] (see `Circuit.evaluate`)."""
        given = self._given(bits)
        out = np.empty((self.circuit.n_outputs, word_count(given.n_rows)), np.uint64)
        self._run(replace(given, out=out))
        return unpack_bits(out, given.n_rows).T

    def evaluate_packed(self, words: Words, *, out: Words | None = None) -> Words:
        """Return packed outputs, uint64 [outputs, w], of packed inputs [inputs, w] (see `Circuit.evaluate_packed`).

        Parameters
        ----------
        words : uint64 [inputs, w].
        out : where the outputs are written, contiguous. Calls that share it are spared new memory, which takes a small circuit longer than
            its gates.

        Raises
        ------
        DataError : arrays of another shape or type.
        """
        given = self._given(packed=words)
        shape = (self.circuit.n_outputs, words.shape[1])
        if out is None:
            out = np.empty(shape, np.uint64)
        elif out.shape != shape or out.dtype != np.uint64 or not out.flags.c_contiguous:
            raise DataError(
                f"the circuit got out of {out.dtype} with shape {out.shape}; expected contiguous uint64 {list(shape)}."
            )
        self._run(replace(given, out=out))
        return out

    def counts(
        self, bits: Any = None, *, packed: Words | None = None, n_rows: int | None = None
    ) -> NDArray[np.int32]:
        """Return how many outputs of each group are 1, weighted: int32 [n, groups], of rows of bits or of packed inputs of n rows."""
        given = self._given(bits, packed, n_rows)
        counts = np.empty((given.n_rows, self._groups.n_groups), np.int32)
        self._run(replace(given, counts=counts))
        return counts

    def winners(
        self, bits: Any = None, *, packed: Words | None = None, n_rows: int | None = None
    ) -> NDArray[np.int32]:
        """Return the group with the largest count, the first of those that tie: int32 [n]."""
        given = self._given(bits, packed, n_rows)
        winner = np.empty(given.n_rows, np.int32)
        self._run(replace(given, winner=winner))
        return winner

    def pack_above(
        self, X: NDArray[np.float64], feature: NDArray[np.int32], threshold: NDArray[np.float64]
    ) -> Words:
        """Return the bits `X[:, feature] > threshold` of rows of numbers as packed inputs, uint64 [bits, w]."""
        kernel = self._choose(len(X))
        if kernel is None:
            return pack_bits((X[:, feature] > threshold).T)
        x, out = np.ascontiguousarray(X), np.empty((len(feature), word_count(len(X))), np.uint64)
        in_blocks(
            lambda start, stop: kernel.pack_above(x, feature, threshold, out, start, stop),
            out.shape[1],
            self.n_jobs,
        )
        return out

    def _given(self, bits: Any = None, packed: Words | None = None, n_rows: int | None = None) -> Work:
        if packed is None:
            rows = np.ascontiguousarray(self.circuit.check_bits(bits)).view(np.uint8)
            return Work(len(rows), rows=rows)
        words = np.ascontiguousarray(self.circuit.check_words(packed))
        return Work(WORD_BITS * words.shape[1] if n_rows is None else n_rows, words=words)

    def _run(self, work: Work) -> None:
        kernel = self._choose(work.n_rows)
        n_words = word_count(work.n_rows)
        if kernel is None:
            self._reference(work)
        elif n_words:
            lanes = kernel.lanes or block_words(self.circuit.program, n_words)
            in_blocks(
                lambda start, stop: kernel.run(work, start, stop, lanes), n_words, self.n_jobs, multiple=lanes
            )

    def _reference(self, work: Work) -> None:
        answer = evaluate_packed(self.circuit, pack_bits(work.rows.T) if len(work.rows) else work.words)
        if work.out.size:
            work.out[:] = answer
        if work.counts.size or work.winner.size:
            counted = count_outputs(answer, self._groups, work.n_rows)
            if work.counts.size:
                work.counts[:] = counted
            if work.winner.size:
                work.winner[:] = counted.argmax(axis=1) if counted.shape[1] else 0

    def _choose(self, n_rows: int) -> Kernel | None:
        self._work_so_far += n_rows * self.circuit.n_gates
        if self._kernel is None and self._wanted == "auto" and self._work_so_far > SMALL_WORK:
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
    lanes: int | None = None

    def __init__(self, program: Program, groups: Groups) -> None:
        from hardgrad.logic.runtime_numba import run_circuit

        self._program, self._groups = program, groups
        self._loop: Any = run_circuit

    def run(self, work: Work, start: int, stop: int, lanes: int) -> None:
        """Do the part in words `start:stop` (see `Kernel.run`)."""
        p, g = self._program, self._groups
        state = np.empty((p.n_places, lanes), np.uint64)
        octets, tile = np.empty((8, p.n_inputs), np.uint8), np.empty(p.n_inputs, np.uint64)
        index = max(g.n_groups - 1, 1).bit_length()
        self._loop(
            work.words, work.rows, work.out, work.counts, work.winner, work.n_rows, start, stop, lanes, p.gate, p.left, p.right, p.target,
            p.input_wire, p.input_place, p.output_place, MASKS, g.member, g.member_start, g.n_shifts, g.n_planes, index,
            state, octets, tile,
        )  # fmt: skip

    def pack_above(self, x: Any, feature: Any, threshold: Any, out: Words, start: int, stop: int) -> None:
        """Write words `start:stop` of the bits `x[:, feature] > threshold` (see `Kernel.pack_above`)."""
        from hardgrad.logic.runtime_numba import pack_above

        pack_above(x, feature, threshold, out, start, stop)


def make_kernel(program: Program, groups: Groups, engine: str, *, straight: bool = False) -> Kernel:
    """Return a compiled engine, "c" on request with the gates of this circuit alone. Raises `ExportError` where it does not run here."""
    if engine == "c":
        from hardgrad.logic.runtime_c import CKernel

        return CKernel(program, groups, straight=straight)
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
    compile: Literal["c"] | None = None,
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
    compile : "c" compiles this circuit itself, gate after gate, some seconds a thousand gates, once a machine: the fastest there is.
        By default nothing is compiled for a circuit.
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
    if compile not in (None, "c") or (compile and engine not in ("auto", "c")):
        raise ParameterError(
            f'got compile={compile!r} with engine={engine!r}; expected None, or "c" with engine "auto" or "c".'
        )
    member = np.asarray(group, np.int64)
    count = int(member.max(initial=-1)) + 1 if n_groups is None else n_groups
    if len(member) not in (0, circuit.n_outputs):
        raise ParameterError(f"got groups of {len(member)} outputs; the circuit has {circuit.n_outputs}.")
    groups = make_groups(member, np.ones(len(member), np.int64) if weight is None else weight, count)
    return CircuitRuntime(
        circuit, groups, "c" if compile else engine, effective_jobs(n_jobs), straight=compile == "c"
    )


def block_words(program: Program, n_words: int) -> int:
    """Return how many words a block has: what fits half of the second cache or is long enough a run, and no more than there are."""
    fitting = [width for width in BLOCK_WORDS if 8 * width * program.n_places <= _second_cache() // 2]
    enough = [width for width in BLOCK_WORDS if width >= n_words]
    return min(max([LONG_RUN, *fitting]), min(enough, default=BLOCK_WORDS[-1]))


def _second_cache() -> int:
    """Bytes of this processor's second cache; 1 MiB where nobody says."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text(encoding="ascii").strip()
        return int(text.rstrip("KM")) * (1 << (20 if text.endswith("M") else 10))
    except (OSError, ValueError):
        return 1 << 20
