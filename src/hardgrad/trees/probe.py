"""Rows and forests that try to break an export: what every exactness check and many tests feed on. Never
imports torch.

`generate_rows` looks at a forest and makes raw rows that stand exactly on its thresholds and one ulp beside
them, among infinities, denormals, unseen and nearly-seen categories. `random_forest`, of `probe_forests`,
makes valid forests over columns with awkward names. Comparing engines on such rows is `hardgrad.trees.exactness`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees.forest import LINEAR, Forest
from hardgrad.trees.probe_forests import AWKWARD_COLUMNS, SPECIAL_NUMBERS, TINY, Floats, random_forest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AWKWARD_COLUMNS", "column_edges", "generate_rows", "near_misses", "random_forest", "to_arrow"]

Rows = dict[str, NDArray[Any]]

# fmt: off
SPECIAL_TEXTS = (
    "", " ", "  ", "\t", "'", '"', "`", "''", "\\", "\\n", "a\nb", "%s", "${x}", "--", "/*", "*/", "??/", ";",
    "</script>", "<!--", "NULL", "null", "None", "nan", "NaN", "true", "0", "1", "1.0", "-0", "é", "e\u0301",
    "ß", "ẞ", "İ", "日本語", "🌲", "\u200b", "\u00a0",
)
# fmt: on
# Dates stay where every engine under test can hold them: in the Gregorian calendar and before year 9000.
FIRST_SECOND = -11_676_096_000  # 1600-01-01
LAST_SECOND = 221_845_392_000  # 9000-01-01


# --- rows ---------------------------------------------------------------------------------------------------
def generate_rows(
    forest: Forest, n: int, *, random_state: int | np.random.Generator = 0, infinities: bool = True
) -> Rows:
    """Return raw columns by name whose values stand on every threshold of a forest, one ulp either side, and
    in every odd corner.

    Parameters
    ----------
    forest : the forest to stress.
    n : number of rows.
    random_state : seed or generator; the same seed gives the same rows.
    infinities : whether numeric columns may hold +-inf (some databases cannot).

    Returns
    -------
    rows : numeric columns as float64 with NaN, boolean ones as objects True/False/None, categorical ones as
        objects str/None, date/times as datetime64[us] with NaT.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> age = generate_rows(forest_from_trees([tree], ["age"]), 200)["age"]
    >>> bool((age == 1.5).any()), bool((age == np.nextafter(1.5, 2)).any()), bool(np.isnan(age).any())
    (True, True, True)
    """
    rng = np.random.default_rng(random_state)
    edges = column_edges(forest)
    whole = _never_missing(forest)
    rows: Rows = {}
    for i, column in enumerate(forest.schema.columns):
        missing = (rng.random(n) < 0.08) & (i not in whole)
        if column.kind == "numeric":
            rows[column.name] = _numeric(rng, n, edges[i], missing, infinities)
        elif column.kind == "datetime":
            rows[column.name] = _datetimes(rng, n, edges[i], missing)
        elif column.kind == "boolean":
            rows[column.name] = _objects(np.array([False, True])[rng.integers(2, size=n)].tolist(), missing)
        else:
            known = list(column.categories) * 2 + near_misses(column.categories, rng)
            rows[column.name] = _objects([known[k] for k in _spread(rng, n, len(known))], missing)
    if forest.has_linear:
        _move_onto_planes(rng, forest, rows)
    return rows


def _never_missing(forest: Forest) -> set[int]:
    """Columns whose values are weighed: a forest refuses such rows."""
    features = forest.schema.features
    return {
        features[f].column for f in forest.weighted_features.tolist() if features[f].transform != "missing"
    }


def _move_onto_planes(rng: np.random.Generator, forest: Forest, rows: Rows) -> None:
    """Change one number in about a third of the rows so that a linear node's sum meets its threshold, as nearly as doubles can, or
    misses it by an ulp of that number.
    """
    features, columns = forest.schema.features, forest.schema.columns
    X = forest.encode(rows)
    for row in np.flatnonzero(rng.random(len(X)) < 0.35).tolist():
        node = int(rng.choice(np.flatnonzero(forest.feature == LINEAR)))
        terms = np.arange(forest.term_offset[node], forest.term_offset[node + 1])
        term = int(rng.choice(terms))
        feature, weight = features[forest.term_feature[term]], float(forest.linear_weight[term])
        if feature.transform != "identity" or columns[feature.column].kind != "numeric" or weight == 0:
            continue
        others = terms[forest.term_feature[terms] != forest.term_feature[term]]
        with np.errstate(all="ignore"):
            rest = forest.threshold[node] - forest.linear_weight[others] @ X[row, forest.term_feature[others]]
            value = rest / weight
            value = rng.choice([value, value, np.nextafter(value, -np.inf), np.nextafter(value, np.inf)])
        if np.isfinite(value):
            rows[columns[feature.column].name][row] = value


def column_edges(forest: Forest) -> list[Floats]:
    """Return, one sorted array a column, the finite thresholds and cuts of its `identity` features."""
    met: list[list[Floats]] = [[] for _ in forest.schema.columns]
    oblique = set(forest.scored_features.tolist())
    for f, feature in enumerate(forest.schema.features):
        if feature.transform == "identity":
            met[feature.column].append(forest.threshold[forest.feature == f])
            if f in oblique:
                met[feature.column].append(forest.cut[forest.cut_offset[f] : forest.cut_offset[f + 1]])
    merged = [np.unique(np.concatenate([np.empty(0), *parts])) for parts in met]
    return [values[np.isfinite(values)] for values in merged]


def near_misses(categories: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return texts that a careless comparison takes for a category: other case, spaces, a prefix."""
    chosen = [categories[k] for k in rng.permutation(len(categories))[:40]]
    near = list(SPECIAL_TEXTS)
    for text in chosen:
        near += [
            text.upper(),
            text.lower(),
            text + " ",
            " " + text,
            text.strip(),
            text[:-1],
            text + text[-1:],
            text + "x",
        ]
        near += [
            unicodedata.normalize("NFD", text),
            unicodedata.normalize("NFC", text),
            f"'{text}'",
            text.replace("'", "''"),
        ]
    return sorted(set(near))


