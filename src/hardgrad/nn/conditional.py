"""ConditionalBlock: a hidden layer in groups of units, of which a gater opens those that an example needs; and its exact counterpart."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import HardenError, ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.gradients.estimators import GradientEstimator
from hardgrad.gradients.samplers import estimator_of, sample_bernoulli
from hardgrad.gradients.stochastic_graph import StochasticGraph
from hardgrad.nn.gated_mlp import GatedMLP


class ConditionalBlock(Relaxed):
    """Linear, ReLU, Linear with the hidden units in groups, each multiplied with a gate that is drawn while training and exact afterwards.

    Parameters
    ----------
    expert : `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)`.
    gater : any module from the same inputs to one logit a group; see `sized` for the usual one.
    groups : number of groups of consecutive hidden units, all of one size.
    target_sparsity : share of groups that should be open.
    estimator : of the gates' gradients, as for `hardgrad.gradients.sample_bernoulli`.
    temperature : of the estimator.

    Notes
    -----
    While training gates are samples ("st"), in evaluation they are exact: open where the logit is above 0. In mode "soft" they are what the
    estimator says, probabilities for "straight_through". Gates are never rescaled, so that training and evaluation agree.

    Examples
    --------
    >>> block = ConditionalBlock.sized(4, 12, 2, groups=3, gater_width=5)
    >>> block(torch.zeros(7, 4)).shape, type(block.harden()).__name__
    (torch.Size([7, 2]), 'ExactConditionalBlock')

    Source: Bengio, Léonard and Courville, 2013, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation.
    """

    def __init__(
        self,
        expert: nn.Sequential,
        gater: nn.Module,
        groups: int,
        *,
        target_sparsity: float = 0.1,
        estimator: str | GradientEstimator = "straight_through",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(temperature)
        self.group_size = _group_size(expert, groups)
        if not 0.0 < target_sparsity < 1.0:
            raise ParameterError(
                f"ConditionalBlock got target_sparsity={target_sparsity!r}; expected a share between 0 and 1."
            )
        self.expert: Any = expert
        self.gater: Any = gater
        self.groups = groups
        self.target_sparsity = target_sparsity
        self.estimator = estimator_of("ConditionalBlock", estimator)

    @classmethod
    def sized(
        cls, inputs: int, units: int, outputs: int, *, groups: int, gater_width: int = 32, **options: Any
    ) -> ConditionalBlock:
        """Return a block with fresh weights and a gater of one tanh layer, which opens a little more than the target at first.

        Parameters
        ----------
        inputs, units, outputs : sizes of the expert.
        groups : as for the class.
        gater_width : units of the gater.
        **options : of the class.
        """
        expert = nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, outputs))
        last = nn.Linear(gater_width, groups)
        block = cls(expert, nn.Sequential(nn.Linear(inputs, gater_width), nn.Tanh(), last), groups, **options)
        # One above the logit of the target: all groups must be tried before they are closed.
        nn.init.constant_(last.bias, float(torch.logit(torch.tensor(block.target_sparsity))) + 1.0)
        return block

    def forward(
        self,
        x: Tensor,
        *,
        mode: Mode | None = None,
        generator: torch.Generator | None = None,
        graph: StochasticGraph | None = None,
    ) -> Tensor:
        """Return the outputs, (batch, outputs).

        Parameters
        ----------
        x : (batch, inputs).
        mode, generator, graph : as for `sample_bernoulli`; in mode "hard" gates are open where their logit is above 0.
        """
        return self._apply_gates(x, self._draw(self.gater(x), mode, generator, graph))

    def with_penalty(
        self,
        x: Tensor,
        *,
        mode: Mode | None = None,
        generator: torch.Generator | None = None,
        graph: StochasticGraph | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs and the sparsity penalty of this batch, to be added to the loss with a weight (see `sparsity_penalty`)."""
        logits = self.gater(x)
        out = self._apply_gates(x, self._draw(logits, mode, generator, graph))
        return out, sparsity_penalty(torch.sigmoid(logits), self.target_sparsity)

    def _draw(
        self,
        logits: Tensor,
        mode: Mode | None,
        generator: torch.Generator | None,
        graph: StochasticGraph | None,
    ) -> Tensor:
        how = resolve_mode(mode, "st" if self.training else "hard")
        if how == "hard":
            return (logits > 0).to(logits.dtype)
        return sample_bernoulli(
            logits,
            estimator=self.estimator,
            temperature=self.resolved_temperature(),
            mode=how,
            generator=generator,
            graph=graph,
        )

    def _apply_gates(self, x: Tensor, gates: Tensor) -> Tensor:
        hidden = self.expert[1](self.expert[0](x)) * gates.repeat_interleave(self.group_size, dim=-1)
        result: Tensor = self.expert[2](hidden)
        return result

    def harden(self) -> ExactConditionalBlock:
        """Return the exact block, which skips the closed groups."""
        return ExactConditionalBlock(self.expert, self.gater, self.groups)

    def to_artifact(self) -> GatedMLP:
        """Return the exact block as an artifact that needs no torch.

        Raises
        ------
        HardenError : a gater that is not `nn.Sequential(nn.Linear, nn.Tanh, nn.Linear)`.
        """
        return self.harden().to_artifact()


