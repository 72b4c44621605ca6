"""Proximal: an optimiser that makes exact zeros (or exact bounds), where a penalty in the loss only makes small numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputTypeError, ParameterError

Penalty = Literal["l1", "group", "box", "binary"]


class Proximal(torch.optim.Optimizer):
    """Any torch optimiser with a proximal step behind each of its steps; the penalty belongs in no loss.

    Parameters
    ----------
    optimizer : takes the smooth step. Momentum and second moments are its own and stay when a weight becomes zero, so that it can return.
    params : what the penalty acts on. By default those parameters of the optimiser that have two dimensions or more, which leaves biases
        and the weights of normalisations alone.
    penalty : "l1" soft-thresholds each weight; "group" shrinks each row (first dimension) as one, to exactly zero; "box" clips to
        [-strength, strength]; "binary" draws each weight towards the nearer of -1 and 1.
    strength : of the penalty, in units of loss per unit of weight; for "box" the bound. Positive or zero.

    Raises
    ------
    InputTypeError : not an optimiser.
    ParameterError : a penalty that is not known, a strength that is negative or not finite, a parameter that the optimiser does not hold.

    Examples
    --------
    >>> w = nn.Parameter(torch.tensor([[3.0, 0.1]]))
    >>> optimizer = Proximal(torch.optim.SGD([w], lr=0.5), strength=1.0)
    >>> (0.5 * (w - torch.tensor([[3.0, 0.2]])).square().sum()).backward()
    >>> optimizer.step(); w.tolist()
    [[2.5, 0.0]]

    Notes
    -----
    The threshold of a step is `lr * strength`. Adam and RMSprop divide each step by the running size of its coordinate, so the threshold
    is divided by the same number (for "l1", where this is exact; a group takes the mean of its row). With momentum b a step is in effect
    `lr / (1 - b)` long and the threshold stays as it is, so the effective penalty is `(1 - b) * strength`.

    S. K. Kumar, GD doesn't make the cut: Three ways that non-differentiability affects neural network training (2024).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        params: Iterable[nn.Parameter] | None = None,
        penalty: Penalty = "l1",
        strength: float = 1e-3,
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputTypeError(
                f"Proximal got {type(optimizer).__name__}; expected a torch optimiser, as in Proximal(torch.optim.SGD(...))."
            )
        if penalty not in get_args(Penalty):
            raise ParameterError(
                f"Proximal got penalty={penalty!r}; expected one of {', '.join(get_args(Penalty))}."
            )
        if not (math.isfinite(strength) and strength >= 0):
            raise ParameterError(
                f"Proximal got strength={strength}; expected a finite number that is not negative."
            )
        self.optimizer, self.penalty, self.strength = optimizer, penalty, float(strength)
        held = [p for group in optimizer.param_groups for p in group["params"]]
        chosen = [p for p in held if p.dim() > 1] if params is None else list(params)
        self._chosen = {id(p) for p in chosen}
        if not self._chosen <= {id(p) for p in held}:
            raise ParameterError(
                "Proximal got params that its optimizer does not hold; pass them to the optimizer too."
            )
        if not chosen:
            raise ParameterError(
                "Proximal found nothing to act on: no parameter has two dimensions or more. Name the weights by params=."
            )
        self.defaults = optimizer.defaults
        self._optimizer_step_pre_hooks = optimizer._optimizer_step_pre_hooks
        self._optimizer_step_post_hooks = optimizer._optimizer_step_post_hooks

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the optimiser inside: a learning rate that is changed here is changed there."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the optimiser inside."""
        return self.optimizer.state

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give the optimiser inside another group; the penalty does not act on it."""
        self.optimizer.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser inside, with penalty and strength."""
        return {"optimizer": self.optimizer.state_dict(), "penalty": self.penalty, "strength": self.strength}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.penalty, self.strength = state_dict["penalty"], float(state_dict["strength"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take the smooth step, then the proximal one; return what the optimiser's own step returns."""
        result = self.optimizer.step(closure) if closure is not None else self.optimizer.step()
        with torch.no_grad():
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) in self._chosen and parameter.grad is not None:
                        self._proximal(parameter, self._scale(parameter, group))
        return result

    def _scale(self, parameter: Tensor, group: dict[str, Any]) -> Tensor | float:
        """Length of the optimiser's step for a unit gradient, per coordinate where it has its own."""
        state, rate = self.optimizer.state[parameter], float(group["lr"])
        if isinstance(self.optimizer, torch.optim.Adam | torch.optim.AdamW) and "exp_avg_sq" in state:
            second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
            corrected = second / (1 - group["betas"][1] ** float(state["step"]))
            step: Tensor = rate / (corrected.sqrt() + group["eps"])
            return step
        if isinstance(self.optimizer, torch.optim.RMSprop) and "square_avg" in state:
            second = state["square_avg"]
            if group["centered"]:
                second = (second - state["grad_avg"].square()).clamp(min=0)
            step = rate / (second.sqrt() + group["eps"])
            return step
        return rate

    def _proximal(self, w: Tensor, scale: Tensor | float) -> None:
        threshold = scale * self.strength
        if self.penalty == "l1":
            w.copy_(w.sign() * (w.abs() - threshold).clamp(min=0))
        elif self.penalty == "box":
            w.clamp_(-self.strength, self.strength)
        elif self.penalty == "binary":
            target = torch.where(w < 0, -1.0, 1.0).to(w.dtype)
            away = w - target
            w.copy_(target + away.sign() * (away.abs() - threshold).clamp(min=0))
        else:
            rows = w.view(len(w), -1)
            size = rows.norm(dim=1, keepdim=True)
            of_row = (
                threshold.view(len(w), -1).mean(1, keepdim=True)
                if isinstance(threshold, Tensor)
                else threshold
            )
            # An exact zero where the row is within the threshold: 0/0 must not arise.
            rows.mul_((1 - of_row / size.clamp(min=torch.finfo(w.dtype).tiny)).clamp(min=0))
