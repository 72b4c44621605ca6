"""A CategoryTable as SQL and as C, equal to its `transform` on every row. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from hardgrad.core.errors import ExportError
from hardgrad.export import c
from hardgrad.export.sql import SqlDialect, case, is_null, parse_table
from hardgrad.export.sql_dialects import sql_dialect
from hardgrad.tabular.row_c import member_declarations, quoted, row_members
from hardgrad.tabular.row_sql import Maker, is_one_of, physical_names, plain_number

if TYPE_CHECKING:
    from hardgrad.tabular.category_table import CategoryTable, Floats


def to_sql(
    found: CategoryTable,
    dialect: str,
    *,
    table: str,
    keep: Sequence[str],
    rename: Mapping[str, str],
    pretty: bool,
) -> str:
    """Return the SELECT (see `CategoryTable.to_sql`)."""
    if found.n_hashed:
        raise ExportError(
            "SQL has no hash that all engines agree on, so that a category which was not seen has no code there. Fit with "
            "handle_unknown='zero', or use to_c()."
        )
    if any(unseen or missing for unseen, missing in found.refused):
        raise ExportError(
            "a SELECT cannot refuse a row. Fit with handle_unknown='prior' or 'zero' and handle_missing='category' or 'prior'."
        )
    writer = sql_dialect(dialect)
    alias = "hg_rows"
    while alias in table.lower():
        alias += "x"
    source = parse_table(table, writer, alias)
    names = physical_names(
        [column.name for column in found.columns], range(len(found.columns)), writer, rename
    )

    def raw(name: str) -> exp.Expr:
        return exp.Column(this=writer.identifier(name), table=exp.Identifier(this=alias, quoted=False))

    items: list[tuple[str, exp.Expr]] = [(name, raw(name)) for name in keep]
    for number, column in enumerate(found.columns):
        make = lambda name=names[number]: raw(name)  # noqa: E731
        low, high = found.outputs_of(number)
        if column.kind != "categorical":
            items.append((found.features[low], plain_number(column.kind, make, writer)))
            continue
        codes = found.column_codes(number)
        items += [
            (found.features[j], _lookup(column.categories, codes[:, j - low], make, writer))
            for j in range(low, high)
        ]
    outputs = [writer.output_name(name) for name, _ in items]
    folded = [name.lower() if writer.folds_column_case else name for name in outputs]
    if len(set(folded)) < len(folded):
        twice = next(name for i, name in enumerate(folded) if name in folded[:i])
        raise ExportError(
            f"{writer.name} cannot tell two outputs named {twice!r} apart. Rename a column before fitting."
        )
    expressions = [
        exp.Alias(this=e, alias=exp.Identifier(this=name, quoted=True))
        for name, (_, e) in zip(outputs, items, strict=True)
    ]
    query = exp.Select(expressions=expressions).from_(source, copy=False)
    # sqlglot indents line by line: a line break inside a name or a string must not be one.
    texts = [*outputs, *names, *(text for column in found.columns for text in column.categories)]
    pretty = pretty and not any("\n" in text or "\r" in text for text in texts)
    return query.sql(writer.sqlglot_name, pretty=pretty, copy=False)


def _lookup(categories: Sequence[str], codes: Floats, raw: Maker, dialect: SqlDialect) -> exp.Expr:
    """Write one output: categories with one code share a branch, and those with the code of an unseen one are the ELSE."""
    branches = [(is_null(raw()), dialect.number(float(codes[-1])))]
    unseen, groups = float(codes[-2]), dict[float, list[str]]()
    for category, code in zip(categories, codes.tolist(), strict=False):
        groups.setdefault(code, []).append(category)
    for code, members in groups.items():
        among = is_one_of(members, raw, dialect) if code != unseen else None
        if among is not None:
            branches.append((among, dialect.number(code)))
    return case(branches, dialect.number(unseen))


def to_c(found: CategoryTable, name: str) -> c.CSource:
    """Return header and source (see `CategoryTable.to_c`)."""
    c.require_identifier(name)
    upper = name.upper()
    header = f"""/* {name}: numbers for the categories of {len(found.columns)} columns. Written by hardgrad. */
