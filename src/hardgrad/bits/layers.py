"""BinaryLinear and BinaryConv2d: layers whose weights, and inputs if you say so, are -1 and +1 in the forward pass.

Here too: what an optimiser needs to know of them (`WeightClipper`, `param_groups`). Networks of them, and how these become packed
artifacts, are `hardgrad.bits.network`; the layers with a square wave are `hardgrad.bits.periodic`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hardgrad.core.errors import ParameterError
from hardgrad.core.mode import Mode, resolve_mode
from hardgrad.core.relaxed import Relaxed, straight_through
from hardgrad.functional.binary import WIDTHS, Surrogate, binary_sign, binary_surrogate
from hardgrad.functional.operands import check_choice

Sampling = Literal["deterministic", "stochastic"]
Scale = Literal["mean", "channel"]
OPTIMIZERS = ("adam", "sgd")


class BinaryLayer(Relaxed):
    """What binary layers share: latent real weights, the bit of each, the scale of a layer and the way of the gradient.

    Parameters
    ----------
    shape : of the weights, outputs first.
    bias : whether real numbers are added to the outputs.
    fan_in, fan_out : products that enter an output, and that an input enters.
    weight_surrogate : backward of the sign of the weights: one of `hardgrad.functional.SURROGATES`, or a `Surrogate`.
    activation_surrogate : the same for the sign of the inputs; None leaves them real.
    sampling : "deterministic", or "stochastic": while training, a weight w is +1 with probability (w + 1) / 2, so that its mean is w.
    scale : what the bits are multiplied by: None for 1, "mean" for the mean of |w| in the layer, "channel" for a learned number an output.
    lr_scale : None, or "glorot": weights begin in [-1, 1], and `param_groups` divides their learning rate by half the bound of Glorot.
    temperature : width of surrogates that have one and are given by name.
    generator : of the first weights. device, dtype : of the parameters.
    """

    weight: nn.Parameter
    generator: torch.Generator | None

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        *,
        fan_in: int,
        fan_out: int,
        weight_surrogate: str | Surrogate = "clipped",
        activation_surrogate: str | Surrogate | None = None,
        sampling: Sampling = "deterministic",
        scale: Scale | None = None,
        lr_scale: Literal["glorot"] | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature)
        name = type(self).__name__
        if min(shape) < 1:
            raise ParameterError(f"{name} got weights of shape {shape}; expected sizes of at least 1.")
        check_choice(name, "sampling", sampling, ("deterministic", "stochastic"))
        if scale is not None:
            check_choice(name, "scale", scale, ("mean", "channel"))
        if lr_scale is not None:
            check_choice(name, "lr_scale", lr_scale, ("glorot",))
        self.fan_in, self.fan_out = fan_in, fan_out
        self.sampling, self.scale, self.lr_scale = sampling, scale, lr_scale
        self.set_surrogates(weight_surrogate, activation_surrogate)
        self.generator = None  # of the samples; torch's own by default
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(shape, **where))
        self.bias = nn.Parameter(torch.zeros(shape[0], **where)) if bias else None
        self.alpha = nn.Parameter(torch.empty(shape[0], **where)) if scale == "channel" else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the latent weights anew, and the learned scales."""
        bound = 1.0 if self.lr_scale == "glorot" else self._glorot()
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            if self.alpha is not None:
                self.alpha.uniform_(0.0, 1.0, generator=generator)

    def _glorot(self) -> float:
        return math.sqrt(6.0 / (self.fan_in + self.fan_out))

    def set_surrogates(
        self, weight: str | Surrogate | None = None, activation: str | Surrogate | None = None
    ) -> None:
        """Change the backward of the weights' sign, of the inputs' sign, or of both; inputs become binary where they were real."""
        if weight is not None:
            self.weight_surrogate = _known(weight)
        if activation is not None or not hasattr(self, "activation_surrogate"):
            self.activation_surrogate = None if activation is None else _known(activation)

    # --- forward -------------------------------------------------------------------------------------------------------------
    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs: exact bits and a surrogate's gradient, unless a `hardgrad.mode` block says otherwise."""
        return self.product(self.binary_input(x), self.binary_weight())

    @abstractmethod
    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the linear map of x by these weights, with the bias."""
        raise NotImplementedError

    @abstractmethod
    def plain(self, weight: Tensor) -> nn.Module:
        """Return torch's own layer with these weights."""
        raise NotImplementedError

    def binary_weight(self) -> Tensor:
        """Return the weights as they are used: the bits times the scale; in mode "soft" the surrogate in place of the bits."""
        scale = self.unit_scale()
        bits = self._bits()
        return bits if scale is None else bits * scale.reshape(-1, *[1] * (bits.dim() - 1))

    def _bits(self) -> Tensor:
        mode = self.weight_mode()
        surrogate = self._surrogate(self.weight_surrogate)
        if mode == "st" and self.training and self.sampling == "stochastic":
            with torch.no_grad():
                share = (0.5 * (self.weight + 1.0)).clamp(0.0, 1.0)
                sample = 2.0 * torch.bernoulli(share, generator=self.generator) - 1.0
            return straight_through(sample, surrogate.linear(self.weight))
        return binary_sign(self.weight, surrogate=surrogate, mode=mode)

    def weight_mode(self) -> Mode:
        """Return the mode of the weights; that of the inputs is `resolved_mode`."""
        return self.resolved_mode()

    def unit_scale(self) -> Tensor | None:
        """Return what the bits are multiplied by, one number for all outputs or one an output; None where it is 1."""
        return self.weight.abs().mean() if self.scale == "mean" else self.alpha

    def binary_input(self, x: Tensor) -> Tensor:
        """Return the inputs as they are used: their signs, or themselves where they are real."""
        if self.activation_surrogate is None:
            return x
        return binary_sign(x, surrogate=self._surrogate(self.activation_surrogate), mode=self.resolved_mode())

    def resolved_mode(self, mode: Mode | None = None) -> Mode:
        """Return the mode of this call: exact forward ("st") where nobody says another."""
        return resolve_mode(mode, "st")

    def _surrogate(self, given: str | Surrogate) -> Surrogate:
        if isinstance(given, Surrogate):
            return given
        return binary_surrogate(given, temperature=self.resolved_temperature() if given in WIDTHS else None)

    # --- hard ----------------------------------------------------------------------------------------------------------------
    def signs(self) -> Tensor:
        """Return the bits of the weights, -1 and +1, without a scale."""
        with torch.no_grad():
            return binary_sign(self.weight, surrogate=self._surrogate(self.weight_surrogate), mode="hard")

    def harden(self) -> nn.Module:
        """Return torch's own layer with the exact weights, after an exact sign where the inputs are binary.

        A network of binary layers becomes a packed artifact by `BinaryNetwork.harden`.
        """
        with torch.no_grad():
            scale = self.unit_scale()
            signs = self.signs()
            exact = self.plain(
                signs if scale is None else signs * scale.reshape(-1, *[1] * (signs.dim() - 1))
            )
        exact.requires_grad_(False)
        if self.activation_surrogate is None:
            return exact
        return nn.Sequential(ExactSign(self._surrogate(self.activation_surrogate)), exact)

    def project(self) -> None:
        """Clip the latent weights to [-1, 1]: what lies beyond could not change its sign any more."""
        with torch.no_grad():
            self.weight.clamp_(-1.0, 1.0)

    def lr_factor(self, optimizer: str = "adam") -> float:
        """Return what the learning rate of the latent weights is multiplied by."""
        if self.lr_scale is None:
            return 1.0
        return (0.5 * self._glorot()) ** (-1 if optimizer == "adam" else -2)

    def extra_repr(self) -> str:
        """Say how weights and inputs become bits."""
        names = [getattr(s, "name", s) for s in (self.weight_surrogate, self.activation_surrogate)]
        return (
            f"{tuple(self.weight.shape)}, weights={names[0]}, inputs={names[1] or 'real'}, scale={self.scale}"
        )


