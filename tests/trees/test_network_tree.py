"""Networks as trees: equal to the network everywhere, with as many regions as theory says, and clear about what cannot be converted."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hardgrad.core.errors import (
    DataError,
    HardgradWarning,
    InputError,
    ParameterError,
    TooManyRegionsError,
    UnsupportedError,
)
from hardgrad.trees import (
    active_region,
    approximate_activation,
    convert_network,
    count_regions,
    network_to_tree,
    plot_regions,
)
from hardgrad.trees.activation_regions import region_polygons
from hardgrad.trees.exactness import check_exactness
from hardgrad.trees.forest_build import forest_from_trees

BOX = (np.full(2, -2.0), np.full(2, 2.0))


def layers(*sizes: int, seed: int = 0, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(seed)
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        parts += [nn.Linear(before, after), activation()]
    return nn.Sequential(*parts[:-1]).double().eval()


def said(net: nn.Module, X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(X)).reshape(len(X), -1).numpy()


def points(net: nn.Module, tree: Any, X: np.ndarray) -> np.ndarray:
    """Rows, and rows moved onto the planes of the tree and 1e-9 beside them."""
    near = [X]
    for node in np.flatnonzero(tree.feature == -3):
        span = slice(tree.term_offset[node], tree.term_offset[node + 1])
        normal = np.zeros(X.shape[1])
        normal[tree.term_feature[span]] = tree.linear_weight[span]
        away = (X[:20] @ normal - tree.threshold[node]) / (normal @ normal)
        near += [X[:20] + (shift - away)[:, None] * normal for shift in (-1e-9, 0.0, 1e-9)]
    return np.concatenate(near)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).view(x.size(0), 4, 2).amax(dim=-1))


class Mixed(nn.Module):
    """Functions, methods and operators, a skip connection, a joined value and a scaled one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(6, 2)
        self.shift = nn.Parameter(torch.tensor([0.1, -0.2, 0.3]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.leaky_relu(self.first(x), 0.2)
        k = (1.5 - self.second(h) / 2 + self.shift).clamp(min=-0.5) + h
        k = torch.maximum(k, h) - torch.min(k, 0.5 * h)
        return self.last(torch.cat([k.abs(), -h[:, :]], dim=1))


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 2, 2, bias=False), nn.BatchNorm2d(2), nn.ReLU6(), nn.MaxPool2d(2, 1)
        )
        self.pool, self.last = nn.AvgPool2d(1), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.flatten(self.pool(self.body(x)), 1))[:, 0]


def image() -> nn.Module:
    torch.manual_seed(1)
    net = Image().double()
    net(torch.randn(64, 1, 3, 3, dtype=torch.float64))
    return net.eval()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: layers(2, 5, 4, 3),
    "leaky": lambda: layers(2, 4, 3, 1, activation=lambda: nn.LeakyReLU(0.3)),
    "prelu": lambda: layers(2, 4, 1, activation=lambda: nn.PReLU(init=-0.5)),
    "hardtanh": lambda: layers(2, 4, 3, 2, activation=nn.Hardtanh),
    "relu6": lambda: nn.Sequential(nn.Linear(2, 4), nn.ReLU6(), nn.Linear(4, 1)).double().eval(),
    "hardsigmoid": lambda: layers(2, 5, 2, activation=nn.Hardsigmoid),
    "maxout": lambda: (torch.manual_seed(2), Maxout().double().eval())[1],
    "mixed": lambda: (torch.manual_seed(3), Mixed().double().eval())[1],
    "one unit less": lambda: nn.Sequential(nn.Linear(2, 1)).double().eval(),
}


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tree_is_the_network(name: str, boxed: bool) -> None:
    net = NETWORKS[name]()
    found = convert_network(net, BOX if boxed else None)
    X = points(net, found.forest, np.random.default_rng(0).uniform(-2, 2, (500, 2)) * (1 if boxed else 50))
    expected = said(net, X)
    inside = (np.abs(X) <= 2).all(axis=1) if boxed else np.full(len(X), True)
    wrong = np.abs(found.forest.predict_raw(X) - expected)[inside]
    assert wrong.max() <= 1e-9 * (1 + np.abs(expected).max())
    assert found.exact and found.forest.n_leaves <= found.regions <= found.unpruned


