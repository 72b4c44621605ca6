"""Forest -> C99: a header and a source without dependencies, equal to the reference bit for bit.

Here is what every form of C export shares: the row of raw columns and its encoding. Links and predictions are in `export_c_outputs`; how
trees are stored and walked is a `CBody`, the one for doubles is in `export_c_trees`. Never imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardgrad.core.errors import ParameterError
from hardgrad.export import c
from hardgrad.tabular.row_c import member_declarations, quoted, row_members
from hardgrad.tabular.schema import Column, TableSchema
from hardgrad.trees.export_c_outputs import output_functions
from hardgrad.trees.export_checks import require_bounded_scores
from hardgrad.trees.forest import Forest


@dataclass(frozen=True)
class CBody:
    """How trees are stored and walked, the part in which the forms of C export differ.

    Parameters
    ----------
    code : definitions, `void <name>_raw_encoded(const double *x, double *raw)` among them and, where
        `has_leaves`, `void <name>_leaves_encoded(const double *x, int32_t *leaf)`. Everything else is static.
    has_leaves : whether the form knows node numbers.
    note : one line that says what the form is.
    """

    code: str
    has_leaves: bool
    note: str


def to_c(forest: Forest, name: str = "model", *, form: str = "double", layout: str = "auto") -> c.CSource:
    """Return the C header and source of a forest.

    Parameters
    ----------
    forest : the forest.
    name : prefix of every function and type.
    form : "double" (any forest), or "packed" (a forest that `compress` made, in few bits).
    layout : of the double form: "branches" (nested ifs, for small forests), "table" (one loop over data),
        "auto".

    Returns
    -------
    source : `header` and `source`; C99, no allocation, no global state, nothing but <math.h> at run time.

    Raises
    ------
    ParameterError : the name is no identifier, or the form or layout is unknown.
    ExportError : a category is no C string, or scores can overflow.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> "double model_predict(const struct model_row *" in to_c(forest_from_trees([tree], ["age"])).header
    True
    """
    c.require_identifier(name)
    require_bounded_scores(forest)
    if form == "double":
        from hardgrad.trees.export_c_trees import double_body

        body = double_body(forest, name, layout)
    elif form == "packed":
        from hardgrad.trees.export_c_packed import packed_body

        body = packed_body(forest, name)
    else:
        raise ParameterError(f'form must be "double" or "packed", got {form!r}.')
    return c.CSource(name, _header(forest, name, body), _source(forest, name, body))


# --- the header ---------------------------------------------------------------------------------------------
def _header(forest: Forest, name: str, body: CBody) -> str:
    upper = name.upper()
    sizes = {
        "COLUMNS": len(forest.schema.columns),
        "FEATURES": forest.n_features,
        "TREES": forest.n_trees,
        "OUTPUTS": forest.n_outputs,
        "CLASSES": len(forest.classes),
    }
    constants = ", ".join(f"{upper}_{key} = {value}" for key, value in sizes.items())
    return f"""/* {name}: {_title(forest)}.
 * Written by hardgrad. {body.note}
 */
#ifndef HARDGRAD_{upper}_H
#define HARDGRAD_{upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {constants} }};

/* One row of raw columns. */
struct {name}_row {{
{member_declarations(forest.schema.columns)}
}};
{_declarations(forest, name, body)}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _title(forest: Forest) -> str:
    what = f"{forest.n_trees} trees, {forest.n_leaves} leaves, {len(forest.schema.columns)} columns"
    target = f" for {c.c_comment(forest.target)!r}" if forest.target else ""
    return f"a {forest.task} forest{target} of {what}"


def _declarations(forest: Forest, name: str, body: CBody) -> str:
    row = f"const struct {name}_row *row"
    upper = name.upper()
    parts = []
    if forest.classes:
        parts.append(f"/* Class labels. */\nextern const char *const {name}_class[{upper}_CLASSES];")
    parts.append(
        f"/* The features x[{upper}_FEATURES] that trees test; NAN is missing. */\n"
        f"void {name}_encode({row}, double *x);"
    )
    if body.has_leaves:
        parts.append(
            f"/* The node number of the leaf in each tree, leaf[{upper}_TREES]. */\n"
            f"void {name}_leaves({row}, int32_t *leaf);\n"
            f"void {name}_leaves_encoded(const double *x, int32_t *leaf);\n"
            f"void {name}_leaves_matrix(const double *x, size_t rows, int32_t *leaf);"
        )
    parts.append(
        f"/* The raw scores raw[{upper}_OUTPUTS], before the link: of a row, its features, many rows. */\n"
        f"void {name}_raw({row}, double *raw);\n"
        f"void {name}_raw_encoded(const double *x, double *raw);\n"
        f"void {name}_raw_matrix(const double *x, size_t rows, double *raw);"
    )
    if forest.task == "classification":
        parts.append(
            f"/* The probability of each class, p[{upper}_CLASSES]; of a row, or of its raw scores. */\n"
            f"void {name}_proba({row}, double *p);\n"
            f"void {name}_proba_raw(const double *raw, double *p);"
        )
        parts.append(
            f"/* The predicted class, a position in {name}_class; of a row, or of its raw scores. */\n"
            f"int {name}_predict({row});\n"
            f"int {name}_predict_raw(const double *raw);"
        )
    elif forest.n_outputs == 1:
        parts.append(f"/* The predicted value. */\ndouble {name}_predict({row});")
    else:
        parts.append(
            f"/* The predicted values, y[{upper}_OUTPUTS]. */\nvoid {name}_predict({row}, double *y);"
        )
    return "\n" + "\n\n".join(parts) + "\n"


