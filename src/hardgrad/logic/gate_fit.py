"""One fit of gates on a table, step by step: tau, training, hardening, the gap. The estimators are in `estimators`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad.core.errors import HardgradWarning, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.logic.circuit_model import CircuitModel
from hardgrad.logic.gate_training import GateProblem, GateRecipe, GateTask, TableGates, trained_gates
from hardgrad.logic.heads import suggest_tau
from hardgrad.logic.votes import Votes, votes_of
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_model import Label
from hardgrad.train.loop import Hardware, train

Floats = NDArray[np.float64]
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
TRIES = 6


@dataclass(frozen=True)
class Trained:
    """A network with the score of its exact form, the step after which it was best, and its tau."""

    network: TableGates
    score: float
    step: int
    tau: float


def fit_gates(
    problem: GateProblem, recipe: GateRecipe, tau: float | str, hardware: Hardware
) -> tuple[Trained, list[Trained]]:
    """Train with the given, the suggested or a searched tau; return the best network and all that were trained.

    Raises
    ------
    ParameterError : training diverged at once.
    """
    per_group = recipe.per_score(problem)
    if tau != "tune" or not problem.classes:
        chosen = suggest_tau(per_group, 1) if isinstance(tau, str) else float(tau)
        found = _train(problem, replace(recipe, tau=chosen), hardware)
        return found, [found]
    root = math.sqrt(per_group)
    tried: dict[float, Trained] = {}

    def score(log_tau: float) -> float:
        value = math.exp(log_tau)
        tried[log_tau] = _train(
            problem, replace(recipe, tau=value, key=f"{recipe.key}-{len(tried)}"), hardware
        )
        return tried[log_tau].score

    _golden_section(score, math.log(root / 3.0), math.log(max(3.0 * root, 0.3 * per_group)))
    return max(tried.values(), key=lambda one: one.score), list(tried.values())


def _golden_section(score: Callable[[float], float], low: float, high: float) -> None:
    """Ask for the score of a few points that close in on the largest, as if there were one peak."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = score(left), score(right)
    for _ in range(TRIES - 2):
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = score(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = score(right)


def _train(problem: GateProblem, recipe: GateRecipe, hardware: Hardware) -> Trained:
    state = train(GateTask, (problem, recipe), hardware)
    score, _, step = (float(value) for value in state["track"])
    if step == 0:
        raise ParameterError(
            f"training got no finite loss with learning_rate={recipe.learning_rate:g}. Lower the learning rate."
        )
    return Trained(trained_gates(problem, recipe, state), score, int(step), recipe.tau)


@dataclass(frozen=True)
class Answers:
    """How what is learned becomes an answer: classes, or the shift and scale of standardised values."""

    classes: tuple[Label, ...]
    shift: Floats
    scale: Floats


def assemble(schema: TableSchema, network: TableGates, answers: Answers) -> CircuitModel:
    """Return the exact model of a network, with its circuit as it was learned."""
    columns, circuit = network.harden()
    if network.gates.head is not None:
        votes = votes_of(network.gates.head, circuit, network.tau)
    else:
        groups, size = network.groups, network.group_size
        low, high = (bound.double().cpu().numpy() for bound in (network.low, network.high))
        group, weight = np.repeat(np.arange(groups, dtype=np.int32), size), np.ones(groups * size, np.int32)
        offset, scale = answers.shift + answers.scale * low, answers.scale * (high - low) / size
        votes = Votes(circuit, group, weight, offset, scale)
    return CircuitModel.of(
        votes.circuit, schema=schema, link="softmax" if answers.classes else "identity",
        task="classification" if answers.classes else "regression", classes=answers.classes, target="",
        bit_feature=columns.feature, bit_threshold=columns.threshold,
        group=votes.group, weight=votes.weight, offset=votes.offset, scale=votes.scale,
    )  # fmt: skip


def warn_of_dead_groups(model: CircuitModel, X: Floats, names: list[str]) -> None:
    """Warn of groups whose count is the same for all of these rows: they tell nothing."""
    raw = model.predict_raw_encoded(X)
    dead = [name for name, scores in zip(names, raw.T, strict=True) if len(X) > 1 and np.ptp(scores) == 0.0]
    if dead:
        warnings.warn(
            f"the exact circuit counts the same for every training row for {', '.join(dead)}. Take more gates, more steps or a larger tau.",
            HardgradWarning,
            stacklevel=4,
        )


def soft_raw(network: TableGates, X: Floats, answers: Answers) -> Floats:
    """Return the raw scores of the soft network, in the units of those of the exact model, for encoded features."""
    found: Floats = network.answers(network.rows(X), "soft").double().numpy()
    return found if answers.classes else answers.shift + answers.scale * found


def compare(
    network: TableGates, model: CircuitModel, X: Floats, y: NDArray[Any], weight: Floats, answers: Answers
) -> GapReport:
    """Measure the soft network against the exact model, on class numbers y [n] or on values y [n, targets]."""
    soft, hard = soft_raw(network, X, answers), model.predict_raw_encoded(X)
    detail = {"gates": float(model.circuit.n_gates), "depth": float(model.circuit.depth), "tau": network.tau}
    if answers.classes:
        chosen = [raw.argmax(axis=1) for raw in (soft, hard)]
        metrics = [float(np.average(c == y, weights=weight)) for c in chosen]
        agree = chosen[0] == chosen[1]
    else:
        metrics = [
            float(np.sqrt(np.average(((raw - y) ** 2).mean(axis=1), weights=weight))) for raw in (soft, hard)
        ]
        detail["tolerance"] = 0.1 * float(answers.scale.mean())
        agree = (np.abs(soft - hard) <= detail["tolerance"]).all(axis=1)
    return GapReport(
        "accuracy" if answers.classes else "rmse", metrics[0], metrics[1], float(np.average(agree, weights=weight)),
        float(np.abs(soft - hard).max()), higher_is_better=bool(answers.classes), rows=len(X), detail=detail,
    )  # fmt: skip


def undecided_shares(network: TableGates) -> list[float]:
    """Return, layer by layer, how far tables are from exact ones: the mean distance of an entry from the nearest bit."""
    with torch.no_grad():
        return [float(layer.undecided().mean()) for layer in network.gates.gate_layers()]
