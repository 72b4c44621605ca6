"""Exact SQL: expressions on sqlglot that mean the same number in every engine. Knows nothing of forests.

`SqlDialect` says what is meant (a double, a whole second of UTC, "NaN is missing") and writes it as most engines do; a subclass in
`sql_dialects` states only how its engine differs. The functions here are plain building blocks. Running SQL is elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from hardgrad.core.errors import ExportError, ParameterError


def column(name: str) -> exp.Expr:
    """Refer to a column that an inner SELECT of ours made; such names need no quotes."""
    return exp.Column(this=exp.Identifier(this=name, quoted=False))


def call(name: str, *arguments: exp.Expr) -> exp.Expr:
    """Call a function by the very name that the engine knows."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def integer(value: int) -> exp.Expr:
    """Write a whole number."""
    literal = exp.Literal(this=str(abs(value)), is_string=False)
    return exp.Neg(this=literal) if value < 0 else literal


def scientific(value: float) -> str:
    """Write the shortest digits of a finite double >= 0 that read back to the same bits, always with an exponent.

    The exponent keeps engines from reading the literal as a DECIMAL.

    >>> scientific(0.1), scientific(5e-324), scientific(1e308)
    ('0.1E0', '5E-324', '1E+308')
    """
    digits = repr(value)
    return digits.upper() if "e" in digits else f"{digits}E0"


def negative(value: float) -> bool:
    """Tell whether the sign bit of a double is set: -0.0 is negative."""
    return math.copysign(1.0, value) < 0


def null() -> exp.Expr:
    """Write NULL."""
    return exp.Null()


def is_null(value: exp.Expr) -> exp.Expr:
    """Test for NULL."""
    return exp.Is(this=value, expression=exp.Null())


def parenthesised(value: exp.Expr) -> exp.Expr:
    """Put an operation in parentheses."""
    return exp.Paren(this=value) if isinstance(value, (exp.Binary, exp.Neg)) else value


def case(
    branches: Sequence[tuple[exp.Expr, exp.Expr]], otherwise: exp.Expr | None, of: exp.Expr | None = None
) -> exp.Expr:
    """Write CASE [of] WHEN .. THEN .. ELSE .. END; without branches it is just `otherwise`."""
    if not branches:
        return otherwise if otherwise is not None else null()
    ifs = [exp.If(this=condition, true=value) for condition, value in branches]
    return exp.Case(this=of, ifs=ifs, default=otherwise)


def choose(condition: exp.Expr, yes: exp.Expr, no: exp.Expr) -> exp.Expr:
    """Write CASE WHEN condition THEN yes ELSE no END; a NULL condition means no."""
    return case([(condition, yes)], no)


