"""NeighbourhoodClassifier and NeighbourhoodRegressor: nearest neighbours in a space that is learned so that neighbours answer alike.

What they share is `neighbour_estimator`; the soft side is `neighbour_network`, its training `neighbour_training` and `neighbour_fit`, the
exact model `neighbour_model`.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from hardgrad.core.errors import DataError
from hardgrad.tabular.neighbour_estimator import Floats, NeighbourhoodBase
from hardgrad.tabular.neighbour_fit import Answers
from hardgrad.tabular.table_estimator import TableClassifier, TableRegressor


class NeighbourhoodClassifier(TableClassifier, NeighbourhoodBase):
    """Classify by the votes of the nearest training rows, in a space learned for it; every prediction names the rows it comes from.

    Numbers are standardised, a category has an indicator (a column of more than 32 categories has codes instead), a missing number counts
    as the mean beside an indicator. An encoder maps rows to a space in which every row votes on every other with weight exp(-distance /
    temperature); it is trained so that these votes are right. `predict` is the exact model: only the k nearest vote.

    Parameters
    ----------
    dim : dimensions of the learned space.
    class_prior_correction : divide votes by the share of their class, so that a rare class is not outvoted by mere number. The
        probabilities are then those of equally frequent classes.
    n_blocks : blocks behind the first, linear layer: batch normalisation, a hidden layer of `d_block` rectified units, dropout, a layer
        back to `dim`. 0 keeps the encoder linear, which is best below a thousand rows or so.
    d_block, dropout : of the blocks.
    embedding : of single numbers, before the first layer: None; "periodic", cosines and sines of learned frequencies; "piecewise", the
        share of each of 16 bins that lies below the number.
    encoder : "given", as described by the other parameters; or "auto", which also trains the other kind (linear, or the given embedding,
        periodic by default, with at least one block) and keeps what is better on held-out rows. `candidates_` tells of both.
    temperature : of the votes, in the units of the distance.
    sample_rate : share of the rows outside a batch that vote on it in one step.
    max_candidates : most of them.
    learning_rate, weight_decay, batch_size : of AdamW.
    joint_normalisation : let a batch and its candidates pass the batch normalisations of blocks together; False is the authors' own way,
        in which each is normalised by itself.
    max_iter : passes over the training rows.
    n_iter_no_change : passes without a better loss of the EXACT model on the held-out rows before training stops.
    validation_fraction : share of the rows that are held out to stop, to choose k and to measure the gap; they vote in the final model.
        Below 20 rows nothing is held out: each row is judged by the others.
    random_state : seed; the same seed on one thread gives the same bits.
    n_jobs : encoders trained at a time, under `encoder="auto"`; -1 is one a core.
    device : "cpu", "cuda" or "auto".
    verbose : print progress if positive.

    Attributes
    ----------
    artifact_ : the exact `Neighbourhood`.
    soft_ : the trained `SoftNeighbourhood`, a torch module.
    rows_ : int64, numbers of the training rows that are remembered: those of positive weight.
    gap_ : `GapReport` on the held-out rows, which do not vote there; None where none were held out.
    candidates_ : encoders tried, with the loss of each exact model on the held-out rows (of a standardised target) and its k.
    n_iter_ : passes after which the model was best.
    metric_ : "log_loss" or "rmse".
    interrupted_ : whether Ctrl-C ended training; then the model is the best until then.
    history_ : list of progress events.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NeighbourhoodClassifier(dim=16, max_iter=20, random_state=0).fit(X, y)
    >>> rows, shares = model.explain(X[:1])
    >>> int(rows[0, 0]), round(float(shares.sum()), 6)
    (0, 1.0)

    Source: Ye, Yin, Zhan and Chao, 2025, Revisiting Nearest Neighbor for Tabular Data: A Deep Tabular Baseline Two Decades Later.
    """

    def __init__(
        self,
        dim: int = 128,
        *,
        class_prior_correction: bool = False,
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
        super().__init__(
            dim, n_blocks=n_blocks, d_block=d_block, dropout=dropout, embedding=embedding, encoder=encoder, temperature=temperature,
            sample_rate=sample_rate, max_candidates=max_candidates, learning_rate=learning_rate, weight_decay=weight_decay,
            joint_normalisation=joint_normalisation, batch_size=batch_size, max_iter=max_iter, n_iter_no_change=n_iter_no_change,
            validation_fraction=validation_fraction, random_state=random_state, n_jobs=n_jobs, device=device, verbose=verbose,
        )  # fmt: skip
        self.class_prior_correction = class_prior_correction

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : numbers [n, features], NaN where missing, or a data frame of numbers, booleans, dates and categories.
        y : labels [n] of at least two classes.
        sample_weight : [n], of a row's loss and of its vote; rows of weight 0 are left out.

        Raises
        ------
        DataError : one class only, fewer than two rows, infinite numbers, weights that do not fit.
        ParameterError : a parameter outside its range.
        """
        seed = self._begin_fit()
        X, y = self._check_input(X, y)
        index = self._class_numbers(y)
        weight = self._weights(sample_weight, len(index))
        schema, encoded = self._encode_training(
            X, index, weight, task="classification", n_classes=len(self.classes_), seed=seed
        )
        self.rows_ = np.flatnonzero(weight > 0)
        Y = np.eye(len(self.classes_))[index[self.rows_]]
        weight = weight[self.rows_]
        votes = weight.copy()
        if self.class_prior_correction:
            share = weight @ Y / weight.sum()
            votes /= (Y @ share) * (share > 0).sum()
        answers = Answers(self._class_labels(), np.zeros(1), np.ones(1))
        return self._learn(schema, encoded[self.rows_], Y, weight, votes, answers, seed)

    def predict_proba_soft(self, X: Any) -> Floats:
        """Return the class probabilities [n, classes] of the soft model, in which all training rows vote."""
        return self._soft_raw(X)

    def _known_answers(self, y: Any) -> Floats:
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise DataError(
                f"y holds {unknown.tolist()[0]!r}; expected labels among {self.classes_.tolist()}."
            )
        return np.asarray(np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)])


