"""How a fitted tree ensemble turned training targets into leaf values: what its smoother is made of. Never imports torch.

What is read here is the recipe alone: averages of a bag, steps of boosting, rate, penalty, start. Settings that make a leaf anything else
than a (shrunken) average of targets are refused by name: the matrix would be that of another model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ParameterError, UnsupportedError
from hardgrad.trees.forest import Forest
from hardgrad.trees.importers import import_forest
from hardgrad.trees.importers_sklearn import AVERAGED, BOOSTED, HISTOGRAM, SINGLE

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SmoothingRule:
    """How the leaves of an ensemble follow from the targets of its training rows.

    Parameters
    ----------
    leaves : "average" (each tree averages the targets of its leaf, and the trees are averaged), "boost" (each tree averages what the
        trees before it left over), or "refit" (all leaves together by least squares).
    learning_rate : share of a tree that boosting adds.
    ridge : added to the number of rows of a leaf in "boost" (LightGBM's `lambda_l2`); penalty on squared leaf values in "refit", where 0
        gives the solution of smallest norm.
    init : where boosting starts: at the "mean" of the targets, or at a constant that they do not move ("zero").
    loss : "squared", or "logistic" for boosting of a binary target: its rows are the local Jacobian of the raw score.

    Raises
    ------
    ParameterError : a value outside its range.

    Examples
    --------
    >>> SmoothingRule("boost", learning_rate=0.1).init
    'mean'

    Source: Curth, Jeffares and van der Schaar, 2024, Why do Random Forests Work?
    """

    leaves: Literal["average", "boost", "refit"] = "average"
    learning_rate: float = 1.0
    ridge: float = 0.0
    init: Literal["mean", "zero"] = "mean"
    loss: Literal["squared", "logistic"] = "squared"

    def __post_init__(self) -> None:
        choices = {
            "leaves": ("average", "boost", "refit"),
            "init": ("mean", "zero"),
            "loss": ("squared", "logistic"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ParameterError(
                    f"SmoothingRule got {name}={getattr(self, name)!r}; expected one of {known}."
                )
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise ParameterError(f"SmoothingRule got ridge={self.ridge!r}; expected a number of at least 0.")
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ParameterError(
                f"SmoothingRule got learning_rate={self.learning_rate!r}; expected a positive number."
            )
        if self.loss == "logistic" and self.leaves != "boost":
            raise ParameterError(
                f"SmoothingRule got loss='logistic' with leaves={self.leaves!r}; only boosting has it."
            )


REFITTED = SmoothingRule("refit", ridge=1e-3)


def read_model(model: Any) -> tuple[Forest, SmoothingRule]:
    """Return the exact forest of a fitted model and its rule.

    Raises
    ------
    UnsupportedError : the model is no linear smoother, or drew rows that it does not tell.
    """
    forest = getattr(model, "forest_", model)
    if isinstance(forest, Forest) and forest.has_slopes:
        raise UnsupportedError(
            "leaves of this forest are affine: they are no averages of targets. Use a forest with constant leaves."
        )
    if isinstance(forest, Forest):  # an artifact does not say how it was trained
        return forest, SmoothingRule("average" if forest.aggregation == "mean" else "refit")
    kinds = [cls.__name__ for cls in type(model).__mro__]
    if any(kind in (*SINGLE, *AVERAGED) for kind in kinds):
        return import_forest(model), _averaged(model)
    if any(kind in (*BOOSTED, *HISTOGRAM) for kind in kinds):
        return import_forest(model), _sklearn_boosted(model)
    forest = import_forest(model)
    family = {cls.__module__.partition(".")[0] for cls in type(model).__mro__}
    return forest, _lightgbm(model) if "lightgbm" in family else _xgboost(model)


def _refuse(model: Any, settings: Mapping[str, Any], plain: Mapping[str, tuple[Any, ...]], why: str) -> None:
    """Refuse the first setting that is neither unset nor one of its plain values."""
    for name, allowed in plain.items():
        value = settings.get(name)
        if value is not None and value not in allowed:
            expected = " or ".join(map(repr, allowed or (None,)))
            raise UnsupportedError(
                f"the {type(model).__name__} was trained with {name}={value!r}; expected {expected}: {why}."
            )


# --- scikit-learn ------------------------------------------------------------------------------------------------------------------------
def _averaged(model: Any) -> SmoothingRule:
    means = ("squared_error", "friedman_mse", "poisson", "gini", "entropy", "log_loss")
    settings, plain = model.get_params(), {"criterion": means, "monotonic_cst": ()}
    _refuse(model, settings, plain, "its leaves are not averages of targets")
    _refuse(
        model, settings, {"class_weight": ()}, "train with such weights as sample_weight and pass them here"
    )
    return SmoothingRule()


def bootstrap_counts(model: Any, n_train: int) -> Floats | None:
    """Return how often each tree of a scikit-learn forest drew each row, [n_train, trees]; None for all others: once.

    Raises
    ------
    ParameterError : the samples are of another number of rows.
    """
    if not (getattr(model, "bootstrap", False) and hasattr(model, "estimators_samples_")):
        return None
    samples = model.estimators_samples_
    if max(int(rows.max()) for rows in samples) >= n_train or (
        model.max_samples is None and len(samples[0]) != n_train
    ):
        raise ParameterError(
            f"X_train has {n_train:,} rows, but the bootstrap samples of the {type(model).__name__} are of another number. Pass the rows "
            "that it was trained on."
        )
    return np.stack([np.bincount(rows, minlength=n_train) for rows in samples], axis=1).astype(np.float64)


def _sklearn_boosted(model: Any) -> SmoothingRule:
    settings = model.get_params()
    plain: dict[str, tuple[Any, ...]] = {
        "loss": ("squared_error", "log_loss"),
        "subsample": (1.0,),
        "monotonic_cst": (),
        "n_iter_no_change": (),
        "init": ("zero",),
    }
    if hasattr(model, "do_early_stopping_"):
        del plain["n_iter_no_change"]  # of no effect without early stopping
        settings["early_stopping"] = model.do_early_stopping_
        plain["early_stopping"] = (False,)
    _refuse(model, settings, plain, "its leaves do not follow from all training rows alone")
    return SmoothingRule(
        "boost",
        learning_rate=model.learning_rate,
        ridge=settings.get("l2_regularization", 0.0),
        init="zero" if settings.get("init") == "zero" else "mean",
        loss="logistic" if settings["loss"] == "log_loss" else "squared",
    )


# --- LightGBM and XGBoost ----------------------------------------------------------------------------------------------------------------
def _lightgbm(model: Any) -> SmoothingRule:
    booster = model if hasattr(model, "model_to_string") else model.booster_
    text = booster.model_to_string()
    settings = dict(re.findall(r"^\[(\w+): (.*)\]$", text, flags=re.MULTILINE))
    objective = re.search(r"^objective=(\S+)", text, flags=re.MULTILINE)
    settings["objective"] = objective.group(1) if objective else "none"
    if settings.get("bagging_freq") == "0":
        settings.pop("bagging_fraction", None)
    off = ("0",)
    plain = {
        "objective": ("regression", "binary"), "boosting": ("gbdt",), "data_sample_strategy": ("bagging",), "bagging_fraction": ("1",),
        "lambda_l1": off, "path_smooth": off, "max_delta_step": off, "use_quantized_grad": off, "linear_tree": off, "reg_sqrt": off,
        "monotone_constraints": ("",), "sigmoid": ("1",), "scale_pos_weight": ("1",), "is_unbalance": off,
    }  # fmt: skip
    _refuse(model, settings, plain, "its leaves do not follow from averages of all training rows")
    return SmoothingRule(
        "boost",
        learning_rate=float(settings["learning_rate"]),
        ridge=float(settings["lambda_l2"]),
        init="mean" if settings["boost_from_average"] == "1" else "zero",
        loss="logistic" if settings["objective"] == "binary" else "squared",
    )


def _xgboost(model: Any) -> SmoothingRule:
    booster = model if hasattr(model, "save_config") else model.get_booster()
    learner = json.loads(booster.save_config())["learner"]
    boosting = learner["gradient_booster"]
    settings = {
        **boosting.get("tree_train_param", {}),
        **boosting.get("gbtree_model_param", {}),
        **learner["objective"].get("reg_loss_param", {}),
        "booster": boosting["name"],
        "objective": learner["objective"]["name"],
    }
    plain = {
        "objective": ("reg:squarederror", "binary:logistic"), "booster": ("gbtree",), "num_parallel_tree": ("1",), "subsample": ("1",),
        "reg_alpha": ("0",), "max_delta_step": ("0",), "monotone_constraints": ("()", ""), "scale_pos_weight": ("1",),
    }  # fmt: skip
    _refuse(model, settings, plain, "its leaves do not follow from averages of all training rows")
    return SmoothingRule(
        "boost",
        learning_rate=float(settings["learning_rate"]),
        ridge=float(settings["reg_lambda"]),
        init="mean" if learner["learner_model_param"]["boost_from_average"] == "1" else "zero",
        loss="logistic" if settings["objective"] == "binary:logistic" else "squared",
    )
