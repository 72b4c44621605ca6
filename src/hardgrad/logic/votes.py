"""Votes: heads of table models by name, what they ask of the last layer, and what they are when exact, outputs that are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import hadamard
from torch import Tensor, nn

from hardgrad.logic.circuit import Circuit
from hardgrad.logic.gate_ids import Gate
from hardgrad.logic.heads import CodebookHead, GroupSum, WeightedGroupSum
from hardgrad.logic.lut import CircuitWriter

HEADS = ("group_sum", "weighted_group_sum", "codebook")
MAX_VOTES = 4


@dataclass(frozen=True)
class Votes:
    """What a `CircuitModel` counts: fields of that name, and the circuit of the outputs.

    Parameters
    ----------
    circuit : the circuit.
    group, weight : int32 [outputs], the score that an output counts for, and how many times.
    offset, scale : float64 [scores].
    """

    circuit: Circuit
    group: NDArray[np.int32]
    weight: NDArray[np.int32]
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]


def code_words(classes: int) -> Tensor:
    """Return code words of -1 and 1, `[classes, bits]`, of which any two differ in (bits + 1) / 2 bits: rows of a Hadamard matrix.

    The bits are one less than a power of two, at most twice the classes.

    Examples
    --------
    >>> code_words(3).tolist()
    [[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]]
    """
    size = 1 << max(classes - 1, 1).bit_length()
    return torch.from_numpy(hadamard(size)[:classes, 1:]).float()  # the first column is the same for all


def groups_of_outputs(head: str, classes: int) -> int:
    """Return how many groups of equal size the last layer falls into: one a class, or one a bit of a code word."""
    return code_words(classes).shape[1] if head == "codebook" else classes


def votes_a_score(head: str, classes: int, n_outputs: int) -> int:
    """Return how many outputs count for one score: all of them with code words."""
    return n_outputs if head == "codebook" else n_outputs // classes


def make_head(head: str, classes: int, n_outputs: int, tau: float) -> nn.Module:
    """Return the head of that name, where tau is what the count of the outputs that speak for a class is divided by."""
    if head == "weighted_group_sum":
        return WeightedGroupSum(n_outputs, classes, tau, max_weight=MAX_VOTES)
    if head == "codebook":
        codes = code_words(classes)
        # A sum of code times 2 mean - 1 is twice the count of agreeing outputs by the size of a group, less a constant.
        return CodebookHead(codes, 2.0 * tau * codes.shape[1] / n_outputs)
    return GroupSum(classes, tau)


def votes_of(head: nn.Module, circuit: Circuit, tau: float) -> Votes:
    """Return what a head of `make_head` is when exact, behind the circuit of its outputs."""
    if isinstance(head, CodebookHead):
        return _agreement(head.codes.cpu().numpy(), circuit, tau)
    if isinstance(head, WeightedGroupSum):
        weight = head.votes().detach().cpu().numpy().astype(np.int32)
    else:
        weight = np.ones(circuit.n_outputs, np.int32)
    classes = int(head.k)  # type: ignore[arg-type]
    group = np.repeat(np.arange(classes, dtype=np.int32), circuit.n_outputs // classes)
    heard = weight > 0
    return Votes(
        _with_outputs(circuit, circuit.outputs[heard]), group[heard], weight[heard], np.zeros(classes), np.full(classes, 1.0 / tau)
    )  # fmt: skip


def _agreement(codes: NDArray[np.float32], circuit: Circuit, tau: float) -> Votes:
    """Every output speaks for the classes whose code has a 1 there, and its complement for the others."""
    classes, bits = codes.shape
    n_outputs = circuit.n_outputs
    writer = CircuitWriter(circuit.n_inputs)
    writer.add(circuit.gates, circuit.left, circuit.right)
    complement = writer.add(Gate.NOT_A, circuit.outputs, circuit.outputs)
    agrees = np.repeat(codes > 0, n_outputs // bits, axis=1)
    group = np.repeat(np.arange(classes, dtype=np.int32), n_outputs)
    wires = np.where(agrees, circuit.outputs, complement).ravel().astype(np.int32)
    # The score of a count c is (2 c - n) / (2 tau), n being all outputs.
    return Votes(
        _with_outputs(writer.circuit(complement), wires), group, np.ones(len(group), np.int32),
        np.full(classes, -n_outputs / (2.0 * tau)), np.full(classes, 1.0 / tau),
    )  # fmt: skip


def _with_outputs(circuit: Circuit, outputs: NDArray[np.int32]) -> Circuit:
    return Circuit(circuit.gates, circuit.left, circuit.right, outputs, circuit.n_inputs, circuit.input_names)
