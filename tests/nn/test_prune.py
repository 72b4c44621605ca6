"""Trainable gates and pruning: exact gates, channel spaces, costs, and smaller networks that compute what the gated ones do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

import hardgrad
from hardgrad.core.errors import BudgetError, HardenError, InputError, InputTypeError, ParameterError
from hardgrad.nn import ChannelMask, GatePruner, TrainableGate


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- gates --------------------------------------------------------------------------------------------------------------------
def sawtooth_gate(w: Tensor, slope: Tensor, M: float = 1e5) -> Tensor:
    """The gate as it is written in the paper: a step and a sawtooth of height 1 / M whose derivative is the one that is wanted."""
    scaled = M * w
    return (w > 0).to(w.dtype) + (scaled - torch.floor(scaled)) / M * slope


@pytest.mark.parametrize("shape", ["constant", "bell"])
def test_gates_are_the_sawtooth_of_the_paper_in_the_limit(shape: str) -> None:
    gate = TrainableGate(6, shape).double()
    weight = torch.tensor([0.9, 0.31, 1e-3, -1e-3, -0.33, -0.9], dtype=torch.float64)
    gate.weight.data = weight.clone().requires_grad_()
    x = torch.randn(4, 6, 3, dtype=torch.float64, generator=seeded())
    ours = gate(x)
    assert torch.equal(ours, x * (weight > 0).double()[:, None])
    sigmoid = torch.sigmoid(weight / 0.25)
    slope = torch.ones(6).double() if shape == "constant" else 4 * sigmoid * (1 - sigmoid)
    theirs = weight.clone().requires_grad_()
    paper = x * sawtooth_gate(theirs, slope)[:, None]
    assert (ours - paper).abs().max() <= 1e-5 * x.abs().max()
    for found in (ours, paper):
        found.square().sum().backward()
    assert gate.weight.grad is not None and theirs.grad is not None
    assert torch.allclose(gate.weight.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_the_last_gate_stays_open_and_closed_ones_open_again() -> None:
    gate = TrainableGate(3)
    with torch.no_grad():
        gate.weight.copy_(torch.tensor([-0.5, -0.2, -3.0]))
    assert gate.gates().tolist() == [0.0, 1.0, 0.0]
    gate.clamp()
    assert gate.weight.tolist() == pytest.approx([-0.5, -0.2, -1.0])
    optimiser = torch.optim.SGD([gate.weight], 0.5)
    gate(torch.ones(1, 3))[0, 0].neg().backward()
    optimiser.step()
    optimiser.step()
    assert gate.gates().tolist()[0] == 1.0


def test_a_gate_hardens_to_a_mask_inside_a_model() -> None:
    model = nn.Sequential(nn.Linear(4, 3), TrainableGate(3))
    with torch.no_grad():
        model[1].weight[1] = -1.0
    exact, x = hardgrad.harden(model), torch.randn(2, 4, generator=seeded())
    assert isinstance(exact[1], ChannelMask) and torch.equal(exact(x), model(x))
    last = TrainableGate(3, dim=-1)
    last.weight.data[0] = -1.0
    assert torch.equal(last(torch.ones(2, 5, 3)), torch.tensor([0.0, 1.0, 1.0]).expand(2, 5, 3))


def test_bad_gates() -> None:
    for bad in ({"num_channels": 0}, {"num_channels": 2, "shape": "round"}):
        with pytest.raises(ParameterError, match="TrainableGate got"):
            TrainableGate(**bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="multiple"):
        TrainableGate(3)(torch.ones(2, 4))


# --- networks -----------------------------------------------------------------------------------------------------------------
class Residual(nn.Module):
    """A stem, two residual blocks with a depthwise convolution and a gated sum, and a head; and an activation that is not 0 at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.first_norm = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.second = nn.Conv2d(12, 8, 1)
        self.down, self.skip = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Conv2d(8, 16, 1, stride=2)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.hidden, self.hidden_norm, self.head = (
            nn.Linear(16 * 16, 20),
            nn.BatchNorm1d(20),
            nn.Linear(20, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.stem_norm(self.stem(x)))
        y = self.second(self.depthwise(F.relu(self.first_norm(self.first(x)))))
        x = F.relu(x + y)
        x = F.relu(self.down(x) + self.skip(x)) * 0.5
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(F.relu(self.hidden_norm(self.hidden(x.view(x.size(0), -1)))))


class Opaque(nn.Module):
    """Channels that meet in ways not known: concatenation, softmax over channels, sizes that are written out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv1d(2, 4, 1), nn.Conv1d(4, 4, 1), nn.Conv1d(8, 6, 1)
        self.d, self.e, self.f = nn.Conv1d(6, 5, 1), nn.Linear(25, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = torch.cat([torch.softmax(self.b(F.relu(x)), 1), x], 1)
        x = self.d(F.relu(self.c(x)))
        return self.f(F.relu(self.e(x.reshape(-1, 25))))


def shuffled(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch norms statistics and weights as after training."""
    generator = seeded(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (part.running_mean, part.weight.data, part.bias.data):
                tensor.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    return model


NETWORKS = {
    "residual": (Residual, (3, 1, 8, 8), {"stem", "first", "down", "squeeze", "hidden"}),
    "opaque": (Opaque, (3, 2, 5), {"c", "e"}),
    "volumes": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.ELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 6),
            nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2),
        ),
        (2, 1, 3, 3, 3),
        {"0", "5"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_smaller_network_is_the_gated_one(name: str, cost: str) -> None:
    build, shape, gated = NETWORKS[name]
    model, x = shuffled(build()), torch.randn(shape, generator=seeded())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    pruner = GatePruner(model, x, 0.5, cost=cost)  # type: ignore[arg-type]
    assert set(pruner.gates) == gated
    with torch.no_grad():
        assert torch.equal(pruner.model.eval()(x), model.eval()(x))
        for seed, gate in enumerate(pruner.gates.values()):
            gate.weight.uniform_(generator=seeded(seed))
    optimiser = torch.optim.SGD(pruner.groups(0.01, 0.0))
    pruner.model.train()(x).square().sum().backward()  # what is trained is what is cut
    optimiser.step()
    pruner.freeze()
    smaller = pruner.harden()
    assert type(smaller) is type(model) and not any(
        isinstance(part, TrainableGate) for part in smaller.modules()
    )
    other = torch.randn(shape, generator=seeded(1))
    assert torch.allclose(smaller.eval()(other), pruner.model.eval()(other), rtol=1e-4, atol=1e-5)
    held = sum(p.numel() for p in smaller.parameters())
    assert held < sum(p.numel() for p in model.parameters())
    assert all(
        torch.equal(value, before[key])
        for key, value in model.state_dict().items()
        if "num_batches" not in key
    )
    smaller.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in smaller.parameters())


