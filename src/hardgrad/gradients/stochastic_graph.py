"""StochasticGraph: remembers the samples of a computation, and makes of its loss one that has the score-function gradient of them all."""

from __future__ import annotations

from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.core.relaxed import straight_through
from hardgrad.gradients.estimators import Draw
from hardgrad.gradients.score_functions import Reinforce


class StochasticGraph:
    """Collects samples of score-function estimators, and gives the loss their gradient.

    Parameters
    ----------
    batch_dims : how many leading dimensions count examples; the loss has just these.

    Examples
    --------
    >>> import torch
    >>> from hardgrad.gradients import sample_bernoulli
    >>> logits = torch.zeros(100_000, 3, requires_grad=True)
    >>> graph = StochasticGraph()
    >>> h = sample_bernoulli(logits, estimator="reinforce", graph=graph, generator=torch.Generator().manual_seed(0))
    >>> graph.surrogate(h.sum(-1)).mean().backward()
    >>> logits.grad.sum(0).tolist()
    [0.25, 0.25, 0.25]

    Source: Schulman, Heess, Weber and Abbeel, 2015, Gradient Estimation Using Stochastic Computation Graphs.
    """

    def __init__(self, batch_dims: int = 1) -> None:
        self.batch_dims = batch_dims
        self._nodes: list[tuple[Reinforce, Draw]] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, estimator: Reinforce, draw: Draw) -> None:
        """Remember a sample; the samplers do so for every estimator that needs it."""
        self._nodes.append((estimator, draw))

    def surrogate(self, loss: Tensor, baseline: Tensor | None = None) -> Tensor:
        """Return the loss with the gradient of all samples that it depends on, and forget them.

        Parameters
        ----------
        loss : one number an example, of exactly `batch_dims` dimensions; take its mean afterwards.
        baseline : a prediction of the loss in its shape, made without the samples; it lowers the variance and gets no gradient here.

        Raises
        ------
        InputError : a loss that is averaged already, or of another shape than the samples have in front.
        """
        if loss.dim() != self.batch_dims:
            raise InputError(
                f"StochasticGraph.surrogate() got a loss of shape {tuple(loss.shape)}; expected one number an example, {self.batch_dims} "
                "dimensions. Average the surrogate instead: a loss that is averaged first gives every sample the same credit."
            )
        total = loss
        nodes, self._nodes = self._nodes, []
        for estimator, draw in nodes:
            total = total + estimator.score(loss, draw, baseline)
        return straight_through(loss.detach(), total)
