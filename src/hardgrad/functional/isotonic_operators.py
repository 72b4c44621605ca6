"""The operators behind `isotonic`, registered with torch, so that they run under vmap, torch.compile and forward mode, on any device.

The sequential part runs on the rows of CPU tensors (`isotonic_kernels`). An accelerator finds the blocks of up to 512 elements by a closed
form with n^2 numbers, and copies longer lists to the host. What is particular to the Kullback-Leibler sense is in `isotonic_entropic`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

CLOSED_FORM_SIZE = 512


# what they compute
def rows_of(tensor: Tensor) -> Any:
    """A tensor (..., n) as an array of rows; where that can be, of its own memory."""
    n = tensor.shape[-1]
    return tensor.detach().reshape(tensor.numel() // n if n else 0, n).contiguous().numpy()


def _on_host(compute: Callable[..., Any], *arguments: Any) -> Any:
    """Compute on copies in the memory of the host, and bring the result back."""
    device = next(a.device for a in arguments if isinstance(a, Tensor))
    result = compute(*(a.cpu() if isinstance(a, Tensor) else a for a in arguments))
    return tuple(t.to(device) for t in result) if isinstance(result, tuple) else result.to(device)


def compute_order(x: Tensor) -> Tensor:
    """Compute `order_of` without telling torch."""
    if x.device.type != "cpu":
        return torch.argsort(x, dim=-1, descending=True)
    # NumPy sorts with vector instructions: about ten times as fast as torch on one list. It is not stable.
    return torch.from_numpy(x.detach().neg().numpy().argsort(axis=-1))


def compute_blocks(z: Tensor, w: Tensor, entropic: bool) -> Tensor:
    """Compute `blocks_of` without telling torch."""
    if z.device.type != "cpu":
        if z.shape[-1] <= CLOSED_FORM_SIZE:
            return closed_form_blocks(z, w, entropic)
        return cast(Tensor, _on_host(compute_blocks, z, w, entropic))
    from hardgrad.functional.isotonic_kernels import find_blocks

    start = torch.empty(z.shape, dtype=torch.int64)
    find_blocks(rows_of(z), rows_of(w), entropic, rows_of(start))
    return start


def compute_pool(y: Tensor, start: Tensor, mean: bool) -> Tensor:
    """Compute `pool` without telling torch."""
    if y.device.type != "cpu":
        total = torch.zeros_like(y).scatter_add(-1, start, y)
        if mean:
            total = total / torch.zeros_like(y).scatter_add(-1, start, torch.ones_like(y)).clamp_min(1.0)
        return total.gather(-1, start)
    from hardgrad.functional.isotonic_kernels import pool_rows

    out = torch.empty(y.shape, dtype=y.dtype)
    pool_rows(rows_of(y), rows_of(start), mean, rows_of(out))
    return out


def _centre(y: Tensor, order: Tensor, start: Tensor) -> Tensor:
    if y.device.type != "cpu":
        ordered = y.gather(-1, order)
        return torch.empty_like(y).scatter(-1, order, ordered - compute_pool(ordered, start, True))
    from hardgrad.functional.isotonic_kernels import centre_rows

    out = torch.empty(y.shape, dtype=y.dtype)
    centre_rows(rows_of(y), rows_of(order), rows_of(start), rows_of(out))
    return out


def _rank(x: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    order = compute_order(x)
    if x.device.type != "cpu":
        ordered = x.gather(-1, order)
        z = (ordered - ordered[..., :1]) / temperature
        w = torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).expand(x.shape)
        start = compute_blocks(z, w, False)
        ranks = z - compute_pool(z, start, True) + compute_pool(w, start, True)
        return torch.empty_like(x).scatter(-1, order, ranks), order, start
    from hardgrad.functional.isotonic_kernels import rank_rows

    ranks = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    rank_rows(rows_of(x), rows_of(order), temperature, rows_of(ranks), rows_of(start))
    return ranks, order, start


def _sort(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = compute_order(x)
    if x.device.type != "cpu":
        z, w = torch.broadcast_tensors(z, x.gather(-1, order))
        start = compute_blocks(z, w, False)
        return z - compute_pool(z, start, True) + compute_pool(w, start, True), order, start
    from hardgrad.functional.isotonic_kernels import sort_rows

    values = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    sort_rows(rows_of(z), rows_of(x), rows_of(order), rows_of(values), rows_of(start))
    return values, order, start


def closed_form_blocks(z: Tensor, w: Tensor, entropic: bool) -> Tensor:
    """Return where the block of every position begins, by v_i = min over a <= i of max over b >= i of the value of a..b."""
    n = z.shape[-1]
    if n == 0:
        return torch.empty(z.shape, dtype=torch.int64, device=z.device)
    exact = torch.float32 if z.device.type == "mps" else torch.float64
    place = torch.arange(n, device=z.device)
    outside = place < place.unsqueeze(-1)  # [a, b] with b < a

    def from_each(v: Tensor, empty: float) -> Tensor:
        return v.to(exact).unsqueeze(-2).expand(*v.shape[:-1], n, n).masked_fill(outside, empty)

    if entropic:
        low = -torch.inf
        value = torch.logcumsumexp(from_each(z, low), -1) - torch.logcumsumexp(from_each(w, low), -1)
    else:
        value = from_each(z.to(exact) - w.to(exact), 0.0).cumsum(-1) / (place - place.unsqueeze(-1) + 1)
    best_end = value.masked_fill(outside, -torch.inf).flip(-1).cummax(-1).values.flip(-1)
    fit = best_end.masked_fill(outside, torch.inf).amin(-2)
    falls = torch.ones_like(fit, dtype=torch.bool)
    falls[..., 1:] = fit[..., 1:] < fit[..., :-1]
    return torch.where(falls, place, 0).cummax(-1).values


# their registration
def like(tensor: Tensor) -> Tensor:
    """Return an empty tensor of the shape and dtype, for a tracer."""
    return tensor.new_empty(tensor.shape)


def whole(tensor: Tensor) -> Tensor:
    """Return an empty tensor of the shape, of whole numbers."""
    return tensor.new_empty(tensor.shape, dtype=torch.int64)


def watched(tensor: Tensor) -> bool:
    """Tell whether a transform or a tracer must see the operator; else the function inside it is called, at a tenth of the cost."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or type(tensor) not in (Tensor, torch.nn.Parameter)
    )


