"""One fit of a neighbourhood, step by step: rows held out, encoders tried, the best made exact. The estimators are in `neighbours`."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.neighbour_features import Scaling
from hardgrad.tabular.neighbour_model import Neighbourhood, standardised
from hardgrad.tabular.neighbour_network import SoftNeighbourhood
from hardgrad.tabular.neighbour_training import (
    JudgedTask,
    NeighbourTask,
    Problem,
    Recipe,
    Verdict,
    prediction_loss,
    trained_network,
)
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label
from hardgrad.train.checkpoint import current_checkpoint
from hardgrad.train.loop import Hardware, train_many

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FEWEST_TO_HOLD_OUT = 20
TIMED_ROWS = 200


def held_out(classes: Ints | None, n: int, fraction: float, seed: int) -> Ints:
    """Return the numbers of the rows to hold out, in the proportions of the classes where that is possible; none of fewer than 20."""
    from sklearn.model_selection import train_test_split

    if n < FEWEST_TO_HOLD_OUT or fraction == 0:
        return np.empty(0, dtype=np.int64)
    count = max(1, round(fraction * n))
    by_class = None
    if classes is not None:
        sizes = np.bincount(classes)
        sizes = sizes[sizes > 0]
        by_class = classes if sizes.min() >= 2 and count >= len(sizes) else None
    held = train_test_split(np.arange(n), test_size=count, random_state=seed, stratify=by_class)[1]
    return np.sort(held)


@dataclass(frozen=True)
class Candidate:
    """One encoder, trained: its recipe, its network at its best, and the verdict on it."""

    recipe: Recipe
    network: SoftNeighbourhood
    verdict: Verdict
    passes: int

    @property
    def name(self) -> str:
        """What the encoder is, in words."""
        shape = self.network.shape
        embedding = "linear" if shape.embedding == "none" else shape.embedding
        return (
            embedding
            if shape.n_blocks == 0
            else f"{embedding}, {shape.n_blocks} block{'s' * (shape.n_blocks > 1)}"
        )


def train_candidates(
    problem: Problem, recipes: list[Recipe], hardware: Hardware
) -> tuple[list[Candidate], bool]:
    """Train one network a recipe and return them with whether an interrupt ended it early.

    The first interrupt is taken where some network has been judged, and where no checkpoint waits to be resumed: then what was best so
    far is the result. Raises `ParameterError` where training diverges at once.
    """
    running: list[JudgedTask] = []
    interrupted = False
    try:
        found = train_many(NeighbourTask, [(problem, recipe, running) for recipe in recipes], hardware)
    except KeyboardInterrupt:
        judged = [task for task in running if isinstance(task, NeighbourTask) and task.track[5] > 0]
        if not judged or current_checkpoint() is not None:
            raise
        interrupted = True
        recipes, found = [task.recipe for task in judged], [task.result() for task in judged]
    candidates = []
    for recipe, state in zip(recipes, found, strict=True):
        hard, k, smoothing, soft, _, passes, _ = (float(v) for v in state["track"])
        if passes == 0:
            raise ParameterError(
                f"training got no finite loss in any pass, with learning_rate={recipe.learning_rate:g} and "
                f"temperature={recipe.temperature:g}; expected one. Lower the learning rate, or raise the temperature."
            )
        verdict = Verdict(soft, hard, int(k), smoothing if problem.classification else 0.0)
        candidates.append(Candidate(recipe, trained_network(problem, recipe, state), verdict, int(passes)))
    return candidates, interrupted


@dataclass(frozen=True)
class Answers:
    """How what is learned becomes an answer: classes, or the shift and scale of standardised values."""

    classes: tuple[Label, ...]
    shift: Floats
    scale: Floats

    def values(self, Y: Floats) -> Floats:
        """Return learned values in the units of the target."""
        return Y if self.classes else Y * self.scale + self.shift


def assemble(
    schema: TableSchema, scaling: Scaling, candidate: Candidate, problem: Problem, answers: Answers, X: Floats
) -> Neighbourhood:
    """Return the exact model that remembers all rows, encoded as X."""
    # Where rows lie is the exact encoder's to say, so the first model remembers one row, in the wrong place.
    outputs, dim = problem.Y.shape[1], candidate.network.shape.dim
    empty = Neighbourhood(
        schema, "identity", "classification" if answers.classes else "regression", answers.classes, "",
        1, float(candidate.network.temperature), candidate.verdict.smoothing,
        **candidate.network.encoder_arrays(), mean=scaling.mean, scale=scaling.scale,
        memory=np.zeros((1, dim), dtype=np.float32), values=np.zeros((1, outputs)), votes=np.ones(1),
    )  # fmt: skip
    memory = empty.embed(X).astype(np.float32)
    return dataclasses.replace(
        empty,
        k=min(candidate.verdict.k, len(memory)),
        memory=memory,
        values=answers.values(problem.Y),
        votes=problem.votes,
    )


def soft_answers(network: SoftNeighbourhood, model: Neighbourhood, X: Floats) -> Floats:
    """Return the raw scores [n, outputs] of the vote of everything that a model remembers, on encoded rows X."""
    rows, votes = (torch.from_numpy(a.astype(np.float32)) for a in (model.memory, model.votes))
    Z = torch.from_numpy(standardised(X, model.mean, model.scale)).float()
    with torch.no_grad():
        parts = [
            network.shares(network.embed(part), rows, votes).double().numpy() @ model.values
            for part in Z.split(512)
        ]
    return np.concatenate(parts)


def compare(
    network: SoftNeighbourhood, soft: Neighbourhood, hard: Neighbourhood, X: Floats, Y: Floats, weight: Floats
) -> GapReport:
    """Measure the vote of all that `soft` remembers against the exact model `hard`, on encoded rows X with answers Y in their units."""
    first = soft_answers(network, soft, X)
    began = time.perf_counter()
    second = hard.predict_raw_encoded(X)
    seconds = time.perf_counter() - began
    classification = hard.task == "classification"
    detail = {
        "k": float(hard.k),
        "rows_remembered": float(len(hard.memory)),
        "bytes": float(sum(array.nbytes for array in hard.arrays().values())),
        "microseconds": 1e6 * seconds / len(X),
    }
    losses = [
        float(
            np.average(
                prediction_loss(torch.from_numpy(a), torch.from_numpy(Y), classification).numpy(),
                weights=weight,
            )
        )
        for a in (first, second)
    ]
    if classification:
        chosen, truth = [a.argmax(axis=1) for a in (first, second)], Y.argmax(axis=1)
        detail |= {
            f"{name}_accuracy": float(np.average(c == truth, weights=weight))
            for name, c in zip(("soft", "hard"), chosen, strict=True)
        }
        agree = chosen[0] == chosen[1]
    else:
        losses = [float(np.sqrt(loss)) for loss in losses]
        spread = np.average((Y - np.average(Y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
        detail["tolerance"] = 0.1 * float(np.sqrt(spread.mean()))
        agree = (np.abs(first - second) <= detail["tolerance"]).all(axis=1)
    return GapReport(
        "log_loss" if classification else "rmse", losses[0], losses[1], float(np.average(agree, weights=weight)),
        float(np.abs(first - second).max()), rows=len(X), detail=detail,
    )  # fmt: skip
