"""BilevelTrainer: hyperparameters trained by the gradient of a validation loss, on the one training loop.

An outer step lets the weights train for a few inner steps, asks `gradients.hypergradient` how the validation loss changes with the
hyperparameters, and hands that to the outer optimiser. The loop brings progress, checkpoints and resuming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.gradients.hypergradients import HyperGradient, Method, hypergradient
from hardgrad.gradients.pytrees import Rebuild, numeric_tensors
from hardgrad.train.loop import Hardware, TrainingTask, train

Loss = Callable[[Any, Any, int], Tensor]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
REFRESH = 10


@dataclass(frozen=True)
class BilevelResult:
    """What a bilevel training found.

    Parameters
    ----------
    params : trained weights, a pytree like the ones that it began from.
    hparams : hyperparameters; where `measure` was given those of the best outer step, with the weights of that step.
    history : tensors with one entry an outer step: "validation" loss, "residual" of the linear solve (NaN for "unrolled"),
        "inner_gradient" norm, "step" of the series (NaN where there is none), "measure" (NaN where not measured).
    """

    params: Any
    hparams: Any
    history: dict[str, Tensor]


class BilevelTrainer:
    """Train weights and, over them, hyperparameters: per-weight decays, example weights, augmentation, data itself.

    Parameters
    ----------
    inner_opt, outer_opt : make the optimiser of a list of tensors, as in `lambda tensors: torch.optim.Adam(tensors, 0.1)`.
    inner_steps : steps of the inner optimiser in each outer step.
    warmup : inner steps before the first outer one.
    method, terms, step, damping, preconditioner : of `gradients.hypergradient`; a preconditioner is called with (hparams, vector). With
        step="auto" the step is measured anew every 10 outer steps and whenever the residual of a step grows.
    warm_start : begin each linear solve from the last one's solution ("neumann" and "cg").
    project : changes hyperparameters in place after each outer step, to keep them in a box: `lambda lam: lam.clamp_(-8, 6)`. Decays that
        grow without bound make every fixed inner step diverge.

    Raises
    ------
    ParameterError : numbers outside of their range.

    Notes
    -----
    Hyperparameters that rival the validation examples in number overfit them: split, give `measure` a third set, and report that one.

    Source: Lorraine, Vicol, Duvenaud, "Optimizing Millions of Hyperparameters by Implicit Differentiation", AISTATS 2020.

    Examples
    --------
    >>> trainer = BilevelTrainer(lambda p: torch.optim.SGD(p, 0.2), lambda h: torch.optim.Adam(h, 0.1), inner_steps=20)
    >>> result = trainer.fit(
    ...     lambda w, lam, step: (w - 1) ** 2 + 0.5 * torch.exp(lam) * w**2, lambda w, lam, step: 0.5 * (w - 0.5) ** 2,
    ...     torch.tensor(0.0), torch.tensor(0.0), outer_steps=100)
    >>> round(result.params.item(), 2), round(result.hparams.exp().item(), 1)  # w = 2 / (2 + e^lam)
    (0.5, 2.0)
    """

    def __init__(
        self,
        inner_opt: MakeOptimizer,
        outer_opt: MakeOptimizer,
        *,
        inner_steps: int = 10,
        warmup: int = 0,
        method: Method = "neumann",
        terms: int = 20,
        step: float | Literal["auto"] = "auto",
        damping: float | None = None,
        preconditioner: Callable[[Any, Any], Any] | None = None,
        warm_start: bool = False,
        project: Callable[[Any], object] | None = None,
    ) -> None:
        if inner_steps < 1 or warmup < 0:
            raise ParameterError(
                f"BilevelTrainer got inner_steps={inner_steps}, warmup={warmup}; expected at least 1 and at least 0."
            )
        if warm_start and method not in ("neumann", "cg"):
            raise ParameterError(
                f'BilevelTrainer got warm_start=True with method {method!r}; expected "neumann" or "cg".'
            )
        self.inner_opt, self.outer_opt = inner_opt, outer_opt
        self.inner_steps, self.warmup = inner_steps, warmup
        self.method: Method = method
        self.terms, self.step, self.damping = terms, step, damping
        self.preconditioner, self.warm_start, self.project = preconditioner, warm_start, project

    def fit(
        self,
        train_loss: Loss,
        val_loss: Loss,
        params: Any,
        hparams: Any,
        *,
        outer_steps: int,
        measure: Callable[[Any, Any], float] | None = None,
        hardware: Hardware | None = None,
        key: str = "bilevel",
    ) -> BilevelResult:
        """Train and return weights, hyperparameters and history.

        Parameters
        ----------
        train_loss, val_loss : loss(params, hparams, step), scalars. A mini-batch follows from `step`, the number of the inner (outer) step,
            alone: that is what makes the work resumable.
        params, hparams : pytrees of floating-point tensors to begin from; they stay as they are.
        outer_steps : steps of the outer optimiser.
        measure : measure(params, hparams) on a third set, lower is better; the result is then that of the best outer step.
        hardware : where to train, one device; by default the CPU.
        key : names the work in a checkpoint (`train.checkpoint.checkpointing`).

        Raises
        ------
        InputError : a loss that is not finite; see `gradients.hypergradient`.
        ParameterError : fewer than one outer step, or several devices.
        """
        hardware = hardware or Hardware()
        if outer_steps < 1 or hardware.devices != 1:
            raise ParameterError(
                f"BilevelTrainer.fit got outer_steps={outer_steps} on {hardware.devices} devices; expected at least 1 step on one device."
            )
        made: list[_BilevelTask] = []

        def build() -> _BilevelTask:
            made.append(_BilevelTask(self, train_loss, val_loss, params, hparams, outer_steps, measure, key))
            return made[0]

        train(build, (), hardware)
        return made[0].found()


class _Level(nn.Module):
    """The tensors of a pytree as parameters of one level."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.tensors = nn.ParameterList(nn.Parameter(t.detach().clone()) for t in tensors)


