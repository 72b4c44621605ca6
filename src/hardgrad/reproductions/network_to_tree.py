"""Row 37, networks are decision trees: two toys trained from scratch and converted, and one region at a time of a small residual network.

Costs are counted by one rule for both sides: a multiplication, an addition (of a bias, too) and a comparison count one each, the slope of a
leaky unit nothing. A node over one feature costs a comparison, over several also its sum; a leaf its affine function, or nothing where
it is a class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.reproductions.registry import Measured, Scale, reproduction

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = NDArray[np.float64]
SLOPE = 0.3
EDGE = 2.5
STEPS = {"smoke": 100, "full": 1000}
RESTARTS = {"smoke": 3, "full": 8}
POINTS = {"smoke": 1000, "full": 5000}
REGIONS = {"smoke": 40, "full": 1000}
GRID = {"smoke": 20_000, "full": 100_000}
LEAST_BEND = 1e-8


@reproduction(
    row=37,
    slug="network-to-tree",
    title="Neural Networks are Decision Trees",
    venue="arXiv 2022 (2210.05189)",
    claim=(
        "A network for y = x^2 (1-2-2-1, leaky ReLU 0.3) is a tree of 16 leaves that 5 suffice for: 14 parameters, 2.6 comparisons and 2 "
        "multiply-adds against the network's 13, 4, 16; half-moons 39, 4.1, 8.2 against 15, 5, 25 (the table as remembered, unconfirmed)"
    ),
)
def network_to_tree(scale: Scale) -> list[Measured]:
    """Train both toys, convert them, count; compare a residual network with its regions at random points."""
    return [*_parabola(scale), *_half_moons(scale), *_residual(scale)]


# --- y = x^2 -------------------------------------------------------------------------------------------------------------------
def _parabola(scale: Scale) -> list[Measured]:
    from hardgrad.trees import convert_network

    rng = np.random.default_rng(0)
    X = rng.uniform(-EDGE, EDGE, (POINTS[scale], 1))
    net = _trained([1, 2, 2, 1], X, X**2, scale)
    found = convert_network(net, ([-EDGE], [EDGE]))
    tree, costs = found.forest, _tree_costs(found.forest, X)
    parameters, comparisons, arithmetic = _network_costs([1, 2, 2, 1])
    return [
        Measured.at_most("x^2: largest difference of tree and network", _difference(net, tree, X), 1e-9),
        Measured.at_most("x^2: leaves of the tree", tree.n_leaves, 9),
        Measured.exactly("x^2: leaves beyond the linear pieces on a grid", tree.n_leaves - _pieces(net, GRID[scale]), 0),
        Measured.at_most("x^2: multiply-adds, tree less network", costs[2] - arithmetic, -1e-9),
        Measured.reported("x^2: mean squared error of the network", float(np.mean((_outputs(net, X) - X**2) ** 2))),
        Measured.reported("x^2: leaves where every unit is asked", found.unpruned),
        Measured.reported("x^2: activation regions, before merging", found.regions),
        *_reported("x^2", "network", (parameters, comparisons, arithmetic)),
        *_reported("x^2", "tree", costs),
    ]  # fmt: skip


def _pieces(net: nn.Module, points: int) -> int:
    """Linear pieces between -2.5 and 2.5, by where the slope between neighbours on a grid changes."""
    x = np.linspace(-EDGE, EDGE, points)
    slope = np.diff(_outputs(net, x[:, None])[:, 0]) / np.diff(x)
    bends = np.abs(np.diff(slope)) > LEAST_BEND
    # A bend inside a cell shows at both of its ends: neighbours are one.
    return 1 + int(np.count_nonzero(bends & ~np.append(False, bends[:-1])))


# --- half-moons -----------------------------------------------------------------------------------------------------------------
def _half_moons(scale: Scale) -> list[Measured]:
    from sklearn.datasets import make_moons

    from hardgrad.trees import convert_network

    X, y = make_moons(POINTS[scale], noise=0.1, random_state=0)
    net = _trained([2, 2, 2, 1], X, 2.0 * y[:, None] - 1.0, scale)
    box = (X.min(axis=0) - 0.5, X.max(axis=0) + 0.5)
    affine = convert_network(net, box)
    decided = convert_network(net, box, task="classify")
    costs = _tree_costs(decided.forest, X)
    parameters, comparisons, arithmetic = _network_costs([2, 2, 2, 1])
    said = _outputs(net, X)[:, 0]
    sure = np.abs(said) > 1e-9
    wrong = int((decided.forest.predict(X)[sure] != (said[sure] > 0)).sum())
    return [
        Measured.at_most("half-moons: largest difference of tree and network", _difference(net, affine.forest, X), 1e-9),
        Measured.exactly("half-moons: classes that differ", wrong, 0),
        Measured.at_most("half-moons: multiply-adds, tree less network", costs[2] - arithmetic, -1e-9),
        Measured.reported("half-moons: accuracy of the network", float(((said > 0) == y).mean())),
        Measured.reported("half-moons: leaves where every unit is asked", affine.unpruned),
        Measured.reported("half-moons: leaves, affine", affine.forest.n_leaves),
        Measured.reported("half-moons: leaves, classes", decided.forest.n_leaves),
        *_reported("half-moons", "network", (parameters, comparisons + 1, arithmetic)),
        *_reported("half-moons", "tree of classes", costs),
        *_reported("half-moons", "affine tree", _tree_costs(affine.forest, X)),
    ]  # fmt: skip


# --- one region of a residual network -------------------------------------------------------------------------------------------
def _residual(scale: Scale) -> list[Measured]:
    import torch

    from hardgrad.trees import active_region

    net = _residual_network()
    X = np.random.default_rng(1).normal(size=(REGIONS[scale], 1, 6, 6))
    with torch.no_grad():
        said = net(torch.from_numpy(X)).numpy()
    worst, outside = 0.0, 0
    for x, expected in zip(X, said, strict=True):
        region = active_region(net, x)
        worst = max(worst, float(np.abs(region(x) - expected).max()))
        outside += not region.contains(x, 1e-9)
    return [
        Measured.at_most("residual network: largest difference of region and network", worst, 1e-9),
        Measured.exactly("residual network: points outside their own region", outside, 0),
    ]


def _residual_network() -> nn.Module:
    """1 x 6 x 6 inputs, 2 channels: convolution, batch norm, a skip connection, 3 outputs."""
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2))
            self.last = nn.Linear(2 * 6 * 6, 3)

        def forward(self, x: Any) -> Any:
            hidden = self.first(x)
            return self.last(torch.relu(hidden + self.second(hidden)).flatten(1))

    torch.manual_seed(0)
    net = Residual().double()
    net(torch.randn(256, 1, 6, 6, dtype=torch.float64))  # running statistics of batch norm
    return net.eval()


# --- training and counting --------------------------------------------------------------------------------------------------
def _trained(sizes: Sequence[int], X: Floats, Y: Floats, scale: Scale) -> nn.Module:
    """The best, by training loss, of some leaky networks fitted to least squares: few units often start where they do not bend."""
    import torch

    torch.manual_seed(0)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    fits = [_fitted(sizes, x, y, STEPS[scale]) for _ in range(RESTARTS[scale])]
    return min(fits, key=lambda fit: fit[1])[0]


def _fitted(sizes: Sequence[int], x: Tensor, y: Tensor, steps: int) -> tuple[nn.Module, float]:
    """A network trained by Adam, all rows at once, with a falling learning rate, and its loss."""
    import torch
    from torch import nn

    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    net = nn.Sequential(*layers[:-1]).double()
    optimiser = torch.optim.Adam(net.parameters(), 0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval(), float(loss.detach())


def _outputs(net: nn.Module, X: Floats) -> Floats:
    import torch

    with torch.no_grad():
        return np.asarray(net(torch.from_numpy(X)).numpy())


def _difference(net: nn.Module, tree: Any, X: Floats) -> float:
    """The largest difference on the rows and on points that lie on the tree's planes and 1e-9 to either side of them."""
    rng = np.random.default_rng(2)
    near = [X]
    for node in np.flatnonzero(tree.feature < -1):
        span = slice(tree.term_offset[node], tree.term_offset[node + 1])
        normal = np.zeros(X.shape[1])
        normal[tree.term_feature[span]] = tree.linear_weight[span]
        points = X[rng.integers(len(X), size=50)]
        away = (points @ normal - tree.threshold[node]) / (normal @ normal)
        shift = rng.choice([-1e-9, 0.0, 1e-9], size=len(points)) - away
        near.append(points + shift[:, None] * normal)
    Z = np.concatenate(near)
    Z = Z[((X.min(axis=0) <= Z) & (X.max(axis=0) >= Z)).all(axis=1)]
    return float(np.abs(tree.predict_raw(Z) - _outputs(net, Z)).max())


