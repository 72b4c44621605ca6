"""The columns of a user's table that an exported query reads: names that the engine can tell apart. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping

from hardgrad.core.errors import ExportError, ParameterError, suggestion
from hardgrad.export.sql import SqlDialect
from hardgrad.trees.forest import Forest


def physical_names(forest: Forest, dialect: SqlDialect, rename: Mapping[str, str]) -> list[str]:
    """Return the name in the table of every raw column, and refuse names that the engine would confuse."""
    expected = forest.schema.names
    unknown = [name for name in rename.values() if name not in expected]
    if unknown or len(set(rename.values())) < len(rename):
        what = f"{unknown[0]!r} is not a column of the model" if unknown else "two columns get one name"
        hint = suggestion(unknown[0], expected) if unknown else ""
        raise ParameterError(
            f"rename maps columns of the table to columns of the model {list(expected)}, but {what}.{hint}"
        )
    found = {model: name for name, model in rename.items()}
    used = {forest.schema.features[f].column for f in forest.used_features()}
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
