"""Realistic report contexts without a training run: a small boosted forest on made loans, iris and diabetes, with an invented history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.tree import DecisionTreeRegressor

from hardgrad.core.gap import GapReport
from hardgrad.logic import Circuit, CircuitModel
from hardgrad.report import ReportContext, count_node_rows, permutation_importance
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.tabular.speed import Speed
from hardgrad.trees.forest_build import forest_from_trees


@dataclass(frozen=True)
class Check:
    """Stands for `hardgrad.trees.exactness.ExactCheck`."""

    engine: str
    rows: int
    differing: int
    seconds: float
    skipped_reason: str | None = None
    max_probability_ulp: float | None = None


CHECKS = (
    Check("numba", 10_000, 0, 0.31, None, 0.0),
    Check("c", 10_000, 0, 0.84, None, 1.0),
    Check("javascript", 10_000, 0, 1.2, None, 1.0),
    Check("duckdb", 10_000, 0, 2.6, None, 2.0),
    Check("sqlite", 10_000, 0, 1.9, None, 1.0),
    Check("onnx", 0, 0, 0.0, "onnxruntime is not installed"),
)

JOBS = ("clerk", "craft", "farming", "management", "sales", "service", "technician")
PURPOSES = ("car", "education", "home", "medical", "other", "renovation")
EPOCH = np.datetime64("1970-01-01T00:00:00", "s")


def loans(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Made loans with every kind of column, missing values, and a target that depends on most of them."""
    rng = np.random.default_rng(seed)
    income = np.round(np.exp(rng.normal(10.3, 0.6, n)), 2)
    income[rng.random(n) < 0.06] = np.nan
    amount = np.round(np.exp(rng.normal(9.0, 0.8, n)), -2)
    age = rng.integers(19, 78, n).astype(float)
    job = rng.choice(JOBS, n, p=[0.2, 0.2, 0.05, 0.15, 0.15, 0.15, 0.1]).astype(object)
    job[rng.random(n) < 0.04] = None
    purpose = rng.choice(PURPOSES, n).astype(object)
    owner = rng.random(n) < 0.55
    late = rng.poisson(0.6, n).astype(float)
    opened = EPOCH + rng.integers(1_262_304_000, 1_735_689_600, n).astype("timedelta64[s]")
    burden = amount / np.where(np.isnan(income), 26_000, income)
    score = (
        1.1 * burden + 0.9 * late - 0.02 * (age - 45) - 0.7 * owner
        + np.isin(job, ["sales", "service"]) * 0.6 + (purpose == "renovation") * 0.4 - 1.9
    )  # fmt: skip
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-score)), "default", "paid")
    table = {
        "income": income, "amount": amount, "age": age, "job": job, "purpose": purpose,
        "owns home": owner, "late payments": late, "opened": opened, "branch number": rng.integers(1, 40, n).astype(float),
    }  # fmt: skip
    return table, y


def loan_schema(y: np.ndarray, table: dict[str, np.ndarray]) -> TableSchema:
    """Columns of `loans`; categories are coded by their rate of default."""

    def codes(name: str, categories: tuple[str, ...]) -> tuple[float, ...]:
        return (*(float(np.mean(y[table[name] == c] == "default")) for c in categories), 0.3)

    columns = (
        Column("income"), Column("amount"), Column("age"), Column("job", "categorical", JOBS),
        Column("purpose", "categorical", PURPOSES), Column("owns home", "boolean"), Column("late payments"),
        Column("opened", "datetime"), Column("branch number"),
    )  # fmt: skip
    features = (
        Feature("income", 0), Feature("income is missing", 0, "missing"), Feature("amount", 1), Feature("age", 2),
        Feature("job", 3, "codes", codes("job", JOBS)), Feature("purpose", 4, "codes", codes("purpose", PURPOSES)),
        Feature("owns home", 5), Feature("late payments", 6), Feature("opened", 7),
    )  # fmt: skip
    return TableSchema(columns, features)


def tree_nodes(fitted: Any, value: Callable[[int], Any], node: int = 0) -> dict[str, Any]:
    """A fitted scikit-learn tree as nested dictionaries."""
    tree = fitted.tree_
    if tree.children_left[node] < 0:
        return {"value": value(node)}
    return {
        "feature": int(tree.feature[node]),
        "threshold": float(tree.threshold[node]),
        "default_left": bool(tree.missing_go_to_left[node]),
        "left": tree_nodes(fitted, value, int(tree.children_left[node])),
        "right": tree_nodes(fitted, value, int(tree.children_right[node])),
    }


