"""Implicit differentiation beside unrolling: time of value and gradient, and bytes that the graph keeps, by steps of the solver."""

from __future__ import annotations

import argparse
import functools
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _timing import alternate, load, machine
from hardgrad.core.files import write_text
from hardgrad.gradients import implicit_root

RESULT = Path(__file__).parent / "results" / "implicit_differentiation.md"
STEPS = (10, 100, 1000)
LEARNING_RATE = 1.0


class Problem:
    """Multinomial logistic regression with one decay a weight, solved by accelerated gradient descent on the gradient of autograd."""

    def __init__(self, rows: int = 500, features: int = 64, classes: int = 10) -> None:
        generator = torch.Generator().manual_seed(0)
        self.X = torch.randn(rows, features, generator=generator, dtype=torch.float64)
        weights = torch.randn(features, classes, generator=generator, dtype=torch.float64)
        self.labels = (self.X @ weights + torch.randn(rows, classes, generator=generator)).argmax(1)
        self.theta = torch.full((features, classes), -2.0, dtype=torch.float64)
        self.target = torch.randn(features, classes, generator=generator, dtype=torch.float64)

    def slope(self, w: Tensor, theta: Tensor) -> Tensor:
        """Return the gradient of the training loss in the weights, by autograd."""
        loss = torch.nn.functional.cross_entropy(self.X @ w, self.labels) + 0.5 * (theta.exp() * w**2).sum()
        (found,) = torch.autograd.grad(loss, w, create_graph=theta.requires_grad)
        return found

    def optimality(self, w: Tensor, theta: Tensor) -> Tensor:
        """Return the same, always differentiable."""
        loss = torch.nn.functional.cross_entropy(self.X @ w, self.labels) + 0.5 * (theta.exp() * w**2).sum()
        (found,) = torch.autograd.grad(loss, w, create_graph=True)
        return found

    def solve(self, theta: Tensor, steps: int) -> Tensor:
        """Return the weights after so many steps; differentiable where theta is."""
        w = before = torch.zeros_like(theta).requires_grad_()
        for k in range(steps):
            ahead = w + k / (k + 3) * (w - before)
            if not theta.requires_grad:
                ahead = ahead.detach().requires_grad_()
            before, w = w, ahead - LEARNING_RATE * self.slope(ahead, theta)
            if not theta.requires_grad:
                w = w.detach()
        return w

    def gradient(self, solve: Callable[[Tensor], Tensor]) -> Tensor:
        """Solve, and return the gradient of a loss of the solution in theta."""
        theta = self.theta.clone().requires_grad_()
        ((solve(theta) - self.target) ** 2).sum().backward()
        assert theta.grad is not None
        return theta.grad


def kept_bytes(problem: Problem, solve: Callable[[Tensor], Tensor]) -> int:
    """Bytes of the tensors that the graph of a solution keeps for its backward pass; each storage once."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()  # the tensor itself would keep its own graph alive
            alive.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        x = solve(problem.theta.clone().requires_grad_())
    assert x.requires_grad
    return sum({s.tensor.data_ptr(): s.tensor.untyped_storage().nbytes() for s in alive}.values())


def main() -> None:
    """Measure every length and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    problem = Problem()
    lines = [
        "# Implicit differentiation",
        "",
        "The weights of a multinomial logistic regression (500 rows, 640 weights, one decay a weight) by accelerated gradient descent: "
        "time of a solution with its gradient in the decays, the least of several turns, and what the graph keeps for the backward pass. "
        "Unrolled is autograd through the same steps. Both times include the steps themselves, which are the same; "
        "`backward` is the ratio of the backward passes alone. `of the steps alone` is unrolled over the steps without "
        "any gradient: what the ratio would be if the gradient of the implicit one cost nothing.",
        "",
        "| steps | implicit ms | unrolled ms | unrolled / implicit | of the steps alone | backward | "
        "implicit kept kB | unrolled kept kB | difference of the gradients |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for steps in STEPS:

        def unrolled(theta: Tensor, steps: int = steps) -> Tensor:
            return problem.solve(theta, steps)

        implicit = implicit_root(problem.optimality, unrolled, symmetric=True)
        first, second = problem.gradient(implicit), problem.gradient(unrolled)
        difference = float((first - second).norm() / first.norm())
        seconds = alternate(
            {
                "implicit": lambda f=implicit: problem.gradient(f),
                "unrolled": lambda f=unrolled: problem.gradient(f),
                "steps": lambda f=unrolled: f(problem.theta),
            },
            turns=turns,
        )
        alone = {}
        for name, solve in (("implicit", implicit), ("unrolled", unrolled)):
            theta = problem.theta.clone().requires_grad_()
            alone[name] = functools.partial(
                torch.autograd.grad, solve(theta), theta, problem.target, retain_graph=True
            )
        backward = alternate(alone, turns=turns)
        kept = kept_bytes(problem, implicit), kept_bytes(problem, unrolled)
        ratio, most = (seconds["unrolled"] / seconds[name] for name in ("implicit", "steps"))
        lines.append(
            f"| {steps} | {1e3 * seconds['implicit']:.1f} | {1e3 * seconds['unrolled']:.1f} | **{ratio:.2f}x** | {most:.2f}x | "
            f"{backward['unrolled'] / backward['implicit']:.2f}x | {kept[0] / 1e3:.1f} | "
            f"{kept[1] / 1e3:,.1f} | {difference:.0e} |"
        )
    lines += [
        "",
        "The difference of the gradients is that of solutions that are not there yet: after few steps both are wrong, the unrolled one "
        "more so. The linear solve of the implicit one is conjugate gradient to a relative residual of 1e-6.",
        "",
        f"{machine()}, one thread, torch {torch.__version__}; load of the machine at the end {load()}.",
    ]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    print(write_text(RESULT, "\n".join(lines) + "\n").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
