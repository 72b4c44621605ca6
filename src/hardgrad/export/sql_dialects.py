"""The SQL engines: each class states only how its engine differs from `SqlDialect`. Adding an engine is adding a class here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from sqlglot import exp

from hardgrad.core.errors import ExportError, ParameterError, suggestion
from hardgrad.export.sql import (
    SqlDialect,
    call,
    case,
    floored_division,
    integer,
    negative,
    null,
)

Maker = Callable[[], exp.Expr]


class DuckDB(SqlDialect):
    """DuckDB, embedded."""

    name = sqlglot_name = "duckdb"
    folds_column_case = True
    exact_collation = "C"

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        def divide(left: exp.Expr, right: exp.Expr) -> exp.Expr:
            return exp.IntDiv(this=left, expression=right)

        return self.double(floored_division(lambda: call("EPOCH_US", value()), 1_000_000, divide))


class Postgres(SqlDialect):
    """PostgreSQL 14 or newer (there EXTRACT gives exact numerics)."""

    name = sqlglot_name = "postgres"
    exact_collation = "C"

    def number(self, value: float) -> exp.Expr:
        # 0.1 and even 1E-1 are numerics to PostgreSQL; a double is made from text.
        return self.special_number(repr(value).replace("nan", "NaN"))

    def text_with_nul(self, parts: Sequence[str]) -> exp.Expr | None:
        return None

    def output_name(self, name: str) -> str:
        # PostgreSQL cuts names to 63 bytes; cutting here keeps them distinct.
        return (
            super().output_name(name).encode(errors="replace")[:56].decode(errors="ignore")
            if len(name) > 14
            else name
        )

    def boolean_as_double(self, value: exp.Expr) -> exp.Expr:
        return self.double(self.cast(value, "INT"))

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        return self.double(call("FLOOR", exp.Extract(this=exp.Var(this="EPOCH"), expression=value())))

    def fence(self, select: exp.Select) -> exp.Select:
        return select.offset(0, copy=False)


class Spark(SqlDialect):
    """Spark SQL 3.4 or newer."""

    name = sqlglot_name = "spark"
    folds_column_case = True
    text_type = "STRING"

    def text(self, value: str) -> exp.Expr | None:
        # Spark replaces ${name} anywhere in the text of a query by a setting: keep the two characters apart.
        if "${" not in value:
            return super().text(value)
        pieces = [super(Spark, self).text(part) for part in re.split(r"(?<=\$)(?=\{)", value)]
        written = [piece for piece in pieces if piece is not None]
        return call("CONCAT", *written) if len(written) == len(pieces) else None

    def identifier(self, name: str) -> exp.Identifier:
        if "${" in name:
            raise ExportError(
                f"spark replaces '${{' in queries, so that column {name!r} cannot be named. Rename it in the table."
            )
        return super().identifier(name)

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        """UNIX_SECONDS takes instants only; naive times become text with a Z, because a cast would go through the session's zone."""
        naive = exp.DPipe(
            this=self.cast(self.cast(value(), "TIMESTAMP_NTZ"), "STRING"), expression=exp.Literal.string("Z")
        )
        instant = exp.EQ(this=call("TYPEOF", value()), expression=exp.Literal.string("timestamp"))
        as_instant = self.cast(value(), "TIMESTAMP_LTZ")
        chosen = case([(instant, as_instant)], self.cast(naive, "TIMESTAMP_LTZ"))
        return self.double(call("UNIX_SECONDS", chosen))


class BigQuery(SqlDialect):
    """BigQuery, GoogleSQL."""

    name = sqlglot_name = "bigquery"
    folds_column_case = True
    true_double = "FLOAT64"
    text_type = "STRING"

    def nan_as_null(self, value: exp.Expr) -> exp.Expr:
        # NaN differs from itself here.
        return call("IF", call("IS_NAN", value), null(), value.copy())

    def text_with_nul(self, parts: Sequence[str]) -> exp.Expr | None:
        raise ExportError(
            "bigquery: a category with the character of code 0 cannot be written. Clean the column."
        )

    def identifier(self, name: str) -> exp.Identifier:
        if any(ord(character) < 32 for character in name):
            raise ExportError(
                f"bigquery cannot have a column named {name!r}. Rename it in the table and pass rename=."
            )
        return super().identifier(name)

    def output_name(self, name: str) -> str:
        return re.sub(r"[!\"$()*,./;?@\[\\\]^`{}~\x00-\x1f]", "_", name)[:280] or "_"

    def boolean_as_double(self, value: exp.Expr) -> exp.Expr:
        return self.double(self.cast(value, "INT64"))

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        # CAST takes DATE and DATETIME as UTC, the default time zone; UNIX_SECONDS rounds down.
        return self.double(call("UNIX_SECONDS", self.cast(value(), "TIMESTAMP")))


