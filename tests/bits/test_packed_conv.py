"""Packed convolutions against torch's: borders, steps, pools, signs of scales; engines bit for bit; what cannot be packed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_examples import packed_conv_networks, random_conv_network
from sklearn.datasets import load_digits
from torch import nn

import hardgrad
from hardgrad.bits import (
    BinaryConv2d,
    BinaryLinear,
    BinaryNetwork,
    Convolution,
    PackedConvNetwork,
    Recipe,
    estimate_batch_norm,
    fit_network,
    measure_gap,
    packed_conv,
)
from hardgrad.core.errors import ArtifactError, HardenError, InputError, InputTypeError, ParameterError
from hardgrad.logic import Circuit

IMAGES = torch.randn(20, 3, 9, 8, generator=torch.Generator().manual_seed(0)).double()
SIGNS: dict[str, Any] = {"activation_surrogate": "clipped", "bias": False}


def network(*layers: nn.Module, places: int, seed: int = 0) -> BinaryNetwork:
    """Convolutions of 5 units, made to end in whole numbers: batch normalisation of every sign, and a last layer without any."""
    generator = torch.Generator().manual_seed(seed)
    found = BinaryNetwork(*layers, nn.Flatten(), BinaryLinear(5 * places, 4, **SIGNS))
    with torch.no_grad():
        for module in found.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(generator=generator)
                module.weight[0] = 0.0  # a unit that is always on, or never
                module.bias.normal_(generator=generator)
                module.running_mean.normal_(0.0, 3.0, generator=generator)
                module.running_var.uniform_(0.5, 20.0, generator=generator)
            elif isinstance(module, BinaryConv2d | BinaryLinear):
                module.reset_parameters(generator)
                if module.alpha is not None:
                    module.alpha.normal_(generator=generator)
    return found.eval().double()


def scores(found: BinaryNetwork, images: torch.Tensor = IMAGES) -> np.ndarray:
    with torch.no_grad(), hardgrad.mode("hard"):
        return found(images).numpy()


KERNELS = {
    "plain": ({}, 42),
    "borders": ({"padding": 1}, 72),
    "wide borders": ({"padding": (3, 2)}, 130),
    "steps": ({"stride": (2, 3), "padding": (1, 0)}, 10),
    "dilation": ({"dilation": (3, 2), "padding": 2}, 56),
    "same": ({"padding": "same"}, 72),
    "valid": ({"padding": "valid"}, 42),
}


@pytest.mark.parametrize("of_bits", [False, True], ids=["numbers", "bits"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_where_torch_has_them(name: str, of_bits: bool) -> None:
    place, places = KERNELS[name]
    first: dict[str, Any] = SIGNS if of_bits else {"bias": False}
    found = network(BinaryConv2d(3, 5, 3, **place, **first), nn.BatchNorm2d(5), places=places)
    packed = hardgrad.harden(found)
    assert isinstance(packed, PackedConvNetwork) and packed.places == places
    assert packed.activations == ("sign", "identity") and packed.binary_input == of_bits
    exact = packed.scores(IMAGES.numpy())
    assert np.array_equal(exact, scores(found))
    assert np.array_equal(packed.scores(IMAGES.numpy(), engine="numba"), exact)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("kernel", [(1, 1), (2, 4), (4, 3)])
def test_kernels_of_every_shape_keep_the_size_with_an_odd_border(kernel: tuple[int, int]) -> None:
    found = network(
        BinaryConv2d(3, 5, kernel, padding="same", dilation=(1, 2), **SIGNS), nn.BatchNorm2d(5), places=72
    )
    assert np.array_equal(found.harden().scores(IMAGES.numpy()), scores(found))


POOLS: dict[str, tuple[Callable[[], list[nn.Module]], int]] = {
    "after normalisation": (lambda: [nn.BatchNorm2d(5), nn.MaxPool2d(2)], 6),
    "before normalisation": (lambda: [nn.MaxPool2d(2), nn.BatchNorm2d(5)], 6),
    "overlapping": (lambda: [nn.BatchNorm2d(5), nn.MaxPool2d(3, stride=2)], 4),
    "alone": (lambda: [nn.MaxPool2d(2)], 6),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [None, "channel"])
@pytest.mark.parametrize("name", POOLS)
def test_pools_of_units_that_rise_and_fall(name: str, scale: Any, seed: int) -> None:
    """Scales and gammas of both signs, in front of the pool and behind it."""
    behind, places = POOLS[name]
    found = network(
        BinaryConv2d(3, 5, 3, padding=1, scale=scale, **SIGNS), *behind(),
        BinaryConv2d(5, 5, (2, 3), padding=(1, 1), **SIGNS), nn.BatchNorm2d(5), nn.MaxPool2d((3, 2), stride=(2, 1)),
        places=places, seed=seed,
    )  # fmt: skip
    packed = found.harden()
    assert np.array_equal(packed.scores(IMAGES.numpy()), scores(found))
    assert np.array_equal(packed.scores(IMAGES.numpy(), engine="numba"), scores(found))


@pytest.mark.parametrize("pool_first", [False, True])
def test_numbers_between_the_layers(pool_first: bool) -> None:
    behind = [nn.MaxPool2d(2), nn.BatchNorm2d(5)] if pool_first else [nn.BatchNorm2d(5), nn.MaxPool2d(2)]
    found = BinaryNetwork(
        BinaryConv2d(3, 5, 3, padding=1), *behind, nn.ReLU(), nn.Dropout2d(), BinaryConv2d(5, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Dropout(), BinaryLinear(24, 7, scale="mean"), nn.BatchNorm1d(7), nn.ReLU(), BinaryLinear(7, 2),
    ).double()  # fmt: skip
    found.train()(IMAGES)
    with torch.no_grad():
        found.layers[1 + pool_first].weight.normal_(generator=torch.Generator().manual_seed(3))
    packed = found.eval().harden()
    assert packed.activations == ("relu", "relu", "relu", "identity") and packed.widths == (3, 5, 6, 7, 2)
    assert np.allclose(packed.scores(IMAGES.numpy()), scores(found), rtol=1e-5, atol=1e-4)
    assert np.array_equal(packed.scores(IMAGES.numpy(), engine="numba"), packed.scores(IMAGES.numpy()))


def test_many_channels_take_several_words_a_place() -> None:
    found = network(
        BinaryConv2d(3, 70, 3, **SIGNS), nn.BatchNorm2d(70), BinaryConv2d(70, 5, 2, **SIGNS), places=30
    )
    packed = found.harden()
    assert packed.fan_ins == (27, 280, 150) and packed.layers[1].words.shape == (5, 5)
    assert np.array_equal(packed.scores(IMAGES.numpy()), scores(found))


def test_images_of_another_size_as_the_torch_network_takes_them() -> None:
    found = network(BinaryConv2d(3, 5, 3, padding=1, **SIGNS), nn.BatchNorm2d(5), places=72)
    packed = found.harden()
    other = IMAGES.reshape(20, 3, 6, 12)
    assert np.array_equal(packed.scores(other.numpy()), scores(found, other))
    with pytest.raises(
        InputError, match=r"images of \(9, 9\) pixels have 9 x 9 places behind the convolutions; expected 72"
    ):
        packed.scores(np.zeros((1, 3, 9, 9)))


@pytest.mark.parametrize("name", packed_conv_networks())
def test_engines_and_batches_agree_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = packed_conv_networks()[name]
    images = np.random.default_rng(1).normal(size=(40, packed.widths[0], 6, 7))
    exact = packed.scores(images)
    assert exact.shape == (40, packed.widths[-1]) and np.array_equal(packed.predict(images), exact)
    assert np.array_equal(np.concatenate([packed.scores(image[None]) for image in images]), exact)
    monkeypatch.setattr(packed_conv, "PATCH_NUMBERS", 3000)
    for engine in ("numpy", "numba"):
        assert np.array_equal(packed.scores(images, engine=engine), exact)
        assert packed.scores(images[:0], engine=engine).shape == (0, packed.widths[-1])


def test_the_artifact_is_what_its_documentation_says() -> None:
    """A plain loop over images, places and taps."""
    packed = random_conv_network(
        3, (2, 4, 3), ("sign", "sign"), [Convolution((2, 3), (1, 2), (2, 1), (1, 0, 2, 1))], 20
    )
    images = np.random.default_rng(0).normal(size=(6, 2, 6, 7))
    place, layer, (cut, direction) = packed.convolutions[0], packed.layers[0], packed.thresholds(0)
    rows, columns = place.places((6, 7))
    bits = np.zeros((6, rows, columns, 4))
    for n, y, x, unit in np.ndindex(bits.shape):
        total = 0.0
        for i, j, c in np.ndindex(2, 3, 2):
            r, k = y + 2 * i - 1, 2 * x + j - 2
            inside = 0 <= r < 6 and 0 <= k < 7
            total += images[n, c, r, k] * layer.signs[(3 * i + j) * 2 + c, unit] if inside else 0.0
        on = total >= cut[unit] if direction[unit] > 0 else total <= cut[unit]
        bits[n, y, x, unit] = 1.0 if on else -1.0
    product = bits.reshape(6, -1) @ packed.layers[1].signs
    limit, direction = packed.thresholds(1)
    expected = np.where(np.where(direction > 0, product >= limit, product <= limit), 1.0, -1.0)
    assert (rows, columns) == (5, 4) and np.array_equal(packed.scores(images), expected)


def test_trained_on_digits_and_saved(tmp_path: Path) -> None:
    X, y = load_digits(return_X_y=True)
    images = torch.from_numpy(X / 8 - 1).float().reshape(-1, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    signs: dict[str, Any] = {**SIGNS, "generator": generator}
    found = BinaryNetwork(
        BinaryConv2d(1, 16, 3, padding=1, bias=False, generator=generator), nn.MaxPool2d(2), nn.BatchNorm2d(16),
        BinaryConv2d(16, 32, 3, padding=1, **signs), nn.BatchNorm2d(32), nn.Flatten(), BinaryLinear(512, 10, **signs), nn.BatchNorm1d(10),
    )  # fmt: skip
    fit_network(found, images[:1300], y[:1300], Recipe(epochs=8), random_state=0)
    packed = found.harden()
    report = measure_gap(found, packed, images[:1300], images[1300:], y[1300:])
    assert report.hard is not None and report.hard > 0.85 and report.detail["bits_differ"] == 0
    packed.save(tmp_path / "digits.safetensors")
    loaded = hardgrad.load(tmp_path / "digits.safetensors")
    assert isinstance(loaded, PackedConvNetwork) and loaded.equals(packed)
    assert np.array_equal(loaded.scores(images.numpy()), packed.scores(images.numpy()))


def test_statistics_of_drawn_weights_are_refused_for_images_too() -> None:
    found = BinaryNetwork(
        BinaryConv2d(3, 5, 3, sampling="stochastic"), nn.BatchNorm2d(5), nn.Flatten(), BinaryLinear(210, 2, **SIGNS)
    )  # fmt: skip
    found.train()(IMAGES.float())
    with pytest.raises(HardenError, match=r"harden\(calibration=X\)"):
        found.harden()
    packed = found.harden(calibration=IMAGES.float())
    estimate_batch_norm(found, IMAGES.float())
    assert np.array_equal(packed.scores(IMAGES.numpy()), scores(found.double()))


CONV = BinaryConv2d(1, 1, 3)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([CONV], "ends in a convolution; expected Flatten"),
        ([CONV, nn.Flatten()], "ends in a convolution; expected Flatten"),
        ([CONV, BinaryLinear(4, 2)], "module 1 of a BinaryNetwork is a BinaryLinear out of place"),
        ([BinaryLinear(4, 2), CONV], "module 1 of a BinaryNetwork is a BinaryConv2d out of place"),
        ([BinaryLinear(4, 2), nn.MaxPool2d(2)], "MaxPool2d out of place"),
        ([CONV, nn.BatchNorm1d(1)], "BatchNorm1d out of place"),
        ([CONV, nn.Flatten(2)], "Flatten out of place"),
        ([CONV, nn.Flatten(), nn.ReLU()], "ReLU out of place"),
        ([CONV, nn.MaxPool2d(2, padding=1)], "MaxPool2d out of place; .*MaxPool2d without padding"),
        ([CONV, nn.MaxPool2d(2, ceil_mode=True)], "MaxPool2d out of place"),
        ([CONV, nn.MaxPool2d(2), nn.MaxPool2d(2)], "module 2 .* MaxPool2d out of place"),
        ([CONV, nn.ReLU(), BinaryConv2d(1, 1, 3, **SIGNS)], "signs of what a relu gives"),
        ([CONV, BinaryConv2d(1, 1, 3, activation_surrogate="sine")], "module 1 takes the sign of a sine"),
        ([BinaryConv2d(2, 4, 3, groups=2)], "module 0 is a convolution in 2 groups"),
        ([BinaryConv2d(1, 3, 3), nn.Flatten(), BinaryLinear(4, 2)], "a multiple of 3"),
    ],
)
def test_what_cannot_be_packed_says_so(layers: list[nn.Module], message: str) -> None:
    with pytest.raises(HardenError, match=message):
        BinaryNetwork(*layers).eval().harden()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": 0}, "places=0"),
        ({"places": 14}, "array 'words'.* has shape|bits beyond"),
        ({"places": 2**40}, "expected 1 to 16,777,216"),
        ({"convolutions": ()}, "0 convolutions; expected at least 1"),
        ({"convolutions": (Convolution((1, 1)),) * 2}, "2 convolutions"),
        ({"convolutions": ((1, 1),)}, "convolutions"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    packed = random_conv_network(0, (2, 4, 3), ("sign", "sign"), [Convolution((2, 3))], 25)
    with pytest.raises(ArtifactError, match=message):
        dataclasses.replace(packed, **change)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"kernel": (0, 1)}, r"kernel=\(0, 1\); expected whole numbers from 1"),
        ({"kernel": (1, 2, 3)}, "kernel"),
        ({"kernel": (1, 1), "padding": (1, 1)}, r"padding=\(1, 1\); expected whole numbers from 0"),
        ({"kernel": (1, 1), "stride": (1.0, 1)}, "stride"),
        ({"kernel": (1, 1), "pool": (1, 2**40)}, "pool"),
    ],
)
def test_sizes_of_kernels_are_checked(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Convolution(**sizes)


def test_bad_images_and_engines_say_what_is_expected() -> None:
    packed = packed_conv_networks()["numbers"]
    channels = packed.widths[0]
    for bad in (
        np.zeros((2, channels)),
        np.zeros((1, channels + 1, 6, 7)),
        np.full((1, channels, 6, 7), np.nan),
        np.full((1, channels, 6, 7), 1e200),
    ):
        with pytest.raises(InputError, match=rf"expected \(n, {channels}, height, width\)"):
            packed.scores(bad)
    with pytest.raises(InputError, match="smaller than a kernel"):
        packed.scores(np.zeros((1, channels, 1, 1)))
    with pytest.raises(ParameterError, match="got engine='gpu'"):
        packed.scores(np.zeros((1, channels, 6, 7)), engine="gpu")
    with pytest.raises(InputTypeError, match="got PackedConvNetwork; expected a PackedNetwork"):
        Circuit.from_network(packed)
