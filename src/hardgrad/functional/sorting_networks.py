"""Relaxed sorting networks: soft and error-free swaps on strided views, values first and the permutation matrix only when asked for.

Wires come first and lists last in every tensor here, so that a layer is a view of all its pairs and every step runs along contiguous
lists. The networks themselves are in `network_layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hardgrad.core.relaxed import straight_through
from hardgrad.functional.network_layers import Layer, Layers, Network, network_layers
from hardgrad.functional.operands import check_choice
from hardgrad.functional.soft_steps import KINDS, art_step

SWAP_KINDS = (*KINDS, "art")
SWAPS = ("soft", "error_free")


def check_swap(name: str, kind: str, swap: str) -> None:
    """Raise `ParameterError` for an unknown kind of soft step or an unknown swap."""
    check_choice(name, "kind", kind, SWAP_KINDS)
    check_choice(name, "swap", swap, SWAPS)


def network_sort(
    x: Tensor,
    temperature: Any,
    descending: bool = False,
    *,
    network: Network = "odd_even",
    kind: str = "cauchy",
    swap: str = "soft",
) -> tuple[Tensor, Callable[[], Tensor]]:
    """Return the values (..., n) that a relaxed sorting network gives, and what makes its matrix P (..., n, n) with values = P @ x.

    Parameters
    ----------
    x : (..., n), floating.
    temperature : positive number, or tensor of shape (...) + (1,), in the units of x.
    descending : largest first.
    network : "odd_even", "bitonic", or layers of pairs.
    kind : the soft step of a swap, one of `KINDS` or "art", the logistic of v / |difference| ** (1 / 4).
    swap : "soft", or "error_free": every swap is exact forward and relaxed backward, so that the values are the sorted ones and P is a
        permutation.

    Examples
    --------
    >>> values, weights = network_sort(torch.tensor([3.0, 1.0, 2.0]), 0.1, kind="optimal")
    >>> [round(v, 3) for v in values.tolist()], [round(w, 3) for w in weights()[0].tolist()]
    ([1.013, 2.0, 2.988], [0.003, 0.991, 0.006])

    Sources: Petersen, Borgelt, Kuehne and Deussen, 2022, Monotonic Differentiable Sorting Networks; Kim, Yoon and Cho, 2024, Generalized
    Neural Sorting Networks with Error-Free Differentiable Swap Functions.
    """
    n, batch = x.shape[-1], x.shape[:-1]
    if n < 2:
        return x, lambda: x.new_ones(*batch, n, n)
    plan = _plan(network, n)
    if isinstance(temperature, Tensor) and temperature.dim():
        temperature = temperature.expand(*batch, 1).reshape(-1)
    step = art_step if kind == "art" else _step_of(kind)
    wires = x.reshape(-1, n).mT.contiguous()
    ordered, soft, hard = _values(
        -wires if descending else wires, temperature, plan, step, swap == "error_free"
    )

    def weights() -> Tensor:
        mixed = (_mixed_plainly if _needs_plain(*soft) else _mixed)(plan, wires, soft, hard)
        return mixed.reshape(*batch, n, n)

    return (-ordered if descending else ordered).mT.reshape(x.shape), weights


def _step_of(kind: str) -> Callable[[Tensor, Any], Tensor]:
    step = KINDS[kind].step
    return lambda difference, temperature: step(difference / temperature)


# --- the plan of a layer: views instead of gathers ----------------------------------------------------------------------------------
class Block(NamedTuple):
    """Wires that are compared at one stride: `groups` times `length` firsts, their partners `stride` wires further.

    Parameters
    ----------
    start : first wire.
    groups, stride, length : where length < stride there is one group, and the wires between are left alone.
    directions : 1 where the first wire of a pair gets the smaller number, else -1; one a pair, or empty where all are 1.
    """

    start: int
    groups: int
    stride: int
    length: int
    directions: tuple[int, ...]

    @property
    def end(self) -> int:
        """The wire after the last."""
        return self.start + (2 * self.groups - 1) * self.stride + self.length


class Scattered(NamedTuple):
    """A layer that fits no strides: the wires of its pairs, the others, and where each wire stands when these three are joined."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    rest: tuple[int, ...]
    order: tuple[int, ...]
    directions: tuple[int, ...]


Step = Block | Scattered
Plan = tuple[tuple[Step, ...], ...]  # the steps of every layer, by their first wire


@torch.compiler.assume_constant_result  # nothing in it depends on tensors
def _plan(network: Network, n: int) -> Plan:
    return _plan_of_layers(network_layers("sort", network, n), n)