class NeighbourhoodRegressor(TableRegressor, NeighbourhoodBase):
    """Predict numbers by the nearest training rows, in a space learned for it; every prediction names the rows it comes from.

    Parameters and attributes are those of `NeighbourhoodClassifier`, without `class_prior_correction`. The target is standardised for
    training; there may be several.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = NeighbourhoodRegressor(dim=16, max_iter=10, random_state=0).fit(X, y)
    >>> model.harden().k > 1
    True

    Source: see `NeighbourhoodClassifier`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : numbers [n, features], NaN where missing, or a data frame of numbers, booleans, dates and categories.
        y : numbers [n] or [n, targets].
        sample_weight : [n], of a row's loss and of its vote; rows of weight 0 are left out.

        Raises
        ------
        DataError : fewer than two rows, infinite numbers, weights that do not fit.
        ParameterError : a parameter outside its range.
        """
        seed = self._begin_fit()
        X, y = self._check_input(X, y, multi_output=True, y_numeric=True)
        Y = self._targets(y)
        weight = self._weights(sample_weight, len(Y))
        schema, encoded = self._encode_training(X, Y, weight, task="regression", seed=seed)
        self.rows_ = np.flatnonzero(weight > 0)
        Y, weight = Y[self.rows_], weight[self.rows_]
        shift = np.average(Y, axis=0, weights=weight)
        spread = np.sqrt(np.average((Y - shift) ** 2, axis=0, weights=weight))
        scale = np.where(spread > 0, spread, 1.0)
        answers = Answers((), shift, scale)
        return self._learn(
            schema, encoded[self.rows_], (Y - shift) / scale, weight, weight.copy(), answers, seed
        )

    def predict_soft(self, X: Any) -> Floats:
        """Return the values of the soft model, in which all training rows vote, shaped like the target that was fitted."""
        raw = self._soft_raw(X)
        return raw[:, 0] if self._flat else raw

    def _known_answers(self, y: Any) -> Floats:
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)
