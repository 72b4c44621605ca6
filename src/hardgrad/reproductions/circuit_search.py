"""Row 68, CircuitAR: circuits found from truth tables by gradients, and sooner with proposals of a masked generator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from hardgrad.logic import Circuit, CircuitGenerator, SearchResult, TruthTable

SEEDS = {"smoke": 1, "full": 3}
SOLVED = {"full adder": 0.70, "2x2 multiplier": 0.40, "2-bit adder": 0.20}
MOST_GATES = {"half adder": 2, "full adder": 5, "2x2 multiplier": 7}
"""The fewest gates of two inputs that are known, complements free."""
SHAPES = {
    "half adder": (12, 12),
    "full adder": (12,) * 5,
    "2x2 multiplier": (16,) * 4,
    "2-bit adder": (16,) * 5,
}
SMALL = ("half adder", "full adder")
CIRCUITS = {"smoke": 400, "full": 5_000}
FUNCTIONS = {"smoke": 4, "full": 100}
STEPS = {"smoke": (30, 30), "full": (120, 400)}
"""Training steps of the tokenizer and of the generator."""
MAX_GATES = 8
BUDGET, RESTARTS = 100, 8


@reproduction(
    row=68,
    slug="circuit-search",
    title="Architect of the Bits World: Masked Autoregressive Modeling for Circuit Generation Guided by Truth Table",
    venue="arXiv 2502.12751 (2025)",
    claim=(
        "a differentiable search that begins at circuits generated from the truth table finds equivalent circuits in fewer steps and "
        "smaller spaces than the search alone (tables unconfirmed)"
    ),
)
def circuit_search(scale: Scale) -> Sequence[Measured]:
    """Search adders and a multiplier; then functions of four inputs whose classes no circuit of the generator's training has."""
    return [*_arithmetic(scale), *_prior(scale)]


def _table(name: str) -> TruthTable:
    from hardgrad.logic import TruthTable

    def number(bits: Any) -> Any:
        return bits @ (1 << np.arange(bits.shape[1])[::-1])

    def binary(values: Any, width: int) -> Any:
        return values[:, None] >> np.arange(width)[::-1] & 1

    functions: dict[str, Any] = {
        "half adder": (lambda x: binary(x.sum(axis=1), 2), 2),
        "full adder": (lambda x: binary(x.sum(axis=1), 2), 3),
        "2x2 multiplier": (lambda x: binary(number(x[:, :2]) * number(x[:, 2:]), 4), 4),
        "2-bit adder": (lambda x: binary(number(x[:, :2]) + number(x[:, 2:]), 3), 4),
    }
    return TruthTable.from_callable(*functions[name])


def _arithmetic(scale: Scale) -> list[Measured]:
    from hardgrad.logic import CircuitSearch, bits_distance

    found: dict[str, list[SearchResult]] = {
        name: [
            CircuitSearch(layers=layers, until="smallest", random_state=seed).search(_table(name))
            for seed in range(SEEDS[scale])
        ]
        for name, layers in SHAPES.items()
        if scale == "full" or name in SMALL
    }
    every = [(name, one) for name, results in found.items() for one in results]
    wrong = sum(bits_distance(one.circuit, _table(name)) for name, one in every)
    least = {name: min(one.circuit.n_gates for one in results) for name, results in found.items()}
    rows = "32 restarts" if scale == "smoke" else f"32 restarts, mean of {SEEDS[scale]} seeds"
    return [
        *(
            Measured.at_least(
                f"{name}: share solved of {rows}", float(np.mean([one.solved for one in found[name]])), bound
            )
            for name, bound in SOLVED.items()
            if name in found
        ),
        Measured.exactly("wrong bits of the circuits found, all rows", wrong, 0),
        *(
            Measured.at_most(f"{name}: gates of the smallest ({most} known)", least[name], 1.5 * most)
            for name, most in MOST_GATES.items()
            if name in found
        ),
        *(
            Measured.reported(f"{name}: gates of the smallest", size)
            for name, size in least.items()
            if name not in MOST_GATES
        ),
        Measured.reported(
            "steps to the first exact circuit, mean",
            float(np.mean([one.first_exact or 0 for _, one in every])),
        ),
        Measured.reported("mean squared error, soft", float(np.mean([one.gap.soft for _, one in every]))),
        Measured.reported("share of wrong bits, hard", float(np.mean([one.gap.hard for _, one in every]))),
        *([_of_nands()] if scale == "full" else []),
    ]