# --- the source ---------------------------------------------------------------------------------------------
def _source(forest: Forest, name: str, body: CBody) -> str:
    parts = [
        f'/* See {name}.h. Written by hardgrad; do not edit. */\n#include "{name}.h"\n\n#include <float.h>\n'
        "#include <math.h>\n",
        _guards(name),
        _encoding(forest.schema, name),
        body.code,
        _entries(forest, name, body),
        output_functions(forest, name),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _guards(name: str) -> str:
    return f"""/* Exactness needs plain IEEE doubles. */
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST)
#error "{name}.c must not be compiled with -ffast-math or -Ofast: sums have an order and NaN is a missing value"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "{name}.c must not be compiled with -ffinite-math-only: NaN is a missing value"
#endif
#if FLT_EVAL_METHOD == 2 || FLT_EVAL_METHOD < 0
#error "{name}.c needs sums without excess precision: on 32-bit x86 compile with -msse2 -mfpmath=sse"
#endif
#if DBL_MANT_DIG != 53 || FLT_RADIX != 2
#error "{name}.c needs doubles of 64 bits: on small processors compile with -mdouble=64 or the like"
#endif
"""


def _encoding(schema: TableSchema, name: str) -> str:
    members = row_members(schema.columns)
    texts = sorted({f.column for f in schema.features if schema.columns[f.column].kind == "categorical"})
    parts = []
    if any(f.transform == "codes" for f in schema.features):
        parts.append(c.category_search(name))
    for i in texts:
        words = [c.c_string(category) for category in schema.columns[i].categories]
        if any(f.transform == "codes" for f in schema.features if f.column == i) and words:
            parts.append(f"/* {quoted(schema.columns[i].name)} */")
            parts.append(c.c_table(f"char *const {name}_categories_{i}[]", words))
    for j, feature in enumerate(schema.features):
        if feature.transform == "codes":
            parts.append(c.c_table(f"double {name}_codes_{j}[]", map(c.c_double, feature.codes)))
    needs_number = any(f.transform == "codes" for f in schema.features)
    parts.append(f"\nvoid {name}_encode(const struct {name}_row *row, double *x)\n{{")
    if needs_number:
        parts.append("    int32_t k;")
    if not schema.features:
        parts.append("    (void)row;\n    (void)x;")
    searched = -1
    for j, feature in enumerate(schema.features):
        column, value = schema.columns[feature.column], f"row->{members[feature.column]}"
        if feature.transform == "codes" and searched != feature.column:
            parts.append(f"    k = {_search_call(column, name, feature.column, value)};")
            searched = feature.column
        parts.append(f"    x[{j}] = {_feature_value(column, feature.transform, name, j, value)};")
    return "\n".join([*parts, "}"]) + "\n"


def _search_call(column: Column, name: str, number: int, value: str) -> str:
    table = f"{name}_categories_{number}" if column.categories else "NULL"
    return f"{name}_category({value}, {table}, {len(column.categories)})"


def _feature_value(column: Column, transform: str, name: str, j: int, value: str) -> str:
    if transform == "codes":
        return f"k < 0 ? (double)NAN : {name}_codes_{j}[k]"
    if transform == "missing":
        return f"!{value}" if column.kind == "categorical" else f"{value} != {value}"
    return f"floor({value})" if column.kind == "datetime" else value


def _entries(forest: Forest, name: str, body: CBody) -> str:
    """The functions that differ from `_encoded` only in what they take: a row or a matrix."""
    upper = name.upper()
    kinds = [("raw", "double", "OUTPUTS"), *([("leaves", "int32_t", "TREES")] if body.has_leaves else [])]
    features = max(forest.n_features, 1)
    return "\n".join(
        f"""void {name}_{what}(const struct {name}_row *row, {kind} *out)
{{
    double x[{features}];
    {name}_encode(row, x);
    {name}_{what}_encoded(x, out);
}}

void {name}_{what}_matrix(const double *x, size_t rows, {kind} *out)
{{
    for (size_t i = 0; i < rows; i++)
        {name}_{what}_encoded(x + i * {upper}_FEATURES, out + i * {upper}_{size});
}}
"""
        for what, kind, size in kinds
    )
