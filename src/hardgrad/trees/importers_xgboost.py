"""Reading XGBoost's JSON and UBJSON formats (`Booster.save_model`) exactly. Never imports XGBoost or torch.

XGBoost casts every number to float32 and goes left iff `x < t`; here a threshold is the largest double that decides alike, so a forest
takes doubles and reaches the same leaves. XGBoost sums leaves in float32; a forest sums the same leaves in double, so raw scores differ
by float32 rounding (about `trees * 6e-8 * |score|`), and ours are the more accurate ones.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ExportError, HardgradError
from hardgrad.tabular.float_rounding import largest_double_below_float
from hardgrad.tabular.table_model import Label
from hardgrad.trees.importers_common import (
    Choice,
    Floats,
    Ints,
    Output,
    PeerColumns,
    PeerTree,
    Steps,
    category_labels,
    choose_names,
    steps_of_codes,
)
from hardgrad.trees.importers_ubjson import read_ubjson

LOGISTIC = ("binary:logistic", "reg:logistic")
CLASSIFYING = ("binary:logistic", "binary:logitraw", "multi:softprob", "multi:softmax")
RAW_ONLY = ("binary:hinge",)
EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
IDENTITY_OBJECTIVES = (
    "reg:squarederror",
    "reg:linear",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "rank:ndcg",
    "rank:map",
    "rank:pairwise",
)


def parse_xgboost(payload: bytes, what: str) -> dict[str, Any]:
    """Decode a model in JSON or UBJSON. Raises `ArtifactError` where it is damaged or of another kind."""
    # After its "{" UBJSON has the type of a length, JSON a quotation mark or white space.
    binary = payload[1:2] in (b"L", b"i", b"U", b"I", b"l", b"$", b"#")
    try:
        model = read_ubjson(payload) if binary else json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{what} is damaged: not valid {'UBJSON' if binary else 'JSON'} ({error}). Copy the file again, or save the model "
            "again with save_model()."
        ) from None
    if isinstance(model, dict) and "tree_info" in model and "feature_names" in model:
        raise ArtifactError(
            f"{what} is LightGBM's JSON dump, which has no exact numbers. Use save_model(), which writes text."
        )
    if not isinstance(model, dict) or not isinstance(model.get("learner"), dict):
        raise ArtifactError(
            f"{what} is not an XGBoost model: it has no 'learner'. Write it with Booster.save_model()."
        )
    return model


def read_xgboost(
    model: dict[str, Any],
    what: str,
    *,
    columns: list[str] | None,
    described: PeerColumns | None,
    classes: tuple[Label, ...] | None,
    raw: bool,
    iterations: int | None = None,
) -> tuple[list[PeerTree], PeerColumns, Output]:
    """Turn a decoded model into trees, columns and output (see `hardgrad.trees.importers.import_forest`).

    `iterations` keeps only the first boosting rounds, as estimators that stopped early predict.
    """
    try:
        learner = model["learner"]
        trees, groups, weights = _boosted(learner["gradient_booster"], what, iterations)
        peer_columns = _columns(learner, what, columns, described)
        version = tuple(int(part) for part in model.get("version", (1, 0, 0)))
        output = _output(learner, version, what, classes, raw)
        outputs = len(output.base)
        return (
            [
                _tree(t, peer_columns, int(g), outputs, float(w))
                for t, g, w in zip(trees, groups, weights, strict=True)
            ],
            peer_columns,
            output,
        )
    except HardgradError:
        raise
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        reason = f"the entry {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(
            f"{what} is damaged: {reason}. Save the model again with save_model()."
        ) from error


def _boosted(booster: dict[str, Any], what: str, iterations: int | None) -> tuple[list[Any], Any, Any]:
    """Return the trees, the output group of each and the weight of each (dart)."""
    name = booster["name"]
    if name not in ("gbtree", "dart"):
        raise ExportError(
            f"{what} has the booster {name!r}, which has no trees. Train with booster='gbtree' or 'dart'."
        )
    model = booster["gbtree"]["model"] if name == "dart" else booster["model"]
    trees, groups = model["trees"], list(model["tree_info"])
    weights = list(booster["weight_drop"]) if name == "dart" else [1.0] * len(trees)
    promised = int(model["gbtree_model_param"]["num_trees"])
    if not len(trees) == len(groups) == len(weights) == promised:
        raise ValueError(
            f"it promises {promised} trees, holds {len(trees)} with {len(groups)} groups, {len(weights)} weights"
        )
    kept = len(trees)
    if iterations is not None:
        starts = model.get("iteration_indptr")
        if starts is None:
            raise ExportError(
                f"{what} stopped early and does not say which trees to use. Save it with XGBoost 2 or newer."
            )
        kept = int(starts[min(iterations, len(starts) - 1)])
    return trees[:kept], groups[:kept], weights[:kept]


# --- columns and output -----------------------------------------------------------------------------------------------------------
def _columns(
    learner: dict[str, Any], what: str, columns: list[str] | None, described: PeerColumns | None
) -> PeerColumns:
    count = int(learner["learner_model_param"]["num_feature"])
    own = list(learner.get("feature_names") or [f"f{i}" for i in range(count)])
    if len(own) != count:
        raise ValueError(f"it has {len(own)} feature names for {count} features")
    names = choose_names(own, columns, described)
    result = PeerColumns(names, booleans=described.booleans if described else frozenset())
    types = list(learner.get("feature_types") or [])
    booster = learner["gradient_booster"]
    stored = (booster.get("gbtree", booster)["model"].get("cats") or {}).get("enc") or []
    from_data = described.categories if described is not None else {}
    for i in (i for i in range(count) if types[i : i + 1] == ["c"]):
        values = _categories(stored[i]) if i < len(stored) else []
        if values is None and i not in from_data:
            raise ExportError(
                f"{what} has category names in column {names[i]!r} that are not plain ASCII, and XGBoost cuts such names short "
                "when it saves them. Pass data=, the frame that it was trained on (some rows are enough)."
            )
        known = category_labels(names[i], values) if values else from_data.get(i)
        if known:
            result.categories[i] = known
    return result


def _categories(encoded: dict[str, Any]) -> list[Any] | None:
    """Decode one column's categories: whole numbers, or texts joined in one list of bytes; None where they cannot be trusted.

    XGBoost up to 3.2 reads a pandas column by the number of characters where it needs that of bytes, so that any name that is not
    ASCII damages those after it, sometimes into names that look right.
    """
    values = np.asarray(encoded["values"]).reshape(-1)
    if "offsets" not in encoded:
        return list(values.tolist())
    joined = values.astype(np.int64).astype(np.uint8).tobytes()
    if not joined.isascii():
        return None
    bounds = [int(offset) for offset in encoded["offsets"]]
    return [joined[a:b].decode("ascii") for a, b in pairwise(bounds)]


def _output(
    learner: dict[str, Any], version: tuple[int, ...], what: str, classes: tuple[Label, ...] | None, raw: bool
) -> Output:
    parameters = learner["learner_model_param"]
    outputs = max(int(parameters["num_class"]), int(parameters.get("num_target", "1")), 1)
    base = np.atleast_1d(np.asarray(json.loads(parameters["base_score"]), dtype=np.float32))
    if base.ndim != 1 or len(base) not in (1, outputs):
        raise ValueError(f"base_score has {len(base)} entries for {outputs} outputs")
    objective = learner["objective"]["name"]
    crossing = objective == "reg:quantileerror" and outputs > 1 and version >= (3, 3)
    if objective not in (*CLASSIFYING, *IDENTITY_OBJECTIVES, *LOGISTIC, *EXPONENTIAL, *RAW_ONLY) or crossing:
        raise ExportError(
            f"{what} has the objective {objective!r}, which this version of hardgrad cannot import."
        )
    logistic = objective in LOGISTIC or (objective == "binary:logitraw" and version < (2, 0))
    margin = _margin(base, logistic, objective in EXPONENTIAL)
    output = Output(np.broadcast_to(margin, (outputs,)).astype(np.float64))
    if raw:
        return output
    if objective in ("binary:logistic", "binary:logitraw") and outputs == 1:
        output.link, output.task, output.classes = "sigmoid", "classification", classes or (0, 1)
    elif objective in ("multi:softprob", "multi:softmax"):
        output.link, output.task = "softmax", "classification"
        output.classes = classes or tuple(range(outputs))
    elif objective not in IDENTITY_OBJECTIVES:
        raise ExportError(
            f"{what} has the objective {objective!r} with {outputs} outputs, whose predictions are a function of the raw score "
            "that a Forest does not have. Pass raw=True to import the raw score."
        )
    return output


def _margin(base: NDArray[np.float32], logistic: bool, exponential: bool) -> NDArray[np.float32]:
    """Return the intercept as a raw score, in float32 and by the formula that XGBoost uses."""
    if logistic:
        if not ((base > 0) & (base < 1)).all():
            raise ValueError(f"base_score {base} is not a probability")
        return np.asarray(-np.log(np.float32(1) / base - np.float32(1)), dtype=np.float32)
    if exponential:
        if not (base > 0).all():
            raise ValueError(f"base_score {base} is not positive")
        return np.asarray(np.log(base), dtype=np.float32)
    return base


# --- trees ----------------------------------------------------------------------------------------------------------------------
def _tree(tree: dict[str, Any], columns: PeerColumns, group: int, outputs: int, weight: float) -> PeerTree:
    left = _whole(tree["left_children"])
    right = _whole(tree["right_children"], len(left))
    split = _whole(tree["split_indices"], len(left))
    condition = np.asarray(tree["split_conditions"], dtype=np.float64).astype(np.float32)
    default_left = _whole(tree["default_left"], len(left)) != 0
    if len(condition) != len(left):
        raise ValueError("split_conditions and left_children differ in length")
    leaf = left == -1
    if (split[~leaf] >= len(columns.names)).any() or (split[~leaf] < 0).any():
        raise ValueError("a node tests a feature that is not there")
    value = np.zeros((len(left), outputs))
    width = int(tree["tree_param"].get("size_leaf_vector", "1"))
    if width > 1:
        value[leaf] = _vectors(tree, leaf, right, width, outputs) * weight
    else:
        if not 0 <= group < outputs:
            raise ValueError(f"a tree belongs to output {group} of {outputs}")
        value[leaf, group] = condition[leaf].astype(np.float64) * weight
    result = PeerTree(
        feature=np.where(leaf, -1, split),
        threshold=largest_double_below_float(np.where(leaf, np.float32(0), condition)),
        left=left.copy(),
        right=right.copy(),
        default_left=default_left,
        value=value,
    )
    # `x < -inf` sends no number left. `x <= inf` sends every number left, so exchange the sides.
    never = np.flatnonzero(~leaf & np.isneginf(condition))
    result.threshold[never] = np.inf
    result.left[never], result.right[never] = right[never], left[never]
    result.default_left[never] = ~default_left[never]
    _categorical(tree, result, columns, default_left)
    return result


def _vectors(tree: dict[str, Any], leaf: NDArray[np.bool_], right: Ints, width: int, outputs: int) -> Floats:
    """Return the vectors of a tree with several outputs: XGBoost 3.1 keeps them in a table that `right` points into."""
    if width != outputs:
        raise ValueError(f"a tree has leaves of {width} values for {outputs} outputs")
    if "leaf_weights" in tree:
        table = np.asarray(tree["leaf_weights"], dtype=np.float64).reshape(-1, width)
        return np.asarray(table[right[leaf]])
    return np.asarray(np.asarray(tree["base_weights"], dtype=np.float64).reshape(-1, width)[leaf])


def _whole(values: Any, length: int | None = None) -> Ints:
    array = np.asarray(values)
    if (
        array.ndim != 1
        or (len(array) and array.dtype.kind not in "iub")
        or (length is not None and len(array) != length)
    ):
        raise ValueError("a list of whole numbers in a tree has another length or type")
    return array.astype(np.int64)


def _categorical(
    tree: dict[str, Any], result: PeerTree, columns: PeerColumns, default_left: NDArray[np.bool_]
) -> None:
    """Add the rules of categorical nodes: the categories that are listed go right, everything else left."""
    nodes = _whole(tree.get("categories_nodes", []))
    starts = _whole(tree.get("categories_segments", []), len(nodes))
    sizes = _whole(tree.get("categories_sizes", []), len(nodes))
    chosen = _whole(tree.get("categories", []))
    kinds = _whole(tree.get("split_type", []))
    if set(np.flatnonzero(kinds == 1).tolist()) - set(nodes.tolist()):
        raise ValueError("a categorical node has no categories")
    for node, start, size in zip(nodes.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        if not 0 <= node < len(result.feature) or result.feature[node] < 0:
            raise ValueError("a leaf has categories")
        listed = chosen[start : start + size]
        missing_left = bool(default_left[node])
        known = columns.categories.get(int(result.feature[node]))
        if known is not None:
            inside = set(listed.tolist())
            rule = Choice(tuple(k not in inside for k in range(len(known))), True, missing_left)
            result.rules[node] = rule
        elif len(listed):
            result.rules[node] = steps_of_codes(
                listed.tolist(),
                False,
                missing_left,
                lambda c: largest_double_below_float(c.astype(np.float32)),
            )
        else:  # nothing is listed: every number goes left
            result.rules[node] = Steps((), (True,), missing_left)