def test_images_by_trees_and_by_regions() -> None:
    net = image()
    box = (np.full((1, 3, 3), -1.0), np.full((1, 3, 3), 1.0))
    X = np.random.default_rng(0).uniform(-1, 1, (300, 1, 3, 3))
    with pytest.raises(TooManyRegionsError):
        convert_network(net, box, max_leaves=20)
    for x, y in zip(X, said(net, X), strict=True):
        region = active_region(net, x)
        assert region.contains(x, 1e-12) and abs(region(x) - y) <= 1e-12
    data = X[:40].reshape(40, -1)
    tree = convert_network(net, box, prune="data", data=data).forest
    assert np.abs(tree.predict(data) - said(net, X[:40])[:, 0]).max() <= 1e-12


@pytest.mark.parametrize("name", ["relu", "mixed", "hardtanh"])
def test_regions_have_the_jacobian_of_autograd(name: str) -> None:
    net = NETWORKS[name]()
    for x in np.random.default_rng(1).normal(size=(20, 2)):
        region = active_region(net, x)
        jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], torch.from_numpy(x))
        assert np.allclose(region.slope, jacobian.numpy(), rtol=0, atol=1e-12)
        for shift in np.random.default_rng(2).normal(size=(10, 2)):
            if region.contains(x + 0.3 * shift):
                assert np.allclose(
                    region(x + 0.3 * shift), said(net, (x + 0.3 * shift)[None])[0], rtol=0, atol=1e-12
                )


# --- how many regions -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("inputs", "units"), [(1, 5), (2, 1), (2, 6), (3, 5)])
def test_planes_in_general_position_cut_space_as_often_as_they_can(inputs: int, units: int) -> None:
    expected = sum(math.comb(units, k) for k in range(inputs + 1))  # Zaslavsky, 1975
    assert count_regions(layers(inputs, units, 1, seed=units)) == expected


def test_no_region_that_a_sample_meets_is_missed() -> None:
    net = layers(2, 5, 4, 1)
    X = np.random.default_rng(0).uniform(-2, 2, (20_000, 2))
    with torch.no_grad():
        hidden = net[0](torch.from_numpy(X))
        signs = torch.cat([hidden > 0, net[2](hidden.relu()) > 0], dim=1).numpy()
    met = len(np.unique(signs, axis=0))
    by_bounds = count_regions(net, BOX, feasibility="interval")
    assert met <= count_regions(net, BOX) <= met + 5 <= by_bounds <= 2**9
    assert convert_network(net, BOX).unpruned == 2**9
    # Where all five units of the first layer are off, those of the second are constant and ask nothing.
    assert count_regions(net, feasibility="none") == 31 * 2**4 + 1


def test_regions_partition_the_box_and_can_be_drawn() -> None:
    import matplotlib

    matplotlib.use("Agg")
    tree = network_to_tree(layers(2, 5, 3, 2), BOX)
    polygons = region_polygons(tree, BOX)
    assert set(polygons) == set(np.flatnonzero(tree.feature == -1).tolist())
    areas = [
        0.5 * abs(p[:, 0] @ np.roll(p[:, 1], -1) - p[:, 1] @ np.roll(p[:, 0], -1)) for p in polygons.values()
    ]
    assert sum(areas) == pytest.approx(16.0, abs=1e-9)
    axes = plot_regions(tree, BOX, output=1)
    scores = {"terms": [(0, 1)], "threshold": 0, "left": {"value": 0.0}, "right": {"value": 1.0}}
    assert axes.get_title() == f"{len(polygons)} linear regions"
    with pytest.raises(UnsupportedError, match="two features"):
        plot_regions(network_to_tree(layers(1, 2, 1)), BOX)
    with pytest.raises(UnsupportedError, match="integer scores"):
        region_polygons(forest_from_trees([scores], ["a", "b"]), BOX)


def test_too_many_regions_say_how_many() -> None:
    with pytest.raises(TooManyRegionsError, match="more than 30 linear regions") as caught:
        network_to_tree(layers(6, 12, 12, 1), max_leaves=30)
    assert caught.value.count == 31
    with pytest.raises(ParameterError, match="limit of 0"):
        count_regions(layers(1, 1, 1), max_regions=0)


