"""GatePruner: trainable gates on every prunable channel of a network, a cost target, and a physically smaller network at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardgrad.core.errors import BudgetError, HardenError, InputTypeError, ParameterError
from hardgrad.core.schedule import Schedule
from hardgrad.nn.channel_gate import GateShape, TrainableGate
from hardgrad.nn.channel_spaces import Layer, Space, analyse

Counts = Mapping[str, tuple[Tensor, Tensor]]
Cost = Literal["macs", "params"] | Callable[[Counts], Tensor]
Importance = Literal["gradient", "l1"]
LOWEST_START = 0.05  # gate of the least important channel at first; the most important has about 1
HALF_WAY = 2.0  # the target is reached after half of the steps
TOLERANCE = 1e-4


class GatePruner:
    """Gates on the channels of a network that learn which to close for a cost target, and the smaller network that is left.

    Parameters
    ----------
    model : any module that torch.fx can trace; it stays as it is. Channels that pass through layers not known here stay whole. Tensors that
        are added, as in residual networks, share their gates.
    example_input : one batch, for the shapes.
    target_cost : share of the cost that shall be left, between 0 and 1.
    cost : "macs" (multiply-adds of convolutions and dense layers), "params" (their weights), or a function from
        {layer: (open input channels, open output channels)}, 0-dim tensors, to a 0-dim tensor that can be differentiated.
    shape : of the gates' gradient (see `TrainableGate`).
    strength : weight of the cost beside the loss.

    Attributes
    ----------
    model : the network with gates, to be trained; a copy.
    gates : the gates by the name of the layer that writes their channels.

    Notes
    -----
    A gate stands where channels are read, so that a closed channel contributes exactly nothing, whatever activation comes before.
    Use, with any loop: `rank` once; in every step the loss plus `penalty(progress)`, then `step()`; after some two thirds of the steps
    `freeze()`, and fine-tune; `harden()`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> x, y = torch.randn(64, 4), torch.randint(2, (64,))
    >>> pruner = GatePruner(model, x, target_cost=0.5)
    >>> pruner.rank(nn.functional.cross_entropy, [(x, y)])
    >>> optimizer = torch.optim.Adam(pruner.groups())
    >>> for step in range(20):
    ...     optimizer.zero_grad()
    ...     (nn.functional.cross_entropy(pruner.model(x), y) + pruner.penalty(step / 20)).backward()
    ...     optimizer.step(); pruner.step()
    >>> pruner.freeze(); pruner.harden()[0].out_features, round(pruner.share, 2)
    (4, 0.5)

    Source: Kim, Park, Jung and Choe, 2020, Plug-in, Trainable Gate for Streamlining Arbitrary Neural Networks. Ranked first gates, the
    falling target and the snap to it at the end are ours.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: Tensor,
        target_cost: float = 0.5,
        *,
        cost: Cost = "macs",
        shape: GateShape = "constant",
        strength: float = 5.0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputTypeError(f"GatePruner got {type(model).__name__}; expected a torch.nn.Module.")
        if (
            not 0.0 < target_cost <= 1.0
            or not strength > 0.0
            or not (cost in ("macs", "params") or callable(cost))
        ):
            raise ParameterError(
                f"GatePruner got target_cost={target_cost!r}, cost={cost!r}, strength={strength!r}; expected a share above 0 and at most "
                "1, 'macs', 'params' or a function, and a positive number."
            )
        self.target_cost, self.strength, self._cost_of = float(target_cost), strength, cost
        self._source = copy.deepcopy(model)
        self._example = example_input
        found = analyse(self._source, example_input)
        self._layers, self._norms = found.layers, found.norms
        self._gate_of: dict[Space, TrainableGate] = {}
        self.gates: dict[str, TrainableGate] = {}
        read = {layer.inputs.root() for layer in found.layers.values()}
        for name, layer in found.layers.items():
            space = layer.outputs.root()
            if space in read and not space.whole and not layer.depthwise and space not in self._gate_of:
                self.gates[name] = self._gate_of[space] = TrainableGate(space.channels, shape)
        if not self.gates:
            raise HardenError(
                f"GatePruner found no channel of a {type(model).__name__} that can be closed; expected layers that read what others write."
            )
        self.model = self._with_gates(found)
        self._schedule = Schedule.linear(1.0, self.target_cost)
        self._full = float(self._cost({space: torch.ones(space.channels) for space in self._gate_of}))

    def _with_gates(self, found: Any) -> nn.Module:
        """Put each gate in front of the layers that read its channels."""
        names = {gate: f"gate_{name.replace('.', '_')}" for name, gate in self.gates.items()}
        for gate, name in names.items():
            found.graph.add_module(name, gate)
        for node, source in found.readers:
            space = found.layers[str(node.target)].inputs.root()
            if space not in self._gate_of:
                continue
            with found.graph.graph.inserting_before(node):
                gated = found.graph.graph.call_module(names[self._gate_of[space]], (source,))
            node.replace_input_with(source, gated)
        found.graph.recompile()
        graph: nn.Module = found.graph
        return graph

    # --- cost ---------------------------------------------------------------------------------------------------------------
    def _cost(self, gates: Mapping[Space, Tensor]) -> Tensor:
        """Return the cost of a network with given gates, as products of open channels: the gradient of one side knows the other's."""

        def count(space: Space) -> Tensor:
            at = gates.get(space.root())
            return torch.tensor(float(space.root().channels)) if at is None else at.sum()

        counts = {name: (count(layer.inputs), count(layer.outputs)) for name, layer in self._layers.items()}
        if callable(self._cost_of):
            return self._cost_of(counts)
        terms = [
            self._price(layer) * (o if layer.depthwise else i * o)
            for (i, o), layer in zip(counts.values(), self._layers.values(), strict=True)
        ]
        return torch.stack([term.cpu() for term in terms]).sum()

    def _price(self, layer: Layer) -> float:
        weight: Any = layer.module.weight
        per_pair = float(weight[0, 0].numel()) * layer.repeats
        return per_pair * (layer.places if self._cost_of == "macs" else 1)

    @property
    def share(self) -> float:
        """Cost with the gates as they are now, over that of the whole network."""
        with torch.no_grad():
            return (
                float(self._cost({space: gate.gates("hard") for space, gate in self._gate_of.items()}))
                / self._full
            )

    def penalty(self, progress: float) -> Tensor:
        """Return what the loss must be given beside it: the distance of the cost from a target that falls to `target_cost` half-way.

        Parameters
        ----------
        progress : of the training with moving gates, from 0 to 1.
        """
        share = self._cost({space: gate.gates("st") for space, gate in self._gate_of.items()}) / self._full
        return self.strength * (share - self._schedule(HALF_WAY * progress)).abs()

    # --- training -----------------------------------------------------------------------------------------------------------
    def rank(
        self,
        loss: Callable[[Tensor, Any], Tensor] | None = None,
        batches: Iterable[tuple[Tensor, Any]] = (),
        importance: Importance = "gradient",
    ) -> None:
        """Set the first weights of the gates by the importance of their channels, so that unimportant ones close first.

        Parameters
        ----------
        loss : of (output, target); needed for "gradient".
        batches : of (input, target); some small ones tell more than a large one.
        importance : "gradient" (mean absolute derivative of the loss by the gate) or "l1" (sum of absolute weights of the filters).
        """
        if importance not in ("gradient", "l1"):
            raise ParameterError(f"rank() got importance={importance!r}; expected 'gradient' or 'l1'.")
        scores = self._filter_norms() if importance == "l1" else self._gate_gradients(loss, batches)
        with torch.no_grad():
            for gate, score in scores.items():
                order = score.argsort(stable=True).argsort()
                gate.weight.copy_(LOWEST_START + (1 - LOWEST_START) * (order + 0.5) / len(score))

    def _gate_gradients(
        self, loss: Callable[[Tensor, Any], Tensor] | None, batches: Iterable[tuple[Tensor, Any]]
    ) -> dict[TrainableGate, Tensor]:
        weights = [gate.weight for gate in self.gates.values()]
        with torch.no_grad():
            for weight in weights:
                weight.fill_(1.0)
        sums = [torch.zeros_like(weight) for weight in weights]
        training, seen = self.model.training, 0
        self.model.eval()
        for x, y in batches if loss is not None else ():
            assert loss is not None
            for total, gradient in zip(
                sums, torch.autograd.grad(loss(self.model(x), y), weights), strict=True
            ):
                total += gradient.abs()
            seen += 1
        self.model.train(training)
        if not seen:
            raise ParameterError("rank() got no loss or no batches; give both, or importance='l1'.")
        return dict(zip(self.gates.values(), sums, strict=True))

    def _filter_norms(self) -> dict[TrainableGate, Tensor]:
        norms = {gate: torch.zeros_like(gate.weight) for gate in self.gates.values()}
        for layer in self._layers.values():
            gate = self._gate_of.get(layer.outputs.root())
            if gate is not None and not layer.depthwise:
                weight: Any = layer.module.weight
                norms[gate] += weight.detach().abs().flatten(1).sum(1)
        return norms

    def groups(self, learning_rate: float = 5e-4, gate_rate: float = 5e-3) -> list[dict[str, Any]]:
        """Return parameter groups for an optimiser: the network, and its gates without weight decay."""
        gates = [gate.weight for gate in self.gates.values()]
        others = [p for p in self.model.parameters() if not any(p is weight for weight in gates)]
        return [
            {"params": others, "lr": learning_rate},
            {"params": gates, "lr": gate_rate, "weight_decay": 0.0},
        ]

    def step(self) -> None:
        """Keep the gates where they can open again; to be called after every step of the optimiser."""
        for gate in self.gates.values():
            gate.clamp()

    @torch.no_grad()
    def freeze(self) -> None:
        """Fix every gate, open or closed, in the state nearest the target: gates are opened in the order of their weights.

        Raises
        ------
        BudgetError : one open channel in every layer costs more than the target and is far from it.
        """
        spaces = list(self._gate_of)
        weights: list[Tensor] = [self._gate_of[space].weight for space in spaces]
        order = torch.cat(weights).cpu().argsort(descending=True, stable=True)
        first = torch.tensor([int(weight.argmax()) for weight in weights])
        sizes = torch.tensor([len(weight) for weight in weights])
        first += sizes.cumsum(0) - sizes

        def opened(count: int) -> list[Tensor]:
            gates = torch.zeros(len(order))
            gates[order[:count]] = 1.0
            gates[first] = 1.0  # a layer without a channel would cut the network
            return list(gates.split(sizes.tolist()))

        def share(count: int) -> float:
            return float(self._cost(dict(zip(spaces, opened(count), strict=True)))) / self._full

        if share(0) > self.target_cost + 0.01:
            raise BudgetError(
                f"freeze(): one channel a layer costs {share(0):.3f} of the network, more than target_cost={self.target_cost}. Allow more."
            )
        low, high = 0, len(order)
        while high - low > 1:  # the cost grows with every channel
            middle = (low + high) // 2
            low, high = (middle, high) if share(middle) <= self.target_cost else (low, middle)
        best = min((low, high), key=lambda count: abs(share(count) - self.target_cost))
        for weight, gates in zip(weights, opened(best), strict=True):
            weight.copy_(2.0 * gates - 1.0)
            weight.requires_grad_(False)

    # --- the smaller network --------------------------------------------------------------------------------------------------
    def harden(self) -> Any:
        """Return the network without its closed channels: an ordinary module of the type that was given, smaller.

        Raises
        ------
        HardenError : it does not compute what the gated network does, as where its `forward` writes sizes of its own.
        """
        result = copy.deepcopy(self._source)
        with torch.no_grad():
            kept = {space: gate.gates("hard").nonzero().flatten() for space, gate in self._gate_of.items()}
            for name, layer in self._layers.items():
                _cut_layer(result.get_submodule(name), layer, kept)
            for name, space in self._norms.items():
                if space.root() in kept:
                    _cut_norm(result.get_submodule(name), space.root(), kept[space.root()])
            self._check(result)
        return result

    def _check(self, result: nn.Module) -> None:
        training = self.model.training
        expected = self.model.eval()(self._example)
        self.model.train(training)
        try:
            found = result.eval()(self._example)
        except RuntimeError as error:
            raise HardenError(
                f"the smaller network does not run: {error}. Its forward may hold sizes that are written out; use flatten or view(n, -1)."
            ) from error
        result.train(training)
        if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * float(expected.abs().max())):
            raise HardenError(
                f"the smaller network is {float((found - expected).abs().max()):.3g} away from the gated one; its forward does something "
                "with channels that the analysis does not see."
            )


