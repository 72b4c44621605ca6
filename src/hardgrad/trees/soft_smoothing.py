"""Soft forests as smoothers: the weights of training rows when all leaves are refitted by least squares, and a penalty made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError, UnsupportedError
from hardgrad.tabular.weights import check_weights
from hardgrad.trees.smoothing_matrices import check_size
from hardgrad.trees.smoothing_rules import REFITTED, SmoothingRule

if TYPE_CHECKING:
    from hardgrad.trees.soft_forest import SoftForest


def soft_smoother(
    forest: SoftForest, X_train: Any, X_query: Any, *, sample_weight: Any = None, rule: SmoothingRule | None = None
) -> Any:  # fmt: skip
    """Return the smoother of a soft forest whose leaves are refitted by penalised least squares (see `smoother_matrix`).

    Leaves that gradient steps have learned are not these, and have no smoother matrix.
    """
    rule = REFITTED if rule is None else rule
    if rule.leaves != "refit" or rule.ridge <= 0:
        raise UnsupportedError(
            f"a SoftForest got leaves={rule.leaves!r} with ridge={rule.ridge:g}; expected 'refit' with a positive ridge. Harden it first "
            "for the other rules."
        )
    if isinstance(X_train, Tensor):
        P, Q = (forest.leaf_probability(X).flatten(1).double() for X in (X_train, X_query))
    else:
        with torch.no_grad():
            P, Q = (
                forest.leaf_probability(forest.scores_of(X)).flatten(1).double() for X in (X_train, X_query)
            )
    check_size(max(len(P), len(Q)), len(P))
    root = torch.from_numpy(check_weights(sample_weight, len(P))).to(P.device).sqrt()
    K = (P @ P.T) * root * root[:, None]
    # Q (P^T B P + r I)^-1 P^T B by way of the n x n kernel: there are usually more leaves than rows.
    penalty = rule.ridge * torch.eye(len(P), dtype=K.dtype, device=K.device)
    S = torch.linalg.solve(K + penalty, ((Q @ P.T) * root).T).T * root
    return S if isinstance(X_train, Tensor) else S.numpy()


def effective_parameter_penalty(leaf_probability: Tensor, ridge: float = 1e-3) -> Tensor:
    """Return the effective parameters of a soft forest on a batch, to be added to its loss: a smaller value is a smoother forest.

    The leaves count as refitted to the batch by least squares with a penalty: with the singular values s of the leaf probabilities this is
    the sum of (s^2 / (s^2 + ridge))^2, which `effective_parameters` of the batch's own smoother matrix gives.

    Parameters
    ----------
    leaf_probability : [rows, trees, leaves] as `SoftForest.leaf_probability` returns it, or [rows, leaves]; gradients flow into it.
    ridge : positive penalty on squared leaf values.

    Raises
    ------
    InputError : another number of dimensions, or no rows.
    ParameterError : a ridge that is not positive.

    Examples
    --------
    >>> p = torch.eye(4, requires_grad=True)
    >>> penalty = effective_parameter_penalty(p, ridge=1.0); penalty.item()
    1.0
    >>> penalty.backward(); bool((p.grad.diagonal() > 0).all())
    True

    Source: Curth, Jeffares and van der Schaar, 2024, Why do Random Forests Work?
    """
    if leaf_probability.ndim not in (2, 3) or len(leaf_probability) == 0:
        raise InputError(
            f"effective_parameter_penalty() got shape {tuple(leaf_probability.shape)}; expected [rows, trees, leaves], at least one row."
        )
    if not ridge > 0:
        raise ParameterError(
            f"effective_parameter_penalty() got ridge={ridge!r}; expected a positive number."
        )
    P = leaf_probability.flatten(1)
    gram = P @ P.T if len(P) <= P.shape[1] else P.T @ P
    squared = torch.linalg.eigvalsh(gram).clamp(min=0.0)
    penalty: Tensor = (squared / (squared + ridge)).square().sum()
    return penalty