@lru_cache(maxsize=64)
def _plan_of_layers(layers: Layers, n: int) -> Plan:
    return tuple(_steps(layer, n) for layer in layers)


def _steps(layer: Layer, n: int) -> tuple[Step, ...]:
    pairs = {min(pair): (max(pair), 1 if pair[0] < pair[1] else -1) for pair in layer}
    blocks: list[Block] = []
    wire = 0
    while wire < n:
        if wire not in pairs:
            wire += 1
            continue
        block = _block_at(pairs, wire)
        blocks = _appended(blocks, block)
        wire = block.end
    if sum(block.groups * block.length for block in blocks) < len(pairs):
        return (_scattered(pairs, n),)
    return tuple(blocks)


def _block_at(pairs: dict[int, tuple[int, int]], start: int) -> Block:
    stride = pairs[start][0] - start
    length = 0
    while length < stride and pairs.get(start + length, (0, 0))[0] == start + length + stride:
        length += 1
    signs = tuple(pairs[start + i][1] for i in range(length))
    return Block(start, 1, stride, length, signs if -1 in signs else ())


def _appended(blocks: list[Block], block: Block) -> list[Block]:
    """Join a block to the one before it where both make one view."""
    last = blocks[-1] if blocks else None
    whole = last is not None and last.length == last.stride == block.stride == block.length
    if last is None or not whole or last.end != block.start:
        return [*blocks, block]
    signs: tuple[int, ...] = ()
    if last.directions or block.directions:
        signs = (last.directions or (1,) * (last.groups * last.length)) + (
            block.directions or (1,) * block.length
        )
    return [*blocks[:-1], Block(last.start, last.groups + 1, last.stride, last.length, signs)]


def _scattered(pairs: dict[int, tuple[int, int]], n: int) -> Scattered:
    first = tuple(sorted(pairs))
    second = tuple(pairs[wire][0] for wire in first)
    rest = tuple(wire for wire in range(n) if wire not in {*first, *second})
    order = tuple(sorted(range(n), key=(*first, *second, *rest).__getitem__))
    return Scattered(first, second, rest, order, tuple(pairs[wire][1] for wire in first))


def _indices(wires: tuple[int, ...], state: Tensor) -> Tensor:
    return torch.tensor(wires, dtype=torch.int64, device=state.device)