class _BilevelTask(TrainingTask):
    """The outer level as a task of the loop: its module holds the hyperparameters, its loss has the hypergradient as gradient."""

    module: _Level

    def __init__(
        self, trainer: BilevelTrainer, train_loss: Loss, val_loss: Loss, params: Any, hparams: Any, steps: int,
        measure: Callable[[Any, Any], float] | None, key: str,
    ) -> None:  # fmt: skip
        self.key, self.phase, self.steps = key, "bilevel", steps
        self.trainer, self.train_loss, self.val_loss, self.metric = trainer, train_loss, val_loss, measure
        weights, self.rebuild_params = numeric_tensors("BilevelTrainer.fit", "params", params)
        hypers, self.rebuild_hparams = numeric_tensors("BilevelTrainer.fit", "hparams", hparams)
        self.module = _Level(hypers)
        self.weights = _Level(weights)
        self.inner = trainer.inner_opt(list(self.weights.tensors))
        names = ("validation", "residual", "inner_gradient", "step", "measure")
        self.history = {name: torch.full((steps,), math.nan, dtype=torch.float64) for name in names}
        self.adjoint = [torch.zeros_like(t) for t in weights]
        self.best = [t.detach().clone() for t in (*weights, *hypers)]

    def optimizer(self) -> torch.optim.Optimizer:
        device = self.module.tensors[0].device
        self.weights.to(device)
        self.adjoint = [t.to(device) for t in self.adjoint]
        self.best = [t.to(device) for t in self.best]
        return self.trainer.outer_opt(list(self.module.tensors))

    def inner_optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"inner": self.inner}

    def extra_state(self) -> dict[str, Tensor]:
        state = {f"weights.{k}": t for k, t in enumerate(self.weights.tensors)}
        state |= {f"adjoint.{k}": t for k, t in enumerate(self.adjoint)}
        state |= {f"best.{k}": t for k, t in enumerate(self.best)}
        return state | {f"history.{name}": values for name, values in self.history.items()}

    def loss(self, copies: nn.Module, step: int, parts: range) -> Tensor:
        trainer = self.trainer
        first = trainer.warmup + step * trainer.inner_steps if step else 0
        for k in range(first, trainer.warmup + (step + 1) * trainer.inner_steps):
            self._inner_step(k)
        found = self._hypergradient(step)
        self._remember(step, found)
        grads, _ = numeric_tensors("BilevelTrainer.fit", "hypergradient", found.grads)
        terms = [(t * g).sum() for t, g in zip(self.module.tensors, grads, strict=True)]
        return torch.stack(terms).sum()  # its gradient in the hyperparameters is the hypergradient

    def _inner_step(self, k: int) -> None:
        self.inner.zero_grad()
        value = self.train_loss(_tree(self.rebuild_params, self.weights), self._hparams(), k)
        if not bool(torch.isfinite(value.detach()).all()):
            raise InputError(
                f"BilevelTrainer: the training loss is {float(value.detach())} at inner step {k}: the inner optimiser diverges. Lower its "
                "rate, or keep the hyperparameters in a box with project=."
            )
        value.backward()
        self.inner.step()

    def _hparams(self) -> Any:
        return self.rebuild_hparams([t.detach() for t in self.module.tensors])

    def _hypergradient(self, step: int) -> HyperGradient:
        trainer, hparams = self.trainer, self._hparams()
        number = trainer.warmup + (step + 1) * trainer.inner_steps
        precondition = trainer.preconditioner

        def call(length: float | Literal["auto"]) -> HyperGradient:
            return hypergradient(
                lambda w, lam: self.val_loss(w, lam, step), lambda w, lam: self.train_loss(w, lam, number),
                _tree(self.rebuild_params, self.weights), hparams, method=trainer.method, terms=trainer.terms, step=length,
                damping=trainer.damping, inner_tolerance=math.inf,
                preconditioner=None if precondition is None else lambda v: precondition(hparams, v),
                start=self.rebuild_params(self.adjoint) if trainer.warm_start else None,
                generator=torch.Generator().manual_seed(step),
            )  # fmt: skip

        last = float(self.history["step"][step - 1]) if step else math.nan
        if trainer.step != "auto" or step % REFRESH == 0 or math.isnan(last):
            return call(trainer.step)
        try:
            found = call(last)
        except InputError:  # the Hessian has outgrown the step
            return call("auto")
        grown = found.residual is not None and found.residual > float(self.history["residual"][step - 1])
        return call("auto") if grown else found

    def _remember(self, step: int, found: HyperGradient) -> None:
        weights = _tree(self.rebuild_params, self.weights)
        row = {"residual": found.residual, "inner_gradient": found.inner_gradient, "step": found.step}
        with torch.no_grad():
            row["validation"] = float(self.val_loss(weights, self._hparams(), step))
            if self.metric is not None:
                row["measure"] = float(self.metric(weights, self._hparams()))
        earlier = self.history["measure"][:step]
        for name, value in row.items():
            self.history[name][step] = math.nan if value is None else value
        if found.adjoint is not None:
            fresh, _ = numeric_tensors("BilevelTrainer.fit", "adjoint", found.adjoint)
            _copy(self.adjoint, fresh)
        if self.metric is None or not bool((earlier <= self.history["measure"][step]).any()):
            _copy(self.best, [*self.weights.tensors, *self.module.tensors])

    def after_step(self, step: int) -> None:
        if self.trainer.project is not None:
            with torch.no_grad():
                self.trainer.project(self.rebuild_hparams([t.data for t in self.module.tensors]))

    def measure(self, step: int) -> tuple[float | None, float | None, float | None]:
        return float(self.history["validation"][step]), None, None

    def result(self) -> dict[str, Any]:
        return {}

    def found(self) -> BilevelResult:
        """Return weights and hyperparameters in their own form."""
        n = len(self.weights.tensors)
        current = [t.detach().clone() for t in (*self.weights.tensors, *self.module.tensors)]
        tensors = current if self.metric is None else self.best
        return BilevelResult(
            self.rebuild_params(tensors[:n]), self.rebuild_hparams(tensors[n:]), self.history
        )


def _tree(rebuild: Rebuild, level: _Level) -> Any:
    return rebuild(list(level.tensors))


def _copy(old: list[Tensor], new: list[Tensor]) -> None:
    with torch.no_grad():
        for target, source in zip(old, new, strict=True):
            target.copy_(source)
