"""CategoryTable: SQL and C say what `transform` says; broken tables are refused."""

import dataclasses

import numpy as np
import pytest
from category_exports import codes_in_c, codes_in_duckdb

from hardgrad.core.errors import ArtifactError, ExportError, ParameterError, SchemaError
from hardgrad.export.compiled_c import has_compiler
from hardgrad.tabular import CategoricalEncoder, CategoryTable
from hardgrad.tabular.category_table import category_hash

TABLE = {
    "state": np.array(["NY", "TX", None, 'it\'s "é"\\', "", "NY"], dtype=object),
    "age": np.array([1.5, np.nan, -0.0, 1e300, 5e-324, 2.0]),
    "when": np.array(
        ["1970-01-01", "2024-02-29T12:00:00.7", "NaT", "1969-12-31T23:59:59.5", "2000-01-01", "2000-01-01"],
        dtype="datetime64[us]",
    ),
    "old": np.array([True, False, None, True, False, True], dtype=object),
}
Y = np.array([1.5, 2.25, 0.1, -3.0, 7.0, 1.0])
NEW = {name: np.concatenate([values, values[:2]]) for name, values in TABLE.items()}
NEW["state"][-2:] = ["??", "N"]
KINDS = ["one-hot", "helmert", "m-estimate", "hashing", "base-n"]


def encoder(kind, **options):
    return CategoricalEncoder(kind, sparse_output=False, **options).fit(TABLE, Y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"handle_missing": "prior", "handle_unknown": "zero"}])
def test_sql_says_the_same(kind, options):
    table = encoder(kind, **options).harden()
    if table.n_hashed:
        with pytest.raises(ExportError, match="no hash"):
            table.to_sql()
        return
    found = codes_in_duckdb(table, NEW)
    assert np.array_equal(found, table.transform(NEW), equal_nan=True)


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
@pytest.mark.parametrize("kind", KINDS)
def test_c_says_the_same(kind):
    table = encoder(kind).harden()
    codes, refused = codes_in_c(table, NEW)
    assert not refused.any()
    assert np.array_equal(codes, table.transform(NEW), equal_nan=True)


@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_c_refuses_what_transform_refuses():
    table = encoder("ordinal", handle_unknown="error").harden()
    assert codes_in_c(table, NEW)[1].tolist() == [0] * 6 + [1, 1]
    with pytest.raises(ExportError, match="cannot refuse"):
        table.to_sql()


def test_other_dialects_are_written():
    table = encoder("sum").harden()
    for dialect in ("postgres", "spark", "sqlite", "bigquery", "snowflake"):
        text = table.to_sql(dialect, keep=["state"], rename={"years": "age"}, table="people", pretty=False)
        assert text.startswith("SELECT ") and "years" in text and text.endswith("AS hg_rows")


def test_names_that_an_engine_confuses_are_refused():
    table = CategoricalEncoder("ordinal").fit({"a": ["x"], "A": ["y"]}).harden()
    with pytest.raises(ExportError, match="ignores case"):
        table.to_sql("duckdb")
    assert '"A"' in table.to_sql("postgres")
    table = CategoricalEncoder("one-hot").fit({"c": ["x", "X"]}).harden()
    with pytest.raises(ExportError, match="two outputs"):
        table.to_sql("duckdb")
    with pytest.raises(ParameterError, match="no keyword"):
        table.to_c("double")


def test_sparse_and_dense_are_the_same():
    for kind in KINDS:
        table = encoder(kind).harden()
        assert np.array_equal(
            table.transform(NEW, sparse=True).toarray(), table.transform(NEW), equal_nan=True
        )


def test_hashes_do_not_depend_on_the_process():
    assert [category_hash(text, 8) for text in ("", "NY", "é")] == [0, 4, 6]


def test_columns_are_found_by_name():
    table = encoder("ordinal").harden()
    reversed_columns = {name: NEW[name] for name in reversed(NEW)}
    assert np.array_equal(table.transform(reversed_columns), table.transform(NEW), equal_nan=True)
    with pytest.raises(SchemaError, match="expects column 'state'"):
        table.transform({"age": [1.0], "sate": ["NY"]})


@pytest.mark.parametrize(
    "change",
    [
        {"features": ("a", "a")}, {"features": ("a",)}, {"width": np.array([1, 1, 9], dtype=np.int32)},
        {"start": np.zeros(3, dtype=np.int32)},
        {"place": np.array([99], dtype=np.int32)}, {"code": np.array([np.nan])}, {"refused": ((True, 0),) * 3},
        {"width": np.array([1.0, 1.0, 1.0])}, {"n_hashed": 3},
    ],
)  # fmt: skip
def test_broken_tables_are_refused(change):
    table = CategoricalEncoder("one-hot").fit({"a": ["x"], "b": [1.0], "c": ["y", "y"][:1]}).harden()
    with pytest.raises(ArtifactError):
        dataclasses.replace(table, **change)


def test_codes_of_a_column():
    table = CategoricalEncoder("ordinal").fit({"c": ["b", "a", None]}).harden()
    assert isinstance(table, CategoryTable)
    assert table.column_codes(0).tolist() == [[2.0], [1.0], [0.0], [3.0]]
    assert table.distinct_codes() == {"c": 2}
