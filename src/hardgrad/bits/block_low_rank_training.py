"""Training of block-low-rank matrices: shrinking to a cost target, fitting to a given matrix, and taking the place of dense layers."""

from __future__ import annotations

import copy
import fnmatch
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits import block_low_rank_fit as fit
from hardgrad.bits.block_low_rank import BlockLowRank, GaudiLinear
from hardgrad.core.errors import BudgetError, InputError, InputTypeError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.schedule import Schedule
from hardgrad.train.loop import Hardware, TrainingTask, train

Matrix = TypeVar("Matrix", bound=BlockLowRank)
PLACES = ("row_width", "column_width", "row_location", "column_location")
SPARE = 4  # blocks to choose from, over those of full size that the budget would pay
HOTTEST = 1.0


def block_low_rank_groups(
    model: nn.Module, learning_rate: float = 5e-4, place_rate: float = 5e-3
) -> list[dict[str, Any]]:
    """Return parameter groups for Adam: everything else in a model, and the widths and locations of its blocks.

    Parameters
    ----------
    model : a module with `BlockLowRank` or `GaudiLinear` parts.
    learning_rate : of everything else.
    place_rate : of widths and locations, which take no weight decay and no momentum.

    Examples
    --------
    >>> groups = block_low_rank_groups(nn.Sequential(GaudiLinear(6, 4), nn.Linear(4, 2)))
    >>> [len(group["params"]) for group in groups], groups[1]["betas"]
    ([5, 4], (0.0, 0.999))
    """
    places = [getattr(matrix, name) for matrix in _matrices(model) for name in PLACES]
    chosen = set(map(id, places))
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return [
        {"params": others, "lr": learning_rate},
        {"params": places, "lr": place_rate, "betas": (0.0, 0.999), "weight_decay": 0.0},
    ]


