"""Linear nodes and affine leaves in the exported C: the real sums, in their order, never fused. Never imports torch."""

from __future__ import annotations

import numpy as np

from hardgrad.export import c
from hardgrad.trees.forest import LEAF, LINEAR, Forest

NOT_FUSED = """/* A sum is rounded after every product and every addition: compile without contraction. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize ("fp-contract=off")
#else
#pragma STDC FP_CONTRACT OFF
#endif
"""


def linear_code(forest: Forest, name: str) -> str:
    """Return what stands before the trees: `<name>_incomplete(x)`, whether a value is missing that is weighed, and
    `<name>_linear(k, x)`, the sum of linear node k. Nothing for a forest that has neither linear nodes nor slopes.
    """
    if not len(forest.weighted_features):
        return ""
    parts = [NOT_FUSED, _incomplete(forest, name)]
    return "\n".join([*parts, _linear(forest, name)] if forest.has_linear else parts)


def _incomplete(forest: Forest, name: str) -> str:
    numbers = forest.weighted_features.tolist()
    return f"""/* Features that are multiplied by weights: where one is missing, there is no answer. */
{c.c_table(f"{c.integer_type(numbers)} {name}_weighed[]", map(str, numbers))}

static int {name}_incomplete(const double *x)
{{
    for (int i = 0; i < {len(numbers)}; i++)
        if (x[{name}_weighed[i]] != x[{name}_weighed[i]])
            return 1;
    return 0;
}}
"""


def _linear(forest: Forest, name: str) -> str:
    nodes = np.flatnonzero(forest.feature == LINEAR)
    count = forest.term_offset[nodes + 1] - forest.term_offset[nodes]
    linear = np.repeat(forest.feature == LINEAR, np.diff(forest.term_offset))
    start = np.cumsum([0, *count]).tolist()
    numbers = forest.term_feature[linear].tolist()
    weights = map(c.c_double, forest.linear_weight[linear].tolist())
    return f"""/* The terms of linear nodes: weight * value. */
{c.c_table(f"{c.integer_type(start)} {name}_linear_start[]", map(str, start))}
{c.c_table(f"{c.integer_type(numbers)} {name}_linear_feature[]", map(str, numbers))}
{c.c_table(f"double {name}_linear_weight[]", weights)}

static double {name}_linear(int32_t k, const double *x)
{{
    int32_t i = {name}_linear_start[k];
    double sum = {name}_linear_weight[i] * x[{name}_linear_feature[i]];
    for (i++; i < {name}_linear_start[k + 1]; i++)
        sum += {name}_linear_weight[i] * x[{name}_linear_feature[i]];
    return sum;
}}
"""


def affine_code(forest: Forest, name: str) -> str:
    """Return `<name>_affine(leaf, k, x)`, output k of a leaf; nothing where leaves are constant."""
    if not forest.has_slopes:
        return ""
    slopes = forest.leaf_slope[forest.feature == LEAF].reshape(-1, forest.n_features)
    place, feature = np.nonzero(slopes)
    start = np.searchsorted(place, np.arange(len(slopes) + 1)).tolist()
    numbers = feature.tolist()
    return f"""/* The slopes of affine leaves: output k of a leaf is its value and the sum of slope * x. */
{c.c_table(f"{c.integer_type(start)} {name}_slope_start[]", map(str, start))}
{c.c_table(f"{c.integer_type(numbers)} {name}_slope_feature[]", map(str, numbers))}
{c.c_table(f"double {name}_slope[]", map(c.c_double, slopes[place, feature].tolist()))}

static double {name}_affine(int32_t leaf, int k, const double *x)
{{
    const int32_t at = leaf * {name.upper()}_OUTPUTS + k;
    double sum = {name}_value[leaf][k];
    for (int32_t i = {name}_slope_start[at]; i < {name}_slope_start[at + 1]; i++)
        sum += {name}_slope[i] * x[{name}_slope_feature[i]];
    return sum;
}}
"""
