"""Learned blocks: windows and their gradients, modes, layers, and training to a cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import hardgrad
from hardgrad.bits import (
    BlockLowRank,
    BlockLowRankLinear,
    GaudiLinear,
    WidthShrinker,
    block_low_rank_groups,
    replace_dense_layers,
)
from hardgrad.bits.windows import window
from hardgrad.core.errors import BudgetError, InputError, InputTypeError, ParameterError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(
    rows: int = 7, columns: int = 10, blocks: int = 4, rank: int = 1, seed: int = 0
) -> BlockLowRank:
    """A matrix whose blocks lie anywhere, some around an edge."""
    matrix = BlockLowRank(
        rows, columns, blocks, rank_per_block=rank, temperature=0.05, generator=seeded(seed)
    )
    with torch.no_grad():
        for width, location in (
            (matrix.row_width, matrix.row_location),
            (matrix.column_width, matrix.column_location),
        ):
            width.copy_(0.2 + 0.6 * torch.rand(blocks, generator=seeded(seed + 1)))
            location.copy_(torch.rand(blocks, generator=seeded(seed + 2)))
    return matrix


# --- windows ------------------------------------------------------------------------------------------------------------------
@given(n=st.integers(1, 12), data=st.data())
def test_a_cold_window_of_whole_places_is_the_range(n: int, data: st.DataObject) -> None:
    count, start = data.draw(st.integers(0, n)), data.draw(st.integers(0, n - 1))
    width, location = (torch.tensor([value / n], dtype=torch.float64) for value in (count, start))
    expected = np.roll(np.arange(n) < count, start).astype(float)
    assert np.allclose(window(width, location, n, 1e-9).numpy()[0], expected, atol=1e-12)


@pytest.mark.parametrize(("sharpness", "bound"), [(64, 2.5e-2), (640, 3e-4), (35 * 64, 1e-4)])
def test_how_far_a_warm_window_is_from_the_range(sharpness: float, bound: float) -> None:
    found = window(torch.tensor([0.25]).double(), torch.tensor([0.125]).double(), 64, 1 / sharpness)[0]
    expected = torch.zeros(64).double()
    expected[8:24] = 1.0
    assert bound / 20 < (found - expected).abs().max() < bound or sharpness > 640
    assert (found - expected).abs().max() < bound


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("temperature", [1.0, 0.2, 1e-3])
def test_gradients_of_a_window(n: int, temperature: float) -> None:
    width = torch.tensor([0.0, 0.3, 0.71, 1.0], dtype=torch.float64, requires_grad=True)
    location = torch.tensor([0.4, 0.95, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, x: window(w, x, n, temperature), (width, location))


def test_a_block_of_no_width_has_a_gradient() -> None:
    width = torch.zeros(1, requires_grad=True)
    window(width, torch.tensor([0.5]), 8, 0.1)[0, 4].backward()
    assert width.grad is not None and width.grad.item() > 1.0


def test_windows_under_vmap() -> None:
    widths, places = torch.rand(3, 2, generator=seeded()), torch.rand(3, 2, generator=seeded(1))
    found = torch.func.vmap(lambda w, x: window(w, x, 6, 0.1))(widths, places)
    assert torch.allclose(found, window(widths, places, 6, 0.1), atol=1e-6)


# --- modes --------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rank", [1, 3])
def test_hard_is_what_the_artifact_is(rank: int) -> None:
    matrix, x = scattered(rank=rank), torch.randn(5, 10, generator=seeded())
    artifact = matrix.harden()
    dense = matrix.weight(mode="hard")
    assert np.allclose(artifact.to_dense(), dense.detach().numpy(), atol=1e-6)
    assert torch.allclose(matrix(x, mode="hard"), x @ dense.T, atol=1e-5)
    assert artifact.numbers == matrix.numbers
    with hardgrad.mode("hard"):
        assert torch.equal(matrix.weight(), dense)


def test_soft_tends_to_hard_as_the_temperature_falls() -> None:
    matrix = scattered()
    hard = matrix.weight(mode="hard")
    gaps = [float((matrix.weight(temperature=t) - hard).detach().norm()) for t in (1.0, 0.1, 0.01, 1e-4)]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-3 * gaps[0]


def test_straight_through_has_the_exact_value_and_the_soft_gradient() -> None:
    matrix = scattered()
    found = matrix.weight(mode="st")
    assert torch.equal(found, matrix.weight(mode="hard"))
    weight = torch.randn(7, 10, generator=seeded(3))

    def of_places(mode: str) -> list[Tensor]:
        places = [matrix.row_width, matrix.row_location, matrix.column_width, matrix.column_location]
        loss = (matrix.weight(mode=mode) * weight).sum()
        return list(torch.autograd.grad(loss, places))

    assert all(gradient.abs().sum() > 0 for gradient in of_places("st"))
    rows_alone = matrix.row_width  # the factors differ between the two, so compare where they do not
    with torch.no_grad():
        matrix.column_width.fill_(1.0)
    soft, exact = (
        torch.autograd.grad((matrix.weight(mode=mode) * weight).sum(), rows_alone)[0]
        for mode in ("soft", "st")
    )
    assert torch.allclose(soft, exact, rtol=1e-4)


def test_low_rank_and_block_diagonal_matrices_are_among_them() -> None:
    u, v = torch.randn(6, 2, generator=seeded()), torch.randn(4, 2, generator=seeded(1))
    matrix = BlockLowRank(6, 4, 2)
    with torch.no_grad():
        matrix.left.copy_(u.T.unsqueeze(1))
        matrix.right.copy_(v.T.unsqueeze(1))
    assert torch.allclose(matrix.weight(mode="hard"), u @ v.T, atol=1e-6) and matrix.numbers == 20
    with torch.no_grad():
        for width, location in (
            (matrix.row_width, matrix.row_location),
            (matrix.column_width, matrix.column_location),
        ):
            width.fill_(0.5)
            location.copy_(torch.tensor([0.0, 0.5]))
    expected = torch.block_diag(torch.outer(u[:3, 0], v[:2, 0]), torch.outer(u[3:, 1], v[2:, 1]))
    assert torch.allclose(matrix.weight(mode="hard"), expected, atol=1e-6) and matrix.numbers == 10


def test_a_fresh_matrix_has_the_variance_of_a_dense_layer() -> None:
    for width in (1.0, 0.3):
        weight = BlockLowRank(200, 300, width=width, generator=seeded()).weight(mode="hard")
        assert weight.var().item() == pytest.approx(1 / 900, rel=0.15)


# --- layers -------------------------------------------------------------------------------------------------------------------
def test_a_layer_hardens_inside_a_model_and_can_be_trained_further() -> None:
    model = nn.Sequential(
        GaudiLinear(10, 7, width=0.4, rank_per_block=2), nn.ReLU(), GaudiLinear(7, 3, bias=False)
    )
    with torch.no_grad():
        model[0].bias.normal_(generator=seeded())
    exact, x = hardgrad.harden(model), torch.randn(2, 5, 10, generator=seeded())
    assert isinstance(exact[0], BlockLowRankLinear) and not any(p.requires_grad for p in exact.parameters())
    with hardgrad.mode("hard"):
        assert torch.allclose(exact(x), model(x), atol=1e-6)
    assert exact[0].to_matrix().equals(model[0].matrix.harden())
    assert "numbers=" in repr(exact[0])
    exact.requires_grad_()
    optimizer = torch.optim.SGD(exact.parameters(), 0.1)
    exact(x).square().sum().backward()
    optimizer.step()
    dense = exact[0].to_matrix()
    assert torch.equal(exact[0].left != 0, exact[0].left_support) and torch.equal(
        exact[0].right != 0, exact[0].right_support
    )
    expected = x @ torch.from_numpy(dense.to_dense()).T + exact[0].bias
    assert torch.allclose(exact[0](x), expected, atol=1e-5) and not dense.equals(model[0].matrix.harden())
    again = hardgrad.harden(model)
    again.load_state_dict(exact.state_dict())
    assert torch.equal(again(x), exact(x))


def test_a_layer_of_no_block_gives_its_bias() -> None:
    layer = GaudiLinear(4, 3)
    with torch.no_grad():
        layer.matrix.row_width.zero_()
        layer.bias.fill_(2.0)
    exact = layer.harden()
    assert layer.matrix.numbers == 0 and torch.equal(exact(torch.ones(2, 4)), torch.full((2, 3), 2.0))
    assert exact.to_matrix().numbers == 0


def test_autocast_and_state_dict() -> None:
    layer, x = GaudiLinear(6, 4), torch.randn(3, 6, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x)
    assert torch.allclose(rough.float(), layer(x), atol=0.05)
    other = GaudiLinear(6, 4)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own, while it traces
def test_compiles_whole() -> None:
    torch.compiler.reset()
    layer, x = GaudiLinear(6, 4), torch.randn(3, 6, generator=seeded())
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    gradients = []
    for call in (layer, compiled):
        layer.zero_grad()
        call(x).square().sum().backward()
        gradients.append(layer.matrix.row_width.grad.clone())
    assert torch.allclose(compiled(x), layer(x), atol=1e-6) and torch.allclose(*gradients, atol=1e-5)


def test_bad_matrices_and_layers() -> None:
    for bad in ({"rows": 0}, {"blocks": 0}, {"rank_per_block": 0}, {"width": 0.0}, {"width": 1.5}):
        with pytest.raises(ParameterError, match="BlockLowRank got"):
            BlockLowRank(**{"rows": 3, "columns": 3} | bad)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="rank_ratio"):
        GaudiLinear(3, 3, rank_ratio=0.0)
    for layer in (BlockLowRank(3, 4), GaudiLinear(4, 3), GaudiLinear(4, 3).harden()):
        with pytest.raises(InputError, match="got x of shape"):
            layer(torch.zeros(2, 3))


# --- shrinking ----------------------------------------------------------------------------------------------------------------
def test_shrinking_stops_at_the_target_and_starts_again_above_it() -> None:
    matrix = BlockLowRank(10, 10, 5)
    optimizer = torch.optim.Adam(block_low_rank_groups(matrix, place_rate=0.1))
    shrinker = WidthShrinker(matrix, optimizer, 0.6, threshold=0.25)
    assert shrinker.target == 60 and shrinker.cost == 100
    with torch.no_grad():
        matrix.row_location.sub_(0.3)
    for _ in range(30):
        shrinker.step()
    assert shrinker.cost <= 60 and matrix.row_width[0].item() == pytest.approx(matrix.row_width[1].item())
    assert (matrix.row_location >= 0).all() and (matrix.row_location < 1).all()
    kept = matrix.row_width.clone()
    shrinker.step()
    assert torch.equal(matrix.row_width, kept)
    with torch.no_grad():
        matrix.row_width.fill_(1.0)
    shrinker.step()
    assert matrix.row_width[0].item() == pytest.approx(1 - 0.25 * 0.1)


def test_the_end_is_exactly_within_the_target() -> None:
    model = nn.Sequential(
        GaudiLinear(12, 9, generator=seeded()), nn.ReLU(), GaudiLinear(9, 5, generator=seeded(1))
    )
    optimizer = torch.optim.Adam(block_low_rank_groups(model))
    shrinker = WidthShrinker(model, optimizer, 0.5)
    shrinker.finish()
    assert (
        shrinker.target == (12 * 9 + 9 * 5) // 2 and 0.9 * shrinker.target < shrinker.cost <= shrinker.target
    )
    held = sum(
        layer.to_matrix().numbers for layer in hardgrad.harden(model) if isinstance(layer, BlockLowRankLinear)
    )
    assert held == shrinker.cost
    before = model[0].matrix.left.clone()
    shrinker.finish()
    assert torch.equal(model[0].matrix.left, before)


def test_bad_shrinkers() -> None:
    matrix = BlockLowRank(4, 4)
    optimizer = torch.optim.Adam(block_low_rank_groups(matrix))
    with pytest.raises(ParameterError, match="no block-low-rank"):
        WidthShrinker(nn.Linear(2, 2), optimizer, 0.5)
    with pytest.raises(ParameterError, match="does not train the widths"):
        WidthShrinker(matrix, torch.optim.Adam([matrix.left]), 0.5)
    with pytest.raises(ParameterError, match="threshold"):
        WidthShrinker(matrix, optimizer, 0.5, threshold=0.0)
    for budget in (0, -1, 2.5, float("nan"), True):
        with pytest.raises(BudgetError, match="budget"):
            WidthShrinker(matrix, optimizer, budget)


# --- whole models -------------------------------------------------------------------------------------------------------------
def test_dense_layers_are_replaced_without_a_change() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.again = self.first
            self.attention = nn.MultiheadAttention(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.again(torch.relu(self.first(x)))

    model, x = Twice().double(), torch.randn(3, 6, generator=seeded(), dtype=torch.float64)
    soft = replace_dense_layers(model)
    assert isinstance(soft.first, GaudiLinear) and soft.first is soft.again
    assert type(soft.attention.out_proj) is type(model.attention.out_proj)
    assert torch.allclose(soft(x), model(x), atol=1e-10) and isinstance(model.first, nn.Linear)
    assert isinstance(replace_dense_layers(nn.Linear(3, 2)), GaudiLinear)


def test_some_layers_at_a_budget() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.outer(torch.arange(8.0), torch.ones(8)))
    soft = replace_dense_layers(model, 0.25, layers="1", steps=20)
    assert type(soft[0]) is nn.Linear and soft[1].matrix.numbers <= 16
    exact, x = hardgrad.harden(soft), torch.randn(3, 8, generator=seeded())
    assert torch.allclose(exact(x), model(x), atol=1e-4)


def test_bad_replacements() -> None:
    with pytest.raises(InputTypeError, match="torch.nn.Module"):
        replace_dense_layers(3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="no nn.Linear in"):
        replace_dense_layers(nn.ReLU())
    with pytest.raises(ParameterError, match="named 'x'"):
        replace_dense_layers(nn.Linear(2, 2), layers="x")
    with pytest.raises(ParameterError, match="share"):
        replace_dense_layers(nn.Linear(2, 2), budget=3)
