"""Black-box solvers: exact ones against exhaustive search and networkx, gradients against softmax and finite differences, both senses."""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError, TemperatureError, UnsupportedError
from hardgrad.functional import black_box, fenchel_young_loss
from hardgrad.functional.exact_solvers import assignment, k_best, shortest_path, spanning_tree


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def largest(scores: np.ndarray) -> np.ndarray:
    return np.eye(len(scores))[scores.argmax()]


def smallest(costs: np.ndarray) -> np.ndarray:
    return np.eye(len(costs))[costs.argmin()]


# --- ready solvers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("neighbours", [4, 8])
def test_shortest_path_against_networkx(neighbours: int) -> None:
    costs = np.random.default_rng(0).uniform(0, 1, (5, 6))
    grid = nx.grid_2d_graph(5, 6).to_directed()
    if neighbours == 8:
        corners = [
            ((i, j), (i + 1, j + d)) for i in range(4) for j in range(6) for d in (1, -1) if 0 <= j + d < 6
        ]
        grid.add_edges_from([*corners, *((b, a) for a, b in corners)])
    best = nx.shortest_path(grid, (0, 0), (4, 5), weight=lambda a, b, _: costs[b])
    path = shortest_path(costs, neighbours=neighbours)
    assert {tuple(cell) for cell in np.argwhere(path)} == set(best)
    assert shortest_path(np.zeros((1, 1))).tolist() == [[1.0]]


def test_assignment_against_every_permutation() -> None:
    costs = np.random.default_rng(1).normal(size=(4, 4))
    best = min(permutations(range(4)), key=lambda p: sum(costs[i, j] for i, j in enumerate(p)))
    assert assignment(costs).argmax(axis=1).tolist() == list(best)


def test_spanning_tree_against_networkx() -> None:
    costs = np.random.default_rng(2).normal(size=(6, 6))
    graph = nx.Graph()
    graph.add_weighted_edges_from((i, j, costs[i, j]) for i in range(6) for j in range(i + 1, 6))
    assert {tuple(e) for e in np.argwhere(spanning_tree(costs))} == set(
        nx.minimum_spanning_edges(graph, data=False)
    )
    assert spanning_tree(np.zeros((1, 1))).tolist() == [[0.0]]


def test_bad_instances() -> None:
    for solver in (shortest_path, assignment, spanning_tree):
        with pytest.raises(InputError, match=solver.__name__):
            solver(np.zeros(3))
    with pytest.raises(InputError, match="square"):
        spanning_tree(np.zeros((2, 3)))
    with pytest.raises(ParameterError, match="k=4"):
        k_best(np.zeros(3), k=4)
    with pytest.raises(ParameterError, match="neighbours=6"):
        shortest_path(np.zeros((2, 2)), neighbours=6)


# --- perturbed --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("solver", "sense", "sign"), [(largest, "maximise", 1), (smallest, "minimise", -1)])
def test_gumbel_noise_on_a_choice_of_one_is_the_softmax(solver: object, sense: str, sign: int) -> None:
    """The mean and its Jacobian are known in closed form, for both senses."""
    x = torch.tensor([0.3, -0.2, 0.6], dtype=torch.float64, requires_grad=True)
    solve = black_box(solver, sense=sense, noise="gumbel", samples=20_000)  # type: ignore[arg-type]
    y = solve(x, temperature=0.7, generator=generator())
    p = torch.softmax(sign * x / 0.7, -1)
    assert torch.allclose(y, p, atol=0.015)
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    (ours,) = torch.autograd.grad((y * weights).sum(), x)
    (exact,) = torch.autograd.grad((p * weights).sum(), x)
    assert torch.allclose(ours, exact, atol=0.06)


