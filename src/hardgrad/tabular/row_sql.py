"""Raw columns in SQL: what every export of an artifact over tables to SQL shares. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlglot import exp

from hardgrad.core.errors import ExportError, ParameterError, suggestion
from hardgrad.export.sql import SqlDialect
from hardgrad.tabular.schema import ColumnKind

Maker = Callable[[], exp.Expr]


def physical_names(
    expected: Sequence[str], used: Iterable[int], dialect: SqlDialect, rename: Mapping[str, str]
) -> list[str]:
    """Return the name in the table of every raw column, and refuse names that the engine would confuse.

    Parameters
    ----------
    expected : names of the columns that the artifact takes.
    used : positions of those that the query refers to.
    rename : column of the table -> column of the artifact, where they differ.

    Raises
    ------
    ParameterError : `rename` names a column that the artifact does not have, or one twice.
    ExportError : the engine cannot tell two of the columns apart.
    """
    unknown = [name for name in rename.values() if name not in expected]
    if unknown or len(set(rename.values())) < len(rename):
        what = f"{unknown[0]!r} is not a column of the model" if unknown else "two columns get one name"
        hint = suggestion(unknown[0], expected) if unknown else ""
        raise ParameterError(
            f"rename maps columns of the table to columns of the model {list(expected)}, but {what}.{hint}"
        )
    found = {model: name for name, model in rename.items()}
    names = [found.get(name, name) for name in expected]
    seen: dict[str, str] = {}
    for i in sorted(used):
        other = seen.setdefault(names[i].lower() if dialect.folds_column_case else names[i], names[i])
        if other != names[i]:
            raise ExportError(
                f"{dialect.name} cannot tell the columns {other!r} and {names[i]!r} apart: it ignores case. "
                "Rename one of them in the table and pass rename={'new name': 'name in the model'}."
            )
    return names


def plain_number(kind: ColumnKind, raw: Maker, dialect: SqlDialect) -> exp.Expr:
    """Write a numeric, boolean or date/time column as a double, NULL where missing."""
    if kind == "datetime":
        return dialect.epoch_seconds(raw)
    if kind == "boolean":
        return dialect.boolean_as_double(raw())
    return dialect.nan_as_null(dialect.double(raw()))


def is_one_of(categories: Iterable[str], raw: Maker, dialect: SqlDialect) -> exp.Expr | None:
    """Test whether a categorical column is one of some categories; None where the engine can hold none of them."""
    texts = [text for category in categories if (text := dialect.text(category)) is not None]
    return exp.In(this=dialect.exact_text(raw()), expressions=texts) if texts else None