def at_most(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    """Compare left <= right."""
    return exp.LTE(this=left, expression=right)


def above(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    """Compare left > right."""
    return exp.GT(this=left, expression=right)


def left_sum(terms: Sequence[exp.Expr]) -> exp.Expr:
    """Add from left to right: ((a + b) + c) + d.

    No parentheses are written: `+` groups to the left in the grammar of every engine, so that they would name the tree that the parser
    builds anyway, and nested ones overflow the parser stack of SQLite.
    """
    total = terms[0]
    for term in terms[1:]:
        total = exp.Add(this=total, expression=parenthesised(term) if isinstance(term, exp.Neg) else term)
    return total


def weighted_sum(terms: Sequence[tuple[int, exp.Expr]]) -> exp.Expr:
    """Write an integer combination readably: 3 * a - b; nothing at all is 0."""
    total: exp.Expr | None = None
    for weight, value in terms:
        if weight == 0:
            continue
        size = abs(weight) if total is not None else weight
        product = value if size == 1 else exp.Mul(this=integer(size), expression=value)
        if total is None:
            total = product
        elif weight < 0:
            total = exp.Sub(this=total, expression=product)
        else:
            total = exp.Add(this=total, expression=product)
    return integer(0) if total is None else total


def step_function(
    value: Callable[[], exp.Expr],
    bounds: Sequence[exp.Expr],
    steps: Sequence[Hashable],
    write: Callable[[int], exp.Expr],
) -> exp.Expr:
    """Look up a step by binary search: the step number is how many of the increasing bounds are < value.

    Parameters
    ----------
    value : makes a reference to the value that is looked up; never NULL.
    bounds : n increasing literals.
    steps : n + 1 things; neighbours that are equal become one step.
    write : turns the number of a step into its expression.

    Returns
    -------
    A CASE whose depth is the logarithm of the number of distinct steps.
    """
    starts = [0] + [i for i in range(1, len(steps)) if steps[i] != steps[i - 1]]

    def search(low: int, high: int) -> exp.Expr:
        if low == high:
            return write(starts[low])
        middle = (low + high) // 2
        condition = at_most(value(), bounds[starts[middle + 1] - 1])
        return choose(condition, search(low, middle), search(middle + 1, high))

    return search(0, len(starts) - 1)


class SqlDialect:
    """How one engine writes what is meant. The base class is what most engines agree on, tested as DuckDB.

    Every expression that a method takes is used exactly once in its result unless the method takes a function that makes it.
    """

    name: ClassVar[str] = ""
    sqlglot_name: ClassVar[str] = ""
    folds_column_case: ClassVar[bool] = False
    """Whether two columns of one table cannot differ by case alone."""
    true_double: ClassVar[str] = "DOUBLE"
    text_type: ClassVar[str] = "TEXT"
    greatest: ClassVar[str] = "GREATEST"
    code_to_character: ClassVar[str] = "CHR"
    exact_collation: ClassVar[str] = ""
    """The collation that compares code points, where a column, a table or a session may have another one."""

    # --- literals ------------------------------------------------------------------------------------------------------------
    def number(self, value: float) -> exp.Expr:
        """Write a double that the engine reads back to the same bits."""
        if not math.isfinite(value):
            return self.special_number("NaN" if math.isnan(value) else "-inf" if value < 0 else "inf")
        literal = exp.Literal(this=scientific(abs(value)), is_string=False)
        return exp.Neg(this=literal) if negative(value) else literal

    def special_number(self, text: str) -> exp.Expr:
        """Write NaN or an infinity."""
        return self.double(exp.Literal.string(text))

    def text(self, value: str) -> exp.Expr | None:
        """Write a string, or return None where the engine cannot hold it: then no row can equal it."""
        try:
            value.encode()
        except UnicodeEncodeError:
            return None
        if "\0" not in value:
            return exp.Literal.string(value)
        return self.text_with_nul(value.split("\0"))

    def text_with_nul(self, parts: Sequence[str]) -> exp.Expr | None:
        """Write a string that has the character of code 0 between its parts: it may not stand in the text of a query."""
        pieces: list[exp.Expr] = [exp.Literal.string(parts[0])]
        for part in parts[1:]:
            pieces += [call(self.code_to_character, integer(0)), exp.Literal.string(part)]
        joined = pieces[0]
        for piece in pieces[1:]:
            joined = exp.DPipe(this=joined, expression=piece)
        return exp.Paren(this=joined)

    def truth(self, value: bool) -> exp.Expr:
        """Write TRUE or FALSE."""
        return exp.Boolean(this=value)

    # --- names ---------------------------------------------------------------------------------------------------------------
    def identifier(self, name: str) -> exp.Identifier:
        """Quote the name of a column of the user's table. Raises `ExportError` where the engine cannot have such a column."""
        if not name or "\0" in name:
            raise ExportError(
                f"{self.name} cannot have a column named {name!r}. Rename it in the table and pass rename=."
            )
        return exp.Identifier(this=name, quoted=True)

    def output_name(self, name: str) -> str:
        """Return the nearest name that a result column may have."""
        return name.replace("\0", "_") or "_"

    # --- conversions -----------------------------------------------------------------------------------------------------------
    def cast(self, value: exp.Expr, to: str) -> exp.Expr:
        """Write CAST(value AS to)."""
        return exp.Cast(this=value, to=exp.DataType.build(to, dialect=self.sqlglot_name))

    def double(self, value: exp.Expr) -> exp.Expr:
        """Convert a number to a double."""
        return self.cast(value, self.true_double)

    def whole(self, value: exp.Expr) -> exp.Expr:
        """Convert a number to a 64-bit integer."""
        return self.cast(value, "BIGINT")

    def nan_as_null(self, value: exp.Expr) -> exp.Expr:
        """Turn NaN into NULL; most engines say that NaN equals itself."""
        return exp.Nullif(this=value, expression=self.special_number("NaN"))

    def boolean_as_double(self, value: exp.Expr) -> exp.Expr:
        """Convert a truth value to 0.0 or 1.0, NULL to NULL."""
        return self.double(value)

    def exact_text(self, value: exp.Expr) -> exp.Expr:
        """Convert a category to text that `=` and IN compare by code points."""
        text = self.cast(value, self.text_type)
        if not self.exact_collation:
            return text
        return exp.Collate(this=text, expression=exp.Identifier(this=self.exact_collation, quoted=True))

    def epoch_seconds(self, value: Callable[[], exp.Expr]) -> exp.Expr:
        """Convert a DATE, a TIMESTAMP (taken as UTC) or a TIMESTAMP WITH TIME ZONE to whole seconds since 1970, floored, as a double."""
        raise NotImplementedError

    # --- arithmetic ------------------------------------------------------------------------------------------------------------
    def divide(self, value: exp.Expr, divisor: exp.Expr) -> exp.Expr:
        """Divide two doubles. `typed` and `safe` keep sqlglot from adding casts and tests for zero."""
        return exp.Div(this=parenthesised(value), expression=parenthesised(divisor), typed=True, safe=False)

    def maximum(self, values: Sequence[exp.Expr]) -> exp.Expr:
        """Return the greatest of some numbers, none NULL; in groups, because engines limit the arguments of a call."""
        level = list(values)
        while len(level) > 1:
            groups = [level[i : i + 50] for i in range(0, len(level), 50)]
            level = [group[0] if len(group) == 1 else call(self.greatest, *group) for group in groups]
        return level[0]

    # --- shape of the query ------------------------------------------------------------------------------------------------------
    def fence(self, select: exp.Select) -> exp.Select:
        """Keep the planner from copying the expressions of an inner SELECT into every place that uses them."""
        return select

    def materialized(self) -> bool | None:
        """What a common table expression says of being computed once: True, False, or None for nothing."""
        return None


def floored_division(
    value: Callable[[], exp.Expr], divisor: int, divide: Callable[[exp.Expr, exp.Expr], exp.Expr]
) -> exp.Expr:
    """Divide integers, rounding down, where % keeps the sign of the dividend: (v - ((v % d) + d) % d) / d, which leaves no rest."""
    inner = exp.Paren(this=exp.Mod(this=value(), expression=integer(divisor)))
    shifted = exp.Paren(this=exp.Add(this=inner, expression=integer(divisor)))
    rest = exp.Paren(this=exp.Mod(this=shifted, expression=integer(divisor)))
    return divide(exp.Paren(this=exp.Sub(this=value(), expression=rest)), integer(divisor))


def parse_table(table: str, dialect: SqlDialect, alias: str) -> exp.Expr:
    """Read what stands after FROM and give it an alias. Raises `ParameterError` for anything but one table, function or SELECT."""
    expected = "expected what stands after FROM: a name (quoted if it is unusual), a function or a SELECT in parentheses"
    try:
        select = parse_one(f"SELECT * FROM {table}", dialect=dialect.sqlglot_name)
    except SqlglotError as error:
        raise ParameterError(
            f"got table={table!r} for {dialect.name}; {expected} ({str(error).splitlines()[0]})."
        ) from None
    clauses = {key for key, value in select.args.items() if value} - {"kind", "expressions", "from_"}
    if not isinstance(select, exp.Select) or clauses or "from_" not in select.args:
        raise ParameterError(f"got table={table!r}; {expected}.")
    source: exp.Expr = select.args["from_"].this
    if source.args.get("alias") or source.args.get("joins"):
        raise ParameterError(f"got table={table!r}, which has an alias or a join; {expected}.")
    source.set("alias", exp.TableAlias(this=exp.Identifier(this=alias, quoted=False)))
    return source
