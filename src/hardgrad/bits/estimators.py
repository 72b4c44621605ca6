"""BinaryMLPClassifier: a perceptron with weights of one bit behind scikit-learn's face, shipped packed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from hardgrad.bits.layers import BinaryLinear
from hardgrad.bits.network import BinaryNetwork, measure_gap
from hardgrad.bits.packed import PackedNetwork
from hardgrad.bits.packed_classifier import PackedClassifier
from hardgrad.bits.training import LOSSES, Recipe, fit_network, reste_exponent
from hardgrad.core.errors import DataError
from hardgrad.core.gap import GapReport
from hardgrad.core.schedule import Schedule
from hardgrad.functional.binary import SURROGATES
from hardgrad.tabular.table_estimator import TableClassifier, is_whole
from hardgrad.train.progress import listen

FEWEST_TO_HOLD_OUT = 50
CHOICES: dict[str, tuple[Any, ...]] = {
    "activation": ("relu", "sign"),
    "binary_input": (False, True),
    "surrogate": tuple(name for name in SURROGATES if name != "sine"),
    "sampling": ("deterministic", "stochastic"),
    "scale": (None, "mean", "channel"),
    "loss": LOSSES,
}


class BinaryMLPClassifier(TableClassifier):
    """A perceptron whose weights are -1 and +1: additions in place of multiplications, and 1/32 of the memory of float32 weights.

    Parameters
    ----------
    hidden_layer_sizes : units of the hidden layers.
    activation : "relu", or "sign" for bits between the layers, whose products are integers.
    binary_input : whether the first layer takes the signs of the standardised features in place of them: one bit a column, above its mean
        or not. With activation "sign" the model has a circuit (`hardgrad.logic.CircuitModel.from_network`).
    surrogate : backward of the signs, one of `hardgrad.functional.SURROGATES` but "sine". With "reste" the exponent grows from 1 to 3.
    sampling : "deterministic", or "stochastic" weights while training, a regulariser that needs more passes.
    scale : of the weights of a layer: None, "mean" or "channel" (see `BinaryLayer`).
    loss : "log_loss", or "squared_hinge" as published, whose scores are no logits: `predict_proba` is then their softmax.
    max_iter : passes over the rows. batch_size : rows a step. learning_rate : of Adam at the start; it falls to 0 along a cosine.
    validation_fraction : share of the rows that choose among the passes, from 50 rows on; 0 keeps the last pass.
    random_state : seed. device : "cpu", "cuda" or "auto". verbose : print progress if positive.

    Attributes
    ----------
    packed_ : the exact `PackedClassifier`.
    network_ : the trained `BinaryNetwork`, of standardised features.
    gap_ : accuracy with the real weights against that of the packed model, on the held-out rows, or on all where none were held out.
    n_iter_ : passes over the rows. classes_, schema_, typing_ : as for the other classifiers.

    Raises
    ------
    DataError : missing values, one class only. ParameterError : a parameter outside its range.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BinaryMLPClassifier((32,), max_iter=150, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9), model.harden().words.nbytes
    (True, 280)

    Source: Courbariaux, Bengio and David, 2015, BinaryConnect: Training Deep Neural Networks with binary weights during propagations.
    """

    accepts_missing = False
    artifact_attribute = "packed_"

    def __init__(
        self,
        hidden_layer_sizes: tuple[int, ...] = (256, 256),
        *,
        activation: str = "relu",
        binary_input: bool = False,
        surrogate: str = "clipped",
        sampling: str = "deterministic",
        scale: str | None = None,
        loss: str = "log_loss",
        max_iter: int = 60,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.binary_input = binary_input
        self.surrogate = surrogate
        self.sampling = sampling
        self.scale = scale
        self.loss = loss
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network and pack it.

        Parameters
        ----------
        X : array [n, features] or any data frame; no missing values.
        y : labels [n]. sample_weight : [n], not negative.
        """
        seed = self._begin_fit()
        X, labels = self._check_input(X, y)
        numbers = self._class_numbers(labels)
        weight = self._weights(sample_weight, len(numbers))
        K = len(self.classes_)
        _, encoded = self._encode_training(X, numbers, weight, task="classification", n_classes=K, seed=seed)
        used = weight > 0
        if used.sum() < 2:
            raise DataError(
                f"{type(self).__name__} got {used.sum()} sample (row) of positive weight; expected at least 2, for batch normalisation."
            )
        self._train(encoded[used], numbers[used], weight[used], seed)
        self.n_iter_ = int(self.max_iter)
        return self

    def _train(self, rows: NDArray[Any], y: NDArray[np.int64], weight: NDArray[Any], seed: int) -> None:
        mean = np.average(rows, axis=0, weights=weight)
        spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weight))
        factor = 1.0 / np.where(spread > 0, spread, 1.0)
        x = torch.from_numpy(((rows - mean) * factor).astype(np.float32))
        held = self._held_out(y, seed)
        kept = np.setdiff1d(np.arange(len(y)), held)
        network = self._network(x.shape[1], seed)
        measured = (x[held], y[held]) if len(held) else None
        with listen(self._print_event):
            fit_network(
                network, x[kept], y[kept], self._recipe(), sample_weight=weight[kept], validation=measured, random_state=seed
            )  # fmt: skip
        packed = network.harden(x[kept] if network.is_stochastic else None)
        self.network_ = network
        self.packed_ = self._with_columns(packed, mean, factor)
        rows_of_gap = held if len(held) else kept
        self.gap_: GapReport = measure_gap(network, packed, x[kept], x[rows_of_gap], y[rows_of_gap])

    def _held_out(self, y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        rows = np.arange(len(y))
        if self.validation_fraction == 0 or len(y) < FEWEST_TO_HOLD_OUT:
            return rows[:0]
        from sklearn.model_selection import train_test_split

        counts = np.bincount(y)
        by_class = (
            y if counts[counts > 0].min() >= 2 and self.validation_fraction * len(y) >= len(counts) else None
        )
        held: NDArray[np.int64] = train_test_split(
            rows, test_size=self.validation_fraction, random_state=seed, stratify=by_class
        )[1]
        return np.sort(held)

    def _network(self, inputs: int, seed: int) -> BinaryNetwork:
        stochastic = self.sampling == "stochastic"
        return BinaryNetwork.mlp(
            (inputs, *(int(units) for units in self.hidden_layer_sizes), len(self.classes_)),
            activation_surrogate=self.surrogate if self.activation == "sign" else None,
            input_surrogate=self.surrogate if self.binary_input else None,
            layer=BinaryLinear,
            weight_surrogate=self.surrogate,
            sampling=self.sampling,
            scale=self.scale,
            lr_scale="glorot" if stochastic else None,  # draws of weights near 0 are noise alone
            generator=torch.Generator().manual_seed(seed),
        )

    def _recipe(self) -> Recipe:
        return Recipe(
            epochs=int(self.max_iter),
            batch_size=int(self.batch_size),
            learning_rate=Schedule.cosine(float(self.learning_rate)),
            loss=self.loss,  # type: ignore[arg-type]
            exponent=reste_exponent() if self.surrogate == "reste" else None,
            device=self.device,
        )

    def _with_columns(
        self, packed: PackedNetwork, mean: NDArray[Any], factor: NDArray[Any]
    ) -> PackedClassifier:
        parts = {field.name: getattr(packed, field.name) for field in fields(packed)}
        return PackedClassifier(
            schema=self.schema_, mean=mean, factor=factor, classes=self._class_labels(), **parts
        )

    def _check_parameters(self) -> None:
        sizes: Any = self.hidden_layer_sizes
        fine = isinstance(sizes, tuple | list | np.ndarray) and all(is_whole(units) for units in sizes)
        self._require(fine, "hidden_layer_sizes", "whole numbers of units, of at least 1")
        for name, known in CHOICES.items():
            self._require(getattr(self, name) in known, name, f"one of {', '.join(map(str, known))}")
        for name in ("max_iter", "batch_size"):
            self._require(is_whole(getattr(self, name)), name, "a whole number of at least 1")
        self._require(self.batch_size >= 2, "batch_size", "at least 2, for batch normalisation")
        self._require(0 < self.learning_rate < np.inf, "learning_rate", "a positive number")
        self._require(0 <= self.validation_fraction <= 0.5, "validation_fraction", "a share from 0 to 0.5")