def operator(name: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register an operator on rows with torch, with its shapes and its rule for vmap."""
    op = torch.library.custom_op(f"hardgrad::{name}", compute, mutates_args=())
    op.register_fake(fake)

    def batched(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        size = info.batch_size  # a batch is only more rows
        moved = [
            a if not isinstance(a, Tensor) else a.expand(size, *a.shape) if d is None else a.movedim(d, 0)
            for a, d in zip(arguments, in_dims, strict=True)
        ]
        result = op(*moved)
        return result, (0,) * len(result) if isinstance(result, tuple) else 0

    op.register_vmap(batched)
    return cast(Callable[..., Any], getattr(torch.ops.hardgrad, name))


_order_op = operator("isotonic_order", compute_order, whole)
_blocks_op = operator("isotonic_blocks", compute_blocks, lambda z, w, entropic: whole(z))
_pool_op = operator("isotonic_pool", compute_pool, lambda y, start, mean: like(y))
_centre_op = operator("isotonic_centre", _centre, lambda y, order, start: like(y))
_rank_op = operator("isotonic_rank", _rank, lambda x, temperature: (like(x), whole(x), whole(x)))
_sort_op = operator("isotonic_sort", _sort, lambda z, x: (like(x), whole(x), whole(x)))


def order_of(x: Tensor) -> Tensor:
    """Return positions that put (..., n) in descending order, int64; ties in any order."""
    return cast(Tensor, _order_op(x) if watched(x) else compute_order(x))


def blocks_of(z: Tensor, w: Tensor, entropic: bool) -> Tensor:
    """Return where the block of every position begins, int64, for the fit of z - w; if entropic, neither z nor w may rise."""
    return cast(Tensor, _blocks_op(z, w, entropic) if watched(z) else compute_blocks(z, w, entropic))


# their gradients
def differentiable(
    compute: Callable[..., Any],
    op: Callable[..., Any],
    keep: Callable[..., tuple[Any, ...]],
    backward: Callable[..., tuple[Any, ...]],
    forward: Callable[..., Tensor],
    *,
    several: bool = False,
) -> Callable[..., Tensor]:
    """Return the operator with its derivative, in the three forms that torch asks for: traced, transformed and plain.

    Parameters
    ----------
    compute, op : the same, without and with torch's knowledge of it.
    keep : of (inputs, outputs), what the two others are called with first; tensors before the rest.
    backward : of that, which inputs need one and the gradient of the first output, the gradients of the inputs.
    forward : of that and the changes of the inputs, None where there is none, the change of the first output.
    several : whether it returns order and start as well, behind the values.
    """
    pull, push = backward, forward  # the classes below have methods of these names

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        kept = keep(inputs, outputs)
        tensors = [value for value in kept if isinstance(value, Tensor)]
        ctx.rest = kept[len(tensors) :]  # tensors come first
        if several:
            ctx.mark_non_differentiable(*outputs[1:])
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    class Traced(torch.autograd.Function):  # torch.compile traces no function that has a `jvp`
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs: Any) -> Any:
            return op(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            remember(ctx, inputs, output)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
            return pull(*ctx.saved_tensors, *ctx.rest, ctx.needs_input_grad, gradient)

    # torch.compile tells by the number of parameters that this form of `forward` takes no context.
    Traced.forward.__signature__ = inspect.signature(compute)  # type: ignore[attr-defined]

    class Transformed(Traced):
        @staticmethod
        def jvp(ctx: Any, *changes: Any) -> Any:
            change = push(*ctx.saved_tensors, *ctx.rest, *changes)
            return (change, None, None) if several else change

    class Plain(torch.autograd.Function):  # half the overhead of a call
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = compute(*inputs)
            remember(ctx, inputs, output)
            return output

        backward = Traced.backward
        jvp = Transformed.jvp

    def call(*inputs: Any) -> Tensor:
        function: Any = (
            Traced if torch.compiler.is_compiling() else Transformed if watched(inputs[0]) else Plain
        )
        output = function.apply(*inputs)
        return cast(Tensor, output[0] if several else output)

    return call


Needed = tuple[bool, ...]


def _pool_back(start: Tensor, mean: bool, _: Needed, gradient: Tensor) -> tuple[Any, ...]:
    return pool(gradient, start, mean), None, None


def _pool_forward(start: Tensor, mean: bool, change: Tensor, *_: Any) -> Tensor:
    return pool(change, start, mean)


def _centre_back(order: Tensor, start: Tensor, _: Needed, gradient: Tensor) -> tuple[Any, ...]:
    return _centred(gradient, order, start), None, None


def _centre_forward(order: Tensor, start: Tensor, change: Tensor, *_: Any) -> Tensor:
    return _centred(change, order, start)


def _rank_back(
    order: Tensor, start: Tensor, temperature: float, _: Needed, gradient: Tensor
) -> tuple[Any, ...]:
    return _centred(gradient, order, start) / temperature, None


def _rank_forward(order: Tensor, start: Tensor, temperature: float, change: Tensor, *_: Any) -> Tensor:
    return _centred(change, order, start) / temperature


def _sort_back(
    order: Tensor, start: Tensor, shape: torch.Size, needed: Needed, gradient: Tensor
) -> tuple[Any, ...]:
    shared = pool(gradient, start, True)
    of_z = (gradient - shared).sum_to_size(shape) if needed[0] else None
    return of_z, torch.empty_like(shared).scatter(-1, order, shared) if needed[1] else None


def _sort_forward(
    order: Tensor, start: Tensor, shape: torch.Size, of_z: Tensor | None, of_x: Tensor | None
) -> Tensor:
    change = torch.zeros(()) if of_x is None else pool(of_x.gather(-1, order), start, True)
    if of_z is None:
        return change
    of_z = of_z.expand(start.shape)
    return change + of_z - pool(of_z, start, True)


pool = differentiable(compute_pool, _pool_op, lambda inputs, _: inputs[1:], _pool_back, _pool_forward)
"""(y, start, mean): the sum, or the mean, of y over the block of every position; linear in y and symmetric."""

_centred = differentiable(_centre, _centre_op, lambda inputs, _: inputs[1:], _centre_back, _centre_forward)

project_ranks = differentiable(
    _rank,
    _rank_op,
    lambda inputs, outputs: (*outputs[1:], inputs[1]),
    _rank_back,
    _rank_forward,
    several=True,
)
"""(x, temperature): the least-squares projection of x / temperature onto the permutahedron of 1..n; temperature is a float."""

project_sorted = differentiable(
    _sort,
    _sort_op,
    lambda inputs, outputs: (*outputs[1:], inputs[0].shape),
    _sort_back,
    _sort_forward,
    several=True,
)
"""(z, x): the least-squares projection of z, descending, (n,) or of the shape of x, onto the permutahedron of x; in descending order."""
