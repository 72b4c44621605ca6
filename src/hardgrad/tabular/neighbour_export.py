"""A `Neighbourhood` in C99: the same arithmetic in the same order, so the same bits. Never imports torch.

The C takes the features, which its header describes one by one; turning columns into features is a line each for its caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ExportError
from hardgrad.export import c
from hardgrad.tabular.neighbour_arithmetic import (
    COSINE,
    EXPONENTIAL,
    LEAST_EXPONENT,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    SINE,
    TWO_PI,
)

if TYPE_CHECKING:
    from hardgrad.tabular.neighbour_model import Neighbourhood
    from hardgrad.tabular.schema import Feature

MOST_NUMBERS = 500_000
"""Numbers in one source file, of about 8 MB then."""

ARITHMETIC = """
static double series(const double *coefficient, int last, double x) {
    double result = coefficient[last];
    int i;
    for (i = last - 1; i >= 0; i--) {
        result *= x;
        result += coefficient[i];
    }
    return result;
}

/* exp of a number that is not positive */
static double exponential(double x) {
    double n, rest;
    if (x < LEAST_EXPONENT) x = LEAST_EXPONENT;
    n = rint(x * LOG2_E);
    rest = (x - n * LN2_HIGH) - n * LN2_LOW;
    return ldexp(series(EXPONENTIAL, EXPONENTIAL_LAST, rest), (int)n);
}

static void layer(const double *x, int inputs, const float *weight, const float *bias, int outputs, double *y) {
    int i, j;
    for (j = 0; j < outputs; j++) y[j] = (double)bias[j];
    for (i = 0; i < inputs; i++)
        for (j = 0; j < outputs; j++) y[j] += x[i] * (double)weight[i * outputs + j];
}

static double standardised(const double *x, int i) {
    double z = (x[i] - MEAN[i]) / SCALE[i];
    if (z != z) return 0.0;
    return z < -FARTHEST ? -FARTHEST : z > FARTHEST ? FARTHEST : z;
}
"""

PERIODIC = """
static void turn(double x, double *cosine, double *sine) {
    double fraction = x - rint(x), size = fabs(fraction), quarter = rint(4.0 * size);
    double angle = TWO_PI * (size - 0.25 * quarter), square = angle * angle;
    double s = angle * series(SINE, SINE_LAST, square), c = series(COSINE, COSINE_LAST, square);
    *cosine = quarter == 1.0 ? -s : quarter == 2.0 ? -c : c;
    *sine = quarter == 1.0 ? c : quarter == 2.0 ? -s : s;
    if (fraction < 0) *sine = -*sine;
}

static void embedded(double z, int i, double *y) {
    double wave[2 * COLUMNS];
    int j;
    for (j = 0; j < COLUMNS; j++) turn(z * (double)TABLE[i * COLUMNS + j], &wave[j], &wave[COLUMNS + j]);
    layer(wave, 2 * COLUMNS, SHARED_WEIGHT, SHARED_BIAS, EACH, y);
    for (j = 0; j < EACH; j++) if (!(y[j] > 0.0)) y[j] = 0.0;
}
"""

PIECEWISE = """
static void embedded(double z, int i, double *y) {
    int j;
    for (j = 0; j < EACH; j++) {
        double low = (double)TABLE[i * COLUMNS + j], width = (double)TABLE[i * COLUMNS + j + 1] - low;
        double share = width > 0.0 ? (z - low) / width : 0.0;
        y[j] = share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
    }
}
"""

ANSWERS = """
void NAME_neighbours(const double *x, int32_t *number, double *share) {
    double place[DIM], total = 0.0, nearest;
    int found = 0, i, j;
    embed(x, place);
    for (i = 0; i < ROWS; i++) {
        double squared = 0.0;
        for (j = 0; j < DIM; j++) {
            double difference = place[j] - (double)MEMORY[(size_t)i * DIM + j];
            squared += difference * difference;
        }
        if (found == K && !(squared < share[K - 1])) continue;
        if (found < K) found++;
        for (j = found - 1; j > 0 && squared < share[j - 1]; j--) {
            share[j] = share[j - 1];
            number[j] = number[j - 1];
        }
        share[j] = squared;
        number[j] = i;
    }
    nearest = sqrt(share[0]);
    for (j = 0; j < K; j++) {
        share[j] = VOTES[number[j]] * exponential((nearest - sqrt(share[j])) / TEMPERATURE);
        total += share[j];
    }
    for (j = 0; j < K; j++) share[j] = share[j] / total;
}

