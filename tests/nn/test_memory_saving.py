"""save_memory: torch's own values, gradients of every order, in every padding mode and dtype, with the bytes that theory asks for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations

from hardgrad.core.errors import InputTypeError, ParameterError
from hardgrad.gradients.diagnostics import saved_for_backward
from hardgrad.nn import save_memory

BATCH_1D, BATCH_2D, BATCH_3D = (2, 4, 9), (2, 4, 7, 8), (2, 4, 5, 6, 4)


def eval_norm(layer: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name else 0.0))
    return layer.eval()


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), BATCH_1D),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), BATCH_2D),
    "conv2d one sample": (lambda: nn.Conv2d(4, 3, 3, bias=False), BATCH_2D[1:]),
    "conv2d same, even kernel": (lambda: nn.Conv2d(4, 3, (2, 4), padding="same", dilation=(1, 2)), BATCH_2D),
    "conv2d valid": (lambda: nn.Conv2d(4, 3, 3, padding="valid"), BATCH_2D),
    "conv3d": (lambda: nn.Conv3d(4, 2, 3, padding=(1, 0, 1)), BATCH_3D),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, groups=2), BATCH_1D),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 3, 3, padding=1, dilation=2), BATCH_2D),
    "transposed 3d": (lambda: nn.ConvTranspose3d(4, 2, 2, bias=False), BATCH_3D),
    "batch norm 1d": (lambda: eval_norm(nn.BatchNorm1d(4)), BATCH_1D[:2]),
    "batch norm 2d": (lambda: eval_norm(nn.BatchNorm2d(4)), BATCH_2D),
    "batch norm without affine": (lambda: eval_norm(nn.BatchNorm2d(4, affine=False)), BATCH_2D),
    "batch norm without statistics": (
        lambda: eval_norm(nn.BatchNorm2d(4, track_running_stats=False)),
        BATCH_2D,
    ),
    "batch norm in training": (lambda: nn.BatchNorm3d(4), BATCH_3D),
    "relu": (nn.ReLU, BATCH_2D),
    "relu6": (nn.ReLU6, BATCH_2D),
    "leaky relu": (lambda: nn.LeakyReLU(0.2), BATCH_2D),
    "hardtanh": (lambda: nn.Hardtanh(-0.5, 0.7), BATCH_2D),
    "hardsigmoid": (nn.Hardsigmoid, BATCH_2D),
    "threshold": (lambda: nn.Threshold(0.3, 2.0), BATCH_2D),
    "max pool 1d": (lambda: nn.MaxPool1d(3, 2, 1), BATCH_1D),
    "max pool 2d": (lambda: nn.MaxPool2d((2, 3), (1, 2), 1, ceil_mode=True), BATCH_2D),
    "max pool 2d dilated": (lambda: nn.MaxPool2d(2, 2, 0, dilation=(3, 2)), BATCH_2D),
    "max pool 2d, large window": (lambda: nn.MaxPool2d((17, 16), 1, (8, 8)), (1, 2, 20, 20)),
    "max pool 3d": (lambda: nn.MaxPool3d(2, 1, 1), BATCH_3D),
    "average pool 2d": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), BATCH_2D),
    "average pool 3d": (lambda: nn.AvgPool3d(2), BATCH_3D),
    "adaptive pool": (lambda: nn.AdaptiveAvgPool2d((3, None)), BATCH_2D),
    "reflection pad": (lambda: nn.ReflectionPad2d((1, 2, 0, 3)), BATCH_2D),
    "reflection pad 1d": (lambda: nn.ReflectionPad1d(2), BATCH_1D),
    "replication pad": (lambda: nn.ReplicationPad2d(1), BATCH_2D),
    "replication pad 1d": (lambda: nn.ReplicationPad1d((0, 2)), BATCH_1D),
}
for mode in ("reflect", "replicate", "circular"):
    LAYERS[f"conv1d {mode}"] = (lambda mode=mode: nn.Conv1d(4, 3, 3, padding=1, padding_mode=mode), BATCH_1D)
    LAYERS[f"conv2d {mode}"] = (
        lambda mode=mode: nn.Conv2d(4, 3, 3, padding=(1, 2), padding_mode=mode),
        BATCH_2D,
    )
    LAYERS[f"conv3d {mode}"] = (lambda mode=mode: nn.Conv3d(4, 2, 2, padding=1, padding_mode=mode), BATCH_3D)


def spread(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Distinct values on both sides of zero, none at a kink of the layers tested."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return ((order.double() + 0.5) / count * 4 - 2).reshape(shape).to(dtype)


def run(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    x = x.clone().requires_grad_()
    y = layer(x)
    wanted = [x, *(p for p in layer.parameters() if p.requires_grad)]
    return y.detach(), list(torch.autograd.grad(y, wanted, torch.cos(y.detach()), allow_unused=True))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even:UserWarning")
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_torchs(name: str, frozen: bool) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().requires_grad_(not frozen)
    # ReLU is left alone only where something behind it keeps its output.
    ours = save_memory(layer)
    assert type(ours).__name__ == f"MemorySaving{type(layer).__name__}"
    assert isinstance(ours, type(layer))
    value, gradients = run(layer, spread(shape))
    our_value, our_gradients = run(ours, spread(shape))
    assert torch.equal(our_value, value)
    for found, expected in zip(our_gradients, gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "conv2d",
        "conv2d reflect",
        "transposed 2d",
        "batch norm 2d",
        "leaky relu",
        "max pool 2d",
        "adaptive pool",
    ],
)
def test_gradients_of_second_order(name: str) -> None:
    make, shape = LAYERS[name]
    small = (1, 4, *(min(side, 5) for side in shape[2:]))
    layer = save_memory(make().double())
    x = spread(small, torch.float64).requires_grad_()
    names = [n for n, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def f(x: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(f, (x, *values), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x, *values), fast_mode=True)
    layer.requires_grad_(False)
    assert torch.autograd.gradgradcheck(layer, (x,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name",
    ["conv2d", "transposed 2d", "batch norm 2d", "relu", "hardtanh", "max pool 2d", "average pool 2d"],
)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    make, shape = LAYERS[name]
    layer = make().to(dtype).requires_grad_(False)
    value, (gradient,) = run(layer, spread(shape, dtype))
    our_value, (our_gradient,) = run(save_memory(layer), spread(shape, dtype))
    assert torch.equal(value, our_value)
    assert gradient is not None and our_gradient is not None and our_gradient.dtype == dtype
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-2, atol=1e-2)


def test_autocast() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), eval_norm(nn.BatchNorm2d(4)), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net[0].requires_grad_(False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = run(net, spread(BATCH_2D))
        our_value, our_gradients = run(save_memory(net), spread(BATCH_2D))
    assert torch.equal(value, our_value) and value.dtype == torch.bfloat16
    for found, expected in zip(our_gradients, gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


KINKS = torch.tensor([-3.0, -1.0, -0.0, 0.0, 1.0, 3.0, 6.0, float("nan"), float("inf"), -float("inf")])


@pytest.mark.parametrize(
    "layer",
    [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.Hardtanh(), nn.Hardsigmoid(), nn.Threshold(1.0, 0.0)],
)
def test_at_kinks_and_without_numbers_as_torch(layer: nn.Module) -> None:
    def gradient(module: nn.Module) -> Tensor:
        x = KINKS.clone().requires_grad_()
        return torch.autograd.grad(module(x), x, torch.ones_like(x))[0]

    torch.testing.assert_close(
        gradient(save_memory(layer)), gradient(layer), equal_nan=True, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("in_place", [False, True])
def test_dropout_takes_its_own_probability_and_torchs_random_numbers(p: float, in_place: bool) -> None:
    def outcome(module: nn.Module) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        x = torch.relu(spread(BATCH_2D)).requires_grad_()  # zeros among the inputs
        y = module(x * 1)
        return y.detach(), torch.autograd.grad(y, x, torch.ones_like(y))[0]

    layer = nn.Dropout(p, in_place)
    for module in (layer, copy.deepcopy(layer).eval()):
        for found, expected in zip(outcome(save_memory(module)), outcome(module), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


LARGE_SHAPE = (2, 4, 64, 48)  # what compiled loops take
LARGE_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "hardsigmoid": nn.Hardsigmoid,
    "dropout": lambda: nn.Dropout(0.55),
    "dropout in place": lambda: nn.Dropout(0.1, inplace=True),
    "pool": lambda: nn.MaxPool2d(2),
    "pool with a rest": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2)),
    "pool of a rest": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, ceil_mode=True)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LARGE_LAYERS)
def test_large_tensors_with_ties_and_without_numbers(
    name: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    values = spread(LARGE_SHAPE, dtype).mul(4).round().div(4)  # many ties, also at the kinks
    values.view(-1)[: 7 * len(KINKS) : 7] = KINKS.to(dtype)
    values[1, 2, :6, :6] = -torch.inf
    values = values.contiguous(memory_format=layout)

    def outcome(module: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(3)
        x = values.clone().requires_grad_()
        y = module(x * 1)
        gradient = values[..., : y.shape[-2], : y.shape[-1]].flip(0, 1)
        return y.detach(), torch.autograd.grad(y, x, gradient.contiguous())[0], torch.rand(1)

    layer = LARGE_LAYERS[name]()
    value, gradient, drawn = outcome(layer)
    our_value, our_gradient, our_drawn = outcome(save_memory(layer))
    torch.testing.assert_close(our_value, value, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(our_value.signbit(), value.signbit()) and our_value.stride() == value.stride()
    torch.testing.assert_close(our_gradient, gradient, equal_nan=True, rtol=1e-6, atol=0)
    assert torch.equal(our_drawn, drawn)  # the random numbers go on from the same place


@pytest.mark.parametrize("name", ["relu", "dropout", "pool"])
def test_a_tangent_of_the_gradient_is_not_lost(name: str) -> None:
    x = spread(LARGE_SHAPE).requires_grad_()
    y = save_memory(LARGE_LAYERS[name]())(x)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones_like(y), torch.full_like(y, 2.0))
        value, tangent = forward_ad.unpack_dual(torch.autograd.grad(y, x, dual)[0])
    assert tangent is not None and torch.equal(tangent, 2 * value) and value.any()


def test_in_place_activations_overwrite_and_are_watched() -> None:
    layer = save_memory(nn.ReLU(inplace=True))
    x = spread((3, 5)).requires_grad_()
    hidden = x * 1
    y = layer(hidden)
    assert y is hidden and y.min() == 0
    y.sum().backward()
    assert torch.equal(x.grad, (x > 0).float())  # type: ignore[arg-type]


def test_what_is_kept_is_watched_for_changes() -> None:
    layer = save_memory(nn.Conv2d(4, 2, 3))
    x = spread(BATCH_2D)
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    norm = save_memory(eval_norm(nn.BatchNorm2d(4)).requires_grad_(False))
    y = norm(spread(BATCH_2D).requires_grad_())
    norm.running_var.mul_(2)  # type: ignore[operator, union-attr]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("name", ["conv2d", "batch norm 2d", "relu", "max pool 2d", "average pool 2d"])
def test_torch_func(name: str) -> None:
    make, shape = LAYERS[name]
    layer = make().requires_grad_(False)
    x = spread((3, *shape))

    def gradient(module: nn.Module) -> Tensor:
        return torch.func.vmap(torch.func.grad(lambda v: module(v).square().sum()))(x)

    torch.testing.assert_close(gradient(save_memory(layer)), gradient(layer), rtol=1e-5, atol=1e-5)


def test_dropout_under_vmap() -> None:
    layer = save_memory(nn.Dropout(0.5))
    gradient = torch.func.grad(lambda v: layer(v).sum())
    kept = torch.func.vmap(gradient, randomness="different")(torch.ones(4, 50))
    assert set(kept.unique().tolist()) == {0.0, 2.0} and not torch.equal(kept[0], kept[1])


# --- bytes -------------------------------------------------------------------------------------------------------------------------------
ACTIVATION = 4 * 2 * 8 * 16 * 16


def stack(*, relu: bool = False, norm: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(6):
        parts.append(eval_norm(nn.BatchNorm2d(8)) if norm else nn.Conv2d(8, 8, 3, padding=1))
        parts += [nn.ReLU()] if relu else []
    return nn.Sequential(*parts)


def kept(net: nn.Module) -> int:
    return saved_for_backward(lambda: net(torch.ones(2, 8, 16, 16))).total_bytes


@pytest.mark.parametrize("norm", [False, True])
def test_one_trainable_layer_keeps_one_activation(norm: bool) -> None:
    net = stack(norm=norm).requires_grad_(False)
    net[2].requires_grad_(True)
    assert (kept(net), kept(save_memory(net))) == (4 * ACTIVATION, ACTIVATION)


def test_a_relu_keeps_one_bit_or_nothing() -> None:
    net = stack(relu=True).requires_grad_(False)
    net[4].requires_grad_(True)
    # The trainable layer's input, and the signs of the four activations from there on.
    assert kept(save_memory(net)) == ACTIVATION + 4 * ACTIVATION // 32
    trained = stack(relu=True)
    assert kept(save_memory(trained)) <= kept(trained)
    types = [type(part).__name__ for part in save_memory(trained) if "ReLU" in type(part).__name__]
    assert types == ["ReLU"] * 5 + ["MemorySavingReLU"]  # the last one's output is kept by nobody


class Residual(nn.Module):
    """Two convolutions and a sum, with a data-dependent branch or without."""

    def __init__(self, *, branch: bool) -> None:
        super().__init__()
        self.branch = branch
        self.first, self.relu, self.flat, self.last = (
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2048, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.branch and x.sum() < 0:
            return x
        y: Tensor = self.last(self.flat(self.relu(self.first(x))))
        return y


def test_a_model_that_cannot_be_traced_is_converted_too() -> None:
    plain, branching = Residual(branch=False), Residual(branch=True)
    assert (
        type(save_memory(plain).relu) is nn.ReLU
    )  # the linear layer keeps its output, seen through the view
    assert type(save_memory(branching).relu).__name__ == "MemorySavingReLU"
    x = torch.ones(2, 8, 16, 16)
    assert torch.equal(save_memory(branching)(x), branching(x))


def test_transformer_block() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 64, dropout=0.2, batch_first=True).requires_grad_(False)
    layer.self_attn.dropout = 0.0
    ours, x = save_memory(layer), spread((2, 8, 16))

    def outcome(module: nn.Module) -> tuple[Tensor, list[Tensor | None]]:
        torch.manual_seed(1)
        return run(module, x)

    value, gradients = outcome(layer)
    our_value, our_gradients = outcome(ours)
    assert torch.equal(value, our_value)
    torch.testing.assert_close(our_gradients, gradients, rtol=1e-5, atol=1e-6)

    def bytes_of(module: nn.Module) -> int:
        return saved_for_backward(lambda: module(x.clone().requires_grad_())).total_bytes

    # ReLU (64 wide), its dropout, and two dropouts of 16 shrink from 4 bytes to a bit.
    assert bytes_of(layer) - bytes_of(ours) == (64 + 64 + 16 + 16) * 16 * 31 // 8


# --- the converter -----------------------------------------------------------------------------------------------------------------------
def test_parameters_buffers_hooks_and_flags_are_kept() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Dropout(0.3)))
    net[2].eval()
    calls: list[str] = []
    net[0].register_forward_hook(lambda *_: calls.append("hook"))
    ours = save_memory(net)
    assert all(a is b for a, b in zip(ours.parameters(), net.parameters(), strict=True))
    assert all(a is b for a, b in zip(ours.buffers(), net.buffers(), strict=True))
    assert ours.state_dict().keys() == net.state_dict().keys()
    assert ours[0].training and not ours[2][1].training and ours[2][1].p == 0.3  # type: ignore[index]
    ours(torch.ones(2, 4, 5, 5))
    assert calls == ["hook"] and type(net[0]) is nn.Conv2d
    assert net[1].num_batches_tracked == 1  # one set of statistics, whichever of the two runs
    assert save_memory(net, inplace=True) is net and type(net[0]).__name__ == "MemorySavingConv2d"
    assert type(save_memory(net)[0]).__name__ == "MemorySavingConv2d"


def test_subclasses_are_left_and_parametrisations_seen_through() -> None:
    class Own(nn.Conv2d):
        """Not torch's own."""

    net = nn.Sequential(Own(4, 4, 3), parametrizations.weight_norm(nn.Conv2d(4, 4, 3)))
    ours = save_memory(net)
    assert type(ours[0]) is Own and type(ours[1]).__name__ == "ParametrizedMemorySavingConv2d"
    value, gradients = run(net, spread(BATCH_2D))
    our_value, our_gradients = run(ours, spread(BATCH_2D))
    assert torch.equal(value, our_value)
    torch.testing.assert_close(our_gradients, gradients, rtol=1e-5, atol=1e-5)


def test_a_shared_layer_stays_shared() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    ours = save_memory(nn.Sequential(conv, nn.ReLU(), conv))
    assert ours[0] is ours[2] and type(ours[0]).__name__ == "MemorySavingConv2d"


def test_layers_chooses_by_type_and_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())

    def converted(*layers: Any) -> list[int]:
        return [
            i for i, part in enumerate(save_memory(net, layers=layers)) if "Saving" in type(part).__name__
        ]

    assert converted(nn.Conv2d) == [0, 2]
    assert converted("2", nn.ReLU) == [2, 3]
    with pytest.raises(ParameterError, match=r"'encoder.\*', which fits no name"):
        save_memory(net, layers=["encoder.*"])
    with pytest.raises(ParameterError, match="Softmax, which has no memory-saving form|'Softmax'"):
        save_memory(net, layers=[nn.Softmax])
    with pytest.raises(InputTypeError, match=r"expected a torch.nn.Module"):
        save_memory(torch.ones(2))  # type: ignore[arg-type]
