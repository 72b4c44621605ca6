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
from sql_checks import assert_exact, forest_cases

from hardgrad.trees.export_sql import to_sql
from hardgrad.trees.forest import Forest
from hardgrad.trees.probe import generate_rows, to_arrow

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'hardgrad[test]'")
CASES = forest_cases()


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