class Snowflake(SqlDialect):
    """Snowflake. Names are quoted, so that the case of column names matters."""

    name = sqlglot_name = "snowflake"
    text_type = "VARCHAR"

    def number(self, value: float) -> exp.Expr:
        # A literal may be read as a fixed-point NUMBER; a double is made from text.
        return self.special_number(repr(value).replace("nan", "NaN"))

    def text_with_nul(self, parts: Sequence[str]) -> exp.Expr | None:
        raise ExportError(
            "snowflake: a category with the character of code 0 cannot be written. Clean the column."
        )

    def boolean_as_double(self, value: exp.Expr) -> exp.Expr:
        return self.double(self.cast(value, "INT"))

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        def nanoseconds() -> exp.Expr:
            return call("DATE_PART", exp.Var(this="EPOCH_NANOSECOND"), value())

        return self.double(floored_division(nanoseconds, 1_000_000_000, self.divide))


class SQLite(SqlDialect):
    """SQLite 3.35 or newer. Date/time columns hold ISO 8601 text, Unix seconds (INTEGER) or Julian days (REAL)."""

    name = sqlglot_name = "sqlite"
    folds_column_case = True
    true_double = "REAL"
    greatest = "MAX"
    code_to_character = "CHAR"
    exact_collation = "BINARY"

    def number(self, value: float) -> exp.Expr:
        if reads_exactly(value):
            return super().number(value)
        written = _dyadic(*abs(value).as_integer_ratio())
        return exp.Paren(this=exp.Neg(this=written) if negative(value) else written)

    def special_number(self, text: str) -> exp.Expr:
        if text == "NaN":
            return null()
        literal = exp.Literal(this="9E999", is_string=False)
        return exp.Neg(this=literal) if text.startswith("-") else literal

    def nan_as_null(self, value: exp.Expr) -> exp.Expr:
        return value  # SQLite stores NaN as NULL

    def epoch_seconds(self, value: Maker) -> exp.Expr:
        # STRFTIME rounds milliseconds, so the fraction is cut from the text; what follows it is the zone.
        zone = call("LTRIM", call("SUBSTR", value(), integer(20)), exp.Literal.string(".0123456789"))
        text = exp.DPipe(this=call("SUBSTR", value(), integer(1), integer(19)), expression=zone)
        seconds = call("STRFTIME", exp.Literal.string("%s"), text)
        whole = exp.EQ(this=call("TYPEOF", value()), expression=exp.Literal.string("integer"))
        return self.double(case([(whole, value())], seconds))

    def materialized(self) -> bool | None:
        return True


def reads_exactly(value: float) -> bool:
    """Tell whether every SQLite reads the shortest digits of a double back to the same bits.

    SQLite converts by a product or quotient in double, extended or double-double arithmetic, depending on version and machine. That is
    right wherever both operands are exact doubles and the decimal is not too near the middle between two doubles.
    """
    if value == 0 or not math.isfinite(value):
        return True
    decimal = Fraction(repr(abs(value)))
    digits, _, exponent = repr(abs(value)).partition("e")
    whole, _, part = digits.partition(".")
    part = "" if part == "0" else part
    significant = (whole + part).strip("0")
    power = int(exponent or 0) - len(part) + len(whole + part) - len((whole + part).rstrip("0"))
    if len(significant) > 15 or abs(power) > 22:
        return False
    error = abs(decimal - Fraction(abs(value))) / Fraction(math.ulp(value))
    return all(abs(error - middle) > Fraction(1, 256) for middle in (Fraction(1, 2), Fraction(1, 4)))


def _dyadic(numerator: int, denominator: int) -> exp.Expr:
    """Write a double as a whole number times or over powers of two: every step is exact in any arithmetic."""
    shift = 1 - denominator.bit_length()
    while numerator % 2 == 0:
        numerator //= 2
        shift += 1
    total: exp.Expr = exp.Literal(this=f"{numerator}.0", is_string=False)
    while shift:
        step = min(abs(shift), 52)
        factor = exp.Literal(this=f"{2**step}.0", is_string=False)
        if shift > 0:
            total = exp.Mul(this=total, expression=factor)
        else:
            total = exp.Div(this=total, expression=factor, typed=True, safe=False)
        shift -= step if shift > 0 else -step
    return total


DIALECTS: dict[str, type[SqlDialect]] = {
    cls.name: cls for cls in (DuckDB, Postgres, Spark, BigQuery, Snowflake, SQLite)
}
_ALIASES = {"postgresql": "postgres", "databricks": "spark"}


def sql_dialect(name: str) -> SqlDialect:
    """Return the dialect of that name. Raises `ParameterError` for one that is not supported."""
    key = _ALIASES.get(name.lower(), name.lower())
    if key not in DIALECTS:
        raise ParameterError(
            f"got dialect {name!r}; expected one of {sorted(DIALECTS)}.{suggestion(key, sorted(DIALECTS))}"
        )
    return DIALECTS[key]()
