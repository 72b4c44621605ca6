"""Learning lattices: generators and companding of several starts side by side, by gradients through fixed indices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad.bits.lattice_groups import compand, lattice_weights
from hardgrad.bits.lattice_points import lattice_index, lll_reduce
from hardgrad.train.loop import TrainingTask

MU_RANGE = (1e-4, 6e4)  # what float16 holds
LEAST_SPREAD = (
    1e-3  # of a coordinate, in units of that of all: a column of zeros must not make a lattice singular
)
CONDITION = 1e3
REDUCE_EVERY = 25
DAMPING = 0.01  # of the mean square of an input: moments may be singular


@dataclass(frozen=True)
class Plan:
    """How to learn: the strengths of companding to start from, the rounding, steps, learning rate, weight of the anchor."""

    starts: tuple[float, ...]
    rounding: str
    steps: int
    learning_rate: float
    anchor: float


def group_losses(errors: Tensor, moments: Tensor) -> Tensor:
    """Return the mean over rows of `e H e^T` for each group.

    Parameters
    ----------
    errors : (..., groups, vectors, d), a row's vectors one after another.
    moments : H, (groups, w, w), w a multiple of d; or its diagonal (groups, w), where all else is 0.
    """
    e = errors.reshape(*errors.shape[:-2], -1, moments.shape[-1])
    weighted = e * moments.unsqueeze(1) if moments.dim() == 2 else e @ moments
    return (weighted * e).sum(dim=-1).mean(dim=-1)


def spread_errors(vectors: Tensor, moments: Tensor, nearest: Callable[[Tensor], Tensor]) -> Tensor:
    """Return real weights for which rounding each vector alone errs less on the outputs: each makes up for those on its left.

    Given the errors of the vectors on its left, the best a vector and all on its right can do is known in closed form; that is what the
    vector is then rounded from.

    Parameters
    ----------
    vectors : (groups, rows, vectors in a row, d).
    moments : (groups, w, w), of the inputs within a group.
    nearest : rounds (groups, rows, 1, d).

    Source: Frantar, Ashkboos, Hoefler and Alistarh, 2023, GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers.
    """
    d = vectors.shape[-1]
    usual = moments.diagonal(dim1=-2, dim2=-1).mean(dim=-1, keepdim=True)
    damped = moments + torch.diag_embed(
        torch.where(usual > 0, DAMPING * usual, 1.0).expand(moments.shape[:-1])
    )
    targets, errors = [vectors[:, :, :1]], vectors.new_zeros(*vectors.shape[:2], 0)
    for k in range(vectors.shape[2]):
        left, right = slice(None, k * d), slice(k * d, None)
        if k:
            share = torch.linalg.solve(damped[:, right, right], damped[:, right, left])[:, :d]
            targets.append(vectors[:, :, k : k + 1] + (errors @ share.mT).unsqueeze(2))
        error = vectors[:, :, k : k + 1] - nearest(targets[k])
        errors = torch.cat([errors, error.squeeze(2)], dim=-1)
    return torch.cat(targets, dim=2)


class _Lattices(nn.Module):
    """Generators in units of the spread of the companded weights, and strengths of companding: (starts, groups, ...)."""

    vectors: Tensor
    scales: Tensor
    bits: Tensor
    moments: Tensor
    mu: Tensor
    unit: Tensor
    whole: Tensor
    start: Tensor
    best_loss: Tensor
    best_generators: Tensor
    best_log_mu: Tensor

    def __init__(self, vectors: Tensor, scales: Tensor, bits: Tensor, moments: Tensor, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        mu = torch.tensor(plan.starts)[:, None].expand(-1, len(scales))
        for name, value in (("scales", scales), ("bits", bits), ("moments", moments)):
            self.register_buffer(name, value)
        self.register_buffer("vectors", vectors.flatten(1, 2))
        self.register_buffer("mu", mu.clone())
        spread = compand(self.vectors, mu, scales).square().mean(dim=-2).sqrt()
        unit = spread.square().mean(dim=-1, keepdim=True).sqrt()
        self.register_buffer("unit", torch.where(unit > 0, unit, 1.0)[..., None])
        edges = (
            0.98 * 2 * math.sqrt(3) / 2.0**bits
        )  # the box of all indices is about 1.7 spreads wide to either side
        relative = (spread / self.unit.squeeze(-1)).clamp(min=LEAST_SPREAD)
        self.generators = nn.Parameter(torch.diag_embed(edges[:, None] * relative))
        self.log_mu = nn.Parameter(mu.clamp(min=MU_RANGE[0]).log(), requires_grad=max(plan.starts) > 0)
        self.register_buffer("whole", group_losses(self.vectors, moments))
        self.register_buffer("start", self.generators.detach().clone())
        self.register_buffer("best_loss", torch.full(mu.shape, torch.inf))
        self.register_buffer("best_generators", self.start.clone())
        self.register_buffer("best_log_mu", self.log_mu.detach().clone())

    def strengths(self, log_mu: Tensor) -> Tensor:
        return log_mu.exp() if self.log_mu.requires_grad else self.mu

    def index(self, generators: Tensor, mu: Tensor) -> Tensor:
        with torch.no_grad():
            u = compand(self.vectors, mu, self.scales)
            return lattice_index(generators, u, self.bits, method=self.plan.rounding)

    def losses(self, generators: Tensor, mu: Tensor) -> Tensor:
        """Return the errors (starts, groups) with the indices held constant."""
        weights = lattice_weights(self.index(generators, mu), generators, mu, self.scales)
        return group_losses(weights - self.vectors, self.moments)


class LatticeTask(TrainingTask):
    """Generators and companding of some groups, all starts side by side; groups do not meet.

    Parameters
    ----------
    vectors : (groups, rows, vectors in a row, d) float32.
    scales, bits : (groups,).
    moments : (groups, w, w) or (groups, w), what errors within a row of a group are weighted by (see `group_losses`).
    plan : how to learn.
    """

    key = phase = "lattices"

    def __init__(
        self, vectors: NDArray[Any], scales: NDArray[Any], bits: NDArray[Any], moments: NDArray[Any], plan: Plan
    ) -> None:  # fmt: skip
        v, s, b, m = (torch.tensor(array, dtype=torch.float32) for array in (vectors, scales, bits, moments))
        self.lattices = self.module = _Lattices(v, s, b, m, plan)
        self.plan, self.steps = plan, plan.steps

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.module.parameters(), self.plan.learning_rate)

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        """Return the sum of the relative errors, and of how far generators are from their start."""
        own = self.lattices
        relative = self._considered()
        # Both terms shrink alike with the bits: steps of the lattice by half for each, squared.
        moved = (own.generators - own.start).square().mean(dim=(-2, -1))
        return (relative + self.plan.anchor * moved).sum()

    def _considered(self) -> Tensor:
        """Return the relative errors, and keep what is better than before."""
        own = self.lattices
        losses = own.losses(own.generators * own.unit, own.strengths(own.log_mu))
        relative = losses / torch.where(own.whole > 0, own.whole, 1.0)
        with torch.no_grad():
            better = relative < own.best_loss
            own.best_loss.copy_(torch.where(better, relative, own.best_loss))
            own.best_log_mu.copy_(torch.where(better, own.log_mu, own.best_log_mu))
            own.best_generators.copy_(
                torch.where(better[..., None, None], own.generators, own.best_generators)
            )
        return relative

    def after_step(self, step: int) -> None:
        """Keep strengths within what is stored, and now and then reduce bases that Babai's rounding would err on."""
        own = self.lattices
        with torch.no_grad():
            own.log_mu.clamp_(*map(math.log, MU_RANGE))
            if (step + 1) % REDUCE_EVERY:
                return
            ill = torch.linalg.cond(own.generators.double()) > CONDITION
            for at in ill.nonzero().tolist():
                own.generators[tuple(at)] = lll_reduce(own.generators[tuple(at)])[0]

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        """Return the mean relative error of the best start so far."""
        return float(self.lattices.best_loss.amin(dim=0).mean()), None, None

    def result(self) -> dict[str, NDArray[Any]]:
        """Return generators, mu and error of the start of each group that is best as it will be stored, in float16."""
        own = self.lattices
        with torch.no_grad():
            self._considered()
            mu = own.strengths(own.best_log_mu)
            generators = own.best_generators * own.unit
            stored = own.losses(generators.half().float(), mu.half().float())
            chosen = stored.argmin(dim=0), torch.arange(stored.shape[1], device=stored.device)
            found = {"generators": generators[chosen], "mu": mu[chosen], "loss": stored[chosen]}
        return {name: value.cpu().numpy() for name, value in found.items()}
