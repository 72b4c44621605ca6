"""Row 14: a census of every parameter setting of tiny networks on tiny grids: where is a network not differentiable, and is AD right?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hardgrad.reproductions.registry import Measured, Scale, reproduction


@reproduction(
    row=14,
    slug="kink-audit",
    title="On the Correctness of Automatic Differentiation for Neural Networks with Machine-Representable Parameters",
    venue="Lee, Park and Aiken, ICML 2023",
    claim=(
        "With a bias for every unit the set of parameters where automatic differentiation is wrong is empty, the share of parameters "
        "where the network is not differentiable is at most (number of kinks) / (number of machine numbers), and automatic "
        "differentiation returns a Clarke subgradient everywhere"
    ),
)
def kink_audit(scale: Scale) -> Sequence[Measured]:
    """Count 729 and 5^8 parameter settings; smoke: 3^8 of them. The audit and the numeric check are compared on a sample."""
    import torch

    smoke = scale == "smoke"
    grid = torch.arange(-2, 2.5, 0.5, dtype=torch.float64)
    w2, w1, b1 = torch.cartesian_prod(grid, grid, grid).T
    one = int(((w1 + b1 == 0) & (w2 != 0)).sum())
    disagree = _disagree_one(torch, torch.stack([w2, w1, b1], 1), 41 if smoke else 1)
    measured = [
        Measured.exactly("one unit, settings not differentiable of 729", one, 72),
        Measured.exactly("one unit, settings where the audit disagrees with differences", disagree, 0),
    ]  # fmt: skip
    values = torch.tensor([-1.0, 0.0, 1.0] if smoke else [-1, -0.5, 0, 0.5, 1], dtype=torch.float64)
    settings = torch.cartesian_prod(*[values] * 8)
    for x, known in (((1.0, 1.0), 0.228413), ((1.0, 0.0), 0.2944)):
        felt, slopes, wrong = _census(torch, settings, torch.tensor(x, dtype=torch.float64))
        share = float(felt.double().mean())
        bound = 2 / len(values)
        measured += [
            Measured.at_most(f"share not differentiable, input {x}", share, bound),
            Measured.at_least(f"share over the bound, input {x}", share / bound, 0.4 if smoke else 0.5),
            Measured.exactly(
                f"settings where criterion and differences disagree, input {x}",
                int((felt != slopes).sum()),
                0,
            ),
            Measured.exactly(f"settings where AD is wrong, input {x}", int(wrong.sum()), 0),
        ]
        if not smoke:
            measured.append(
                Measured.at_most(
                    f"distance from the known share {known}, input {x}", abs(share - known), 1e-4
                )
            )
    return [*measured, *_without_bias(torch), *_one_hot(torch)]


def _disagree_one(torch: Any, settings: Any, every: int) -> int:
    """Settings of f = w2 relu(w1 x + b1), x = 1, on which `audit_kinks` and `check_gradient` disagree."""
    from hardgrad.gradients.diagnostics import audit_kinks, check_gradient

    count = 0
    for w in settings[::every]:
        w = w.clone().requires_grad_()
        f = lambda v: v[0] * torch.relu(v[1] + v[2])  # noqa: E731
        audit = audit_kinks(f, w)
        check = check_gradient(f, w, directions=4, samples=16)
        count += (audit.mattering == 0) != check.differentiable or check.verdict == "incorrect"
    return count


def _census(torch: Any, settings: Any, x: Any) -> tuple[Any, Any, Any]:
    """Criterion, numeric check and wrong gradients of f = v . relu(W x + b), for all settings (W, b, v) at once."""
    generator = torch.Generator().manual_seed(0)

    def f(s: Any) -> Any:
        return (torch.relu(s[:, :4].view(-1, 2, 2) @ x + s[:, 4:6]) * s[:, 6:]).sum(1)

    units = settings[:, :4].view(-1, 2, 2) @ x + settings[:, 4:6]
    felt = ((units == 0) & (settings[:, 6:] != 0)).any(1)
    at = settings.clone().requires_grad_()
    (automatic,) = torch.autograd.grad(f(at).sum(), at)
    random = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(8, dtype=torch.float64), random / random.norm(dim=1, keepdim=True)])
    kink, largest = torch.zeros_like(felt), torch.zeros(len(settings), dtype=torch.float64)
    base, h = f(settings), 2.0**-16
    for d in directions:
        right, left = (
            2 * (f(settings + sign * h / 2 * d) - base) / (sign * h / 2)
            - (f(settings + sign * h * d) - base) / (sign * h)
            for sign in (1, -1)
        )
        kink |= (right - left).abs() > 1e-6
        largest = torch.maximum(largest, (automatic @ d - (left + right) / 2).abs())
    return felt, kink, ~kink & (largest > 1e-6)


def _without_bias(torch: Any) -> list[Measured]:
    """relu(x w) - relu(-x w) is x w, and AD says 0 at w = 0."""
    from hardgrad.gradients.diagnostics import audit_kinks, check_gradient

    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    f = lambda v: (torch.relu(3 * v) - torch.relu(-3 * v)).sum()  # noqa: E731
    return [
        Measured.exactly(
            "without biases: AD found wrong at 0", check_gradient(f, w).verdict == "incorrect", 1
        ),
        Measured.exactly(
            "without biases: the audit says possibly incorrect",
            audit_kinks(f, w).verdict == "possibly_incorrect",
            1,
        ),
    ]


def _one_hot(torch: Any) -> list[Measured]:
    """A 4-layer network with biases of zero, whose first layer gets inputs that meet zero weights: kinks, and none after a jitter."""
    from hardgrad.gradients.diagnostics import audit_kinks

    nn = torch.nn
    torch.manual_seed(0)
    sizes = (6, 8, 8, 8, 2)
    parts = [[nn.Linear(a, b), nn.ReLU()] for a, b in itertools.pairwise(sizes)]
    net = nn.Sequential(*itertools.chain(*parts[:-1]), parts[-1][0]).double().eval()
    with torch.no_grad():
        for layer in net[::2]:
            layer.bias.zero_()
        net[0].weight[::2, 0] = 0
    x = torch.eye(6, dtype=torch.float64)[:1]
    found = audit_kinks(net, x).mattering
    with torch.no_grad():
        for layer in net[::2]:
            layer.bias.add_(1e-6 * torch.randn_like(layer.bias))
    return [
        Measured.at_least("zero biases, one-hot input: kinks that matter", found, 1),
        Measured.exactly("the same after a jitter of 1e-6", audit_kinks(net, x).mattering, 0),
    ]
