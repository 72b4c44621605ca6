"""A PyTorch network as a program on affine functions of its input, traced by torch.fx.

Every value of the network is held as F + 1 rows stacked along the batch: the coefficients of the F inputs and, last, the constant. What
the network does to a batch linearly it then does to the coefficients of the affine function, with torch's own layers: only a bias has to
be kept to the last row. Operations that bend (activations, maxima) stop the program with a question; see `network_units`.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from hardgrad.core.errors import HardgradError, InputError, UnsupportedError
from hardgrad.trees.network_bends import BENDS, Affine, PiecewiseActivation, affine_argument, bend
from hardgrad.trees.network_units import Largest, Operation, Pending, Pieces, Row, Rows

_TRAINED_OTHERWISE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SHAPES = {
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "contiguous", "neg", "getitem", "cat", "concat", "stack",
    "chunk", "split", "sum", "mean", "clone", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "AvgPool1d",
    "AvgPool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "Flatten", "Unflatten", "Identity", "Dropout", "Dropout1d", "Dropout2d",
    "AlphaDropout", "ZeroPad2d", "PixelShuffle", "ChannelShuffle",
}  # fmt: skip
"""Linear without a constant: they do to the rows what they do to a batch."""


class _Tracer(fx.Tracer):
    """Looks into the user's modules, and not into those of torch.nn and into activations that are given by their pieces."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PiecewiseActivation) or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class Walk:
    """How far the program has got: the number of the next node, the values so far, and what is pending at that node."""

    position: int
    values: dict[str, Any]
    pending: Pending | None = None

    def answered(self, left: bool) -> Walk:
        """Return the walk after an answer to the question where it stands."""
        assert self.pending is not None
        return Walk(self.position, self.values, self.pending.answered(left))


