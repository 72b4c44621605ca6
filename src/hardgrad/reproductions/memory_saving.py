"""Row 6: what a frozen network keeps for the backward pass of one trained layer, torch's layers against the memory-saving ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hardgrad.reproductions.registry import Measured, Scale, reproduction

MEBIBYTE = 2**20
LAYERS, TRAINED = 10, 3


@reproduction(
    row=6,
    slug="memory-saving",
    title="Lowering PyTorch's Memory Consumption for Selective Differentiation",
    venue="Bhatia and Dangel, WANT workshop at ICML 2024",
    claim=(
        "Peak MiB of a forward pass, input (256, 8, 256, 256), 4th of 10 layers trained: Conv2d 5312 -> 2752, BatchNorm2d in "
        "evaluation 4795 -> 2237, BatchNorm2d in training 4796 -> 4796; run time unchanged (from the repository's stored measurements)"
    ),
)
def memory_saving(scale: Scale) -> Sequence[Measured]:
    """Measure ten 8-channel layers, the 4th trained; full: (16, 8, 32, 32) and step times; smoke: (4, 8, 16, 16)."""
    import torch

    smoke = scale == "smoke"
    torch.manual_seed(0)
    x = torch.randn(4 if smoke else 16, 8, *(2 * [16 if smoke else 32]))
    one = x.numel() * 4
    plain, with_relu, norm = _stack(torch, "conv"), _stack(torch, "relu"), _stack(torch, "norm")
    measured = [
        Measured.exactly("activations kept, convolutions, torch", _kept(plain, x)[0] / one, 7),
        Measured.exactly("activations kept, convolutions, ours", _kept(plain, x)[1] / one, 1),
        Measured.at_least("torch's bytes over ours, convolutions", _ratio(plain, x), 7),
        Measured.at_most(
            "activations kept, convolutions and ReLU, ours", _kept(with_relu, x)[1] / one, 1 + 7 / 32
        ),
        Measured.at_least("torch's bytes over ours, convolutions and ReLU", _ratio(with_relu, x), 6),
        Measured.at_least("torch's bytes over ours, batch norm in evaluation", _ratio(norm, x), 7),
        Measured.at_most("worst relative error of a gradient", max(_error(net, x) for net in (plain, with_relu, norm)), 1e-6),
    ]  # fmt: skip
    for net, name in ((plain, "convolutions"), (with_relu, "convolutions and ReLU")):
        net.requires_grad_(True)
        theirs, ours = _kept(net, x)
        measured.append(Measured.at_most(f"ours over torch's bytes, all of {name} trained", ours / theirs, 1))
        net.requires_grad_(False)[_place(net)].requires_grad_(True)
    if smoke:
        return measured
    measured.append(
        Measured.exactly("MiB of one activation", one / MEBIBYTE, 0.5),
    )
    for net, name in ((plain, "convolutions"), (with_relu, "convolutions and ReLU")):
        measured.append(
            Measured.at_most(f"step time over torch's, median of 20, {name}", _time(net, x), 1.15)
        )
    return measured


def _place(net: Any) -> int:
    return TRAINED * (len(net) // LAYERS)


def _stack(torch: Any, kind: str) -> Any:
    """Ten layers of 8 channels, all frozen but the 4th; batch norms have statistics and are in evaluation."""
    nn = torch.nn
    parts: list[Any] = []
    for _ in range(LAYERS):
        parts.append(nn.BatchNorm2d(8) if kind == "norm" else nn.Conv2d(8, 8, 3, padding=1))
        if kind == "norm":
            parts[-1].running_var.uniform_(0.5, 2.0)
            parts[-1].running_mean.normal_()
        if kind == "relu":
            parts.append(nn.ReLU())
    net = nn.Sequential(*parts).eval().requires_grad_(False)
    net[_place(net)].requires_grad_(True)
    return net


def _kept(net: Any, x: Any) -> tuple[int, int]:
    """Bytes kept for backward by torch's layers and by ours."""
    from hardgrad.gradients.diagnostics import saved_for_backward
    from hardgrad.nn import save_memory

    ours = save_memory(net)
    return saved_for_backward(lambda: net(x)).total_bytes, saved_for_backward(lambda: ours(x)).total_bytes


def _ratio(net: Any, x: Any) -> float:
    theirs, ours = _kept(net, x)
    return theirs / ours


def _gradients(net: Any, x: Any) -> list[Any]:
    import torch

    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(net(x).square().mean(), trained))


def _error(net: Any, x: Any) -> float:
    from hardgrad.nn import save_memory

    pairs = zip(_gradients(save_memory(net), x), _gradients(net, x), strict=True)
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def _time(net: Any, x: Any, steps: int = 20) -> float:
    """Median seconds of a step of ours over torch's; the two take turns, so that a busy machine slows both."""
    import statistics
    import time

    from hardgrad.nn import save_memory

    ours = save_memory(net)
    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    for step in range(steps + 2):
        for name, model in (("ours", ours), ("torch", net)):
            begun = time.perf_counter()
            _gradients(model, x)
            if step >= 2:
                seconds[name].append(time.perf_counter() - begun)
    return statistics.median(seconds["ours"]) / statistics.median(seconds["torch"])