#ifndef HARDGRAD_{upper}_H
#define HARDGRAD_{upper}_H

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {upper}_COLUMNS = {len(found.columns)}, {upper}_FEATURES = {len(found.features)} }};

/* One row of raw columns. */
struct {name}_row {{
{member_declarations(found.columns)}
}};

/* The numbers x[{upper}_FEATURES]; NAN where a number is missing. Returns 0, or 1 + the number of the column whose value is refused. */
int {name}_transform(const struct {name}_row *row, double *x);

#ifdef __cplusplus
}}
#endif

#endif
"""
    parts = [
        f'/* See {name}.h. Written by hardgrad; do not edit. */\n#include "{name}.h"\n\n#include <math.h>\n#include <stdint.h>\n'
    ]
    categorical = [i for i, column in enumerate(found.columns) if column.kind == "categorical"]
    if categorical:
        parts.append(c.category_search(name))
        integers = [
            (f"int32_t {name}_start[]", found.start.tolist()),
            (f"int32_t {name}_place[]", found.place.tolist()),
        ]
        parts += [c.c_table(declared, map(str, values)) for declared, values in integers]
        parts.append(c.c_table(f"double {name}_code[]", map(c.c_double, found.code.tolist())))
        parts.append(_COPY.format(name=name))
    for i in categorical:
        if found.columns[i].categories:
            parts.append(f"/* {quoted(found.columns[i].name)} */")
            words = map(c.c_string, found.columns[i].categories)
            parts.append(c.c_table(f"char *const {name}_categories_{i}[]", words))
    if found.n_hashed and categorical:
        parts.append(_CRC.format(name=name))
    parts.append(_transform(found, name))
    return c.CSource(name, header, "\n".join(parts))


_CRC = """
/* CRC-32 of the bytes of a text. */
static uint32_t {name}_hash(const char *text)
{{
    uint32_t crc = 0xFFFFFFFFu;
    for (; *text; text++) {{
        crc ^= (unsigned char)*text;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }}
    return crc ^ 0xFFFFFFFFu;
}}
"""


_COPY = """
/* Write the codes of one row of the table. */
static void {name}_copy(int32_t k, double *x)
{{
    for (int32_t e = {name}_start[k]; e < {name}_start[k + 1]; e++)
        x[{name}_place[e]] = {name}_code[e];
}}
"""


def _transform(found: CategoryTable, name: str) -> str:
    lines = [f"\nint {name}_transform(const struct {name}_row *row, double *x)\n{{"]
    if any(column.kind == "categorical" for column in found.columns):
        lines.append("    int32_t k;")
    lines.append(f"    for (int j = 0; j < {len(found.features)}; j++)\n        x[j] = 0.0;")
    if not found.columns:
        lines.append("    (void)row;\n    (void)x;")
    for i, (column, member) in enumerate(zip(found.columns, row_members(found.columns), strict=True)):
        low, value = found.outputs_of(i)[0], f"row->{member}"
        if column.kind == "categorical":
            lines += _category_lines(found, name, i, value)
        else:
            lines.append(f"    x[{low}] = {f'floor({value})' if column.kind == 'datetime' else value};")
    return "\n".join([*lines, "    return 0;\n}"]) + "\n"


def _category_lines(found: CategoryTable, name: str, i: int, value: str) -> list[str]:
    """Look a category up, refuse it if so asked, and write its codes."""
    K, first = len(found.columns[i].categories), int(found.first_row[i])
    known = f"{name}_categories_{i}" if K else "0"
    lines = [f"    k = {name}_category({value}, {known}, {K});"]
    for which, test in enumerate((f"k == {K}", "k < 0")):
        if found.refused[i][which]:
            lines.append(f"    if ({test})\n        return {i + 1};")
    copy = f"{name}_copy({first} + (k < 0 ? {K + 1} : k), x);"
    if not found.n_hashed:
        return [*lines, f"    {copy}"]
    place = f"{found.outputs_of(i)[0]} + {name}_hash({value}) % {found.n_hashed}u"
    return [*lines, f"    if (k == {K})\n        x[{place}] = 1.0;\n    else\n        {copy}"]
