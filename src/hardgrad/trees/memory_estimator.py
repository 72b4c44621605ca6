"""MemoryForestClassifier: a forest over a response memory with scikit-learn's face; later labels are written, not trained."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import column_or_1d

from hardgrad.core.errors import ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.table_estimator import TableClassifier
from hardgrad.train.progress import listen
from hardgrad.trees.assemble import Frame
from hardgrad.trees.codes import FeatureCodes
from hardgrad.trees.forest import Forest
from hardgrad.trees.memory_forest import MemoryForest
from hardgrad.trees.memory_training import new_memory_forest


class MemoryForestClassifier(TableClassifier):
    """A forest whose leaves may share responses, and that absorbs new rows without a training step.

    Parameters
    ----------
    n_estimators, max_depth : trees, and their depth, 12 at most.
    n_slots : responses that all leaves share; by default each leaf has its own.
    n_read : of shared responses, how many a leaf reads in training; all by default.
    max_iter : passes over the rows.
    batch_size : rows a step.
    learning_rate : of Adam at the start.
    temperature : of gates and shared responses, from and to.
    random_state : seed.
    device : "cpu", "cuda" or "auto".
    verbose : print progress if positive.

    Attributes
    ----------
    forest_ : the exact `Forest`, which can be exported.
    memory_ : the trained `MemoryForest`; `memory_.save(path)` keeps what later writing needs.
    gap_ : after `fit`, the gap on the rows of the fit; None after rows were written.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2)); y = np.where(X[:, 0] > X[:, 1], "over", "under")
    >>> model = MemoryForestClassifier(8, 3, random_state=0).fit(X[:100], y[:100])
    >>> model.partial_fit(X[100:], y[100:]).score(X, y) > 0.9
    True

    Source: see `ResponseMemory`.
    """

    artifact_attribute = "forest_"
    forest_: Forest
    gap_: GapReport | None

    def __init__(
        self,
        n_estimators: int = 32,
        max_depth: int = 5,
        *,
        n_slots: int | None = None,
        n_read: int | None = None,
        max_iter: int = 40,
        batch_size: int = 32,
        learning_rate: float = 0.02,
        temperature: tuple[float, float] = (1.0, 0.125),
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_depth = max_depth
        self.n_slots = n_slots
        self.n_read = n_read
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train routes and responses by gradients.

        Parameters
        ----------
        X : (rows, columns), an array or a data frame; may have missing values.
        y : (rows,), labels of at least two classes.
        sample_weight : (rows,), not negative.

        Raises
        ------
        DataError : one class only, weights that are negative or all 0.
        ParameterError : a parameter outside its range.
        """
        X, y = self._check_input(X, y)
        self._class_numbers(y)
        return self._train(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train on the rows of the first call; write those of later calls into the memory, as exact running means of their labels.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`.
        classes : in the first call all labels that will ever come; by default those in y.

        Raises
        ------
        DataError, ParameterError : as for `fit`; a label that was not announced.
        """
        if not hasattr(self, "memory_"):
            X, y = self._check_input(X, y)
            self._class_numbers(y if classes is None else np.union1d(y, column_or_1d(classes)))
            return self._train(X, y, sample_weight)
        encoded, y = self._read(X), column_or_1d(y, warn=True)
        check_consistent_length(encoded, y)
        self.memory_.partial_fit(X if self._table_fit else encoded, y, self._weights(sample_weight, len(y)))
        self.forest_, self.gap_ = self.memory_.harden(), None
        return self

    def _train(self, X: Any, y: NDArray[Any], sample_weight: Any) -> Self:
        self._check_parameters()
        weight = self._weights(sample_weight, len(y))
        seed, labels = self._seed_of_fit(), np.searchsorted(self.classes_, y)
        schema, encoded = self._encode_training(
            X, labels, weight, task="classification", n_classes=len(self.classes_), seed=seed
        )
        frame = Frame(
            schema, FeatureCodes.fit(encoded, weight), "softmax", "classification", self._class_labels()
        )
        used = encoded[weight > 0]
        forest: MemoryForest = new_memory_forest(
            frame, used, n_trees=int(self.n_estimators), depth=int(self.max_depth), n_slots=self.n_slots, n_read=self.n_read, seed=seed
        )  # fmt: skip
        rows = X if self._table_fit else encoded
        with listen(self._print_event):
            forest.fit(
                rows, y, weight, epochs=int(self.max_iter), batch_size=int(self.batch_size), learning_rate=self.learning_rate,
                temperature=self.temperature, random_state=seed, device=self.device,
            )  # fmt: skip
        self.memory_, self.n_iter_ = forest, int(self.max_iter)
        self.forest_ = forest.harden()
        self.gap_ = forest.measure_gap(rows, y)
        return self

    def _check_parameters(self) -> None:
        for name in ("n_estimators", "max_depth", "max_iter", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ParameterError(f"{name} got {value!r}; expected a whole number of at least 1.")
        if not self.learning_rate > 0:
            raise ParameterError(f"learning_rate got {self.learning_rate!r}; expected a positive number.")
