"""LearnedEncoder: soft groups become a lookup table that forgets nothing it needs."""

import numpy as np
import pytest
import torch

import hardgrad
from hardgrad.core.errors import ParameterError
from hardgrad.tabular import LearnedEncoder, SoftGroups
from hardgrad.tabular.category_table import CategoryTable


def table(n=800, groups=3, seed=0):
    """Twelve levels of three true groups, and a number."""
    rng = np.random.default_rng(seed)
    level, x = rng.integers(0, 12, n), rng.normal(size=n)
    X = {"c": np.array([f"v{k}" for k in level], dtype=object), "x": x}
    return X, 3.0 * (level % groups) + x + 0.1 * rng.normal(size=n), level


def learned(**options):
    return LearnedEncoder(**{"n_groups": 3, "random_state": 0, "max_iter": 150, **options})


def test_levels_of_one_true_group_get_one_code(tmp_path):
    X, y, level = table()
    encoder = learned().fit(X, y)
    codes = encoder.transform(X)
    assert encoder.get_feature_names_out().tolist() == ["c", "x"] and np.array_equal(codes[:, 1], X["x"])
    of_level = {k: set(codes[level == k, 0]) for k in range(12)}
    assert all(len(values) == 1 for values in of_level.values())
    assert len({tuple(of_level[k]) for k in range(12)}) == 3
    assert all(of_level[k] == of_level[k % 3] for k in range(12))
    assert encoder.gap_.hard > 0.95 and abs(encoder.gap_.gap) < 0.02 and encoder.gap_.rows == 80
    assert encoder.gap_.detail == {"distinct codes of c": 3.0}
    read = hardgrad.load(encoder.harden().save(tmp_path / "codes.safetensors"))
    assert isinstance(read, CategoryTable) and np.array_equal(read.transform(X), codes)
    assert encoder.to_sql().count("WHEN") == 4  # missing, and three groups


def test_the_hard_face_is_the_cold_soft_face():
    X, y, _ = table()
    encoder = learned(n_components=2).fit(X, y)
    (groups,) = encoder.model_.groups
    level = torch.arange(12)
    exact = groups.harden()(level)
    assert torch.equal(groups(level, mode="hard"), exact)
    assert torch.allclose(groups(level, temperature=1e-3, mode="soft"), exact, atol=1e-6)
    inputs = level[:, None], torch.zeros(12, 1, dtype=torch.float64)
    with hardgrad.mode("hard"):
        assert torch.equal(hardgrad.harden(encoder.model_)(*inputs), encoder.model_(*inputs))


def test_gradients_are_those_of_finite_differences():
    rng = torch.Generator().manual_seed(0)
    groups = SoftGroups(
        torch.randn(4, 3, dtype=torch.float64, generator=rng),
        torch.randn(3, 2, dtype=torch.float64, generator=rng),
        0.5,
    )
    level = torch.tensor([0, 2, 2, 3])

    def codes(scores, values):
        return torch.func.functional_call(
            groups, {"scores": scores, "codes": values}, (level,), {"mode": "soft"}
        )

    assert torch.autograd.gradcheck(
        codes, (groups.scores.detach().requires_grad_(), groups.codes.detach().requires_grad_())
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_learned(classes):
    X, _, level = table()
    y = np.array(["red", "green", "blue"])[level % classes]
    encoder = learned(hidden=(), max_iter=100).fit(X, y)
    assert encoder.target_type_ == ("binary" if classes == 2 else "multiclass")
    assert encoder.gap_.metric == "accuracy" and encoder.gap_.hard > 0.95
    assert encoder.table_.distinct_codes()["c"] == classes


def test_missing_and_unseen_are_never_nan():
    X, y, _ = table(100)
    X["c"][:10] = None
    X["x"][5] = np.nan
    encoder = learned(max_iter=20).fit(X, y)
    codes = encoder.transform({"c": [None, "??"], "x": [0.0, 1.0]})
    assert np.isfinite(codes).all()
    assert min(encoder.table_.column_codes(0)) <= codes[1, 0] <= max(encoder.table_.column_codes(0))


def test_the_seed_decides_to_the_bit():
    X, y, _ = table(200)
    first, again, other = (learned(max_iter=20, random_state=seed).fit(X, y).harden() for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)


def test_small_tables_have_no_gap():
    X, y, _ = table(12)
    assert learned(max_iter=5).fit(X, y).gap_ is None


@pytest.mark.parametrize(
    "options",
    [
        {"n_groups": 0},
        {"n_components": 0},
        {"max_iter": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"hidden": (0,)},
        {"temperature": (1.0, 0.0)},
    ],
)  # fmt: skip
def test_bad_parameters_say_what_was_got(options):
    X, y, _ = table(50)
    with pytest.raises(ParameterError, match="got"):
        learned(**options).fit(X, y)