def _of_nands() -> Measured:
    """What the search solves where all gates are NANDs, as in the paper."""
    from hardgrad.logic import CircuitSearch

    search = CircuitSearch(gate="nand", layers=SHAPES["full adder"], until="smallest")
    return Measured.reported("full adder of NANDs: share solved", search.search(_table("full adder")).solved)


def _split(scale: Scale) -> tuple[list[Circuit], list[Circuit]]:
    """Circuits to learn from, and others whose functions are in none of their classes."""
    from hardgrad.logic import npn_class, random_circuits

    circuits = random_circuits(8 * CIRCUITS[scale] // 5, 4, MAX_GATES, random_state=1)
    classes = npn_class(np.stack([circuit.truth_table()[:, 0] for circuit in circuits]))
    keys = [one.tobytes() for one in classes]
    order = sorted(set(keys))
    kept_back = {order[k] for k in np.random.default_rng(1).permutation(len(order))[: len(order) // 5]}
    train = [circuit for circuit, key in zip(circuits, keys, strict=True) if key not in kept_back]
    test = [circuit for circuit, key in zip(circuits, keys, strict=True) if key in kept_back]
    return train[: CIRCUITS[scale]], test[: FUNCTIONS[scale]]


def _prior(scale: Scale) -> list[Measured]:
    from hardgrad.logic import CircuitGenerator, CircuitTokenizer, TruthTable

    train, test = _split(scale)
    of_tokenizer, of_generator = STEPS[scale]
    tokenizer = CircuitTokenizer(MAX_GATES, n_steps=of_tokenizer).fit(train)
    generator = CircuitGenerator(tokenizer, n_steps=of_generator).fit(train)
    tables = [TruthTable.of(circuit) for circuit in test]
    again = tokenizer.decode(tokenizer.encode(test))
    same = [
        bool((one.truth_table() == table.outputs).all()) for one, table in zip(again, tables, strict=True)
    ]
    (alone, seconds_alone), (guided, seconds_guided) = (
        _searches(tables, prior) for prior in (None, generator)
    )
    steps = [float(np.median([_steps(one) for one in results])) for results in (alone, guided)]
    wrong = [float(np.mean([one.bits_distance for one in results])) for results in (alone, guided)]
    solved = [float(np.mean([one.exact for one in results])) for results in (alone, guided)]
    fewer = max(1 - ours / theirs if theirs else 0.0 for theirs, ours in (steps, wrong))
    name = f"{FUNCTIONS[scale]} functions of unseen classes, {RESTARTS} restarts, {BUDGET} steps"
    better = Measured.at_least if scale == "full" else lambda label, value, _: Measured.reported(label, value)
    return [
        better(f"{name}: saved by the prior, the larger of steps and wrong bits", fewer, 0.25),
        Measured.reported("median steps to the first exact circuit, alone", steps[0]),
        Measured.reported("median steps, with the prior", steps[1]),
        Measured.reported("wrong bits after all steps, mean, alone", wrong[0]),
        Measured.reported("wrong bits, with the prior", wrong[1]),
        Measured.reported("functions solved, alone", solved[0]),
        Measured.reported("functions solved, with the prior", solved[1]),
        Measured.reported("seconds a function, alone", seconds_alone),
        Measured.reported("seconds a function, with the prior, without its training", seconds_guided),
        Measured.reported(
            "functions whose circuit was proposed", float(np.mean([one.first_exact == 0 for one in guided]))
        ),
        Measured.reported(
            "unseen circuits that the tokenizer says again, same function", float(np.mean(same))
        ),
        Measured.reported("codes in use, of 512", tokenizer.network_.quantizer.perplexity()),
    ]


def _searches(tables: list[TruthTable], prior: CircuitGenerator | None) -> tuple[list[SearchResult], float]:
    """The results, and seconds of the processor a function."""
    start = time.process_time()
    results = [_search(table, seed, prior) for seed, table in enumerate(tables)]
    return results, (time.process_time() - start) / len(tables)


def _search(table: TruthTable, seed: int, prior: CircuitGenerator | None) -> SearchResult:
    from hardgrad.logic import CircuitSearch

    search = CircuitSearch(
        layers=(8, 8, 8), n_restarts=RESTARTS, n_steps=BUDGET, check_every=10, prior=prior, random_state=seed
    )
    return search.search(table)


def _steps(result: SearchResult) -> int:
    """Steps to the first exact circuit; all of them where there was none."""
    return BUDGET if result.first_exact is None else result.first_exact
