"""Soft ranks and soft sorts on the permutahedron, forward and backward, beside torchsort. Writes benchmarks/results/permutahedron.md.

torchsort is compiled by whoever installs it, so it is no requirement: without it, the peer is scikit-learn's isotonic regression in a
loop over the lists, forward only.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.functional.isotonic import soft_rank, soft_sort

RESULT = Path(__file__).parent / "results" / "permutahedron.md"
SHAPES = ((64, 100), (64, 1_000), (1, 100_000))
TEMPERATURE = 0.1
THREADS = 2
Function = Callable[[torch.Tensor], torch.Tensor]


def ours(operation: str, entropic: bool) -> Function:
    function = soft_rank if operation == "rank" else soft_sort
    return lambda x: function(x, TEMPERATURE, entropic=entropic)


def torchsort_peer(operation: str, entropic: bool) -> Function:
    import torchsort

    function = torchsort.soft_rank if operation == "rank" else torchsort.soft_sort
    kind = "kl" if entropic else "l2"
    return lambda x: function(x, regularization=kind, regularization_strength=TEMPERATURE)


def sklearn_peer(operation: str, entropic: bool) -> Function:
    """The closed form with scikit-learn's isotonic fit of each list; least squares only."""
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(increasing=False)

    def run(x: torch.Tensor) -> torch.Tensor:
        out = np.empty(x.shape)
        for row, values in zip(out, x.detach().double().numpy(), strict=True):
            order = np.argsort(-values)
            places = np.arange(len(values), 0, -1.0)
            z, w = (
                (values[order] / TEMPERATURE, places)
                if operation == "rank"
                else (places / TEMPERATURE, values[order])
            )
            found = z - fit.fit_transform(np.arange(len(z)), z - w)
            if operation == "rank":
                row[order] = found
            else:
                row[:] = found[::-1]
        return torch.from_numpy(out)

    return run


def step(function: Function, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], object]:
    """Return one forward and backward pass."""

    def run() -> None:
        x.grad = None
        function(x).backward(gradient)

    return run


def gradient_of(function: Function, x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of x."""
    return torch.autograd.grad(function(x), x, gradient)[0]


def main() -> None:
    """Compare results, then times, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    turns = 5 if parser.parse_args().quick else 25
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    built = importlib.util.find_spec("torchsort") is not None
    peer, name = (torchsort_peer, "torchsort") if built else (sklearn_peer, "scikit-learn loop, forward only")
    lines = [
        "# Permutahedron",
        "",
        f"Milliseconds of one forward and backward pass, float32, temperature {TEMPERATURE}, {THREADS} threads; least of {turns} turns.",
        "Differences: the worst, over the largest, from the peer in double precision; that of our gradient in double precision too.",
        "",
        f"| operation | lists x elements | hardgrad ms | {name} ms | ratio | our difference | peer's | of gradients |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for operation in ("rank", "sort"):
        for entropic in (False, True) if built else (False,):
            for shape in SHAPES:
                x = torch.randn(shape, requires_grad=True)
                gradient = torch.randn(shape)
                mine, other = ours(operation, entropic), peer(operation, entropic)
                expected = other(
                    x.detach().double()
                )  # in single precision the peer's own error would be measured
                apart, peer_apart = (
                    float((f(x).detach() - expected).abs().max() / expected.abs().max())
                    for f in (mine, other)
                )
                of_gradients = "-"
                candidates: dict[str, Callable[[], object]] = {
                    "ours": step(mine, x, gradient),
                    "peer": lambda f=other, v=x: f(v),
                }
                if built:
                    candidates["peer"] = step(other, x, gradient)
                    exact = torch.randn(
                        shape, dtype=torch.float64, requires_grad=True
                    )  # without ties, and at no kink
                    slopes = [gradient_of(f, exact, gradient.double()) for f in (mine, other)]
                    of_gradients = f"{float((slopes[0] - slopes[1]).abs().max() / slopes[1].abs().max()):.0e}"
                if not apart < 1e-4:
                    raise SystemExit(
                        f"soft {operation} differs from {name} by {apart:.1e}: no times are written"
                    )
                seconds = alternate(candidates, turns=turns)
                label = f"soft {operation}, {'KL' if entropic else 'L2'}"
                lines.append(
                    f"| {label} | {shape[0]} x {shape[1]:,} | {1e3 * seconds['ours']:.2f} | {1e3 * seconds['peer']:.2f} | "
                    f"{seconds['peer'] / seconds['ours']:.2f} | {apart:.0e} | {peer_apart:.0e} | {of_gradients} |"
                )
    lines += ["", f"{machine()}; load in the last minute {load()}."]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    print(write_text(RESULT, "\n".join(lines) + "\n").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
