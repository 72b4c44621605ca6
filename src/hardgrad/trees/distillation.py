"""DistilledTreeClassifier: any fitted classifier as one readable tree, trained soft and shipped as an exact `Forest`."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.tabular.table_estimator import TableClassifier, is_table
from hardgrad.train.progress import listen
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.soft_tree import train_soft_tree
from hardgrad.trees.soft_tree_exact import (
    TreeExplanation,
    axis_aligned_tree,
    exact_tree,
    explain_row,
    plot_filters,
)

Floats = NDArray[np.float64]
MIXED_COPIES = 3
LEAST = 1e-12


class DistilledTreeClassifier(TableClassifier):
    """One tree that imitates a fitted classifier, or learns from labels: a direction a node, class shares a leaf.

    Parameters
    ----------
    teacher : fitted classifier with `predict_proba` or `decision_function`; it is never fitted again. None learns from y alone.
    max_depth : of the tree.
    penalty, penalty_decay : of nodes that send nearly all rows one way, at the root, and its factor from one level to the next.
    temperature_teacher : by which the teacher's logits are divided; larger is softer.
    mix : weight of the true labels in the targets, where there are labels.
    transfer_rows : "mixup" adds three blends of two rows a row, labelled by the teacher; None adds nothing; "auto" blends where there is a
        teacher and X is an array of numbers.
    inference : "greedy" (the exact tree that is shipped), "max_path" (the leaf of largest path probability) or "mean" (all leaves).
    loss : "path" or "mixture" (see `hardgrad.trees.soft_tree.train_soft_tree`).
    temperature : of the gates at the end of training, from 1; small is hard.
    max_iter : passes over the rows; batch_size, learning_rate : of Adam.
    random_state : seed. device : "cpu", "cuda" or "auto". verbose : print progress if positive.

    Attributes
    ----------
    forest_ : the exact tree, a `Forest` with linear nodes.
    soft_ : the `SoftTree`, of standardised features.
    gap_ : log-loss against the labels (or the teacher's answers) of all soft leaves and of the exact tree, on the training rows;
        accuracies and the agreement with the teacher in its detail.
    effective_leaves_ : exponential of the entropy of how rows spread over the leaves.
    n_iter_ : passes over the rows.
    classes_, schema_, typing_ : as for the other classifiers.

    Raises
    ------
    DataError : missing values, labels that the teacher does not know, or neither labels nor teacher.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> teacher = LogisticRegression(max_iter=500).fit(X, y)
    >>> tree = DistilledTreeClassifier(teacher, max_depth=2, random_state=0).fit(X)
    >>> bool((tree.predict(X) == teacher.predict(X)).mean() > 0.9)
    True

    Notes
    -----
    Source: Frosst and Hinton, 2017, Distilling a Neural Network Into a Soft Decision Tree.
    """

    accepts_missing = False
    artifact_attribute = "forest_"

    def __init__(
        self,
        teacher: Any = None,
        max_depth: int = 8,
        *,
        penalty: float = 0.1,
        penalty_decay: float = 0.5,
        temperature_teacher: float = 2.0,
        mix: float = 0.5,
        transfer_rows: str | None = "auto",
        inference: str = "greedy",
        loss: str = "path",
        temperature: float = 0.125,
        max_iter: int = 40,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.teacher = teacher
        self.max_depth = max_depth
        self.penalty = penalty
        self.penalty_decay = penalty_decay
        self.temperature_teacher = temperature_teacher
        self.mix = mix
        self.transfer_rows = transfer_rows
        self.inference = inference
        self.loss = loss
        self.temperature = temperature
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, unlabelled: Any = None) -> Self:
        """Train the soft tree and harden it.

        Parameters
        ----------
        X : array [n, features] or any data frame; no missing values.
        y : labels [n]; may be left out where there is a teacher.
        sample_weight : [n], not negative.
        unlabelled : further rows like X, which the teacher labels.
        """
        self._check_parameters()
        if y is None and self.teacher is None:
            raise DataError(
                "DistilledTreeClassifier requires y to be passed, but the target y is None, and there is no teacher to label the rows."
            )
        if unlabelled is not None and self.teacher is None:
            raise DataError("unlabelled rows need a teacher; got teacher=None.")
        logits = self._teacher_logits(X) if y is None else None
        given = y if logits is None else np.asarray(self.teacher.classes_)[logits.argmax(1)]
        X, labels = self._check_input(X, given)
        if self.teacher is not None and logits is None:
            logits = self._teacher_logits(X)
        numbers = self._labels(labels, y is not None)
        weight = self._weights(sample_weight, len(numbers))
        seed = self._seed_of_fit()
        K = len(self.classes_)
        _, encoded = self._encode_training(X, numbers, weight, task="classification", n_classes=K, seed=seed)
        rows, targets, weights = self._transfer_set(
            X, encoded, logits, numbers if y is not None else None, weight, unlabelled, seed
        )
        with listen(self._print_event):
            self._train(rows, targets, weights, seed)
        self._measure(encoded, logits, numbers, weight)
        self.n_iter_ = self.max_iter
        return self

    def _check_parameters(self) -> None:
        expected = {
            "max_depth": (1 <= self.max_depth <= 12, "1 to 12"),
            "penalty": (self.penalty >= 0, "0 or more"),
            "penalty_decay": (0 < self.penalty_decay <= 1, "a share, above 0"),
            "temperature_teacher": (self.temperature_teacher > 0, "a positive number"),
            "mix": (0 <= self.mix <= 1, "a share from 0 to 1"),
            "transfer_rows": (self.transfer_rows in ("auto", "mixup", None), "'auto', 'mixup' or None"),
            "inference": (self.inference in ("greedy", "max_path", "mean"), "'greedy', 'max_path' or 'mean'"),
            "loss": (self.loss in ("path", "mixture"), "'path' or 'mixture'"),
            "temperature": (self.temperature > 0, "a positive number"),
            "max_iter": (self.max_iter >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "a positive number"),
        }
        for name, (good, what) in expected.items():
            if not good:
                raise ParameterError(
                    f"DistilledTreeClassifier got {name}={getattr(self, name)!r}; expected {what}."
                )
        if self.teacher is not None:
            if not hasattr(self.teacher, "predict_proba") and not hasattr(self.teacher, "decision_function"):
                raise ParameterError(
                    f"DistilledTreeClassifier got teacher={type(self.teacher).__name__}; expected a fitted classifier with predict_proba "
                    "or decision_function."
                )
            check_is_fitted(self.teacher)

    # --- targets ---------------------------------------------------------------------------------------------------------------
    def _labels(self, labels: NDArray[Any], true: bool) -> NDArray[np.int64]:
        """Positions of the labels among the classes; with a teacher the classes are the teacher's."""
        if self.teacher is None:
            return self._class_numbers(labels)
        self.classes_ = np.asarray(self.teacher.classes_)
        position = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        strange = np.flatnonzero(self.classes_[position] != labels)
        if true and len(strange):
            raise DataError(
                f"y holds {labels[strange[0]]!r}, which the teacher does not know; its classes are {self.classes_.tolist()}."
            )
        return position.astype(np.int64)

    def _teacher_logits(self, X: Any) -> Floats:
        if hasattr(self.teacher, "predict_proba"):
            return np.log(np.maximum(np.asarray(self.teacher.predict_proba(X), dtype=np.float64), LEAST))
        scores = np.asarray(self.teacher.decision_function(X), dtype=np.float64)
        return np.stack([np.zeros_like(scores), scores], axis=1) if scores.ndim == 1 else scores

    def _softened(self, logits: Floats) -> Floats:
        """The teacher's class shares, at the temperature that was asked for."""
        scaled = logits / self.temperature_teacher
        shares = np.exp(scaled - scaled.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))

    def _transfer_set(
        self,
        X: Any,
        encoded: Floats,
        logits: Floats | None,
        numbers: NDArray[np.int64] | None,
        weight: Floats,
        unlabelled: Any,
        seed: int,
    ) -> tuple[Floats, Floats, Floats]:
        """Rows to train on with their target distributions and weights; `logits` are the teacher's for the rows of X."""
        if logits is None:
            assert numbers is not None
            used = weight > 0
            return encoded[used], np.eye(len(self.classes_))[numbers[used]], weight[used]
        targets = self._softened(logits)
        if numbers is not None:
            targets = self.mix * np.eye(len(self.classes_))[numbers] + (1 - self.mix) * targets
        parts = [(encoded, targets, weight)]
        if unlabelled is not None:
            shares = self._softened(self._teacher_logits(unlabelled))
            parts.append((self._read(unlabelled), shares, np.ones(len(unlabelled))))
        blends = self.transfer_rows == "mixup" or (self.transfer_rows == "auto" and not is_table(X))
        if blends:
            if self._table_fit:
                raise DataError(
                    "transfer_rows='mixup' blends numbers; this table has columns of other kinds. Use 'auto' or None."
                )
            pool = np.concatenate([part[0] for part in parts])
            rng = np.random.default_rng(seed)
            first, second = rng.integers(len(pool), size=(2, MIXED_COPIES * len(pool)))
            share = rng.random((len(first), 1))
            mixed = share * pool[first] + (1 - share) * pool[second]
            every = np.concatenate([part[2] for part in parts])
            blended = self._softened(self._teacher_logits(mixed))
            parts.append((mixed, blended, np.sqrt(every[first] * every[second])))
        rows, shares, weights = (np.concatenate(same) for same in zip(*parts, strict=True))
        used = weights > 0
        return rows[used], shares[used], weights[used]

    # --- training --------------------------------------------------------------------------------------------------------------
    def _train(self, rows: Floats, targets: Floats, weights: Floats, seed: int) -> None:
        self.mean_ = np.average(rows, axis=0, weights=weights)
        spread = np.sqrt(np.average((rows - self.mean_) ** 2, axis=0, weights=weights))
        self.scale_ = np.where(spread > 0, spread, 1.0)
        self.soft_ = train_soft_tree(
            (rows - self.mean_) / self.scale_, targets, weights, depth=self.max_depth, loss=self.loss,  # type: ignore[arg-type]
            penalty=self.penalty, penalty_decay=self.penalty_decay, epochs=self.max_iter, batch_size=self.batch_size,
            learning_rate=self.learning_rate, temperature=self.temperature, random_state=seed, device=self.device,
        )  # fmt: skip
        self.forest_ = self._as_forest(exact_tree(self.soft_, self.mean_, self.scale_))

    def _as_forest(self, tree: dict[str, Any]) -> Forest:
        return forest_from_trees(
            [tree],
            self.schema_,
            n_outputs=len(self.classes_),
            link="identity",
            task="classification",
            classes=self._class_labels(),
        )

    def _standard(self, encoded: Floats) -> torch.Tensor:
        return torch.from_numpy((encoded - self.mean_) / self.scale_).float()

    def _soft_shares(self, encoded: Floats, how: Literal["mean", "max_path"]) -> Floats:
        with torch.no_grad():
            parts = [self.soft_.predict_shares(part, how) for part in self._standard(encoded).split(4096)]
        return torch.cat(parts).double().numpy() if parts else np.empty((0, len(self.classes_)))

    def _measure(
        self, encoded: Floats, logits: Floats | None, numbers: NDArray[np.int64], weight: Floats
    ) -> None:
        soft, path = self._soft_shares(encoded, "mean"), self._soft_shares(encoded, "max_path")
        hard = self.forest_.predict_raw_encoded(encoded)
        place = np.arange(len(numbers))
        losses = [
            float(np.average(-np.log(np.maximum(p[place, numbers], LEAST)), weights=weight))
            for p in (soft, hard)
        ]
        right = {name: float(np.average(p.argmax(1) == numbers, weights=weight)) for name, p in
                 (("mean_accuracy", soft), ("max_path_accuracy", path), ("greedy_accuracy", hard))}  # fmt: skip
        if logits is not None:
            right["teacher_agreement"] = float((logits.argmax(1) == hard.argmax(1)).mean())
        self.gap_ = GapReport(
            "log_loss", soft=losses[0], hard=losses[1], agreement=float((soft.argmax(1) == hard.argmax(1)).mean()),
            worst_disagreement=float(np.abs(soft - hard).max()), rows=len(numbers), detail=right,
        )  # fmt: skip
        with torch.no_grad():
            reach = self.soft_.reach(self._standard(encoded)).double().numpy()
        share = np.average(reach, axis=0, weights=weight)
        self.effective_leaves_ = float(np.exp(-(share * np.log(np.maximum(share, LEAST))).sum()))

    # --- answers ---------------------------------------------------------------------------------------------------------------
    def predict_proba(self, X: Any) -> Floats:
        """Return class probabilities [n, classes], by `inference`."""
        check_is_fitted(self)
        if self.inference == "greedy":
            return super().predict_proba(X)
        return self._soft_shares(self._read(X), "mean" if self.inference == "mean" else "max_path")

    def predict(self, X: Any) -> NDArray[Any]:
        """Return class labels [n], by `inference`."""
        best = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[best])

    def harden(self, *, axis_aligned: bool = False, X: Any = None) -> Forest:
        """Return the exact tree.

        Parameters
        ----------
        axis_aligned : replace the direction of each node by the single feature and threshold that send most of its rows the same way; each
            row of X counts by the probability of reaching the node.
        X : rows like those of `fit`, needed then.
        """
        check_is_fitted(self)
        if not axis_aligned:
            forest: Forest = self.forest_
            return forest
        if X is None:
            raise ParameterError(
                "harden(axis_aligned=True) needs rows X that stand for what the tree will see; got None."
            )
        encoded = self._read(X)
        return self._as_forest(axis_aligned_tree(self.soft_, self._standard(encoded), encoded))

    def explain(self, x: Any) -> TreeExplanation:
        """Return the path of one row through the exact tree, with what each feature contributed at each node.

        Parameters
        ----------
        x : one row, [features] or [1, features], or a data frame of one row.
        """
        check_is_fitted(self)
        encoded = self._read(
            np.asarray(x, dtype=np.float64)[None] if not is_table(x) and np.ndim(x) == 1 else x
        )
        if len(encoded) != 1:
            raise DataError(f"explain() got {len(encoded)} rows; expected one.")
        return explain_row(self.forest_, encoded[0])

    def plot_tree(self, image_shape: tuple[int, int] | None = None, *, levels: int = 4) -> Any:
        """Draw the filters of the first levels, as images where the features are pixels, and return the matplotlib figure.

        Parameters
        ----------
        image_shape : rows and columns of an image; bars without it.
        levels : how deep to draw.
        """
        check_is_fitted(self)
        return plot_filters(self.soft_, image_shape, min(levels, self.max_depth))
