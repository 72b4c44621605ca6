"""Forward and backward of smooth activations on a million numbers, in one process. Writes benchmarks/results/activations.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.functional import relu
from hardgrad.nn import SAU, SmoothedActivation

RESULT = Path(__file__).parent / "results" / "activations.md"
ELEMENTS = 1_000_000
BASE = "torch GELU"
BOUND = 2.5  # what row 49 asks of SAU, in times of GELU


def spelled_out(x: Tensor) -> Tensor:
    """SAU as its formula reads, differentiated by autograd."""
    u = x / 0.125
    density = torch.exp(-0.5 * u * u) * 0.3989422804014327
    return 0.15 * x + 0.85 * 0.125 * (u * torch.special.ndtr(u) + density)


def candidates() -> dict[str, Callable[[Tensor], Tensor]]:
    """Everyone who takes part."""
    return {
        BASE: torch.nn.functional.gelu,
        "torch ReLU": torch.relu,
        "hardgrad SAU": SAU(),
        "hardgrad SAU, slope and temperature learned": SAU(learn_slope=True, learn_temperature=True),
        "SAU as its formula reads": spelled_out,
        "hardgrad SmoothedActivation, hardtanh": SmoothedActivation(
            [-1.0, 1.0], [0.0, 1.0, 0.0], offset=-1.0
        ),
        "hardgrad functional relu, logistic": lambda x: relu(x, temperature=0.125),
    }


def main() -> None:
    """Measure everyone and write the table. `--quick` takes fewer turns."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ELEMENTS, generator=generator).requires_grad_()
    gradient = torch.randn(ELEMENTS, generator=generator)

    def both(function: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            x.grad = None
            function(x).backward(gradient)

        return run

    turns = 5 if "--quick" in sys.argv else 25
    seconds = alternate({name: both(function) for name, function in candidates().items()}, turns=turns)
    ratio = seconds["hardgrad SAU"] / seconds[BASE]
    lines = [
        "# Activations",
        "",
        f"Forward and backward of {ELEMENTS:,} float32 numbers from a standard normal, one thread, everyone in turn; "
        "the least time of each.",
        "",
        "| | ms | times GELU |",
        "| --- | --- | --- |",
        *(f"| {name} | {1e3 * time:.2f} | {time / seconds[BASE]:.2f} |" for name, time in seconds.items()),
        "",
        f"SAU takes {ratio:.2f} times GELU; the bound is {BOUND}: {'MET' if ratio <= BOUND else 'MISSED'}.",
        "",
        f"{machine()}; torch {torch.__version__}; load of the machine at the end {load()}.",
        "",
    ]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    print(write_text(RESULT, "\n".join(lines)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