void NAME_predict(const double *x, double *answer) {
    int32_t number[K];
    double share[K];
    int i, j;
    NAME_neighbours(x, number, share);
    for (j = 0; j < OUTPUTS; j++) answer[j] = 0.0;
    for (i = 0; i < K; i++)
        for (j = 0; j < OUTPUTS; j++) answer[j] += share[i] * VALUES[(size_t)number[i] * OUTPUTS + j];
SMOOTHED}
"""


def to_c(model: Neighbourhood, name: str) -> c.CSource:
    """Return C99 of a model; see `Neighbourhood.to_c`."""
    c.require_identifier(name)
    for feature in model.schema.features:
        _described(model, feature)  # raises where C could not be given it
    numbers = sum(array.size for array in model.arrays().values())
    if numbers > MOST_NUMBERS:
        raise ExportError(
            f"the model holds {numbers:,} numbers, C source at most {MOST_NUMBERS:,}. Harden with prototypes: harden(prototypes=0.1)."
        )
    smoothed = ""
    if model.smoothing:
        added, divided = c.c_double(model.smoothing), c.c_double(1.0 + model.n_outputs * model.smoothing)
        smoothed = f"    for (j = 0; j < OUTPUTS; j++) answer[j] = (answer[j] + {added}) / {divided};\n"
    parts = [
        "/* Compile with -ffp-contract=off, which -std=c99 implies: fused multiply-adds round differently. */",
        f'#include "{name}.h"\n#include <math.h>\n#include <stddef.h>\n',
        *_constants(model),
        ARITHMETIC,
        {"none": "", "periodic": PERIODIC, "piecewise": PIECEWISE}[model.embedding],
        _embed(model),
        ANSWERS.replace("NAME", name).replace("SMOOTHED", smoothed),
    ]
    return c.CSource(name, _header(model, name), "\n".join(part for part in parts if part))


def _header(model: Neighbourhood, name: str) -> str:
    answers = (
        "the shares of the classes " + ", ".join(map(str, model.classes)) if model.classes else "the values"
    )
    lines = [f"   x[{j}]: {_described(model, feature)}" for j, feature in enumerate(model.schema.features)]
    described = "\n".join(c.c_comment(line) for line in lines)
    guard = f"{name.upper()}_H"
    return f"""/* {c.c_comment(f"{len(model.memory)} remembered rows, of which the {model.k} nearest vote.")}
{described}
   A feature that is missing is NaN. */
