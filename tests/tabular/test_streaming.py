import datetime as dt
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.core.files import WriteError
from hardgrad.tabular import PackedRows, StreamedTable, TableEncoder, prepare_target
from hardgrad.tabular.column_typing import TableWarning

N = 1200


def rows(n=N, seed=0):
    generator = np.random.default_rng(seed)
    city = generator.integers(0, 40, n)
    hole = generator.random(n) < 0.1
    return pa.table(
        {
            "y": np.where(generator.random(n) < 0.2 + 0.5 * (city % 2), "yes", "no").tolist(),
            "x": pa.array(generator.normal(size=n), mask=hole),
            "x again": pa.array(generator.normal(size=n), mask=hole),
            "city": [f"c'{c}" for c in city],
            "state": pa.array(np.array(["NY", "ä", ""])[city % 3].tolist(), mask=hole),
            "const": [3] * n,
            "void": pa.nulls(n),
            "copy": [f"c'{c}" for c in city],
            "flag": [bool(c % 5) for c in city],
            "since": [dt.datetime(2020, 1, 1) + dt.timedelta(hours=int(c)) for c in city],
            "w": generator.integers(0, 3, n).astype(float),
        }
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(rows(), path, row_group_size=250)
    return path


def joined(table, **options):
    return np.concatenate([part.X for part in table.iter_encoded(**options)])


def test_a_streamed_table_is_taken_for_what_it_is_in_memory(path):
    streamed = StreamedTable(path, "y", drop=["w"], piece_rows=100)
    encoder = TableEncoder(drop=["w"])
    target = prepare_target(rows()["y"])
    schema = encoder.fit(rows().drop_columns(["y"]), target.y)
    assert {d.name: d.reason for d in streamed.typing.dropped} == {
        d.name: d.reason for d in encoder.typing_.dropped
    }
    assert streamed.typing.columns == encoder.typing_.columns
    assert streamed.classes == target.classes
    assert streamed.schema.columns == schema.columns
    for ours, theirs in zip(streamed.schema.features, schema.features, strict=True):
        assert (ours.name, ours.column, ours.transform) == (theirs.name, theirs.column, theirs.transform)
        np.testing.assert_allclose(ours.codes, theirs.codes, rtol=1e-9)


def test_encoded_rows_are_those_of_the_schema(path):
    streamed = StreamedTable(path, "y", drop=["w"], piece_rows=70)
    np.testing.assert_array_equal(joined(streamed), streamed.schema.encode(rows()))
    parts = list(streamed.iter_encoded())
    assert max(map(len, parts)) <= 70
    assert np.concatenate([p.number for p in parts]).tolist() == list(range(N))
    assert np.array_equal(np.concatenate([p.y for p in parts]), prepare_target(rows()["y"]).y)


def test_cross_fitted_codes_are_honest_and_the_same_on_every_pass(path):
    streamed = StreamedTable(path, "y", drop=["w"], piece_rows=70)
    honest, final = joined(streamed, cross_fit=True), joined(streamed)
    differ = [
        streamed.schema.features[j].name
        for j in np.flatnonzero((honest != final)[~np.isnan(final).any(axis=1)].any(axis=0))
    ]
    assert differ == ["city"]
    other_pieces = StreamedTable(path, "y", drop=["w"], piece_rows=1000)
    np.testing.assert_allclose(joined(other_pieces, cross_fit=True), honest, rtol=1e-12)
    sample = streamed.sample(300)
    np.testing.assert_array_equal(sample.X, honest[sample.number])


def test_samples_are_uniform_and_repeatable(path):
    streamed = StreamedTable(path, "y", drop=["w"], piece_rows=70)
    one, two = streamed.sample(100, random_state=1), streamed.sample(100, random_state=1)
    assert len(one) == 100
    assert one.X.tobytes() == two.X.tobytes()
    assert len(np.unique(one.number)) == 100
    assert (np.diff(one.number) > 0).all()
    times = np.zeros(N)
    for seed in range(20):
        times[streamed.sample(200, random_state=seed).number] += 1
    assert times.sum() == 20 * 200
    assert abs(times[: N // 2].sum() - 2000) < 170
    raw = streamed.sample_table(100, random_state=1)
    assert raw.select(list(streamed.schema.names)).equals(
        rows().take(pa.array(one.number)).select(list(streamed.schema.names))
    )
    assert len(streamed.sample(10**6)) == N
    with pytest.raises(ParameterError):
        streamed.sample(0)


def test_batches_hold_every_row_once_shuffled(path):
    streamed = StreamedTable(path, "y", drop=["w"], piece_rows=70)
    batches = list(streamed.iter_batches(64, random_state=3, shuffle_rows=300))
    assert {len(b) for b in batches[:-1]} == {64}
    number = np.concatenate([b.number for b in batches])
    assert sorted(number.tolist()) == list(range(N))
    assert (np.diff(number) != 1).mean() > 0.9
    again = np.concatenate([b.number for b in streamed.iter_batches(64, random_state=3, shuffle_rows=300)])
    other = np.concatenate([b.number for b in streamed.iter_batches(64, random_state=4, shuffle_rows=300)])
    assert np.array_equal(number, again)
    assert not np.array_equal(number, other)
    final = joined(streamed)
    plain = next(streamed.iter_batches(64, cross_fit=False))
    np.testing.assert_array_equal(plain.X, final[plain.number])
    with pytest.raises(ParameterError):
        next(streamed.iter_batches(0))


def test_weights_and_rows_of_weight_zero(path):
    streamed = StreamedTable(path, "y", weight="w", piece_rows=70)
    weight = np.asarray(rows()["w"])
    used = np.flatnonzero(weight)
    assert (streamed.n_rows, streamed.n_used) == (N, len(used))
    parts = list(streamed.iter_encoded())
    assert np.array_equal(np.concatenate([p.number for p in parts]), used)
    assert np.array_equal(np.concatenate([p.weight for p in parts]), weight[used])
    assert "w" not in streamed.schema.names
    schema = TableEncoder().fit(
        rows().drop_columns(["y", "w"]), prepare_target(rows()["y"]).y, sample_weight=weight
    )
    for ours, theirs in zip(streamed.schema.features, schema.features, strict=True):
        np.testing.assert_allclose(ours.codes, theirs.codes, rtol=1e-9)
    assert len(streamed.sample(10**6)) == len(used)


def test_regression_and_many_classes(tmp_path):
    path = tmp_path / "t.parquet"
    generator = np.random.default_rng(0)
    t, r = [f"k{k}" for k in generator.integers(0, 5, 900)], generator.normal(size=900) + 1e6
    table = pa.table({"t": t, "r": r, "c": np.arange(900) % 15})
    pq.write_table(table, path)
    regression = StreamedTable(path, "r", drop=["c"])
    assert regression.task == "regression"
    in_memory = TableEncoder().fit(table.select(["t"]), r, task="regression")
    np.testing.assert_allclose(regression.schema.features[0].codes, in_memory.features[0].codes)
    assert np.array_equal(next(regression.iter_encoded()).y, table["r"].to_numpy())
    many = StreamedTable(path, "c", drop=["r"])
    assert many.classes == tuple(range(15))
    assert len(many.schema.features) == 10
    assert StreamedTable(path, "c", drop=["r"], task="regression").task == "regression"


def test_categories_beyond_the_limit_count_as_unseen_and_identifiers_are_left_out(tmp_path):
    path = tmp_path / "t.parquet"
    t = [f"k{k % 30}" if k < 970 else f"rare{k}" for k in range(1000)]
    pq.write_table(pa.table({"t": t, "id": [f"u{i}" for i in range(1000)], "y": np.arange(1000) % 2}), path)
    with pytest.warns(TableWarning, match="'id' was left out"):
        streamed = StreamedTable(path, "y", max_categories=30)
    assert streamed.schema.names == ("t",)
    assert len(streamed.schema.columns[0].categories) == 30
    assert any("30 rows" in note for note in streamed.typing.notes)
    assert joined(streamed)[-1, 0] == 0.5


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"y": [None, "a"]}, {}, "target 'y' is missing in row 0"),
        ({"y": ["a", "a"]}, {}, "one class only"),
        ({"y": [1.5, float("inf")]}, {}, "target 'y' holds inf in row 1"),
        ({"y": [1.5, 1.5]}, {}, "is 1.5 in all 2 rows"),
        ({"x": [1.0, float("-inf")]}, {}, "column 'x' holds -inf in row 1"),
        ({"x": [1, 1]}, {}, "no column is left"),
        ({"x": [[1], [2]]}, {}, "'x' has type list"),
        ({"w": [1.0, -1.0]}, {"weight": "w"}, "'w' holds -1 in row 1"),
        ({"w": [0.0, 0.0]}, {"weight": "w"}, "zero everywhere"),
        ({"y": []}, {}, "has 0 rows"),
        ({}, {"drop": ["nope"]}, "no column 'nope'"),
        ({"y": ["a", "b"]}, {"task": "regression"}, "nothing to regress on"),
    ],
)
def test_bad_tables(tmp_path, change, options, message):
    path = tmp_path / "t.parquet"
    table = {"y": ["a", "b"], "x": [1.0, 2.0], "w": [1.0, 1.0]} | change
    if change.get("y") == []:
        table = {name: pa.array([], pa.float64()) for name in table}
    pq.write_table(pa.table(table), path)
    drop = {} if "weight" in options or "drop" in options else {"drop": ["w"]}
    with pytest.raises(DataError, match=message):
        StreamedTable(path, "y", **drop, **options)


