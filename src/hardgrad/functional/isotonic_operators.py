"""The operators behind `isotonic`, registered with torch, so that they run under vmap, torch.compile and forward mode, on any device.

The sequential part runs on the rows of CPU tensors (`isotonic_kernels`). An accelerator finds the blocks of up to 512 elements by a closed
form with n^2 numbers, and copies longer lists to the host.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

CLOSED_FORM_SIZE = 512


# what they compute
def _rows(tensor: Tensor) -> Any:
    """A tensor (..., n) as an array of rows; where that can be, of its own memory."""
    n = tensor.shape[-1]
    return tensor.detach().reshape(tensor.numel() // n if n else 0, n).contiguous().numpy()


def _on_host(compute: Callable[..., Any], *arguments: Any) -> Any:
    """Compute on copies in the memory of the host, and bring the result back."""
    device = next(a.device for a in arguments if isinstance(a, Tensor))
    result = compute(*(a.cpu() if isinstance(a, Tensor) else a for a in arguments))
    return tuple(t.to(device) for t in result) if isinstance(result, tuple) else result.to(device)


def _order(x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return torch.argsort(x, dim=-1, descending=True)
    # NumPy sorts with vector instructions: about ten times as fast as torch on one list. It is not stable.
    return torch.from_numpy(x.detach().neg().numpy().argsort(axis=-1))


def _blocks(z: Tensor, w: Tensor, entropic: bool) -> Tensor:
    if z.device.type != "cpu":
        if z.shape[-1] <= CLOSED_FORM_SIZE:
            return closed_form_blocks(z, w, entropic)
        return cast(Tensor, _on_host(_blocks, z, w, entropic))
    from hardgrad.functional.isotonic_kernels import find_blocks

    start = torch.empty(z.shape, dtype=torch.int64)
    find_blocks(_rows(z), _rows(w), entropic, _rows(start))
    return start


def _pool(y: Tensor, start: Tensor, mean: bool) -> Tensor:
    if y.device.type != "cpu":
        total = torch.zeros_like(y).scatter_add(-1, start, y)
        if mean:
            total = total / torch.zeros_like(y).scatter_add(-1, start, torch.ones_like(y)).clamp_min(1.0)
        return total.gather(-1, start)
    from hardgrad.functional.isotonic_kernels import pool_rows

    out = torch.empty(y.shape, dtype=y.dtype)
    pool_rows(_rows(y), _rows(start), mean, _rows(out))
    return out


def _centre(y: Tensor, order: Tensor, start: Tensor) -> Tensor:
    if y.device.type != "cpu":
        ordered = y.gather(-1, order)
        return torch.empty_like(y).scatter(-1, order, ordered - _pool(ordered, start, True))
    from hardgrad.functional.isotonic_kernels import centre_rows

    out = torch.empty(y.shape, dtype=y.dtype)
    centre_rows(_rows(y), _rows(order), _rows(start), _rows(out))
    return out


def _rank(x: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    order = _order(x)
    if x.device.type != "cpu":
        ordered = x.gather(-1, order)
        z = (ordered - ordered[..., :1]) / temperature
        w = torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device).expand(x.shape)
        start = _blocks(z, w, False)
        ranks = z - _pool(z, start, True) + _pool(w, start, True)
        return torch.empty_like(x).scatter(-1, order, ranks), order, start
    from hardgrad.functional.isotonic_kernels import rank_rows

    ranks = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    rank_rows(_rows(x), _rows(order), temperature, _rows(ranks), _rows(start))
    return ranks, order, start


def _sort(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = _order(x)
    if x.device.type != "cpu":
        z, w = torch.broadcast_tensors(z, x.gather(-1, order))
        start = _blocks(z, w, False)
        return z - _pool(z, start, True) + _pool(w, start, True), order, start
    from hardgrad.functional.isotonic_kernels import sort_rows

    values = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    sort_rows(_rows(z), _rows(x), _rows(order), _rows(values), _rows(start))
    return values, order, start


def _sort_entropic(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    order = _order(x)
    if x.device.type != "cpu":
        z, w = torch.broadcast_tensors(z, x.gather(-1, order))
        start = _blocks(z, w, True)
        logs = [_pool(exponentials(v, start), start, False).log() for v in (z, w)]
        return (z - first_of(z, start)) - logs[0] + first_of(w, start) + logs[1], order, start
    from hardgrad.functional.isotonic_kernels import sort_entropic_rows

    values = torch.empty(x.shape, dtype=x.dtype)
    start = torch.empty(x.shape, dtype=torch.int64)
    sort_entropic_rows(_rows(z), _rows(x), _rows(order), _rows(values), _rows(start))
    return values, order, start


def first_of(v: Tensor, start: Tensor) -> Tensor:
    """Return the first element of the block of every position, a constant to autograd."""
    return v.detach().gather(-1, start)


def exponentials(v: Tensor, start: Tensor) -> Tensor:
    """Return exp of the distance to the first element of the block, which is its largest: between 0 and 1."""
    return torch.exp(v - first_of(v, start))


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
def _like(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.new_empty(tensor.shape, dtype=torch.int64)


def _watched(tensor: Tensor) -> bool:
    """Tell whether a transform or a tracer must see the operator; else the function inside it is called, at a tenth of the cost."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or type(tensor) not in (Tensor, torch.nn.Parameter)
    )


