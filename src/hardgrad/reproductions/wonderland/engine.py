"""An engine for gradients in one page of NumPy.

Every operation leaves behind its value, where it came from, and for each parent a function that turns the gradient of the value into that
of the parent. Walking this record from the output back, in an order in which everyone is visited after all who used it, gives all
gradients. The one trap is broadcasting: a number that was stretched over an axis gets the sum of the gradients along it.

The hard twin of an engine's smooth step is the step itself. The record cannot go through it (its derivative is zero), so training code
puts in its place the gradient of a soft one: straight through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

import hardgrad.functional as HF
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "An engine"
Array = NDArray[np.float64]


class Var:
    """A value that remembers how it was made."""

    def __init__(
        self, value: ArrayLike, parents: tuple[tuple[Var, Callable[[Array], Array]], ...] = ()
    ) -> None:
        self.value: Array = np.asarray(value, dtype=np.float64)
        self.parents = parents
        self.gradient: Array = np.zeros_like(self.value)

    def __add__(self, other: Var) -> Var:
        """Add, with broadcasting."""
        return Var(
            self.value + other.value,
            ((self, lambda g: _shrink(g, self)), (other, lambda g: _shrink(g, other))),
        )

    def __mul__(self, other: Var) -> Var:
        """Multiply element by element, with broadcasting."""
        return Var(
            self.value * other.value,
            (
                (self, lambda g: _shrink(g * other.value, self)),
                (other, lambda g: _shrink(g * self.value, other)),
            ),
        )

    def __matmul__(self, other: Var) -> Var:
        """Multiply matrices."""
        return Var(
            self.value @ other.value,
            ((self, lambda g: g @ other.value.T), (other, lambda g: self.value.T @ g)),
        )

    def exp(self) -> Var:
        """Take the exponential."""
        value = np.exp(self.value)
        return Var(value, ((self, lambda g: g * value),))

    def log(self) -> Var:
        """Take the logarithm."""
        return Var(np.log(self.value), ((self, lambda g: g / self.value),))

    def relu(self) -> Var:
        """Take max(x, 0); the slope at 0 is 0, as torch has it."""
        return Var(np.maximum(self.value, 0.0), ((self, lambda g: g * (self.value > 0)),))

    def sum(self) -> Var:
        """Sum everything."""
        return Var(self.value.sum(), ((self, lambda g: np.broadcast_to(g, self.value.shape)),))

    def backward(self) -> None:
        """Fill in `gradient` for everything that this value was made of."""
        order: list[Var] = []
        seen: set[int] = set()

        def visit(node: Var) -> None:
            if id(node) not in seen:
                seen.add(id(node))
                for parent, _ in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.gradient = np.ones_like(self.value)
        for node in reversed(order):
            for parent, pull in node.parents:
                parent.gradient = parent.gradient + pull(node.gradient)


def _shrink(gradient: Array, to: Var) -> Array:
    """Sum a gradient over the axes along which the value was stretched."""
    extra = gradient.ndim - to.value.ndim
    gradient = gradient.sum(tuple(range(extra)))
    stretched = tuple(k for k, size in enumerate(to.value.shape) if size == 1 and gradient.shape[k] != 1)
    shrunk: Array = gradient.sum(stretched, keepdims=True)
    return shrunk


def directional(function: Callable[[Array], Array], x: Array, direction: Array) -> Array:
    """The derivative along one direction by carrying a complex number: forward mode without subtracting."""
    return np.imag(function(x + 1e-30j * direction)) / 1e-30


def random_graph(rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]]:
    """Inputs and a program of random operations that works on our values and on torch's."""
    inputs = [rng.normal(size=shape) for shape in ((3, 1), (1, 3), (3, 3), (3, 3))]
    steps = rng.integers(0, 5, 6)

    def program(a: Any, b: Any, c: Any, d: Any) -> Any:
        x = a + b
        for step in steps:
            if step == 0:
                x = x * c + b
            elif step == 1:
                x = x @ d
            elif step == 2:
                x = (x * d).relu() + c
            elif step == 3:
                x = (x * x * x * x + (c * c).exp()).log()
            else:
                x = x + a * b
        return x.sum()

    return inputs, program


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Hold the engine against torch on random graphs, and against forward mode."""
    rng = np.random.default_rng(random_state)
    worst = 0.0
    for _ in range(20 if quick else 200):
        inputs, program = random_graph(rng)
        ours = [Var(v) for v in inputs]
        program(*ours).backward()
        theirs = [torch.tensor(v, requires_grad=True) for v in inputs]
        expected = torch.autograd.grad(program(*theirs), theirs, materialize_grads=True)
        for mine, peer in zip(ours, expected, strict=True):
            apart = np.abs(mine.gradient - peer.numpy()).max() / max(1.0, float(peer.abs().max()))
            worst = max(worst, float(apart))
    x, direction = rng.normal(size=5), rng.normal(size=5)
    v = Var(x)
    (v.exp() * v).sum().backward()
    along = directional(lambda z: (np.exp(z) * z).sum(), x, direction)
    return ChapterReport(
        TITLE,
        (
            Measured.at_most(
                "engine against torch on random graphs, largest relative difference", worst, 1e-10
            ),
            Measured.at_most(
                "backward against forward along one direction",
                float(abs(v.gradient @ direction - along)),
                1e-10,
            ),
        ),
        HF.gap(HF.sign, torch.from_numpy(rng.normal(size=200))),
    )
