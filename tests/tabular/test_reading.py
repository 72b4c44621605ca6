import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.tabular import read_table

TABLE = pa.table({"n": [1, 2, 3], 'text "q"': ["ä", None, ""]})


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "store.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE people AS SELECT 31 AS age, 'NY' AS state")
        connection.execute('CREATE TABLE "odd ""name" AS SELECT 1 AS a')
        connection.execute("CREATE SCHEMA s")
        connection.execute("CREATE VIEW s.v AS SELECT 7 AS z")
    return path


@pytest.mark.parametrize("ending", ["parquet", "pq", "arrow", "feather", "ipc", "stream.arrow"])
def test_files(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    if ending in ("parquet", "pq"):
        pq.write_table(TABLE, path)
    elif ending == "feather":
        pyarrow.feather.write_feather(TABLE, path)
    else:
        make = pa.ipc.new_stream if ending == "stream.arrow" else pa.ipc.new_file
        with make(path, TABLE.schema) as writer:
            writer.write_table(TABLE)
    assert read_table(path).equals(TABLE)
    assert read_table(str(path), columns=['text "q"']).column_names == ['text "q"']
    with pytest.raises(DataError, match="no column 'N'"):
        read_table(path, columns=["N"])


def test_csv(tmp_path):
    path = tmp_path / "TABLE.CSV"
    path.write_text("a,b\n1,?\n")
    assert read_table(path, missing=["?"], text=["a"]).to_pydict() == {"a": ["1"], "b": [None]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, dict, pa.table])
def test_tables_in_memory(make):
    assert read_table(make({"a": [1, 2]}), columns=["a"])["a"].to_pylist() == [1, 2]


def test_bundled():
    table = read_table("bundled", columns=["income_over_50k", "age"])
    assert table.shape == (40_000, 2)


def test_a_query_of_any_source(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    assert read_table(path, query="SELECT n + 1 AS m FROM data WHERE n > 1").to_pydict() == {"m": [3, 4]}
    assert read_table(None, query=f"SELECT max(n) AS m FROM '{path}'").to_pydict() == {"m": [3]}
    assert read_table(TABLE, query="SELECT n, n AS k FROM data", columns=["k"]).column_names == ["k"]


def test_duckdb(database):
    assert read_table(database, table="people").to_pydict() == {"age": [31], "state": ["NY"]}
    assert read_table(database, table='odd "name').to_pydict() == {"a": [1]}
    assert read_table(database, table="people", columns=["state"]).column_names == ["state"]
    assert read_table(f"{database}::s.v").to_pydict() == {"z": [7]}
    assert read_table(f"{database}::SELECT age + 1 AS next FROM people").to_pydict() == {"next": [32]}
    assert read_table(database, query="SELECT 1 AS x").to_pydict() == {"x": [1]}


def test_a_database_of_one_table_needs_no_name(tmp_path):
    path = tmp_path / "store.db"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    assert read_table(path).to_pydict() == {"a": [1]}


def test_duckdb_errors(database, tmp_path):
    with pytest.raises(DataError, match="several tables: 'odd \"name', 'people', 's.v'. Name one"):
        read_table(database)
    with pytest.raises(DataError, match="no table 'poeple'.*Did you mean 'people'"):
        read_table(database, table="poeple")
    with pytest.raises(DataError, match="no column 'Age'.*Did you mean 'age'"):
        read_table(database, table="people", columns=["Age"])
    with pytest.raises(DataError, match="could not run the query 'SELECT nope FROM people'"):
        read_table(database, query="SELECT nope FROM people")
    with pytest.raises(DataError, match="Expected"):
        read_table(TABLE, query="CREATE TABLE x (a INT)")
    with pytest.raises(DataError, match="no rows"):
        read_table(database, query="SELECT age FROM people WHERE age > 99")
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(DataError, match="holds no tables"):
        read_table(tmp_path / "empty.duckdb")


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (TABLE, {"table": "t"}),
        (None, {}),
        ("a.duckdb::t", {"table": "t"}),
        (TABLE, {"query": "SELECT 1", "table": "t"}),
    ],
)
def test_options_that_do_not_fit(source, options):
    with pytest.raises(ParameterError):
        read_table(source, **options)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather", "t.duckdb"])
def test_damaged_files_are_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"PAR1 this is none")
    with pytest.raises(DataError, match=f"{name} is no .*, or is damaged"):
        read_table(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"{name} is empty"):
        read_table(path)


def test_a_truncated_file_is_damaged(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_table(path)


def test_files_that_are_not_there_or_not_known(tmp_path):
    (tmp_path / "loans.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="no file .*lons.csv.* Did you mean 'loans.csv'"):
        read_table(tmp_path / "lons.csv")
    with pytest.raises(DataError, match="no file"):
        read_table(tmp_path / "nowhere" / "loans.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"Expected a name that ends with .csv"):
        read_table(tmp_path / "t.xlsx")


def test_no_rows_and_equal_names(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE.slice(0, 0), path)
    with pytest.raises(DataError, match=r"t.parquet has no rows"):
        read_table(path)
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(DataError, match="same name: 'a'"):
        read_table(path)
    with pytest.raises(DataError, match="same name"):
        read_table(None, query="SELECT * FROM (SELECT 1 AS a) x, (SELECT 2 AS a) y")