def boost(
    X: np.ndarray, target: np.ndarray, link: str, n_trees: int, depth: int, rate: float = 0.4
) -> tuple[list[Any], np.ndarray]:
    """Plain gradient boosting with vector leaves: trees as dictionaries, and the base. `target` is [n, outputs]."""
    if link == "identity":
        base = target.mean(axis=0)
    else:
        base = np.log(target.mean(axis=0) / (1 - target.mean(axis=0) if link == "sigmoid" else 1.0))
    raw = np.tile(base, (len(X), 1))
    trees = []
    for seed in range(n_trees):
        if link == "sigmoid":
            p = 1 / (1 + np.exp(-raw))
        elif link == "softmax":
            p = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
        else:
            p = raw
        gradient = target - p
        fitted = DecisionTreeRegressor(max_depth=depth, min_samples_leaf=20, random_state=seed).fit(
            X, gradient
        )
        at = fitted.apply(X)
        curvature = np.ones_like(p) if link == "identity" else p * (1 - p)
        steps = {
            node: rate * gradient[at == node].sum(axis=0) / (curvature[at == node].sum(axis=0) + 1e-3)
            for node in np.unique(at)
        }
        trees.append(tree_nodes(fitted, lambda node, steps=steps: steps[node]))  # type: ignore[misc]
        raw += np.stack([steps[node] for node in at])
    return trees, base


def history(final_soft: float, final_hard: float) -> list[dict[str, Any]]:
    """An invented course of training that ends where it should."""
    rng = np.random.default_rng(5)
    found: list[dict[str, Any]] = []
    for phase, steps in (("start", 4), ("refine", 50), ("polish", 10)):
        for k in range(steps):
            t = len(found) / 63
            soft = final_soft + 0.11 * np.exp(-5 * t) + 0.0015 * rng.normal() * (1 - t)
            gap = (final_hard - final_soft) + 0.035 * np.exp(-4 * t) + 0.003 * abs(rng.normal()) * (1 - t)
            found.append({
                "phase": phase, "fraction": (k + 1) / steps, "step": len(found), "temperature": float(np.exp(-3 * t)),
                "soft": float(soft), "hard": float(soft + gap) if k % 2 or phase == "polish" else None,
            })  # fmt: skip
    found[-1] |= {"soft": final_soft, "hard": final_hard}
    return found


def loan_context() -> ReportContext:
    """A binary forest over every kind of column, with everything that a report can show."""
    table, y = loans(6_000, 0)
    schema = loan_schema(y, table)
    trees, base = boost(schema.encode(table), (y == "default").astype(float)[:, None], "sigmoid", 12, 4)
    classes = ["paid", "default"]
    forest = forest_from_trees(
        trees, schema, base=base, link="sigmoid", task="classification", classes=classes, target="outcome"
    )
    held, observed = loans(3_000, 1)
    raw = forest.predict_raw(held)
    loss = float(
        -np.log(forest.raw_to_proba(raw)[np.arange(3_000), (observed == "default").astype(int)]).mean()
    )
    sizes = (
        (1, 14, 0.071),
        (2, 30, 0.042),
        (3, 46, 0.03),
        (6, 92, 0.009),
        (12, forest.n_leaves, 0.0),
        (20, 300, -0.002),
    )
    front = [
        {
            "trees": t,
            "leaves": leaves,
            "bytes": leaves * 11,
            "loss": loss + extra,
            "accuracy": 0.79 - extra,
            "chosen": t == 12,
        }
        for t, leaves, extra in sizes
    ]
    baselines = [
        {
            "name": "LightGBM",
            "trees": 12,
            "leaves": 186,
            "bytes": 4_100,
            "loss": loss + 0.012,
            "accuracy": 0.783,
            "chosen": False,
        },
        {
            "name": "XGBoost",
            "trees": 12,
            "leaves": 192,
            "bytes": 4_300,
            "loss": loss + 0.014,
            "accuracy": 0.782,
            "chosen": False,
        },
    ]
    return ReportContext(
        model=forest, metric="log_loss", title="Who pays a loan back", source="loans.parquet", created="24 November 2026",
        table={"rows": 9_000, "columns": 9, "kinds": {"numeric": 5, "categorical": 2, "boolean": 1, "date": 1}, "positive": 0.31},
        history=history(loss - 0.0007, loss),
        gap=GapReport("log_loss", loss - 0.0007, loss, 0.994, 0.08, rows=3_000),
        front=front, baselines=baselines,
        validation={"y": observed, "raw": raw, "weight": None},
        rows={name: values[:200] for name, values in held.items()}, row_target=observed[:200],
        node_rows=count_node_rows(forest, table),
        importance=permutation_importance(forest, held, observed, n_repeats=3), importance_rows=3_000,
        exact_checks=CHECKS, packed_bytes=1_954,
        files={"model.safetensors": 21_340, "model.sql": 48_112, "model.c": 30_951, "model.js": 24_206},
        timings={"read": 0.21, "train": 19.4, "polish": 3.1, "exact checks": 6.9},
        versions={"hardgrad": "0.1.0", "numpy": np.__version__}, random_state=0,
    )  # fmt: skip