def test_normal_noise_has_the_gradient_of_the_smoothed_choice() -> None:
    """For two scores the mean is a normal distribution function of their difference."""
    x = torch.tensor([0.2, 0.0], dtype=torch.float64, requires_grad=True)
    y = black_box(largest, sense="maximise", samples=20_000)(x, temperature=0.5, generator=generator())
    spread = 0.5 * 2**0.5
    assert y[0].item() == pytest.approx(float(torch.special.ndtr(torch.tensor(0.2 / spread))), abs=0.015)
    (ours,) = torch.autograd.grad(y[0], x)
    slope = float(torch.exp(torch.tensor(-0.5 * (0.2 / spread) ** 2))) / (2 * np.pi) ** 0.5 / spread
    assert ours.tolist() == pytest.approx([slope, -slope], abs=0.04)


def test_subtracting_the_exact_solution_reduces_the_variance() -> None:
    x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).requires_grad_()
    solve = black_box(largest, sense="maximise", samples=4)
    reduced, plain = [], []
    for seed in range(300):
        y = solve(x, temperature=0.5, generator=generator(seed))
        reduced.append(torch.autograd.grad(y[0], x)[0])
        _, score, solutions = solve.perturbed(x.detach(), 0.5, generator(seed))
        plain.append((solutions[:, :1] * score).mean(0))
    first, second = torch.stack(reduced), torch.stack(plain)
    assert first.var(0).sum() < 0.5 * second.var(0).sum()
    assert torch.allclose(first.mean(0), second.mean(0), atol=4 * float(second.std() / 300**0.5))


def test_a_batch_is_solved_instance_by_instance() -> None:
    costs = torch.rand(2, 3, 4, 4, generator=generator()).double().requires_grad_()
    solve = black_box("assignment", samples=3)
    y = solve(costs, temperature=0.3, generator=generator())
    assert y.shape == costs.shape and torch.allclose(y.sum(-1), torch.ones(2, 3, 4).double())
    (gradient,) = torch.autograd.grad(y[0, 1].square().sum(), costs)
    others = gradient.clone()
    others[0, 1] = 0
    assert gradient[0, 1].abs().sum() > 0 and others.abs().sum() == 0


def test_modes() -> None:
    x = torch.tensor([0.1, 0.9, 0.5], requires_grad=True)
    solve = black_box("k_best", k=2, samples=50)
    exact = [0.0, 1.0, 1.0]
    assert solve(x, mode="hard").tolist() == exact and not solve(x, mode="hard").requires_grad
    soft, st = (solve(x, mode=mode, temperature=1.0, generator=generator()) for mode in ("soft", "st"))
    assert st.tolist() == exact and soft.tolist() != exact
    assert torch.equal(*(torch.autograd.grad(y[0], x)[0] for y in (soft, st)))
    assert solve(torch.tensor([3, 1, 2]), mode="hard").tolist() == [1.0, 0.0, 1.0]


