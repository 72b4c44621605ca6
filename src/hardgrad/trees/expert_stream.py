"""StreamingExpertClassifier: experts that learn classes one after the other in a single pass, without keeping past rows.

Each row trains the few experts whose keys are nearest, and of those only the row of weights of its own class: what was learned of other
classes stays as it is. The hard face, and the votes, are in `routed_experts`.
"""

from __future__ import annotations

import math
import os
import warnings
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from hardgrad.core.artifact import load as load_artifact
from hardgrad.core.errors import DataError, HardgradWarning, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.column_typing import Typing
from hardgrad.tabular.table_estimator import TableClassifier
from hardgrad.train.progress import emit, listen
from hardgrad.trees.expert_training import Experts, StepPlan, soft_shares
from hardgrad.trees.expert_votes import Array, cosines, nearest, vote_weights, votes
from hardgrad.trees.routed_experts import RoutedExperts, StreamState

KEY_DIM = 512


class StreamingExpertClassifier(TableClassifier):
    """A classifier for streams: one pass, new classes at any time, nothing of the past is stored.

    Parameters
    ----------
    n_experts : linear experts, each with a random key.
    n_neighbours : experts that learn from a row and vote on it, those with the nearest keys; `n_experts` is no routing at all.
    key_dim : size of the random features tanh(W x + b) that keys and experts see; 512 by default, and with an encoder none: then they see
        what it returns. One scale for all columns is taken from the rows of the first call, so columns should have comparable scales.
    tanh_scale : bound of an expert's vote.
    learning_rate : how far a weight moves in a step, in the direction of the sign of its gradient.
    weight_decay : share of a weight that a step takes away where it moves it, times the learning rate.
    temperature : of the soft choice of experts in training (see `hardgrad.functional.topk_weights`).
    trainable_keys : move the keys towards the rows that choose them (Adam, learning rate 5e-5); else they stay as they were drawn.
    encoder : fitted transformer (an object with `transform`) that rows go through first. It is not part of the artifact, which then takes
        what the encoder returns. Where scikit-learn clones the classifier, wrap the encoder in `sklearn.frozen.FrozenEstimator`: a clone
        of a bare one is not fitted.
    decoupled_decay : False adds the decay, as the published code does, so that weights grow.
    batch_size : rows a step.
    random_state : seed of the keys, the random features and the first weights.
    verbose : print progress if positive.

    Attributes
    ----------
    classes_ : the labels seen or announced so far, sorted.
    experts_ : the arrays in training.
    expert_usage_ : float64 [n_experts], the share of the rows so far that each expert learned from.
    artifact_ : `RoutedExperts`, the exact model with the state of the stream.
    gap_ : after `fit`, the gap on the rows of the fit; None after `partial_fit` (see `measure_gap`).

    Notes
    -----
    `predict_proba` is the softmax of the votes; it is not calibrated, and nearly always near 0 or 1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = StreamingExpertClassifier(16, 4, random_state=0)
    >>> for label, centre in (("a", (3, 0)), ("b", (0, 3)), ("c", (-3, -3))):
    ...     model = model.partial_fit(rng.normal(centre, size=(50, 2)), [label] * 50)
    >>> model.predict([[3, 0], [0, 3], [-3, -3]]).tolist()
    ['a', 'b', 'c']

    Source: Wojcik et al., 2023, Domain-Agnostic Neural Architecture for Class Incremental
    Continual Learning in Document Processing Platform.
    """

    accepts_missing: ClassVar[bool] = False
    gap_: GapReport | None

    def __init__(
        self,
        n_experts: int = 128,
        n_neighbours: int = 8,
        *,
        key_dim: int | None = None,
        tanh_scale: float = 250.0,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-4,
        temperature: float = 0.05,
        trainable_keys: bool = False,
        encoder: Any = None,
        decoupled_decay: bool = True,
        batch_size: int = 10,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_experts = n_experts
        self.n_neighbours = n_neighbours
        self.key_dim = key_dim
        self.tanh_scale = tanh_scale
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.temperature = temperature
        self.trainable_keys = trainable_keys
        self.encoder = encoder
        self.decoupled_decay = decoupled_decay
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    # --- learning ------------------------------------------------------------------------------------------------------------
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from the rows in their order, in one pass, from scratch.

        Parameters
        ----------
        X : (rows, columns), an array or a data frame; whatever `encoder` takes, where there is one.
        y : (rows,), labels of at least two classes.
        sample_weight : (rows,); weight 0 leaves a row out.

        Raises
        ------
        DataError : one class only, a missing value, weights that are negative or all 0.
        ParameterError : a parameter outside its range.
        """
        self._check_parameters()
        X, y = self._check_input(self._through_encoder(X), y)
        y = _plain_labels(y)
        index = self._class_numbers(y)
        weight = self._weights(sample_weight, len(y))
        labels = self.classes_
        encoded = self._start(X, index, weight)
        self._add_classes(labels)
        try:
            self._learn(encoded, y, weight)
        except KeyboardInterrupt:
            warnings.warn(
                f"StreamingExpertClassifier was interrupted after {self.experts_.rows:,} of {len(y):,} rows; the model is what these "
                "taught it.",
                HardgradWarning,
                stacklevel=2,
            )
        self.gap_ = self._gap_of(encoded, y, weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from further rows, in their order.

        Parameters
        ----------
        X, sample_weight : as for `fit`. Columns and their encoding are those of the first call, and so is what rows are centred by.
        y : (rows,), labels; ones that were never seen become new classes.
        classes : labels to announce, seen or not; may be left out in every call.

        Raises
        ------
        DataError, ParameterError : as for `fit`; labels of another kind than before.
        """
        first = not hasattr(self, "experts_")
        X = self._through_encoder(X)
        if first:
            self._check_parameters()
            X, y = self._check_input(X, y)
        else:
            y = column_or_1d(y, warn=True)
        y = _plain_labels(y)
        check_classification_targets(y)
        weight = self._weights(sample_weight, len(y))
        labels = np.unique(y)
        if classes is not None:
            announced = _plain_labels(column_or_1d(classes))
            _check_kind(labels, announced)
            labels = np.union1d(labels, announced)
        if first:
            encoded = self._start(X, np.searchsorted(labels, y), weight)
        else:
            encoded = self._read(X)
            check_consistent_length(encoded, y)
        self._add_classes(labels)
        self._learn(encoded, y, weight)
        self.gap_ = None
        return self

    def _through_encoder(self, X: Any) -> Any:
        if self.encoder is None:
            return X
        encoded = self.encoder.transform(X)
        return encoded.toarray() if hasattr(encoded, "toarray") else encoded  # of words it is mostly zeros

    def _start(self, X: Any, labels: NDArray[Any], weight: Array) -> Array:
        """Encode the rows of the first call, draw the experts, and return the rows."""
        seed = self._seed_of_fit()
        _, encoded = self._encode_training(
            X, labels, weight, task="classification", n_classes=int(labels.max()) + 1, seed=seed
        )
        key_dim = KEY_DIM if self.key_dim is None and self.encoder is None else self.key_dim
        self.experts_ = Experts.draw(
            seed, self.n_experts, encoded, weight, key_dim=key_dim, trainable_keys=self.trainable_keys
        )
        return encoded

    def _add_classes(self, labels: NDArray[Any]) -> None:
        """Grow by the labels that are new, in sorted order."""
        known = self.classes_ if self.experts_.weight.shape[1] else labels[:0]
        _check_kind(labels, known)
        new = np.setdiff1d(labels, known)
        if len(new):
            self.experts_.insert_classes(new.tolist(), np.searchsorted(known, new))
        self.classes_ = np.union1d(known, new)

    def _learn(self, encoded: Array, y: NDArray[Any], weight: Array) -> None:
        """Take one step for each batch of rows that have a weight."""
        used = np.flatnonzero(weight > 0)
        z, weight = self.experts_.represent(encoded[used]), weight[used]
        labels = np.searchsorted(self.classes_, y[used])
        decay = self.weight_decay if self.decoupled_decay else -self.weight_decay
        plan = StepPlan(
            self.n_neighbours,
            self.tanh_scale,
            self.learning_rate,
            decay,
            self.temperature,
            self.trainable_keys,
        )
        with listen(self._print_event):
            for begin in range(0, len(z), self.batch_size):
                batch = slice(begin, begin + self.batch_size)
                self.experts_.step(z[batch], labels[batch], weight[batch], plan)
                done = min(begin + self.batch_size, len(z))
                emit("stream", done / len(z), message=f"{len(self.classes_)} classes")

    @property
    def expert_usage_(self) -> Array:
        """The share of the rows so far that each expert learned from, float64 [n_experts]."""
        if not hasattr(self, "experts_"):
            raise AttributeError("expert_usage_ is there once the classifier has been fitted")
        return np.asarray(self.experts_.usage / max(self.experts_.rows, 1))

    # --- the hard face -------------------------------------------------------------------------------------------------------
    @property
    def artifact_(self) -> RoutedExperts:
        """The exact model with the state of the stream, made when it is first asked for."""
        if not hasattr(self, "experts_"):
            raise AttributeError("artifact_ is there once the classifier has been fitted")
        cache = self.experts_.cache  # of the experts: prediction must leave the attributes as they are
        if "model" not in cache:
            cache["model"] = self._make_artifact()
        return cast(RoutedExperts, cache["model"])

    def _make_artifact(self) -> RoutedExperts:
        experts, largest = self.experts_, np.iinfo(np.int32).max
        state = StreamState(
            experts.seed, float(self.temperature), float(self.weight_decay), bool(self.decoupled_decay), bool(self.trainable_keys),
            int(self.batch_size), experts.rows, experts.key_steps,
        )  # fmt: skip
        count = np.clip(np.rint(experts.weight / self.learning_rate), -largest, largest).astype(np.int32)
        return RoutedExperts(
            schema=self.schema_, projection=experts.projection, offset=experts.offset, shift=experts.shift, key=experts.key,
            count=count, n_neighbours=int(self.n_neighbours), step=float(self.learning_rate), cap=float(self.tanh_scale),
            weight=experts.weight, usage=experts.usage, moments=experts.moments, classes=self._class_labels(), state=state,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> Any:
        """Write the exact model with the state of the stream to one file and return its path (see `load`)."""
        return self.harden().save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, encoder: Any = None) -> Self:
        """Return the classifier that was saved: further rows teach it, bit for bit, what they would have taught the one that was saved.

        Parameters
        ----------
        path : a file written by `save`.
        encoder : the same as before, where there was one.

        Raises
        ------
        DataError : the file holds another kind of model, or one without the state of a stream.
        ArtifactError : the file is missing or damaged.
        """
        found = load_artifact(path)
        if not isinstance(found, RoutedExperts) or found.state is None:
            raise DataError(
                f"{path} holds {found.kind!r} without the state of a stream. Expected a file written by "
                "StreamingExpertClassifier.save(); hardgrad.load(path) reads a model to predict with."
            )
        return cls._resume(found, found.state, encoder)

    @classmethod
    def _resume(cls, model: RoutedExperts, state: StreamState, encoder: Any) -> Self:
        new = cls(
            model.n_experts, model.n_neighbours, key_dim=len(model.offset) or None, tanh_scale=model.cap,
            learning_rate=model.step, weight_decay=state.weight_decay, temperature=state.temperature,
            trainable_keys=state.trainable_keys, encoder=encoder, decoupled_decay=state.decoupled_decay,
            batch_size=state.batch_size, random_state=state.seed,
        )  # fmt: skip
        new.schema_, new.typing_ = model.schema, Typing(model.schema.columns)
        new._table_fit, new.n_features_in_ = not model.schema.is_matrix, len(model.schema.columns)
        if model.schema.names != tuple(f"x{i}" for i in range(new.n_features_in_)):
            new._remember_names(list(model.schema.names))
        new.experts_ = Experts(
            state.seed, model.projection, model.offset, model.shift, model.key.copy(), model.weight.copy(), model.moments.copy(),
            model.usage.copy(), state.rows, state.key_steps,
        )  # fmt: skip
        new.classes_, new.gap_ = model.class_array, None
        return new

    def _hard_raw(self, X: Any) -> Array:
        return super()._hard_raw(self._through_encoder(X))

    def measure_gap(self, X: Any, y: Any, sample_weight: Any = None) -> GapReport:
        """Return what hardening costs in accuracy on given rows: the soft choice of experts against the exact model.

        `detail` holds `exact_choice`, the accuracy of the k nearest experts before their weights are rounded, and the largest and the mean
        difference between soft and exact shares, `worst_share` and `mean_share`.
        """
        check_is_fitted(self)
        encoded = self._read(self._through_encoder(X))
        y = column_or_1d(y)
        check_consistent_length(encoded, y)
        return self._gap_of(encoded, y, self._weights(sample_weight, len(y)))

    def _gap_of(self, encoded: Array, y: NDArray[Any], weight: Array) -> GapReport:
        experts = self.experts_
        z = experts.represent(encoded)
        cosine = cosines(z, experts.key)
        exact = nearest(cosine, self.n_neighbours)
        soft = soft_shares(cosine, self.n_neighbours, self.temperature)

        def label(share: Array) -> NDArray[np.int64]:
            said = votes(z, vote_weights(share, cosine), experts.weight, 1.0, self.tanh_scale)
            return np.asarray(said.argmax(axis=1))

        def accuracy(index: NDArray[np.int64]) -> float:
            return float(np.average(self.classes_[index] == y, weights=weight))

        model = self.artifact_
        by_soft, by_hard = label(soft), model.raw_to_class_index(model.predict_raw_encoded(encoded))
        apart = np.abs(soft - exact)
        return GapReport(
            "accuracy", soft=accuracy(by_soft), hard=accuracy(by_hard), rows=len(y), higher_is_better=True,
            agreement=float(np.average(by_soft == by_hard, weights=weight)), worst_disagreement=float(apart.max()),
            detail={"exact_choice": accuracy(label(exact)), "worst_share": float(apart.max()), "mean_share": float(apart.mean())},
        )  # fmt: skip

    def _check_parameters(self) -> None:
        whole = {"n_experts": 1, "n_neighbours": 1, "batch_size": 1} | (
            {} if self.key_dim is None else {"key_dim": 1}
        )
        for name, least in whole.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ParameterError(f"{name} got {value!r}; expected a whole number of at least {least}.")
        if self.n_neighbours > self.n_experts:
            raise ParameterError(
                f"n_neighbours got {self.n_neighbours}; expected at most the {self.n_experts} experts that there are."
            )
        for name in ("tanh_scale", "learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ParameterError(f"{name} got {getattr(self, name)!r}; expected a positive number.")
        if not 0 <= self.weight_decay < math.inf:
            raise ParameterError(f"weight_decay got {self.weight_decay!r}; expected a number of at least 0.")
        if self.encoder is not None and not hasattr(self.encoder, "transform"):
            raise ParameterError(
                f"encoder got {self.encoder!r}; expected a fitted object with transform(X), or None."
            )


def _plain_labels(y: NDArray[Any]) -> NDArray[Any]:
    """Return labels in a dtype of their own: data frames hand texts over as objects, which a saved model does not know."""
    if y.dtype != object:
        return y
    plain = np.array(y.tolist())
    if plain.dtype.kind == "U" and not all(isinstance(label, str) for label in y):
        raise DataError(f"y holds labels of several types: {y[:5].tolist()}. Give labels of one kind.")
    return plain


def _check_kind(labels: NDArray[Any], known: NDArray[Any]) -> None:
    if labels.dtype.kind != known.dtype.kind:
        raise DataError(
            f"y holds labels of {labels.dtype}, the classes are of {known.dtype}: {known.tolist()[:5]}. Give labels of one kind."
        )