def iris_context() -> ReportContext:
    """Three classes, vector leaves."""
    X, y = load_iris(return_X_y=True)
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    labels = np.array(["setosa", "versicolor", "virginica"])
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], y[order]
    trees, base = boost(X[:100], np.eye(3)[y[:100]], "softmax", 4, 3)
    forest = forest_from_trees(
        trees,
        names,
        base=base,
        link="softmax",
        task="classification",
        classes=labels.tolist(),
        target="species",
    )
    table = {name: X[:, k] for k, name in enumerate(names)}
    return ReportContext(
        forest, "log_loss", rows=table, row_target=labels[y], exact_checks=CHECKS[:3],
        validation={"y": labels[y][100:], "raw": forest.predict_raw(X[100:])},
        importance=permutation_importance(forest, X, labels[y]), history=history(0.11, 0.115),
    )  # fmt: skip


def circuit_context() -> ReportContext:
    """No forest: a circuit of tests of columns with long and hostile names, with what was counted in it and its speed."""
    names = [
        "width of the longest leaf of the plant in millimetres",
        "<b>height</b>",
        "日本語の列の名前",
        "W" * 30,
    ]
    schema = TableSchema(tuple(map(Column, names)), tuple(Feature(name, k) for k, name in enumerate(names)))
    circuit = Circuit.from_expression("p = a ^ b; q = (a & c) | ~d; r = b; s = 1")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 4)), rng.choice(["no", "yes"], 200)
    model = CircuitModel.of(
        circuit, schema=schema, link="softmax", task="classification", classes=("no", "yes"), target="flower",
        bit_feature=np.arange(4, dtype=np.int32), bit_threshold=np.array([0.5, 0.30000000000000004, -1e-9, 1e300]),
        group=np.array([0, 0, 1, 1], np.int32), offset=np.zeros(2), scale=np.ones(2),
    )  # fmt: skip
    return ReportContext(
        model, "log_loss", history=history(0.3, 0.29), validation={"y": y, "raw": model.predict_raw_encoded(X)},
        facts={"Gates": {"as learned": 4000, "simplified": circuit.n_gates}, **model.facts()}, speed=Speed(1.2e6, "c", 4096),
        metrics={"log_loss": 0.7}, baselines=[{"name": "LightGBM", "leaves": 30, "loss": 0.6}], exact_checks=CHECKS[:2],
    )  # fmt: skip


def diabetes_context() -> ReportContext:
    """Regression."""
    data = load_diabetes()
    X, y, names = data.data, data.target, list(data.feature_names)
    trees, base = boost(X[:300], y[:300, None], "identity", 8, 3)
    forest = forest_from_trees(trees, names, base=base, target="progression")
    table = {name: X[:, k] for k, name in enumerate(names)}
    return ReportContext(
        forest, "r2", title="Diabetes after a year", rows=table, row_target=y, packed_bytes=512,
        validation={"y": y[300:], "raw": forest.predict_raw(X[300:])}, importance=permutation_importance(forest, X, y),
        gap=GapReport("r2", 0.42, 0.41, 0.98, 12.0, True, 142),
    )  # fmt: skip


HOSTILE = (
    '</script><script>document.title="owned"</script>',
    '<img src=x onerror="document.title=1">',
    "a'b\"c&amp;`${1}`",
    "naïve 日本 🌲",
    "<!--",
)


