"""Seconds of a training step of a network of gates, and bytes kept for backward: difflogic's implementation for the CPU beside ours.

difflogic's package builds CUDA code when it is installed. Its CPU path needs none: put a folder that holds the package's Python files on
PYTHONPATH. Without it nothing is measured. Writes benchmarks/results/logic_training.md.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from torch import Tensor, nn

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.gradients.diagnostics import saved_for_backward
from hardgrad.logic import GroupSum, LogicLayer, LogicNetwork

RESULT = Path(__file__).parent / "results" / "logic_training.md"
CLASSES, TAU, BATCH, INPUTS = 10, 10.0, 128, 784
NETWORKS = {"784-1000x4": [1000] * 4, "784-8000x4": [8000] * 4}


def theirs(widths: list[int]) -> nn.Sequential:
    """difflogic's network, for the CPU."""
    sys.modules.setdefault(
        "difflogic_cuda", types.ModuleType("difflogic_cuda")
    )  # imported there, not used here
    import difflogic

    pairs = itertools.pairwise([INPUTS, *widths])
    layers = [difflogic.LogicLayer(a, b, device="cpu", implementation="python") for a, b in pairs]
    return nn.Sequential(*layers, difflogic.GroupSum(CLASSES, TAU, device="cpu"))


def like(peer: nn.Sequential, parametrization: str) -> LogicNetwork:
    """Our network on the same wires; with "softmax" it has the same weights, too."""
    layers = []
    for layer in list(peer)[:-1]:
        wires = torch.stack([torch.as_tensor(i).long() for i in layer.indices])
        ours = LogicLayer(layer.in_dim, layer.out_dim, connections=wires, parametrization=parametrization)
        if parametrization == "softmax":
            ours.weight.data.copy_(layer.weights.data)
        layers.append(ours)
    return LogicNetwork(layers, GroupSum(CLASSES, TAU))


def step(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    optimiser = torch.optim.Adam(network.parameters(), lr=0.0)  # the same work in every turn

    def run() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()

    return run


def check(peer: nn.Module, ours: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise unless both networks have the same loss and the same gradients, but for rounding."""
    losses = [nn.functional.cross_entropy(network(x), y) for network in (peer, ours)]
    gradients = [
        torch.autograd.grad(loss, list(network.parameters()))
        for loss, network in zip(losses, (peer, ours), strict=True)
    ]
    torch.testing.assert_close(losses[1], losses[0])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def main() -> None:
    if importlib.util.find_spec("difflogic") is None:
        print("difflogic is not installed: nothing measured")
        return
    lines = [
        "# Training networks of gates",
        "",
        f"A step of Adam with a batch of {BATCH}, and bytes that a forward pass keeps for backward. On the same wires; `softmax` has the "
        "same sixteen logits a gate and gives the same loss and gradients, `input-wise` is the default.",
        "",
        "| network | threads | difflogic, ms | softmax, ms | input-wise, ms | difflogic over softmax | difflogic over input-wise | "
        "kept: difflogic, MB | kept: input-wise, MB | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, widths in NETWORKS.items():
        torch.manual_seed(0)
        x, y = torch.rand(BATCH, INPUTS).round(), torch.randint(CLASSES, (BATCH,))
        peer = theirs(widths)
        same, ours = like(peer, "softmax"), like(peer, "input_wise")
        check(peer, same, x, y)
        kept = [saved_for_backward(partial(n, x)).total_bytes for n in (peer, ours)]
        for threads in (1, 2):
            torch.set_num_threads(threads)
            networks = {"difflogic": peer, "softmax": same, "input-wise": ours}
            took = alternate({key: step(n, x, y) for key, n in networks.items()}, turns=12)
            times = [1e3 * took[key] for key in networks]
            lines.append(
                f"| {name} | {threads} | {times[0]:.1f} | {times[1]:.1f} | {times[2]:.1f} | {times[0] / times[1]:.1f} | "
                f"{times[0] / times[2]:.1f} | {kept[0] / 1e6:.1f} | {kept[1] / 1e6:.1f} | {kept[0] / kept[1]:.1f} |"
            )
            print(lines[-1], flush=True)
    lines += ["", f"{machine()}, torch {torch.__version__}, load {load()}.", ""]
    write_text(RESULT, "\n".join(lines))


if __name__ == "__main__":
    main()