class WidthShrinker:
    """Shrinks the blocks of a model to a cost target: a little after every step of training, and exactly at its end.

    Parameters
    ----------
    model : a module with `BlockLowRank` or `GaudiLinear` parts.
    optimizer : of its parameters (see `block_low_rank_groups`); widths shrink by `threshold` times the learning rate of their group.
    target_cost : numbers in all factors: a whole number, or a share below 1 of those of the dense matrices.
    threshold : weight of the sum of widths beside the loss. 0.02 suits thousands of steps, 0.2 some hundreds.

    Notes
    -----
    A step of proximal gradient descent: each width is shrunk by soft thresholding, and kept in [0, 1], as long as the cost is above the
    target; locations are brought back to [0, 1). The training signal of a block that died can widen it again.

    Examples
    --------
    >>> model = nn.Sequential(GaudiLinear(6, 4), nn.ReLU(), GaudiLinear(4, 2))
    >>> optimizer = torch.optim.Adam(block_low_rank_groups(model))
    >>> shrinker = WidthShrinker(model, optimizer, 0.5)
    >>> for _ in range(3):
    ...     optimizer.zero_grad(); model(torch.ones(1, 6)).sum().backward(); optimizer.step(); shrinker.step()
    >>> shrinker.finish(); shrinker.target, shrinker.cost <= 16
    (16, True)

    Source: Lee and Kim, 2024, Differentiable Learning of Generalized Structured Matrices for Efficient Deep Neural Networks. The last cut
    to the exact target is ours.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        target_cost: float,
        *,
        threshold: float = 0.02,
    ) -> None:
        self.matrices = _matrices(model)
        if not self.matrices:
            raise ParameterError(
                f"WidthShrinker found no block-low-rank matrix in a {type(model).__name__}; put some in, as with replace_dense_layers()."
            )
        if not threshold > 0.0:
            raise ParameterError(f"WidthShrinker got threshold={threshold!r}; expected a positive number.")
        self.target = _as_numbers(
            "WidthShrinker", target_cost, sum(m.rows * m.columns for m in self.matrices)
        )
        self.threshold = threshold
        widths = {id(matrix.row_width) for matrix in self.matrices}
        self._groups = [g for g in optimizer.param_groups if widths & {id(p) for p in g["params"]}]
        if not self._groups:
            raise ParameterError(
                "WidthShrinker got an optimizer that does not train the widths; see block_low_rank_groups()."
            )

    @property
    def cost(self) -> int:
        """Numbers that the factors of all exact blocks hold now."""
        return sum(matrix.numbers for matrix in self.matrices)

    @torch.no_grad()
    def step(self) -> None:
        """Shrink the widths once; to be called after every step of the optimiser."""
        shrink = self.threshold * self._groups[0]["lr"] if self.cost > self.target else 0.0
        for matrix in self.matrices:
            for width in (matrix.row_width, matrix.column_width):
                width.sub_(shrink).clamp_(0.0, 1.0)  # soft thresholding of what is not negative
            for location in (matrix.row_location, matrix.column_location):
                location.sub_(location.floor())

    def finish(self) -> None:
        """Cut every matrix that is left above its share of the target, and refit it by least squares to what it was.

        The exact blocks then hold at most `target` numbers. Further training of the factors alone may follow.
        """
        cost = self.cost
        if cost <= self.target:
            return
        for matrix in self.matrices:
            rows, columns = matrix.sides()
            dense = np.einsum("bmk,bnk->mn", rows.factors, columns.factors, optimize=True)
            matrix.set_sides(*fit.trim(dense, rows, columns, matrix.numbers * self.target // cost))


# Fitting one matrix.
def fit_matrix(
    cls: type[Matrix],
    W: Any,
    budget: float,
    *,
    blocks: int | None = None,
    rank_per_block: int = 1,
    steps: int = 1500,
    temperature: float = 0.01,
    threshold: float = 0.2,
    learning_rate: float = 2e-2,
    place_rate: float = 5e-3,
    device: str = "cpu",
) -> Matrix:
    """Return `BlockLowRank.from_dense(W, budget)`: places by gradients from the singular vectors on, then exact cuts and least squares.

    Parameters
    ----------
    cls : the class to make.
    W : (rows, columns), an array or a tensor.
    budget : numbers in all factors: a whole number, or a share below 1 of those of the dense matrix.
    blocks : to choose from; by default four times as many as the budget would pay in full size, and no more than give full rank.
    rank_per_block : of each.
    steps : of Adam. The time of a step grows as rows * columns * blocks.
    temperature : of the edges at the end; its inverse rises linearly from 1.
    threshold, learning_rate, place_rate : as for `WidthShrinker` and `block_low_rank_groups`.
    device : "cpu", "cuda" or "auto".

    Returns
    -------
    matrix : at most `budget` numbers, and never further from W than the truncated singular value decomposition of as many.

    Raises
    ------
    InputError : no matrix, or numbers that are not finite.
    BudgetError : a budget too small for one block.
    """
    dense, dtype = _as_matrix(W)
    most = _as_numbers("from_dense", budget, dense.size)
    if not (steps >= 1 and temperature > 0 and learning_rate > 0 and place_rate > 0 and rank_per_block >= 1):
        raise ParameterError(
            f"from_dense() got steps={steps}, temperature={temperature}, learning_rate={learning_rate}, place_rate={place_rate}, "
            f"rank_per_block={rank_per_block}; expected positive numbers."
        )
    if most < 2 * rank_per_block:
        raise BudgetError(
            f"from_dense() got a budget of {most} numbers; one block takes at least {2 * rank_per_block}. Allow more."
        )
    paid = most // (sum(dense.shape) * rank_per_block)
    if blocks is None:
        blocks = min(max(1, min(dense.shape) // rank_per_block), SPARE * (paid + 1))
    scale = float(np.sqrt(np.square(dense).mean())) or 1.0
    target = dense / scale
    matrix = cls(
        dense.shape[0], dense.shape[1], blocks, rank_per_block=rank_per_block, temperature=temperature
    )
    arguments = (
        target,
        blocks,
        rank_per_block,
        most,
        steps,
        temperature,
        threshold,
        learning_rate,
        place_rate,
    )
    learned = train(_MatrixTask, arguments, Hardware(device))
    matrix.load_state_dict({name: torch.from_numpy(value) for name, value in learned.items()})
    trained = fit.trim(target, *matrix.sides(), most)
    plain = fit.truncated(target, blocks, rank_per_block, full=min(paid, blocks))
    best = min((trained, plain), key=lambda sides: fit.error(target, *sides))
    matrix.to(dtype).set_sides(*(fit.scaled(side, scale**0.5) for side in best))
    return matrix


class _MatrixTask(TrainingTask):
    """The mean squared error of the smooth blocks to a matrix of unit mean square; widths shrink to the budget."""

    key = phase = "block-low-rank matrix"

    def __init__(
        self, target: NDArray[np.float64], blocks: int, rank: int, budget: int, steps: int, coldest: float, threshold: float,
        learning_rate: float, place_rate: float,
    ) -> None:  # fmt: skip
        self.target = torch.from_numpy(target.astype(np.float32))
        self.steps, self.budget, self.threshold = steps, budget, threshold
        self.rates = learning_rate, place_rate
        self.sharpness = Schedule.linear(1.0 / HOTTEST, 1.0 / coldest)
        self.module = self.matrix = BlockLowRank(
            target.shape[0], target.shape[1], blocks, rank_per_block=rank
        )
        self.matrix.set_sides(*fit.truncated(target, blocks, rank, full=blocks))

    def optimizer(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam(block_low_rank_groups(self.matrix, *self.rates))
        self.shrinker = WidthShrinker(self.matrix, optimizer, self.budget, threshold=self.threshold)
        return optimizer

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        self.matrix.set_temperature(1.0 / self.sharpness.at(step=step, steps=self.steps))

    def _error(self, mode: Mode) -> Tensor:
        # The temperature is said, so that a surrounding block does not set it.
        weight = self.matrix.weight(mode=mode, temperature=self.matrix.temperature)
        return (self.target.to(weight.device) - weight).square().mean()

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        return self._error("soft")

    def after_step(self, step: int) -> None:
        self.shrinker.step()

    @torch.no_grad()
    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        soft, hard = float(self._error("soft")), float(self._error("hard"))
        return soft, hard, float(self.matrix.temperature)

    def result(self) -> dict[str, NDArray[Any]]:
        return {name: value.detach().cpu().numpy() for name, value in self.matrix.state_dict().items()}


# Whole models.
def replace_dense_layers(
    model: nn.Module,
    budget: float | None = None,
    *,
    layers: str | None = None,
    rank_ratio: float = 1.0,
    rank_per_block: int = 1,
    steps: int = 1500,
) -> nn.Module:
    """Return a copy of a model with block-low-rank layers in place of its dense ones.

    Parameters
    ----------
    model : any module; every `nn.Linear` of exactly that type is replaced.
    budget : share of the numbers of each dense matrix that its blocks may hold: they are fitted to it, and the model can be hardened, or
        trained further. None starts from the singular vectors, with blocks that cover everything, for training with a `WidthShrinker`; at
        rank_ratio=1 the model computes what it did.
    layers : pattern of names, as in "encoder.*"; all by default.
    rank_ratio : without a budget, number of blocks times their rank over the smaller side of a matrix.
    rank_per_block : of each block.
    steps : of training for each matrix, with a budget.

    Raises
    ------
    InputTypeError : not a module.
    ParameterError : no dense layer, or none that fits the pattern; a budget that is no share.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> soft = replace_dense_layers(model)
    >>> x = torch.ones(1, 6)
    >>> [type(part).__name__ for part in soft], torch.allclose(soft(x), model(x), atol=1e-5)
    (['GaudiLinear', 'ReLU', 'GaudiLinear'], True)
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"replace_dense_layers got {type(model).__name__}; expected a torch.nn.Module.")
    if budget is not None and not 0.0 < budget < 1.0:
        raise ParameterError(
            f"replace_dense_layers got budget={budget!r}; expected a share between 0 and 1, or None."
        )
    result = copy.deepcopy(model)
    dense = {name: part for name, part in result.named_modules() if type(part) is nn.Linear}
    chosen = dense if layers is None else {name: dense[name] for name in fnmatch.filter(dense, layers)}
    if not chosen:
        raise ParameterError(
            f"replace_dense_layers found no nn.Linear {'' if layers is None else f'named {layers!r} '}in a {type(model).__name__}; "
            f"it has {', '.join(list(dense)[:8]) or 'none'}."
        )

    def replaced(linear: nn.Linear) -> GaudiLinear:
        if budget is None:
            return GaudiLinear.from_linear(linear, rank_ratio=rank_ratio, rank_per_block=rank_per_block)
        fitted = BlockLowRank.from_dense(linear.weight, budget, rank_per_block=rank_per_block, steps=steps)
        return GaudiLinear.from_linear(linear, fitted)

    news = {id(linear): replaced(linear) for linear in chosen.values()}  # a layer that is shared stays shared
    if id(result) in news:
        return news[id(result)]
    for parent in list(result.modules()):
        for name, child in list(
            parent._modules.items()
        ):  # named_children() leaves out a layer that stands there twice
            if id(child) in news:
                setattr(parent, name, news[id(child)])
    return result


