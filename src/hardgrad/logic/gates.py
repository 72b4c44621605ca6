"""From numbers that are learned to truth tables: the parametrisations of a gate, and how one becomes another.

A table of a gate of k inputs has 2^k entries in [0, 1], in the order of `gate_ids`: what the gate answers in each row, by probability.
Every parametrisation makes a table, so that what evaluates tables is written once. Which numbers to start from is `initialisation`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad.core.errors import ParameterError
from hardgrad.functional.operands import check_choice, reads_are_cheap
from hardgrad.logic.gate_ids import MAX_FAN_IN, TRUTH_TABLES

RESPONSES = ("sine", "sigmoid", "softmax")
PARAMETRIZATIONS = ("input_wise", "softmax")
NEAREST_TO_CERTAIN = 1e-6
"""Entries are kept this far from 0 and 1 where a logarithm or an arc sine is taken of them."""


def response_of(parametrization: str, response: str) -> str:
    """Return "sine", "sigmoid" or "softmax" for the two arguments that layers take.

    Raises
    ------
    ParameterError : a name that is not known.
    """
    check_choice("LogicLayer", "parametrization", parametrization, PARAMETRIZATIONS)
    check_choice("LogicLayer", "response", response, RESPONSES[:2])
    return "softmax" if parametrization == "softmax" else response


def weights_per_gate(response: str, fan_in: int) -> int:
    """Return how many numbers a gate learns: one a row of its table, or one a gate of two inputs for "softmax".

    Raises
    ------
    ParameterError : a fan-in outside 2 to 6; "softmax" with more than two inputs, which would choose among 2^(2^k) gates.
    """
    if not 2 <= fan_in <= MAX_FAN_IN:
        raise ParameterError(
            f"got fan_in={fan_in!r}; expected 2 to {MAX_FAN_IN}: a table of 64 rows fills a word."
        )
    if response != "softmax":
        return int(2**fan_in)
    if fan_in != 2:
        raise ParameterError(
            f"got parametrization='softmax' with fan_in={fan_in}, a choice among {2**2**fan_in} gates; expected fan_in=2. "
            "Take parametrization='input_wise'."
        )
    return 16


def soft_table(weight: Tensor, response: str, temperature: Any = 1.0) -> Tensor:
    """Return tables with gradients.

    Parameters
    ----------
    weight : `[..., 16]` logits of the gates ("softmax") or `[..., 2**k]`, one number a row.
    response : "sine", (1 + sin w) / 2; "sigmoid"; "softmax", the expected table.
    temperature : positive; below 1 sharpens towards 0 and 1, as a logit divided by it. It changes no entry's side of 1/2.

    Returns
    -------
    table : `[..., 2**k]` in [0, 1].

    Examples
    --------
    >>> soft_table(torch.tensor([-1.5, -1.5, 1.5, 1.5]), "sine").round(decimals=2).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    if response == "softmax":
        return torch.softmax(weight / temperature, dim=-1) @ known_tables(weight)
    if response == "sigmoid":
        return torch.sigmoid(weight / temperature)
    table = 0.5 + 0.5 * torch.sin(weight)
    if _is_one(temperature):
        return table
    least = torch.finfo(table.dtype).tiny
    logit = table.clamp_min(least).log() - (1.0 - table).clamp_min(least).log()
    return torch.sigmoid(logit / temperature)


def _is_one(temperature: Any) -> bool:
    """Tell whether nothing is to be divided by, where that can be seen."""
    if isinstance(temperature, Tensor) and (temperature.requires_grad or not reads_are_cheap(temperature)):
        return False
    return bool(temperature == 1.0)


def hard_table(weight: Tensor, response: str) -> Tensor:
    """Return the exact tables, of zeros and ones: the most likely gate ("softmax"), or a one where the entry is at least 1/2."""
    if response == "softmax":
        return known_tables(weight)[weight.argmax(dim=-1)]
    return (soft_table(weight, response) >= 0.5).to(weight.dtype)


def softmax_to_input_wise(logits: Tensor, response: str = "sine") -> Tensor:
    """Return weights `[..., 4]` whose table is the expected table of the logits `[..., 16]`.

    Examples
    --------
    >>> logits = torch.zeros(16); logits[1] = 20.0
    >>> hard_table(softmax_to_input_wise(logits), "sine").tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    check_choice("softmax_to_input_wise", "response", response, RESPONSES[:2])
    table = soft_table(logits, "softmax").clamp(NEAREST_TO_CERTAIN, 1.0 - NEAREST_TO_CERTAIN)
    return torch.logit(table) if response == "sigmoid" else torch.asin(2.0 * table - 1.0)


def input_wise_to_softmax(weight: Tensor, response: str = "sine") -> Tensor:
    """Return logits `[..., 16]` whose expected table is that of the weights `[..., 4]`.

    Many logits have one table; these are of the gates whose rows are drawn one by one, each by its entry.

    Examples
    --------
    >>> weight = torch.tensor([-0.5, 0.1, 0.4, 1.0])
    >>> torch.allclose(soft_table(input_wise_to_softmax(weight), "softmax"), soft_table(weight, "sine"), atol=1e-5)
    True
    """
    check_choice("input_wise_to_softmax", "response", response, RESPONSES[:2])
    table = soft_table(weight, response).clamp(NEAREST_TO_CERTAIN, 1.0 - NEAREST_TO_CERTAIN)
    ones = known_tables(weight)
    return table.log() @ ones.T + (-table).log1p() @ (1.0 - ones).T


def table_words(table: Tensor) -> np.ndarray:
    """Return the words, uint64 `[...]`, of exact tables `[..., 2**k]`: bit r is the entry of row r."""
    bits = table.detach().cpu().numpy() >= 0.5
    return np.asarray(bits.astype(np.uint64) @ (np.uint64(1) << np.arange(bits.shape[-1], dtype=np.uint64)))


def known_tables(like: Tensor) -> Tensor:
    """Return the tables of the sixteen gates, [16, 4], in the dtype and on the device of another tensor."""
    return torch.as_tensor(TRUTH_TABLES.copy(), dtype=like.dtype, device=like.device)
