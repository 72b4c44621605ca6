"""Circuits in the runtimes of hardgrad beside straight-line C, one function of one statement a gate, as difflogic writes it.

In the processor's time, alternated, medians. Writes benchmarks/results/circuits.md.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from _timing import load, machine
from hardgrad.core.bit_words import pack_bits
from hardgrad.core.files import write_text
from hardgrad.export import compiled_c
from hardgrad.logic import Circuit, prepare
from hardgrad.logic.circuit_c import TEXTS
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.program import make_program

RESULT = Path(__file__).parent / "results" / "circuits.md"
NETWORKS = {
    "64 in, 4 x 500": (64, [500] * 4),
    "784 in, 4 x 2,000": (784, [2000] * 4),
    "400 in, 6 x 8,000": (400, [8000] * 6),
}
GATES = [1, 2, 4, 6, 7, 8, 9, 11, 13, 14]
CLASSES = 10
ROWS = 1 << 17
TURNS = 9
SLOW_TO_COMPILE = 10_000
"""Gates from which gcc takes minutes for one function: not run."""


def network(inputs: int, widths: list[int], seed: int = 0) -> Circuit:
    """Layers of random gates whose operands are drawn as difflogic draws them: every output of a layer is read about equally often."""
    rng = np.random.default_rng(seed)
    gates, left, right, start, width = [], [], [], 0, inputs
    for following in widths:
        gates.append(rng.choice(GATES, following))
        wires = rng.permutation(width)[rng.permutation(2 * following) % width]
        left.append(start + wires[:following])
        right.append(start + wires[following:])
        start, width = start + width, following
    arrays = [np.concatenate(parts) for parts in (gates, left, right)]
    outputs = np.arange(start, start + width, dtype=np.int32)
    return Circuit(
        arrays[0].astype(np.uint8), arrays[1].astype(np.int32), arrays[2].astype(np.int32), outputs, inputs
    )


class StraightLine:
    """One C function with a local variable a gate, on words of 64 rows; the words of 64 rows lie together."""

    def __init__(self, circuit: Circuit) -> None:
        names = [f"x[{i}]" for i in range(circuit.n_inputs)] + [f"v{g}" for g in range(circuit.n_gates)]
        lines = [
            f"const uint64_t v{g} = {TEXTS[Gate(gate)].format(a=names[a], b=names[b])};"
            for g, (gate, a, b) in enumerate(
                zip(circuit.gates.tolist(), circuit.left.tolist(), circuit.right.tolist(), strict=True)
            )
        ]
        lines += [f"y[{o}] = {names[wire]};" for o, wire in enumerate(circuit.outputs.tolist())]
        source = "\n".join(
            [
                "#include <stdint.h>", "static void one(const uint64_t *x, uint64_t *y) {", *lines, "}",
                "void all(const uint64_t *x, uint64_t *y, int64_t n) {",
                f"for (int64_t i = 0; i < n; i++) one(x + i * {circuit.n_inputs}, y + i * {circuit.n_outputs});", "}",
            ]
        )  # fmt: skip
        start = time.perf_counter()
        self._run = fresh(lambda: compiled_c.compile_shared(source, flags=("-std=c99", "-O1"))).all
        self.seconds = time.perf_counter() - start

    def __call__(self, words: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write outputs [w, outputs] of inputs [w, inputs], and return them."""
        self._run(
            ctypes.c_void_p(words.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(len(words))
        )
        return out


def fresh(compile_it: Callable[[], Any]) -> Any:
    """Compile into an empty cache, so that the time of the compiler is seen."""
    import tempfile

    kept = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            return compile_it()
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if kept is not None:
                os.environ["XDG_CACHE_HOME"] = kept


def medians(
    candidates: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the median of the seconds of each candidate over turns."""
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    for _ in range(TURNS):
        for name, run in candidates.items():
            start = clock()
            run()
            spent[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in spent.items()}


def measure(inputs: int, widths: list[int]) -> dict[str, float]:
    """Return seconds by name for one network; names that did not run are absent."""
    circuit = network(inputs, widths)
    rows = np.random.default_rng(1).random((ROWS, inputs)) < 0.5
    words = pack_bits(rows.T)
    group = np.arange(circuit.n_outputs) * CLASSES // circuit.n_outputs
    start = time.process_time()
    make_program(circuit)
    found = {"prepare": time.process_time() - start}
    start = time.process_time()
    simplified = circuit.simplify()
    found |= {"simplify": time.process_time() - start, "gates left": simplified.n_gates}
    # Memory is written anew by each: to be handed out by the system takes small circuits longer than to be computed.
    out = np.empty((circuit.n_outputs, words.shape[1]), np.uint64)
    turned = np.empty(out.T.shape, np.uint64)
    candidates: dict[str, Callable[[], object]] = {}
    engines = {name: prepare(circuit, name, group=group) for name in ("numba", "c")}
    for name, runtime in engines.items():
        candidates[name] = lambda runtime=runtime: runtime.evaluate_packed(words, out=out)  # type: ignore[misc]
        candidates[f"{name}, rows to classes"] = lambda runtime=runtime: runtime.winners(rows)  # type: ignore[misc]
    if circuit.n_gates < SLOW_TO_COMPILE:
        straight = StraightLine(circuit)
        interleaved = np.ascontiguousarray(words.T)
        assert (engines["c"].evaluate_packed(words) == straight(interleaved, turned).T).all()
        start = time.perf_counter()
        compiled = fresh(lambda: prepare(circuit, compile="c"))
        found |= {"straight-line compile": straight.seconds, "compiled compile": time.perf_counter() - start}
        candidates |= {
            "straight-line": lambda: straight(interleaved, turned),
            "compiled": lambda: compiled.evaluate_packed(words, out=out),
        }
    found |= medians(candidates)
    two = prepare(circuit, "c", n_jobs=2)
    wall = medians(
        {
            "one": lambda: engines["c"].evaluate_packed(words, out=out),
            "two": lambda: two.evaluate_packed(words, out=out),
        },
        time.perf_counter,
    )
    found["threads"] = wall["one"] / wall["two"]
    line = circuit.roofline("c")
    return found | {"roofline": line.fraction, "gates a second": line.gates_per_second}


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return the page."""
    head = [
        "network",
        "straight-line C",
        "numba",
        "C",
        'compile="c"',
        "numba / straight",
        "C / straight",
        'compile="c" / straight',
    ]
    head += ["rows to classes / packed", "two threads", "share of the L2 bound"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(head) - 1)) + " |"]
    for name, r in results.items():
        speed = [
            f"{ROWS / r[key] / 1e6:.2f}" if key in r else "not run"
            for key in ("straight-line", "numba", "c", "compiled")
        ]
        ratios = [
            f"{r['straight-line'] / r[key]:.2f}" if "straight-line" in r else ""
            for key in ("numba", "c", "compiled")
        ]
        rest = [
            f"{r['c'] / r['c, rows to classes']:.2f}",
            f"{r['threads']:.2f}",
            f"{100 * r['roofline']:.0f} %",
        ]
        lines.append("| " + " | ".join([name, *speed, *ratios, *rest]) + " |")
    ready = [
        '| network | ready without a compiler, s | simplified, s | gates left | straight-line compiled in, s | compile="c", s |'
    ]
    ready.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, r in results.items():
        compiled = [
            f"{r[key]:.1f}" if key in r else "not run"
            for key in ("straight-line compile", "compiled compile")
        ]
        ready.append(
            f"| {name} | {r['prepare']:.3f} | {r['simplify']:.2f} | {r['gates left']:,.0f} | {' | '.join(compiled)} |"
        )
    return "\n".join(
        [
            "# Circuits", "",
            "Million rows a second, packed inputs to packed outputs, one thread, in the processor's time; ratios above 1: hardgrad is",
            "faster. Straight-line C is one function of the whole network on words of 64 rows, `gcc -O1`, as difflogic writes it.", "",
            *lines, "", *ready, "", f"Measured on {machine()}, load {load()}.", "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    page = table({name: measure(*shape) for name, shape in NETWORKS.items()})
    write_text(RESULT, page)
    print(page)
