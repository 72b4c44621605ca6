"""The door for forests that were trained elsewhere: LightGBM, XGBoost and scikit-learn, read exactly. Never imports torch.

The formats are in `importers_lightgbm`, `importers_xgboost` and `importers_sklearn`. No peer is imported: a model file needs none, and an
object brings its own. Nothing is unpickled or executed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hardgrad.core.errors import ArtifactError, ExportError, ParameterError
from hardgrad.tabular.table_model import Label
from hardgrad.trees.forest import Forest
from hardgrad.trees.importers_common import Output, PeerColumns, PeerTree, assemble, describe_data
from hardgrad.trees.importers_lightgbm import read_lightgbm
from hardgrad.trees.importers_sklearn import read_sklearn
from hardgrad.trees.importers_xgboost import parse_xgboost, read_xgboost

Parts = tuple[list[PeerTree], PeerColumns, Output]


def import_forest(
    source: Any, *, columns: Sequence[str] | None = None, data: Any = None, raw: bool = False
) -> Forest:
    """Return the `Forest` that decides exactly as a model of LightGBM, XGBoost or scikit-learn does.

    Every row reaches the same leaf of every tree, missing and infinite values and values at a threshold included. Raw scores are
    equal bit for bit where the peer sums in double in tree order (LightGBM; scikit-learn with `n_jobs=1`), and to float32 rounding
    for XGBoost, which sums in float32.

    Exceptions, all of them in the score and none in the leaves: LightGBM with `sigmoid` other than a power of two, and LightGBM's
    random forest mode with three or more classes, agree to rounding; in random forest mode LightGBM's raw score is the sum of the
    trees and ours the mean, which is what its probabilities come from; `loss="exponential"` of scikit-learn is doubled.

    Parameters
    ----------
    source : path of a LightGBM text file or an XGBoost JSON or UBJSON file; or a fitted Booster or estimator of LightGBM or
        XGBoost; or a fitted decision tree, random forest, extra trees, gradient boosting or histogram gradient boosting of
        scikit-learn. A booster that stopped early is imported as it predicts: an estimator with its best iterations.
    columns : names of the raw columns, in the model's order. By default those of `data`, else those in the model.
    data : a table that the model was trained on, or some rows of it, without the target. It names the columns of a model that was
        trained on an array, says which columns are boolean, and gives the categories that some model files leave out.
    raw : whether to import the raw score as a regression, which makes objectives with another link (poisson, gamma, one-vs-all)
        importable.

    Returns
    -------
    forest : columns of a data frame that were categorical are categorical columns here. A category that was not seen in training
        goes where the peer sends one: right in LightGBM, with the missing values in scikit-learn. XGBoost refuses a frame with one; here
        it goes left, where XGBoost sends a category number that a node does not list.

    Raises
    ------
    ArtifactError : the file is missing, damaged or of another kind.
    ExportError : the model is one that a `Forest` cannot express exactly (linear leaves, another link, several labels).
    ParameterError : the object is no such model, is not fitted, or `columns` does not fit.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[0.0], [1.0]], [5.0, 7.0])
    >>> import_forest(tree, columns=["age"]).predict(np.array([[0.5], [0.51]])).tolist()
    [5.0, 7.0]
    """
    names = None if columns is None else [str(name) for name in columns]
    described = None if data is None else describe_data(data)
    what, parts = _read(source, names, described, raw)
    try:
        return assemble(*parts, what)
    except ArtifactError as error:
        message = str(error) if what in str(error) else f"{what} cannot be imported: {error}"
        raise ArtifactError(message) from error


def _read(
    source: Any, columns: list[str] | None, described: PeerColumns | None, raw: bool
) -> tuple[str, Parts]:
    options: dict[str, Any] = {"columns": columns, "described": described, "raw": raw}
    if isinstance(source, (str, os.PathLike)):
        return _read_file(Path(source), options)
    family = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    what = f"the {type(source).__name__}"
    if "lightgbm" in family:
        booster = source if hasattr(source, "model_to_string") else _booster(source, "booster_")
        return what, read_lightgbm(booster.model_to_string(), what, classes=_classes(source), **options)
    if "xgboost" in family:
        return what, _read_xgboost_object(source, what, options)
    if "sklearn" in family:
        return what, read_sklearn(source, **options)
    raise ParameterError(
        f"cannot import a {type(source).__name__}: expected a path, or a model of LightGBM, XGBoost or scikit-learn."
    )


def _read_file(path: Path, options: dict[str, Any]) -> tuple[str, Parts]:
    what = str(path)
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}. Expected a model file."
        ) from error
    start = payload[:16].lstrip()
    if start.startswith(b"tree"):
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(
                f"{path} is damaged: not UTF-8 ({error.reason} at byte {error.start}). Copy it again."
            ) from None
        return what, read_lightgbm(text, what, classes=None, **options)
    if start.startswith(b"{"):
        return what, read_xgboost(parse_xgboost(payload, what), what, classes=None, **options)
    hint = "Expected LightGBM text (save_model) or XGBoost JSON or UBJSON (save_model('model.json'))."
    if start.startswith((b"binf", b"bs64")):
        raise ArtifactError(
            f"{path} is in XGBoost's old binary format. Load it with XGBoost and save it as JSON. {hint}"
        )
    if start[:1] == b"\x80":
        raise ArtifactError(
            f"{path} is a pickle, which can run code when it is read. Save the model in its own format. {hint}"
        )
    raise ArtifactError(f"{path} is not a model that can be imported. {hint}")


def _read_xgboost_object(source: Any, what: str, options: dict[str, Any]) -> Parts:
    is_booster = hasattr(source, "save_raw")
    booster = source if is_booster else _booster(source, "get_booster")
    missing = getattr(source, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise ExportError(
            f"{what} reads {missing!r} as missing; a Forest reads NaN. Replace it by NaN and train again."
        )
    best = None if is_booster else booster.attr("best_iteration")
    iterations = None if best is None else int(best) + 1
    model = parse_xgboost(bytes(booster.save_raw(raw_format="ubj")), what)
    return read_xgboost(model, what, classes=_classes(source), iterations=iterations, **options)


def _booster(estimator: Any, name: str) -> Any:
    """Return the booster of an estimator; an unfitted one raises its own NotFittedError, turned into ours."""
    try:
        found = getattr(estimator, name)
        return found() if callable(found) else found
    except (AttributeError, ValueError) as error:  # NotFittedError is both
        raise ParameterError(f"this {type(estimator).__name__} is not fitted. Call fit() first.") from error


def _classes(source: Any) -> tuple[Label, ...] | None:
    try:
        labels = source.classes_
    except (AttributeError, ValueError):
        return None
    return tuple(label.item() if isinstance(label, np.generic) else label for label in labels)
