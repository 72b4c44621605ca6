"""Distributions over the binary trees of a sentence: sums over all trees, and over all codes of their spans, by dynamic programming.

The label of a span is a code of K bits and its score a sum over bits, so the sum over the 2^K codes of a span is a product of K sums of
two: the chart is as cheap as one without labels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from hardgrad.bits.tree_search import CodedTree, best_trees, check_chart
from hardgrad.core.errors import InputError, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.operands import Operands, settle


class TreeMarginals(NamedTuple):
    """What a distribution over trees with codes says.

    Parameters
    ----------
    log_partition : [B]; soft, temperature * log sum exp(score / temperature) over all trees and codes; exact, the score of the best.
    span_marginals : [B, L, L], probability that words i to j are a span of the tree; 0 where i > j and beyond the sentence.
    bit_marginals : [B, L, L, K], probability that they are one and that bit k of its code is 1.
    """

    log_partition: Tensor
    span_marginals: Tensor
    bit_marginals: Tensor


def tree_log_partition(span_scores: Tensor, lengths: Any = None) -> Tensor:
    """Return log sum exp(score) over all binary trees of each sentence [B], a tree's score being the sum over its 2 n - 1 spans.

    Parameters
    ----------
    span_scores : finite [B, L, L]; cell [i, j] is the score of the span of words i to j, both inside it. Cells with i > j, and those
        beyond the length of a sentence, are not looked at.
    lengths : [B], words in each sentence, 1 to L; by default all have L.

    Raises
    ------
    InputError : another shape, NaN or infinity, a length outside 1 .. L.

    Examples
    --------
    >>> tree_log_partition(torch.zeros(1, 4, 4)).exp()  # as many trees as the Catalan number says
    tensor([5.])
    """
    call = settle("tree_log_partition", span_scores, mode="soft")
    counts = _counts("tree_log_partition", span_scores, lengths)
    return _inside(call.tensors[0], counts)[0].to(call.dtype)


def tree_marginals(span_scores: Tensor, lengths: Any = None) -> Tensor:
    """Return the probability of every span [B, L, L] under weights exp(score) of trees: the gradient of `tree_log_partition`.

    Parameters
    ----------
    span_scores, lengths : as for `tree_log_partition`. The result has gradients of its own.

    Raises
    ------
    InputError : as for `tree_log_partition`.

    Examples
    --------
    >>> tree_marginals(torch.zeros(1, 3, 3))[0].tolist()
    [[1.0, 0.5, 1.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
    """
    call = settle("tree_marginals", span_scores, mode="soft")
    counts = _counts("tree_marginals", span_scores, lengths)
    return _marginals(*_inside(call.tensors[0], counts)[1:]).to(call.dtype)


def _counts(name: str, scores: Tensor, lengths: Any) -> Tensor:
    given = lengths.detach().cpu().numpy() if isinstance(lengths, Tensor) else lengths
    return torch.from_numpy(check_chart(name, tuple(scores.shape), given)).to(scores.device)


def _inside(spans: Tensor, counts: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Log-partition, sums of the two parts of every span for every split, by width, and where the roots are [B, L]."""
    total = spans.diagonal(0, 1, 2)
    start = stop = total.unsqueeze(
        -1
    )  # the spans that begin, and those that end, at each place, by their other end
    firsts, pairs = [total[:, 0]], []
    for width in range(1, spans.shape[1]):
        left, right = start[:, :-1], stop[:, 1:]
        pairs.append(left + right)
        total = spans.diagonal(width, 1, 2) + torch.logsumexp(pairs[-1], -1)
        firsts.append(total[:, 0])
        start = torch.cat([left, total.unsqueeze(-1)], -1)
        stop = torch.cat([total.unsqueeze(-1), right], -1)
    root = torch.nn.functional.one_hot(counts - 1, spans.shape[1]).to(spans.dtype)
    return (torch.stack(firsts, 1) * root).sum(1), pairs, root


def _marginals(pairs: list[Tensor], root: Tensor) -> Tensor:
    """The outside pass: what reaches a span goes on to its parts by the share of each split, from the widest down."""
    size = root.shape[1]
    to_start = to_stop = root.new_zeros(len(root), 1, size)
    by_width = []
    for width in range(size - 1, -1, -1):
        reach = to_start[..., -1] + to_stop[..., 0] + pad(root[:, width, None], (0, size - width - 1))
        by_width.append(pad(reach, (0, width)))
        if width:
            flow = reach.unsqueeze(-1) * torch.softmax(pairs[width - 1], -1)
            to_start = pad(to_start[..., :-1] + flow, (0, 0, 0, 1))
            to_stop = pad(to_stop[..., 1:] + flow, (0, 0, 1, 0))
    place = torch.arange(size, device=root.device)
    wider = (place - place.unsqueeze(1)).clamp(min=0)
    found = torch.stack(by_width[::-1], 1)[:, wider, place.unsqueeze(1)].triu()
    return found.clamp(max=1.0)  # a sum of shares may round to more


def _check_bits(name: str, num_bits: Any) -> int:
    if type(num_bits) is not int or num_bits < 1:
        raise ParameterError(f"{name} got num_bits={num_bits!r}; expected a whole number of at least 1.")
    return num_bits


class BestTree(nn.Module):
    """The best tree with the best codes as a module: the exact counterpart of `BitCKY`.

    Parameters
    ----------
    num_bits : bits in the code of a span.

    Raises
    ------
    ParameterError : num_bits below 1.

    Examples
    --------
    >>> scores = torch.zeros(1, 2, 2, 1, 2); scores[..., 1] = 1.0
    >>> BestTree(1)(scores).log_partition, BestTree(1).decode(scores)[0].codes.tolist()
    (tensor([3.]), [[True], [True], [True]])
    """

    def __init__(self, num_bits: int) -> None:
        super().__init__()
        self.num_bits = _check_bits("BestTree", num_bits)

    def forward(self, scores: Tensor, lengths: Any = None) -> TreeMarginals:
        """Return score, spans and bits of the best tree, the latter as 0 and 1 (see `BitCKY.forward`)."""
        call = _settle(self.num_bits, scores, "hard", None)
        return _exact(call.given[0].to(call.dtype), _counts("BestTree", scores, lengths))

    def decode(self, scores: Tensor, lengths: Any = None) -> list[CodedTree]:
        """Return the best tree of each sentence (see `BitCKY.decode`)."""
        _settle(self.num_bits, scores, "hard", None)
        counts = _counts("BestTree", scores, lengths).cpu().numpy()
        array = scores.detach().cpu().double().numpy()
        trees, totals = best_trees(array.max(-1).sum(-1), counts)
        bits = array[..., 1] > array[..., 0]
        return [
            CodedTree(spans, bits[sentence, spans[:, 0], spans[:, 1] - 1], float(totals[sentence]))
            for sentence, spans in enumerate(trees)
        ]

    def extra_repr(self) -> str:
        """Return the arguments, for the text of a model."""
        return f"num_bits={self.num_bits}"


class BitCKY(Relaxed):
    """Parse with binary codes for labels: sums over all binary trees and all codes of their spans, and the best of them.

    Parameters
    ----------
    num_bits : bits K in the code of a span.
    temperature : positive, in the units of the scores; small is hard.

    Raises
    ------
    ParameterError, TemperatureError : num_bits below 1, a temperature that is not positive and finite.

    Examples
    --------
    >>> scores = torch.zeros(1, 3, 3, 2, 2); scores[0, 0, 1, :, 1] = torch.tensor([2.0, -1.0])
    >>> chart = BitCKY(2)
    >>> found = chart(scores)
    >>> round(found.span_marginals[0, 0, 1].item(), 3), [round(p, 3) for p in found.bit_marginals[0, 0, 1].tolist()]
    (0.742, [0.653, 0.199])
    >>> tree = chart.decode(scores)[0]
    >>> tree.spans[1].tolist(), tree.codes[1].tolist(), tree.score
    ([0, 2], [True, False], 2.0)

    Source: Wang and Utiyama, 2024, To be Continuous, or to be Discrete, Those are Bits of Questions.
    """

    def __init__(self, num_bits: int, *, temperature: float = 1.0) -> None:
        super().__init__(temperature)
        self.num_bits = _check_bits("BitCKY", num_bits)

    def forward(
        self, scores: Tensor, lengths: Any = None, *, temperature: Any = None, mode: Mode | None = None
    ) -> TreeMarginals:
        """Return log-partition, span marginals and bit marginals.

        Parameters
        ----------
        scores : finite [B, L, L, K, 2]; [b, i, j, k, v] is the score of value v for bit k of the span of words i to j, both inside it.
        lengths : [B], words in each sentence, 1 to L; by default all have L. Cells beyond them, and those with i > j, play no part.
        temperature, mode : of this call. "hard" gives the best tree with its codes: score, and marginals of 0 and 1.

        Raises
        ------
        InputError : another shape, NaN or infinity, a length outside 1 .. L.
        """
        resolved = self.resolved_mode(mode)
        call = _settle(self.num_bits, scores, resolved, self.resolved_temperature(temperature))
        counts = _counts("BitCKY", scores, lengths)
        if resolved == "hard":
            return _exact(call.given[0].to(call.dtype), counts)
        soft = _relaxed(call.tensors[0], counts, call.temperature)
        relaxed = TreeMarginals(*(part.to(call.dtype) for part in soft))
        if resolved == "soft":
            return relaxed
        exact = _exact(call.given[0].detach().to(call.dtype), counts)
        return TreeMarginals(*map(straight_through, exact, relaxed))

    def span_scores(self, scores: Tensor) -> Tensor:
        """Return the score of every span [B, L, L], summed over its codes: temperature * log sum exp(score / temperature).

        The log-likelihood of a tree, whatever its codes, is the sum over its spans less `log_partition`.

        Parameters
        ----------
        scores : as for `forward`.
        """
        call = _settle(self.num_bits, scores, "soft", self.resolved_temperature())
        spans: Tensor = call.temperature * _over_codes(call.tensors[0] / call.temperature)
        return spans.to(call.dtype)

    def decode(self, scores: Tensor, lengths: Any = None) -> list[CodedTree]:
        """Return the best tree of each sentence with the code of each of its spans; equal values of a bit give 0.

        Parameters
        ----------
        scores, lengths : as for `forward`.

        Raises
        ------
        InputError : as for `forward`.
        """
        return self.harden().decode(scores, lengths)

    def harden(self) -> BestTree:
        """Return the module that finds the best tree."""
        return BestTree(self.num_bits)

    def extra_repr(self) -> str:
        """Return the arguments, for the text of a model."""
        return f"num_bits={self.num_bits}"


def _settle(num_bits: int, scores: Tensor, mode: Mode, temperature: Any) -> Operands:
    call = settle("BitCKY", scores, temperature=temperature, mode=mode)
    if scores.dim() != 5 or scores.shape[3:] != (num_bits, 2):
        raise InputError(
            f"BitCKY got scores of shape {tuple(scores.shape)}; expected [B, L, L, {num_bits}, 2], two scores a bit."
        )
    return call


def _over_codes(scaled: Tensor) -> Tensor:
    zero, one = scaled.unbind(-1)
    # log(exp(zero) + exp(one)), at less than half the cost of logaddexp; beyond the threshold both are equal in double precision.
    return (zero + softplus(one - zero, threshold=40.0)).sum(-1)


def _relaxed(scores: Tensor, counts: Tensor, temperature: Any) -> TreeMarginals:
    scaled = scores / temperature
    total, pairs, root = _inside(_over_codes(scaled), counts)
    marginals = _marginals(pairs, root)
    # Given that a span is there, its bits are independent of the tree and of each other.
    bits = marginals.unsqueeze(-1) * torch.sigmoid(scaled[..., 1] - scaled[..., 0])
    return TreeMarginals(temperature * total, marginals, bits)


def _exact(scores: Tensor, counts: Tensor) -> TreeMarginals:
    spans = scores.amax(-1).sum(-1)
    trees, _ = best_trees(spans.detach().cpu().double().numpy(), counts.cpu().numpy())
    chosen = np.zeros(tuple(spans.shape), dtype=bool)
    for sentence, tree in enumerate(trees):
        chosen[sentence, tree[:, 0], tree[:, 1] - 1] = True
    kept = torch.from_numpy(chosen).to(scores.device)
    bits = kept.unsqueeze(-1) & (scores[..., 1] > scores[..., 0])
    return TreeMarginals(
        torch.where(kept, spans, 0.0).sum((1, 2)), kept.to(scores.dtype), bits.to(scores.dtype)
    )
