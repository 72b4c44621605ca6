"""The exported SELECT in a real PostgreSQL server that this module starts for itself, never as root."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sql_checks import assert_exact, chain, extreme_forest, forest_cases, weighted_cases

from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.forest_build import forest_from_trees
from hardgrad.trees.probe import generate_rows, random_forest, to_arrow

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'hardgrad[test]'")
pytestmark = pytest.mark.server
CASES = forest_cases()
STEP = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}


def find_server() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("pg_ctl")
    folders += [Path(found).resolve().parent] if found else []
    usable = [folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    if not usable:
        pytest.skip("no PostgreSQL server is installed (initdb and pg_ctl): apt-get install postgresql")
    return usable[-1]


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    """A connection to a fresh server on a unix socket in a temporary folder; nothing listens on the network."""
    programs = find_server()
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    folder = Path(tempfile.mkdtemp(prefix="hardgrad-pg-"))
    # A folder of its own in the system's place for temporary files: the path of a unix socket is at most 107 bytes.
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            shutil.chown(folder, user)
        except LookupError:
            pytest.skip("PostgreSQL refuses to run as root and there is no user 'postgres'")
        owner = {"user": user, "cwd": "/"}

    def run(*command: str) -> None:
        done = subprocess.run(
            [str(programs / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if command[0] == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=False,
            **owner,
        )
        assert done.returncode == 0, f"{command[0]} failed: {done.stdout!r}"

    data = str(folder / "data")
    try:
        run(
            "initdb",
            "-D",
            data,
            "-U",
            user,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        settings = f"-c listen_addresses='' -k {folder} -c fsync=off -c jit=off -c timezone=America/New_York"
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", settings, "start")
        try:
            with psycopg.connect(host=str(folder), user=user, dbname="postgres", autocommit=True) as opened:
                yield opened
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(connection: Any, rows: dict[str, np.ndarray], forest: Forest, **types: str) -> dict[str, np.ndarray]:
    """Copy rows into the table `data`; returns the rows as the table holds them (no text with the character of code 0)."""
    kinds = {
        "numeric": "double precision",
        "boolean": "boolean",
        "categorical": "text",
        "datetime": "timestamp",
    } | types
    quoted = ['"' + c.name.replace('"', '""') + '" ' + kinds[c.kind] for c in forest.schema.columns]
    connection.execute("DROP TABLE IF EXISTS data")
    connection.execute(f"CREATE TABLE data (hg_order int, {', '.join(quoted)})")
    columns = [column.to_pylist() for column in to_arrow(rows, forest.schema).columns]
    with connection.cursor().copy("COPY data FROM STDIN") as copy:
        for i, row in enumerate(zip(*columns, strict=True)):
            copy.write_row((i, *row))
    return rows


def run(connection: Any, forest: Forest, **options: Any) -> list[tuple[Any, ...]]:
    query = to_sql(forest, "postgres", keep=["hg_order"], **options)
    result = sorted(connection.execute(query).fetchall())
    return list(zip(*result, strict=True))[1:]


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_equals_reference(connection: Any, case: str, leaves: bool) -> None:
    forest = CASES[case]
    rows = load(connection, generate_rows(forest, 1000, random_state=2), forest)
    assert_exact(forest, rows, run(connection, forest, leaves=leaves), "postgres", leaves=leaves)


@pytest.mark.parametrize("case", weighted_cases())
def test_real_sums_keep_their_order(connection: Any, case: str) -> None:
    """PostgreSQL raises an error where a product over- or underflows, so that huge and tiny numbers stay away."""
    forest = weighted_cases()[case]
    rows = generate_rows(forest, 1000, random_state=2)
    for column in forest.schema.columns:
        if column.kind == "numeric":
            size = np.abs(rows[column.name])
            rows[column.name][(size > 1e100) & np.isfinite(size) | (size < 1e-100)] = 1.0
    rows = load(connection, rows, forest)
    for leaves in (True, False):
        assert_exact(forest, rows, run(connection, forest, leaves=leaves), "postgres", leaves=leaves)


def test_a_missing_value_that_is_weighed_gives_null(connection: Any) -> None:
    plane = {"linear": [(0, 0.5)], "threshold": 1.0, "left": {"value": 0.0}, "right": {"value": 2.0}}
    forest = forest_from_trees([plane], ["x"])
    load(connection, {"x": np.array([1.0, np.nan, 3.0])}, forest)
    assert run(connection, forest, outputs="prediction") == [(0.0, None, 2.0)]


@pytest.mark.parametrize("seed", range(5))
def test_any_forest(connection: Any, seed: int) -> None:
    forest = random_forest(seed + 100, n_trees=4, max_depth=4, n_outputs=1 + seed % 3)
    rows = load(connection, generate_rows(forest, 1000, random_state=seed), forest)
    assert_exact(forest, rows, run(connection, forest, leaves=True), "postgres")


def test_extreme_numbers_and_deep_trees(connection: Any) -> None:
    deep = forest_from_trees([chain(40, seed) for seed in range(5)], ["a", "b", "c"])
    for forest in (extreme_forest(), deep):
        rows = load(connection, generate_rows(forest, 500), forest)
        for leaves in (False, True):
            assert_exact(forest, rows, run(connection, forest, leaves=leaves), "postgres", leaves=leaves)


def test_scores_whose_exponential_over_or_underflows(connection: Any) -> None:
    """PostgreSQL raises an error where exp is 0 or infinite: the query never asks for one."""
    for n, link in ((1, "sigmoid"), (3, "softmax")):
        trees = [
            STEP
            | {"threshold": float(t), "left": {"value": [-v] * n}, "right": {"value": [v] + [-v] * (n - 1)}}
            for t, v in enumerate((1.0, 40.0, 400.0, 709.782712893384, 5000.0))
        ]
        classes = tuple(range(max(n, 2)))
        forest = forest_from_trees(trees, ["x"], task="classification", link=link, classes=classes)
        rows = load(connection, {"x": np.arange(-1.0, 7.0)}, forest)
        assert_exact(forest, rows, run(connection, forest, leaves=True), "postgres")


@pytest.mark.parametrize(
    ("kind", "literals", "values"),
    [
        ("smallint", ["1", "2", "NULL"], [1, 2, None]),
        ("bigint", ["4611686018427387905", "-1"], [4611686018427387905, -1]),
        ("real", ["1.5", "1.5000001", "'NaN'"], [1.5, 1.5000001192092896, None]),
        ("numeric", ["1.5", "1.50000000000000000001", "'NaN'"], [1.5, 1.5, None]),
    ],
)
def test_types_of_numbers(connection: Any, kind: str, literals: list[str], values: list[Any]) -> None:
    forest = forest_from_trees([STEP], ["x"])
    assert scored(connection, forest, "x", kind, literals) == forest.predict({"x": values}).tolist()


def scored(connection: Any, forest: Forest, name: str, kind: str, literals: list[str]) -> list[float]:
    connection.execute("DROP TABLE IF EXISTS data")
    connection.execute(f"CREATE TABLE data (i int, {name} {kind})")
    rows = ", ".join(f"({i}, {literal})" for i, literal in enumerate(literals))
    connection.execute(f"INSERT INTO data VALUES {rows}")
    query = to_sql(forest, "postgres", keep=["i"], outputs="prediction")
    return [value for _, value in sorted(connection.execute(query).fetchall())]


@pytest.mark.parametrize("threshold", [-86400.0, -1.0, 0.0, 0.5, 1.0, 18000.0])
def test_types_of_instants(connection: Any, threshold: float) -> None:
    """The session is in New York: a timestamp without a zone is UTC all the same, one with a zone is its instant."""
    schema = TableSchema((Column("at", "datetime"),), (Feature("at", 0),))
    forest = forest_from_trees([STEP | {"threshold": threshold}], schema)
    moments = {
        "timestamp": [("'1970-01-01 00:00:01.999999'", 1), ("'1969-12-31 23:59:59.5'", -1), ("NULL", None)],
        "timestamptz": [
            ("'1970-01-01 00:00:00+00'", 0),
            ("'1970-01-01 00:00:00'", 18000),
            ("'1969-12-31 23:59:59.5Z'", -1),
        ],
        "date": [("'1970-01-01'", 0), ("'1969-12-31'", -86400), ("'0044-03-15 BC'", -63_549_532_800)],
    }
    for kind, cases in moments.items():
        expected = [0.0 if seconds is not None and seconds <= threshold else 2.0 for _, seconds in cases]
        assert scored(connection, forest, "at", kind, [literal for literal, _ in cases]) == expected


def test_categories_of_other_types_and_collations(connection: Any) -> None:
    connection.execute(
        "CREATE COLLATION IF NOT EXISTS hg_nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    )
    for kind, literals, expected in (
        ("text COLLATE hg_nocase", ["'a'", "'A'", "'a '", "NULL", "'true'"], [0.0, 2.0, 2.0, 2.0, 0.0]),
        ("varchar(9)", ["'a'", "'A'", "'a '"], [0.0, 2.0, 2.0]),
        ("int", ["7", "8", "NULL"], [0.0, 2.0, 2.0]),
        ("boolean", ["true", "false", "NULL"], [0.0, 2.0, 2.0]),
    ):
        schema = TableSchema(
            (Column("c", "categorical", ("7", "a", "true")),),
            (Feature("c", 0, "codes", (1.0, 1.0, 1.0, 2.0)),),
        )
        assert scored(connection, forest_from_trees([STEP], schema), "c", kind, literals) == expected
