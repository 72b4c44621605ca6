"""What the two neighbourhood estimators share: parameters, the training run, hardening, explanations, the gap."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from hardgrad.core.errors import DataError, HardgradWarning, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.neighbour_features import Scaling, fit_scaling, neighbour_schema
from hardgrad.tabular.neighbour_fit import (
    Answers,
    Candidate,
    assemble,
    compare,
    held_out,
    soft_answers,
    train_candidates,
)
from hardgrad.tabular.neighbour_model import Neighbourhood, standardised
from hardgrad.tabular.neighbour_network import EncoderShape
from hardgrad.tabular.neighbour_training import Problem, Recipe, with_embedding
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_estimator import TableEstimator, is_whole
from hardgrad.train.loop import Hardware
from hardgrad.train.progress import Event, listen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WHOLE = ("dim", "d_block", "batch_size", "max_candidates", "max_iter", "n_iter_no_change")


class NeighbourhoodBase(TableEstimator):
    """Shared half of `NeighbourhoodClassifier` and `NeighbourhoodRegressor`; parameters are documented there."""

    def __init__(
        self,
        dim: int = 128,
        *,
        n_blocks: int = 0,
        d_block: int = 512,
        dropout: float = 0.1,
        embedding: str | None = None,
        encoder: str = "given",
        temperature: float = 1.0,
        sample_rate: float = 0.5,
        max_candidates: int = 4096,
        learning_rate: float = 0.01,
        weight_decay: float = 2e-4,
        joint_normalisation: bool = True,
        batch_size: int = 256,
        max_iter: int = 100,
        n_iter_no_change: int = 20,
        validation_fraction: float = 0.2,
        random_state: Any = None,
        n_jobs: int | None = None,
        device: str = "auto",
        verbose: int = 0,
    ) -> None:
        self.dim = dim
        self.n_blocks = n_blocks
        self.d_block = d_block
        self.dropout = dropout
        self.embedding = embedding
        self.encoder = encoder
        self.temperature = temperature
        self.sample_rate = sample_rate
        self.max_candidates = max_candidates
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.joint_normalisation = joint_normalisation
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_iter_no_change = n_iter_no_change
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    # --- fit -----------------------------------------------------------------------------------------------------------------
    def _encode_training(self, X: Any, *arguments: Any, **options: Any) -> tuple[TableSchema, Floats]:
        schema, encoded = super()._encode_training(X, *arguments, **options)
        self.schema_, encoded = neighbour_schema(schema, encoded, X)
        return self.schema_, encoded

    def _learn(
        self,
        schema: TableSchema,
        X: Floats,
        Y: Floats,
        weight: Floats,
        votes: Floats,
        answers: Answers,
        seed: int,
    ) -> Self:
        """Train on encoded rows X with answers Y, of positive weight; remember the soft and the exact model and the gap."""
        if len(X) < 2:
            raise DataError(
                f"{type(self).__name__} got {len(X)} sample (row) of positive weight; expected at least 2: a row is no neighbour of itself."
            )
        scaling = fit_scaling(schema, X, weight)
        Z = standardised(X, scaling.mean, scaling.scale)
        classes = Y.argmax(axis=1) if answers.classes else None
        held = held_out(classes, len(X), self.validation_fraction, seed)
        problem = Problem(
            Z, Y, weight / weight.mean(), votes / votes.mean(), held, scaling.numbers, bool(answers.classes),
            float(answers.scale[0]) if Y.shape[1] == 1 else 1.0,
        )  # fmt: skip
        events: list[Event] = []
        with listen(events.append), listen(self._print_event):
            candidates, self.interrupted_ = train_candidates(problem, self._recipes(seed), self._hardware())
        best = min(candidates, key=lambda candidate: candidate.verdict.hard)
        self._remember(problem, scaling, best, answers, schema, X)
        self.history_ = [vars(event) | {"gap": _difference(event)} for event in events]
        self.candidates_ = [
            {"encoder": c.name, "loss": c.verdict.hard, "k": c.verdict.k, "chosen": c is best}
            for c in candidates
        ]
        if self.interrupted_:
            warnings.warn(
                f"{type(self).__name__} was interrupted and finished with the best of {best.passes} passes over the rows. Fit again, "
                "without interrupting, for the whole training.",
                HardgradWarning,
                stacklevel=3,
            )
        return self

    def _remember(
        self,
        problem: Problem,
        scaling: Scaling,
        best: Candidate,
        answers: Answers,
        schema: TableSchema,
        X: Floats,
    ) -> None:
        self.artifact_ = assemble(schema, scaling, best, problem, answers, X)
        self.soft_ = best.network
        self.soft_.artifact = self.artifact_
        self.n_iter_ = max(1, best.passes)
        self.metric_ = "log_loss" if answers.classes else "rmse"
        self._problem, self._answers, self._seed = problem, answers, best.recipe.seed
        self.gap_: GapReport | None = None
        if len(problem.held):
            known, held = self._without(problem.held), problem.held
            self.gap_ = compare(
                self.soft_, known, known, X[held], answers.values(problem.Y[held]), problem.weight[held]
            )

    def _without(self, rows: Ints) -> Neighbourhood:
        """The exact model that does not remember some of the rows."""
        model, kept = self.artifact_, np.setdiff1d(np.arange(len(self.artifact_.memory)), rows)
        return dataclasses.replace(
            model,
            memory=model.memory[kept],
            values=model.values[kept],
            votes=model.votes[kept],
            k=min(model.k, len(kept)),
        )

    def _hardware(self) -> Hardware:
        return Hardware.for_jobs(self.device, self.n_jobs)

    def _recipes(self, seed: int) -> list[Recipe]:
        shape = EncoderShape(
            int(self.dim),
            int(self.n_blocks),
            int(self.d_block),
            float(self.dropout),
            self.embedding or "none",
        )
        shapes = [shape]
        if self.encoder == "auto":
            shapes = [dataclasses.replace(shape, embedding="none", n_blocks=0), with_embedding(shape)]
        return [
            Recipe(
                each, float(self.temperature), float(self.sample_rate), int(self.max_candidates), float(self.learning_rate),
                float(self.weight_decay), int(self.batch_size), int(self.max_iter), int(self.n_iter_no_change), seed, f"neighbours-{i}",
                bool(self.joint_normalisation),
            )
            for i, each in enumerate(shapes)
        ]  # fmt: skip

    def _check_parameters(self) -> None:
        for name in WHOLE:
            self._require(is_whole(getattr(self, name), 1), name, "a whole number of at least 1")
        self._require(is_whole(self.n_blocks, 0), "n_blocks", "a whole number of at least 0")
        self._require(
            self.embedding in (None, "periodic", "piecewise"), "embedding", "None, 'periodic' or 'piecewise'"
        )
        self._require(self.encoder in ("given", "auto"), "encoder", "'given' or 'auto'")
        self._require(0 <= self.dropout < 1, "dropout", "a share from 0 to below 1")
        self._require(0 < self.sample_rate <= 1, "sample_rate", "a share above 0 and up to 1")
        self._require(0 <= self.validation_fraction <= 0.5, "validation_fraction", "a share from 0 to 0.5")
        self._require(0 < self.temperature < np.inf, "temperature", "a positive number")
        self._require(0 < self.learning_rate < np.inf, "learning_rate", "a positive number")
        self._require(0 <= self.weight_decay < np.inf, "weight_decay", "a number that is not negative")

    # --- the fitted model ----------------------------------------------------------------------------------------------------
    def harden(
        self, k: int | str = "auto", prototypes: float | None = None, *, dtype: str = "float32"
    ) -> Neighbourhood:
        """Return the exact `Neighbourhood` artifact: NumPy only, savable.

        Parameters
        ----------
        k : neighbours that vote; "auto" is the number with the least loss on held-out rows.
        prototypes : rows to remember in place of all training rows, as a number or, below 1, as a share of them: a smaller and faster
            model, trained to answer alike.
        dtype : "float32" or "float16", of the remembered rows.

        Raises
        ------
        ParameterError : k or prototypes are out of range, or float16 cannot hold the rows.
        """
        model: Neighbourhood = super().harden()
        if prototypes is not None:
            model = self._condensed(prototypes)
        if k != "auto":
            if not is_whole(k, 1) or int(k) > len(model.memory):
                raise ParameterError(
                    f"harden() got k={k!r}; expected 'auto' or a number from 1 to the {len(model.memory)} rows remembered."
                )
            model = dataclasses.replace(model, k=int(k))
        if dtype not in ("float32", "float16"):
            raise ParameterError(f"harden() got dtype={dtype!r}; expected 'float32' or 'float16'.")
        if dtype == "float16":
            if np.abs(model.memory).max() > np.finfo(np.float16).max:
                raise ParameterError(
                    "harden() got dtype='float16', which cannot hold the remembered rows. Take 'float32'."
                )
            model = dataclasses.replace(model, memory=model.memory.astype(np.float16))
        return model

    def _condensed(self, prototypes: float) -> Neighbourhood:
        from hardgrad.tabular.neighbour_prototypes import condense

        rows, least = len(self.artifact_.memory), max(1, len(self._answers.classes))
        given: Any = prototypes
        fine = (
            isinstance(given, (int, float, np.number)) and not isinstance(given, bool) and 0 < given < np.inf
        )
        count = max(least, round(prototypes * rows)) if fine and prototypes < 1 else prototypes
        if not fine or count != int(count) or not least <= count <= rows:
            raise ParameterError(
                f"harden() got prototypes={prototypes!r}; expected a share below 1, or a whole number from {least} to {rows}."
            )
        return condense(
            self.artifact_, self._problem, self._answers, int(count), self._seed, self._hardware()
        )

    def explain(self, X: Any) -> tuple[Ints, Floats]:
        """Return which training rows decide each prediction, and with what share of the vote.

        Parameters
        ----------
        X : rows [n].

        Returns
        -------
        rows, shares : int64 [n, k], numbers of training rows, nearest first; float64 [n, k], each row sums to 1.
        """
        check_is_fitted(self)
        number, share = self.artifact_.neighbours_encoded(self._read(X))
        return self.rows_[number], share

    def measure_gap(
        self, X: Any, y: Any, sample_weight: Any = None, *, model: Neighbourhood | None = None
    ) -> GapReport:
        """Measure the vote of all training rows (soft) against an exact model, on rows that were not learned from.

        Parameters
        ----------
        X, y, sample_weight : the rows.
        model : what `harden` gave; by default what it gives without arguments.

        Returns
        -------
        report : of log-loss or RMSE. Its detail holds the accuracies of a classification, k, the number of remembered rows, bytes, and
            microseconds a query.
        """
        check_is_fitted(self)
        encoded, Y = self._read(X), self._known_answers(y)
        check_consistent_length(encoded, Y)
        hard = self.artifact_ if model is None else model
        return compare(self.soft_, self.artifact_, hard, encoded, Y, self._weights(sample_weight, len(Y)))

    def _soft_raw(self, X: Any) -> Floats:
        """Raw scores of the soft model: all training rows vote."""
        check_is_fitted(self)
        return soft_answers(self.soft_, self.artifact_, self._read(X))

    def _known_answers(self, y: Any) -> Floats:
        raise NotImplementedError


def _difference(event: Event) -> float | None:
    return None if event.soft is None or event.hard is None else event.hard - event.soft
