"""Sparsemax and 1.5-entmax, forward and backward, beside the package entmax. Writes benchmarks/results/simplex.md.

512 lists of 1,000 scores in float32, two threads, everyone in turn. Needs the package entmax: pip install --no-deps entmax
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import entmax as peer
import torch
from torch import Tensor

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.functional import entmax, sparsemax

RESULT = Path(__file__).parent / "results" / "simplex.md"
LISTS, SCORES = 512, 1_000
SCALES = {"normal scores": 1.0, "10 times wider": 10.0, "1,000 times narrower": 1e-3}
PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "sparsemax": (sparsemax, peer.sparsemax),
    "entmax 1.5": (entmax, peer.entmax15),
}


def both_ways(function: Callable[..., Tensor], scores: Tensor, gradient: Tensor) -> Tensor:
    return torch.autograd.grad(function(scores), scores, gradient)[0]


def measure() -> list[str]:
    generator = torch.Generator().manual_seed(0)
    lines = [
        "| | scores | hardgrad | entmax, sorted | entmax, first 100 | times faster |",
        "| --- " * 6 + "|",
    ]
    for scale_name, scale in SCALES.items():
        scores = scale * torch.randn(LISTS, SCORES, generator=generator)
        gradient = torch.randn(LISTS, SCORES, generator=generator)
        for name, (ours, theirs) in PAIRS.items():
            candidates = {
                "ours": partial(ours, dim=-1),
                "sorted": partial(theirs, dim=-1),
                "first": partial(theirs, dim=-1, k=100),
            }
            leaf = scores.clone().requires_grad_()
            runs = {key: partial(both_ways, f, leaf, gradient) for key, f in candidates.items()}
            apart = max(float((runs["ours"]() - runs[key]()).abs().max()) for key in ("sorted", "first"))
            if not apart < 1e-4:
                sys.exit(f"{name}, {scale_name}: gradients differ by {apart}")
            seconds = alternate(runs, turns=9)
            factor = min(seconds["sorted"], seconds["first"]) / seconds["ours"]
            cells = " | ".join(f"{1e3 * seconds[key]:.1f} ms" for key in runs)
            lines.append(f"| {name} | {scale_name} | {cells} | {factor:.2f} |")
    return lines


def main() -> None:
    torch.set_num_threads(2)
    lines = [
        "# Projections onto the simplex",
        "",
        f"Forward and backward of {LISTS} lists of {SCORES:,} scores, float32, two threads, one process, everyone in turn; the least "
        "time of each. The package entmax either sorts whole lists (its default) or looks at the 100 largest first; the last column is "
        "against the faster of the two. Gradients agree to 1e-4.",
        "",
        *measure(),
        "",
        f"{machine()}, torch {torch.__version__}; load {load()}.",
        "",
    ]
    write_text(RESULT, "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