class ExactSign(nn.Module):
    """The sign of inputs, -1 and +1, without a gradient."""

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        """Return -1 and +1."""
        return binary_sign(x, surrogate=self.surrogate, mode="hard")


class BinaryLinear(BinaryLayer):
    """A linear layer with weights of one bit: trained real, used as -1 and +1.

    Parameters
    ----------
    in_features, out_features, bias : as in torch.nn.Linear.
    options : `weight_surrogate`, `activation_surrogate`, `sampling`, `scale`, `lr_scale`, `temperature`, `generator`, `device`, `dtype`, as
        `BinaryLayer` has them.

    Raises
    ------
    ParameterError : an option that is none of the known ones.

    Examples
    --------
    >>> layer = BinaryLinear(3, 2, bias=False)
    >>> layer(torch.tensor([[1.0, 2.0, 4.0]])).abs().tolist() in [[[a, b]] for a in (1, 3, 5, 7) for b in (1, 3, 5, 7)]
    True

    Source: Courbariaux, Bengio and David, 2015, BinaryConnect: Training Deep Neural Networks with binary weights during propagations.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **options: Any) -> None:
        self.in_features, self.out_features = in_features, out_features
        super().__init__(
            (out_features, in_features), bias, fan_in=in_features, fan_out=out_features, **options
        )

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return x times the transposed weights, plus the bias."""
        return nn.functional.linear(x, weight, self.bias)

    def plain(self, weight: Tensor) -> nn.Module:
        """Return a torch.nn.Linear."""
        exact = nn.Linear(
            self.in_features,
            self.out_features,
            self.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        return _filled(exact, weight, self.bias)


class BinaryConv2d(BinaryLayer):
    """A convolution with weights of one bit: trained real, used as -1 and +1.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias : as in torch.nn.Conv2d. Padding is with 0, which is
        no bit: under a border a product counts the pixels of the image alone.
    options : as for `BinaryLinear`.

    Examples
    --------
    >>> layer = BinaryConv2d(1, 4, 3, activation_surrogate="bireal")
    >>> layer(torch.randn(2, 1, 5, 5)).shape
    torch.Size([2, 4, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        **options: Any,
    ) -> None:
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ParameterError(
                f"BinaryConv2d got {in_channels} and {out_channels} channels in {groups} groups; expected groups that divide both."
            )
        self.channels = (in_channels, out_channels)
        self.place: dict[str, Any] = {
            "stride": stride, "padding": padding, "dilation": dilation, "groups": groups
        }  # fmt: skip
        area = math.prod(kernel)
        super().__init__(
            (out_channels, in_channels // groups, *kernel), bias,
            fan_in=in_channels // groups * area, fan_out=out_channels // groups * area, **options,
        )  # fmt: skip

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution of x by the weights, plus the bias."""
        return nn.functional.conv2d(x, weight, self.bias, **self.place)

    def plain(self, weight: Tensor) -> nn.Module:
        """Return a torch.nn.Conv2d."""
        kernel = (weight.shape[2], weight.shape[3])
        exact = nn.Conv2d(
            *self.channels, kernel, bias=self.bias is not None, device=weight.device, dtype=weight.dtype, **self.place
        )  # fmt: skip
        return _filled(exact, weight, self.bias)


class WeightClipper:
    """Keeps the latent weights of a model's binary layers where their bits can still change; call it after every step of an optimiser.

    Parameters
    ----------
    model : any module; the layers in it are found.

    Examples
    --------
    >>> layer = BinaryLinear(2, 1)
    >>> _ = nn.init.constant_(layer.weight, 0.5)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=100.0)
    >>> handle = WeightClipper(layer).attach(optimizer)
    >>> layer(torch.ones(1, 2)).sum().backward(); optimizer.step(); layer.weight.tolist()
    [[-1.0, -1.0]]
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = list(binary_layers(model))

    def __call__(self) -> None:
        """Project the weights: clip them, or wrap those of periodic layers."""
        for layer in self.layers:
            layer.project()

    def attach(self, optimizer: torch.optim.Optimizer) -> Any:
        """Call this after every step of the optimiser; returns a handle with `remove()`."""
        return optimizer.register_step_post_hook(lambda *_: self())


def binary_layers(model: nn.Module) -> Iterator[BinaryLayer]:
    """Yield the binary layers of a model."""
    return (module for module in model.modules() if isinstance(module, BinaryLayer))


def param_groups(
    model: nn.Module, lr: float, *, optimizer: str = "adam", weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """Return the groups for an optimiser: binary weights with their own learning rates and no decay, which would flip them, and the rest.

    Parameters
    ----------
    model : any module with binary layers in it.
    lr : learning rate; for the weights of a layer times its `lr_factor`.
    optimizer : "adam" or "sgd", whose steps scale differently.
    weight_decay : of everything but binary weights.

    Examples
    --------
    >>> model = torch.nn.Sequential(BinaryLinear(4, 2, lr_scale="glorot"), torch.nn.BatchNorm1d(2))
    >>> [(group["lr"], len(group["params"])) for group in param_groups(model, 0.01)]
    [(0.01, 3), (0.02, 1)]
    """
    check_choice("param_groups", "optimizer", optimizer, OPTIMIZERS)
    factors = {id(layer.weight): layer.lr_factor(optimizer) for layer in binary_layers(model)}
    groups: dict[float | None, list[nn.Parameter]] = {None: []}
    for parameter in model.parameters():
        groups.setdefault(factors.get(id(parameter)), []).append(parameter)
    return [
        {"params": found, "lr": lr * (1.0 if factor is None else factor), "weight_decay": weight_decay if factor is None else 0.0}
        for factor, found in groups.items()
        if found
    ]  # fmt: skip


def set_surrogates(
    model: nn.Module, weight: str | Surrogate | None = None, activation: str | Surrogate | None = None
) -> None:
    """Change the backward of every binary layer of a model; real inputs stay real.

    Parameters
    ----------
    weight, activation : names or surrogates; None leaves what there is.
    """
    for layer in binary_layers(model):
        layer.set_surrogates(weight, activation if layer.activation_surrogate is not None else None)


def _known(surrogate: str | Surrogate) -> str | Surrogate:
    if not isinstance(surrogate, Surrogate):
        binary_surrogate(surrogate)  # an unknown name is an error where it is given
    return surrogate


def _filled(exact: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    exact.load_state_dict(state)
    return exact