# --- merging --------------------------------------------------------------------------------------------------------------------
def test_equal_siblings_are_one_leaf() -> None:
    net = layers(2, 3, 1)
    with torch.no_grad():
        net[2].weight[0, 2] = 0.0  # its unit changes nothing
    found = convert_network(net)
    assert (found.regions, found.forest.n_leaves) == (7, 4)


def test_on_a_line_neighbours_merge_that_are_no_siblings() -> None:
    net = layers(1, 2, 1)
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        net[0].bias.copy_(torch.tensor([0.0, -1.0]))
        net[2].weight.copy_(torch.tensor([[1.0, 0.0]]))
    found = convert_network(net)
    assert (found.regions, found.forest.n_leaves, found.forest.depth()) == (3, 2, 1)
    X = np.array([[-1.0], [0.0], [2.0]])
    assert found.forest.predict(X).tolist() == pytest.approx(said(net, X)[:, 0].tolist())


# --- variants -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("outputs", [1, 3])
def test_classes_are_constant_leaves(outputs: int) -> None:
    net = layers(2, 6, outputs, seed=5)
    with torch.no_grad():
        net[2].weight *= 5
    tree = network_to_tree(net, BOX, task="classify")
    X = np.random.default_rng(0).uniform(-2, 2, (2000, 2))
    scores = said(net, X)
    expected = (scores[:, 0] > 0).astype(int) if outputs == 1 else scores.argmax(axis=1)
    assert np.array_equal(tree.predict(X), expected) and not tree.has_slopes
    assert len(np.unique(expected)) > 1 and tree.classes == tuple(range(max(outputs, 2)))


def test_trees_of_the_data_are_smaller_and_say_that_they_are_not_lossless() -> None:
    net = layers(2, 8, 8, 1)
    data = np.random.default_rng(0).uniform(-0.2, 0.2, (30, 2))
    with pytest.warns(HardgradWarning, match="no row of data"):
        tree = network_to_tree(net, prune="data", data=data)
    assert np.abs(tree.predict(data) - said(net, data)[:, 0]).max() <= 1e-12
    assert tree.n_leaves < convert_network(net).forest.n_leaves
    assert not convert_network(net, prune="data", data=data).lossless


def test_every_engine_runs_the_tree() -> None:
    tree = network_to_tree(layers(3, 4, 3, 2), feature_names=["a", "b b", "select"])
    checks = check_exactness(tree, rows=500, engines=["numba", "c", "javascript", "duckdb", "sqlite", "onnx"])
    assert not [check for check in checks if check.skipped_reason is None and check.differing]
    with pytest.raises(DataError, match="'b b' is missing"):
        tree.predict({"a": [1.0], "b b": [None], "select": [0.0]})


def test_the_network_is_left_alone() -> None:
    net = layers(2, 3, 1).float().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tree = network_to_tree(net)
    assert net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    X = np.random.default_rng(0).normal(size=(50, 2))
    assert np.abs(tree.predict(X) - said(net.double(), X)[:, 0]).max() <= 1e-12


# --- stand-ins ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fn", "curvature"),
    [(np.tanh, None), (np.sin, 1.0), (lambda z: np.log1p(np.exp(z)), 0.25), (np.square, 2.0)],
)
@pytest.mark.parametrize("pieces", [1, 2, 7, 40])
def test_the_error_bound_of_a_stand_in_holds(fn: Any, curvature: float | None, pieces: int) -> None:
    stand_in = approximate_activation(fn, pieces, (-3.0, 2.0), curvature=curvature)
    z = np.linspace(-3.0, 2.0, 20_001)
    off = np.abs(stand_in(torch.from_numpy(z)).numpy() - fn(z)).max()
    assert 0.2 * stand_in.error_bound <= off <= stand_in.error_bound or (
        fn is np.tanh and off <= stand_in.error_bound
    )
    assert f"{pieces} pieces" in repr(stand_in)