#ifndef {guard}
#define {guard}
#include <stdint.h>
/* answer[{model.n_outputs}]: {c.c_comment(answers)}. */
void {name}_predict(const double *x, double *answer);
/* number[{model.k}], share[{model.k}]: the remembered rows that decide, nearest first, and their shares of the vote. */
void {name}_neighbours(const double *x, int32_t *number, double *share);
#endif
"""


def _described(model: Neighbourhood, feature: Feature) -> str:
    """What a feature holds, in words. Raises `ExportError` where that takes a table of codes."""
    column = model.schema.columns[feature.column]
    if feature.transform == "missing":
        return f"1 if {column.name!r} is missing, else 0"
    if feature.transform == "identity":
        unit = {"datetime": " in seconds since 1970-01-01T00:00:00 UTC", "boolean": " as 0 or 1"}.get(
            column.kind, ""
        )
        return f"{column.name!r}{unit}"
    if sorted(feature.codes) != [*[0.0] * len(column.categories), 1.0] or feature.codes[-1]:
        raise ExportError(
            f"column {column.name!r} has {len(column.categories)} categories, for which C would need a table of codes. Score in Python."
        )
    return f"1 if {column.name!r} is {column.categories[int(np.argmax(feature.codes))]!r}, else 0"


def _constants(model: Neighbourhood) -> list[str]:
    """Sizes and tables."""
    sizes = {
        "FARTHEST": "100.0", "LEAST_EXPONENT": c.c_double(LEAST_EXPONENT), "LOG2_E": c.c_double(LOG2_E),
        "LN2_HIGH": c.c_double(LN2_HIGH), "LN2_LOW": c.c_double(LN2_LOW), "EXPONENTIAL_LAST": len(EXPONENTIAL) - 1,
        "DIM": model.widths[-1], "ROWS": len(model.memory), "K": model.k, "OUTPUTS": model.n_outputs,
        "TEMPERATURE": c.c_double(model.temperature), "INPUTS": model.widths[0],
    }  # fmt: skip
    tables = [
        _table("double", "EXPONENTIAL", EXPONENTIAL),
        _table("double", "MEAN", model.mean),
        _table("double", "SCALE", model.scale),
    ]
    if model.embedding != "none":
        each = len(model.shared_bias) if model.embedding == "periodic" else model.table.shape[1] - 1
        sizes |= {"COLUMNS": model.table.shape[1], "EACH": each}
        tables.append(_table("float", "TABLE", model.table))
    if model.embedding == "periodic":
        sizes |= {"TWO_PI": c.c_double(TWO_PI), "SINE_LAST": len(SINE) - 1, "COSINE_LAST": len(COSINE) - 1}
        tables += [_table("double", "SINE", SINE), _table("double", "COSINE", COSINE)]
        tables += [
            _table("float", "SHARED_WEIGHT", model.shared_weight),
            _table("float", "SHARED_BIAS", model.shared_bias),
        ]
    for number, (weight, bias) in enumerate(model.layer_parameters):
        tables += [_table("float", f"WEIGHT_{number}", weight), _table("float", f"BIAS_{number}", bias)]
    tables += [
        _table("float", "MEMORY", model.memory),
        _table("double", "VALUES", model.values),
        _table("double", "VOTES", model.votes),
    ]
    return [*(f"#define {key} {value}" for key, value in sizes.items()), *tables]


def _table(kind: str, name: str, values: NDArray[Any] | Iterable[float]) -> str:
    end = "f" if kind == "float" else ""
    literals = [c.c_double(float(value)) + end for value in np.asarray(values, dtype=np.float64).reshape(-1)]
    return c.c_table(f"{kind} {name}[]", literals)


def _embed(model: Neighbourhood) -> str:
    """The encoder: inputs, then layer by layer between two buffers."""
    widest = max(model.widths)
    lines = [
        "static void embed(const double *x, double *place) {", f"    double a[{widest}], b[{widest}];", "    int j;",
        *(f"    a[{at}] = standardised(x, {feature});" for at, feature in enumerate(model.plain.tolist())),
    ]  # fmt: skip
    first = len(model.plain)
    for i, feature in enumerate(model.embedded.tolist()):
        lines.append(f"    embedded(standardised(x, {feature}), {i}, a + {first} + {i} * EACH);")
    here, there = "a", "b"
    for number, (weight, _) in enumerate(model.layer_parameters):
        lines.append(
            f"    layer({here}, {weight.shape[0]}, WEIGHT_{number}, BIAS_{number}, {weight.shape[1]}, {there});"
        )
        if number % 2:
            lines.append(
                f"    for (j = 0; j < {weight.shape[1]}; j++) if (!({there}[j] > 0.0)) {there}[j] = 0.0;"
            )
        here, there = there, here
    lines += [f"    for (j = 0; j < DIM; j++) place[j] = {here}[j];", "}"]
    return "\n".join(lines)
