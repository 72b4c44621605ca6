"""Which inputs a gate reads: drawn at random, every set of inputs once, or learned among candidates."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import HardgradWarning, ParameterError
from hardgrad.core.mode import Mode
from hardgrad.core.relaxed import Relaxed
from hardgrad.functional.choices import choice


def random_wiring(
    in_features: int, out_features: int, fan_in: int = 2, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return wires int64 `[fan_in, out_features]` in which every input is read almost equally often, and no gate reads one twice.

    With fewer inputs than a gate reads, a gate reads some of them twice. Inputs that no gate reads are allowed, with a warning.

    Raises
    ------
    ParameterError : no inputs or no gates.

    Examples
    --------
    >>> wires = random_wiring(4, 6, generator=torch.Generator().manual_seed(0))
    >>> torch.bincount(wires.flatten()).tolist(), bool((wires[0] != wires[1]).all())
    ([3, 3, 3, 3], True)
    """
    _check_sizes(in_features, out_features)
    places = torch.randperm(fan_in * out_features, generator=generator) % in_features
    wires = torch.randperm(in_features, generator=generator)[places].view(fan_in, out_features)
    unread = in_features - fan_in * out_features
    if unread > 0:
        warnings.warn(
            f"{unread} of {in_features} inputs are read by none of {out_features} gates of {fan_in} inputs. Take more gates.",
            HardgradWarning,
            stacklevel=3,
        )
    if in_features >= fan_in:
        _part_equal_operands(wires, generator)
    return wires


def _part_equal_operands(wires: Tensor, generator: torch.Generator | None) -> None:
    """Swap operands between gates, in place, until none reads one input twice; how often an input is read stays as it is."""
    while True:
        ordered, order = wires.sort(dim=0)
        bad = (ordered[1:] == ordered[:-1]).nonzero()
        if not len(bad):
            return
        others = torch.randint(wires.numel(), (len(bad),), generator=generator).tolist()
        for (row, gate), other in zip(bad.tolist(), others, strict=True):
            place = int(order[row + 1, gate])
            other_place, other_gate = divmod(other, wires.shape[1])
            mine, theirs = int(wires[place, gate]), int(wires[other_place, other_gate])
            if not (wires[:, gate] == theirs).any() and not (wires[:, other_gate] == mine).any():
                wires[place, gate], wires[other_place, other_gate] = theirs, mine


def unique_wiring(
    in_features: int, out_features: int, fan_in: int = 2, *, generator: torch.Generator | None = None
) -> Tensor:
    """Return wires int64 `[fan_in, out_features]` in which no two gates read the same set of inputs.

    Gates of two inputs take neighbours first, (0, 1), (2, 3) and on, then (1, 2), (3, 4) and on, then inputs that lie further apart.

    Raises
    ------
    ParameterError : there are fewer sets than gates.

    Examples
    --------
    >>> pairs = unique_wiring(4, 6, generator=torch.Generator().manual_seed(0))
    >>> sorted(tuple(sorted(pair)) for pair in pairs.T.tolist())
    [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    """
    _check_sizes(in_features, out_features)
    most = math.comb(in_features, fan_in)
    if out_features > most:
        raise ParameterError(
            f"got out_features={out_features} with connections='unique'; {in_features} inputs have {most} sets of {fan_in}. "
            "Take fewer gates, or connections='random'."
        )
    if fan_in == 2:
        wires = _neighbours_first(in_features, out_features)
    else:
        wires = _distinct_sets(in_features, out_features, fan_in, generator)
    return wires[:, torch.randperm(out_features, generator=generator)]


def _neighbours_first(in_features: int, out_features: int) -> Tensor:
    first = torch.arange(in_features)
    parts, count, offset = [], 0, 1
    while count < out_features:
        left = first[: in_features - offset]
        # Neighbours come in two runs that read every input once; further apart all are taken in order.
        for run in (left[::2], left[1::2]) if offset == 1 else (left,):
            parts.append(torch.stack([run, run + offset]))
            count += len(run)
        offset += 1
    return torch.cat(parts, dim=1)[:, :out_features]


