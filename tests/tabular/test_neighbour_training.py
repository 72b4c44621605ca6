"""The soft side of neighbourhoods: votes and gradients against formulas, folding, batches without themselves, stopping, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hardgrad.core.errors import HardenError
from hardgrad.tabular.neighbour_network import EncoderShape, SoftNeighbourhood, distances
from hardgrad.tabular.neighbour_training import (
    NEIGHBOURS,
    NeighbourTask,
    Problem,
    Recipe,
    Voters,
    judge,
)
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.loop import Hardware, train
from hardgrad.train.progress import listen

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(90, 4))
CLASS = (Z[:, 0] > 0).astype(np.int64)
SMALL = EncoderShape(dim=5, d_block=7, n_frequencies=3, d_embedding=2, n_bins=4)


def problem(held: int = 20, classification: bool = True) -> Problem:
    Y = np.eye(2)[CLASS] if classification else Z[:, :1] * 2
    rows = np.arange(held, dtype=np.int64) * 3
    return Problem(Z, Y, np.ones(90), np.ones(90), rows, np.array([0, 2]), classification)


def recipe(**changes: object) -> Recipe:
    settings = {"shape": SMALL, "temperature": 1.0, "sample_rate": 0.5, "max_candidates": 4096, "learning_rate": 0.01, "weight_decay": 0.0,
                "batch_size": 16, "max_iter": 6, "patience": 20, "seed": 3, "key": "test"}  # fmt: skip
    return Recipe(**{**settings, **changes})  # type: ignore[arg-type]


def network(embedding: str, n_blocks: int) -> SoftNeighbourhood:
    torch.manual_seed(0)
    shape = EncoderShape(5, n_blocks, 7, 0.1, embedding, 3, 0.3, 2, 4)
    found = SoftNeighbourhood(4, np.array([0, 2]), shape, 1.0, Z)
    for _ in range(5):  # batch normalisations see some rows
        found.embed(torch.from_numpy(Z).float(), torch.Generator().manual_seed(0))
    return found.eval()


# --- the network --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("embedding", ["none", "periodic", "piecewise"])
@pytest.mark.parametrize("n_blocks", [0, 2])
def test_exact_encoder_is_the_soft_one_with_normalisation_folded_in(embedding, n_blocks):
    from examples import random_neighbourhood

    from hardgrad.tabular.schema import TableSchema

    soft = network(embedding, n_blocks)
    frame = random_neighbourhood(0, TableSchema.numeric(list("abcd")), classes=("x", "y"), dim=5)
    fields = {
        f: getattr(frame, f)
        for f in (
            "schema",
            "link",
            "task",
            "classes",
            "target",
            "k",
            "temperature",
            "smoothing",
            "values",
            "votes",
        )
    }
    hard = type(frame)(
        **fields, **soft.encoder_arrays(), mean=np.zeros(4), scale=np.ones(4), memory=frame.memory
    )
    expected = soft.embed(torch.from_numpy(Z).float()).detach().numpy()
    assert np.abs(hard.embed(Z) - expected).max() < 1e-5
    assert len(hard.widths) == 2 + 2 * n_blocks


def test_shares_are_the_formula_and_a_row_does_not_vote_on_itself():
    soft = network("none", 0)
    soft.set_temperature(0.5)
    a, b, votes = torch.randn(6, 5), torch.randn(9, 5), torch.rand(9) + 0.1
    weight = votes * torch.exp(-torch.cdist(a, b) / 0.5)
    assert torch.allclose(soft.shares(a, b, votes), weight / weight.sum(dim=1, keepdim=True), atol=1e-5)
    own = torch.tensor([3, 0, 8, 1, 1, 2])
    weight[torch.arange(6), own] = 0
    assert torch.allclose(soft.shares(a, b, votes, own), weight / weight.sum(dim=1, keepdim=True), atol=1e-5)
    with pytest.raises(HardenError, match="remembers no rows"):
        soft.harden()


def test_gradients_are_right_and_finite_between_duplicates():
    soft = network("none", 0).double()
    a = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    votes = torch.rand(4, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(lambda x, y: soft.shares(x, y, votes), (a, b))
    same = torch.ones(3, 5, requires_grad=True)
    distances(same, same).sum().backward()
    assert same.grad is not None and same.grad.isfinite().all()


# --- training -----------------------------------------------------------------------------------------------------------------
def test_candidates_are_other_training_rows():
    task = NeighbourTask(problem(), recipe(max_candidates=11), [])
    seen = []
    for step in range(task.epoch_steps):
        batch, others = task._draw(step)
        assert len(others) == 11 and len(np.unique(np.concatenate([batch, others]))) == len(batch) + 11
        assert not np.isin(np.concatenate([batch, others]), task.problem.held).any()
        seen.append(batch)
    assert sorted(np.concatenate(seen)) == task.problem.learned.tolist()
    assert [len(others) for _, others in map(NeighbourTask(problem(), recipe(), [])._draw, range(5))] == [
        27,
        27,
        27,
        27,
        32,
    ]


def test_loss_is_minus_the_log_share_of_the_right_class_without_the_row_itself():
    task = NeighbourTask(problem(held=0), recipe(batch_size=90, weight_decay=0.0), [])
    rows = task._draw(0)[0]
    place = task.module.embed(torch.from_numpy(Z).float()).detach()
    weight = torch.exp(-torch.cdist(place, place)).fill_diagonal_(0).double().numpy()[rows][:, rows]
    right = (weight * (CLASS[rows][:, None] == CLASS[rows])).sum(axis=1) / weight.sum(axis=1)
    assert float(task.loss(task.module, 0, range(1)).detach()) == pytest.approx(
        -np.log(right + 1e-7).mean(), rel=1e-4
    )


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_batch_and_candidates_are_normalised_together_or_apart(n_blocks):
    shape = EncoderShape(5, n_blocks, 7, 0.0)
    losses = []
    for joint in (True, False):
        task = NeighbourTask(problem(), recipe(shape=shape, joint_normalisation=joint), [])
        losses.append(float(task.loss(task.module, 0, range(1)).detach()))
    assert (losses[0] == pytest.approx(losses[1], abs=1e-5)) == (n_blocks == 0)


@pytest.mark.parametrize("classification", [True, False])
@pytest.mark.parametrize("held", [0, 30])
def test_verdict_is_that_of_sorting(classification, held):
    """k nearest by sorting, votes by hand, for every k."""
    given = problem(held, classification)
    task = NeighbourTask(given, recipe(), [])
    task.module.eval()
    found = task.verdict()
    place = task.module.embed(torch.from_numpy(Z).float()).detach().numpy().astype(np.float64)
    learned, judged = given.learned, given.judged
    distance = np.sqrt(((place[judged][:, None] - place[learned]) ** 2).sum(axis=2))
    if not held:
        np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1)
    smoothing = 1 / (1 + len(judged)) if classification else 0.0

    def loss(k: int, smoothing: float) -> float:
        near = order[:, :k]
        weight = np.exp(-np.take_along_axis(distance, near, axis=1))
        answer = (weight[:, :, None] * given.Y[learned][near]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
        if not classification:
            return float(((answer - given.Y[judged]) ** 2).mean())
        return float(
            -np.log(
                ((answer + smoothing) / (1 + 2 * smoothing))[np.arange(len(judged)), CLASS[judged]]
            ).mean()
        )

    others = len(learned) - (held == 0)
    losses = {k: loss(k, smoothing) for k in {min(k, others) for k in NEIGHBOURS}}
    assert found.hard == pytest.approx(min(losses.values()), rel=1e-4)
    assert losses[found.k] == pytest.approx(found.hard, rel=1e-4)
    assert found.smoothing == smoothing
    assert found.soft == pytest.approx(loss(others, 0.0), rel=1e-3)


def test_votes_count_in_verdicts():
    rows = torch.tensor([[0.0], [0.0]])
    voters = Voters(rows, torch.eye(2), torch.tensor([3.0, 1.0]))
    found = judge(voters, torch.zeros(1, 1), torch.tensor([[1.0, 0.0]]), torch.ones(1), 1.0, True)
    assert found.soft == pytest.approx(-np.log(0.75), rel=1e-4)


def test_training_stops_when_it_no_longer_helps_and_keeps_the_best():
    running: list = []
    result = train(
        NeighbourTask, (problem(), recipe(max_iter=60, patience=3, learning_rate=0.2), running), Hardware()
    )
    task = running[0]
    hard, k, _, _, since, best, over = result["track"]
    assert over == 1 and since == 3 and task.steps == (best + 3) * task.epoch_steps < 60 * task.epoch_steps
    task.module.load_state_dict(
        {name: torch.from_numpy(value) for name, value in result.items() if name != "track"}
    )
    task.module.eval()
    assert task.verdict().hard == pytest.approx(hard) and task.verdict().k == k


def test_interrupted_training_goes_on_to_the_same_bits(tmp_path):
    shape = EncoderShape(4, 1, 6, 0.3)  # batch normalisation has state, dropout is drawn
    arguments = (problem(), recipe(shape=shape, max_iter=40), [])
    straight = train(NeighbourTask, arguments, Hardware())

    def stop(event):
        if event.fraction > 0.7:
            raise KeyboardInterrupt

    with checkpointing(tmp_path), listen(stop), pytest.raises(KeyboardInterrupt):
        train(NeighbourTask, arguments, Hardware())
    with checkpointing(tmp_path):
        for _ in range(2):  # the second time it is all there already
            resumed = train(NeighbourTask, arguments, Hardware())
            assert straight.keys() == resumed.keys()
            assert all(np.array_equal(straight[name], resumed[name]) for name in straight if name != "track")
            assert np.array_equal(straight["track"][:4], resumed["track"][:4])
