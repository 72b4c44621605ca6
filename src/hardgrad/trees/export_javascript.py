"""Forest -> one JavaScript module without dependencies, equal to the reference bit for bit. Never imports
torch.

The module keeps the node numbers of the forest, so that a page can show the path of a row through the trees
that it draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardgrad.core.errors import ParameterError
from hardgrad.export.javascript import js_string, js_table, js_value
from hardgrad.trees.export_checks import require_bounded_scores
from hardgrad.trees.forest import LEAF, LINEAR, Forest

EXPORTS = ("schema", "encode", "leaves", "paths", "raw", "probabilities", "predict")


def to_javascript(forest: Forest, *, form: str = "module") -> str:
    """Return a forest as JavaScript.

    A row is an object of raw columns by name. A number or boolean may be a number, a boolean or a BigInt; a
    category a string (numbers and booleans are taken as text); a date/time a `Date`, an ISO 8601 string (UTC
    where it has no offset) or a number of seconds since 1970. `null`, `undefined`, `NaN` and an absent key
    are missing. Anything else throws a `TypeError`, as does a missing value that a linear node or a slope weighs.

    Exports: `schema` (columns, features, classes, task, link ..), `encode(row)` -> features, `leaves(row)` ->
    node number of the leaf in each tree, `paths(row)` -> node numbers from each root to its leaf, `raw(row)`
    -> scores, `probabilities(row)` -> one a class, `predict(row)` -> label, value, or values.

    Parameters
    ----------
    forest : the forest.
    form : "module" (an ES module, for node and browsers), or "object" (one expression whose value has the
        exports as members, to stand in a page: `const model = ...;`). Both are safe inside a `<script>`
        element.

    Raises
    ------
    ParameterError : the form is unknown.
    ExportError : a class label is an integer beyond 2**53, or scores can overflow.

    Examples
    --------
    >>> from hardgrad.trees.forest_build import forest_from_trees
    >>> tree = {"feature": 0, "threshold": 1.5, "left": {"value": 0.0}, "right": {"value": 2.0}}
    >>> "export { schema, encode," in to_javascript(forest_from_trees([tree], ["age"]))
    True
    """
    if form not in ("module", "object"):
        raise ParameterError(f'form must be "module" or "object", got {form!r}.')
    require_bounded_scores(forest)
    names = ", ".join(EXPORTS)
    code = "\n".join([_schema(forest), _tables(forest), _ENCODE, _walk(forest), _link(forest)])
    head = f"// {_title(forest)} Written by hardgrad; do not edit."
    if form == "module":
        return f"{head}\n{code}\nexport {{ {names} }};\n"
    return f'(() => {{\n"use strict";\n{head}\n{code}\nreturn {{ {names} }};\n}})()'


def _title(forest: Forest) -> str:
    target = f" for {js_string(forest.target)}" if forest.target else ""
    return f"A {forest.task} forest{target}: {forest.n_trees} trees, {forest.n_leaves} leaves."


def _schema(forest: Forest) -> str:
    data = forest.schema.to_json()
    lines = ["const schema = {"]
    for part in ("columns", "features"):
        items = ",\n".join(f"    {js_value(item)}" for item in data[part])
        lines.append(f"  {part}: [\n{items}\n  ]," if items else f"  {part}: [],")
    plain: dict[str, Any] = {
        "task": forest.task,
        "link": forest.link,
        "aggregation": forest.aggregation,
        "classes": list(forest.classes),
        "target": forest.target,
        "trees": forest.n_trees,
        "outputs": forest.n_outputs,
    }
    lines += [f"  {key}: {js_value(value)}," for key, value in plain.items()]
    return "\n".join([*lines, "};"])


def _tables(forest: Forest) -> str:
    """Nodes as parallel arrays. At a leaf `left` is its number among the leaves, at node k of those that sum
    terms `feature` is -2 - k.
    """
    leaf = forest.feature == LEAF
    oblique = np.flatnonzero(forest.feature < LEAF)
    feature, left = forest.feature.astype(np.int64), forest.left.astype(np.int64)
    feature[oblique] = -2 - np.arange(len(oblique))
    left[leaf] = np.arange(int(leaf.sum()))
    tables: dict[str, Any] = {
        "roots": forest.tree_offset[:-1],
        "feature": feature,
        "threshold": forest.threshold,
        "left": left,
        "right": np.where(leaf, 0, forest.right),
        "defaultLeft": forest.default_left.astype(np.int64),
        "value": forest.value[leaf].reshape(-1),
        "base": forest.base,
    }
    if len(oblique):
        tables |= {
            "termStart": [forest.term_offset[oblique[0]], *forest.term_offset[oblique + 1]],
            "termFeature": forest.term_feature,
            "termWeight": forest.term_weight,
            "scored": forest.scored_features,
            "cutStart": forest.cut_offset,
            "cut": forest.cut,
            "point": forest.score,
        }
    if len(forest.weighted_features):
        tables["weighed"] = forest.weighted_features
    if forest.has_linear:
        tables |= {
            "isLinear": (forest.feature[oblique] == LINEAR).astype(np.int64),
            "linearWeight": forest.linear_weight,
        }
    if forest.has_slopes:
        tables["slope"] = forest.leaf_slope[leaf].reshape(-1)
    return "\n".join(js_table(name, np.asarray(values).tolist()) for name, values in tables.items())


_ENCODE = r"""
const hasOwn = Object.prototype.hasOwnProperty;
const numbers = schema.columns.map((c) => new Map((c.categories || []).map((text, k) => [text, k])));

