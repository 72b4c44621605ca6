"""The trees of a forest as C in doubles: one table that a small loop walks, or nested ifs.

Both restate the reference exactly: nothing is computed but comparisons, sums of integers and additions of
doubles in the order of the trees, so that no optimisation (fused multiply-adds included) can change a bit.
What linear nodes and affine leaves need beside is `export_c_weighted`. Never imports torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.export import c
from hardgrad.trees.conditions import condition_text
from hardgrad.trees.export_c import CBody
from hardgrad.trees.export_c_weighted import affine_code, linear_code
from hardgrad.trees.forest import LEAF, LINEAR, OBLIQUE, Forest

MAX_BRANCHES = 500
"""Nested ifs up to so many inner nodes, a third faster there; beyond, a table is faster and compiles
faster."""

MAX_NESTING = 32
"""Deeper trees are tables: C99 promises 127 levels of blocks, and no one reads that deep."""
MAX_NOTE = 80


def double_body(forest: Forest, name: str, layout: str = "auto") -> CBody:
    """Return the body of the double form.

    Raises
    ------
    ParameterError : the layout is none of "auto", "table", "branches".
    """
    if layout not in ("auto", "table", "branches"):
        raise ParameterError(f'layout must be "auto", "table" or "branches", got {layout!r}.')
    inner = forest.n_nodes - forest.n_leaves
    small = inner <= MAX_BRANCHES and forest.depth() <= MAX_NESTING
    branches = layout == "branches" or (layout == "auto" and small)
    scored = forest.scored_features
    leaves = _leaf_order(forest)
    find = _branches(forest, name, leaves, scored) if branches else _table(forest, name, leaves, scored)
    parts = [
        _score_tables(forest, name, scored),
        linear_code(forest, name),
        find,
        _values(forest, name, leaves),
        affine_code(forest, name),
        _walks(forest, name, scored),
    ]
    note = "Thresholds and values are doubles, exactly."
    if len(forest.weighted_features):
        note += "\n * A row that lacks a value that is weighed has the raw scores NAN, the leaves -1 and no class."
    return CBody("\n".join(part for part in parts if part), True, note)


def _leaf_order(forest: Forest) -> NDArray[np.int64]:
    return np.flatnonzero(forest.feature == LEAF)


def _score_tables(forest: Forest, name: str, scored: NDArray[np.int64]) -> str:
    """Integer scores of the features that oblique nodes use: a binary search among the cuts of each."""
    if not len(scored):
        return ""
    spans = [(int(forest.cut_offset[f]), int(forest.cut_offset[f + 1])) for f in scored]
    cuts = [c.c_double(v) for first, last in spans for v in forest.cut[first:last].tolist()]
    points = [
        int(v) for f, (i, j) in zip(scored, spans, strict=True) for v in forest.score[i + f : j + f + 1]
    ]
    start = np.cumsum([0, *(last - first for first, last in spans)]).tolist()
    kind = c.integer_type(start)
    return f"""/* A feature's score: an integer for each interval between its cuts, 0 where it is missing. */
enum {{ {name.upper()}_SCORES = {len(scored)} }};
{c.c_table(f"{c.integer_type(scored.tolist())} {name}_scored[]", map(str, scored.tolist()))}
{c.c_table(f"{kind} {name}_cut_start[]", map(str, start))}
{c.c_table(f"double {name}_cut[]", cuts)}
{c.c_table(f"int16_t {name}_point[]", map(str, points))}

