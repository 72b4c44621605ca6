"""A whole network on lattices: its linear layers quantised in one call, calibrated, and what that costs, measured."""

from __future__ import annotations

import contextlib
import copy
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hardgrad.bits.lattice import LatticeQuantizer
from hardgrad.bits.lattice_codes import LatticeCodes
from hardgrad.bits.lattice_groups import InputMoments, group_size_for
from hardgrad.bits.lattice_layers import ExactLatticeLinear, LatticeLinear
from hardgrad.core.errors import InputError, InputTypeError, ParameterError
from hardgrad.core.gap import GapReport
from hardgrad.core.relaxed import harden
from hardgrad.train.progress import emit, muted

TOLERANCE = 0.1  # of the spread of the original outputs, within which numbers agree


@dataclass(frozen=True)
class QuantizedLayer:
    """What quantising one layer did.

    Parameters
    ----------
    name : of the layer in the model.
    shape : (out_features, in_features).
    bits_per_weight : generators and padding included.
    relative_error : squared error of its outputs over that of a layer of zeros; of its weights where it saw no inputs.
    calibrated : whether it saw inputs.
    """

    name: str
    shape: tuple[int, int]
    bits_per_weight: float
    relative_error: float
    calibrated: bool


@dataclass(frozen=True)
class LatticeQuantization:
    """A network whose linear layers are on lattices, beside the one that it was made from. Printed, it lists the layers.

    Parameters
    ----------
    model : with a `LatticeLinear` in place of each layer; train it further, or harden it.
    original : the model that was given, unchanged.
    layers : what was done to each layer.
    """

    model: nn.Module
    original: nn.Module
    layers: tuple[QuantizedLayer, ...]

    def harden(self) -> Any:
        """Return the exact network, in which each of the layers is an `ExactLatticeLinear` of packed codes."""
        return harden(self.model)

    @property
    def codes(self) -> dict[str, LatticeCodes]:
        """The packed codes of each layer by its name, as artifacts."""
        parts = dict(self.harden().named_modules())
        return {name: part.codes for name, part in parts.items() if isinstance(part, ExactLatticeLinear)}

    @property
    def bits_per_weight(self) -> float:
        """Bits of all codes over the number of weights that they stand for."""
        sizes = [layer.shape[0] * layer.shape[1] for layer in self.layers]
        return sum(n * layer.bits_per_weight for n, layer in zip(sizes, self.layers, strict=True)) / sum(
            sizes
        )

    def gap(self, inputs: Any, targets: Tensor | None = None) -> GapReport:
        """Return what quantising costs: the original network against the exact one.

        Parameters
        ----------
        inputs : as for `quantize_linear_layers`.
        targets : whole numbers, classes, give the accuracy; other numbers, of the shape of the outputs, the mean squared error. Without
            them the metric is the mean squared difference of the two outputs.

        Raises
        ------
        InputError : targets that do not fit the outputs.
        """
        soft, hard = _outputs((self.original, self.harden()), inputs)
        metric, before, after = _scored(soft, hard, targets)
        classes = soft.shape[-1] > 1 and (targets is None or not targets.is_floating_point())
        far = (soft - hard).abs().amax(dim=-1)
        tolerance = TOLERANCE * float(soft.std()) if soft.numel() > 1 else 0.0
        same = soft.argmax(dim=-1) == hard.argmax(dim=-1) if classes else far <= tolerance
        detail = {"bits_per_weight": self.bits_per_weight}
        return GapReport(
            metric,
            soft=before,
            hard=after,
            agreement=float(same.double().mean()),
            worst_disagreement=float(far.max()),
            higher_is_better=metric == "accuracy",
            rows=far.numel(),
            detail=detail if classes else detail | {"tolerance": tolerance},
        )

    def __str__(self) -> str:
        head = f"{'layer':24} {'shape':>14} {'bits per weight':>16} {'relative error':>15}"
        lines = [
            f"{layer.name or '(itself)':24} {layer.shape[0]:>6} x {layer.shape[1]:<5} {layer.bits_per_weight:16.3f} "
            f"{layer.relative_error:15.4f}{'' if layer.calibrated else '  of the weights: it saw no inputs'}"
            for layer in self.layers
        ]
        return "\n".join([head, *lines, f"all: {self.bits_per_weight:.3f} bits per weight"])