function refuse(column, value) {
  const got = `${String(value)} (${typeof value})`;
  throw new TypeError(`column ${JSON.stringify(column.name)} is ${column.kind}, got ${got}`);
}

function numberOf(value, column) {
  if (typeof value === "number") return value;
  if (typeof value === "boolean" || typeof value === "bigint") return Number(value);
  return refuse(column, value);
}

// The text by which a category that is no string is known.
function textOf(value, column) {
  if (typeof value === "string") return value;
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value !== "number") return refuse(column, value);
  if (Number.isInteger(value)) return String(BigInt(value));
  if (Math.abs(value) === Infinity) return value > 0 ? "inf" : "-inf";
  return Math.abs(value) >= 1e-4 ? String(value) : value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

const isoDate = "([+-]?\\d{4,6})-(\\d\\d)-(\\d\\d)", isoTime = "(\\d\\d):(\\d\\d)(?::(\\d\\d)(?:[.,]\\d+)?)?";
const iso = new RegExp(`^${isoDate}(?:[T ]${isoTime})? ?(?:Z|([+-])(\\d\\d):?(\\d\\d))?$`, "i");

// Whole seconds since 1970-01-01T00:00:00 UTC; NaN is missing.
function secondsOf(value, column) {
  if (typeof value === "number") return Math.floor(value);
  if (Object.prototype.toString.call(value) === "[object Date]") return Math.floor(value.getTime() / 1000);
  const part = typeof value === "string" ? iso.exec(value) : null;
  if (!part) return refuse(column, value);
  const [year, month, day, hour, minute, second] = part.slice(1, 7).map((text) => Number(text || 0));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!exists || hour > 23 || minute > 59 || second > 59) return refuse(column, value);
  const offset = part[7] ? (Number(part[8]) * 3600 + Number(part[9]) * 60) * (part[7] === "-" ? -1 : 1) : 0;
  return Math.floor(date.getTime() / 1000) + hour * 3600 + minute * 60 + second - offset;
}

// The number of a category, -1 missing, their count where unseen; of anything else a double, NaN missing.
function rawValue(row, i) {
  const column = schema.columns[i];
  const value = hasOwn.call(row, column.name) ? row[column.name] : null;
  const missing = value === null || value === undefined || value !== value;
  if (column.kind === "categorical") {
    if (missing) return -1;
    const k = numbers[i].get(textOf(value, column));
    return k === undefined ? numbers[i].size : k;
  }
  if (missing) return NaN;
  return column.kind === "datetime" ? secondsOf(value, column) : numberOf(value, column);
}

function encode(row) {
  const values = schema.columns.map((_, i) => rawValue(row, i));
  return schema.features.map((f) => {
    const value = values[f.column];
    const missing = schema.columns[f.column].kind === "categorical" ? value < 0 : value !== value;
    if (f.transform === "missing") return missing ? 1 : 0;
    if (f.transform === "codes") return missing ? NaN : f.codes[value];
    return value;
  });
}
"""

_SCORES = """
// The integer score of each feature that oblique nodes use: one an interval between its cuts, 0 missing.
function scoresOf(x) {
  const score = new Array(x.length).fill(0);
  for (const f of scored) {
    if (x[f] !== x[f]) continue;
    let low = cutStart[f], high = cutStart[f + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cut[middle] < x[f]) low = middle + 1;
      else high = middle;
    }
    score[f] = point[f + low];
  }
  return score;
}
"""
_GOES_LEFT_OBLIQUE = """
function goesLeft(node, x, score) {
  const f = feature[node];
  if (f < -1) {
    let sum = 0;
    for (let i = termStart[-2 - f]; i < termStart[-1 - f]; i++) sum += termWeight[i] * score[termFeature[i]];
    return sum <= threshold[node];
  }
  return x[f] !== x[f] ? defaultLeft[node] === 1 : x[f] <= threshold[node];
}
"""
_GOES_LEFT_LINEAR = """
// Real sums in the order of their terms; a sum that is NaN goes right.
function linearSum(k, x) {
  let i = termStart[k], sum = linearWeight[i] * x[termFeature[i]];
  for (i++; i < termStart[k + 1]; i++) sum += linearWeight[i] * x[termFeature[i]];
  return sum;
}