def multiply_adds(model: nn.Module, x: Tensor) -> int:
    """Count them by watching the layers."""
    total = 0

    def watch(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        total += module.weight[0].numel() * output[0].numel()

    hooks = [
        part.register_forward_hook(watch)
        for part in model.modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return total


def test_costs_are_those_of_the_layers() -> None:
    model, x = Residual(), torch.randn(3, 1, 8, 8)
    pruner = GatePruner(model, x, 0.4)
    assert pruner.share == 1.0
    with torch.no_grad():
        for seed, gate in enumerate(pruner.gates.values()):
            gate.weight.uniform_(-1, 1, generator=seeded(seed))
    assert pruner.share == pytest.approx(multiply_adds(pruner.harden(), x) / multiply_adds(model, x))
    pruner.freeze()
    assert abs(pruner.share - 0.4) < 0.03
    only_hidden = GatePruner(model, x, 0.5, cost=lambda counts: counts["hidden"][1])
    only_hidden.freeze()
    assert only_hidden.share == 0.5 and only_hidden.harden().hidden.out_features == 10


def test_the_penalty_is_two_sided_and_falls_with_the_target() -> None:
    model, x = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2)), torch.randn(2, 4)
    pruner = GatePruner(model, x, 0.4, strength=2.0)
    (gate,) = pruner.gates.values()
    assert pruner.penalty(0.0).item() == 0.0
    assert pruner.penalty(0.25).item() == pytest.approx(2 * 0.3) and pruner.penalty(
        0.8
    ).item() == pytest.approx(2 * 0.6)
    pruner.penalty(1.0).backward()
    assert gate.weight.grad is not None and (gate.weight.grad > 0).all()  # a step closes
    with torch.no_grad():
        gate.weight[1:] = -0.5
    gate.weight.grad = None
    pruner.penalty(1.0).backward()
    assert (gate.weight.grad < 0).all()  # a step opens