def _pairs(step: Step, state: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second wires of a step, (groups, length, ...) each; views, but for a scattered layer."""
    if isinstance(step, Scattered):
        return (
            state.index_select(0, _indices(step.first, state)).unsqueeze(0),
            state.index_select(0, _indices(step.second, state)).unsqueeze(0),
        )
    if step.length < step.stride:
        second = step.start + step.stride
        return (
            state[step.start : step.start + step.length].unsqueeze(0),
            state[second : second + step.length].unsqueeze(0),
        )
    both = state[step.start : step.end].unflatten(0, (step.groups, 2, step.length))
    return both[:, 0], both[:, 1]


def _joined(steps: tuple[Step, ...], state: Tensor, made: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The state after a layer: what its steps made, and the wires that it leaves alone."""
    pieces: list[Tensor] = []
    at = 0
    for step, (first, second) in zip(steps, made, strict=True):
        if isinstance(step, Scattered):
            rest = state.index_select(0, _indices(step.rest, state))
            return torch.cat([first.squeeze(0), second.squeeze(0), rest])[_indices(step.order, state)]
        if at < step.start:
            pieces.append(state[at : step.start])
        if step.length < step.stride:
            between = state[step.start + step.length : step.start + step.stride]
            pieces += [first.squeeze(0), between, second.squeeze(0)]
        else:
            pieces.append(torch.stack([first, second], dim=1).flatten(0, 2))
        at = step.end
    if at < state.shape[0]:
        pieces.append(state[at:])
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _signs(step: Step, like: Tensor) -> Tensor | None:
    if not step.directions:
        return None
    shape = (step.groups, step.length, 1) if isinstance(step, Block) else (1, len(step.first), 1)
    return torch.tensor(step.directions, dtype=like.dtype, device=like.device).reshape(shape)


# --- values ---------------------------------------------------------------------------------------------------------------------------
Shares = list[Tensor]  # one a step, (groups, length, lists): how much of the second wire the first one gets


def _values(
    x: Tensor, temperature: Any, plan: Plan, soft_step: Callable[[Tensor, Any], Tensor], error_free: bool
) -> tuple[Tensor, Shares, Shares | None]:
    """Values (n, lists) after the last layer, with the shares of every swap: relaxed, and exact ones where swaps are free of error."""
    soft: Shares = []
    hard: Shares = []
    for steps in plan:
        made = []
        for step in steps:
            first, second = _pairs(step, x)
            signs = _signs(step, x)
            difference = second - first
            ahead = difference if signs is None else difference * signs
            share = soft_step(-ahead, temperature)
            moved = share * difference
            outcome = first + moved, second - moved
            soft.append(share)
            if error_free:
                crossed = ahead < 0
                hard.append(crossed.to(x.dtype))
                outcome = (
                    straight_through(torch.where(crossed, second, first), outcome[0]),
                    straight_through(torch.where(crossed, first, second), outcome[1]),
                )
            made.append(outcome)
        x = _joined(steps, x, made)
    return x, soft, hard if error_free else None


# --- the permutation matrix ------------------------------------------------------------------------------------------------------------
def _needs_plain(*tensors: Tensor) -> bool:
    """Tell whether these tensors are traced, batched or dual, which only plain operations understand."""
    if torch.compiler.is_compiling():
        return True
    functorch = torch._C._functorch
    return torch.autograd.forward_ad._current_level >= 0 or any(
        functorch.is_functorch_wrapped_tensor(tensor) for tensor in tensors
    )


def _identity(like: Tensor) -> Tensor:
    """The matrix before the first layer, (sorted positions, originals, lists)."""
    n, lists = like.shape
    return torch.eye(n, dtype=like.dtype, device=like.device).unsqueeze(-1).expand(n, n, lists).contiguous()


def _mixed_plainly(plan: Plan, like: Tensor, soft: Shares, hard: Shares | None) -> Tensor:
    """P of shape (lists, n, n) by operations that torch differentiates, any number of times and in any direction."""
    state = _identity(like)
    at = 0
    for steps in plan:
        made = []
        for step in steps:
            first, second = _pairs(step, state)
            difference = second - first
            moved = soft[at].unsqueeze(2) * difference
            outcome = first + moved, second - moved
            if hard is not None:
                exact = hard[at].unsqueeze(2) * difference
                outcome = (
                    straight_through(first + exact, outcome[0]),
                    straight_through(second - exact, outcome[1]),
                )
            made.append(outcome)
            at += 1
        state = _joined(steps, state, made)
    return state.permute(2, 0, 1)


def _mixed(plan: Plan, like: Tensor, soft: Shares, hard: Shares | None) -> Tensor:
    """The same in place, with a gradient that keeps one difference of rows a swap."""
    mixed: Tensor = _Mixed.apply(plan, like.detach(), hard, *soft)  # type: ignore[no-untyped-call]
    return mixed


def _swap_in_place(step: Step, state: Tensor, share: Tensor) -> Tensor:
    """Let both wires of every pair move towards each other by a share of their difference, which is returned."""
    first, second = _pairs(step, state)
    difference = second - first
    first.addcmul_(share.unsqueeze(2), difference)
    second.addcmul_(share.unsqueeze(2), difference, value=-1)
    if isinstance(step, Scattered):
        state.index_copy_(0, _indices(step.first, state), first.squeeze(0))
        state.index_copy_(0, _indices(step.second, state), second.squeeze(0))
    return difference


def _each(plan: Plan) -> Iterator[Step]:
    for steps in plan:
        yield from steps


class _Mixed(torch.autograd.Function):
    """P from the shares of all swaps. A swap is its own transpose, so that backward is the same network in reverse."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, like: Tensor, hard: Shares | None, *soft: Tensor) -> Tensor:
        state = _identity(like)
        shares = soft if hard is None else hard
        differences = [
            _swap_in_place(step, state, share) for step, share in zip(_each(plan), shares, strict=True)
        ]
        ctx.plan, ctx.hard = plan, hard
        ctx.save_for_backward(like, *soft, *differences)
        return state.permute(2, 0, 1).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        like, *saved = ctx.saved_tensors
        soft, differences = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if torch.is_grad_enabled():  # somebody will differentiate this gradient
            mixed = _mixed_plainly(ctx.plan, like, soft, ctx.hard)
            return (None, None, None, *torch.autograd.grad(mixed, soft, gradient, create_graph=True))
        state = gradient.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
        found: list[Tensor] = []
        for step, share, difference in reversed(list(zip(_each(ctx.plan), soft, differences, strict=True))):
            moved = _swap_in_place(step, state, share)
            found.append(moved.mul_(difference).sum(2).neg_())
        return (None, None, None, *reversed(found))
