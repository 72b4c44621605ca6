"""Rows and forests that try to break an export: what every exactness check and many tests feed on. Never
imports torch.

`generate_rows` looks at a forest and makes raw rows that stand exactly on its thresholds and one ulp beside
them, among infinities, denormals, unseen and nearly-seen categories. `random_forest` makes valid forests
over columns with awkward names. Comparing engines on such rows is `hardgrad.trees.exactness`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.table_model import Label, Link, Task
from hardgrad.trees.forest import LINEAR, MAX_SCORE, MAX_TERMS, MAX_WEIGHT, Aggregation, Forest
from hardgrad.trees.forest_build import ForestBuilder

if TYPE_CHECKING:
    import pyarrow as pa

Rows = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]

TINY = 5e-324
HUGE = 1.7976931348623157e308
# fmt: off
SPECIAL_NUMBERS = (
    0.0, -0.0, TINY, -TINY, 2.2250738585072014e-308, 1.0, -1.0, 0.5, 0.1, 1e15, 2.0**53, -1e300, HUGE, -HUGE,
)
SPECIAL_TEXTS = (
    "", " ", "  ", "\t", "'", '"', "`", "''", "\\", "\\n", "a\nb", "%s", "${x}", "--", "/*", "*/", "??/", ";",
    "</script>", "<!--", "NULL", "null", "None", "nan", "NaN", "true", "0", "1", "1.0", "-0", "é", "e\u0301",
    "ß", "ẞ", "İ", "日本語", "🌲", "\u200b", "\u00a0",
)
# fmt: on
# Dates stay where every engine under test can hold them: in the Gregorian calendar and before year 9000.
FIRST_SECOND = -11_676_096_000  # 1600-01-01
LAST_SECOND = 221_845_392_000  # 9000-01-01
AWKWARD_COLUMNS: tuple[Column, ...] = (
    Column("age"),
    Column('income "gross"'),
    Column("select"),
    Column("prix €/m²"),
    Column("a b"),
    Column("a_b"),
    Column("1st; --"),
    Column("owner's flag", "boolean"),
    Column("état civil", "categorical", ("", " oui", "O'Brien", 'dit "le bref"', "non", "oui", "été", "🌲")),
    Column("double", "categorical", ("A", "B", "\\", "a", "null", "日本")),
    Column("tick`ed at", "datetime"),
)
DEFAULT_LABELS = ("no", 'yes, it\'s "é"', "peut-être", "日本", "", "\\", "other 🌲")


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


# --- forests ------------------------------------------------------------------------------------------------
def random_forest(
    random_state: int | np.random.Generator = 0,
    *,
    n_trees: int = 5,
    max_depth: int = 5,
    n_outputs: int = 1,
    link: Link | None = None,
    task: Task = "classification",
    aggregation: Aggregation = "sum",
    oblique: bool = True,
    columns: int | Sequence[Column] | TableSchema | None = None,
    classes: Sequence[Label] | None = None,
    linear: bool = False,
    slopes: bool = False,
) -> Forest:
    """Return a random valid forest over mixed raw columns whose names hold quotes, spaces, unicode and SQL
    keywords.

    Parameters
    ----------
    random_state : seed or generator.
    n_trees, max_depth : number of trees and greatest depth of a leaf; the shapes are ragged.
    n_outputs : raw scores a row; 1 with classification means two classes and the sigmoid link.
    link : by default sigmoid or softmax for classification, identity for regression.
    task, aggregation : fields of the forest.
    oblique : whether about a third of the inner nodes are oblique.
    columns : None (the awkward mix), a number of plain numeric columns x0, x1, .., the columns, or a whole
        schema.
    classes : class labels, as many as the outputs ask for; awkward strings by default.
    linear : whether about a third of the other inner nodes sum real weights.
    slopes : whether about half of the leaves are affine (regression only).

    Examples
    --------
    >>> random_forest(1, n_trees=3, max_depth=2, n_outputs=4).link
    'softmax'
    """
    rng = np.random.default_rng(random_state)
    schema = _random_schema(rng, columns)
    if link is None:
        link = "identity" if task == "regression" else "sigmoid" if n_outputs == 1 else "softmax"
    labels: tuple[Label, ...] = ()
    if task == "classification":
        wanted = 2 if link == "sigmoid" else n_outputs
        labels = tuple(classes or (*DEFAULT_LABELS, *(f"class {k}" for k in range(7, wanted)))[:wanted])
    pools = [_threshold_pool(rng, schema, f) for f in range(len(schema.features))]
    tables = {f: _score_table(rng, pool) for f, pool in enumerate(pools)} if oblique else {}
    builder = ForestBuilder(schema, n_outputs)
    for _ in range(n_trees):
        builder.start_tree()
        _grow(rng, builder, pools, tables, max_depth, linear, slopes)
    base = rng.normal(size=n_outputs)
    used = tables if oblique else None
    options: dict[str, Any] = {"link": link, "aggregation": aggregation, "task": task, "classes": labels}
    return builder.finish(
        base=base, score_tables=used, target="target" if task == "classification" else "", **options
    )


def _random_schema(
    rng: np.random.Generator, columns: int | Sequence[Column] | TableSchema | None
) -> TableSchema:
    if isinstance(columns, TableSchema):
        return columns
    if isinstance(columns, int):
        return TableSchema.numeric([f"x{i}" for i in range(columns)])
    chosen = AWKWARD_COLUMNS if columns is None else tuple(columns)
    features: list[Feature] = []
    for i, column in enumerate(chosen):
        if column.kind == "categorical":
            for k in range(2):  # two codes a column, as a target with several outputs has; equal codes occur
                codes = np.round(rng.normal(size=len(column.categories) + 1), 1 if k else 17)
                features.append(Feature(f"{column.name} ({k})", i, "codes", tuple(codes.tolist())))
        else:
            features.append(Feature(column.name, i))
        if rng.random() < 0.5:
            features.append(Feature(f"{column.name} is missing", i, "missing"))
    return TableSchema(tuple(chosen), tuple(features))


def _threshold_pool(rng: np.random.Generator, schema: TableSchema, f: int) -> Floats:
    """Thresholds worth meeting on one feature: ordinary ones, ties with the values that occur, extremes."""
    feature = schema.features[f]
    kind = schema.columns[feature.column].kind
    if feature.transform == "codes":
        codes = np.array(feature.codes)
        return np.concatenate([codes, np.nextafter(codes, -np.inf), (codes[:1] + codes[-1:]) / 2])
    if feature.transform == "missing" or kind == "boolean":
        return np.array([0.5, 0.0, TINY, 1.0 - 2.0**-53, 1.0, -1.0])
    if kind == "datetime":
        seconds = np.floor(rng.uniform(-3e8, 2e9, 6))
        return np.concatenate([seconds, seconds[:2] + 0.5, [0.0, -1.0]])
    usual = rng.normal(scale=10.0 ** rng.integers(-2, 5), size=6)
    return np.concatenate(
        [
            usual,
            usual,
            np.round(usual[:3], 1),
            rng.choice(SPECIAL_NUMBERS, 3),
            [np.inf, -np.inf][: rng.integers(3)],
        ]
    )


def _score_table(rng: np.random.Generator, pool: Floats) -> tuple[Floats, NDArray[np.int32]]:
    finite = np.unique(pool[np.abs(pool) < 1e300])
    cuts = np.sort(rng.choice(finite, size=int(rng.integers(0, min(len(finite), 12) + 1)), replace=False))
    scores = rng.integers(-MAX_SCORE, MAX_SCORE + 1, len(cuts) + 1)
    return cuts, (np.sort(scores) if rng.random() < 0.7 else scores).astype(np.int32)


def _grow(
    rng: np.random.Generator,
    builder: ForestBuilder,
    pools: list[Floats],
    tables: Mapping[int, tuple[Floats, NDArray[np.int32]]],
    depth: int,
    linear: bool,
    slopes: bool,
) -> None:
    if depth == 0 or rng.random() < 0.1:
        value = rng.normal(size=builder.n_outputs) * 10.0 ** rng.integers(-3, 2)
        builder.add_leaf(value, _random_slope(rng, builder) if slopes and rng.random() < 0.5 else None)
        return
    if tables and rng.random() < 0.35:
        count = int(rng.integers(1, MAX_TERMS + 1))
        features = rng.integers(len(pools), size=count)
        weights = rng.integers(-MAX_WEIGHT, MAX_WEIGHT + 1, count)
        # A sum that does occur, so that "<=" and "<" differ.
        total = sum(
            int(w) * int(rng.choice(tables[int(f)][1])) for f, w in zip(features, weights, strict=True)
        )
        builder.add_oblique(list(zip(features.tolist(), weights.tolist(), strict=True)), total)
    elif linear and rng.random() < 0.5:
        _add_random_linear(rng, builder, pools)
    else:
        f = int(rng.integers(len(pools)))
        builder.add_axis(f, float(rng.choice(pools[f])), bool(rng.random() < 0.5))
    for _ in range(2):
        _grow(rng, builder, pools, tables, depth - 1, linear, slopes)


def _add_random_linear(rng: np.random.Generator, builder: ForestBuilder, pools: list[Floats]) -> None:
    """A node whose threshold is a sum that values of the pools give; weights of 0 and features that come twice occur."""
    count = int(rng.integers(1, 2 * len(pools) + 1))
    features = rng.integers(len(pools), size=count)
    weights = rng.normal(size=count) * 10.0 ** rng.integers(-2, 3, count)
    weights[rng.random(count) < 0.1] = 0.0
    total = 0.0
    with np.errstate(all="ignore"):
        for f, w in zip(features, weights, strict=True):
            pool = pools[f][np.abs(pools[f]) < 1e300]
            total += float(w) * float(rng.choice(pool))
    if rng.random() < 0.1:
        total = float(rng.choice([np.inf, -np.inf, 0.0]))
    builder.add_linear(list(zip(features.tolist(), weights.tolist(), strict=True)), total)


def _random_slope(rng: np.random.Generator, builder: ForestBuilder) -> Floats:
    """Slopes of about half of the features, at least one."""
    shape = (builder.n_outputs, len(builder.schema.features))
    slope = rng.normal(size=shape) * (rng.random(shape) < 0.5)
    slope[0, int(rng.integers(shape[1]))] = 0.1
    return np.asarray(slope)
