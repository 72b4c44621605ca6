"""Whole networks on lattices: which layers are replaced, what is left as it was, and the gap, by every kind of target."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardgrad.bits import ExactLatticeLinear, LatticeLinear, LatticeQuantizer, quantize_linear_layers
from hardgrad.core.errors import InputError, InputTypeError, ParameterError
from hardgrad.train.progress import listen

QUICK = LatticeQuantizer(4, 4, 16, max_iter=5)
x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(8, 32), nn.Dropout(0.5), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)
        )


def test_a_network_is_quantised_and_measured() -> None:
    net = network()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = quantize_linear_layers(net, x, quantizer=QUICK)
    exact = found.harden()
    assert [type(part) for part in found.model][::4] == [LatticeLinear] * 2
    assert [type(part) for part in exact][::4] == [ExactLatticeLinear] * 2
    assert net.training and all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_pre_hooks for part in net.modules())
    assert list(found.codes) == ["0", "4"] and found.codes["0"].equals(exact[0].codes)
    assert [(layer.name, layer.shape, layer.calibrated) for layer in found.layers] == [
        ("0", (32, 8), True), ("4", (3, 32), True),
    ]  # fmt: skip
    sizes = [codes.bits_per_weight * codes.shape[0] * codes.shape[1] for codes in found.codes.values()]
    assert found.bits_per_weight == pytest.approx(sum(sizes) / (32 * 8 + 3 * 32))
    text = str(found)
    assert "bits per weight" in text and len(text.splitlines()) == 4


def test_the_gap_by_classes_by_numbers_and_without_targets() -> None:
    net = network().eval()
    found = quantize_linear_layers(net, x, quantizer=QUICK)
    with torch.no_grad():
        soft, hard = net(x), found.harden().eval()(x)
    labels = soft.argmax(dim=1)
    report = found.gap(x, labels)
    assert report.metric == "accuracy" and report.soft == 1.0 and report.higher_is_better
    assert (
        report.hard
        == report.agreement
        == pytest.approx(float((hard.argmax(dim=1) == labels).double().mean()))
    )
    plain = found.gap(x)
    assert plain.soft == 0.0 and plain.hard == pytest.approx(float((soft - hard).square().mean()), rel=1e-5)
    assert plain.rows == 40 and plain.worst_disagreement == pytest.approx(
        float((soft - hard).abs().max()), rel=1e-5
    )
    numbers = found.gap(x, torch.zeros(40, 3))
    assert numbers.metric == "mean_squared_error" and numbers.soft == pytest.approx(
        float(soft.square().mean()), rel=1e-5
    )
    assert 0 < numbers.agreement <= 1 and numbers.detail["tolerance"] > 0
    in_batches = found.gap([x[:7], (x[7:],)], labels)
    assert in_batches.hard == report.hard and in_batches.rows == report.rows
    assert in_batches.worst_disagreement == pytest.approx(report.worst_disagreement, rel=1e-4)
    for targets in (labels[:5], torch.zeros(40), labels[:, None]):
        with pytest.raises(InputError):
            found.gap(x, targets)
    with pytest.raises(InputError, match="no inputs"):
        found.gap([])


def test_calibration_sees_what_the_layers_see() -> None:
    net = network().eval()
    alone = quantize_linear_layers(net, quantizer=QUICK)
    assert not any(layer.calibrated for layer in alone.layers)
    mixed = x @ torch.randn(8, 8, generator=torch.Generator().manual_seed(4))
    two_bits = LatticeQuantizer(4, 2, 32, max_iter=30)
    blind, seeing = (
        quantize_linear_layers(net, given, quantizer=two_bits).gap(mixed).hard for given in (None, mixed)
    )
    assert seeing < 0.8 * blind


def test_chosen_layers_only() -> None:
    found = quantize_linear_layers(network(), quantizer=QUICK, layers="4")
    assert type(found.model[0]) is nn.Linear and list(found.codes) == ["4"]
    with pytest.raises(ParameterError, match="the first are: 0, 4"):
        quantize_linear_layers(network(), layers=["0", "head"])
    with pytest.raises(ParameterError):
        quantize_linear_layers(nn.Sequential(nn.ReLU()))
    with pytest.raises(InputTypeError):
        quantize_linear_layers(torch.zeros(3))


def test_a_layer_that_is_shared_stays_shared_and_a_layer_alone_is_a_model() -> None:
    shared = nn.Linear(8, 8)
    found = quantize_linear_layers(nn.Sequential(shared, nn.Tanh(), shared), x, quantizer=QUICK)
    assert found.model[0] is found.model[2] and len(found.layers) == 1
    exact = found.harden()
    assert exact[0] is exact[2]
    alone = quantize_linear_layers(nn.Linear(8, 4), x, quantizer=QUICK)
    assert (
        list(alone.codes) == [""]
        and isinstance(alone.harden(), ExactLatticeLinear)
        and "(itself)" in str(alone)
    )


def test_transformers_compute_with_the_rounded_weights() -> None:
    """torch's fast path reads `linear1.weight` itself; it must not find the real weights there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = x.reshape(5, 8, 8)
    found = quantize_linear_layers(encoder, tokens, quantizer=LatticeQuantizer(4, 1, 8, max_iter=3))
    # out_proj is of another type: attention reads its weight.
    assert list(found.codes) == ["linear1", "linear2"]
    exact = found.harden()
    with torch.no_grad():
        answers = [model(tokens) for model in (exact, found.model)]
        torch.testing.assert_close(answers[1], answers[0])
        assert float((encoder(tokens) - answers[0]).abs().max()) > 0.01


def test_hardening_after_more_training() -> None:
    net = network().eval()
    labels = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(3))
    found = quantize_linear_layers(net, x, quantizer=LatticeQuantizer(4, 2, 16, max_iter=5))
    loss = nn.CrossEntropyLoss()
    with torch.no_grad():
        before = float(loss(found.harden()(x), labels))
    for part in found.model:
        part.train(isinstance(part, LatticeLinear))
    optimiser = torch.optim.Adam(found.model.parameters(), lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        loss(found.model(x), labels).backward()
        optimiser.step()
    with torch.no_grad():
        assert float(loss(found.harden().eval()(x), labels)) < 0.7 * before


def test_progress_is_told_once_a_layer() -> None:
    seen = []
    with listen(seen.append):
        quantize_linear_layers(network(), quantizer=QUICK)
    assert [(event.phase, event.fraction) for event in seen] == [
        ("layers", 0.0),
        ("layers", 0.5),
        ("layers", 1.0),
    ]


def test_networks_that_return_no_tensor_are_calibrated_but_not_measured() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, rows):
            return self.linear(rows), rows

    found = quantize_linear_layers(Two(), x, quantizer=QUICK)
    assert found.layers[0].calibrated
    with pytest.raises(InputError, match="tuple"):
        found.gap(x)
