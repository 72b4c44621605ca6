"""What makes the arrays of a `Neighbourhood` one: the checks that stand between a damaged file and a wrong answer. Never imports torch."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hardgrad.core.errors import ArtifactError

if TYPE_CHECKING:
    from hardgrad.tabular.neighbour_model import Neighbourhood

EMBEDDINGS = ("none", "periodic", "piecewise")
MOST_VOTES = 1e100  # sums of more could overflow
ARRAYS: dict[str, tuple[tuple[type, ...], int]] = {
    "mean": ((np.float64,), 1),
    "scale": ((np.float64,), 1),
    "embedded": ((np.int32,), 1),
    "table": ((np.float32,), 2),
    "shared_weight": ((np.float32,), 2),
    "shared_bias": ((np.float32,), 1),
    "layers": ((np.float32,), 1),
    "memory": ((np.float32, np.float16), 2),
    "values": ((np.float64,), 2),
    "votes": ((np.float64,), 1),
}


def check_neighbourhood(model: Neighbourhood) -> None:
    """Raise `ArtifactError` where the parts of a model do not fit together; make its arrays read-only."""
    for name, (dtypes, dimensions) in ARRAYS.items():
        array = np.array(getattr(model, name), order="C")
        fits = array.dtype in dtypes and array.ndim == dimensions and np.isfinite(array).all()
        _require(fits, f"{name!r} is {array.dtype} of shape {array.shape}, or not finite")
        array.flags.writeable = False
        object.__setattr__(model, name, array)
    _check_answers(model)
    _check_encoder(model)
    _check_memory(model)


def count_parameters(widths: tuple[int, ...]) -> int:
    """Return how many numbers the layers of these widths have.

    >>> count_parameters((3, 2))
    8
    """
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))


def _require(condition: Any, what: str) -> None:
    if not condition:
        raise ArtifactError(f"not a neighbourhood: {what}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_answers(model: Neighbourhood) -> None:
    task, classes, smoothing = model.task, model.classes, model.smoothing
    target: object = model.target
    _require(model.link == "identity", f"link {model.link!r}")
    _require(task in ("classification", "regression"), f"task {task!r}")
    _require(isinstance(target, str), f"target {target!r} is no text")
    kinds = {type(label) for label in classes}
    _require(len(kinds) <= 1 and kinds <= {str, int, float, bool}, f"classes {classes!r} are not of one type")
    _require(len(set(classes)) == len(classes) and all(c == c for c in classes), "classes are not distinct")
    _require((len(classes) >= 2) == (task == "classification"), f"{len(classes)} classes in a {task}")
    _require(len(classes) >= 2 or not classes, "one class only")
    _require(_is_number(smoothing) and 0 <= smoothing < 1, f"smoothing {smoothing!r} is not in [0, 1)")
    _require(bool(classes) or smoothing == 0, "a regression is smoothed")
    _require(_is_number(model.temperature) and model.temperature > 0, f"temperature {model.temperature!r}")


def _check_encoder(model: Neighbourhood) -> None:
    n, embedded, embedding = model.n_features, model.embedded, model.embedding
    _require(
        len(model.mean) == len(model.scale) == n, f"means and scales are not one for each of {n} features"
    )
    _require((model.scale > 0).all(), "a scale is not positive")
    _require(embedding in EMBEDDINGS, f"embedding {embedding!r}")
    _require((embedding == "none") == (len(embedded) == 0), f"{len(embedded)} features under {embedding!r}")
    known = len(embedded) == 0 or (
        embedded[0] >= 0 and embedded[-1] < n and (embedded[1:] > embedded[:-1]).all()
    )
    _require(known, "embedded features are not ascending numbers of features")
    widths: tuple[Any, ...] = model.widths
    _require(
        len(widths) >= 2 and all(type(w) is int and w > 0 for w in widths), f"layers of widths {widths!r}"
    )
    columns, size = model.table.shape[1], len(model.shared_bias)
    shared = (2 * columns, size) if embedding == "periodic" else (0, 0)
    _require(len(model.table) == len(embedded), "the table is not of the embedded features")
    _require(
        (*model.shared_weight.shape, size) == (*shared, shared[1]), "the shared layer does not fit the table"
    )
    if embedding == "piecewise":
        _require(columns >= 2 and (model.table[:, 1:] >= model.table[:, :-1]).all(), "bins are not ascending")
    each = {"none": 0, "periodic": size, "piecewise": columns - 1}[embedding]
    _require(widths[0] == n - len(embedded) + len(embedded) * each, "the first layer does not fit its inputs")
    _require(
        len(model.layers) == count_parameters(widths), f"{len(model.layers)} numbers in layers {widths!r}"
    )


def _check_memory(model: Neighbourhood) -> None:
    rows, outputs = model.values.shape
    k: Any = model.k
    _require(outputs == (len(model.classes) or outputs) and outputs >= 1, f"{outputs} outputs")
    _require(model.memory.shape == (rows, model.widths[-1]), f"a memory of shape {model.memory.shape}")
    _require(len(model.votes) == rows and (model.votes > 0).all(), "votes are not one a row and positive")
    _require((model.votes <= MOST_VOTES).all(), "a vote is too large")
    _require(type(k) is int and 1 <= k <= rows, f"k = {k!r} of {rows} rows")