static void {name}_scores(const double *x, int32_t *score)
{{
    for (int32_t j = 0; j < {name.upper()}_SCORES; j++) {{
        const double v = x[{name}_scored[j]];
        const double *cut = {name}_cut + {name}_cut_start[j];
        int32_t low = 0, high = {name}_cut_start[j + 1] - {name}_cut_start[j];
        while (low < high) {{
            const int32_t middle = low + (high - low) / 2;
            if (cut[middle] < v)
                low = middle + 1;
            else
                high = middle;
        }}
        score[j] = v == v ? {name}_point[{name}_cut_start[j] + j + low] : 0;
    }}
}}
"""


def _values(forest: Forest, name: str, leaves: NDArray[np.int64]) -> str:
    rows = ["{" + ", ".join(map(c.c_double, row)) + "}" for row in forest.value[leaves].tolist()]
    numbers = leaves.tolist()
    outputs = f"{name.upper()}_OUTPUTS"
    base = c.c_table(f"double {name}_base[{outputs}]", map(c.c_double, forest.base.tolist()))
    if not forest.n_trees:
        return f"{base}\n"
    return f"""/* Leaf values, the numbers of the leaves among all nodes, and where the sum starts. */
{c.c_table(f"double {name}_value[][{outputs}]", rows)}
{c.c_table(f"{c.integer_type(numbers)} {name}_node_number[]", map(str, numbers))}
{base}
"""


_INCOMPLETE = """    if ({name}_incomplete(x)) {{
        for (int k = 0; k < {upper}_{size}; k++)
            {what};
        return;
    }}
"""


def _walks(forest: Forest, name: str, scored: NDArray[np.int64]) -> str:
    upper = name.upper()
    scores = f"    int32_t score[{upper}_SCORES];\n    {name}_scores(x, score);\n" if len(scored) else ""
    find = f"{name}_find(t, x{', score' if scores else ''})"
    mean = forest.aggregation == "mean" and forest.n_trees > 0
    no_raw = no_leaves = ""
    if len(forest.weighted_features):
        no_raw = _INCOMPLETE.format(name=name, size="OUTPUTS", upper=upper, what="raw[k] = (double)NAN")
        no_leaves = _INCOMPLETE.format(name=name, size="TREES", upper=upper, what="leaf[k] = -1")
    divide = (
        f"    for (int k = 0; k < {upper}_OUTPUTS; k++)\n        raw[k] /= {upper}_TREES;\n" if mean else ""
    )
    add = f"""        const double *value = {name}_value[{find}];
        for (int k = 0; k < {upper}_OUTPUTS; k++)
            raw[k] += value[k];
"""
    if forest.has_slopes:
        add = f"""        const int32_t leaf = {find};
        for (int k = 0; k < {upper}_OUTPUTS; k++)
            raw[k] += {name}_affine(leaf, k, x);
"""
    if not forest.n_trees:
        return f"""void {name}_raw_encoded(const double *x, double *raw)
{{
    (void)x;
    for (int k = 0; k < {upper}_OUTPUTS; k++)
        raw[k] = {name}_base[k];
}}

void {name}_leaves_encoded(const double *x, int32_t *leaf)
{{
    (void)x;
    (void)leaf;
}}
"""
    return f"""void {name}_raw_encoded(const double *x, double *raw)
{{
{no_raw}{scores}    for (int k = 0; k < {upper}_OUTPUTS; k++)
        raw[k] = {name}_base[k];
    for (int32_t t = 0; t < {upper}_TREES; t++) {{
{add}    }}
{divide}}}

