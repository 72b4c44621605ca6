"""Which encoder to choose: the family of the model, and how many rows there are to learn each level from. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardgrad.core.errors import DataError, ParameterError, suggestion
from hardgrad.tabular.encoder_base import TableTransformer, read_target
from hardgrad.tabular.encoder_levels import find_levels
from hardgrad.tabular.encoders import CategoricalEncoder

FAMILIES = ("affine", "tree", "distance")
ENOUGH_ROWS = 10.0
"""Rows a level needs, on average, for a weight of its own."""
FEW_LEVELS = 4
TARGET = "m-estimate"
"""The target code that is recommended: scikit-learn's `TargetEncoder`. Where levels have few rows, "target" and "james-stein" shrink some
much more than others, and so change their order."""
_TREES = ("tree", "forest", "boost", "lgbm", "xgb", "catboost", "bagging")
_DISTANCES = ("neighbor", "neighbour", "gaussianprocess", "kernelridge", "centroid")


@dataclass(frozen=True)
class EncoderAdvice:
    """Which encoder to use, and why.

    Parameters
    ----------
    kind : of `CategoricalEncoder`.
    reason : a sentence.
    aspl : average samples per level, averaged over the categorical columns.
    min_aspl : the least of them.
    table : one row a categorical column: "column", "levels", "aspl".
    standardise : whether the codes should be scaled to unit variance for this model.
    """

    kind: str
    reason: str
    aspl: float
    min_aspl: float
    table: tuple[Mapping[str, Any], ...]
    standardise: bool = False

    def encoder(self, **options: Any) -> CategoricalEncoder:
        """Return an encoder of this kind; options are those of `CategoricalEncoder`."""
        return CategoricalEncoder(self.kind, **options)

    def __str__(self) -> str:
        columns = "\n".join(
            f"  {row['column']!r}: {row['levels']} levels, {row['aspl']:.1f} rows a level"
            for row in self.table
        )
        return f"{self.kind}: {self.reason}\n{columns}"


def recommend_encoder(
    X: Any, y: Any, model: Any, *, columns: Any = "auto", enough_rows: float = ENOUGH_ROWS
) -> EncoderAdvice:
    """Say which encoder suits a table and a model.

    An affine model gives each one-hot column its own weight, which no other code can better where there are rows enough to learn the
    weights. A tree asks one threshold at a time: sorted by the target's mean, one threshold is the best split into two sets of levels. A
    model of distances is misled by many columns of 0 and 1, and needs codes on one scale.

    Parameters
    ----------
    X : table to train on.
    y : target [n].
    model : an estimator (or a pipeline that ends in one), or "affine" (linear models, networks, support vector machines with any kernel on
        coded columns), "tree" or "distance".
    columns : see `CategoricalEncoder`.
    enough_rows : average rows a level from which on an affine model gets one-hot codes.

    Raises
    ------
    ParameterError : the model is of no known family.
    DataError : there is no categorical column.

    Examples
    --------
    >>> table = {"state": ["NY", "TX"] * 20}
    >>> recommend_encoder(table, [0, 1] * 20, "affine").kind
    'one-hot'

    Source: Zhu, Qiu and Fu, 2024, Comparative Study on the Performance of Categorical Variable Encoders in Classification and Regression
    Tasks.
    """
    family = model_family(model)
    reader = _Reader(columns)
    arrow = reader._open(X)
    read_target(y, arrow.num_rows, "auto", "recommend_encoder()")
    names = [name for name, kind in reader._kinds(arrow) if kind == "categorical"]
    if not names:
        raise DataError(
            f"the table has no categorical column among {arrow.column_names}; name whole numbers that are categories in columns=."
        )
    levels = {name: max(1, len(find_levels(name, arrow[name], "category").texts)) for name in names}
    table = tuple({"column": n, "levels": K, "aspl": arrow.num_rows / K} for n, K in levels.items())
    aspl = [row["aspl"] for row in table]
    kind, reason = _rule(family, min(aspl), max(levels.values()), enough_rows)
    return EncoderAdvice(kind, reason, float(np.mean(aspl)), min(aspl), table, family == "distance")


class _Reader(TableTransformer):
    """Reads a table as the encoders do."""

    def __init__(self, columns: Any) -> None:
        self.columns = columns


def _rule(family: str, min_aspl: float, most_levels: int, enough: float) -> tuple[str, str]:
    """Return kind and reason. Of the target family always `TARGET`."""
    if family == "affine":
        if min_aspl >= enough:
            return "one-hot", (
                f"an affine model gives each level its own weight, and every column has at least {enough:g} rows a level ({min_aspl:.1f})."
            )
        return TARGET, (
            f"a column has {min_aspl:.1f} rows a level, fewer than {enough:g}: too few for a weight each, so that target codes share one."
        )
    if family == "tree":
        if most_levels <= FEW_LEVELS:
            return (
                "one-hot",
                f"no column has more than {FEW_LEVELS} levels, which a tree splits off one by one.",
            )
        return TARGET, (
            f"a column has {most_levels} levels: a threshold on their target means is the best split of them into two sets."
        )
    return TARGET, "a model of distances needs few columns on one scale: target codes, standardised."


def model_family(model: Any) -> str:
    """Return "affine", "tree" or "distance" for an estimator, by its class and the classes that it comes from.

    >>> from sklearn.ensemble import RandomForestClassifier
    >>> model_family(RandomForestClassifier())
    'tree'
    """
    if isinstance(model, str):
        if model not in FAMILIES:
            raise ParameterError(
                f"model got {model!r}; expected an estimator or one of {', '.join(FAMILIES)}.{suggestion(model, FAMILIES)}"
            )
        return model
    if not hasattr(model, "fit"):
        raise ParameterError(
            f"model got a {type(model).__name__}; expected an estimator or one of {', '.join(FAMILIES)}."
        )
    steps = getattr(model, "steps", None)
    if steps:
        return model_family(steps[-1][1])
    names = " ".join(cls.__name__.lower() for cls in type(model).__mro__)
    if any(word in names for word in _TREES):
        inner = getattr(model, "estimator", None)
        bagged = "bagging" in names or "adaboost" in names
        return model_family(inner) if bagged and hasattr(inner, "fit") else "tree"
    return "distance" if any(word in names for word in _DISTANCES) else "affine"
