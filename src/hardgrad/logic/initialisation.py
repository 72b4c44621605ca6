"""Numbers that gates start from: near one gate each, or at random. What they mean is `gates`."""

from __future__ import annotations

import torch
from torch import Tensor

from hardgrad.functional.operands import check_choice
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.gates import weights_per_gate

INITIALISATIONS = ("residual", "gauss", "uniform", "and_or", "and_or_residual")
SHIFTS = {"sine": 1.2, "sigmoid": 2.0}
SPREAD = 0.25
LOGIT = 5.0


def initial_weights(
    init: str, response: str, gates: int, fan_in: int = 2, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return weights `[gates, weights_per_gate]` to start from.

    Parameters
    ----------
    init : "residual", gates hand on their first input, so that signals and gradients pass any depth; "and_or", each is an AND or an OR;
        "and_or_residual", an AND, an OR, or hands on one of its inputs; "uniform", each is any function; "gauss", standard normal numbers.
    response : "sine", "sigmoid" or "softmax".
    gates, fan_in : how many, and inputs of each.
    generator : of what is drawn.

    Raises
    ------
    ParameterError : a name that is not known, a fan-in that is out of range.

    Examples
    --------
    >>> initial_weights("residual", "softmax", 1).argmax().item()
    3

    Source: Rüttgers, Aczel, Plesner and Wattenhofer, 2026, Light Differentiable Logic Gate Networks; residual: Petersen, Kuehne, Borgelt,
    Welzel and Ermon, 2024, Convolutional Differentiable Logic Gate Networks.
    """
    check_choice("initial_weights", "init", init, INITIALISATIONS)
    width = weights_per_gate(response, fan_in)
    if init == "gauss":
        return torch.randn(gates, width, generator=generator)
    tables = _tables(init, gates, fan_in, generator)
    if response == "softmax":
        ids = tables @ torch.tensor([8, 4, 2, 1])
        return LOGIT * torch.nn.functional.one_hot(ids, 16).float()
    noise = torch.randn(gates, width, generator=generator)
    return SPREAD * noise + SHIFTS[response] * (2.0 * tables - 1.0)


def _tables(init: str, gates: int, fan_in: int, generator: torch.Generator | None) -> Tensor:
    """Return the table, int64 zeros and ones `[gates, 2**fan_in]`, that each gate starts near."""
    if init == "uniform":
        return torch.randint(2, (gates, 2**fan_in), generator=generator)
    inputs = torch.from_numpy(truth_rows(fan_in)).long()
    pool = [inputs.prod(dim=1), inputs.amax(dim=1)] if init.startswith("and_or") else []
    pool += {"residual": [inputs[:, 0]], "and_or": [], "and_or_residual": list(inputs.T)}[init]
    return torch.stack(pool)[torch.randint(len(pool), (gates,), generator=generator)]