def _network_costs(sizes: Sequence[int]) -> tuple[float, float, float]:
    """Parameters, comparisons (hidden units) and multiply-adds of a network of linear layers."""
    pairs = list(itertools.pairwise(sizes))
    return sum(a * b + b for a, b in pairs), sum(sizes[1:-1]), sum(2 * a * b for a, b in pairs)


def _tree_costs(tree: Any, X: Floats) -> tuple[float, float, float]:
    """Parameters, and comparisons and multiply-adds a row in the mean."""
    features, terms = X.shape[1], np.diff(tree.term_offset)
    inner, leaf = tree.feature < -1, tree.feature == -1
    work = np.where(inner & (terms > 1), 2 * terms - 1, 0)
    in_leaf = 2 * features * tree.n_outputs if tree.has_slopes else 0
    per_leaf = (features + 1) * tree.n_outputs if tree.has_slopes else 1
    parameters = int((np.where(terms > 1, terms, 0) + 1)[inner].sum()) + per_leaf * int(leaf.sum())
    reached = tree.apply(X)[:, 0]
    total = np.zeros(tree.n_nodes)
    for node in np.flatnonzero(inner):  # parents come before their children
        for child in (tree.left[node], tree.right[node]):
            total[child] = total[node] + work[node]
    return parameters, float(tree.node_depth[reached].mean()), float(total[reached].mean()) + in_leaf


def _reported(toy: str, who: str, costs: Sequence[float]) -> list[Measured]:
    names = ("parameters", "comparisons a row", "multiply-adds a row")
    return [Measured.reported(f"{toy}, {who}: {name}", cost) for name, cost in zip(names, costs, strict=True)]
