"""saved_for_backward: how many bytes a forward pass keeps for its backward pass, module by module, and how many it could do without.

Counts storages, not tensors: a view counts once with its base. Parameters and buffers of the modules that run are not counted, because
they are there anyway. What a custom function hides on its context, past torch's hooks, cannot be seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.core.errors import InputTypeError
from hardgrad.gradients.diagnostics.report import Report, new_axis

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_ONE_BIT = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardtanh, nn.Hardsigmoid, nn.Threshold, nn.Dropout)
AVOIDABLE_SHARE = 0.05


class SavedTensorVerdict(StrEnum):
    """What `saved_for_backward` concludes: nothing is kept, what is kept is needed, or a twentieth or more of it is avoidable."""

    NOTHING = "nothing_kept"
    NEEDED = "needed"
    AVOIDABLE = "avoidable"


@dataclass(frozen=True)
class SavedTensorReport(Report):
    """What a forward pass keeps for its backward pass.

    Parameters
    ----------
    verdict : "nothing_kept", "needed", or "avoidable" where `hardgrad.nn.save_memory` would free a twentieth or more.
    total_bytes : of all storages that the graph holds, each once; parameters and buffers are left out.
    avoidable_bytes : those of them that only layers hold which could do without: the input of a convolution or of a batch norm in
        evaluation whose weight is frozen, and 31 of 32 bits where an activation or a dropout needs one.
    by_module : bytes by the module that kept them first, as in "Sequential.2 (Conv2d)"; "" is what no module kept.
    by_shape : bytes by shape and dtype of the storage's first tensor.
    storages : number of storages.

    Examples
    --------
    >>> x = torch.ones(2, 3, requires_grad=True)
    >>> report = saved_for_backward(lambda: x.exp().sum())
    >>> report.total_bytes, dict(report.by_shape)
    (24, {'(2, 3) float32': 24})
    """

    total_bytes: int = 0
    avoidable_bytes: int = 0
    by_module: Mapping[str, int] = field(default_factory=dict)
    by_shape: Mapping[str, int] = field(default_factory=dict)
    storages: int = 0

    def __str__(self) -> str:
        return f"{self.total_bytes:,} bytes kept for backward in {self.storages} storages, {self.avoidable_bytes:,} avoidable"

    def plot(self, ax: Any = None) -> Any:
        """Draw the bytes of each module as bars on a matplotlib axis and return the axis. Needs matplotlib."""
        ax = new_axis(ax)
        names = list(self.by_module)
        ax.barh([name or "no module" for name in names], [self.by_module[name] / 2**20 for name in names])
        ax.invert_yaxis()
        ax.set_xlabel("MiB kept for backward")
        ax.set_title(str(self))
        return ax


class _Kept:
    """One saved tensor; lives exactly as long as the graph needs it."""

    __slots__ = ("__weakref__", "module", "path", "tensor")

    def __init__(self, tensor: Tensor, module: nn.Module | None, path: str) -> None:
        self.tensor, self.module, self.path = tensor, module, path


class _Watch:
    """Follows which module runs, and notes what is saved meanwhile."""

    def __init__(self, exclude: Iterable[Tensor]) -> None:
        self.kept: list[weakref.ref[_Kept]] = []
        self.stack: list[nn.Module] = []
        self.names: dict[int, str] = {}
        self.excluded = {_key(tensor) for tensor in exclude}

    def enter(self, module: nn.Module, inputs: Any) -> None:
        if id(module) not in self.names:
            root = type(module).__name__
            for name, part in module.named_modules():
                self.names.setdefault(id(part), f"{root}.{name} ({type(part).__name__})" if name else root)
            self.excluded |= {_key(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self.stack.append(module)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.stack and self.stack[-1] is module:
            self.stack.pop()

    def pack(self, tensor: Tensor) -> _Kept:
        module = self.stack[-1] if self.stack else None
        kept = _Kept(tensor, module, self.names[id(module)] if module is not None else "")
        self.kept.append(weakref.ref(kept))
        return kept

    def report(self) -> SavedTensorReport:
        found: dict[tuple[str, int], list[_Kept]] = {}
        for reference in self.kept:
            kept = reference()
            if kept is None or isinstance(kept.tensor, nn.Parameter) or _key(kept.tensor) in self.excluded:
                continue
            if kept.tensor.untyped_storage().nbytes():
                found.setdefault(_key(kept.tensor), []).append(kept)
        total, avoidable = 0, 0
        by_module: dict[str, int] = {}
        by_shape: dict[str, int] = {}
        for holders in found.values():
            first = holders[0]
            size = first.tensor.untyped_storage().nbytes()
            total += size
            avoidable += min(_avoidable(holder, size) for holder in holders)
            by_module[first.path] = by_module.get(first.path, 0) + size
            shape = f"{tuple(first.tensor.shape)} {str(first.tensor.dtype).removeprefix('torch.')}"
            by_shape[shape] = by_shape.get(shape, 0) + size
        verdict = (
            SavedTensorVerdict.NOTHING
            if not total
            else SavedTensorVerdict.AVOIDABLE
            if avoidable >= AVOIDABLE_SHARE * total
            else SavedTensorVerdict.NEEDED
        )
        return SavedTensorReport(verdict, total, avoidable, by_module, by_shape, len(found))


def saved_for_backward(fn: Callable[[], Any], *, exclude: Iterable[Tensor] = ()) -> SavedTensorReport:
    """Run a forward pass and return how many bytes it keeps for its backward pass, by module and by shape.

    Parameters
    ----------
    fn : called once without arguments; what it returns (a tensor, or anything that holds tensors) keeps the graph alive.
    exclude : tensors not to count beside the parameters and buffers of the modules that run, as weights used outside of modules.

    Raises
    ------
    InputTypeError : `fn` is not callable.

    Examples
    --------
    Five frozen convolutions behind a trainable one: torch keeps the input of every one of them.

    >>> net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6))).requires_grad_(False)
    >>> _ = net[0].requires_grad_(True)
    >>> report = saved_for_backward(lambda: net(torch.zeros(1, 4, 8, 8)))
    >>> report.total_bytes, report.avoidable_bytes, str(report.verdict)
    (6144, 5120, 'avoidable')

    Notes
    -----
    Bhatia and Dangel, Lowering PyTorch's Memory Consumption for Selective Differentiation (WANT workshop at ICML 2024).
    """
    if not callable(fn):
        raise InputTypeError(
            f"saved_for_backward got {type(fn).__name__}; expected a function without arguments that runs the forward pass, "
            "as in saved_for_backward(lambda: model(x))."
        )
    watch = _Watch(exclude)
    before = nn.modules.module.register_module_forward_pre_hook(watch.enter)
    after = nn.modules.module.register_module_forward_hook(watch.leave, always_call=True)
    try:
        with torch.autograd.graph.saved_tensors_hooks(watch.pack, _unpack):
            result = fn()
    finally:
        before.remove()
        after.remove()
    report = watch.report()
    del result  # held until here: what the graph keeps is what counts
    return report


def _unpack(kept: _Kept) -> Tensor:
    return kept.tensor


def _key(tensor: Tensor) -> tuple[str, int]:
    return str(tensor.device), tensor.untyped_storage().data_ptr()


def _avoidable(kept: _Kept, size: int) -> int:
    """Bytes of this storage that the module which keeps it could do without."""
    module = kept.module
    weight = getattr(module, "weight", None)
    frozen = not (isinstance(weight, Tensor) and weight.requires_grad)
    if type(module) in _CONVOLUTIONS and frozen:
        return size
    if type(module) in _BATCH_NORMS and frozen:
        return 0 if module is None or module.training else size
    if type(module) in _ONE_BIT:
        return size - (kept.tensor.numel() + 7) // 8
    return 0
