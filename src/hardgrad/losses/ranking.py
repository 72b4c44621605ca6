"""Losses for learning to rank: NDCG itself, relaxed in two ways, and the established ones beside them.

All take `loss(scores, relevance, mask=None, sample_weight=None)` with lists of items in rows. The exact metric is `exact.ndcg`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import check_temperature, resolve_mode, resolve_temperature
from hardgrad.core.relaxed import straight_through
from hardgrad.functional.operands import check_choice, check_finite, check_real
from hardgrad.functional.permutations import neural_sort_logits
from hardgrad.functional.transport import ITERATIONS, TOLERANCE, doubly_stochastic

GAINS = ("exponential", "linear")
REDUCTIONS = ("mean", "sum", "none")


class _ListLoss(nn.Module):
    """What the losses share: checks, and the mean over the lists that there is something to rank in."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_choice(type(self).__name__, "reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    def forward(
        self,
        scores: Tensor,
        relevance: Tensor,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        scores : (B, n), floating.
        relevance : (B, n), not negative.
        mask : (B, n), Boolean, True for items that are there.
        sample_weight : (B,), of each list.

        Raises
        ------
        InputError : shapes that do not match, or values that are not finite.
        """
        name = type(self).__name__
        self._check(name, scores, relevance, mask, sample_weight)
        there = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
        computing = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
        s = torch.where(there, scores, 0.0).to(computing)
        y = torch.where(there, relevance, 0).to(computing)
        each, counts = self._each(s, y, None if mask is None else there)
        each = torch.where(counts, each, 0.0)
        if self.reduction == "none":
            return (each if sample_weight is None else each * sample_weight.to(each)).to(scores.dtype)
        weight = counts.to(computing) if sample_weight is None else counts * sample_weight.to(each)
        total = (each * weight).sum()
        if self.reduction == "mean":
            total = total / torch.where(weight.sum() > 0, weight.sum(), 1.0)
        return total.to(scores.dtype)

    def _each(self, s: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the loss of each list, and which lists count."""
        raise NotImplementedError

    @staticmethod
    def _check(
        name: str, scores: Tensor, relevance: Tensor, mask: Tensor | None, sample_weight: Tensor | None
    ) -> None:
        if (
            scores.dim() != 2
            or relevance.shape != scores.shape
            or (mask is not None and mask.shape != scores.shape)
        ):
            shapes = (scores, relevance) if mask is None else (scores, relevance, mask)
            raise InputError(
                f"{name} got shapes {', '.join(str(tuple(t.shape)) for t in shapes)}; expected (lists, items) for all."
            )
        if mask is not None and mask.dtype != torch.bool:
            raise InputError(
                f"{name} got a mask of {mask.dtype}; expected torch.bool, True for items that are there."
            )
        if sample_weight is not None and sample_weight.shape != scores.shape[:1]:
            raise InputError(
                f"{name} got sample_weight of shape {tuple(sample_weight.shape)}; expected ({scores.shape[0]},), one for each list."
            )
        for tensor in (scores, relevance):
            check_real(name, tensor)
            check_finite(name, tensor if mask is None else torch.where(mask, tensor, 0))


def _gains(y: Tensor, gain: str) -> Tensor:
    return torch.exp2(y) - 1.0 if gain == "exponential" else y


def _discounts(n: int, k: int | None, like: Tensor) -> Tensor:
    place = torch.arange(1, n + 1, dtype=like.dtype, device=like.device)
    weight = 1.0 / torch.log2(1.0 + place)
    return weight if k is None else weight * (place <= k)


def _ideal(gains: Tensor, k: int | None) -> Tensor:
    return (gains.sort(-1, descending=True).values * _discounts(gains.shape[-1], k, gains)).sum(-1)


def _per_ideal(gained: Tensor, ideal: Tensor) -> Tensor:
    return gained / torch.where(ideal > 0, ideal, 1.0)


def _check_cutoff(name: str, k: int | None) -> None:
    if k is not None and (type(k) is not int or k < 1):
        raise ParameterError(f"{name} got k={k!r}; expected a whole number from 1, or None for all places.")


class NeuralNDCGLoss(_ListLoss):
    """NDCG with sorting relaxed by NeuralSort and, unless switched off, Sinkhorn's scaling: minus the soft NDCG.

    Parameters
    ----------
    temperature : in the units of the scores; small is hard. A surrounding `hardgrad.mode` block changes the mode, and where this is None
        the temperature too.
    k : only the first k places count.
    gain : "exponential", 2^relevance - 1, or "linear".
    transposed : sum over items of their expected discount, instead of over places of their expected gain. The number is the same.
    stochastic : average over rankings of scores with Gumbel noise.
    n_samples : number of them.
    beta : scale of the noise.
    log_scores : take the logarithm of the scores, less the least of their list, before noise is added.
    sinkhorn_iters : at most; 0 leaves rows that sum to 1 and columns that need not.
    tol : columns sum to 1 within this.
    reduction : "mean" over lists that have a relevant item, "sum" or "none".
    generator : of the noise.

    Raises
    ------
    ParameterError, TemperatureError : a parameter outside its range.

    Examples
    --------
    >>> scores, relevance = torch.tensor([[0.5, 2.0, -1.0, 1.0]]), torch.tensor([[3, 1, 0, 2]])
    >>> NeuralNDCGLoss()(scores, relevance).item()
    -0.719894

    Source: Pobrotyn and Bialobrzeski, 2021, NeuralNDCG: Direct Optimisation of a Ranking Metric via Differentiable Relaxation of Sorting.
    """

    def __init__(
        self,
        temperature: Any = 1.0,
        k: int | None = None,
        gain: str = "exponential",
        transposed: bool = False,
        stochastic: bool = False,
        n_samples: int = 32,
        beta: float = 0.1,
        log_scores: bool = True,
        sinkhorn_iters: int = ITERATIONS,
        tol: float = TOLERANCE,
        reduction: str = "mean",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(reduction)
        check_choice("NeuralNDCGLoss", "gain", gain, GAINS)
        _check_cutoff("NeuralNDCGLoss", k)
        if temperature is not None:
            check_temperature(temperature, "NeuralNDCGLoss")
        if n_samples < 1 or not beta > 0 or sinkhorn_iters < 0 or not tol > 0:
            raise ParameterError(
                f"NeuralNDCGLoss got n_samples={n_samples}, beta={beta}, sinkhorn_iters={sinkhorn_iters} and tol={tol}; expected at "
                "least 1, positive, not negative and positive."
            )
        self.temperature, self.k, self.gain, self.transposed = temperature, k, gain, transposed
        self.stochastic, self.n_samples, self.beta, self.log_scores = stochastic, n_samples, beta, log_scores
        self.sinkhorn_iters, self.tol, self.generator = sinkhorn_iters, tol, generator

    def permutation(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the relaxed permutation matrix (B, n, n) of scores (B, n), largest first; exact in modes "st" and "hard"."""
        mode = resolve_mode(None)
        if mode == "hard":
            return _exact_permutation(scores, mask)
        level = resolve_temperature(self.temperature, 1.0)
        logits, pairs = neural_sort_logits(scores, level, True, mask)
        if self.sinkhorn_iters:
            weights = doubly_stochastic(logits, None, self.sinkhorn_iters, self.tol)
        else:
            weights = torch.softmax(logits, dim=-1)
        weights = weights if pairs is None else weights * pairs
        return weights if mode == "soft" else straight_through(_exact_permutation(scores, mask), weights)

    def _each(self, s: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        gains = _gains(y, self.gain)
        ideal = _ideal(gains, self.k)
        ranked, repeated = (self._noisy(s, mask), mask) if self.stochastic else (s, mask)
        if self.stochastic and mask is not None:
            repeated = mask.expand(self.n_samples, *mask.shape).reshape(-1, mask.shape[-1])
        weights = self.permutation(ranked, repeated)
        weights = weights.reshape(-1, *s.shape, s.shape[-1])  # (samples, B, n, n)
        discounts = _discounts(s.shape[-1], self.k, s)
        if self.transposed:
            gained = ((weights.mT @ discounts) * gains).sum(-1)
        else:
            gained = ((weights @ gains.unsqueeze(-1)).squeeze(-1) * discounts).sum(-1)
        return -_per_ideal(gained.mean(0), ideal), ideal > 0

    def _noisy(self, s: Tensor, mask: Tensor | None) -> Tensor:
        if self.log_scores:
            there = torch.ones_like(s, dtype=torch.bool) if mask is None else mask
            least = torch.where(there, s, torch.inf).amin(-1, keepdim=True)
            s = torch.log(torch.where(there, s - least, 1.0).clamp_min(0.0) + 1e-6)
        drawn = torch.empty((self.n_samples, *s.shape), dtype=torch.float32, device=s.device)
        drawn = drawn.exponential_(generator=self.generator).clamp_min(torch.finfo(torch.float32).tiny)
        return (s - self.beta * drawn.log().to(s.dtype)).reshape(-1, s.shape[-1])


def _exact_permutation(scores: Tensor, mask: Tensor | None) -> Tensor:
    shown = scores.detach() if mask is None else torch.where(mask, scores.detach(), -torch.inf)
    order = torch.argsort(shown, dim=-1, descending=True, stable=True)
    weights = (order.unsqueeze(-1) == torch.arange(scores.shape[-1], device=scores.device)).to(scores.dtype)
    return weights if mask is None else weights * mask.unsqueeze(-2)


class ApproxNDCGLoss(_ListLoss):
    """NDCG at soft ranks, each the count of sigmoids of the pairs of scores: minus the approximate NDCG.

    Parameters
    ----------
    temperature : of the sigmoids, in the units of the scores.
    gain, reduction : as for `NeuralNDCGLoss`.

    Examples
    --------
    >>> scores, relevance = torch.tensor([[0.5, 2.0, -1.0, 1.0]]), torch.tensor([[3, 1, 0, 2]])
    >>> ApproxNDCGLoss(temperature=0.01)(scores, relevance).item()
    -0.680606

    Source: Qin, Liu and Li, 2010, A General Approximation Framework for Direct Optimization of Information Retrieval Measures.
    """

    def __init__(self, temperature: float = 0.1, gain: str = "exponential", reduction: str = "mean") -> None:
        super().__init__(reduction)
        check_choice("ApproxNDCGLoss", "gain", gain, GAINS)
        self.temperature, self.gain = float(check_temperature(temperature, "ApproxNDCGLoss")), gain

    def _each(self, s: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        gains = _gains(y, self.gain)
        ahead = torch.sigmoid((s.unsqueeze(-2) - s.unsqueeze(-1)) / self.temperature)  # [i, j]: j before i
        if mask is not None:
            ahead = ahead * mask.unsqueeze(-2)
        ranks = 0.5 + ahead.sum(-1)  # the pair of an item with itself counts 1/2
        ideal = _ideal(gains, None)
        return -_per_ideal((gains / torch.log2(1.0 + ranks.clamp_min(1.0))).sum(-1), ideal), ideal > 0


class ListNetLoss(_ListLoss):
    """Cross-entropy between the softmax of the relevance and the softmax of the scores, over the items of a list.

    Parameters
    ----------
    reduction : as for `NeuralNDCGLoss`; the mean is over lists of two items or more.

    Examples
    --------
    >>> ListNetLoss()(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item()
    0.6931

    Source: Cao, Qin, Liu, Tsai and Li, 2007, Learning to Rank: From Pairwise Approach to Listwise Approach.
    """

    def _each(self, s: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        there = torch.ones_like(s, dtype=torch.bool) if mask is None else mask
        low = torch.finfo(s.dtype).min / 4
        target = torch.softmax(torch.where(there, y, low), dim=-1)
        logs = torch.log_softmax(torch.where(there, s, low), dim=-1)
        return -(target * torch.where(there, logs, 0.0)).sum(-1), there.sum(-1) > 1


class _PairLoss(_ListLoss):
    """Pairs of items whose relevance differs: the more relevant one should have the larger score."""

    def _each(self, s: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        wrong = torch.nn.functional.softplus(
            s.unsqueeze(-2) - s.unsqueeze(-1)
        )  # [i, j], where i is the better
        better = y.unsqueeze(-1) > y.unsqueeze(-2)
        if mask is not None:
            better = better & mask.unsqueeze(-1) & mask.unsqueeze(-2)
        return self._total(wrong * better, s, y, mask, better), better.any(-1).any(-1)

    def _total(self, wrong: Tensor, s: Tensor, y: Tensor, mask: Tensor | None, better: Tensor) -> Tensor:
        return wrong.sum((-1, -2)) / better.sum((-1, -2)).clamp_min(1)


class RankNetLoss(_PairLoss):
    """Logistic loss of the pairs of items whose relevance differs, the mean over the pairs of a list.

    Parameters
    ----------
    reduction : as for `NeuralNDCGLoss`; the mean is over lists that have such a pair.

    Examples
    --------
    >>> RankNetLoss()(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    0.6931

    Source: Burges and others, 2005, Learning to Rank using Gradient Descent.
    """


class LambdaLoss(_PairLoss):
    """Logistic loss of pairs, each weighted by what its exchange would change in NDCG; the sum over the pairs of a list.

    Parameters
    ----------
    weighting : "lambdarank", by the places that both have now, or "ndcg_loss2", by their distance, which bounds NDCG.
    k : only the first k places count.
    gain, reduction : as for `NeuralNDCGLoss`.

    Examples
    --------
    >>> LambdaLoss()(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    0.2558

    Source: Wang, Li, Golbandi, Bendersky and Najork, 2018, The LambdaLoss Framework for Ranking Metric Optimization.
    """

    def __init__(
        self,
        weighting: str = "lambdarank",
        k: int | None = None,
        gain: str = "exponential",
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        check_choice("LambdaLoss", "weighting", weighting, ("lambdarank", "ndcg_loss2"))
        check_choice("LambdaLoss", "gain", gain, GAINS)
        _check_cutoff("LambdaLoss", k)
        self.weighting, self.k, self.gain = weighting, k, gain

    def _total(self, wrong: Tensor, s: Tensor, y: Tensor, mask: Tensor | None, better: Tensor) -> Tensor:
        n = s.shape[-1]
        gains = _gains(y, self.gain)
        shown = s.detach() if mask is None else torch.where(mask, s.detach(), -torch.inf)
        order = torch.argsort(shown, dim=-1, descending=True, stable=True)
        place = torch.empty_like(order).scatter(-1, order, torch.arange(n, device=s.device).expand_as(order))
        change = (gains.unsqueeze(-1) - gains.unsqueeze(-2)).abs() / _ideal(gains, self.k)[
            :, None, None
        ].clamp_min(1e-12)
        discounts = _discounts(n + 1, None, s)
        if self.weighting == "lambdarank":
            of_item = _discounts(n, self.k, s)[place]
            change = change * (of_item.unsqueeze(-1) - of_item.unsqueeze(-2)).abs()
        else:
            apart = (place.unsqueeze(-1) - place.unsqueeze(-2)).abs()
            change = change * torch.where(
                apart > 0, discounts[(apart - 1).clamp_min(0)] - discounts[apart], 0.0
            )
            if self.k is not None:
                change = change * (torch.minimum(place.unsqueeze(-1), place.unsqueeze(-2)) < self.k)
        return (wrong * change).sum((-1, -2))
