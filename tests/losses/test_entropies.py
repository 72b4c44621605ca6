import math

import numpy as np
import pytest
import torch

import hardgrad
from hardgrad.core.errors import InputError, ParameterError, TemperatureError
from hardgrad.losses import exact, range_entropy, run_entropy


def lists(shape=(4, 12), seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_figures_of_the_sheet():
    x = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], dtype=torch.float64)
    assert float(run_entropy(x, temperature=0.1)) == pytest.approx(1.459108, abs=1e-6)
    assert float(run_entropy(x, temperature=1.0)) == pytest.approx(1.239949, abs=1e-6)
    assert float(run_entropy(x, mode="hard")) == pytest.approx(1.459148, abs=1e-6)


def test_run_entropy_becomes_exact():
    x = lists()
    expected = torch.from_numpy(exact.run_entropy(x.numpy()))
    assert torch.allclose(run_entropy(x, mode="hard"), expected)
    assert torch.allclose(run_entropy(x, temperature=1e-4), expected, atol=1e-6)
    assert torch.equal(run_entropy(x, mode="st"), run_entropy(x, mode="hard"))
    assert torch.allclose(run_entropy(x, unit="nats"), run_entropy(x) * math.log(2))
    with hardgrad.mode("hard"):
        assert torch.equal(run_entropy(x), run_entropy(x, mode="hard"))


def test_run_entropy_of_short_and_tied_lists():
    assert run_entropy(torch.ones(3, 1)).tolist() == [0.0, 0.0, 0.0]
    tied = torch.full((5,), 2.0, dtype=torch.float64)
    assert float(run_entropy(tied, mode="hard")) == 0.0
    assert float(run_entropy(tied, temperature=0.01)) > 0.5  # a tie is half a link
    assert float(run_entropy(tied, temperature=0.01, margin=0.2)) == pytest.approx(0.0, abs=1e-6)


def test_range_entropy_becomes_exact():
    points, anchors = lists((30, 2)), lists((5, 2), 1)
    planes = (lists((3, 2), 2), lists((3,), 3))
    for options in ({"anchors": anchors}, {"halfspaces": planes}):
        plain = {
            k: v.numpy() if isinstance(v, torch.Tensor) else tuple(p.numpy() for p in v)
            for k, v in options.items()
        }
        expected = float(exact.range_entropy(points.numpy(), **plain))
        assert float(range_entropy(points, **options, mode="hard")) == pytest.approx(expected)
        assert float(range_entropy(points, **options, temperature=1e-3)) == pytest.approx(expected, abs=0.02)


def test_gradients():
    x = lists((2, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: run_entropy(v, temperature=0.7), x)
    assert torch.autograd.gradgradcheck(lambda v: run_entropy(v, temperature=0.7), x)
    points, anchors = lists((6, 2)).requires_grad_(), lists((3, 2), 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, a: range_entropy(p, a, temperature=0.7), (points, anchors))
    planes = lists((2, 2), 2).requires_grad_(), lists((2,), 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, w, b: range_entropy(p, halfspaces=(w, b), temperature=0.7), (points, *planes)
    )
    far = torch.tensor([[0.0], [1.0]], requires_grad=True)  # the third anchor gets exactly nothing
    range_entropy(far, torch.tensor([[0.0], [1.0], [1e4]]), temperature=0.1).backward()
    assert torch.isfinite(far.grad).all()


def test_bad_input():
    with pytest.raises(InputError, match=r"n >= 1"):
        run_entropy(torch.ones(2, 0))
    with pytest.raises(InputError, match="NaN"):
        run_entropy(torch.tensor([1.0, math.nan]))
    with pytest.raises(TemperatureError):
        run_entropy(torch.ones(3), temperature=0.0)
    with pytest.raises(ParameterError, match="bits"):
        run_entropy(torch.ones(3), unit="bytes")
    with pytest.raises(ParameterError, match="neither or both"):
        range_entropy(torch.ones(3, 2))
    with pytest.raises(InputError, match="anchors"):
        range_entropy(torch.ones(3, 2), torch.ones(3, 4))
    with pytest.raises(ParameterError, match="cells"):
        range_entropy(torch.ones(3, 2), halfspaces=(torch.ones(20, 2), torch.ones(20)))


def test_needs_no_torch_where_it_is_exact():
    assert isinstance(exact.run_entropy([1.0, 2.0]), np.floating | np.ndarray)
