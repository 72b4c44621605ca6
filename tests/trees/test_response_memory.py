"""Forests over a response memory: reading and writing against their formulas, the exact forest against the soft one when hard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris
from torch import Tensor

import hardgrad
from hardgrad.core.errors import (
    ArtifactError,
    DataError,
    HardenError,
    InputError,
    ParameterError,
    UnsupportedError,
)
from hardgrad.trees import MemoryForest, ResponseMemory, SoftForest
from hardgrad.trees.memory_model import MemoryForestModel, merge_rows

IRIS, LABELS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[LABELS]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def forest(addressing: str, dtype: torch.dtype = torch.float64, n_read: int | None = None) -> MemoryForest:
    """Three random trees of depth 2 over four features."""
    controller = SoftForest(4, 3, 2, 2, temperature=0.7)
    with torch.no_grad():
        controller.weight.normal_(generator=generator(1))
        controller.offset.normal_(generator=generator(2))
    slots = 12 if addressing == "leaf" else 5
    memory = ResponseMemory(slots, 2, addressing, key_dim=3, generator=generator(3))  # type: ignore[arg-type]
    return MemoryForest(controller, memory, n_read, generator=generator(4)).to(dtype)


def rows(count: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 4, dtype=dtype, generator=generator(5)), torch.randn(
        count, 2, dtype=dtype, generator=generator(6)
    )


# --- identities --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("addressing", "n_read"), [("leaf", None), ("content", None), ("content", 2)])
def test_the_forest_reads_its_address(addressing: str, n_read: int | None) -> None:
    model = forest(addressing, n_read=n_read)
    x, _ = rows(20)
    for mode in ("soft", "hard"):
        w = model.address(x, mode=mode)
        assert torch.allclose(w.sum(1), torch.ones(20, dtype=torch.float64))
        assert torch.allclose(model.memory.read(w), model(x, mode=mode), atol=1e-12)
        with hardgrad.mode(mode):
            assert torch.equal(model(x), model(x, mode=mode))
    assert ((w > 0).sum(1) <= 3).all()  # one slot a tree, when hard
    if (
        addressing == "leaf"
    ):  # the mean of the trees, each a mixture of its leaves by the products of its gates
        gates = model.controller.gates(x)[0]
        expected = torch.zeros(20, 2, dtype=torch.float64)
        for tree in range(3):
            g = gates[tree]
            paths = (g[0] * g[1], g[0] * (1 - g[1]), (1 - g[0]) * g[2], (1 - g[0]) * (1 - g[2]))
            for leaf, p in enumerate(paths):
                expected += p[:, None] * model.memory.bank[4 * tree + leaf] / 3
        assert torch.allclose(model(x), expected)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("addressing", ["leaf", "content"])
def test_a_gradient_step_is_a_write(addressing: str, dtype: torch.dtype, bound: float) -> None:
    x, y = rows(1, dtype)
    trained, written = forest(addressing, dtype), forest(addressing, dtype)
    said = trained(x)
    (0.5 * (said - y).square().sum()).backward()
    torch.optim.SGD([trained.memory.bank], lr=0.3).step()  # type: ignore[list-item]
    written.memory.for_writing()
    w = written.address(x)[0].detach()
    written.memory.write(w, torch.zeros(2, dtype=dtype), -0.3 * (said.detach() - y)[0])
    assert (trained.memory.bank - written.memory.bank).abs().max() <= bound


def test_a_batch_is_its_rows_in_their_order() -> None:
    x, y = rows(15)
    weight = torch.rand(15, dtype=torch.float64, generator=generator(7))
    for rate in (None, 0.4):
        whole, single = (forest("leaf") for _ in range(2))
        for model in (whole, single):
            model.memory.for_writing()
        whole.write_from_batch(x, y, weight, rate=rate)
        for i in range(15):
            single.write_from_batch(x[i : i + 1], y[i : i + 1], weight[i : i + 1], rate=rate)
        assert torch.allclose(whole.memory.bank, single.memory.bank, atol=1e-12)


def test_running_means_are_exact_and_know_no_order() -> None:
    x, y = rows(30)
    weight = torch.rand(30, dtype=torch.float64, generator=generator(7))
    model = forest("leaf")
    model.memory.for_writing()
    prior = model.memory.bank.clone()
    w = model.address(x, mode="hard") * weight[:, None]
    model.write_from_batch(x[:10], y[:10], weight[:10], mode="hard")
    model.write_from_batch(x[10:], y[10:], weight[10:], mode="hard")
    seen = w.sum(0) > 0
    assert 0 < seen.sum() < 12
    for slot in range(12):
        expected = (w[:, slot] @ y) / w[:, slot].sum() if seen[slot] else prior[slot]
        assert torch.allclose(model.memory.bank[slot], expected)
    assert torch.allclose(model.memory.mass, w.sum(0))
    again = forest("leaf")
    again.memory.for_writing()
    backwards = torch.arange(29, -1, -1)
    again.write_from_batch(x[backwards], y[backwards], weight[backwards], mode="hard")
    assert torch.allclose(again.memory.bank, model.memory.bank)


def test_a_write_erases_and_adds() -> None:
    memory = ResponseMemory(3, 2, generator=generator()).double().for_writing()
    before = memory.bank.clone()
    w, e, a = (torch.tensor(v, dtype=torch.float64) for v in ([0.5, 0.0, 1.0], [0.25, 1.0], [2.0, -1.0]))
    memory.write(w, e, a)
    assert torch.allclose(memory.bank, before * (1 - w[:, None] * e) + w[:, None] * a)
    memory.reset(torch.tensor([1.0, 2.0]))
    assert memory.bank.tolist() == [[1.0, 2.0]] * 3


# --- what must fail ----------------------------------------------------------------------------------------------------------
def test_a_memory_is_trained_or_written_and_stale_graphs_fail() -> None:
    model = forest("leaf")
    x, y = rows(4)
    with pytest.raises(UnsupportedError, match="for_writing"):
        model.write_from_batch(x, y)
    with pytest.raises(UnsupportedError, match="for_writing"):
        model.memory.reset()
    model.memory.for_writing()
    assert not any(p is model.memory.bank for p in model.parameters()) and "memory.bank" in model.state_dict()
    said = model(x)
    model.write_from_batch(x, y)
    with pytest.raises(RuntimeError, match="inplace"):
        said.sum().backward()  # type: ignore[no-untyped-call]
    assert any(p is model.memory.for_training().bank for p in model.parameters())


@pytest.mark.parametrize("erase", [-0.1, 1.1, float("nan")])
def test_nothing_is_erased_less_than_not_or_more_than_wholly(erase: float) -> None:
    memory = ResponseMemory(3, 2).for_writing()
    with pytest.raises(ValueError, match="between 0 and 1"):
        memory.write(torch.ones(3), torch.tensor([erase, 0.5]), torch.zeros(2))
    with pytest.raises(InputError, match="expected 3 numbers"):
        memory.write(torch.ones(2), torch.zeros(2), torch.zeros(2))


def test_shapes_that_do_not_fit() -> None:
    controller = SoftForest(4, 3, 2, 2)
    with pytest.raises(ParameterError, match="11 slots for 12 leaves"):
        MemoryForest(controller, ResponseMemory(11, 2))
    with pytest.raises(ParameterError, match="n_read=3"):
        MemoryForest(controller, ResponseMemory(12, 2), n_read=3)
    with pytest.raises(ParameterError, match="n_read=6"):
        MemoryForest(controller, ResponseMemory(5, 2, "content"), n_read=6)
    with pytest.raises(ParameterError, match="2 members"):
        MemoryForest(SoftForest(4, 3, 2, 2, members=2), ResponseMemory(12, 2))
    with pytest.raises(ParameterError, match="addressing='key'"):
        ResponseMemory(3, 2, "key")  # type: ignore[arg-type]
    with pytest.raises(HardenError, match="frame"):
        forest("leaf").harden()
    with pytest.raises(ParameterError, match="depth got 13"):
        MemoryForest.for_table(IRIS, NAMES, depth=13)
    model = MemoryForest.for_table(IRIS, NAMES, n_trees=2, depth=2)
    for bad in ({"epochs": 0}, {"batch_size": 1.5}, {"learning_rate": 0.0}, {"temperature": (1.0, 0.0)}):
        with pytest.raises(ParameterError, match="got"):
            model.fit(IRIS, NAMES, **bad)
    with pytest.raises(DataError, match="'rose' in row 1"):
        model.partial_fit(IRIS[:2], ["setosa", "rose"])
    with pytest.raises(DataError, match="2 rows and y 3"):
        model.partial_fit(IRIS[:2], NAMES[:3])


# --- trained, hardened, written -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("split", ["sparse_oblique", "axis", "oblivious"])
@pytest.mark.parametrize("options", [{}, {"n_slots": 8}, {"n_slots": 8, "n_read": 2}])
def test_the_exact_forest_answers_as_the_module_does_when_hard(
    split: str, options: dict[str, int], tmp_path: Path
) -> None:
    model = MemoryForest.for_table(IRIS, NAMES, n_trees=4, depth=3, split=split, random_state=1, **options)
    model.fit(IRIS, NAMES, epochs=16, batch_size=25, learning_rate=0.05)
    exact = hardgrad.harden(model)
    with torch.no_grad():
        hard = model(model.scores(IRIS), mode="hard").double().numpy()
    # Weights of nodes are rounded to whole numbers: a row that lies on a threshold may go the other way.
    assert (np.abs(exact.predict_raw(IRIS) - hard).max(axis=1) < 1e-6).mean() > 0.97
    model_of = model.to_model()
    answers = model_of.bank.astype(np.float64)[model_of.slots_of(model.scores(IRIS).numpy())].mean(axis=1)
    assert exact.predict_raw(IRIS) == pytest.approx(answers)
    assert np.mean(model.predict(IRIS) == NAMES) > 0.9
    table = model.leaf_responses(mode="hard").detach().double().numpy()
    kept = exact.value[exact.feature == -1]
    assert {tuple(row) for row in kept} <= {tuple(row) for row in table}
    gap = model.measure_gap(IRIS, NAMES)
    assert gap.hard == np.mean(exact.predict(IRIS) == NAMES) and gap.worst_disagreement < 3

    path = model.save(tmp_path / "memory.safetensors")
    loaded, artifact = MemoryForest.load(path), hardgrad.load(path)
    assert isinstance(artifact, MemoryForestModel) and loaded.harden().equals(exact)
    assert np.array_equal(artifact.predict_raw(IRIS), exact.predict_raw(IRIS))
    x = model.scores(IRIS)
    assert torch.equal(loaded(x), model(x)) and loaded.to_model().equals(artifact)
    for one in (model, loaded):  # a second training goes on alike
        one.fit(IRIS, NAMES, epochs=2, train_router=False)
    assert loaded.to_model().equals(model.to_model())


def test_training_responses_alone_leaves_the_router() -> None:
    model = MemoryForest.for_table(IRIS, NAMES, n_trees=4, depth=3, n_slots=6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.fit(IRIS, NAMES, epochs=5, train_router=False)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"memory.bank"}


def test_labels_are_written_as_shares() -> None:
    model = MemoryForest.for_table(IRIS[::3], NAMES[::3], n_trees=8, depth=3)
    model.fit(IRIS[::3], NAMES[::3], batch_size=10, learning_rate=0.03)
    model.partial_fit(IRIS[1::3], NAMES[1::3]).partial_fit(IRIS[2::3], NAMES[2::3])
    exact = model.harden()
    assert exact.link == "identity" and exact.predict_proba(IRIS).sum(axis=1) == pytest.approx(
        np.ones(150), abs=1e-6
    )
    assert np.mean(exact.predict(IRIS) == NAMES) > 0.9
    # Every row was written into one slot a tree: a slot holds the shares of the classes among its rows.
    written = np.concatenate([IRIS[1::3], IRIS[2::3]])
    labels = np.concatenate([NAMES[1::3], NAMES[2::3]])
    reached = model.to_model().slots_of(model.scores(written).numpy())
    assert reached.shape == (100, 8) and model.memory.mass.sum() == pytest.approx(100.0)
    for slot in np.unique(reached):
        shares = [(labels[(reached == slot).any(axis=1)] == name).mean() for name in exact.classes]
        assert model.memory.bank[slot].tolist() == pytest.approx(shares, abs=1e-6)


def test_training_goes_on_after_writing() -> None:
    model = MemoryForest.for_table(IRIS, NAMES, n_trees=8, depth=3)
    model.fit(IRIS, NAMES, batch_size=25, learning_rate=0.03).partial_fit(IRIS, NAMES)
    shares = model.leaf_responses(mode="hard").detach().clone()
    model.start_training()
    assert model.harden().link == "softmax"
    spoken = torch.softmax(model.leaf_responses(mode="hard").detach(), dim=1)
    assert torch.allclose(spoken, shares, atol=5e-3)
    model.fit(IRIS, NAMES, epochs=5, train_router=False)
    assert np.mean(model.predict(IRIS) == NAMES) > 0.9
    model.start_writing()
    assert model.harden().link == "identity" and model.memory.mass.sum() == 0


def test_numbers_are_written_in_the_units_of_the_target() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = MemoryForest.for_table(X, y, n_trees=8, depth=3, random_state=0)
    model.fit(X, y, batch_size=32, learning_rate=0.03)
    assert np.mean((model.predict(X) - y) ** 2) < 0.7 * y.var()
    model.start_writing()
    model.memory.reset()
    model.partial_fit(X, y)
    assert model.predict(X).mean() == pytest.approx(y.mean(), rel=1e-5)
    assert model.measure_gap(X, y).metric == "mse"
    for bad in (np.stack([y, y], axis=1), np.where(y > 300, np.nan, y)):
        with pytest.raises(DataError, match="expected 1 finite"):
            model.partial_fit(X, bad)


def test_a_table_with_categories() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"petal": IRIS[:, 2], "wide": np.where(IRIS[:, 3] > 1.0, "yes", "no")})
    model = MemoryForest.for_table(frame, NAMES, n_trees=8, depth=2).fit(
        frame, NAMES, batch_size=25, learning_rate=0.03
    )
    assert model.harden().schema.names == ("petal", "wide") and np.mean(model.predict(frame) == NAMES) > 0.9


# --- rows that are shared --------------------------------------------------------------------------------------------------------
def test_merged_rows_move_by_no_more_than_the_tolerance() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 2))
    for tolerance in (0.0, 0.3, 10.0):
        found, place = merge_rows(table, tolerance)
        assert np.abs(found[place] - table).max() <= tolerance
        apart = np.abs(found[:, None] - found).max(axis=2) + 100.0 * np.eye(len(found))
        assert apart.min() > tolerance
    assert len(found) == 1 and np.array_equal(merge_rows(table)[0], table)


def test_compression_counts_rows() -> None:
    model = MemoryForest.for_table(IRIS, NAMES, n_trees=4, depth=3, n_slots=4)
    found = model.compression()
    assert (found.leaves, found.dim) == (32, 3) and found.rows <= 4
    assert found.ratio == 32 / found.rows
    assert found.byte_ratio == 32 * 3 * 8 / (found.rows * 3 * 8 + 32)
    assert MemoryForest.for_table(IRIS, NAMES, n_trees=4, depth=3).compression(tolerance=100.0).rows == 1


def test_foreign_files(tmp_path: Path) -> None:
    path = (
        MemoryForest.for_table(IRIS, NAMES, n_trees=1, depth=1).harden().save(tmp_path / "forest.safetensors")
    )
    with pytest.raises(ArtifactError, match="expected 'memory-forest'"):
        MemoryForest.load(path)
