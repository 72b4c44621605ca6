"""LogicGateClassifier and LogicGateRegressor: tables learned by gates, answered by a circuit."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from hardgrad.core.errors import DataError
from hardgrad.core.gap import GapReport
from hardgrad.logic.circuit_model import CircuitModel
from hardgrad.logic.gate_fit import (
    Answers,
    Trained,
    assemble,
    compare,
    fit_gates,
    soft_raw,
    undecided_shares,
    warn_of_dead_groups,
)
from hardgrad.logic.gate_training import GateProblem, GateRecipe
from hardgrad.logic.gates import PARAMETRIZATIONS, RESPONSES
from hardgrad.logic.initialisation import INITIALISATIONS
from hardgrad.logic.layers import CONNECTIONS
from hardgrad.logic.thermometer import STRATEGIES, BitColumns, fit_bits
from hardgrad.logic.votes import HEADS
from hardgrad.tabular.neighbour_features import neighbour_schema
from hardgrad.tabular.neighbour_fit import held_out
from hardgrad.tabular.schema import TableSchema
from hardgrad.tabular.table_estimator import TableClassifier, TableEstimator, TableRegressor, is_whole
from hardgrad.tabular.table_model import Facts
from hardgrad.train.loop import Hardware
from hardgrad.train.progress import Event, listen

Floats = NDArray[np.float64]


class LogicGateBase(TableEstimator):
    """Shared half of `LogicGateClassifier` and `LogicGateRegressor`; parameters are documented there."""

    def __init__(
        self,
        layer_sizes: tuple[int, ...] = (2000, 2000, 2000, 2000),
        *,
        parametrization: str = "input_wise",
        response: str = "sine",
        init: str = "residual",
        connections: str = "random",
        fan_in: int = 2,
        n_thresholds: int = 3,
        thresholds: str = "quantile",
        temperature: tuple[float, float] = (1.0, 0.1),
        learning_rate: float = 0.01,
        batch_size: int = 128,
        max_iter: int = 1000,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.layer_sizes = layer_sizes
        self.parametrization = parametrization
        self.response = response
        self.init = init
        self.connections = connections
        self.fan_in = fan_in
        self.n_thresholds = n_thresholds
        self.thresholds = thresholds
        self.temperature = temperature
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # --- fit -----------------------------------------------------------------------------------------------------------------
    def _encode_training(self, X: Any, *arguments: Any, **options: Any) -> tuple[TableSchema, Floats]:
        schema, encoded = super()._encode_training(X, *arguments, **options)
        self.schema_, encoded = neighbour_schema(schema, encoded, X)  # a category is a bit
        return self.schema_, encoded

    def _learn(
        self, problem: GateProblem, answers: Answers, tau: float | str, seed: int, head: str = "group_sum"
    ) -> Self:
        """Train on encoded rows of positive weight; remember the soft and the exact model and the gap."""
        options = {
            "parametrization": self.parametrization, "response": self.response, "init": self.init,
            "connections": self.connections, "fan_in": int(self.fan_in),
        }  # fmt: skip
        first, last = self.temperature
        recipe = GateRecipe(
            tuple(int(size) for size in self.layer_sizes), options, 1.0, (float(first), float(last)), self.thresholds == "learned",
            float(self.learning_rate), int(self.batch_size), int(self.max_iter), seed, head=head,
        )  # fmt: skip
        events: list[Event] = []
        with listen(events.append), listen(self._print_event):
            best, tried = fit_gates(problem, recipe, tau, Hardware.for_jobs(self.device, None))
        learned = assemble(self.schema_, best.network, answers)
        self.artifact_: CircuitModel = learned.simplify()
        self.soft_ = best.network
        self.tau_, self.n_iter_ = best.tau, best.step
        self.candidates_ = [_row(one, one is best) for one in tried]
        self.undecided_ = undecided_shares(best.network)
        self.gates_ = {"learned": learned.circuit.n_gates, "simplified": self.artifact_.circuit.n_gates}
        self.history_ = [vars(event) for event in events]
        self._answers = answers
        warn_of_dead_groups(self.artifact_, problem.X[problem.learned], self._group_names())
        self.gap_: GapReport | None = None
        if len(problem.held):
            y = problem.y[problem.held]
            y = y if answers.classes else answers.shift + answers.scale * y
            self.gap_ = compare(
                best.network,
                self.artifact_,
                problem.X[problem.held],
                y,
                problem.weight[problem.held],
                answers,
            )
        return self

    def _problem(self, X: Floats, y: NDArray[Any], weight: Floats, seed: int, classes: int) -> GateProblem:
        """Return what is learned from: rows of positive weight, some of them held out, and what their bits ask."""
        kept = weight > 0
        X, y, weight = X[kept], y[kept], weight[kept]
        held = held_out(y if classes else None, len(X), float(self.validation_fraction), seed)
        strategy = "quantile" if self.thresholds == "learned" else self.thresholds
        # The schema has features that say whether a number is missing.
        columns = fit_bits(X, int(self.n_thresholds), strategy, own_bit=False)
        if not len(columns.feature):  # nothing to learn from: a bit that is always 0
            highest = 0.0 if np.isnan(X[:, 0]).all() else float(np.nanmax(X[:, 0]))
            columns = BitColumns(np.zeros(1, np.int32), np.array([highest]))
        learned = y[np.setdiff1d(np.arange(len(y)), held)]
        bounds = np.zeros((2, 0)) if classes else np.stack([learned.min(axis=0), learned.max(axis=0)])
        return GateProblem(X, y, weight, held, columns, classes, *bounds)

    def _check_parameters(self) -> None:
        for name, known in {
            "parametrization": PARAMETRIZATIONS, "response": RESPONSES[:2], "init": INITIALISATIONS, "connections": CONNECTIONS,
            "thresholds": (*STRATEGIES, "learned"),
        }.items():  # fmt: skip
            self._require(getattr(self, name) in known, name, f"one of {', '.join(known)}")
        for name in ("n_thresholds", "batch_size", "max_iter"):
            self._require(is_whole(getattr(self, name)), name, "a whole number of at least 1")
        sizes: Any = self.layer_sizes
        listed = isinstance(sizes, tuple | list) and len(sizes) > 0 and all(is_whole(size) for size in sizes)
        self._require(listed, "layer_sizes", "whole numbers of at least 1, one a layer")
        self._require(_is_pair(self.temperature), "temperature", "two positive numbers, from and to")
        most = 2 if self.parametrization == "softmax" else 6
        self._require(is_whole(self.fan_in) and 2 <= int(self.fan_in) <= most, "fan_in", f"2 to {most}")
        self._require(0 <= self.validation_fraction <= 0.5, "validation_fraction", "a share from 0 to 0.5")
        self._require(0 < self.learning_rate < np.inf, "learning_rate", "a positive number")

    # --- the fitted model ----------------------------------------------------------------------------------------------------
    @property
    def facts_(self) -> Facts:
        """What the report tells of the fit beside the model: gates before and after simplification."""
        check_is_fitted(self)
        return {"Gates": {"as learned": self.gates_["learned"], "simplified": self.gates_["simplified"]}}

    def measure_gap(self, X: Any, y: Any, sample_weight: Any = None) -> GapReport:
        """Measure the soft network against the exact circuit, on rows that were not learned from.

        Parameters
        ----------
        X, y, sample_weight : the rows.

        Returns
        -------
        report : of accuracy or root mean square error; its detail holds gates, depth and tau.
        """
        check_is_fitted(self)
        encoded, known = self._read(X), self._known_answers(y)
        check_consistent_length(encoded, known)
        return compare(
            self.soft_,
            self.artifact_,
            encoded,
            known,
            self._weights(sample_weight, len(known)),
            self._answers,
        )

    def _soft_raw(self, X: Any) -> Floats:
        check_is_fitted(self)
        return soft_raw(self.soft_, self._read(X), self._answers)

    def _group_names(self) -> list[str]:
        raise NotImplementedError

    def _known_answers(self, y: Any) -> NDArray[Any]:
        raise NotImplementedError


class LogicGateClassifier(TableClassifier, LogicGateBase):
    """Classify by bare logic: numbers are compared with thresholds, gates work on the bits, and the ones of each class are counted.

    Gates are learned by gradients as probabilities and made exact at the end; the weights that are kept are those whose exact circuit was
    best on held-out rows. `predict` is the circuit.

    Parameters
    ----------
    layer_sizes : gates of each layer; the last is rounded up to a multiple of the classes, or of the bits of a code word.
    head : what is counted for a class: "group_sum", the outputs of its own group that are one; "weighted_group_sum", these with a learned
        whole number of votes each, 0 to 4; "codebook", all outputs that agree with the code word of the class (see `code_words`), which
        forgives wrong gates, and whose exact model counts every output once a class.
    tau : what counts are divided by in training: "auto", see `suggest_tau`; "tune", searched by the accuracy of the exact circuit on
        held-out rows, in six trainings; or a positive number.
    parametrization, response, init, connections, fan_in : of the gates, see `LogicLayer`.
    n_thresholds : most bits of a numeric column; a category has one bit, and a column with missing values one more.
    thresholds : "quantile", "uniform" (see `ThermometerEncoder`), or "learned" together with the gates, from quantiles.
    temperature : of the gates, from and to: tables are sharpened while they are learned, so that the soft network becomes the exact one.
    learning_rate, batch_size : of Adam.
    max_iter : its steps.
    validation_fraction : share of the rows that are held out to choose the weights and to measure the gap. Below 20 rows nothing is held
        out, and weights are chosen on the rows that are learned.
    random_state : seed; the same seed on one thread gives the same bits.
    device : "cpu", "cuda" or "auto".
    verbose : print progress if positive.

    Attributes
    ----------
    artifact_ : the exact `CircuitModel`, simplified.
    soft_ : the trained network, a torch module.
    gap_ : `GapReport` on the held-out rows; None where none were held out.
    tau_ : the tau that was used; `candidates_` tells of all that were tried.
    gates_ : how many gates the circuit has as it was learned, and simplified.
    undecided_ : mean distance of a table's entry from the nearest bit, layer by layer, at most 1/2.
    n_iter_ : steps after which the circuit was best.
    history_ : list of progress events.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogicGateClassifier((60, 60), max_iter=100, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.8, model.harden().circuit.depth <= 2
    (True, True)

    Source: Petersen, Borgelt, Kuehne and Deussen, 2022, Deep Differentiable Logic Gate Networks; Brändle, Aczel, Plesner and Wattenhofer,
    2025, From MNIST to ImageNet: Understanding the Scalability Boundaries of Differentiable Logic Gate Networks.
    """

    def __init__(
        self,
        layer_sizes: tuple[int, ...] = (2000, 2000, 2000, 2000),
        *,
        head: str = "group_sum",
        tau: float | str = "auto",
        parametrization: str = "input_wise",
        response: str = "sine",
        init: str = "residual",
        connections: str = "random",
        fan_in: int = 2,
        n_thresholds: int = 3,
        thresholds: str = "quantile",
        temperature: tuple[float, float] = (1.0, 0.1),
        learning_rate: float = 0.01,
        batch_size: int = 128,
        max_iter: int = 1000,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        super().__init__(
            layer_sizes, parametrization=parametrization, response=response, init=init, connections=connections, fan_in=fan_in,
            n_thresholds=n_thresholds, thresholds=thresholds, temperature=temperature, learning_rate=learning_rate,
            batch_size=batch_size, max_iter=max_iter, validation_fraction=validation_fraction, random_state=random_state, device=device,
            verbose=verbose,
        )  # fmt: skip
        self.head = head
        self.tau = tau

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : numbers [n, features], NaN where missing, or a data frame of numbers, booleans, dates and categories.
        y : labels [n] of at least two classes.
        sample_weight : [n], of a row's loss; rows of weight 0 are left out.

        Raises
        ------
        DataError : one class only, weights that do not fit.
        ParameterError : a parameter outside its range.
        """
        seed = self._begin_fit()
        X, y = self._check_input(X, y)
        index = self._class_numbers(y)
        weight = self._weights(sample_weight, len(index))
        _, encoded = self._encode_training(
            X, index, weight, task="classification", n_classes=len(self.classes_), seed=seed
        )
        problem = self._problem(encoded, index, weight, seed, len(self.classes_))
        return self._learn(
            problem, Answers(self._class_labels(), np.zeros(1), np.ones(1)), self.tau, seed, self.head
        )

    def predict_proba_soft(self, X: Any) -> Floats:
        """Return the class probabilities [n, classes] of the soft network."""
        return self.artifact_.raw_to_proba(self._soft_raw(X))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._require(self.head in HEADS, "head", f"one of {', '.join(HEADS)}")
        tau: Any = self.tau
        number = isinstance(tau, int | float | np.number) and not isinstance(tau, bool)
        self._require(
            tau in ("auto", "tune") or (number and 0 < tau < np.inf),
            "tau",
            "'auto', 'tune' or a positive number",
        )

    def _group_names(self) -> list[str]:
        return [f"class {label!r}" for label in self._class_labels()]

    def _known_answers(self, y: Any) -> NDArray[Any]:
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise DataError(
                f"y holds {unknown.tolist()[0]!r}; expected labels among {self.classes_.tolist()}."
            )
        return np.asarray(np.searchsorted(self.classes_, y))


class LogicGateRegressor(TableRegressor, LogicGateBase):
    """Predict numbers by bare logic: the value is an offset plus a step for each output of the circuit that is one.

    Parameters and attributes are those of `LogicGateClassifier`, without tau: counts are laid over the range of the target in training.
    There may be several targets, each with its own outputs.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LogicGateRegressor((200, 100), max_iter=100, random_state=0).fit(X, y)
    >>> len(np.unique(model.predict(X))) <= 101
    True

    Source: see `LogicGateClassifier`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : numbers [n, features], NaN where missing, or a data frame of numbers, booleans, dates and categories.
        y : numbers [n] or [n, targets].
        sample_weight : [n], of a row's loss; rows of weight 0 are left out.

        Raises
        ------
        DataError : weights that do not fit.
        ParameterError : a parameter outside its range.
        """
        seed = self._begin_fit()
        X, y = self._check_input(X, y, multi_output=True, y_numeric=True)
        Y = self._targets(y)
        weight = self._weights(sample_weight, len(Y))
        _, encoded = self._encode_training(X, Y, weight, task="regression", seed=seed)
        shift = np.average(Y, axis=0, weights=weight)
        spread = np.sqrt(np.average((Y - shift) ** 2, axis=0, weights=weight))
        scale = np.where(spread > 0, spread, 1.0)
        problem = self._problem(encoded, (Y - shift) / scale, weight, seed, 0)
        return self._learn(problem, Answers((), shift, scale), "auto", seed)

    def predict_soft(self, X: Any) -> Floats:
        """Return the values of the soft network, shaped like the target that was fitted."""
        raw = self._soft_raw(X)
        return raw[:, 0] if self._flat else raw

    def _group_names(self) -> list[str]:
        return [f"target {k}" for k in range(self.artifact_.n_outputs)]

    def _known_answers(self, y: Any) -> NDArray[Any]:
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)


def _is_pair(value: Any) -> bool:
    fine = isinstance(value, tuple | list) and len(value) == 2
    return fine and all(isinstance(t, int | float | np.number) and 0 < t < np.inf for t in value)


def _row(one: Trained, chosen: bool) -> dict[str, Any]:
    return {"tau": one.tau, "score": one.score, "n_iter": one.step, "chosen": chosen}