class NetworkProgram:
    """A network in evaluation mode, in float64, ready to be walked.

    Parameters
    ----------
    module : the network; it takes one tensor [batch, ...] and gives one [batch, outputs].
    input_shape : shape of one input, the batch left out; found from the first linear layer by default.
    arg_max : whether the program ends with the number of the largest output (of a single output: whether it is positive).

    Raises
    ------
    UnsupportedError : a layer that is not piecewise linear, or one in training mode that computes otherwise there.
    InputError : the shape of the input is needed.
    """

    def __init__(
        self, module: nn.Module, input_shape: Sequence[int] | None = None, *, arg_max: bool = False
    ) -> None:
        for name, layer in module.named_modules():
            if layer.training and isinstance(layer, _TRAINED_OTHERWISE) and getattr(layer, "p", 1.0) > 0:
                raise UnsupportedError(
                    f"layer {name or 'module'!r} ({type(layer).__name__}) is in training mode, where it depends on chance or on the "
                    "batch. Call module.eval() first."
                )
        self.module = copy.deepcopy(module).double().cpu().eval()
        self.input_shape = tuple(input_shape) if input_shape is not None else _guess_shape(self.module)
        self.n_inputs = math.prod(self.input_shape)
        if self.n_inputs < 1:
            raise InputError(
                f"got an input of shape {self.input_shape}, which has no numbers; expected at least one."
            )
        self.arg_max = arg_max
        self.n_classes = 0
        tracer = _Tracer()
        try:
            self.nodes = list(tracer.trace(self.module).nodes)
        except (fx.proxy.TraceError, TypeError, RuntimeError) as error:
            raise UnsupportedError(
                f"torch.fx cannot trace this network: {error}. Its forward() may not branch on values; write it as layers."
            ) from error
        self.modules = dict(self.module.named_modules())
        if sum(node.op == "placeholder" for node in self.nodes) != 1:
            raise UnsupportedError(
                "the network takes several inputs; join them to one tensor [batch, features]."
            )

    def start(self) -> Walk:
        """Return the walk before the first node."""
        return Walk(0, {})

    def next_question(self, walk: Walk) -> tuple[Row | None, Walk]:
        """Run to the next question. None: the program is at its end, and `outputs` of the walk are its affine functions."""
        with torch.no_grad():
            while True:
                if walk.pending is None and walk.position == len(self.nodes):
                    return None, walk
                pending = walk.pending
                if pending is None:
                    found = self._run(self.nodes[walk.position], walk.values)
                    if not isinstance(found, (Pieces, Largest)):
                        walk = self._with(walk, found)
                        continue
                    pending = Pending.start(found)
                row, pending = pending.question()
                if row is not None:
                    return row, Walk(walk.position, walk.values, pending)
                walk = self._with(walk, _joined(np.stack(pending.done, axis=1), pending.operation.shape))

    def at(self, x: NDArray[np.float64]) -> tuple[Rows, Rows]:
        """Walk the one path of a point x [inputs]: the rows of the outputs there, and all rows that are <= 0 in its region."""
        point, held = np.append(x, 1.0), [np.empty((self.n_inputs + 1, 0))]
        walk = self._path(point, lambda operation: held.append(operation.at(point)[1]))
        return self.outputs(walk), np.concatenate(held, axis=1)

    def unpruned(self) -> float:
        """Return how many paths there are where every unit may be on each of its pieces."""
        counts: list[float] = []
        self._path(np.ones(self.n_inputs + 1), lambda o: counts.append(float(o.choices) ** o.units))
        return math.prod(counts)

    def _path(self, point: Row, met: Callable[[Operation], None]) -> Walk:
        walk = self.start()
        with torch.no_grad():
            while walk.position < len(self.nodes):
                found = self._run(self.nodes[walk.position], walk.values)
                if isinstance(found, (Pieces, Largest)):
                    met(found)
                    found = _joined(found.at(point)[0], found.shape)
                walk = self._with(walk, found)
        return walk

    def _with(self, walk: Walk, value: Any) -> Walk:
        return Walk(walk.position + 1, {**walk.values, self.nodes[walk.position].name: value})

    def outputs(self, walk: Walk) -> NDArray[np.float64]:
        """Return the rows of the outputs of a finished walk, float64 [F + 1, outputs]."""
        rows = walk.values[self.nodes[-1].name].rows
        return np.asarray(rows.reshape(len(rows), -1).numpy())

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the network itself gives for rows X [n, inputs]: float64 [n, outputs]."""
        with torch.no_grad():
            said = self.module(torch.from_numpy(np.ascontiguousarray(X)).reshape(-1, *self.input_shape))
        return np.asarray(said.reshape(len(X), -1).numpy())

    # --- one node ------------------------------------------------------------------------------------------------------------
    def _run(self, node: fx.Node, values: dict[str, Any]) -> Any:
        try:
            return self._compute(node, values)
        except HardgradError:
            raise
        except (RuntimeError, IndexError) as error:
            raise InputError(
                f"the network cannot take an input of shape {self.input_shape}: {error} (at {node.name!r}). Pass input_shape=, the "
                "shape of one input without the batch."
            ) from error

    def _compute(self, node: fx.Node, values: dict[str, Any]) -> Any:
        if node.op == "placeholder":
            eye = torch.eye(self.n_inputs + 1, self.n_inputs, dtype=torch.float64)
            return Affine(eye.reshape(-1, *self.input_shape))
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.module)
        args: Any = fx.node.map_arg(node.args, lambda n: values[n.name])
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda n: values[n.name])
        if node.op == "output":
            return self._finish(args[0])
        if node.op == "call_module":
            layer = self.modules[str(node.target)]
            return _layer(layer, str(node.target), args)
        name = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        call = _method(str(name)) if node.op == "call_method" else node.target
        if not any(isinstance(value, Affine) for value in _flat((args, kwargs))):
            return call(*args, **kwargs)  # type: ignore[operator]
        return _function(str(name), call, args, kwargs)

    def _finish(self, value: Any) -> Any:
        if not isinstance(value, Affine):
            raise UnsupportedError("the network must return one tensor that depends on its input.")
        if len(value.rows) != self.n_inputs + 1:
            raise UnsupportedError(
                "the network changes the number of rows of a batch; it must return [batch, outputs]."
            )
        rows = value.rows.reshape(len(value.rows), -1)
        if not self.arg_max:
            return Affine(rows)
        numbers = rows.numpy()
        self.n_classes = max(numbers.shape[1], 2)
        if numbers.shape[1] == 1:  # one score: positive means class 1
            numbers = np.concatenate([np.zeros_like(numbers), numbers], axis=1)
        return Largest(numbers[:, :, None], (1,), index=True)


def _joined(rows: Rows, shape: tuple[int, ...]) -> Affine:
    return Affine(torch.from_numpy(np.ascontiguousarray(rows)).reshape(len(rows), *shape))


def _guess_shape(module: nn.Module) -> tuple[int, ...]:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return (layer.in_features,)
        if isinstance(layer, _CONVOLUTIONS):
            break
    raise InputError(
        "got a network whose first layer does not tell the shape of its input; expected input_shape=, as in input_shape=(1, 6, 6)."
    )


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [inner for item in value for inner in _flat(item)]
    if isinstance(value, dict):
        return _flat(list(value.values()))
    return [value]


def _method(name: str) -> Callable[..., Any]:
    def call(value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, name)(*args, **kwargs)

    return call


# --- layers ---------------------------------------------------------------------------------------------------------------------
def _shifted(rows: Tensor, shift: Tensor | None) -> Affine:
    if shift is not None:
        rows = rows.clone()
        rows[-1] += shift
    return Affine(rows)


def _layer(layer: nn.Module, path: str, args: tuple[Any, ...]) -> Any:
    name, rows = type(layer).__name__, affine_argument(args, path)
    if isinstance(layer, nn.Linear):
        return _shifted(F.linear(rows, layer.weight), layer.bias)
    weight: Any = getattr(layer, "weight", None)
    bias: Any = getattr(layer, "bias", None)
    if isinstance(layer, _CONVOLUTIONS):
        bias = None if bias is None else bias.reshape(-1, *[1] * (rows.dim() - 2))
        return _shifted(layer._conv_forward(rows, weight, None), bias)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        if layer.running_mean is None or layer.running_var is None:
            raise UnsupportedError(
                f"layer {path!r} ({name}) has no running statistics: it depends on the batch."
            )
        scale = torch.rsqrt(layer.running_var + layer.eps) * (1.0 if weight is None else weight)
        shift = -layer.running_mean * scale + (0.0 if bias is None else bias)
        shape = (-1, *[1] * (rows.dim() - 2))
        return _shifted(rows * scale.reshape(shape), shift.reshape(shape))
    if name in _SHAPES:
        return Affine(layer(rows))
    if name in BENDS:
        return bend(name, layer, rows)
    raise _unknown(f"layer {path!r} ({name})")


def _unknown(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} is not piecewise linear, or not known to be. Use linear and convolution layers, batch norm, pooling, sums, maxima and "
        "activations such as ReLU; approximate_activation() makes a piecewise linear stand-in of a smooth activation."
    )


# --- functions ------------------------------------------------------------------------------------------------------------------
_SUMS = {"add": 1.0, "iadd": 1.0, "add_": 1.0, "sub": -1.0, "isub": -1.0, "sub_": -1.0}


def _function(name: str, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name in ("size", "dim", "getattr") or (name == "shape" and len(args) == 1):
        return call(*(a.rows if isinstance(a, Affine) else a for a in args), **kwargs)
    if name in _SUMS:
        return _sum(args[0], args[1], _SUMS[name] * kwargs.get("alpha", 1))
    if name in ("mul", "imul", "mul_", "truediv", "div", "itruediv") and not kwargs:
        return _product(name, args)
    if name == "linear":
        return _linear(*args, **kwargs)
    if name == "matmul" and isinstance(args[0], Affine) and isinstance(args[1], Tensor):
        return _linear(args[0], args[1].mT)
    if name in _SHAPES:
        _keep_batch(name, args, kwargs)
        plain: Any = fx.node.map_aggregate((args, kwargs), _rows_of)
        found: Any = call(*plain[0], **plain[1])
        return Affine(found) if isinstance(found, Tensor) else tuple(map(Affine, found))
    if name in BENDS:
        return bend(name, None, *args, **kwargs)
    raise _unknown(f"the function {name!r}")


def _rows_of(value: Any) -> Any:
    return value.rows if isinstance(value, Affine) else value


def _linear(value: Any, weight: Any, bias: Any = None) -> Affine:
    if not isinstance(value, Affine) or isinstance(weight, Affine):
        raise _unknown("a linear map whose weights depend on the input")
    return _shifted(F.linear(value.rows, weight), bias)


def _sum(left: Any, right: Any, sign: float) -> Affine:
    if isinstance(left, Affine) and isinstance(right, Affine):
        return Affine(left.rows + sign * right.rows)
    if isinstance(left, Affine):
        return _constant_added(left.rows, sign * right)
    return _constant_added(sign * right.rows, left)


def _constant_added(rows: Tensor, constant: Any) -> Affine:
    """Add a number or a tensor [1, ..] or [..] that does not depend on the input."""
    value = torch.as_tensor(constant, dtype=torch.float64)
    shape = torch.broadcast_shapes(rows[:1].shape, value.shape)
    wide = rows.expand(len(rows), *shape[1:]).clone()
    wide[-1:] += value
    return Affine(wide)


def _product(name: str, args: tuple[Any, ...]) -> Affine:
    left, right = args
    if isinstance(right, Affine) and (isinstance(left, Affine) or "div" in name):
        raise _unknown(
            f"the {'quotient' if 'div' in name else 'product'} of two values that depend on the input"
        )
    if isinstance(right, Affine):
        left, right = right, left
    return Affine(left.rows / right if "div" in name else left.rows * right)


def _keep_batch(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse what mixes the rows of a batch."""
    if name in ("sum", "mean"):
        dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
        first = isinstance(args[0], Affine) and args[0].rows.dim()
        if dims is None or any(
            d % first == 0 for d in (dims if isinstance(dims, (tuple, list)) else (dims,))
        ):
            raise _unknown(f"{name}() over the rows of a batch")
    if name == "getitem" and isinstance(args[0], Affine):
        start = args[1][0] if isinstance(args[1], tuple) else args[1]
        if start not in (slice(None), Ellipsis):
            raise _unknown("picking rows of a batch")