class ExactConditionalBlock(nn.Module):
    """The exact counterpart of a `ConditionalBlock`: for each example only the rows and columns of open groups are multiplied.

    Parameters
    ----------
    expert, gater, groups : of the conditional block; weights are copied.
    """

    def __init__(self, expert: nn.Sequential, gater: nn.Module, groups: int) -> None:
        super().__init__()
        self.group_size = _group_size(expert, groups)
        self.expert: Any = copy.deepcopy(expert)
        self.gater: Any = copy.deepcopy(gater)
        self.groups = groups
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs, (batch, outputs)."""
        gates = self.gates(x)
        first, activation, last = self.expert
        out: Tensor = last.bias.expand(len(x), -1).clone()
        for group in range(self.groups):
            chosen = gates[:, group].nonzero().squeeze(-1)
            units = slice(group * self.group_size, (group + 1) * self.group_size)
            hidden = activation(x.index_select(0, chosen) @ first.weight[units].T + first.bias[units])
            out.index_add_(0, chosen, hidden @ last.weight[:, units].T)
        return out

    def gates(self, x: Tensor) -> Tensor:
        """Return which groups are open, Boolean, (batch, groups)."""
        found: Tensor = self.gater(x) > 0
        return found

    def to_artifact(self) -> GatedMLP:
        """Return the block as an artifact (see `ConditionalBlock.to_artifact`)."""
        kinds = (
            [type(part) for part in self.gater]
            if isinstance(self.gater, nn.Sequential)
            else [type(self.gater)]
        )
        if kinds != [nn.Linear, nn.Tanh, nn.Linear]:
            raise HardenError(
                f"to_artifact() got a gater of {[kind.__name__ for kind in kinds]}; expected nn.Sequential(Linear, Tanh, Linear). "
                "Harden to a module instead: block.harden()."
            )
        names = ("gater", "gate", "hidden", "output")
        parts = (self.gater[0], self.gater[2], self.expert[0], self.expert[2])
        arrays: dict[str, Any] = {}
        for name, part in zip(names, parts, strict=True):
            arrays[f"{name}_weight"] = part.weight.detach().float().cpu().numpy()
            arrays[f"{name}_bias"] = part.bias.detach().float().cpu().numpy()
        return GatedMLP(**arrays, groups=self.groups)


def sparsity_penalty(p: Tensor, target: float) -> Tensor:
    """Return how far gates are from a target share, in both directions: no group may die, and no example may open all.

    Parameters
    ----------
    p : (batch, groups), probabilities that gates are open.
    target : share that should be open.

    Returns
    -------
    penalty : mean over groups of (mean over the batch - target)^2, plus mean over the batch of (mean over groups - target)^2.

    Examples
    --------
    >>> sparsity_penalty(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), 0.5).item()
    0.25
    """
    return (p.mean(dim=0) - target).square().mean() + (p.mean(dim=1) - target).square().mean()


def _group_size(expert: Any, groups: int) -> int:
    kinds = [type(part) for part in expert] if isinstance(expert, nn.Sequential) else [type(expert)]
    if kinds != [nn.Linear, nn.ReLU, nn.Linear] or any(part.bias is None for part in (expert[0], expert[2])):
        raise ParameterError(
            f"ConditionalBlock got an expert of {[kind.__name__ for kind in kinds]}; expected nn.Sequential(Linear, "
            "ReLU, Linear) with biases."
        )
    units = int(expert[0].out_features)
    if groups < 1 or units % groups:
        raise ParameterError(
            f"ConditionalBlock got groups={groups} for {units} hidden units; expected a divisor of the number of units."
        )
    return units // groups
