"""Straight-through, `Relaxed` and `harden` on any module."""

import pytest
import torch
from torch import nn

import hardgrad
from hardgrad.core.artifact import Artifact
from hardgrad.core.errors import HardenError, InputError, TemperatureError
from hardgrad.core.relaxed import Relaxed, harden, set_temperature, straight_through


class Step(nn.Module):
    def forward(self, x):
        return (x > 0).to(x.dtype)


class SoftStep(Relaxed):
    def forward(self, x, mode=None):
        soft = torch.sigmoid(x / self.resolved_temperature())
        mode = self.resolved_mode(mode)
        hard = (x > 0).to(x.dtype)
        return {"soft": soft, "hard": hard}.get(mode) if mode != "st" else straight_through(hard, soft)

    def harden(self):
        return Step()


class Product(Artifact):
    pass


class ToArtifact(Relaxed):
    def harden(self):
        return Product()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_straight_through_is_bit_exact(dtype):
    hard = torch.tensor([0.1, -0.0, 1e-7, 3.3, float("inf"), float("nan")], dtype=dtype)
    soft = torch.randn(6, dtype=dtype, requires_grad=True)
    out = straight_through(hard, soft)
    assert torch.equal(out.view(torch.uint8), hard.view(torch.uint8))
    out[:4].sum().backward()
    assert soft.grad.tolist() == [1, 1, 1, 1, 0, 0]


def test_straight_through_under_transforms_and_twice_differentiated():
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)

    def f(v):
        return (straight_through((v > 0).double(), torch.sigmoid(v)) ** 2).sum()

    s = torch.sigmoid(x)
    expected = 2 * (x > 0).double() * s * (1 - s)
    assert torch.allclose(torch.func.grad(f)(x), expected)
    assert torch.allclose(torch.func.vmap(torch.func.grad(f))(x.unsqueeze(1))[:, 0], expected)
    v = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(straight_through((v > 0).double(), v**3).sum(), v, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), v)
    assert torch.allclose(second, 6 * x)


def test_straight_through_has_a_forward_derivative():
    x, tangent = torch.linspace(-1, 1, 5, dtype=torch.float64), torch.arange(5, dtype=torch.float64)
    value, slope = torch.func.jvp(
        lambda v: straight_through((v > 0).double(), torch.sigmoid(v)), (x,), (tangent,)
    )
    s = torch.sigmoid(x)
    assert torch.equal(value, (x > 0).double())
    assert torch.allclose(slope, tangent * s * (1 - s))


def test_straight_through_refuses_other_shapes_and_dtypes():
    with pytest.raises(InputError, match="equal shapes and dtypes"):
        straight_through(torch.zeros(3), torch.zeros(4))
    with pytest.raises(InputError, match="float64"):
        straight_through(torch.zeros(3), torch.zeros(3, dtype=torch.float64))


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own, while it traces
def test_straight_through_compiles_without_graph_breaks():
    def f(v):
        return straight_through((v > 0).float(), torch.sigmoid(v)).sum()

    x = torch.randn(7)
    assert torch.equal(torch.compile(f, fullgraph=True, backend="eager")(x), f(x))


def test_straight_through_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        straight_through(torch.zeros(2), torch.zeros(3))


def test_harden_replaces_parts_keeps_sharing_and_leaves_the_model_alone():
    shared = SoftStep(0.5)
    model = nn.Sequential(nn.Linear(3, 3), shared, nn.ModuleDict({"a": shared, "b": SoftStep(2.0)}))
    exact = harden(model)
    assert isinstance(model[1], SoftStep)
    assert isinstance(exact[1], Step)
    assert exact[1] is exact[2]["a"]
    assert not any(isinstance(m, Relaxed) for m in exact.modules())
    assert torch.equal(exact[0].weight, model[0].weight)


def test_harden_replaces_a_part_that_stands_twice_in_one_parent():
    shared = SoftStep(0.5)
    exact = harden(nn.Sequential(shared, nn.Tanh(), shared))
    assert isinstance(exact[0], Step) and exact[0] is exact[2]


def test_modes_agree_with_the_hardened_module():
    x = torch.tensor([-1.0, 0.3, 2.0])
    soft = SoftStep(0.1)
    with hardgrad.mode("hard"):
        assert torch.equal(soft(x), harden(soft)(x))
    assert torch.equal(soft(x, mode="st"), harden(soft)(x))
    set_temperature(soft, 1e-3)
    assert torch.allclose(soft(x), harden(soft)(x), atol=1e-6)


def test_set_temperature_reaches_every_part_and_is_saved():
    model = nn.Sequential(SoftStep(1.0), nn.Sequential(SoftStep(2.0)))
    set_temperature(model, 0.05)
    assert [round(float(m.temperature), 3) for m in model.modules() if isinstance(m, Relaxed)] == [0.05, 0.05]
    assert "0.temperature" in model.state_dict()
    with pytest.raises(TemperatureError):
        set_temperature(model, 0.0)


def test_harden_says_what_it_cannot_do():
    with pytest.raises(HardenError, match="torch.nn.Module"):
        harden("a string")
    with pytest.raises(HardenError, match=r"Sequential\.0 \(ToArtifact\)"):
        harden(nn.Sequential(ToArtifact()))