def test_a_product_of_open_channels_is_differentiated() -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 1)), torch.randn(2, 4)
    pruner = GatePruner(model, x, 0.4, strength=1.0)
    first, second = pruner.gates.values()
    with torch.no_grad():
        second.weight[3:] = -1.0
    pruner.penalty(1.0).backward()
    full = 4 * 6 + 6 * 5 + 5
    assert torch.allclose(first.weight.grad, torch.full((6,), (4 + 3) / full))
    assert torch.allclose(second.weight.grad, torch.full((5,), (6 + 1) / full))


def test_importance() -> None:
    model, x = (
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)),
        torch.randn(20, 4, generator=seeded()),
    )
    y = torch.zeros(20, dtype=torch.long)
    with torch.no_grad():
        model[2].weight[:, 2] = 0.0  # nothing reads it, and its filter is the largest
        model[0].weight[2] = 9.0
    pruner = GatePruner(model, x)
    pruner.rank(F.cross_entropy, [(x[:10], y[:10]), (x[10:], y[10:])])
    (gate,) = pruner.gates.values()
    assert gate.weight.argmin() == 2 and sorted(gate.weight.tolist()) == pytest.approx(
        [0.145, 0.335, 0.525, 0.715, 0.905]
    )
    pruner.rank(importance="l1")
    assert gate.weight.argmax() == 2
    norms = model[0].weight.detach().abs().sum(1)
    assert torch.equal(gate.weight.argsort(), norms.argsort())
    by_torch = nn.Linear(4, 5)  # torch's own structured pruning closes the same filters
    by_torch.load_state_dict(model[0].state_dict())
    prune.ln_structured(by_torch, "weight", amount=2, n=1, dim=0)
    pruner.target_cost = 0.6
    pruner.freeze()
    assert torch.equal(gate.gates(), (by_torch.weight_mask[:, 0] > 0).float())


def test_shared_layers_are_cut_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward, self.middle, self.head = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.middle(torch.tanh(self.middle(torch.tanh(self.inward(x)))))))

    model, x = Twice(), torch.randn(2, 3)
    pruner = GatePruner(model, x, 0.5)
    assert set(pruner.gates) == {"inward"}
    pruner.freeze()
    assert torch.allclose(pruner.harden()(x), pruner.model(x), atol=1e-5)


def test_bad_pruning() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.randn(2, 4)
    with pytest.raises(InputTypeError, match="torch.nn.Module"):
        GatePruner(len, x)  # type: ignore[arg-type]
    for bad in ({"target_cost": 0.0}, {"target_cost": 1.5}, {"cost": "time"}, {"strength": -1.0}):
        with pytest.raises(ParameterError, match="GatePruner got"):
            GatePruner(model, x, **bad)  # type: ignore[arg-type]
    with pytest.raises(HardenError, match="no channel"):
        GatePruner(nn.Linear(4, 4), x)
    with pytest.raises(HardenError, match="traced"):
        GatePruner(model, torch.randn(2, 5))
    pruner = GatePruner(model, x, 0.05)
    with pytest.raises(BudgetError, match="one channel a layer"):
        pruner.freeze()
    with pytest.raises(ParameterError, match="importance"):
        pruner.rank(importance="magic")  # type: ignore[arg-type]
    for loss, batches in ((None, [(x, x)]), (F.mse_loss, [])):
        with pytest.raises(ParameterError, match="no loss or no batches"):
            pruner.rank(loss, batches)


def test_sizes_written_into_forward_are_reported() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.scale, self.b = nn.Linear(4, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x) + self.scale.sum() * 0) if x.dim() == 2 else x)

    class Scaled(Fixed):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)) * self.scale)

    x = torch.randn(2, 4)
    with pytest.raises(
        HardenError, match="no channel"
    ):  # a parameter of one number a channel: the channels stay whole
        GatePruner(Scaled(), x)
    with pytest.raises(HardenError, match="traced"):
        GatePruner(Fixed(), x)