def _plain(*tensors: Tensor) -> bool:
    """Tell whether nobody needs a derivative or a trace of what is computed from the tensors, and the CPU has them."""
    return not torch.is_grad_enabled() and all(
        t.device.type == "cpu" and not _watched(t) and forward_ad.unpack_dual(t).tangent is None
        for t in tensors
    )


def _operator(name: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
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


_order_op = _operator("isotonic_order", _order, _whole)
_blocks_op = _operator("isotonic_blocks", _blocks, lambda z, w, entropic: _whole(z))
_pool_op = _operator("isotonic_pool", _pool, lambda y, start, mean: _like(y))
_centre_op = _operator("isotonic_centre", _centre, lambda y, order, start: _like(y))
_rank_op = _operator("isotonic_rank", _rank, lambda x, temperature: (_like(x), _whole(x), _whole(x)))
_sort_op = _operator("isotonic_sort", _sort, lambda z, x: (_like(x), _whole(x), _whole(x)))
_sort_entropic_op = _operator(
    "isotonic_sort_entropic", _sort_entropic, lambda z, x: (_like(x), _whole(x), _whole(x))
)


def order_of(x: Tensor) -> Tensor:
    """Return positions that put (..., n) in descending order, int64; ties in any order."""
    return cast(Tensor, _order_op(x) if _watched(x) else _order(x))


def blocks_of(z: Tensor, w: Tensor, entropic: bool) -> Tensor:
    """Return where the block of every position begins, int64, for the fit of z - w; if entropic, neither z nor w may rise."""
    return cast(Tensor, _blocks_op(z, w, entropic) if _watched(z) else _blocks(z, w, entropic))


# their gradients
def _differentiable(
    compute: Callable[..., Any],
    op: Callable[..., Any],
    keep: Callable[..., tuple[Any, ...]],
    backward: Callable[..., tuple[Any, ...]],
    forward: Callable[..., Tensor],
) -> Callable[..., Tensor]:
    """Return the operator with its derivative, in the three forms that torch asks for: traced, transformed and plain.

    Parameters
    ----------
    compute, op : the same, without and with torch's knowledge of it.
    keep : of (inputs, outputs), what the two others are called with first; tensors before the rest.
    backward : of that, which inputs need one and the gradient of the first output, the gradients of the inputs.
    forward : of that and the changes of the inputs, None where there is none, the change of the first output.
    """
    several = compute in (_rank, _sort, _sort_entropic)
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
            Traced if torch.compiler.is_compiling() else Transformed if _watched(inputs[0]) else Plain
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


def _shares(v: Tensor, start: Tensor) -> Tensor:
    """Return the softmax of v over each block."""
    parts = exponentials(v, start)
    return parts / pool(parts, start, False)


def _sort_entropic_back(
    order: Tensor, start: Tensor, z: Tensor, x: Tensor, needed: Needed, gradient: Tensor
) -> tuple[Any, ...]:
    if not needed[0] and _plain(gradient, x):
        from hardgrad.functional.isotonic_kernels import share_rows

        shared = torch.empty(x.shape, dtype=x.dtype)
        share_rows(_rows(gradient), _rows(x), _rows(order), _rows(start), _rows(shared))
        return None, shared
    total = pool(gradient, start, False)
    of_z = (
        (gradient - _shares(z.expand(start.shape), start) * total).sum_to_size(z.shape) if needed[0] else None
    )
    of_w = _shares(x.gather(-1, order), start) * total if needed[1] else None
    return of_z, None if of_w is None else torch.empty_like(of_w).scatter(-1, order, of_w)


def _sort_entropic_forward(
    order: Tensor, start: Tensor, z: Tensor, x: Tensor, of_z: Tensor | None, of_x: Tensor | None
) -> Tensor:
    change = torch.zeros(())
    if of_x is not None:
        change = pool(_shares(x.gather(-1, order), start) * of_x.gather(-1, order), start, False)
    if of_z is not None:
        change = change + of_z - pool(_shares(z.expand(start.shape), start) * of_z, start, False)
    return change


pool = _differentiable(_pool, _pool_op, lambda inputs, _: inputs[1:], _pool_back, _pool_forward)
"""(y, start, mean): the sum, or the mean, of y over the block of every position; linear in y and symmetric."""

_centred = _differentiable(_centre, _centre_op, lambda inputs, _: inputs[1:], _centre_back, _centre_forward)

project_ranks = _differentiable(
    _rank, _rank_op, lambda inputs, outputs: (*outputs[1:], inputs[1]), _rank_back, _rank_forward
)
"""(x, temperature): the least-squares projection of x / temperature onto the permutahedron of 1..n; temperature is a float."""

project_sorted = _differentiable(
    _sort, _sort_op, lambda inputs, outputs: (*outputs[1:], inputs[0].shape), _sort_back, _sort_forward
)
"""(z, x): the least-squares projection of z, descending, (n,) or of the shape of x, onto the permutahedron of x; in descending order."""

project_sorted_entropic = _differentiable(
    _sort_entropic,
    _sort_entropic_op,
    lambda inputs, outputs: (*outputs[1:], *inputs),
    _sort_entropic_back,
    _sort_entropic_forward,
)
"""The same in the Kullback-Leibler sense."""
