"""Training from a stream: close to training in memory, weights and every kind of target, leaves of all rows, errors."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.files import WriteError
from hardgrad.tabular import StreamedTable
from hardgrad.trees import SoftForestClassifier, SoftForestRegressor, streamed

N = 3000
QUICK = {"n_estimators": 2, "max_depth": 3, "max_iter": 40, "random_state": 0, "l1": (3e-3,)}


def rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n)
    city = rng.integers(0, 30, n)
    score = a + 0.7 * b + 0.5 * (city % 3) + rng.normal(0, 0.5, n)
    return pa.table(
        {
            "a": a,
            "b": pa.array(b, mask=rng.random(n) < 0.1),
            "city": [f"c{c}" for c in city],
            "constant": [1] * n,
            "w": rng.integers(0, 3, n).astype(float),
            "two": np.where(score > 0.5, "yes", "no").tolist(),
            "three": np.digitize(score, [0.0, 1.0]),
            "value": 100.0 * score + 1000.0,
        }
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(rows(), path, row_group_size=700)
    return path


def opened(path, target, **options):
    others = [name for name in ("two", "three", "value", "w") if name not in (target, options.get("weight"))]
    return StreamedTable(path, target, drop=others, piece_rows=300, **options)


def features(table):
    return table.select(["a", "b", "city", "constant"])


@pytest.mark.parametrize("target", ["two", "three", "value"])
def test_all_rows_in_the_sample_is_training_in_memory(path, target):
    estimator = SoftForestRegressor if target == "value" else SoftForestClassifier
    model = estimator(**QUICK).fit_streamed(opened(path, target))
    table = rows()
    memory = estimator(**QUICK).fit(features(table), table[target].to_numpy(zero_copy_only=False))
    fresh = rows(seed=1)
    y = fresh[target].to_numpy(zero_copy_only=False)
    assert model.score(features(fresh), y) > memory.score(features(fresh), y) - 0.03
    assert model.streamed_.reason == "it holds all rows" and not model.streamed_.refitted
    assert model.forest_.target == target
    assert [d.name for d in model.typing_.dropped if d.reason == "constant"] == ["constant"]
    assert [d.name for d in memory.typing_.dropped] == ["constant"]


@pytest.mark.parametrize("target", ["two", "three", "value"])
@pytest.mark.parametrize("weight", [None, "w"])
def test_leaves_of_all_rows_are_better_than_those_of_a_sample(path, target, weight, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 400)
    monkeypatch.setattr(streamed, "CHUNK_ROWS", 500)
    estimator = SoftForestRegressor if target == "value" else SoftForestClassifier
    table = opened(path, target, weight=weight)
    model = estimator(**QUICK).fit_streamed(table)
    done = model.streamed_
    assert done.refitted and done.after < done.before and done.sample_rows == 400
    assert done.rows == table.n_used == (N if weight is None else int((rows()["w"].to_numpy() > 0).sum()))
    assert "leaves refitted on all" in str(done)
    assert model.gap_.rows == len(model.validation_["rows"]) > 0
    assert len(np.unique(model.validation_["rows"])) == len(model.validation_["rows"])
    assert model.validation_["rows"].max() > 400, "numbers of rows in the file"
    fresh = rows(seed=1)
    y = fresh[target].to_numpy(zero_copy_only=False)
    assert model.score(features(fresh), y) > (0.6 if target == "three" else 0.5)
    assert np.array_equal(model.harden().predict(features(fresh)), model.predict(features(fresh)))


def test_the_refit_is_the_one_of_rows_in_memory(path, monkeypatch):
    from hardgrad.trees.leaf_refit import refit_leaves
    from hardgrad.trees.objectives import Objective

    monkeypatch.setattr(streamed, "CHUNK_ROWS", 500)
    rng = np.random.default_rng(0)
    index = rng.integers(0, 4, (N, 2)).astype(np.int32)
    Y = (rng.random((N, 1)) < 0.3).astype(float)
    weight = rng.random(N) + 0.5

    class Stored:
        def chunks(self):
            for i in range(0, N, 500):
                part = slice(i, i + 500)
                yield streamed._Chunk(
                    index[part].astype(np.uint8), Y[part], weight[part], np.ones(500, dtype=bool)
                )

    start = (np.zeros((2, 4, 1)), np.zeros(1))
    objective = Objective("logistic")
    leaf, bias = streamed._minimise(Stored(), objective, 3.0, start)
    ((expected, expected_bias),) = refit_leaves(index, Y, weight, objective, (3.0,), start=start)
    np.testing.assert_allclose(leaf, expected, atol=1e-6)
    np.testing.assert_allclose(bias, expected_bias, atol=1e-6)


def test_leaves_stay_where_the_budget_is_bytes_or_no_refit_is_wanted(path, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 400)
    packed = SoftForestClassifier(budget="200 bytes", random_state=0).fit_streamed(opened(path, "two"))
    assert packed.forest_.packing is not None
    assert "grid" in str(packed.streamed_)
    plain = SoftForestClassifier(leaf_refit=False, **QUICK).fit_streamed(opened(path, "two"))
    assert plain.streamed_.reason == "leaf_refit=False"


def test_a_refit_that_raises_the_loss_is_not_taken(path, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 400)
    monkeypatch.setattr(streamed, "_minimise", lambda stored, objective, l2, start: (start[0] + 9, start[1]))
    model = SoftForestClassifier(**QUICK).fit_streamed(opened(path, "two"))
    assert not model.streamed_.refitted and model.streamed_.after > model.streamed_.before
    assert "would raise the loss" in str(model.streamed_)
    assert np.abs(model.forest_.value).max() < 9


def test_class_weights_count(path):
    plain = SoftForestClassifier(**QUICK).fit_streamed(opened(path, "two"))
    heavy = SoftForestClassifier(class_weight={"yes": 20.0}, **QUICK).fit_streamed(opened(path, "two"))
    table = features(rows(seed=1))
    assert (heavy.predict(table) == "yes").mean() > (plain.predict(table) == "yes").mean() + 0.05


def test_rows_that_are_left_out_are_never_seen(path, tmp_path):
    without = np.arange(0, N, 3)
    table = opened(path, "two", without=without)
    assert table.n_used == N - len(without)
    seen = np.concatenate([part.number for part in table.iter_encoded()])
    assert not np.isin(seen, without).any()
    only = tmp_path / "only.parquet"
    pq.write_table(rows().take(pa.array(np.setdiff1d(np.arange(N), without))), only)
    assert [c.categories for c in table.schema.columns] == [
        c.categories for c in opened(only, "two").schema.columns
    ]


def test_what_cannot_be_learned_is_said(path, tmp_path):
    with pytest.raises(DataError, match="no column 'tow'.*Did you mean 'two'"):
        StreamedTable(path, "tow")
    with pytest.raises(DataError, match="is for classification, but target 'value'.*SoftForestRegressor"):
        SoftForestClassifier(**QUICK).fit_streamed(opened(path, "value"))
    with pytest.raises(DataError, match="is for regression, but target 'two'.*SoftForestClassifier"):
        SoftForestRegressor(**QUICK).fit_streamed(opened(path, "two"))
    with pytest.raises(ParameterError, match="max_depth=0"):
        SoftForestClassifier(max_depth=0).fit_streamed(opened(path, "two"))


def test_a_full_disk_leaves_nothing(path, tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(streamed, "SAMPLE_ROWS", 400)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(streamed.LeafFile, "_path", lambda self, name: Path("/dev/full"))
    with pytest.raises(WriteError, match="No space left.*TMPDIR"):
        SoftForestClassifier(**QUICK).fit_streamed(opened(path, "two"))
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
