"""Circuit models in C and Verilog: thresholds, circuit, counts; and their circuit with names for BLIF and AIGER. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardgrad.export import c, verilog
from hardgrad.logic import circuit_c, circuit_verilog

if TYPE_CHECKING:
    from hardgrad.logic.circuit import Circuit
    from hardgrad.logic.circuit_model import CircuitModel

_SOURCE = """#include "{name}.h"

typedef uint64_t {name}_word;

{circuit}
{tables}

/* Scores of up to 64 rows of features, one row after the other. */
static void {name}_block(const double *features, int rows, double *raw)
{{
    {name}_word x[{bits}], y[{outputs}];
    int i, o, r;
    for (i = 0; i < {n_bits}; i++) {{
        x[i] = 0;
        for (r = 0; r < rows; r++)
            if (features[r * {n_features} + BIT_FEATURE[i]] > BIT_THRESHOLD[i]) x[i] |= (uint64_t)1 << r;
    }}
    {name}_run(x, y);
    for (r = 0; r < rows; r++) {{
        int32_t count[{scores}] = {{0}};
        for (o = 0; o < {n_outputs}; o++) count[GROUP[o]] += (int32_t)(y[o] >> r & 1) * WEIGHT[o];
        for (o = 0; o < {scores}; o++) raw[r * {scores} + o] = OFFSET[o] + SCALE[o] * (double)count[o];
    }}
}}

void {name}_predict(const double *features, double *raw) {{ {name}_block(features, 1, raw); }}

void {name}_predict_many(const double *features, int32_t n, double *raw)
{{
    int32_t first;
    for (first = 0; first < n; first += 64)
        {name}_block(features + (size_t)first * {n_features}, n - first < 64 ? n - first : 64, raw + (size_t)first * {scores});
}}
"""


def to_c(model: CircuitModel, name: str = "model") -> c.CSource:
    """Return C99 with `<name>_predict(features, raw)` of one encoded row, and `<name>_predict_many(features, n, raw)`, 64 rows at a time.

    Both give the bits of the model. The header says what each feature is; a missing one is NAN.

    Raises
    ------
    ParameterError : a name that C cannot have.
    """
    c.require_identifier(name)
    upper = name.upper()
    features = [
        f"    features[{i}]: {c.c_comment(feature.name)}" for i, feature in enumerate(model.schema.features)
    ]
    header = "\n".join(
        [
            f"/* A circuit of {len(model.gates):,} gates over {len(model.bit_feature)} thresholds.", *features, "*/", f"#ifndef {upper}_H",
            f"#define {upper}_H", "#include <stdint.h>", "#include <stddef.h>", f"#define {upper}_FEATURES {model.n_features}",
            f"#define {upper}_SCORES {model.n_outputs}",
            "/* raw: the scores of a row. */",
            f"void {name}_predict(const double *features, double *raw);",
            f"void {name}_predict_many(const double *features, int32_t n, double *raw);", "#endif", "",
        ]
    )  # fmt: skip
    groups, weights = model.group.tolist(), model.weight.tolist()
    tables = "\n".join(
        [
            c.c_table("int32_t BIT_FEATURE[]", map(str, model.bit_feature.tolist())),
            c.c_table("double BIT_THRESHOLD[]", map(c.c_double, model.bit_threshold.tolist())),
            c.c_table(f"{c.integer_type(groups)} GROUP[]", map(str, groups)),
            c.c_table("int32_t WEIGHT[]", map(str, weights)),
            c.c_table("double OFFSET[]", map(c.c_double, model.offset.tolist())),
            c.c_table("double SCALE[]", map(c.c_double, model.scale.tolist())),
        ]
    )
    circuit = circuit_c.definitions(model.circuit, name).replace(
        f"void {name}_run(", f"static void {name}_run(", 1
    )
    source = _SOURCE.format(
        name=name, circuit=circuit, tables=tables, bits=max(len(model.bit_feature), 1), outputs=max(len(model.outputs), 1),
        n_bits=len(model.bit_feature), n_outputs=len(model.outputs), n_features=model.n_features, scores=model.n_outputs,
    )  # fmt: skip
    return c.CSource(name, header, source)


def to_verilog(model: CircuitModel, name: str = "model") -> verilog.VerilogSource:
    """Return two Verilog modules: `<name>_circuit` of the bits, and `<name>`, which counts its outputs.

    Port x has a bit for every threshold (listed at the head); port `count` has the counts, group k in part k; with more than one group,
    port `largest` has the number of the first that is largest.
    """
    inner = circuit_verilog.to_verilog(model.circuit, f"{name}_circuit").source
    most = int(np.bincount(model.group, model.weight, model.n_outputs).max(initial=1))
    width = max(most.bit_length(), 1)
    scores, outputs = model.n_outputs, len(model.outputs)
    ports = [
        verilog.Port("input", "x", len(model.bit_feature)),
        verilog.Port("output", "count", width * scores),
    ]
    body = [f"wire {verilog.bits(outputs)}y;", f"{name}_circuit circuit (.x(x), .y(y));"]
    for k in range(scores):
        members = np.flatnonzero(model.group == k).tolist()
        bits = {o: verilog.part("y", o, 1) if outputs > 1 else "y" for o in members}
        terms = " + ".join(f"{width}'d{model.weight[o]} * {bit}" for o, bit in bits.items()) or f"{width}'d0"
        body.append(f"assign {verilog.part('count', k, width)} = {terms};")
    if scores > 1:
        index = max(scores - 1, 1).bit_length()
        ports.append(verilog.Port("output", "largest", index))
        body += _largest(scores, width, index)
    return verilog.VerilogSource(name, inner + "\n" + verilog.verilog_module(name, ports, body) + "\n")


def named_circuit(model: CircuitModel) -> Circuit:
    """Return the circuit behind the thresholds: inputs named by what they test, as "age > 35.5", outputs by the score that they count for.

    The first output of score "yes" is "yes #1"; where it counts other than once, the name ends with how many times: "yes #1 (3 times)".
    """
    _, names = model.output_turns()
    weights = model.weight.tolist()
    outputs = [name if w == 1 else f"{name} ({w} times)" for name, w in zip(names, weights, strict=True)]
    return model.circuit.with_names(model.bit_names, outputs)


def _largest(scores: int, width: int, index: int) -> list[str]:
    """One comparison after the other; a later group wins only if it is larger."""
    lines = [
        f"wire {verilog.bits(width)}best_0 = {verilog.part('count', 0, width)};",
        f"wire {verilog.bits(index)}at_0 = {index}'d0;",
    ]
    for k in range(1, scores):
        part = verilog.part("count", k, width)
        lines += [
            f"wire more_{k} = {part} > best_{k - 1};",
            f"wire {verilog.bits(width)}best_{k} = more_{k} ? {part} : best_{k - 1};",
            f"wire {verilog.bits(index)}at_{k} = more_{k} ? {index}'d{k} : at_{k - 1};",
        ]
    return [*lines, f"assign largest = at_{scores - 1};"]
