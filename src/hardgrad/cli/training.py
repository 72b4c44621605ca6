"""What `fit` and `compare` share: the estimator that was asked for, and how a model is measured."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hardgrad.core.errors import ParameterError, suggestion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hardgrad.tabular.table_model import TableModel

DEFAULTS = {"classification": "SoftForestClassifier", "regression": "SoftForestRegressor"}


MADE_BY = {"circuit": "logicgate", "forest": "softforest"}
"""What a model is called by its artifact, and the estimators that make it."""
ALWAYS_SET = ("random_state", "n_jobs")
"""Parameters that have a default on the command line; a model that has none of them is made without."""


def find_estimator(name: str, task: str) -> str:
    """Return the registered name of an estimator that may be named in short, or by what it makes: "neighbourhood", "circuit", "forest".

    Raises
    ------
    RegistryError : no estimator is called so.
    """
    from hardgrad.core import registry

    wanted = name.lower().replace("-", "").replace("_", "")
    wanted = MADE_BY.get(wanted, wanted)
    ends = ("classifier", "regressor") if task == "classification" else ("regressor", "classifier")
    by_lower = {known.lower(): known for known in registry.estimators}
    for candidate in (wanted, *(wanted + end for end in ends)):
        if candidate in by_lower:
            return by_lower[candidate]
    return name


def build_estimator(
    name: str | None, task: str, parameters: dict[str, Any], *, leave_out: bool = False
) -> Any:
    """Return an estimator of the registry with the parameters that were asked for; None means "as it comes".

    With `leave_out`, parameters that it does not have are left out, as where several models share the options of one command.

    Raises
    ------
    RegistryError : no estimator has that name. ParameterError : it does not take one of the parameters, or is for the other task.
    """
    from hardgrad.core import registry

    chosen = find_estimator(name, task) if name else DEFAULTS[task]
    cls = registry.estimators[chosen]
    known = list(cls().get_params())
    asked = {key: value for key, value in parameters.items() if value is not None}
    for key in [key for key in (asked if leave_out else ALWAYS_SET) if key not in known]:
        asked.pop(key, None)
    for key in asked:
        if key not in known:
            raise ParameterError(
                f"{chosen} has no parameter {key!r}; it has {', '.join(known)}.{suggestion(key, known)}"
            )
    kind = {"classifier": "classification", "regressor": "regression"}.get(
        getattr(cls, "_estimator_type", ""), ""
    )
    kind = kind or ("classification" if hasattr(cls, "predict_proba") else "regression")
    if kind != task:
        raise ParameterError(
            f"--model {chosen} is for {kind}, but the target asks for {task}. Take {DEFAULTS[task]}."
        )
    return cls(**asked)


@contextlib.contextmanager
def notes_shown_once() -> Iterator[None]:
    """Silence what the estimator would say about the table again: the command has said it."""
    from hardgrad.tabular.column_typing import TableWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TableWarning)
        yield


def parse_seconds(text: str | None) -> float | None:
    """Return seconds of "90", "90s", "5m" or "1h"; None of None.

    Raises
    ------
    ParameterError : it is no duration.

    Examples
    --------
    >>> parse_seconds("5m"), parse_seconds("1.5")
    (300.0, 1.5)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h)?\s*", text)
    if match is None or float(match[1]) <= 0:
        raise ParameterError(
            f"--time-budget got {text!r}; expected seconds, minutes or hours, as in 90s, 5m or 1h."
        )
    return float(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[match[2] or "s"]


def measure(
    model: TableModel,
    raw: NDArray[np.float64],
    y: NDArray[Any],
    weight: NDArray[np.float64],
    chosen: str | None = None,
) -> dict[str, float]:
    """Return the metrics of the hard model's raw scores against what was observed.

    Parameters
    ----------
    raw : float64 [n, outputs].
    y : labels or values, [n].
    weight : [n].
    chosen : the metric that the model was chosen by; it comes first.
    """
    import numpy as np

    from hardgrad.trees.metrics import METRICS
    from hardgrad.trees.objectives import Objective

    if model.task == "regression":
        objective, Y, names = (
            Objective("squared"),
            np.asarray(y, dtype=np.float64)[:, None],
            ["rmse", "mae", "r2"],
        )
    else:
        numbers = class_numbers(model, y)
        binary = len(model.classes) == 2
        objective = Objective("logistic" if binary else "softmax")
        Y = numbers[:, None].astype(np.float64) if binary else np.eye(len(model.classes))[numbers]
        if (
            model.link == "identity"
        ):  # the scores are probabilities: the metrics want what comes before the link
            logs = np.log(np.clip(model.raw_to_proba(raw), 1e-15, 1.0))
            raw = logs
        if (
            binary and raw.shape[1] == 2
        ):  # a score a class: the metrics of two classes want the log-odds of the second
            raw = raw[:, 1:] - raw[:, :1]
        names = ["log_loss", "accuracy", *(["auc"] if binary and len(np.unique(numbers)) == 2 else [])]
    if chosen in METRICS:
        names = [chosen, *(name for name in names if name != chosen)]
    return {name: METRICS[name](raw, Y, weight, objective) for name in names}


def class_numbers(model: TableModel, y: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each label in the model's classes."""
    import numpy as np

    position = {label: k for k, label in enumerate(model.classes)}
    return np.array([position[label] for label in y.tolist()], dtype=np.int64)


def metric_text(name: str, value: float) -> str:
    """Return "log-loss 0.3127".

    >>> metric_text("log_loss", 0.31271)
    'log-loss 0.3127'
    """
    shown = {"log_loss": "log-loss", "r2": "R2", "rmse": "RMSE", "mae": "MAE", "auc": "AUC"}.get(
        name, name.replace("_", " ")
    )
    return f"{shown} {value:.4f}" if abs(value) < 1e4 else f"{shown} {value:.6g}"