void {name}_leaves_encoded(const double *x, int32_t *leaf)
{{
{no_leaves}{scores}    for (int32_t t = 0; t < {upper}_TREES; t++)
        leaf[t] = {name}_node_number[{find}];
}}
"""


# --- a table and a loop -------------------------------------------------------------------------------------
def _table(forest: Forest, name: str, leaves: NDArray[np.int64], scored: NDArray[np.int64]) -> str:
    """Nodes renumbered so that two children are neighbours: a step is `child + goes_right`."""
    position, order = _neighbours(forest)
    leaf_number = np.zeros(forest.n_nodes, dtype=np.int64)
    leaf_number[leaves] = np.arange(len(leaves))
    oblique = np.flatnonzero(forest.feature == OBLIQUE)
    sum_number = np.zeros(forest.n_nodes, dtype=np.int64)  # oblique nodes first, then linear ones
    summed = np.concatenate([oblique, np.flatnonzero(forest.feature == LINEAR)])
    sum_number[summed] = np.arange(len(summed))
    rows = []
    for node in order:
        feature = int(forest.feature[node])
        if feature == LEAF:
            rows.append(f"{{0, 0, {-1 - leaf_number[node]}}}")
            continue
        test = 2 * feature + int(forest.default_left[node]) if feature >= 0 else -1 - sum_number[node]
        rows.append(f"{{{c.c_double(float(forest.threshold[node]))}, {test}, {position[forest.left[node]]}}}")
    roots = [int(position[root]) for root in forest.tree_offset[:-1]]
    if not roots:
        return ""
    linear = f", linear node {-1 - len(oblique)} - test from there on" if forest.has_linear else ""
    return f"""/* test >= 0: twice the feature, plus 1 if missing goes left. test < 0: oblique node -1 - test{linear}.
 * child >= 0: the left child, the right one follows it. child < 0: leaf -1 - child. */
static const struct {{ double threshold; int32_t test, child; }} {name}_node[] = {{
{c.fill(rows)}
}};
{c.c_table(f"{c.integer_type(roots)} {name}_root[]", map(str, roots))}
{_oblique_tables(forest, name, oblique, scored)}
static int32_t {name}_find(int32_t t, const double *x{", const int32_t *score" if len(scored) else ""})
{{
    int32_t at = {name}_root[t];
    while ({name}_node[at].child >= 0) {{
        const int32_t test = {name}_node[at].test;
        const double threshold = {name}_node[at].threshold;
{_table_step(forest, name, len(oblique))}    }}
    return -1 - {name}_node[at].child;
}}
"""


def _neighbours(forest: Forest) -> tuple[NDArray[np.int64], list[int]]:
    """Number nodes so that siblings are neighbours and a left subtree is close to its parent; return
    (position, order).
    """
    order: list[int] = []
    for root in forest.tree_offset[:-1].tolist():
        order.append(root)
        stack = [root]
        while stack:
            node = stack.pop()
            if forest.left[node] >= 0:
                pair = [int(forest.left[node]), int(forest.right[node])]
                order += pair
                stack += pair[::-1]
    position = np.zeros(forest.n_nodes, dtype=np.int64)
    position[order] = np.arange(len(order))
    return position, order


def _oblique_tables(forest: Forest, name: str, oblique: NDArray[np.int64], scored: NDArray[np.int64]) -> str:
    if not len(oblique):
        return ""
    slot = {int(f): j for j, f in enumerate(scored)}
    own = np.repeat(forest.feature == OBLIQUE, np.diff(forest.term_offset))
    start = np.cumsum([0, *(forest.term_offset[oblique + 1] - forest.term_offset[oblique])]).tolist()
    slots = [slot[f] for f in forest.term_feature[own].tolist()]
    weights = forest.term_weight[own].tolist()
    return f"""/* The terms of oblique nodes: weight * score. */
{c.c_table(f"{c.integer_type(start)} {name}_term_start[]", map(str, start))}
{c.c_table(f"{c.integer_type(slots)} {name}_term_score[]", map(str, slots))}
{c.c_table(f"{c.integer_type(weights)} {name}_term_weight[]", map(str, weights))}
"""


def _table_step(forest: Forest, name: str, n_oblique: int) -> str:
    axis = f"""const double v = x[test >> 1];
        at = {name}_node[at].child + (test & 1 ? v > threshold : !(v <= threshold));
"""
    if forest.is_axis:
        return "        " + axis
    inner = axis.replace("        at", "            at")
    linear = f"""            at = {name}_node[at].child + !({name}_linear({-1 - n_oblique} - test, x) <= threshold);
        }}
