"""Losses on permutation matrices, for learning from "this list is in this order": of relaxed ones, and of exact ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.functional.operands import check_finite, check_real, values_are_checked


def permutation_target(labels: Tensor) -> Tensor:
    """Return the permutation matrix Q (..., n, n) that sorts labels (..., n): Q[k, i] is 1 where element i has rank k.

    Equal labels share their rows evenly, so that no order among them is punished more than another.

    Raises
    ------
    InputError, InputTypeError : NaN or infinite labels, labels without a dimension; Boolean or complex ones.

    Examples
    --------
    >>> permutation_target(torch.tensor([7, 3, 7])).tolist()
    [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]
    """
    check_real("permutation_target", labels)
    check_finite("permutation_target", labels)
    if labels.dim() < 1:
        raise InputError("permutation_target() got one label; expected a tensor of labels (..., n).")
    ordered = labels.sort(dim=-1).values
    dtype = labels.dtype if labels.is_floating_point() else torch.get_default_dtype()
    equal = (ordered.unsqueeze(-1) == labels.unsqueeze(-2)).to(dtype)
    return equal / equal.sum(-1, keepdim=True)


class PermutationBCE(nn.Module):
    """Binary cross-entropy between relaxed permutation matrices and the order of labels, the mean over all entries.

    Parameters
    ----------
    eps : the entries are kept within [eps, 1 - eps]; outside there is no gradient, so exact matrices cannot be trained with it.

    Raises
    ------
    ParameterError : an eps outside (0, 1/2).

    Examples
    --------
    >>> loss = PermutationBCE()
    >>> round(float(loss(torch.full((2, 2), 0.5), torch.tensor([1, 2]))), 4)
    0.6931

    Source: Petersen, Borgelt, Kuehne and Deussen, 2021, Differentiable Sorting Networks for Scalable Sorting and Ranking Supervision.
    """

    def __init__(self, eps: float = 1e-7) -> None:
        super().__init__()
        if not 0.0 < eps < 0.5:
            raise ParameterError(f"PermutationBCE got eps={eps!r}; expected a number between 0 and 1/2.")
        self.eps = eps

    def forward(self, weights: Tensor, labels: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the loss, one number.

        Parameters
        ----------
        weights : (..., n, n), row k says which element has rank k, as in `sort(...).weights`; halves are computed in float32.
        labels : (..., n), what the elements should be sorted by; equal ones share their ranks.
        sample_weight : (...), not negative, one a list; 1 by default.

        Raises
        ------
        InputError : shapes that do not fit, negative weights or none above 0, NaN.
        """
        _check_shapes("PermutationBCE", weights, labels)
        p = weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights
        p = p.clamp(self.eps, 1.0 - self.eps)
        q = permutation_target(labels).to(p.dtype)
        losses = -(q * p.log() + (1.0 - q) * torch.log1p(-p)).mean((-2, -1))
        return _weighted_mean("PermutationBCE", losses, sample_weight)


class HardPermutationLoss(nn.Module):
    """Squared difference between inputs in the order that an exact permutation gives them and in the right order, by groups.

    The inputs are cut into groups of neighbours; within a group the exact permutation and the labels each say an order of its members.
    Equal labels take the order that the permutation gives them.

    Parameters
    ----------
    group : members of a group; a remainder of one joins the last group.

    Raises
    ------
    ParameterError : a group of fewer than two.

    Examples
    --------
    >>> right = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> loss = HardPermutationLoss()
    >>> images, labels = torch.tensor([[3.0], [1.0]]), torch.tensor([3, 1])
    >>> float(loss(right, images, labels)), float(loss(right.flip(0), images, labels))
    (0.0, 4.0)

    Source: Kim, Yoon and Cho, 2024, Generalized Neural Sorting Networks with Error-Free Differentiable Swap Functions.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        if type(group) is not int or group < 2:
            raise ParameterError(f"HardPermutationLoss got group={group!r}; expected at least 2 members.")
        self.group = group

    def forward(
        self, weights: Tensor, inputs: Tensor, labels: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the loss, one number: the sum over groups of the mean squared difference.

        Parameters
        ----------
        weights : (..., n, n), exact permutations with a relaxed gradient: of `sort(..., swap="error_free", mode="st")`.
        inputs : (..., n) followed by any number of dimensions, the raw elements that were scored.
        labels : (..., n), what the elements should be sorted by.
        sample_weight : (...), not negative, one a list; 1 by default.

        Raises
        ------
        InputError : shapes that do not fit, weights that are no permutation, negative sample weights or none above 0, NaN.
        """
        _check_shapes("HardPermutationLoss", weights, labels)
        if inputs.shape[: labels.dim()] != labels.shape:
            raise InputError(
                f"HardPermutationLoss got inputs of shape {tuple(inputs.shape)} for labels of shape {tuple(labels.shape)}; expected the "
                "shape of the labels first."
            )
        check_real("HardPermutationLoss", labels)
        check_finite("HardPermutationLoss", labels)
        _check_permutation(weights)
        raw = inputs.reshape(*labels.shape, -1).to(weights.dtype)
        place = weights.argmax(-2)  # the rank of every element
        losses = weights.new_zeros(labels.shape[:-1])
        for start, stop in _groups(labels.shape[-1], self.group):
            own = slice(start, stop)
            rows, predicted = place[..., own].sort(-1)
            rank = labels[..., own].gather(-1, predicted).sort(dim=-1, stable=True).indices
            target = predicted.gather(-1, rank)
            size = stop - start
            small = weights[..., own].gather(-2, rows.unsqueeze(-1).expand(*rows.shape, size))
            members = raw[..., own, :]
            right = members.gather(-2, target.unsqueeze(-1).expand_as(members))
            losses = losses + (small @ members - right).square().mean((-2, -1))
        return _weighted_mean("HardPermutationLoss", losses, sample_weight)


def _groups(n: int, size: int) -> list[tuple[int, int]]:
    starts = list(range(0, n, size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


def _check_shapes(name: str, weights: Tensor, labels: Tensor) -> None:
    if labels.dim() < 1 or weights.shape != (*labels.shape, labels.shape[-1]) or not labels.numel():
        raise InputError(
            f"{name} got weights of shape {tuple(weights.shape)} for labels of shape {tuple(labels.shape)}; expected (..., n, n) for "
            "(..., n), not empty."
        )
    check_finite(name, weights)


def _check_permutation(weights: Tensor) -> None:
    if values_are_checked(weights):
        exact = weights.detach()
        ones = exact.sum(-1).eq(1).all() and exact.sum(-2).eq(1).all()
        if not (bool(ones) and bool(((exact == 0) | (exact == 1)).all())):
            raise InputError(
                "HardPermutationLoss got weights that are no permutation; expected zeros and ones with a single one in every row and "
                'column. Sort with mode="st".'
            )


def _weighted_mean(name: str, losses: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return losses.mean()
    if sample_weight.shape != losses.shape:
        raise InputError(
            f"{name} got sample_weight of shape {tuple(sample_weight.shape)}; expected {tuple(losses.shape)}, one a list."
        )
    check_finite(name, sample_weight)
    if values_are_checked(sample_weight) and not (
        bool((sample_weight >= 0).all()) and bool((sample_weight > 0).any())
    ):
        raise InputError(f"{name} got a sample_weight below 0, or none above 0; expected weights of lists.")
    weight = sample_weight.to(losses.dtype)
    return (losses * weight).sum() / weight.sum()
