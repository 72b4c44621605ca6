"""The last step of the exported C: from raw scores to probabilities, classes and values. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

from hardgrad.export import c
from hardgrad.tabular.schema import category_text
from hardgrad.trees.forest import Forest

_SIGMOID = """void {name}_proba_raw(const double *raw, double *p)
{{
    p[1] = 1.0 / (1.0 + exp(-raw[0]));
    p[0] = 1.0 - p[1];
}}

int {name}_predict_raw(const double *raw)
{{
    return raw[0] > 0.0;
}}
"""
_ARGMAX = """
int {name}_predict_raw(const double *raw)
{{
    int best = 0;
    for (int k = 1; k < {upper}_OUTPUTS; k++)
        if (raw[k] > raw[best])
            best = k;
    return best;
}}
"""
_SOFTMAX = """void {name}_proba_raw(const double *raw, double *p)
{{
    const double highest = raw[{name}_predict_raw(raw)];
    double sum = 0.0;
    for (int k = 0; k < {upper}_OUTPUTS; k++) {{
        p[k] = exp(raw[k] - highest);
        sum += p[k];
    }}
    for (int k = 0; k < {upper}_OUTPUTS; k++)
        p[k] /= sum;
}}
"""
_COPY = """void {name}_proba_raw(const double *raw, double *p)
{{
    for (int k = 0; k < {upper}_OUTPUTS; k++)
        p[k] = raw[k];
}}
"""
_CLASSIFY = """
void {name}_proba(const struct {name}_row *row, double *p)
{{
    double raw[{upper}_OUTPUTS];
    {name}_raw(row, raw);
    {name}_proba_raw(raw, p);
}}

int {name}_predict(const struct {name}_row *row)
{{
    double raw[{upper}_OUTPUTS];
    {name}_raw(row, raw);
    return {name}_predict_raw(raw);
}}
"""
_ONE_VALUE = """double {name}_predict(const struct {name}_row *row)
{{
    double raw[1];
    {name}_raw(row, raw);
    return raw[0];
}}
"""
_VALUES = """void {name}_predict(const struct {name}_row *row, double *y)
{{
    {name}_raw(row, y);
}}
"""


def output_functions(forest: Forest, name: str) -> str:
    """Return the definitions of `<name>_predict` and, for classification, of `<name>_proba`, labels and `.._raw` forms."""
    if forest.task == "regression":
        template = _ONE_VALUE if forest.n_outputs == 1 else _VALUES
        return template.format(name=name)
    links: dict[str, Sequence[str]] = {
        "sigmoid": (_SIGMOID,),
        "softmax": (_ARGMAX, _SOFTMAX),
        "identity": (_COPY, _ARGMAX),
    }
    code = "\n".join(part.strip("\n") + "\n" for part in (*links[forest.link], _CLASSIFY))
    labels = ", ".join(c.c_string(category_text(label)) for label in forest.classes)
    table = f"const char *const {name}_class[{name.upper()}_CLASSES] = {{{labels}}};\n\n"
    return table + code.format(name=name, upper=name.upper())