function goesLeft(node, x, score) {
  const f = feature[node];
  if (f < -1 && isLinear[-2 - f]) return linearSum(-2 - f, x) <= threshold[node];
  if (f < -1) {
    let sum = 0;
    for (let i = termStart[-2 - f]; i < termStart[-1 - f]; i++) sum += termWeight[i] * score[termFeature[i]];
    return sum <= threshold[node];
  }
  return x[f] !== x[f] ? defaultLeft[node] === 1 : x[f] <= threshold[node];
}
"""
_COMPLETE = """
// A value that is multiplied by a weight may not be missing: a sum has no side for it.
function complete(x) {
  for (const f of weighed) {
    if (x[f] === x[f]) continue;
    const name = schema.columns[schema.features[f].column].name;
    throw new TypeError(`column ${JSON.stringify(name)} is missing, and this forest multiplies it by a weight`);
  }
  return x;
}
"""
_AFFINE = """
// What a leaf gives: its value and slope * x, in the order of the features.
function output(leaf, k, x) {
  const at = left[leaf] * base.length + k;
  let sum = value[at];
  for (let f = 0; f < x.length; f++) {
    const steep = slope[at * x.length + f];
    if (steep !== 0) sum += steep * x[f];
  }
  return sum;
}

function raw(row) {
  const scores = base.slice(), x = complete(encode(row));
  for (const leaf of leaves(row)) {
    for (let k = 0; k < scores.length; k++) scores[k] += output(leaf, k, x);
  }
  return MEAN;
}
"""
_GOES_LEFT = """
function goesLeft(node, x) {
  const v = x[feature[node]];
  return v !== v ? defaultLeft[node] === 1 : v <= threshold[node];
}
"""
_WALK = """
function paths(row) {
  const x = encode(row)SCORES;
  return roots.map((root) => {
    const path = [root];
    for (let node = root; feature[node] !== -1; path.push(node)) {
      node = (goesLeft(node, xSCORE) ? left : right)[node];
    }
    return path;
  });
}

function leaves(row) {
  return paths(row).map((path) => path[path.length - 1]);
}
"""
_RAW = """
function raw(row) {
  const scores = base.slice();
  for (const leaf of leaves(row)) {
    for (let k = 0; k < scores.length; k++) scores[k] += value[left[leaf] * scores.length + k];
  }
  return MEAN;
}
"""


def _walk(forest: Forest) -> str:
    mean = forest.aggregation == "mean" and forest.n_trees > 0
    raw = _AFFINE if forest.has_slopes else _RAW
    walk = _WALK + raw.replace("MEAN", "scores.map((r) => r / schema.trees)" if mean else "scores")
    if len(forest.weighted_features):
        walk = _COMPLETE + walk.replace("x = encode(row)SCORES", "x = complete(encode(row))SCORES")
    if forest.is_axis:
        return _GOES_LEFT + walk.replace("SCORES", "").replace("SCORE", "")
    goes_left = _GOES_LEFT_LINEAR if forest.has_linear else _GOES_LEFT_OBLIQUE
    walk = walk.replace("SCORES", ", score = scoresOf(x)").replace("SCORE", ", score")
    return _SCORES + goes_left + walk


_ARGMAX = """
function classNumber(scores) {
  let best = 0;
  for (let k = 1; k < scores.length; k++) if (scores[k] > scores[best]) best = k;
  return best;
}
"""
_PREDICT = """
// Decided on the scores: no rounding of exp can change a class.
function predict(row) {
  return schema.classes[classNumber(raw(row))];
}
"""
_SIGMOID = """
function classNumber(scores) {
  return scores[0] > 0 ? 1 : 0;
}

function probabilities(row) {
  const p = 1 / (1 + Math.exp(-raw(row)[0]));
  return [1 - p, p];
}
"""
_SOFTMAX = """
function probabilities(row) {
  const scores = raw(row), highest = scores[classNumber(scores)];
  const terms = scores.map((r) => Math.exp(r - highest));
  let sum = 0;
  for (const term of terms) sum += term;
  return terms.map((term) => term / sum);
}
"""
_AVERAGED = """
function probabilities(row) {
  return raw(row);
}
"""
_REGRESSION = """
function probabilities() {
  throw new TypeError("a regression forest has no probabilities; use predict(row) or raw(row)");
}

function predict(row) {
  const values = raw(row);
  return schema.outputs === 1 ? values[0] : values;
}
"""


def _link(forest: Forest) -> str:
    if forest.task == "regression":
        return _REGRESSION
    if forest.link == "sigmoid":
        return _SIGMOID + _PREDICT
    return _ARGMAX + (_SOFTMAX if forest.link == "softmax" else _AVERAGED) + _PREDICT
