"""Soft routing against plain torch and finite differences; soft and hard faces of one forest."""

import numpy as np
import pytest
import torch
from training_data import rows_for

import hardgrad
from hardgrad.core.errors import HardenError, ParameterError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees.assemble import Frame, assemble
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.greedy import BoostingPlan, boost
from hardgrad.trees.polish import polish
from hardgrad.trees.routing import forest_output, route
from hardgrad.trees.soft_forest import SoftForest


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_leaf_probabilities_sum_to_one(depth):
    p = route(torch.rand(2, 3, 2**depth - 1, 5, dtype=torch.float64))
    assert p.shape == (2, 3, 2**depth, 5)
    assert torch.allclose(p.sum(dim=2), torch.ones(2, 3, 5, dtype=torch.float64))


def test_fused_kernel_equals_plain_torch():
    torch.manual_seed(0)
    gates = torch.rand(3, 4, 7, 700, dtype=torch.float64, requires_grad=True)
    leaf = torch.randn(3, 4, 8, 2, dtype=torch.float64, requires_grad=True)
    plain = torch.einsum("mtlb,mtlc->mbc", route(gates), leaf)
    fused = forest_output(gates, leaf)
    weight = torch.randn_like(fused)
    mine = torch.autograd.grad((fused * weight).sum(), (gates, leaf))
    theirs = torch.autograd.grad((plain * weight).sum(), (gates, leaf))
    assert torch.allclose(fused, plain)
    assert all(torch.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("split", ["sparse_oblique", "oblivious", "decision_list"])
def test_gradient_against_finite_differences(split):
    torch.manual_seed(1)
    forest = SoftForest(3, 2, 2, 2, split=split).double()
    for p in forest.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(4, 3, dtype=torch.float64)
    names = [n for n, _ in forest.named_parameters()]

    def run(*values):
        return torch.func.functional_call(
            forest, dict(zip(names, values, strict=True)), (x,), {"temperature": 0.7, "mode": "soft"}
        )

    assert torch.autograd.gradcheck(
        run, tuple(p.detach().clone().requires_grad_() for p in forest.parameters())
    )


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_decision_list_is_the_product_of_its_gates(depth):
    torch.manual_seed(2)
    forest = SoftForest(3, 2, depth, 2, split="decision_list", temperature=0.7).double()
    for p in forest.parameters():
        torch.nn.init.normal_(p)
    x = torch.randn(6, 3, dtype=torch.float64)
    wanted = forest.bias.expand(6, 2).clone()
    reached_everything = torch.zeros(6, 2, depth + 1, dtype=torch.float64)
    for tree in range(2):
        reached = torch.ones(6, dtype=torch.float64)
        for test in range(depth + 1):
            left = reached
            if test < depth:
                at = tree * depth + test
                left = reached * torch.sigmoid(
                    -(x @ forest.weight[0, at] + forest.offset[0, at]) / forest.temperature
                )
            reached_everything[:, tree, test] = left
            wanted = wanted + left[:, None] * forest.leaf[0, tree, test]
            reached = reached - left
    assert torch.allclose(forest(x), wanted)
    assert torch.allclose(forest.leaf_probability(x), reached_everything)


def test_a_decision_list_hardens_to_itself():
    torch.manual_seed(3)
    X, codes, _, frame = _trained()
    forest = SoftForest(4, 5, 3, 1, split="decision_list", frame=frame)
    for p in forest.parameters():
        torch.nn.init.normal_(p)
    artifact = forest.harden()
    assert artifact.n_leaves == 5 * 4 and artifact.depth() == 3
    raw = forest.predict_raw(X, mode="hard")
    assert (np.abs(artifact.predict_raw(X) - raw) < 1e-5).all(axis=1).mean() > 0.99  # weights are rounded


def _trained(kind="logistic", outputs=1, missing=0.1):
    X, codes, rows, objective = rows_for(kind, n=1500, n_outputs=outputs, missing=missing)
    start = boost(rows, codes, objective, BoostingPlan(3, 0.5, max_depth=3))
    forest = polish(start, rows, objective, sweeps=1)
    classes = {"logistic": ("no", "yes"), "softmax": ("a", "b", "c"), "squared": ()}[kind]
    task = "classification" if classes else "regression"
    scale = None if classes else np.full(outputs, 2.5)
    shift = None if classes else np.arange(outputs) + 7.0
    frame = Frame(TableSchema.numeric(list("pqrs")), codes, objective.link, task, classes, "t", scale, shift)
    return X, codes, forest, frame


@pytest.mark.parametrize(("kind", "outputs"), [("logistic", 1), ("softmax", 3), ("squared", 2)])
def test_the_artifact_is_the_quantised_forest_on_every_row(kind, outputs):
    X, codes, forest, frame = _trained(kind, outputs)
    exact = forest.quantised()
    artifact = assemble(exact, frame)
    rng = np.random.default_rng(9)
    wild = rng.normal(scale=3, size=(2000, 4))
    wild[rng.random(wild.shape) < 0.2] = np.nan
    wild[0], wild[1] = np.inf, -np.inf
    for f, cut in enumerate(codes.cuts):
        wild[100 : 100 + len(cut), f] = cut
        wild[200 : 200 + len(cut), f] = np.nextafter(cut, np.inf)
    assert not artifact.is_axis
    raw = frame.output(exact.raw(codes.encode_scores(wild)))
    assert np.allclose(artifact.predict_raw(wild), raw, rtol=1e-12, atol=1e-12)
    assert artifact.target == "t"


def test_hard_mode_is_what_hardens():
    X, codes, forest, frame = _trained()
    soft = SoftForest.from_perfect([forest.quantised()], 4, frame=frame)
    artifact = hardgrad.harden(soft)
    with hardgrad.mode("hard"):
        raw = soft.predict_raw(X)
    assert np.allclose(raw, artifact.predict_raw(X), atol=1e-5)
    assert np.allclose(soft.predict_raw(X, mode="st"), raw)
    # Rounded weights are of the order of 1,000, so this temperature sends every gate to its end.
    hardgrad.set_temperature(soft, 1e-5)
    assert np.allclose(soft.predict_raw(X, mode="soft"), raw, atol=1e-5)


def test_from_hard_and_back():
    tree = {"feature": 0, "threshold": 1.5, "default_left": True, "left": {"value": 0.5},
            "right": {"feature": 1, "threshold": 0.0, "left": {"value": -1.0}, "right": {"value": 2.0}}}  # fmt: skip
    forest = forest_from_trees([tree, {"value": 0.25}], ["a", "b"], base=[0.125])
    X = np.random.default_rng(0).normal(loc=1, size=(500, 2))
    soft = SoftForest.from_hard(forest, X)
    assert np.allclose(soft.predict_raw(X, mode="hard"), forest.predict_raw(X))
    again = soft.harden()
    assert np.array_equal(again.predict_raw(X), forest.predict_raw(X))


def test_what_cannot_be_done_says_so():
    with pytest.raises(ParameterError, match="oblivious"):
        SoftForest(2, 1, 1, 1, split="diagonal")
    with pytest.raises(HardenError, match="split of perfect trees"):
        SoftForest.from_perfect([_trained()[2]], 4, split="decision_list")
    with pytest.raises(HardenError, match="from_hard"):
        SoftForest(2, 1, 1, 1).harden()
    _, _, forest, frame = _trained()
    oblique = assemble(forest.quantised(), frame)
    with pytest.raises(HardenError, match="axis-aligned"):
        SoftForest.from_hard(oblique, np.zeros((3, 4)))
