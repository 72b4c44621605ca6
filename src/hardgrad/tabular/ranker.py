"""NeuralRanker: learning to rank on tables, in LightGBM's group convention. The one module of this room that imports torch."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.mode import mode
from hardgrad.functional.operands import check_choice
from hardgrad.losses import exact
from hardgrad.losses.ranking import ApproxNDCGLoss, LambdaLoss, ListNetLoss, NeuralNDCGLoss, RankNetLoss
from hardgrad.tabular.weights import check_weights
from hardgrad.train.loop import Hardware, TrainingTask, train
from hardgrad.train.progress import Event, listen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LOSSES: dict[str, type[nn.Module]] = {
    "neural_ndcg": NeuralNDCGLoss,
    "approx_ndcg": ApproxNDCGLoss,
    "list_net": ListNetLoss,
    "rank_net": RankNetLoss,
    "lambda": LambdaLoss,
}


class NeuralRanker(BaseEstimator):  # type: ignore[misc]
    """A network that scores items so that sorting each list by score puts the relevant items first.

    Parameters
    ----------
    loss : "neural_ndcg", "approx_ndcg", "list_net", "rank_net", "lambda", or a module of `hardgrad.losses` with its own settings, called
        with (scores, relevance, mask, sample_weight).
    hidden : sizes of the hidden layers.
    max_iter : steps of the optimiser.
    batch_size : lists in a step.
    learning_rate : of Adam.
    k : places that `score` counts; all by default.
    random_state : seed.
    device : "cpu", "cuda" or "auto".
    verbose : print progress if positive.

    Attributes
    ----------
    model_ : the trained `torch.nn.Module`, of standardised features.
    gap_ : on the training lists, NDCG with the loss's own soft ranking against exact NDCG; None for losses that are no NDCG.
    history_ : list of progress events.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3)); y = (X[:, 0] > 0.5).astype(int)
    >>> ranker = NeuralRanker(max_iter=30, random_state=0).fit(X, y, group=[10] * 6)
    >>> ranker.score(X, y, group=[10] * 6) > 0.9
    True

    Source: Pobrotyn and Bialobrzeski, 2021, NeuralNDCG, for the default loss.
    """

    def __init__(
        self,
        loss: Any = "neural_ndcg",
        *,
        hidden: tuple[int, ...] = (32,),
        max_iter: int = 400,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        k: int | None = None,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.hidden = hidden
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.k = k
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any, group: Any, sample_weight: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : (rows, features), finite numbers.
        y : (rows,), relevance, not negative.
        group : sizes of the lists, in the order of the rows; they sum to the number of rows.
        sample_weight : one for each list.

        Raises
        ------
        DataError : groups that do not sum to the rows, negative relevance, weights that are not one for each list.
        ParameterError : a parameter outside its range.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        if (y < 0).any():
            raise DataError(f"y holds {y.min():g}; expected relevance that is not negative.")
        sizes = _sizes(group, len(y))
        weight = check_weights(sample_weight, len(sizes))
        self.mean_ = X.mean(axis=0)
        spread = X.std(axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        loss = LOSSES[self.loss]() if isinstance(self.loss, str) else self.loss
        lists = _Lists((X - self.mean_) / self.scale_, y, sizes, weight)
        settings = (tuple(self.hidden), self.max_iter, self.batch_size, self.learning_rate, seed)
        events: list[Event] = []
        with listen(events.append), listen(self._print_event):
            learned = train(_RankingTask, (lists, loss, *settings), Hardware(self.device))
        self.history_ = [vars(event) for event in events]
        self.model_ = _network(X.shape[1], tuple(self.hidden))
        self.model_.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
        self.gap_ = self._measure_gap(lists, loss)
        return self

    def predict(self, X: Any) -> Floats:
        """Return the score of each row, largest for the row to be placed first."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        standard = torch.from_numpy((X - self.mean_) / self.scale_).float()
        with torch.no_grad():
            return np.asarray(self.model_(standard).squeeze(-1).double().numpy())

    def score(self, X: Any, y: Any, group: Any, sample_weight: Any = None) -> float:
        """Return the mean exact NDCG over the lists that have a relevant item."""
        scores = self.predict(X)
        y = np.asarray(y, dtype=np.float64)
        sizes = _sizes(group, len(y))
        weight = check_weights(sample_weight, len(sizes))
        padded = _Lists(scores[:, None], y, sizes, weight).batch(np.arange(len(sizes)))
        found = exact.ndcg(padded[0][..., 0].double(), padded[1].double(), self.k, padded[2])
        counts = weight * (padded[1].double().numpy() * padded[2].numpy()).any(axis=1)
        return float(np.average(found, weights=counts)) if counts.any() else 0.0

    def _check_parameters(self) -> None:
        if isinstance(self.loss, str):
            check_choice("NeuralRanker", "loss", self.loss, tuple(LOSSES))
        elif not isinstance(self.loss, nn.Module):
            raise ParameterError(
                f"NeuralRanker() got loss={self.loss!r}; expected one of {', '.join(LOSSES)}, or a torch.nn.Module."
            )
        for name in ("max_iter", "batch_size"):
            if not getattr(self, name) >= 1:
                raise ParameterError(
                    f"NeuralRanker() got {name}={getattr(self, name)!r}; expected at least 1."
                )
        if not self.learning_rate > 0:
            raise ParameterError(
                f"NeuralRanker() got learning_rate={self.learning_rate!r}; expected a positive number."
            )
        if any(size < 1 for size in self.hidden):
            raise ParameterError(f"NeuralRanker() got hidden={self.hidden!r}; expected sizes of at least 1.")

    def _measure_gap(self, lists: _Lists, loss: nn.Module) -> GapReport | None:
        if not isinstance(loss, NeuralNDCGLoss | ApproxNDCGLoss):
            return None
        X, y, mask, weight = lists.batch(np.arange(min(len(lists.sizes), 1000)))
        with torch.no_grad(), mode("soft"):
            scores = self.model_(X).squeeze(-1)
            soft = -float(loss(scores, y, mask, weight))
        k, gain = getattr(loss, "k", None), str(loss.gain)
        each = exact.ndcg(scores.double(), y.double(), k, mask, gain=gain)
        counts = weight.double().numpy() * (y * mask).double().numpy().any(axis=1)
        hard = float(np.average(each, weights=counts)) if counts.any() else 0.0
        return GapReport(
            "ndcg", soft=soft, hard=hard, agreement=1.0 - abs(soft - hard), worst_disagreement=abs(soft - hard), rows=len(each)
        )  # fmt: skip

    def _print_event(self, event: Event) -> None:
        if self.verbose:
            print(f"{event.phase} {100 * event.fraction:.0f} %  {event.message}".rstrip())


