"""The trees of a forest as C in few bits: the packed bytes and a small decoder that walks them. Never imports torch.

The decoder computes the doubles of the reference exactly: a grid point is low + step * code with a product that has no rounding, so that a
fused multiply-add gives the same bits.
"""

from __future__ import annotations

from hardgrad.export import c
from hardgrad.trees.export_c import CBody
from hardgrad.trees.forest import Forest
from hardgrad.trees.packed import HEADER, OBLIQUE_HEADER, bits_for, pack, packed_features

_DECODER = """
enum {{
    {name}_threshold_bits = {threshold_bits}, {name}_leaf_bits = {leaf_bits}, {name}_feature_bits = {feature_bits},
    {name}_outputs_at = {outputs_at}, {name}_features_at = {features_at}, {name}_missing_at = {missing_at},
    {name}_trees_at = {trees_at}
}};

static uint32_t {name}_bits(uint32_t *at, uint32_t width)
{{
    uint32_t value = 0;
    while (width--) {{
        value = value << 1 | (uint32_t)({name}_packed[*at >> 3] >> (7 - (*at & 7)) & 1);
        ++*at;
    }}
    return value;
}}

static double {name}_float(uint32_t bits)
{{
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}}

static double {name}_float_at(uint32_t at)
{{
    const unsigned char *p = {name}_packed + at;
    return {name}_float((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}}

static void {name}_skip(uint32_t *at, uint32_t subtrees)
{{
    while (subtrees) {{
        if ({name}_bits(at, 1)) {{
            *at += {leaf_width};
            subtrees--;
        }} else {{
{skip_node}
            subtrees++;
        }}
    }}
}}

static double {name}_feature(const double *x, uint32_t used)
{{
    switch (used) {{
{cases}
    }}
}}

{sums}/* Whether a row goes left at the node whose codes come next. */
static int {name}_goes_left(const double *x, uint32_t *at)
{{
{terms}    const uint32_t used = {name}_bits(at, {name}_feature_bits), code = {name}_bits(at, {name}_threshold_bits);
    const unsigned char *p = {name}_packed + {name}_features_at + 6 * used;
    const double low = {name}_float_at({name}_features_at + 6 * used), value = {name}_feature(x, used);
    const double step = {name}_float((uint32_t)p[4] << 16 | (uint32_t)p[5] << 24);
    if (value != value)
        return {missing};
    return value <= low + step * (double)code;
}}

void {name}_raw_encoded(const double *x, double *raw)
{{
    uint32_t at = 8 * {name}_trees_at, tree, k;
    for (k = 0; k < {outputs}; k++)
        raw[k] = {name}_float_at({name}_outputs_at + 4 * ({outputs} + k));
    for (tree = 0; tree < {trees}; tree++) {{
        uint32_t waiting = 0;
        while (!{name}_bits(&at, 1)) {{
            if ({name}_goes_left(x, &at))
                waiting++;
            else
                {name}_skip(&at, 1);
        }}
        for (k = 0; k < {outputs}; k++) {{
            const double code = (double)((int32_t){name}_bits(&at, {name}_leaf_bits) - {half});
            raw[k] += code * {name}_float_at({name}_outputs_at + 4 * k);
        }}
        {name}_skip(&at, waiting);
    }}
}}
"""

_AXIS_SKIP = "            *at += {name}_feature_bits + {name}_threshold_bits;"

_OBLIQUE_SKIP = """            const uint32_t terms = {name}_bits(at, 2) + 1;
            *at += terms == 1 ? {name}_feature_bits + {name}_threshold_bits
                              : terms * ({name}_feature_bits + {weight_bits}) + {sum_bits};"""

_OBLIQUE_TERMS = """    const uint32_t terms = {name}_bits(at, 2) + 1;
    if (terms > 1)
        return {name}_sum_goes_left(x, at, terms);
"""

_OBLIQUE_SUM = """/* The score of a value: odd numbers over the intervals of its grid, 0 where it is missing. */
static int32_t {name}_score(const double *x, uint32_t used)
{{
    const unsigned char *p = {name}_packed + {name}_features_at + 6 * used;
    const double low = {name}_float_at({name}_features_at + 6 * used), value = {name}_feature(x, used);
    const double step = {name}_float((uint32_t)p[4] << 16 | (uint32_t)p[5] << 24);
    int32_t code = 0;
    if (value != value)
        return 0;
    while (code < {last_code} && value > low + step * (double)code)
        code++;
    return 2 * code - {last_code};
}}

static int {name}_sum_goes_left(const double *x, uint32_t *at, uint32_t terms)
{{
    int32_t sum = 0;
    while (terms--) {{
        const uint32_t used = {name}_bits(at, {name}_feature_bits);
        const int32_t weight = (int32_t){name}_bits(at, {weight_bits}) - {weight_half};
        sum += weight * {name}_score(x, used);
    }}
    return sum <= ((int32_t){name}_bits(at, {sum_bits}) - {sum_half}) * {sum_step};
}}

"""


def packed_body(forest: Forest, name: str) -> CBody:
    """Return the body of the packed form.

    Raises
    ------
    ExportError : the forest was not made for a number of bytes.
    """
    data = pack(forest)
    packing = forest.packing
    assert packing is not None  # pack() has refused a forest without one
    used = packed_features(forest)
    outputs_at = HEADER.size + (OBLIQUE_HEADER.size if packing.weight_bits else 0)
    features_at = outputs_at + 8 * forest.n_outputs
    missing_at = features_at + 6 * len(used)
    cases = [f"    case {k}:\n        return x[{f}];" for k, f in enumerate(used[:-1])]
    cases.append(f"    default:\n        return x[{used[-1] if used else 0}];")
    half = 2 ** (packing.threshold_bits - 1)
    parts = ("", "", _AXIS_SKIP)
    if packing.weight_bits:
        parts = (_OBLIQUE_SUM, _OBLIQUE_TERMS, _OBLIQUE_SKIP)
    sums, terms, skip_node = (
        part.format(
            name=name,
            weight_bits=packing.weight_bits,
            weight_half=2 ** max(0, packing.weight_bits - 1),
            sum_bits=packing.sum_bits,
            sum_half=2 ** max(0, packing.sum_bits - 1),
            sum_step=packing.sum_step,
            last_code=2**packing.threshold_bits - 1,
        )
        for part in parts
    )
    code = _DECODER.format(
        name=name,
        threshold_bits=packing.threshold_bits,
        leaf_bits=packing.leaf_bits,
        feature_bits=bits_for(len(used)),
        outputs_at=outputs_at,
        features_at=features_at,
        missing_at=missing_at,
        trees_at=missing_at + (len(used) if packing.has_missing else 0),
        leaf_width=packing.leaf_bits * forest.n_outputs,
        cases="\n".join(cases),
        sums=sums,
        terms=terms,
        skip_node=skip_node,
        missing=f"code >= {name}_packed[{name}_missing_at + used]"
        if packing.has_missing
        else f"code >= {half}",
        outputs=forest.n_outputs,
        trees=forest.n_trees,
        half=2 ** (packing.leaf_bits - 1),
    )
    table = c.c_table(f"unsigned char {name}_packed[]", map(str, data))
    return CBody(f"#include <string.h>\n\n{table}\n{code}", False, f"All trees are in {len(data):,} bytes.")
