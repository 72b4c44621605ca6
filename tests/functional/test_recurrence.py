import pytest
import torch
from scipy.signal import lfilter

from hardgrad.core.errors import InputError
from hardgrad.functional.recurrence import linear_recurrence


def by_loop(decay, increment):
    h, out = torch.zeros_like(increment[..., 0]), []
    for i in range(increment.shape[-1]):
        h = decay[..., i] * h + increment[..., i]
        out.append(h)
    return torch.stack(out, -1)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
def test_is_the_loop(n):
    generator = torch.Generator().manual_seed(n)
    decay, increment = torch.randn(2, 3, n, generator=generator, dtype=torch.float64).unbind(0)
    assert torch.allclose(linear_recurrence(decay, increment), by_loop(decay, increment))
    backwards = by_loop(decay.flip(-1), increment.flip(-1)).flip(-1)
    assert torch.allclose(linear_recurrence(decay, increment, reverse=True), backwards)
    assert torch.allclose(linear_recurrence(decay.mT, increment.mT, dim=0).mT, by_loop(decay, increment))


def test_a_constant_decay_is_a_filter():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(lfilter([1.0], [1.0, -0.9], x.numpy()))
    assert torch.allclose(linear_recurrence(torch.tensor(0.9, dtype=torch.float64), x), expected)


def test_gradients_and_empty_sequences():
    decay, increment = torch.randn(
        2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).unbind(0)
    leaves = [decay.requires_grad_(), increment.requires_grad_()]
    assert torch.autograd.gradcheck(linear_recurrence, leaves)
    assert torch.autograd.gradgradcheck(linear_recurrence, leaves)
    assert linear_recurrence(torch.ones(2, 0), torch.ones(2, 0)).shape == (2, 0)
    with pytest.raises(InputError, match="broadcast"):
        linear_recurrence(torch.ones(3), torch.ones(4))
