"""A query that grows: a stack of SELECTs over one table. Knows nothing about models; never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from hardgrad.export.sql import SqlDialect, column, integer, parse_table

Items = dict[str, exp.Expr]


class SqlQuery:
    """A stack of SELECTs, each over the one before, and the names that the topmost offers.

    Parameters
    ----------
    dialect : how the engine writes things.
    table : what stands after FROM below the stack.
    """

    def __init__(self, dialect: SqlDialect, table: str) -> None:
        self.dialect = dialect
        self.names: list[str] = []
        self.prefix = "hg"
        while self.prefix + "_" in table.lower():
            self.prefix += "x"
        self.source = parse_table(table, dialect, f"{self.prefix}_rows")
        self._layers: list[tuple[str, exp.Select, bool]] = []

    def layer(
        self, name: str, new: Items, *, carry: Iterable[str] | None = None, reused: bool = True
    ) -> None:
        """Put a SELECT on the stack.

        Parameters
        ----------
        name : what the SELECT computes.
        new : the columns that it computes; one that exists is replaced.
        carry : the names to hand through from below, all by default.
        reused : whether a column of it is used more than once above, so that a planner must not copy the expression.
        """
        carried = [n for n in (self.names if carry is None else carry) if n not in new]
        items: Items = {n: column(n) for n in carried} | new
        if not items:
            items = {"no_columns": integer(0)}  # a SELECT needs a column
        select = self._select([_alias(e, n) if not _is_name(e, n) else e for n, e in items.items()])
        self._layers.append(
            (f"{self.prefix}_{name}", self.dialect.fence(select) if reused else select, reused)
        )
        self.names = list(items)

    def _select(self, expressions: Sequence[exp.Expr]) -> exp.Select:
        below: exp.Expr = self.source
        if self._layers:
            below = exp.Table(this=exp.Identifier(this=self._layers[-1][0], quoted=False))
        return exp.Select(expressions=list(expressions)).from_(below, copy=False)

    def finish(self, items: Sequence[tuple[str, exp.Expr]]) -> None:
        """Put the outermost SELECT on the stack; its names are quoted."""
        expressions = [exp.Alias(this=e, alias=exp.Identifier(this=n, quoted=True)) for n, e in items]
        self._layers.append(("", self._select(expressions), False))

    def text(self, pretty: bool) -> str:
        """Return the query."""
        *inner, (_, query, _) = self._layers
        for name, select, reused in inner:
            query.with_(
                name, as_=select, materialized=self.dialect.materialized() if reused else None, copy=False
            )
        # sqlglot indents line by line: a line break inside a name or a string must not be one.
        plain = (
            query.sql(self.dialect.sqlglot_name, copy=False) if not pretty or self._has_line_break() else None
        )
        return plain or query.sql(self.dialect.sqlglot_name, pretty=True, copy=False)

    def texts(self) -> Iterable[str]:
        """Return the user's texts that may stand in the query."""
        return self.names

    def _has_line_break(self) -> bool:
        return any("\n" in text or "\r" in text for text in self.texts())

    def raw(self, name: str) -> exp.Expr:
        """Refer to a column of the user's table."""
        table = exp.Identifier(this=f"{self.prefix}_rows", quoted=False)
        return exp.Column(this=self.dialect.identifier(name), table=table)


def _alias(expression: exp.Expr, name: str) -> exp.Expr:
    return exp.Alias(this=expression, alias=exp.Identifier(this=name, quoted=False))


def _is_name(expression: exp.Expr, name: str) -> bool:
    return isinstance(expression, exp.Column) and not expression.args.get("table") and expression.name == name