def _spread(rng: np.random.Generator, n: int, count: int) -> NDArray[np.int64]:
    """n draws from range(count) that take every number before any comes twice."""
    rounds = [rng.permutation(count) for _ in range(-(-n // max(count, 1)))]
    return np.concatenate([np.empty(0, dtype=np.int64), *rounds])[:n].astype(np.int64)


def _numeric(
    rng: np.random.Generator, n: int, edges: Floats, missing: NDArray[np.bool_], infinities: bool
) -> Floats:
    with np.errstate(over="ignore"):
        beside = [
            edges,
            np.nextafter(edges, -np.inf),
            np.nextafter(edges, np.inf),
            np.floor(edges),
            np.ceil(edges),
        ]
    pool = np.concatenate([*beside, SPECIAL_NUMBERS, [np.inf, -np.inf] if infinities else []])
    pool = pool if infinities else pool[np.isfinite(pool)]
    on_edge = pool[_spread(rng, n, len(pool))]
    usual = edges[np.abs(edges) < 1e9] if np.any(np.abs(edges) < 1e9) else np.array([-1.0, 1.0])
    low, high = np.quantile(usual, [0.1, 0.9])
    margin = 0.5 * (high - low) + 1e-3 * abs(high) + TINY
    between = rng.uniform(low - margin, high + margin, n)
    between = np.where(rng.random(n) < 0.2, np.round(between), between)
    return np.where(missing, np.nan, np.where(rng.random(n) < 0.5, on_edge, between))


def _datetimes(rng: np.random.Generator, n: int, edges: Floats, missing: NDArray[np.bool_]) -> NDArray[Any]:
    inside = edges[(edges > FIRST_SECOND) & (edges < LAST_SECOND)]
    whole = np.floor(
        np.concatenate([inside, [0.0, -1.0, 951_782_400.0, 4_102_444_800.0, FIRST_SECOND, LAST_SECOND]])
    )
    micro = whole.astype(np.int64)[:, None] * 1_000_000 + np.array(
        [0, -1, 1, 999_999, 1_000_000, -1_000_000, 500_000]
    )
    pool = micro.reshape(-1)
    low, high = (inside.min(), inside.max()) if len(inside) else (0.0, 2e9)
    between = (rng.uniform(low - 1e6, high + 1e6, n) * 1e6).astype(np.int64)
    chosen = np.where(rng.random(n) < 0.5, pool[_spread(rng, n, len(pool))], between)
    values = np.clip(chosen, FIRST_SECOND * 1_000_000, LAST_SECOND * 1_000_000).astype("datetime64[us]")
    values[missing] = np.datetime64("NaT")
    return values


def _objects(values: Sequence[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    array[missing] = None
    return array


def to_arrow(rows: Mapping[str, NDArray[Any]], schema: TableSchema, *, missing: str = "mixed") -> pa.Table:
    """Return generated rows as a PyArrow table with the types of the schema: double, bool, string,
    timestamp[us].

    Parameters
    ----------
    rows : what `generate_rows` returns.
    schema : the schema of the forest.
    missing : how a missing number is written: "mixed" (every other one NULL, the rest NaN: a model must take
        both), "null" or "nan".

    Examples
    --------
    >>> to_arrow({"x": np.array([1.0, np.nan])}, TableSchema.numeric(["x"]), missing="null").to_pydict()
    {'x': [1.0, None]}
    """
    import pyarrow as pa

    if missing not in ("mixed", "null", "nan"):
        raise ParameterError(f'missing must be "mixed", "null" or "nan", got {missing!r}.')
    types = {"boolean": pa.bool_(), "categorical": pa.string(), "datetime": pa.timestamp("us")}
    arrays = []
    for column in schema.columns:
        values = rows[column.name]
        if column.kind == "numeric":
            null = np.isnan(values)
            if missing == "mixed":
                null[np.flatnonzero(null)[1::2]] = False
            arrays.append(
                pa.array(
                    values, type=pa.float64(), mask=null if missing != "nan" else None, from_pandas=False
                )
            )
        elif column.kind == "datetime":
            arrays.append(pa.array(values, type=types[column.kind]))
        else:
            arrays.append(pa.array(values.tolist(), type=types[column.kind]))
    return pa.table(arrays, names=list(schema.names))
