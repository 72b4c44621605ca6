"""Soft routing of rows through perfect trees, level by level, with a fused kernel for the CPU.

Gates are probabilities of LEFT. `route` is the reference in plain torch; `forest_output` routes and sums leaves in one go, with a backward
pass written by hand, and is what training uses.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FAST = {"reassoc", "contract", "nsz", "arcp"}


def route(gates: Tensor) -> Tensor:
    """Return the probability of each leaf, leaves from the left.

    Parameters
    ----------
    gates : [..., nodes, B], the probability of LEFT at each node in level order; nodes is 2**depth - 1.

    Returns
    -------
    leaf_probability : [..., 2**depth, B]; sums to 1 over the leaves.
    """
    n_nodes = gates.shape[-2]
    p = (
        torch.ones_like(gates[..., :1, :])
        if n_nodes
        else gates.new_ones(*gates.shape[:-2], 1, gates.shape[-1])
    )
    first = 0
    while first < n_nodes:
        g = gates[..., first : 2 * first + 1, :]
        left = p * g
        p = torch.stack([left, p - left], dim=-2).flatten(-3, -2)
        first = 2 * first + 1
    return p


def forest_output(gates: Tensor, leaf: Tensor) -> Tensor:
    """Return the summed leaves of every member: [members, B, outputs].

    Parameters
    ----------
    gates : [members, trees, nodes, B], probability of LEFT.
    leaf : [members, trees, leaves, outputs].
    """
    if (
        gates.device.type == "cpu"
        and gates.dtype == leaf.dtype
        and gates.dtype in (torch.float32, torch.float64)
    ):
        result: Tensor = _ForestOutput.apply(gates, leaf)  # type: ignore[no-untyped-call]
        return result
    return torch.einsum("mtlb,mtlc->mbc", route(gates), leaf)


class _ForestOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, leaf: Tensor) -> Tensor:
        gates, leaf = gates.contiguous(), leaf.contiguous()
        ctx.save_for_backward(gates, leaf)
        out = torch.zeros(gates.shape[0], leaf.shape[3], gates.shape[3], dtype=gates.dtype)
        _forward(gates.detach().numpy(), leaf.detach().numpy(), out.numpy())
        return out.transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gates, leaf = ctx.saved_tensors
        d_out = gradient.transpose(1, 2).contiguous()
        d_gates, d_leaf = torch.empty_like(gates), torch.empty_like(leaf)
        _backward(*(t.detach().numpy() for t in (gates, leaf, d_out, d_gates, d_leaf)))
        return d_gates, d_leaf


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _descend(gates: NDArray[Any], P: NDArray[Any]) -> None:
    """Fill P [nodes + leaves, B] with the probability of reaching each place of one tree."""
    P[0, :] = 1.0
    for i in range(gates.shape[0]):
        for b in range(gates.shape[1]):
            left = P[i, b] * gates[i, b]
            P[2 * i + 1, b] = left
            P[2 * i + 2, b] = P[i, b] - left


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _forward(gates: NDArray[Any], leaf: NDArray[Any], out: NDArray[Any]) -> None:
    members, n_trees, n_nodes, B = gates.shape
    P = np.empty((2 * n_nodes + 1, B), dtype=gates.dtype)
    for m in range(members):
        for t in range(n_trees):
            _descend(gates[m, t], P)
            for at in range(n_nodes + 1):
                for c in range(leaf.shape[3]):
                    v = leaf[m, t, at, c]
                    for b in range(B):
                        out[m, c, b] += P[n_nodes + at, b] * v


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _backward(
    gates: NDArray[Any], leaf: NDArray[Any], d_out: NDArray[Any], d_gates: NDArray[Any], d_leaf: NDArray[Any]
) -> None:
    members, n_trees, n_nodes, B = gates.shape
    P = np.empty((2 * n_nodes + 1, B), dtype=gates.dtype)
    Q = np.empty((2 * n_nodes + 1, B), dtype=gates.dtype)  # value of the loss's slope below each place
    for m in range(members):
        for t in range(n_trees):
            _descend(gates[m, t], P)
            for at in range(n_nodes + 1):
                q, p = Q[n_nodes + at], P[n_nodes + at]
                q[:] = 0.0
                for c in range(leaf.shape[3]):
                    v = leaf[m, t, at, c]
                    total = v * 0
                    for b in range(B):
                        q[b] += v * d_out[m, c, b]
                        total += p[b] * d_out[m, c, b]
                    d_leaf[m, t, at, c] = total
            for i in range(n_nodes - 1, -1, -1):
                for b in range(B):
                    difference = Q[2 * i + 1, b] - Q[2 * i + 2, b]
                    d_gates[m, t, i, b] = P[i, b] * difference
                    Q[i, b] = Q[2 * i + 2, b] + gates[m, t, i, b] * difference