def hostile_context() -> ReportContext:
    """Names, categories, labels and texts that try to break out of the page."""
    rng = np.random.default_rng(2)
    n = 400
    columns = (
        Column(HOSTILE[0], "categorical", tuple(sorted(HOSTILE))), Column(HOSTILE[1]), Column(HOSTILE[2], "boolean"),
        Column(HOSTILE[3], "datetime"),
    )  # fmt: skip
    codes = (0.1, 0.2, 0.3, 0.4, 0.5, 0.25)
    features = (
        Feature(HOSTILE[0], 0, "codes", codes),
        Feature(HOSTILE[1], 1),
        Feature(HOSTILE[2], 2),
        Feature(HOSTILE[3], 3),
    )
    schema = TableSchema(columns, features)
    table = {
        HOSTILE[0]: rng.choice(HOSTILE, n).astype(object), HOSTILE[1]: rng.normal(size=n), HOSTILE[2]: rng.random(n) < 0.5,
        HOSTILE[3]: np.array([dt.datetime(2024, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 99, n)], dtype=object),
    }  # fmt: skip
    X = schema.encode(table)
    target = ((X[:, 0] > 0.25) ^ (X[:, 1] > 0)).astype(float)[:, None]
    trees, base = boost(X, target, "sigmoid", 3, 4)
    labels = ["</script>", '"><script>alert(1)</script>']
    forest = forest_from_trees(
        trees, schema, base=base, link="sigmoid", task="classification", classes=labels, target=HOSTILE[0]
    )
    y = np.array(labels)[target[:, 0].astype(int)]
    checks = (Check("<b>engine</b>", 5, 1, 0.1), Check("x", 0, 0, 0.0, "<script>reason</script>"))
    return ReportContext(
        forest, "<b>metric</b>", title=HOSTILE[0], source=HOSTILE[1], rows=table, row_target=y, exact_checks=checks,
        validation={"y": y, "raw": forest.predict_raw(table)}, importance=permutation_importance(forest, table, y),
        table={"notes": [HOSTILE[4] + HOSTILE[1]]}, files={HOSTILE[0]: 1}, versions={HOSTILE[1]: HOSTILE[0]}, timings={HOSTILE[0]: 1.0},
        front=[{"leaves": 3, "loss": 0.2, "chosen": True}, {"leaves": 9, "loss": 0.1}],
        baselines=[{"name": HOSTILE[0], "leaves": 5, "loss": 0.15}],
        history=[
            {"phase": HOSTILE[0], "soft": 1.0, "hard": 1.2, "temperature": 1.0},
            {"phase": HOSTILE[1], "soft": 0.5, "hard": 0.6, "temperature": 0.5},
        ],
    )  # fmt: skip


def census_context() -> ReportContext:
    """The bundled census table: 40 columns, most of them categorical, 6 % positive. For looking at, not for tests."""
    from importlib.resources import files

    import pyarrow.parquet as pq

    table = pq.read_table(str(files("hardgrad") / "tabular" / "data" / "census.parquet"))
    columns, features, y = [], [], np.array(table.column("income_over_50k").to_pylist())
    raw: dict[str, np.ndarray] = {}
    for name in table.column_names[:-1]:
        values = np.array(table.column(name).to_pylist(), dtype=object)
        if isinstance(next(v for v in values if v is not None), str):
            categories = tuple(sorted({v for v in values if v is not None}))
            rates = (*(float(y[values == c].mean()) for c in categories), float(y.mean()))
            features.append(Feature(name, len(columns), "codes", rates))
            columns.append(Column(name, "categorical", categories))
            raw[name] = values
        else:
            features.append(Feature(name, len(columns)))
            columns.append(Column(name))
            raw[name] = values.astype(float)
    schema = TableSchema(tuple(columns), tuple(features))
    X = schema.encode(raw)
    trees, base = boost(X[:30_000], y[:30_000, None].astype(float), "sigmoid", 20, 4)
    options: dict[str, Any] = {"link": "sigmoid", "task": "classification", "classes": [False, True]}
    forest = forest_from_trees(trees, schema, base=base, target="income_over_50k", **options)
    held = {name: values[30_000:] for name, values in raw.items()}
    return replace(
        loan_context(), model=forest, title="Census income", source="census.parquet", node_rows=count_node_rows(forest, raw),
        validation={"y": y[30_000:], "raw": forest.predict_raw(held)}, row_target=y[30_000:30_200],
        rows={name: values[:200] for name, values in held.items()},
        importance=permutation_importance(forest, held, y[30_000:], n_repeats=3), importance_rows=10_000,
    )  # fmt: skip