def quantize_linear_layers(
    model: nn.Module,
    inputs: Any = None,
    *,
    quantizer: LatticeQuantizer | None = None,
    layers: Iterable[str] | str = "*",
) -> LatticeQuantization:
    """Quantise every linear layer of a network on learned lattices; the network itself stays as it is.

    Parameters
    ----------
    model : any module. Layers of exactly the type `nn.Linear` are quantised, subclasses are left as they are.
    inputs : to calibrate on: a tensor, or batches of them (a tuple is the arguments of one call). Without inputs the errors of the weights
        are minimised.
    quantizer : whose settings are used for each layer; `LatticeQuantizer()` by default.
    layers : patterns of names, as in "encoder.*".

    Returns
    -------
    quantization : the network on lattices, to be measured, trained further or hardened.

    Raises
    ------
    InputTypeError : not a module.
    ParameterError : no layer has such a name.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    >>> quantization = quantize_linear_layers(net, x, quantizer=LatticeQuantizer(dim=2, bits=4, max_iter=10))
    >>> quantization.gap(x).metric, type(quantization.harden()[0]).__name__
    ('mean_squared_difference', 'ExactLatticeLinear')

    Source: Zhang, Wu, Wang and Lin, 2025, Learning Grouped Lattice Vector Quantizers for Low-Bit LLM Compression.
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"quantize_linear_layers got {type(model).__name__}; expected a torch.nn.Module."
        )
    settings = quantizer if quantizer is not None else LatticeQuantizer()
    chosen = _chosen(model, [layers] if isinstance(layers, str) else list(layers))
    moments = _moments(model, inputs, chosen, settings)
    replaced: dict[int, Any] = {}
    report = []
    for done, (name, linear) in enumerate(chosen.items()):
        emit("layers", done / len(chosen), message=name)
        fitted = copy.copy(settings)
        seen = moments[name] if moments[name].rows else None
        with muted():
            fitted.fit(linear.weight, seen)
        codes = fitted.quantize()
        layer = LatticeLinear(
            fitted.adjusted().to(linear.weight), linear.bias, codes, rounding=fitted.rounding
        )
        replaced[id(linear)] = layer.train(linear.training)
        calibrated = seen is not None and fitted.learn != "weights"
        report.append(
            QuantizedLayer(name, codes.shape, codes.bits_per_weight, fitted.relative_error_, calibrated)
        )
    emit("layers", 1.0)
    # A copy in which the layers were copied already: into others. A layer that is shared stays shared.
    return LatticeQuantization(copy.deepcopy(model, replaced), model, tuple(report))


def _chosen(model: nn.Module, patterns: list[str]) -> dict[str, nn.Linear]:
    linear = {name: part for name, part in model.named_modules() if type(part) is nn.Linear}
    chosen: dict[str, nn.Linear] = {}
    for pattern in patterns:
        found = fnmatch.filter(linear, pattern)
        if not found:
            known = ", ".join(list(linear)[:8]) or "none"
            raise ParameterError(
                f"quantize_linear_layers got layers={pattern!r}, which fits no linear layer; the first are: {known}."
            )
        chosen |= {name: linear[name] for name in found}
    return chosen


def _moments(
    model: nn.Module, inputs: Any, chosen: dict[str, nn.Linear], settings: LatticeQuantizer
) -> dict[str, InputMoments]:
    """Run the network on the inputs and return the moments of what each layer sees."""
    moments, hooks = {}, []
    for name, linear in chosen.items():
        columns = linear.in_features
        found = InputMoments(columns, group_size_for(columns, settings.group_size, settings.dim))
        moments[name] = found
        hooks.append(linear.register_forward_pre_hook(lambda _, seen, found=found: found.update(seen[0])))
    try:
        with _evaluating(model):
            for batch in () if inputs is None else _batches(inputs):
                model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


def _batches(inputs: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(inputs, Tensor | tuple):
        inputs = [inputs]
    for batch in inputs:
        yield tuple(batch) if isinstance(batch, tuple | list) else (batch,)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Run a network in evaluation, without gradients, and leave each part as it was."""
    training = [part for part in model.modules() if part.training]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for part in training:
            part.training = True


def _outputs(models: tuple[nn.Module, nn.Module], inputs: Any) -> tuple[Tensor, Tensor]:
    """Return what both networks say of the same inputs, in float64 on the CPU."""
    said: tuple[list[Tensor], list[Tensor]] = ([], [])
    with _evaluating(models[0]), _evaluating(models[1]):
        for batch in _batches(inputs):
            for model, answers in zip(models, said, strict=True):
                out = model(*batch)
                if not isinstance(out, Tensor) or not out.dim():
                    raise InputError(
                        f"gap() got a network that returns {type(out).__name__}; expected a tensor (..., outputs)."
                    )
                answers.append(out.double().cpu())
    if not said[0]:
        raise InputError("gap() got no inputs; expected at least one batch.")
    return torch.cat(said[0]), torch.cat(said[1])


def _scored(soft: Tensor, hard: Tensor, targets: Tensor | None) -> tuple[str, float, float]:
    """Return the metric that fits the targets, and both values of it."""
    if targets is None:
        return "mean_squared_difference", 0.0, float((soft - hard).square().mean())
    numbers = targets.is_floating_point()
    expected = soft.shape if numbers else soft.shape[:-1]
    if targets.shape != expected:
        raise InputError(
            f"gap() got {'numbers' if numbers else 'classes'} of shape {tuple(targets.shape)}; expected {tuple(expected)}."
        )
    known = targets.cpu()
    if numbers:
        errors = [float((one - known).square().mean()) for one in (soft, hard)]
        return "mean_squared_error", errors[0], errors[1]
    right = [float((one.argmax(dim=-1) == known).double().mean()) for one in (soft, hard)]
    return "accuracy", right[0], right[1]
