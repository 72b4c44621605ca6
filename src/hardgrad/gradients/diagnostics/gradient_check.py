"""check_gradient: automatic differentiation against one-sided differences and against the gradients near by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.gradients.diagnostics.report import Report


class GradientVerdict(StrEnum):
    """What `check_gradient` concludes."""

    CORRECT = "correct"
    CLARKE = "clarke"
    INCORRECT = "incorrect"


@dataclass(frozen=True)
class GradientCheck(Report):
    """A gradient by automatic differentiation, checked by numbers.

    Parameters
    ----------
    verdict : "correct" (differentiable, and it is the derivative); "clarke" (not differentiable, and it lies among the gradients near
        by); "incorrect" (anything else).
    differentiable : whether left and right slopes agree along every direction and are linear in the direction.
    automatic, numeric : the gradient by automatic differentiation, and the one that fits all slopes best.
    slope_difference : largest difference of left and right slope.
    distance : of the automatic gradient from the numeric one where differentiable, else from the convex hull of gradients near by.
    """

    differentiable: bool = True
    automatic: tuple[float, ...] = ()
    numeric: tuple[float, ...] = ()
    slope_difference: float = 0.0
    distance: float = 0.0


def check_gradient(
    f: Callable[..., Tensor],
    params: Tensor | Sequence[Tensor],
    *,
    directions: int = 16,
    samples: int = 64,
    tolerance: float = 1e-6,
    generator: torch.Generator | None = None,
) -> GradientCheck:
    """Compare the automatic gradient of a function with one-sided differences, and at a kink with Clarke's set.

    Parameters
    ----------
    f : of the parameters, in double precision; returns one number.
    params : one tensor or several; the point.
    directions : random ones beside the coordinates. At least one, because a function may have slopes along all axes and no derivative.
    samples : gradients near by, whose convex hull stands for Clarke's set.
    tolerance : relative.
    generator : of directions and samples.

    Examples
    --------
    >>> w = torch.zeros(1, dtype=torch.float64)
    >>> str(check_gradient(lambda w: w.abs().sum(), w).verdict)
    'clarke'

    The function below is 3w, and yet its automatic gradient at zero is 0:

    >>> check = check_gradient(lambda w: (torch.relu(3 * w) - torch.relu(-3 * w)).sum(), w)
    >>> str(check.verdict), check.automatic, check.numeric
    ('incorrect', (0.0,), (3.0,))
    """
    given = [params] if isinstance(params, Tensor) else list(params)
    point = torch.cat([p.detach().double().reshape(-1) for p in given])

    def value(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in given])
        result = f(*(part.view(p.shape) for part, p in zip(parts, given, strict=True)))
        if result.numel() != 1:
            raise InputError(
                f"check_gradient got an output of shape {tuple(result.shape)}; f must return one number."
            )
        return result.reshape(())

    def gradient(at: Tensor) -> Tensor:
        x = at.clone().requires_grad_()
        (found,) = torch.autograd.grad(value(x), x, allow_unused=True, materialize_grads=True)
        return found

    random = torch.randn(max(directions, 1), len(point), generator=generator, dtype=torch.float64)
    along = torch.cat([torch.eye(len(point), dtype=torch.float64), random / random.norm(dim=1, keepdim=True)])
    with torch.no_grad():
        right = torch.stack([_slope(value, point, d) for d in along])
        left = -torch.stack([_slope(value, point, -d) for d in along])
    numeric = torch.linalg.lstsq(along, (left + right).unsqueeze(1) / 2).solution[:, 0]
    scale = 1 + float(torch.cat([left, right]).abs().max())
    jump = float((left - right).abs().max())
    linear = float((along @ numeric - (left + right) / 2).abs().max())
    automatic = gradient(point)
    differentiable = max(jump, linear) <= tolerance * scale
    if differentiable:
        distance = float((automatic - numeric).abs().max())
    else:
        near = [
            point + 1e-7 * torch.randn(len(point), generator=generator, dtype=torch.float64)
            for _ in range(samples)
        ]
        distance = _distance_to_hull(torch.stack([gradient(at) for at in near]), automatic)
    good = distance <= tolerance * scale * 10
    verdict = (
        GradientVerdict.INCORRECT
        if not good
        else GradientVerdict.CORRECT
        if differentiable
        else GradientVerdict.CLARKE
    )
    return GradientCheck(
        verdict, differentiable, tuple(automatic.tolist()), tuple(numeric.tolist()), jump, distance
    )


def _slope(value: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> Tensor:
    """One-sided slope by Richardson's extrapolation, at the step 2**-k, k = 10..26, where two neighbours agree best."""
    base = value(point)
    steps = [2.0**-k for k in range(10, 27)]
    quotients = torch.stack([(value(point + h * direction) - base) / h for h in steps])
    extrapolated = 2 * quotients[1:] - quotients[:-1]
    best = int((extrapolated[1:] - extrapolated[:-1]).abs().argmin())
    return extrapolated[best + 1]


def _distance_to_hull(points: Tensor, target: Tensor) -> float:
    """Distance of a point from a convex hull, by non-negative least squares with one heavy row that makes the weights sum to 1."""
    import numpy as np
    from scipy.optimize import nnls

    heavy = 1e3
    A = np.vstack([points.numpy().T, np.full(len(points), heavy)])
    weights, _ = nnls(A, np.append(target.numpy(), heavy))
    return float(np.linalg.norm(points.numpy().T @ weights - target.numpy()))
