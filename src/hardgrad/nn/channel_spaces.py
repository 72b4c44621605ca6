"""Which channels of a network belong together: what can be pruned, and what must be cut where a channel is closed.

Tensors that are added or pass through an elementwise layer share a space of channels. Layers with weights read one space and write
another. A space that reaches an operation not known here, or the output of the network, stays whole.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from hardgrad.core.errors import HardenError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
ELEMENTWISE = (
    nn.CELU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh,
)  # fmt: skip
FUNCTIONS: set[Callable[..., Any]] = {
    functional.adaptive_avg_pool2d, functional.avg_pool2d, functional.dropout, functional.elu, functional.gelu, functional.hardtanh,
    functional.leaky_relu, functional.max_pool2d, functional.relu, functional.relu6, functional.silu, torch.relu, torch.sigmoid, torch.tanh,
}  # fmt: skip
METHODS = {"clone", "contiguous", "relu", "sigmoid", "tanh"}
JOINS: set[Callable[..., Any]] = {
    operator.add,
    operator.iadd,
    operator.mul,
    operator.sub,
    torch.add,
    torch.mul,
}


@dataclass(eq=False)
class Space:
    """Channels that are open or closed together.

    Parameters
    ----------
    channels : how many.
    whole : True where none may be cut.
    """

    channels: int
    whole: bool = False
    _joined: Space | None = field(default=None, repr=False)

    def root(self) -> Space:
        """Return the space that this one was joined to, or itself."""
        return self if self._joined is None else self._joined.root()

    def join(self, other: Space) -> None:
        """Make two spaces one; of different sizes they both stay whole."""
        a, b = self.root(), other.root()
        if a is b:
            return
        if a.channels != b.channels:
            a.whole = b.whole = True
            return
        a.whole = a.whole or b.whole
        b._joined = a


@dataclass(eq=False)
class Layer:
    """A layer with weights: the space that it reads, the one that it writes, and what one pair of channels costs.

    Parameters
    ----------
    name : of the module.
    module : a convolution or nn.Linear.
    inputs, outputs : spaces; the same one for a depthwise convolution.
    repeats : inputs a channel, above 1 after flattening.
    places : of the output, which multiply-adds are counted for; summed over the calls of a shared layer.
    """

    name: str
    module: nn.Module
    inputs: Space
    outputs: Space
    repeats: int
    places: int

    @property
    def depthwise(self) -> bool:
        """True where every output has one input."""
        return getattr(self.module, "groups", 1) > 1


@dataclass
class Analysis:
    """The graph of a network with the spaces of its channels.

    Parameters
    ----------
    graph : of torch.fx.
    layers : layers with weights by name.
    norms : spaces of batch norms by name.
    readers : (node of a layer, node that it reads).
    """

    graph: fx.GraphModule
    layers: dict[str, Layer] = field(default_factory=dict)
    norms: dict[str, Space] = field(default_factory=dict)
    readers: list[tuple[fx.Node, fx.Node]] = field(default_factory=list)
    spaces: dict[fx.Node, Space] = field(default_factory=dict)


def analyse(model: nn.Module, example_input: Tensor) -> Analysis:
    """Return the channel spaces of a network.

    Raises
    ------
    HardenError : torch.fx cannot trace it, or it does not run on the example.
    """
    try:
        graph = fx.symbolic_trace(model)
        training = model.training
        model.eval()
        with torch.no_grad():
            ShapeProp(graph).propagate(example_input)
        model.train(training)
    except Exception as error:
        raise HardenError(
            f"the network cannot be traced by torch.fx on an input of shape {tuple(example_input.shape)}: {error}"
        ) from error
    found = Analysis(graph)
    for node in graph.graph.nodes:
        _visit(found, node)
    return found


def _shape(node: fx.Node) -> tuple[int, ...]:
    shape = getattr(node.meta.get("tensor_meta"), "shape", None)
    return () if shape is None else tuple(shape)


def _visit(found: Analysis, node: fx.Node) -> None:
    if node.op != "output" and "tensor_meta" not in node.meta:
        return  # sizes and other numbers
    sources = [at for at in node.all_input_nodes if at in found.spaces]
    if node.op == "call_module":
        module = found.graph.get_submodule(str(node.target))
        if _visit_layer(found, node, module, sources):
            return
        passes = type(module) in (*NORMS, *POOLS, *ELEMENTWISE)
        flattens = type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1
        if type(module) in NORMS and sources:
            _once(found.norms, str(node.target), found.spaces[sources[0]])
    else:
        passes = (node.op == "call_function" and node.target in FUNCTIONS) or (
            node.op == "call_method" and node.target in METHODS
        )
        flattens = _flattens(node)
        if node.op == "call_function" and node.target in JOINS:
            if len(sources) == 2 and _shape(sources[0])[:2] == _shape(sources[1])[:2]:
                found.spaces[sources[0]].join(found.spaces[sources[1]])
                found.spaces[node] = found.spaces[sources[0]]
                return
            passes = len(node.all_input_nodes) == 1  # with a number, or with itself
        passes = passes or _averages_places(node)
    if (passes or flattens) and len(sources) == 1 and len(_shape(sources[0])) > 1:
        found.spaces[node] = found.spaces[sources[0]]
        return
    for source in sources:
        found.spaces[source].root().whole = True
    if len(_shape(node)) > 1 and node.op != "output":
        found.spaces[node] = Space(_shape(node)[1], whole=True)


def _visit_layer(found: Analysis, node: fx.Node, module: Any, sources: list[fx.Node]) -> bool:
    """Enter a layer with weights; False for any other module."""
    dims = len(_shape(sources[0])) if len(sources) == 1 else 0
    depthwise = False
    if type(module) in CONVOLUTIONS and dims == len(module.kernel_size) + 2:
        depthwise = module.groups > 1
        if depthwise and not module.groups == module.in_channels == module.out_channels:
            return False
        size = int(module.in_channels)
    elif type(module) is nn.Linear and dims == 2:
        size = int(module.in_features)
    else:
        return False
    name, shape = str(node.target), _shape(node)
    inputs = found.spaces[sources[0]].root()
    outputs = inputs if depthwise else Space(shape[1])
    places = 1
    for length in shape[2:]:
        places *= length
    if name in found.layers:  # called again: one set of weights, one pair of spaces
        known = found.layers[name]
        known.inputs.join(inputs)
        known.outputs.join(outputs)
        known.places += places
    else:
        found.layers[name] = Layer(name, module, inputs, outputs, size // inputs.channels, places)
    found.readers.append((node, sources[0]))
    found.spaces[node] = outputs
    return True


def _once(table: dict[str, Space], name: str, space: Space) -> None:
    if name in table:
        table[name].join(space)
    table.setdefault(name, space)


def _flattens(node: fx.Node) -> bool:
    """Tell whether a call flattens everything behind the channels, whatever their number."""
    if node.target not in (torch.flatten, "flatten", "view", "reshape"):
        return False
    source = node.args[0]
    before, after = (_shape(source) if isinstance(source, fx.Node) else ()), _shape(node)
    written = node.target in ("view", "reshape") and (node.kwargs or node.args[-1] != -1)
    return len(before) > 1 and len(after) == 2 and before[0] == after[0] and not written


def _averages_places(node: fx.Node) -> bool:
    """Tell whether a call is a mean over dimensions behind the channels."""
    if node.target not in (torch.mean, "mean"):
        return False
    dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    source = node.args[0]
    size = len(_shape(source)) if isinstance(source, fx.Node) else 0
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    return bool(dims) and all(isinstance(dim, int) and dim % max(size, 1) > 1 for dim in dims)