def _cut_layer(module: Any, layer: Layer, kept: Mapping[Space, Tensor]) -> None:
    """Leave the kept inputs and outputs of a layer."""
    rows, columns = kept.get(layer.outputs.root()), kept.get(layer.inputs.root())
    if rows is not None:
        _keep(module, "weight", rows, 0)
        if module.bias is not None:
            _keep(module, "bias", rows, 0)
    if columns is not None and not layer.depthwise:
        _keep(module, "weight", _repeated(columns, layer.repeats), 1)
    names = (
        ("in_features", "out_features") if isinstance(module, nn.Linear) else ("in_channels", "out_channels")
    )
    if layer.depthwise:
        module.groups = module.weight.shape[0]
    setattr(module, names[0], module.weight.shape[0] if layer.depthwise else module.weight.shape[1])
    setattr(module, names[1], module.weight.shape[0])


def _cut_norm(module: Any, space: Space, kept: Tensor) -> None:
    places = _repeated(kept, module.num_features // space.channels)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if getattr(module, name) is not None:
            _keep(module, name, places, 0)
    module.num_features = len(places)


def _repeated(channels: Tensor, repeats: int) -> Tensor:
    """Return the places of channels after flattening."""
    return (channels.unsqueeze(1) * repeats + torch.arange(repeats, device=channels.device)).flatten()


def _keep(module: nn.Module, name: str, places: Tensor, dim: int) -> None:
    value = getattr(module, name)
    cut = value.detach().index_select(dim, places.to(value.device)).clone()
    setattr(
        module,
        name,
        nn.Parameter(cut, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else cut,
    )