def test_a_network_with_stand_ins_is_flagged_with_their_bound() -> None:
    net = layers(2, 3, 1, activation=nn.Tanh)
    stand_in = approximate_activation(np.tanh, 6, (-4.0, 4.0))
    changed = nn.Sequential(net[0], stand_in, net[2]).eval()
    found = convert_network(changed, BOX)
    assert found.lossless and not found.exact and found.activation_error == stand_in.error_bound
    X = np.random.default_rng(0).uniform(-2, 2, (500, 2))
    assert np.abs(found.forest.predict(X) - said(changed, X)[:, 0]).max() <= 1e-12
    reach = stand_in.error_bound * float(net[2].weight.detach().abs().sum())
    assert np.abs(found.forest.predict(X) - said(net, X)[:, 0]).max() <= reach
    with pytest.warns(HardgradWarning, match="replaced within"):
        network_to_tree(changed, BOX)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network_to_tree(layers(2, 3, 1), BOX)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.tanh, 0, (-1.0, 1.0)), "at least 1 piece"),
        ((np.tanh, 3, (1.0, 1.0)), "low < high"),
        ((np.exp, 3, (-1.0, 1.0)), "curvature"),
        ((lambda z: 0.0, 3, (-1.0, 1.0), 1.0), "one finite number"),
    ],
)
def test_stand_ins_that_cannot_be(arguments: tuple[Any, ...], message: str) -> None:
    fn, pieces, box, *curvature = arguments
    with pytest.raises(ParameterError, match=message):
        approximate_activation(fn, pieces, box, curvature=curvature[0] if curvature else None)


# --- what cannot be converted -----------------------------------------------------------------------------------------------------
class Odd(nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(2, 2), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), r"'1' \(Dropout\) is in training mode"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"'1' \(BatchNorm1d\) is in training mode"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
            "no running statistics",
        ),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()).eval(), r"layer '1' \(GELU\).*approximate_activation"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=1)).eval(), r"\(Softmax\)"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).eval(), r"\(LayerNorm\)"),
        (nn.TransformerEncoderLayer(2, 1, 2).eval(), "trace|MultiheadAttention"),
        (Odd(lambda h: h * h).eval(), "product of two values"),
        (Odd(lambda h: 1.0 / h).eval(), "quotient of two values"),
        (Odd(lambda h: torch.sigmoid(h)).eval(), "function 'sigmoid'"),
        (Odd(lambda h: h - h.mean(0)).eval(), "over the rows of a batch"),
        (Odd(lambda h: h.sum()).eval(), "over the rows of a batch"),
        (Odd(lambda h: h[0]).eval(), "picking rows"),
        (Odd(lambda h: h.flatten()).eval(), "batch"),
        (Odd(lambda h: h.max(dim=1).values).eval(), r"use amax\(\)"),
        (Odd(lambda h: h if h.sum() > 0 else -h).eval(), "cannot trace"),
        (nn.Bilinear(2, 2, 1).eval(), "several inputs|InputError|shape"),
    ],
)
def test_networks_that_are_no_trees_are_refused_by_name(net: nn.Module, message: str) -> None:
    with pytest.raises((UnsupportedError, InputError), match=message):
        network_to_tree(net, BOX)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_box": (0.0, 1.0)}, "numbers for its ends"),
        ({"input_box": ([0.0, 0.0], [1.0, 0.0])}, "low < high"),
        ({"input_box": ([0.0, 0.0], [1.0, math.inf])}, "finite ends"),
        ({"input_box": ([0.0, 0.0], [1.0, 2.0, 3.0])}, "must be .low, high."),
        ({"input_box": (np.zeros(3), np.ones(3))}, r"cannot take an input of shape \(3,\)"),
        ({"input_box": 3.0}, "low, high"),
        ({"feasibility": "sure"}, "feasibility must be"),
        ({"task": "rank"}, "task must be"),
        ({"prune": "data"}, "without data"),
        ({"data": np.zeros((3, 2))}, "with data"),
        ({"prune": "data", "data": np.full((3, 2), np.nan)}, "finite rows"),
        ({"prune": "data", "data": np.zeros((3, 4))}, "finite rows"),
        ({"feature_names": ["a"]}, "1 feature names for 2 inputs"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, ParameterError), match=message):
        network_to_tree(layers(2, 3, 1), **options)


def test_points_and_shapes_that_cannot_be() -> None:
    with pytest.raises(InputError, match="finite"):
        active_region(layers(2, 3, 1), [math.nan, 0.0])
    with pytest.raises(InputError, match="input_shape="):
        network_to_tree(image())
    with pytest.raises(InputError, match=r"\[low, low\]"):
        region_polygons(forest_from_trees([{"value": 1.0}], ["a", "b"]), ([0.0] * 3, [1.0] * 3))