"""
    if not n_oblique:
        return f"""        if (test >= 0) {{
            {inner}        }} else {{
{linear}"""
    otherwise = f"""        }} else if (test < {-n_oblique}) {{
{linear.removesuffix("        }" + chr(10))}"""
    return f"""        if (test >= 0) {{
            {inner}{otherwise if forest.has_linear else ""}        }} else {{
            int32_t sum = 0;
            for (int32_t i = {name}_term_start[-1 - test]; i < {name}_term_start[-test]; i++)
                sum += (int32_t){name}_term_weight[i] * score[{name}_term_score[i]];
            at = {name}_node[at].child + !((double)sum <= threshold);
        }}
"""


# --- nested ifs ---------------------------------------------------------------------------------------------
def _branches(forest: Forest, name: str, leaves: NDArray[np.int64], scored: NDArray[np.int64]) -> str:
    if not forest.n_trees:
        return ""
    leaf_number = {int(node): i for i, node in enumerate(leaves)}
    slot = {int(f): j for j, f in enumerate(scored)}
    takes = f"const double *x{', const int32_t *score' if len(scored) else ''}"
    unused = "    (void)x;\n" + ("    (void)score;\n" if len(scored) else "")
    trees = [
        f"static int32_t {name}_tree_{t}({takes})\n{{\n{unused}{_nested(forest, name, root, leaf_number, slot)}}}\n"
        for t, root in enumerate(forest.tree_offset[:-1].tolist())
    ]
    pointers = c.fill([f"{name}_tree_{t}" for t in range(forest.n_trees)])
    passed = f"x{', score' if len(scored) else ''}"
    return f"""/* Each tree returns the number of its leaf. A missing value fails every comparison. */
{"".join(trees)}
static int32_t (*const {name}_tree[])({takes}) = {{
{pointers}
}};

static int32_t {name}_find(int32_t t, {takes})
{{
    return {name}_tree[t]({passed});
}}
"""


def _nested(forest: Forest, name: str, root: int, leaf_number: dict[int, int], slot: dict[int, int]) -> str:
    """The ifs of one tree, written with a stack: an imported tree may be deeper than Python's recursion."""
    lines: list[str] = []
    linear = {int(node): k for k, node in enumerate(np.flatnonzero(forest.feature == LINEAR))}
    stack: list[tuple[int, int, str]] = [(root, 1, "")]
    while stack:
        node, depth, prefix = stack.pop()
        indent = "    " * min(depth, 12)
        if node < 0:
            lines.append(f"{indent}{prefix}")
        elif forest.feature[node] == LEAF:
            lines.append(f"{indent}{prefix}return {leaf_number[node]};")
        else:
            note = c.c_comment(condition_text(forest, node, categories=3))
            note = note if len(note) <= MAX_NOTE else note[: MAX_NOTE - 3] + "..."
            asked = _condition(forest, node, slot)
            if node in linear:
                asked = f"{name}_linear({linear[node]}, x) <= {c.c_double(float(forest.threshold[node]))}"
            lines.append(f"{indent}{prefix}if ({asked}) {{ /* {note} */")
            right, left = int(forest.right[node]), int(forest.left[node])
            stack += [
                (-1, depth, "}"),
                (right, depth + 1, ""),
                (-1, depth, "} else {"),
                (left, depth + 1, ""),
            ]
    return "\n".join(lines) + "\n"


def _condition(forest: Forest, node: int, slot: dict[int, int]) -> str:
    feature, threshold = int(forest.feature[node]), float(forest.threshold[node])
    if feature != OBLIQUE:
        literal = c.c_double(threshold)
        return f"!(x[{feature}] > {literal})" if forest.default_left[node] else f"x[{feature}] <= {literal}"
    terms = range(int(forest.term_offset[node]), int(forest.term_offset[node + 1]))
    products = [f"{forest.term_weight[i]} * score[{slot[int(forest.term_feature[i])]}]" for i in terms]
    return f"{' + '.join(products)} <= {int(threshold)}"
