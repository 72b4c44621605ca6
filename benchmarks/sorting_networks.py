"""Relaxed sorting networks, forward and backward, beside diffsort and a loop over rows. Writes benchmarks/results/sorting_networks.md."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from diffsort import DiffSortNet
from torch import Tensor

import hardgrad.functional as HF
from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.functional.network_layers import network_layers

RESULT = Path(__file__).parent / "results" / "sorting_networks.md"
BATCH, TEMPERATURE = 256, 0.1
Weights = Callable[[Tensor], Tensor]


def by_rows(x: Tensor, network: str) -> Tensor:
    """Return P of every row by itself, one comparator after the other: the loop that SoftTorch documents for its sorting network."""
    layers = network_layers("sort", network, x.shape[-1])
    found = []
    for row in x:
        values, rows = row.unbind(), torch.eye(len(row)).unbind()
        values, rows = list(values), list(rows)
        for layer in layers:
            for i, j in layer:
                a, b, p, q = values[i], values[j], rows[i], rows[j]
                share = torch.atan((b - a) / TEMPERATURE) / torch.pi + 0.5
                values[i], values[j] = share * a + (1 - share) * b, (1 - share) * a + share * b
                rows[i], rows[j] = share * p + (1 - share) * q, (1 - share) * p + share * q
        found.append(torch.stack(rows))
    return torch.stack(found)


def timed(weights: Weights, x: Tensor, probe: Tensor) -> Callable[[], object]:
    """Return a call that runs forward and backward."""

    def run() -> None:
        (weights(x.clone().requires_grad_()) * probe).sum().backward()

    return run


def measure(network: str, n: int, turns: int) -> str:
    x = torch.randn(BATCH, n, generator=torch.Generator().manual_seed(n))
    probe = torch.rand(BATCH, n, n, generator=torch.Generator().manual_seed(n + 1))
    peer = DiffSortNet(network, n, steepness=1 / TEMPERATURE)

    def ours(v: Tensor) -> Tensor:
        return HF.sort(v, temperature=TEMPERATURE, method="network", network=network).weights

    def theirs(v: Tensor) -> Tensor:
        return peer(v)[1].mT

    few = 2  # the loop over rows is timed on so many and scaled: it does the same for every row
    apart = max(
        float((ours(x) - theirs(x)).abs().max()),
        float((ours(x[:few]) - by_rows(x[:few], network)).abs().max()),
    )
    if apart > 1e-5:
        raise SystemExit(f"{network}, n = {n}: P differs by {apart:g}")
    seconds = alternate(
        {
            "ours": timed(ours, x, probe),
            "diffsort": timed(theirs, x, probe),
            "rows": timed(lambda v: by_rows(v, network), x[:few], probe[:few]),
        },
        turns=turns,
    )
    mine, peers, rows = seconds["ours"], seconds["diffsort"], seconds["rows"] * BATCH / few
    return (
        f"| {network} | {n} | {1e3 * mine:.1f} | {1e3 * peers:.1f} | {peers / mine:.1f} | {1e3 * rows:,.0f} | "
        f"{rows / mine:,.0f} | {apart:.0e} |"
    )


def main() -> None:
    """Measure every network and size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    turns = 4 if parser.parse_args().quick else 12
    torch.set_num_threads(2)
    lines = [
        "# Relaxed sorting networks",
        "",
        f"Milliseconds forward and backward for the matrix P of {BATCH} lists, cauchy swaps at temperature {TEMPERATURE}, float32, "
        "2 threads. SoftTorch needs Python 3.12, so the last columns time what it documents, a loop over rows and comparators written "
        "here in plain torch, on 2 rows, scaled to the batch.",
        "",
        "| network | n | hardgrad ms | diffsort 0.2.0 ms | times faster | loop over rows ms | times faster | largest difference of P |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [measure(network, n, turns) for network in ("odd_even", "bitonic") for n in (16, 32)]
    lines += ["", f"{machine()}, torch {torch.__version__}; load in the last minute {load()}.", ""]
    print(write_text(RESULT, "\n".join(lines)).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