def _matrices(model: nn.Module) -> list[BlockLowRank]:
    return [module for module in model.modules() if isinstance(module, BlockLowRank)]


def _as_matrix(W: Any) -> tuple[NDArray[np.float64], torch.dtype]:
    """Return a matrix in float64, and the type that its factors should have."""
    array = W.detach().cpu() if isinstance(W, Tensor) else W
    try:
        dense = np.asarray(array.float() if isinstance(array, Tensor) and array.dtype.itemsize < 4 else array)
        wide = dense.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"from_dense() got {type(W).__name__}; expected a matrix of real numbers.") from None
    if wide.ndim != 2 or not wide.size or not np.isfinite(wide).all():
        raise InputError(f"from_dense() got shape {wide.shape}; expected a matrix of finite numbers.")
    return wide, torch.float64 if dense.dtype == np.float64 else torch.float32


def _as_numbers(name: str, budget: float, dense: int) -> int:
    """Return a budget as a whole number of numbers."""
    if (
        isinstance(budget, bool)
        or not np.isfinite(budget)
        or budget <= 0
        or (budget >= 1 and budget != int(budget))
    ):
        raise BudgetError(
            f"{name} got a budget of {budget!r}; expected a whole number, or a share between 0 and 1."
        )
    return int(budget * dense) if budget < 1 else int(budget)
