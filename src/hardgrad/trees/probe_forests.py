"""Random forests that try to break an export: awkward names, thresholds that values meet, every kind of node and leaf. Never imports torch.

Rows that stand on their thresholds are `hardgrad.trees.probe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.table_model import Label, Link, Task
from hardgrad.trees.forest import MAX_SCORE, MAX_TERMS, MAX_WEIGHT, Aggregation, Forest
from hardgrad.trees.forest_build import ForestBuilder

Floats = NDArray[np.float64]

TINY = 5e-324
HUGE = 1.7976931348623157e308
# fmt: off
SPECIAL_NUMBERS = (
    0.0, -0.0, TINY, -TINY, 2.2250738585072014e-308, 1.0, -1.0, 0.5, 0.1, 1e15, 2.0**53, -1e300, HUGE, -HUGE,
)
# fmt: on
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