def test_bad_files_and_parameters(tmp_path, path):
    with pytest.raises(DataError, match="no file"):
        StreamedTable(tmp_path / "none.parquet", "y")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1...")
    with pytest.raises(DataError, match="damaged"):
        StreamedTable(tmp_path / "bad.parquet", "y")
    with pytest.raises(DataError, match="Did you mean 'y'"):
        StreamedTable(path, "Y")
    with pytest.raises(ParameterError):
        StreamedTable(path, "y", task="ranking")
    with pytest.raises(ParameterError):
        StreamedTable(path, "y", piece_rows=0)


# --- packed rows -----------------------------------------------------------------------------------------------------------------
def pack(X):
    return (np.nan_to_num(X) > 0).astype(np.uint8)


def test_packed_rows_are_all_rows_and_leave_nothing_behind(path, tmp_path):
    streamed = StreamedTable(path, "y", weight="w", piece_rows=70)
    folder = tmp_path / "scratch"
    folder.mkdir()
    with PackedRows(streamed, pack, folder=str(folder), cross_fit=False) as packed:
        assert len(packed) == streamed.n_used
        np.testing.assert_array_equal(packed.codes, pack(joined(streamed)))
        batches = list(packed.iter_batches(100, random_state=1))
        assert sum(len(b.y) for b in batches) == len(packed)
        again = list(packed.iter_batches(100, random_state=1))
        np.testing.assert_array_equal(batches[0].codes, again[0].codes)
        total = sum(float((b.y * b.weight).sum()) for b in batches)
        assert total == float((packed.y * packed.weight).sum())
        with pytest.raises(ParameterError):
            next(packed.iter_batches(0))
    assert os.listdir(folder) == []


def test_a_packing_that_fails_leaves_nothing_behind(path, tmp_path):
    streamed = StreamedTable(path, "y", drop=["w"])
    with pytest.raises(ParameterError, match=r"shape \(3,\)"):
        PackedRows(streamed, lambda X: np.zeros(3), folder=str(tmp_path))
    assert [entry for entry in os.listdir(tmp_path) if entry.startswith("hardgrad-")] == []
    with pytest.raises(WriteError, match="Choose another folder"):
        PackedRows(streamed, pack, folder=str(tmp_path / "nowhere"))
