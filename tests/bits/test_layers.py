"""Binary layers: exact bits forward, the published gradients backward, draws with the right mean, and what an optimiser does to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.bits import BinaryConv2d, BinaryLinear, WeightClipper, param_groups, set_surrogates
from hardgrad.core.errors import ParameterError
from hardgrad.functional import binary_surrogate


def linear(**options: Any) -> BinaryLinear:
    return BinaryLinear(5, 3, generator=torch.Generator().manual_seed(1), **options)


def conv(**options: Any) -> BinaryConv2d:
    return BinaryConv2d(2, 4, 3, padding=1, generator=torch.Generator().manual_seed(1), **options)


X = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def test_forward_uses_the_signs_of_weights_and_inputs() -> None:
    layer = linear(activation_surrogate="bireal")
    signs = torch.where(layer.weight >= 0, 1.0, -1.0)
    expected = torch.where(X >= 0, 1.0, -1.0) @ signs.T + layer.bias
    assert torch.equal(layer(X), expected)
    image = conv()
    signs = torch.where(image.weight >= 0, 1.0, -1.0)
    assert torch.equal(image(IMAGES), nn.functional.conv2d(IMAGES, signs, image.bias, padding=1))


def test_gradient_with_respect_to_the_bits_goes_to_the_latent_weights() -> None:
    layer = linear(weight_surrogate="identity")
    layer(X).square().sum().backward()
    bits = torch.where(layer.weight.detach() >= 0, 1.0, -1.0).requires_grad_()
    nn.functional.linear(X, bits, layer.bias).square().sum().backward()
    assert torch.allclose(layer.weight.grad, bits.grad)


def test_zero_is_plus_one() -> None:
    layer = linear()
    with torch.no_grad():
        layer.weight.zero_()
    assert (layer.signs() == 1).all()


def test_scale_is_the_mean_size_with_a_gradient_or_learned_by_channel() -> None:
    layer = linear(scale="mean", weight_surrogate=binary_surrogate("reste", o=3.0, floor=1e-3, clip=1e-2))
    assert torch.allclose(layer.binary_weight().abs(), layer.weight.abs().mean().expand(3, 5))
    layer(
        X
    ).sum().backward()  # no weight lies where the surrogate has a slope: what arrives came through the scale
    assert layer.weight.grad.abs().min() > 0
    by_channel = conv(scale="channel")
    assert by_channel.alpha.shape == (4,) and by_channel.alpha.min() >= 0 and by_channel.alpha.max() <= 1
    assert torch.allclose(by_channel.binary_weight().abs().mean((1, 2, 3)), by_channel.alpha)


def test_drawn_weights_are_bits_with_the_latent_weight_as_their_mean() -> None:
    layer = linear(sampling="stochastic", lr_scale="glorot")
    layer.generator = torch.Generator().manual_seed(3)
    draws = torch.stack([layer.binary_weight().detach() for _ in range(4000)])
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    assert torch.allclose(draws.mean(0), layer.weight, atol=0.06)
    layer.generator.manual_seed(5)
    first = layer(X)
    layer.generator.manual_seed(5)
    assert torch.equal(layer(X), first)
    layer.eval()
    assert torch.equal(layer.binary_weight(), layer.signs())
    with hardgrad.mode("hard"):
        assert torch.equal(layer.train().binary_weight(), layer.signs())
    with hardgrad.mode("soft"):
        assert torch.equal(layer.binary_weight(), layer.weight)


@pytest.mark.parametrize("make", [linear, conv])
@pytest.mark.parametrize(
    "options", [{}, {"activation_surrogate": "clipped"}, {"scale": "mean"}, {"scale": "channel", "activation_surrogate": "reste"}]
)  # fmt: skip
def test_hardened_layers_are_torch_s_own_and_give_the_same_bits(make: Any, options: dict[str, Any]) -> None:
    model = nn.Sequential(make(**options)).eval()
    exact = hardgrad.harden(model)
    x = X if make is linear else IMAGES
    with hardgrad.mode("hard"):
        assert torch.equal(exact(x), model(x))
    assert not any(type(m).__name__.startswith("Binary") for m in exact.modules())
    assert not any(p.requires_grad for p in exact.parameters())
    assert isinstance(model[0], (BinaryLinear, BinaryConv2d))


def test_soft_and_a_small_temperature_is_hard() -> None:
    layer = linear(activation_surrogate="bireal")
    with hardgrad.mode("hard"):
        exact = layer(X)
    hardgrad.set_temperature(layer, 1e-4)
    with hardgrad.mode("soft"):
        assert torch.allclose(layer(X), exact, atol=1e-3)


def test_the_clipper_keeps_latent_weights_where_they_can_flip() -> None:
    model = nn.Sequential(linear(), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e3)
    handle = WeightClipper(model).attach(optimizer)
    model(X).sum().backward()
    optimizer.step()
    assert model[0].weight.abs().max() <= 1 and model[1].weight.abs().max() > 1
    handle.remove()
    optimizer.step()
    assert model[0].weight.abs().max() > 1


def test_param_groups_scale_the_learning_rates_and_decay_no_bits() -> None:
    model = nn.Sequential(linear(lr_scale="glorot"), nn.BatchNorm1d(3), BinaryLinear(3, 2))
    c = (1.5 / (5 + 3)) ** 0.5
    for optimizer, power in (("adam", 1), ("sgd", 2)):
        groups = param_groups(model, 0.1, optimizer=optimizer, weight_decay=0.01)
        assert [len(g["params"]) for g in groups] == [4, 1, 1]
        assert [g["lr"] for g in groups] == [0.1, pytest.approx(0.1 / c**power), 0.1]
        assert [g["weight_decay"] for g in groups] == [0.01, 0.0, 0.0]
    assert conv(lr_scale="glorot").lr_factor() == pytest.approx((1.5 / (9 * 2 + 9 * 4)) ** -0.5)
    assert model[0].weight.abs().max() > 0.5  # in [-1, 1], where the others begin within the bound of Glorot
    with pytest.raises(ParameterError, match="got optimizer='adamw'"):
        param_groups(model, 0.1, optimizer="adamw")


def test_surrogates_can_be_changed_and_real_inputs_stay_real() -> None:
    model = nn.Sequential(linear(), BinaryLinear(3, 2, activation_surrogate="clipped"))
    set_surrogates(model, binary_surrogate("reste", o=2.0), "identity")
    assert model[0].activation_surrogate is None and model[1].activation_surrogate == "identity"
    assert model[0].weight_surrogate.options["o"] == 2.0


def test_state_goes_through_a_state_dict_and_compile_traces_it() -> None:
    first, second = linear(scale="channel"), BinaryLinear(5, 3, scale="channel")
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(X), second(X))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
def test_compiles_and_autocasts() -> None:
    layer = linear(activation_surrogate="reste")
    torch.compiler.reset()
    assert torch.allclose(torch.compile(layer, fullgraph=True, backend="eager")(X), layer(X))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(X).float().round(), layer(X).float().round())
        assert layer(X).dtype == torch.bfloat16


def test_bad_arguments_say_what_is_expected() -> None:
    for options, message in (
        ({"weight_surrogate": "clip"}, "got surrogate='clip'"),
        ({"activation_surrogate": "sharp"}, "got surrogate='sharp'"),
        ({"sampling": "dice"}, "BinaryLinear.*got sampling='dice'"),
        ({"scale": "max"}, "got scale='max'"),
        ({"lr_scale": "he"}, "got lr_scale='he'"),
    ):
        with pytest.raises(ParameterError, match=message):
            linear(**options)
    with pytest.raises(ParameterError, match="sizes of at least 1"):
        BinaryLinear(0, 3)
    with pytest.raises(ParameterError, match="groups that divide both"):
        BinaryConv2d(3, 4, 3, groups=2)
