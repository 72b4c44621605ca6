"""Scoring where the data is: the exported SELECT run in DuckDB (embedded) or in Spark. Never imports torch.

Rows go from the source to the result inside the engine; with `.._to_parquet` they never pass through Python. The query itself is
`hardgrad.trees.export_sql`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hardgrad.core.errors import DataError, SchemaError
from hardgrad.core.files import WriteError, atomic_path
from hardgrad.tabular.schema import ColumnKind, TableSchema
from hardgrad.trees.export_sql import Outputs, to_sql
from hardgrad.trees.forest import Forest

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Keep = Sequence[str] | Literal["all"]

SPARK_SETTINGS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.subexpressionElimination.enabled": "false",
}
"""Session settings under which Spark plans a large forest several times faster; the answers are the same without them."""

_NUMBER_TYPES = re.compile(
    r"(U?(tiny|small|big|huge)?int(eger)?|float|double|real|decimal|boolean|\"?null|void)\b", re.I
)
_INSTANT_TYPES = re.compile(r"date|timestamp|\"?null|void", re.I)
_OTHER_THAN_TEXT = re.compile(r"date|time|interval|blob|binary|struct|map|array|union|.*\]$", re.I)


def score_duckdb(
    forest: Forest,
    source: Any,
    *,
    keep: Keep = (),
    outputs: Outputs = "prediction",
    leaves: bool = False,
    rename: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> pa.Table:
    """Score a table in DuckDB and return the result.

    Parameters
    ----------
    forest : the forest to score with.
    source : path of a Parquet file (or a pattern such as `parts/*.parquet`), a PyArrow table, dataset or record batch reader, or any
        data frame that narwhals reads.
    keep : columns of the source to hand through before the outputs, or "all".
    outputs, leaves, rename : see `hardgrad.trees.export_sql.to_sql`.
    threads : threads of DuckDB, all cores by default.

    Returns
    -------
    A PyArrow table with a row for every row of the source, in its order.

    Raises
    ------
    SchemaError : a column is missing or has a type of another kind than in training.
    DataError : the source cannot be read.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> score_duckdb(forest_from_trees([tree], ["age"]), pa.table({"age": [1, 2, None]}))["prediction"].to_pylist()
    [0.0, 2.0, 2.0]
    """
    import duckdb

    with _connect(threads) as connection:
        query = _duckdb_query(connection, forest, source, keep, outputs, leaves, rename)
        try:
            return connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise _unscored("DuckDB", error) from error


def score_duckdb_to_parquet(
    forest: Forest,
    source: Any,
    path: str | os.PathLike[str],
    *,
    keep: Keep = (),
    outputs: Outputs = "prediction",
    leaves: bool = False,
    rename: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> int:
    """Score a table in DuckDB straight into a Parquet file, in memory that does not grow with the table, and return the number of rows.

    Parameters
    ----------
    path : the Parquet file to write, whole or not at all.
    forest, source, keep, outputs, leaves, rename, threads : see `score_duckdb`.

    Raises
    ------
    SchemaError, DataError : see `score_duckdb`.
    WriteError : the file cannot be written.
    """
    import duckdb

    with _connect(threads) as connection:
        query = _duckdb_query(connection, forest, source, keep, outputs, leaves, rename)
        with atomic_path(path) as temporary:
            try:
                done = connection.execute(
                    f"COPY ({query}) TO {_literal(str(temporary))} (FORMAT parquet, COMPRESSION zstd)"
                )
                (rows,) = done.fetchall()[0]
            except duckdb.IOException as error:
                raise WriteError(
                    f"cannot write {path}: {_first_line(error)}. Nothing was left behind."
                ) from error
            except duckdb.Error as error:
                raise _unscored("DuckDB", error) from error
    return int(rows)


def _connect(threads: int | None) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    if threads is not None:
        connection.execute(f"SET threads = {int(threads)}")
    return connection


def _duckdb_query(
    connection: duckdb.DuckDBPyConnection,
    forest: Forest,
    source: Any,
    keep: Keep,
    outputs: Outputs,
    leaves: bool,
    rename: Mapping[str, str] | None,
) -> str:
    import duckdb

    relation = _duckdb_source(connection, source)
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    except duckdb.Error as error:
        raise DataError(f"DuckDB cannot read the table: {_first_line(error)}.") from error
    types = {str(name): str(kind) for name, kind, *_ in described}
    found = check_types(forest.schema, types, rename or {})
    replaced = []
    for column, name in zip(forest.schema.columns, found, strict=True):
        quoted = '"' + name.replace('"', '""') + '"'
        if column.kind == "categorical" and types[name] in ("DOUBLE", "FLOAT"):
            number = f"NULLIF(CAST({quoted} AS DOUBLE), CAST('NaN' AS DOUBLE))"
            whole = f"CAST(CAST({number} AS HUGEINT) AS VARCHAR)"
            is_whole = f"ABS({number}) < 1E18 AND {number} = TRUNC({number})"
            replaced.append(
                f"CASE WHEN {is_whole} THEN {whole} ELSE CAST({number} AS VARCHAR) END AS {quoted}"
            )
        elif types[name] == "TIMESTAMPTZ_NS":
            replaced.append(f"TIMEZONE('UTC', {quoted}) AS {quoted}")
    if replaced:
        relation = f"(SELECT * REPLACE ({', '.join(replaced)}) FROM {relation})"
    kept = list(types) if keep == "all" else list(keep)
    _check_kept(kept, types)
    return to_sql(
        forest,
        "duckdb",
        table=relation,
        keep=kept,
        outputs=outputs,
        leaves=leaves,
        rename=rename,
        pretty=False,
    )


def _duckdb_source(connection: duckdb.DuckDBPyConnection, source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if "*" not in path and "://" not in path and not Path(path).exists():
            raise DataError(f"cannot read {path}: there is no such file. Expected a Parquet file.")
        return f"READ_PARQUET({_literal(path)})"
    import pyarrow as pa
    import pyarrow.dataset as ds

    if not isinstance(source, (pa.Table, pa.RecordBatchReader, ds.Dataset)):
        import narwhals.stable.v2 as nw

        try:
            frame: Any = nw.from_native(source)
        except TypeError:
            raise DataError(
                f"got a {type(source).__name__}; expected a path, a PyArrow table or dataset, or a data frame."
            ) from None
        source = (frame.collect() if hasattr(frame, "collect") else frame).to_arrow()
    connection.register("hardgrad_source", source)
    return "hardgrad_source"


def check_types(schema: TableSchema, types: Mapping[str, str], rename: Mapping[str, str]) -> list[str]:
    """Match the columns of an engine's table with the raw columns of a model.

    Parameters
    ----------
    schema : the raw columns of the model.
    types : column of the table -> the engine's name of its type.
    rename : column of the table -> column of the model.

    Returns
    -------
    The name in the table of every column of the model, in the model's order.

    Raises
    ------
    SchemaError : a column is missing or has a type of another kind than in training.
    """
    by_model = {rename.get(name, name): name for name in types}
    schema.raw_columns({name: [] for name in by_model})  # raises what encode() would raise
    found = [by_model[column.name] for column in schema.columns]
    for column, name in zip(schema.columns, found, strict=True):
        if not _fits(column.kind, types[name]):
            raise SchemaError(
                f"column {name!r} is {column.kind} in the model, but the table has it as {types[name]}. "
                "Convert the column in the table."
            )
    return found


def _fits(kind: ColumnKind, sql_type: str) -> bool:
    if kind == "categorical":
        return not _OTHER_THAN_TEXT.match(sql_type)
    return bool((_INSTANT_TYPES if kind == "datetime" else _NUMBER_TYPES).match(sql_type))


def _check_kept(keep: Iterable[str], present: Iterable[str]) -> None:
    known = list(present)
    for name in keep:
        if name not in known:
            raise SchemaError(f"the column to keep {name!r} is not in the table; it has {known}.")


def score_spark(
    forest: Forest,
    source: Any,
    *,
    spark: Any = None,
    keep: Keep = (),
    outputs: Outputs = "prediction",
    leaves: bool = False,
    rename: Mapping[str, str] | None = None,
) -> Any:
    """Score a Spark data frame or Parquet files in Spark and return a lazy Spark data frame.

    Parameters
    ----------
    forest : the forest to score with.
    source : a Spark data frame, or a path that Spark reads as Parquet.
    spark : the session to use; by default that of the data frame, the active one, or a new local one.
    keep, outputs, leaves, rename : see `score_duckdb`.

    Raises
    ------
    SchemaError : a column is missing or has a type of another kind than in training.
    DataError : Spark is not installed, or the source cannot be read.
    """
    session = spark or getattr(source, "sparkSession", None) or _spark_session()
    if isinstance(source, (str, os.PathLike)):
        try:
            source = session.read.parquet(os.fspath(source))
        except Exception as error:  # pyspark's errors are of many classes
            raise DataError(
                f"Spark cannot read {os.fspath(source)} as Parquet: {_first_line(error)}"
            ) from error
    types = dict(source.dtypes)
    found = check_types(forest.schema, types, rename or {})
    for column, name in zip(forest.schema.columns, found, strict=True):
        if column.kind == "categorical" and types[name] in ("double", "float"):
            source = source.withColumn(name, _spark_whole_text(name))
    kept = list(types) if keep == "all" else list(keep)
    _check_kept(kept, types)
    place = f"hardgrad_{uuid.uuid4().hex}"
    query = to_sql(
        forest, "spark", table=place, keep=kept, outputs=outputs, leaves=leaves, rename=rename, pretty=False
    )
    # Spark puts the frame where its name stands in braces; every other brace is doubled to stay a brace.
    return session.sql(query.replace("{", "{{").replace("}", "}}").replace(place, "{source}"), source=source)


def _spark_whole_text(name: str) -> Any:
    from pyspark.sql import functions as F

    number = F.col("`" + name.replace("`", "``") + "`").cast("double")
    is_whole = (F.abs(number) < 1e18) & (number == F.floor(number))
    text = F.when(is_whole, number.cast("bigint").cast("string")).otherwise(number.cast("string"))
    return F.when(~F.isnan(number), text)


def score_spark_to_parquet(
    forest: Forest,
    source: Any,
    path: str | os.PathLike[str],
    *,
    spark: Any = None,
    keep: Keep = (),
    outputs: Outputs = "prediction",
    leaves: bool = False,
    rename: Mapping[str, str] | None = None,
) -> int:
    """Score in Spark into a folder of Parquet files, as Spark writes them, and return the number of rows.

    Parameters
    ----------
    path : the folder to write; it must not exist. A local one is written whole or not at all.
    forest, source, spark, keep, outputs, leaves, rename : see `score_spark`.

    Raises
    ------
    SchemaError, DataError : see `score_spark`.
    WriteError : the folder exists or cannot be written.
    """
    session = spark or getattr(source, "sparkSession", None) or _spark_session()
    frame = score_spark(
        forest, source, spark=session, keep=keep, outputs=outputs, leaves=leaves, rename=rename
    )
    target = os.fspath(path)
    remote = "://" in target
    if not remote and Path(target).exists():
        raise WriteError(f"cannot write {target}: it exists. Remove it or choose another name.")
    writing = target if remote else str(Path(target).with_name(f".{Path(target).name}.{os.getpid()}.tmp"))
    try:
        frame.write.parquet(writing)
        if not remote:
            os.replace(writing, target)
    except Exception as error:  # pyspark's errors are of many classes
        if not remote:
            import shutil

            shutil.rmtree(writing, ignore_errors=True)
        raise WriteError(f"cannot write {target}: {_first_line(error)}") from error
    return int(session.read.parquet(target).count())


def _spark_session() -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise DataError(
            "Spark is not installed. Run: pip install 'hardgrad[spark]' (it needs Java 17)."
        ) from None
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    builder = SparkSession.builder.master("local[*]").appName("hardgrad")
    quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
    for key, value in (quiet | SPARK_SETTINGS).items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # no Java: a PySparkRuntimeError of varying class
        raise DataError(
            f"Spark does not start: {_first_line(error)} Java 17 is needed; is it installed?"
        ) from error


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _unscored(engine: str, error: BaseException) -> DataError:
    return DataError(f"{engine} could not score the table: {_first_line(error)}.")