def _distinct_sets(in_features: int, out_features: int, fan_in: int, generator: Any) -> Tensor:
    if math.comb(in_features, fan_in) <= 4 * out_features:  # most sets are needed: draw among all of them
        every = torch.combinations(torch.arange(in_features), fan_in)
        return every[torch.randperm(len(every), generator=generator)[:out_features]].T.contiguous()
    found: dict[tuple[int, ...], None] = {}
    while len(found) < out_features:
        drawn = torch.rand(out_features, in_features, generator=generator).topk(fan_in, dim=1).indices
        found.update(dict.fromkeys(tuple(row) for row in drawn.sort(dim=1).values.tolist()))
    return torch.tensor(list(found)[:out_features]).T.contiguous()


def _check_sizes(in_features: int, out_features: int) -> None:
    if in_features < 1 or out_features < 1:
        raise ParameterError(
            f"got in_features={in_features} and out_features={out_features}; expected at least 1 of each."
        )


class LearnableWiring(Relaxed):
    """Operands of gates that are learned: each is a mixture of candidate inputs, and one of them when hard.

    Parameters
    ----------
    in_features, out_features, fan_in : inputs, gates, and operands a gate.
    n_candidates : inputs that an operand chooses among; no two operands of a gate share one.
    temperature : of the choice.
    generator : draws the candidates and the scores to start from.

    Raises
    ------
    ParameterError : fewer inputs than the candidates of one gate.

    Examples
    --------
    >>> wiring = LearnableWiring(8, 4, n_candidates=3, generator=torch.Generator().manual_seed(0))
    >>> wiring(torch.rand(5, 8)).shape, wiring.wires().shape
    (torch.Size([5, 8]), torch.Size([2, 4]))
    """

    candidates: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        fan_in: int = 2,
        n_candidates: int = 8,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(temperature)
        _check_sizes(in_features, out_features)
        if n_candidates < 1 or fan_in * n_candidates > in_features:
            raise ParameterError(
                f"got n_candidates={n_candidates} for {fan_in} operands of {in_features} inputs; expected 1 to "
                f"{in_features // fan_in}: operands of a gate share no candidate."
            )
        drawn = torch.rand(out_features, in_features, generator=generator).topk(fan_in * n_candidates).indices
        self.register_buffer("candidates", drawn.view(out_features, fan_in, n_candidates).transpose(0, 1))
        self.scores = nn.Parameter(torch.randn(fan_in, out_features, n_candidates, generator=generator))

    def forward(self, x: Tensor, *, temperature: Any = None, mode: Mode | None = None) -> Tensor:
        """Return the operands `[..., fan_in * out_features]`, all first ones before all second ones."""
        shares = choice(
            self.scores, temperature=self.resolved_temperature(temperature), mode=self.resolved_mode(mode)
        )
        rows = x.reshape(-1, x.shape[-1]).t().contiguous()
        mixed = nn.functional.embedding_bag(
            self.candidates.flatten(0, 1),
            rows,
            per_sample_weights=shares.to(rows.dtype).flatten(0, 1),
            mode="sum",
        )
        return mixed.t().reshape(*x.shape[:-1], mixed.shape[0])

    def wires(self) -> Tensor:
        """Return the exact wires int64 `[fan_in, out_features]`: the candidate of the highest score, the first of equals."""
        best = self.scores.detach().argmax(dim=-1, keepdim=True)
        return self.candidates.gather(-1, best).squeeze(-1)

    def harden(self) -> nn.Module:
        """Return a module that picks the exact operands."""
        return PickedOperands(self.wires().flatten())


class PickedOperands(nn.Module):
    """Features by number, in order.

    Parameters
    ----------
    wires : int64 `[operands]`.
    """

    wires: Tensor

    def __init__(self, wires: Tensor) -> None:
        super().__init__()
        self.register_buffer("wires", wires)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x[..., wires]`."""
        return x[..., self.wires]
