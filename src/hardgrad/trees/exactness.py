"""Proof by trial that every engine gives what the reference gives: leaves, raw scores bit for bit, classes, probabilities.

The rows come from `hardgrad.trees.probe`, the engines from `hardgrad.trees.exactness_engines`. Never imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError, ParameterError, suggestion
from hardgrad.trees.exactness_engines import ENGINES, Answer, Unavailable
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import Rows, generate_rows

CHUNK = 20_000
MAX_PROBABILITY_ULP = 8.0
"""How far a probability may stand from the reference: libraries differ in the last bits of `exp`, and in nothing else."""


@dataclass(frozen=True)
class ExactCheck:
    """How one engine compared with the reference.

    Parameters
    ----------
    engine : its name, see `check_exactness`.
    rows : rows compared.
    differing : rows where a leaf, a bit of a raw score, the prediction, or a probability by more than 8 ulp was different.
    seconds : time for preparing the engine and scoring.
    max_probability_ulp : largest distance of a probability, in units of its last place.
    skipped_reason : why nothing was compared, or None.
    first_differing : the first row that differed as raw values by column, or None.
    """

    engine: str
    rows: int
    differing: int
    seconds: float
    max_probability_ulp: float = 0.0
    skipped_reason: str | None = None
    first_differing: dict[str, object] | None = None

    @property
    def exact(self) -> bool:
        """True where rows were compared and none differed."""
        return self.skipped_reason is None and self.rows > 0 and self.differing == 0

    def __str__(self) -> str:
        if self.skipped_reason is not None:
            return f"{self.engine}: skipped, {self.skipped_reason}"
        return f"{self.engine}: {self.differing:,} of {self.rows:,} rows differ"


def check_exactness(
    forest: Forest, *, rows: int = 10_000, engines: Sequence[str] | None = None, random_state: int = 0
) -> list[ExactCheck]:
    """Score generated rows with every engine and count those that differ from the reference.

    Parameters
    ----------
    forest : the forest to check.
    rows : rows to generate; they hold every threshold and one ulp either side, missing values, infinities, unseen categories.
    engines : "numba", "native" (the compiled runtime), "c" (the exported source, compiled), "packed c" (by default only for a forest
        that was made for a number of bytes), "javascript" (in node), "duckdb", "sqlite", "onnx" (in ONNX Runtime); all by default.
        An engine that is not installed, or that cannot express the forest, is skipped with a reason.
    random_state : seed of the rows.

    Returns
    -------
    checks : one an engine, in the order of `engines`.

    Raises
    ------
    ParameterError : an engine is unknown, or rows is not positive.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> [check.differing for check in check_exactness(forest_from_trees([tree], ["age"]), rows=100, engines=["sqlite"])]
    [0]
    """
    names = (
        [name for name in ENGINES if name != "packed c" or forest.packing]
        if engines is None
        else list(engines)
    )
    for name in names:
        if name not in ENGINES:
            raise ParameterError(
                f"no engine is called {name!r}; known: {', '.join(ENGINES)}.{suggestion(name, list(ENGINES))}"
            )
    if rows < 1:
        raise ParameterError(f"rows must be at least 1, got {rows}.")
    return [_check(forest, name, rows, random_state) for name in names]


def _check(forest: Forest, name: str, rows: int, random_state: int) -> ExactCheck:
    start = time.perf_counter()
    spent, differing, ulp, done = 0.0, 0, 0.0, 0
    first: dict[str, object] | None = None
    try:
        engine = ENGINES[name](forest)
        spent += time.perf_counter() - start
        for chunk, begin in enumerate(range(0, rows, CHUNK)):
            generator = np.random.default_rng([random_state, chunk])
            raw_rows = engine.rows(generate_rows(forest, min(CHUNK, rows - begin), random_state=generator))
            start = time.perf_counter()
            answer = engine.score(raw_rows)
            spent += time.perf_counter() - start
            wrong, distance = differences(forest, raw_rows, answer)
            if wrong.any() and first is None:
                first = {column: values[int(np.argmax(wrong))] for column, values in raw_rows.items()}
            differing += int(wrong.sum())
            ulp, done = max(ulp, distance), done + len(wrong)
    except (Unavailable, ExportError) as reason:
        return ExactCheck(name, 0, 0, 0.0, skipped_reason=str(reason))
    return ExactCheck(name, done, differing, spent, ulp, first_differing=first)


def differences(forest: Forest, rows: Rows, answer: Answer) -> tuple[NDArray[np.bool_], float]:
    """Compare an engine's answer with the reference: which rows differ, and the largest distance of a probability in ulp."""
    X = forest.encode(rows)
    leaves = forest.apply_encoded(X)
    raw = forest.sum_leaves(leaves, X)
    wrong = np.zeros(len(raw), dtype=bool)
    distance = 0.0
    if answer.leaves is not None:
        wrong |= (answer.leaves != leaves).any(axis=1)
    if answer.raw is not None:
        wrong |= (_bits(answer.raw) != _bits(raw)).any(axis=1)
    if forest.task == "regression":
        if answer.predicted is not None:
            wrong |= (_bits(answer.predicted.reshape(raw.shape)) != _bits(raw)).any(axis=1)
        return wrong, distance
    if answer.predicted is not None:
        wrong |= answer.predicted != forest.raw_to_class_index(raw)
    if answer.probabilities is not None:
        ulp = probability_ulp(forest, answer.probabilities, forest.raw_to_proba(raw))
        distance = float(ulp.max(initial=0.0))
        wrong |= ulp.max(axis=1) > MAX_PROBABILITY_ULP
    return wrong, distance


def probability_ulp(
    forest: Forest, got: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of probabilities [n, classes] in units of the last place of the expected ones.

    With the sigmoid link the first class has 1 - p: it is only as fine as the last place of p. Below 1e-300 places are of 1e-300.
    """
    scale = np.maximum(expected, 1e-300)
    if forest.link == "sigmoid":
        scale[:, 0] = np.maximum(scale[:, 0], 0.5)
    distance = np.abs(got - expected) / np.spacing(scale)
    return np.where(np.isnan(distance), np.inf, distance)


def _bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bits of doubles; every NaN (of an affine leaf and infinite values) has the same, because engines choose its payload freely."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, values).view(np.int64)
