"""What the semantic operators know: names, units, thresholds and information, held against definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees import Proposal, RandomProposer, SemanticPriorProposer, TaskContext, TreeProposer
from hardgrad.trees.relatedness import cutoffs, data_relatedness, name_relatedness, round_between, tokens
from hardgrad.trees.semantic_proposer import path_features, rows_at, shape_log_prior
from hardgrad.trees.split_prior import SplitPrior
from hardgrad.trees.tree_fitness import FitnessRows
from hardgrad.trees.tree_population import TreePopulation
from hardgrad.trees.tree_text import TreeText

NAMES = ["blood_pressure_systolic", "blood_pressure_diastolic", "annual_income", "savings_income", "shoe"]


def context_of(seed: int = 0, n: int = 120, classes: int = 2, **options: object) -> TaskContext:
    rng = np.random.default_rng(seed)
    X = rng.normal(100.0, 20.0, size=(n, len(NAMES)))
    y = (X[:, 0] > 100).astype(int) + (X[:, 2] > 110) * (classes > 2)
    Y = np.eye(classes)[y] if classes else X[:, :1] + rng.normal(size=(n, 1))
    return TaskContext(
        TableSchema.numeric(NAMES), FitnessRows(X, Y, np.ones(n)), 3, "accuracy", True, rng,
        classes=tuple(range(classes)), **options,  # type: ignore[arg-type]
    )  # fmt: skip


# --- words -----------------------------------------------------------------------------------------------------------------------
def test_names_that_share_words_units_or_letters_are_related() -> None:
    related = name_relatedness(NAMES)
    assert np.allclose(related, related.T)
    assert np.allclose(np.diag(related), 1)
    assert ((related >= 0) & (related <= 1)).all()
    assert related[0, 1] > 0.5 > related[0, 2]
    assert related[2, 3] > related[2, 4] == 0
    assert name_relatedness(["glucose in mg/dl", "iron, mmol/l"])[0, 1] == pytest.approx(0.2, abs=0.1)
    assert name_relatedness(["???", "x"]).shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("high from 140 on", []),
        ("high above 140, low <= 90.5", [140.0, 90.5]),
        ("obese when >= 30", [np.nextafter(30.0, -np.inf)]),
        ("At least 1e3 or below -2", [np.nextafter(1e3, -np.inf), np.nextafter(-2.0, -np.inf)]),
        ("", []),
    ],
)
def test_thresholds_are_read_from_descriptions(text: str, found: list[float]) -> None:
    assert cutoffs(text) == found


def test_camel_case_and_signs_are_words() -> None:
    assert tokens("meanRadius_mm2") == ["mean", "radius", "mm", "2"]


@pytest.mark.parametrize("seed", range(20))
def test_round_thresholds_stay_between_neighbours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = float(rng.normal() * 10.0 ** rng.integers(-6, 7))
    for high in (float(np.nextafter(low, np.inf)), low + abs(low) * 0.37, low + 1e4):
        threshold = round_between(low, high)
        assert low <= threshold < high
        assert len(repr(threshold)) <= len(repr(low / 2 + high / 2)) + 2


# --- data ------------------------------------------------------------------------------------------------------------------------
def test_ranks_are_those_of_scipy() -> None:
    X = np.random.default_rng(0).normal(size=(50, 4))
    X[:, 1] = X[:, 0] ** 3
    X[:, 3] = 1.0
    related = data_relatedness(X)
    assert related[0, 1] == pytest.approx(1)
    assert related[0, 2] == pytest.approx(abs(spearmanr(X[:, 0], X[:, 2]).statistic))
    assert related[0, 3] == 0 and related[3, 3] == 1


def test_information_is_mutual_information_less_chance() -> None:
    context = context_of()
    prior = SplitPrior.of(context)
    mask = context.rows.X[:, 1] <= 105
    found = prior.information(np.stack([mask, np.ones_like(mask), np.zeros_like(mask)]))
    y = context.rows.Y.argmax(axis=1)
    for cut in range(0, len(prior.feature), 7):
        left = context.rows.X[:, prior.feature[cut]] <= prior.threshold[cut]
        for row, here in ((0, mask), (1, np.ones_like(mask))):
            split = 0 < left[here].sum() < here.sum()
            expected = (
                max(mutual_info_score(y[here], left[here]) - 1 / (2 * here.sum()), 0.0) if split else 0.0
            )
            assert found[row, cut] == pytest.approx(expected, abs=1e-6)
    assert not found[2].any()


def test_information_about_values_is_that_of_normal_ones() -> None:
    context = context_of(classes=0)
    prior = SplitPrior.of(context)
    y = context.rows.Y[:, 0]
    found = prior.information(np.ones((1, len(y)), dtype=bool))[0]
    cut = int(found.argmax())
    assert prior.feature[cut] == 0
    left = context.rows.X[:, 0] <= prior.threshold[cut]
    share = np.corrcoef(left, y)[0, 1] ** 2
    assert found[cut] == pytest.approx(-0.5 * np.log(1 - share) - 1 / (2 * len(y)), rel=1e-4)


def test_named_thresholds_are_candidates() -> None:
    context = context_of(
        feature_descriptions={"blood_pressure_systolic": "high above 117.25", "shoe": "above 9000"}
    )
    prior = SplitPrior.of(context)
    assert prior.worth[(prior.feature == 0) & (prior.threshold == 117.25)].tolist() == [2.0]
    assert not (prior.threshold == 9000).any()  # nobody has it


def test_draws_follow_relatedness_and_information() -> None:
    context = context_of()
    prior = SplitPrior.of(context)
    everything = np.ones((4000, len(context.rows.X)), dtype=bool)
    above = np.zeros((4000, len(NAMES)))
    above[:, 1] = 1.0
    drawn = prior.draw(everything, above, 0.0, 1.0, context.rng)
    assert (drawn.feature == 0).mean() > 0.8  # it decides the class
    drawn = prior.draw(everything, above, 8.0, 0.0, context.rng)
    count = np.bincount(drawn.feature, minlength=len(NAMES))
    expected = np.exp(8.0 * prior.related[1])
    assert count / count.sum() == pytest.approx(expected / expected.sum(), abs=0.03)
    assert np.exp(drawn.logprob).max() <= 1
    one = (drawn.feature == drawn.feature[0]) & (drawn.threshold == drawn.threshold[0])
    assert one.mean() == pytest.approx(np.exp(drawn.logprob[0]), abs=0.02)


# --- trees -----------------------------------------------------------------------------------------------------------------------
def tree(text: str) -> TreeText:
    return TreeText.parse(text)


PARENTS = [
    tree('{"shoe": {"<= 100": {"value": 0}, "> 100": {"value": 1}}}'),
    tree('{"annual_income": {"<= 90": {"shoe": {"<= 80": {"value": 0}, "> 80": {"value": 1}}}, "> 90": {"value": 1}}}'),
    tree('{"blood_pressure_systolic": {"<= 99": {"value": 0}, "> 99": {"savings_income": {"<= 70": {"value": 0}, "> 70": {"value": 1}}}}}'),
    tree('{"blood_pressure_diastolic": {"<= 100": {"value": 0}, "> 100": {"value": 1}}}'),
]  # fmt: skip


@pytest.mark.parametrize(
    "proposer", [SemanticPriorProposer(), RandomProposer()], ids=lambda p: type(p).__name__
)
@pytest.mark.parametrize("target", [None, 0.9])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_proposals_are_trees_of_the_task(proposer: TreeProposer, target: float | None, classes: int) -> None:
    assert isinstance(proposer, TreeProposer)
    found = [
        proposal
        for seed in range(10)
        for proposal in proposer.propose(
            PARENTS, [0.5, 0.6, 0.7, 0.8], target, context_of(seed, classes=classes), 4
        )
    ]
    assert len(found) >= 35
    assert all(isinstance(proposal, Proposal) for proposal in found)
    assert max(proposal.tree.depth for proposal in found) <= 3
    assert len({str(proposal.tree) for proposal in found}) > 12
    known = isinstance(proposer, SemanticPriorProposer) and target is None
    assert all((proposal.logprob is not None) == known for proposal in found)
    again = proposer.propose(PARENTS, [0.5, 0.6, 0.7, 0.8], target, context_of(9, classes=classes), 4)
    assert again == found[-len(again) :]


def test_crossover_is_drawn_to_what_helps() -> None:
    context = context_of(0)
    found = SemanticPriorProposer().propose(PARENTS, [0.5, 0.55, 0.95, 0.6], 1.0, context, 8)
    told = [str(proposal.tree) for proposal in found]
    assert sum("systolic" in text for text in told) >= 6
    assert not set(told) & {str(parent) for parent in PARENTS}


def test_nothing_to_split_means_no_proposals() -> None:
    rows = FitnessRows(np.ones((30, 1)), np.eye(2)[[0, 1] * 15], np.ones(30))
    context = TaskContext(
        TableSchema.numeric(["same"]), rows, 2, "accuracy", True, np.random.default_rng(0), classes=(0, 1)
    )
    assert SemanticPriorProposer().propose([TreeText(value=0.0)], [0.5], None, context, 4) == []
    (leaf,) = RandomProposer().propose([TreeText(value=0.0)], [0.5], None, context, 1)
    assert leaf.tree.is_leaf


def test_rows_and_features_on_a_path() -> None:
    context = context_of()
    trees = TreePopulation.from_texts(PARENTS[1:3], context.positions, 3)
    index = trees.leaf_index(context.rows.X)
    passes = rows_at(index, np.array([1, 2]), 3)
    assert np.array_equal(passes[0], context.rows.X[:, 2] <= 90)
    assert np.array_equal(passes[1], context.rows.X[:, 0] > 99)
    counts = path_features(trees, np.array([0, 0, 1]), np.array([0, 3, 5]), len(NAMES))
    assert counts.tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]


def test_shapes_are_liked_deep_and_balanced() -> None:
    full = tree(
        '{"a": {"<= 1": {"a": {"<= 0": {"value": 0}, "> 0": {"value": 1}}}, "> 1": {"a": {"<= 2": {"value": 0}, "> 2": {"value": 1}}}}}'
    )
    stump = tree('{"a": {"<= 1": {"value": 0}, "> 1": {"value": 1}}}')
    chain = tree('{"a": {"<= 1": {"value": 0}, "> 1": {"a": {"<= 2": {"value": 0}, "> 2": {"value": 1}}}}}')
    prior = shape_log_prior(TreePopulation.from_texts([full, stump, chain], {"a": 0}, 3))
    assert prior[1] < prior[0]
    assert prior[2] == pytest.approx(-0.5 * (1.1 / 0.9) ** 2)  # depth 2, balance (1/2 + 1) / 2


@pytest.mark.parametrize("bad", [{"beta": -1.0}, {"gamma": float("nan")}, {"recombinations": 0}])
def test_bad_settings(bad: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="got"):
        SemanticPriorProposer(**bad)  # type: ignore[arg-type]