def _sizes(group: Any, rows: int) -> Ints:
    sizes = np.asarray(group)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes < 1).any() or int(sizes.sum()) != rows:
        raise DataError(
            f"group has shape {sizes.shape} and sum {sizes.sum() if sizes.dtype.kind in 'iuf' else '?'}; expected whole sizes of lists, "
            f"at least 1, that sum to the {rows:,} rows."
        )
    return sizes.astype(np.int64)


class _Lists:
    """Rows as lists, handed out in padded batches."""

    def __init__(self, X: Floats, y: Floats, sizes: Ints, weight: Floats) -> None:
        self.X, self.y, self.sizes, self.weight = X, y, sizes, weight
        self.first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)

    def batch(self, chosen: Ints) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features (B, n, F), relevance (B, n), mask (B, n) and weights (B,)."""
        sizes = self.sizes[chosen]
        place = np.arange(int(sizes.max()))
        mask = place < sizes[:, None]
        rows = np.where(mask, self.first[chosen][:, None] + place, 0)
        X = torch.from_numpy(self.X[rows] * mask[..., None]).float()
        y = torch.from_numpy(self.y[rows] * mask).float()
        return X, y, torch.from_numpy(mask), torch.from_numpy(self.weight[chosen]).float()


def _network(features: int, hidden: tuple[int, ...]) -> nn.Sequential:
    widths = (features, *hidden)
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


class _RankingTask(TrainingTask):
    """Batches of lists, drawn anew for each step. A batch is one part: the mean over its lists is the loss's own business."""

    key = phase = "ranking"
    parts = 1

    def __init__(
        self,
        lists: _Lists,
        loss: nn.Module,
        hidden: tuple[int, ...],
        steps: int,
        batch_size: int,
        rate: float,
        seed: int,
    ) -> None:
        self.lists, self.list_loss, self.steps = lists, loss, steps
        self.batch_size, self.rate, self.seed = batch_size, rate, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = _network(lists.X.shape[1], hidden)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.module.parameters(), self.rate)

    def copies(self, count: int) -> nn.Module:
        same = copy.deepcopy(self.module)
        for parameter in same.parameters() if count == 0 else ():  # of a process that has no part
            parameter.data = parameter.data[:0]
        return same

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        total = len(self.lists.sizes)
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(total, min(self.batch_size, total), replace=False)
        device = next(copies.parameters()).device
        X, y, mask, weight = (tensor.to(device) for tensor in self.lists.batch(chosen))
        loss: Tensor = self.list_loss(copies(X).squeeze(-1), y, None if bool(mask.all()) else mask, weight)
        return loss

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: value.detach().cpu().numpy() for name, value in self.module.state_dict().items()}
