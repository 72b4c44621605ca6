"""Reading LightGBM's text format (`Booster.save_model`) exactly. Never imports LightGBM or torch.

What LightGBM does at a node, and where it is restated here:

- A value within +-1e-35 is read as 0 (`flushed`); a missing one too, unless the node knows missing values.
- `missing_type` None: NaN is 0. NaN: NaN goes to the default side. Zero: NaN and 0 go to the default side.
- A categorical node takes the whole part of a number and looks it up in a bitset; missing, negative and unknown ones go right.

The initial score and the shrinkage are in the leaves already. `sigmoid` other than 1 is multiplied into the leaves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardgrad.core.errors import ArtifactError, ExportError, HardgradError
from hardgrad.tabular.table_model import Label
from hardgrad.trees.importers_common import (
    Choice,
    Floats,
    Output,
    PeerColumns,
    PeerTree,
    Steps,
    category_labels,
    choose_names,
    merged,
    steps_of_codes,
)

ZERO = float(np.float32(1e-35))
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
IDENTITY_OBJECTIVES = (
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "quantile",
    "mape",
    "lambdarank",
    "rank_xendcg",
    "custom",
)


@dataclass
class _Model:
    header: dict[str, str]
    trees: list[dict[str, str]]
    categories: list[list[Any]]


def read_lightgbm(
    text: str,
    what: str,
    *,
    columns: list[str] | None,
    described: PeerColumns | None,
    classes: tuple[Label, ...] | None,
    raw: bool,
) -> tuple[list[PeerTree], PeerColumns, Output]:
    """Turn model text into trees, columns and output (see `hardgrad.trees.importers.import_forest`)."""
    model = _parse(text, what)
    try:
        peer_columns = _columns(model, what, columns, described)
        output, scale, per_iteration = _output(model, what, classes, raw)
        trees = [
            _tree(fields, peer_columns, i % per_iteration, per_iteration, scale, what)
            for i, fields in enumerate(model.trees)
        ]
    except HardgradError:
        raise
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise ArtifactError(
            f"{what} is damaged: {_reason(error)}. Save the model again with save_model()."
        ) from error
    return trees, peer_columns, output


def _reason(error: Exception) -> str:
    return f"the entry {error} is missing" if isinstance(error, KeyError) else str(error)


# --- text -----------------------------------------------------------------------------------------------------------------------
def _parse(text: str, what: str) -> _Model:
    lines = text.replace("\r\n", "\n").split("\n")  # not splitlines(): a name may hold other line breaks
    if not lines or lines[0].strip() != "tree":
        raise ArtifactError(
            f"{what} is not LightGBM model text: its first line is not 'tree'. Write it with save_model()."
        )
    header: dict[str, str] = {}
    trees: list[dict[str, str]] = []
    fields, ended, categories = header, False, []
    for line in lines[1:]:
        name, equals, value = line.partition("=")
        if line.startswith("pandas_categorical:"):
            categories = _pandas_categorical(line, what)
        elif ended:
            continue
        elif line.strip() == "end of trees":
            ended = True
        elif name == "Tree" and equals:
            fields = {}
            trees.append(fields)
        elif line.strip():
            fields[name.strip()] = value
    if not ended:
        raise ArtifactError(
            f"{what} is truncated: the line 'end of trees' is missing. Copy or save the file again."
        )
    promised = len(header.get("tree_sizes", "").split())
    if promised != len(trees):
        raise ArtifactError(
            f"{what} is damaged: it promises {promised} trees and holds {len(trees)}. Save it again."
        )
    return _Model(header, trees, categories)


def _pandas_categorical(line: str, what: str) -> list[list[Any]]:
    try:
        found = json.loads(line.partition(":")[2])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{what} is damaged: its line pandas_categorical is not JSON ({error}). Save it again."
        ) from None
    found = found or []
    if not isinstance(found, list) or not all(isinstance(values, list) for values in found):
        raise ArtifactError(
            f"{what} is damaged: its line pandas_categorical is not a list of lists. Save it again."
        )
    return found


def _numbers(fields: dict[str, str], name: str, count: int, dtype: type = float) -> NDArray[Any]:
    parts = fields[name].split()
    if len(parts) != count:
        raise ValueError(f"{name} has {len(parts)} entries, expected {count}")
    return np.array([dtype(part) for part in parts], dtype=np.float64 if dtype is float else np.int64)


# --- columns and output -----------------------------------------------------------------------------------------------------------
def _columns(
    model: _Model, what: str, columns: list[str] | None, described: PeerColumns | None
) -> PeerColumns:
    own = model.header["feature_names"].split(" ")
    if len(own) != int(model.header["max_feature_idx"]) + 1:
        raise ArtifactError(
            f"{what} is damaged: it has {len(own)} feature names for another number of features."
        )
    infos = model.header["feature_infos"].split()
    if len(infos) != len(own):
        raise ArtifactError(f"{what} is damaged: it has {len(infos)} feature infos for {len(own)} features.")
    names = choose_names(own, columns, described)
    result = PeerColumns(names, booleans=described.booleans if described else frozenset())
    if not model.categories:
        return result  # category numbers, if any, are numbers in the table
    coded = [i for i, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    if described is not None and described.categories:
        coded = sorted(described.categories)
    if len(coded) != len(model.categories):
        raise ExportError(
            f"{what} was trained on a frame with {len(model.categories)} categorical columns, but does not say which: "
            f"{len(coded)} of its columns {[names[i] for i in coded]} look categorical. Pass data=, the frame that it "
            "was trained on (some rows are enough)."
        )
    result.categories = {
        i: category_labels(names[i], v) for i, v in zip(coded, model.categories, strict=True)
    }
    return result


def _output(
    model: _Model, what: str, classes: tuple[Label, ...] | None, raw: bool
) -> tuple[Output, float, int]:
    """Return the output, the factor of the leaves and the number of trees an iteration."""
    header = model.header
    per_iteration = int(header["num_tree_per_iteration"])
    if per_iteration < 1 or int(header["num_class"]) < 1 or len(model.trees) % per_iteration:
        raise ArtifactError(
            f"{what} is damaged: {len(model.trees)} trees, {per_iteration} an iteration. Save it again."
        )
    words = header.get("objective", "custom").split()
    options = dict(word.partition(":")[::2] for word in words[1:])
    output = Output(np.zeros(per_iteration), aggregation="mean" if "average_output" in header else "sum")
    # The mean divides by the number of trees, LightGBM by the number of iterations.
    scale = float(per_iteration) if output.aggregation == "mean" else 1.0
    if raw:
        return output, scale, per_iteration
    if words[0] == "binary":
        output.link, output.task, output.classes = "sigmoid", "classification", classes or (0, 1)
        scale *= float(options.get("sigmoid", "1"))
    elif words[0] in ("multiclass", "softmax"):
        output.link, output.task = "softmax", "classification"
        output.classes = classes or tuple(range(per_iteration))
    elif words[0] not in IDENTITY_OBJECTIVES or "sqrt" in options:
        raise ExportError(
            f"{what} has the objective {header['objective']!r}, whose predictions are a function of the raw score that a "
            "Forest does not have. Pass raw=True to import the raw score."
        )
    return output, scale, per_iteration


# --- trees ----------------------------------------------------------------------------------------------------------------------
def _tree(
    fields: dict[str, str], columns: PeerColumns, output: int, outputs: int, scale: float, what: str
) -> PeerTree:
    """LightGBM numbers inner nodes 0.. and writes leaf k as ~k; here the inner nodes come first, then the leaves."""
    leaves = int(fields["num_leaves"])
    if leaves < 1:
        raise ValueError(f"a tree has {leaves} leaves")
    if fields.get("is_linear", "0") != "0":
        raise ExportError(
            f"{what} has linear models in its leaves (linear_tree). Train it with linear_tree=False."
        )
    inner = leaves - 1
    value = np.zeros((inner + leaves, outputs))
    value[inner:, output] = _numbers(fields, "leaf_value", leaves) * scale
    nothing = np.zeros(leaves, dtype=np.int64)
    if inner == 0:
        return PeerTree(nothing - 1, np.zeros(1), nothing - 1, nothing - 1, nothing > 0, value)
    feature = _numbers(fields, "split_feature", inner, int)
    if feature.min() < 0 or feature.max() >= len(columns.names):
        raise ValueError("a node tests a feature that is not there")
    threshold = _numbers(fields, "threshold", inner)
    decision = _numbers(fields, "decision_type", inner, int)
    children = [_numbers(fields, name, inner, int) for name in ("left_child", "right_child")]
    left, right = (np.where(child >= 0, child, inner - 1 - child) for child in children)
    missing = (decision >> 2) & 3
    default = (decision & DEFAULT_LEFT) != 0
    tree = PeerTree(
        np.concatenate([feature, nothing - 1]),
        np.concatenate([flushed(threshold), np.zeros(leaves)]),
        np.concatenate([left, nothing - 1]),
        np.concatenate([right, nothing - 1]),
        np.concatenate([np.where(missing == MISSING_NAN, default, threshold >= 0), nothing > 0]),
        value,
    )
    bitsets = _bitsets(fields)
    for node in range(inner):
        codes = columns.categories.get(int(feature[node]))
        if decision[node] & CATEGORICAL:
            tree.rules[node] = _categorical_rule(bitsets[int(threshold[node])], codes)
            continue
        if missing[node] == MISSING_ZERO:
            steps = _zero_steps(threshold[node], bool(default[node]))
            if len(steps.cuts) == 1 and steps.left[0]:
                tree.threshold[node], tree.default_left[node] = steps.cuts[0], steps.missing_left
            else:
                tree.rules[node] = steps
        if codes is not None:
            tree.rules[node] = _ordered_rule(tree, node, codes)
    return tree


def flushed(threshold: Floats) -> Floats:
    """Return d such that `x <= d` is LightGBM's `(0 if |x| <= 1e-35 else x) <= threshold`.

    >>> flushed(np.array([1.5, 0.0, -1e-40])).tolist()
    [1.5, 1.0000000180025095e-35, -1.0000000180025096e-35]
    """
    around_zero = np.where(threshold >= 0, ZERO, np.nextafter(-ZERO, -np.inf))
    return np.where(np.abs(threshold) <= ZERO, around_zero, threshold)


def _zero_steps(threshold: float, default_left: bool) -> Steps:
    """Zero (within 1e-35) and missing go to the default side, the rest by the threshold."""
    below, above = float(np.nextafter(-ZERO, -np.inf)), ZERO
    cuts = sorted({below, above, float(threshold)} if abs(threshold) > ZERO else {below, above})
    left = []
    for low, high in zip([-np.inf, *cuts], [*cuts, np.inf], strict=True):
        zero = low >= below and high <= above
        left.append(default_left if zero else bool(high <= threshold))
    return merged(Steps(tuple(cuts), tuple(left), default_left))


def _bitsets(fields: dict[str, str]) -> list[list[int]]:
    count = int(fields.get("num_cat", "0"))
    if count == 0:
        return []
    bounds = _numbers(fields, "cat_boundaries", count + 1, int)
    words = _numbers(fields, "cat_threshold", int(bounds[-1]), int)
    return [
        [32 * i + bit for i, word in enumerate(words[a:b].tolist()) for bit in range(32) if word >> bit & 1]
        for a, b in pairwise(bounds.tolist())
    ]


def _categorical_rule(chosen: list[int], codes: list[str] | None) -> Steps | Choice:
    if codes is not None:
        inside = set(chosen)
        return Choice(tuple(k in inside for k in range(len(codes))), False, False)
    if not chosen:
        return Steps((), (False,), False)
    # The whole part of a number: 0 is everything between -1 and 1.
    return steps_of_codes(
        chosen, True, False, lambda c: np.where(c == 0, -1.0, np.nextafter(c.astype(np.float64), -np.inf))
    )


def _ordered_rule(tree: PeerTree, node: int, codes: list[str]) -> Choice:
    """An ordered category is a number to LightGBM, and one that it does not know is missing."""
    rule = tree.rules.get(node)
    numbers = np.arange(len(codes), dtype=np.float64)
    if isinstance(rule, Steps):
        left = np.array(rule.left)[np.searchsorted(np.array(rule.cuts), numbers, side="left")]
        missing_left = rule.missing_left
    else:
        left, missing_left = numbers <= tree.threshold[node], bool(tree.default_left[node])
    return Choice(tuple(left.tolist()), missing_left, missing_left)
