"""What a circuit costs and how fast it runs here, beside what the machine allows. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hardgrad.core.bit_words import WORD_BITS
from hardgrad.core.timing import shortest_seconds
from hardgrad.logic.program import live_wires
from hardgrad.logic.runtime import BLOCK_WORDS, block_words, prepare

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit

BYTES_A_GATE = 3 * 8
"""A gate reads two words and writes one."""


@dataclass(frozen=True)
class CircuitCost:
    """What a circuit is made of.

    Parameters
    ----------
    gates, live_gates : all gates, and those that an output depends on.
    depth : levels.
    ands : ANDs of two inputs with free complements that do the same: three for an XOR.
    places : values that a runtime holds at once, in words of 64 rows or more.
    widest : gates of the widest level.
    """

    gates: int
    live_gates: int
    depth: int
    ands: int
    places: int
    widest: int


@dataclass(frozen=True)
class Roofline:
    """How fast a circuit ran, beside what reading and writing its values from a cache takes.

    Parameters
    ----------
    engine : that ran.
    rows_per_second : packed inputs to packed outputs, in the processor's time of one thread.
    gates_per_second : gates times rows.
    first_cache_bound, second_cache_bound : gates times rows a second, if operands and results moved at the measured speed of that cache.
    """

    engine: str
    rows_per_second: float
    gates_per_second: float
    first_cache_bound: float
    second_cache_bound: float

    @property
    def fraction(self) -> float:
        """Share of the bound of the second cache that was reached."""
        return self.gates_per_second / self.second_cache_bound

    def __str__(self) -> str:
        return (
            f"{self.engine}: {self.rows_per_second / 1e6:.2f} million rows/s, {self.gates_per_second / 1e9:.1f} billion gates/s: "
            f"{100 * self.fraction:.0f} % of the second cache's {self.second_cache_bound / 1e9:.0f}, "
            f"{100 * self.gates_per_second / self.first_cache_bound:.0f} % of the first's {self.first_cache_bound / 1e9:.0f}"
        )


def circuit_cost(circuit: Circuit) -> CircuitCost:
    """Return what a circuit is made of.

    Examples
    --------
    >>> from hardgrad.logic.circuit import Circuit
    >>> circuit_cost(Circuit.from_expression("s = a ^ b; c = a & b")).ands
    4
    """
    counts = np.bincount(circuit.gates, minlength=16)
    ones = np.array([bin(gate).count("1") for gate in range(16)])
    exclusive = int(counts[6] + counts[9])
    live = live_wires(circuit)[circuit.n_inputs :]
    return CircuitCost(
        gates=circuit.n_gates,
        live_gates=int(live.sum()),
        depth=circuit.depth,
        ands=int(counts[(ones == 1) | (ones == 3)].sum()) + 3 * exclusive,
        places=circuit.program.n_places,
        widest=int(np.bincount(circuit.levels[circuit.n_inputs :][live], minlength=1).max()),
    )


def roofline(circuit: Circuit, engine: str = "auto", *, n_jobs: int | None = 1) -> Roofline:
    """Measure a circuit on random inputs for some tenths of a second, and the caches for as long.

    Parameters
    ----------
    circuit : the circuit.
    engine : see `hardgrad.logic.runtime.prepare`; "auto" takes the fastest that runs here.
    n_jobs : threads.
    """
    from hardgrad.logic.runtime import fastest_engine

    chosen = fastest_engine() if engine == "auto" else engine
    runtime = prepare(circuit, chosen, n_jobs=n_jobs)
    words = 16 * BLOCK_WORDS[-1]
    packed = np.random.default_rng(0).integers(0, 1 << 64, (circuit.n_inputs, words), np.uint64)
    out = np.empty((circuit.n_outputs, words), np.uint64)
    seconds = shortest_seconds(lambda: runtime.evaluate_packed(packed, out=out))
    rows = WORD_BITS * words / seconds
    small = _bytes_per_second(1 << 14)
    large = _bytes_per_second(8 * block_words(circuit.program, words) * circuit.program.n_places)
    bound = [WORD_BITS * speed / BYTES_A_GATE for speed in (small, min(small, large))]
    return Roofline(chosen, rows, rows * len(circuit.program.gate), bound[0], bound[1])


def _bytes_per_second(size: int) -> float:
    """How fast two arrays are read and one is written, all three together of a size in bytes."""
    count = max(size // BYTES_A_GATE, 64)
    a, b, c = (np.ones(count, np.uint64) for _ in range(3))
    again = max(1, (1 << 20) // count)

    def work() -> None:
        for _ in range(again):
            np.bitwise_xor(a, b, out=c)

    return BYTES_A_GATE * count * again / shortest_seconds(work)
