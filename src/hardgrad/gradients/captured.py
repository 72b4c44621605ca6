"""What a function depends on besides its arguments: tensors that would silently get no derivative are found and refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hardgrad.core.errors import InputError

_functorch = torch._C._functorch


def refuse_captured(name: str, values: Sequence[Tensor], known: Sequence[Tensor]) -> None:
    """Raise `InputError` where values of F depend on a tensor that requires a gradient and is not one of the known ones."""
    ours = {id(t) for t in known}
    nodes = [v.grad_fn for v in values if v.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor) and id(leaf) not in ours:
            raise _captured(name, f" of shape {tuple(leaf.shape)}")
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)


def refuse_captured_by_transform(name: str, values: Sequence[Tensor]) -> None:
    """Raise `InputError` where values of F at `bare` arguments carry something of a transform of torch.func that is running."""
    if any(_carries(v) for v in values):
        raise _captured(name, "")


@contextlib.contextmanager
def escapes_explained(name: str) -> Iterator[None]:
    """Say what is wrong where torch only says that a tensor has escaped from one of its transforms."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("have escaped", "wrapper == nullptr")):
            raise
        raise _captured(name, " of a transform of torch.func") from error


def transform_is_running() -> bool:
    """Tell whether a transform of torch.func (grad, vjp, jvp, vmap ...) is running."""
    return _functorch.maybe_current_level() is not None


def bare(tensor: Tensor) -> Tensor:
    """Return the values of a tensor without what the transforms of torch.func put around them; of a mapped one the first item."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        if _functorch.is_batchedtensor(tensor):
            dim = _functorch.maybe_get_bdim(tensor)
            tensor = _functorch.get_unwrapped(tensor).select(dim, 0)
        else:
            tensor = _functorch.get_unwrapped(tensor)
    return tensor.detach()


def _carries(value: Tensor) -> bool:
    while True:
        if value.requires_grad or _functorch.is_batchedtensor(value):
            return True
        if forward_ad.unpack_dual(value).tangent is not None:
            return True
        if not _functorch.is_functorch_wrapped_tensor(value):
            return False
        value = _functorch.get_unwrapped(value)


def _captured(name: str, what: str) -> InputError:
    return InputError(
        f"{name}: F or the solver uses a tensor{what} that a derivative is asked for and that is not among its arguments, so it would "
        "silently get none. Pass it as theta (parameters of a module: through torch.func.functional_call), or detach it."
    )