# --- interpolated -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("solver", "sense", "sign"), [(largest, "maximise", -1), (smallest, "minimise", 1)])
def test_interpolated_gradient_is_the_published_one(solver: object, sense: str, sign: int) -> None:
    """It is the slope of <gradient, solution> along the line that the costs move on, and descending it makes the loss smaller."""
    x = torch.tensor([0.4, 0.1, 0.3], dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    solve = black_box(solver, "interpolated", sense=sense)  # type: ignore[arg-type]
    y = solve(x, temperature=2.0)
    loss = (y - wanted).square().sum()
    (incoming,) = torch.autograd.grad(loss, y, retain_graph=True)
    (gradient,) = torch.autograd.grad(loss, x)
    moved = torch.from_numpy(solver((x.detach() + sign * 2.0 * incoming).numpy()))  # type: ignore[operator]
    assert torch.equal(gradient, sign * (moved - y.detach()) / 2.0)
    better = solve(x.detach() - gradient, mode="hard")
    assert loss.item() > 0 and torch.equal(better, wanted)


# --- Fenchel-Young ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("solver", "sense", "sign"), [(largest, "maximise", 1), (smallest, "minimise", -1)])
def test_fenchel_young_gradient_and_value(solver: object, sense: str, sign: int) -> None:
    """With Gumbel noise the loss is the cross-entropy of the softmax, up to Euler's constant."""
    x = torch.tensor([[0.3, -0.2, 0.6]], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    solve = black_box(solver, sense=sense, noise="gumbel", samples=20_000)  # type: ignore[arg-type]
    loss = fenchel_young_loss(solve, x, target, temperature=0.5, generator=generator())
    entropy = 0.5 * torch.nn.functional.cross_entropy(sign * x / 0.5, torch.tensor([1]))
    assert (loss - entropy).item() == pytest.approx(0.5 * 0.5772, abs=0.02)
    (ours,), (exact,) = (torch.autograd.grad(value, x) for value in (loss, entropy))
    assert torch.allclose(ours, exact, atol=0.015)


def test_fenchel_young_learns_costs() -> None:
    weights = torch.zeros(5, 5, dtype=torch.float64, requires_grad=True)
    hidden = torch.rand(5, 5, generator=generator(4)).double()
    target = black_box("spanning_tree")(hidden, mode="hard")
    solve = black_box("spanning_tree", samples=10)
    for step in range(25):
        loss = fenchel_young_loss(solve, weights, target, temperature=0.5, generator=generator(step))
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 0.5 * gradient
    assert torch.equal(solve(weights, mode="hard"), target)


def test_reductions() -> None:
    solve = black_box("k_best", k=1, samples=5)
    x, y = torch.rand(4, 3), torch.eye(3)[[0, 1, 2, 0]]
    each = fenchel_young_loss(solve, x, y, reduction="none", generator=generator())
    assert each.shape == (4,)
    for reduction, value in (("mean", each.mean()), ("sum", each.sum())):
        assert torch.equal(fenchel_young_loss(solve, x, y, reduction=reduction, generator=generator()), value)


# --- errors -----------------------------------------------------------------------------------------------------------------
def test_a_solver_that_does_the_opposite_is_found_out() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for solver, sense in ((largest, "minimise"), (smallest, "maximise")):
        with pytest.raises(ParameterError, match="other costs are better"):
            black_box(solver, sense=sense)(x, temperature=2.0, generator=generator())
        y = black_box(solver, "interpolated", sense=sense)(x, temperature=10.0)
        with pytest.raises(ParameterError, match="other costs are better"):
            (y * torch.tensor([2.0, 1.0, 0.0])).sum().backward() if sense == "minimise" else y[1].backward()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"solver": "knapsack"}, ParameterError, "solver='knapsack'"),
        ({"solver": largest, "method": "magic"}, ParameterError, "method='magic'"),
        ({"solver": largest, "noise": "cauchy"}, ParameterError, "noise='cauchy'"),
        ({"solver": largest, "sense": "up"}, ParameterError, "sense='up'"),
        ({"solver": largest, "samples": 0}, ParameterError, "samples=0"),
        ({"solver": "assignment", "sense": "maximise"}, ParameterError, "Leave both out"),
    ],
)
def test_bad_options(how: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        black_box(**how)  # type: ignore[arg-type]


def test_bad_calls() -> None:
    solve = black_box("assignment")
    with pytest.raises(InputError, match="2 dimensions"):
        solve(torch.zeros(3))
    with pytest.raises(InputError, match="NaN"):
        solve(torch.full((2, 2), torch.nan))
    with pytest.raises(TemperatureError, match="black_box"):
        solve(torch.zeros(2, 2), temperature=-1)
    with pytest.raises(InputError, match="one number"):
        solve(torch.zeros(2, 2, 2), temperature=torch.ones(2))
    with pytest.raises(InputError, match="solution of shape"):
        black_box(lambda c: c[:1])(torch.zeros(3))
    with pytest.raises(InputError, match="equal shapes"):
        fenchel_young_loss(solve, torch.zeros(2, 2), torch.zeros(3, 2, 2))

    def twice(x: Tensor) -> Tensor:
        return black_box(largest, sense="maximise", samples=3)(x, generator=generator()).sum()

    x = torch.zeros(3, requires_grad=True)
    (first,) = torch.autograd.grad(twice(x * x), x, create_graph=True)
    with pytest.raises(UnsupportedError, match="first derivatives only"):
        first.sum().backward()
