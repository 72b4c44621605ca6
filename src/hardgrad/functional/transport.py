"""Sinkhorn's scaling of a matrix to a doubly stochastic one, with its implicit derivatives, and the exact assignment it relaxes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hardgrad.core.errors import InputError
from hardgrad.core.mode import Mode
from hardgrad.core.operation import operation
from hardgrad.functional.operands import settle, values_are_checked

ITERATIONS = 50
TOLERANCE = 1e-6
FEW = 15  # as many as bring Newton's method near enough
FEW_STEPS = 8
NEWTON_STEPS = 20
STAGES = 16
STAGE_ITERATIONS = 4
_GONE = -1e29  # what lies below is a pair that is not there


def doubly_stochastic(
    logits: Tensor, start: Tensor | None = None, iterations: int = ITERATIONS, tolerance: float = TOLERANCE
) -> Tensor:
    """Return exp(logits) with rows and columns scaled to sum to 1; the rows do so exactly.

    Sinkhorn's iteration gives the column potentials without gradients. Two steps of Newton's method from there, which move them hardly,
    carry the implicit first and second derivatives, in every mode of torch.

    Parameters
    ----------
    logits : (..., n, n), floating; -1e30 for a pair that is not there.
    start : (..., n), column potentials to start from.
    iterations : at most, of both scalings; fewer where the columns are right, in eager mode on the CPU.
    tolerance : columns are right where they sum to 1 within this.

    Source: Cuturi, 2013, Sinkhorn Distances; derivatives by the implicit function theorem.
    """
    dtype = logits.dtype
    if (
        logits.device.type == "cpu"
    ):  # cold potentials are large, and what matters is small differences between them
        logits = logits.double()
    first = None if start is None else start.detach().to(logits.dtype)
    g = _column_potentials(logits.detach(), first, iterations, tolerance)
    for _ in range(2):
        g = _newton_step(logits, g)
    return torch.softmax(logits + g.unsqueeze(-2), dim=-1).to(dtype)


def _newton_step(logits: Tensor, g: Tensor) -> Tensor:
    """Return column potentials whose columns sum to 1 more nearly; rows always do."""
    n = logits.shape[-1]
    eye = torch.eye(n, dtype=logits.dtype, device=logits.device)
    # What moves all potentials alike moves nothing: this direction is made regular, and so is what rounding leaves of others.
    regular = 1.0 / max(n, 1) + 16.0 * torch.finfo(logits.dtype).eps * eye
    plan = torch.softmax(logits + g.unsqueeze(-2), dim=-1)
    sums = plan.sum(-2)
    slope = sums.unsqueeze(-1) * eye - plan.mT @ plan + regular
    step = torch.linalg.solve(slope, (sums - 1.0).unsqueeze(-1)).squeeze(-1)
    bounded: Tensor = step.clamp(-1.0, 1.0)  # far from the solution a long step would lead astray
    return g - bounded


def _column_potentials(logits: Tensor, start: Tensor | None, iterations: int, tolerance: float) -> Tensor:
    may_look = values_are_checked(logits)
    tolerance = max(tolerance, 32.0 * torch.finfo(logits.dtype).eps)  # what rounding allows
    g = torch.zeros_like(logits[..., 0, :]) if start is None else start
    if (
        may_look and logits.numel()
    ):  # what costs least first: it is enough unless logits are cold and the start is far
        quick = g + _scale_vectors(logits + g.unsqueeze(-2), min(iterations, FEW), tolerance)
        quick = _finish(logits, quick, tolerance, FEW_STEPS)
        if _columns_are_balanced(logits, quick, tolerance):
            return quick
    if start is None:  # each stage starts from the potentials of the one that is twice as warm
        for stage in range(STAGES, 0, -1):
            share = 2.0**-stage
            for _ in range(STAGE_ITERATIONS):
                g = _column_step(torch.where(logits > _GONE, logits * share, logits), g)
            g = 2.0 * g
    for done in range(iterations):
        g = _column_step(logits, g)
        if may_look and done % 5 == 4 and _columns_are_balanced(logits, g, tolerance):
            break
    return _finish(logits, g, tolerance, NEWTON_STEPS) if may_look else g


def _finish(logits: Tensor, g: Tensor, tolerance: float, steps: int) -> Tensor:
    """Go on by Newton's method where Sinkhorn's iteration has crept to its end: cold, it needs thousands."""
    for _ in range(steps):
        if _columns_are_balanced(logits, g, tolerance):
            break
        g = _newton_step(logits, g)
    return g


def _scale_vectors(logits: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Return the change of the column potentials, by scaling vectors in double precision: two products of matrix and vector each."""
    rows = logits.amax(-1, keepdim=True)
    columns = (logits - rows).amax(-2, keepdim=True)
    kernel = torch.exp((logits - rows - columns).double())  # every row and column has an entry of 1 or more
    v = torch.ones_like(kernel[..., :1])
    for done in range(iterations):
        u = 1.0 / (kernel @ v)
        sums = kernel.mT @ u
        if done % 5 == 4 and float((v * sums - 1.0).abs().max()) < tolerance:
            break
        v = 1.0 / sums
    return (v.log().squeeze(-1) - columns.squeeze(-2)).to(logits.dtype)


def _column_step(logits: Tensor, g: Tensor) -> Tensor:
    f = -torch.logsumexp(logits + g.unsqueeze(-2), -1)
    g = -torch.logsumexp(logits + f.unsqueeze(-1), -2)
    return g - g.mean(-1, keepdim=True)


def _columns_are_balanced(logits: Tensor, g: Tensor, tolerance: float) -> bool:
    sums = torch.softmax(logits + g.unsqueeze(-2), -1).sum(-2)
    return float((sums - 1.0).abs().max()) < tolerance


# The exact assignment.
def _assign(cost: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    matrices = cost.detach().double().cpu().reshape(-1, *cost.shape[-2:]).numpy()
    out = torch.empty((len(matrices), cost.shape[-2]), dtype=torch.int64)
    for k, matrix in enumerate(matrices):
        out[k] = torch.from_numpy(linear_sum_assignment(matrix)[1])
    return out.reshape(cost.shape[:-1]).to(cost.device)


_assign_op = torch.library.custom_op("hardgrad::assignment", _assign, mutates_args=())
_assign_op.register_fake(lambda cost: cost.new_empty(cost.shape[:-1], dtype=torch.int64))
_assign_op.register_vmap(lambda info, in_dims, cost: (_assign_op(cost.movedim(in_dims[0], 0)), 0))


def _example(generator: torch.Generator, dtype: torch.dtype, batch: tuple[int, ...]) -> tuple[Any, ...]:
    """Costs of 4 by 5 whose best assignment is clearly the best."""
    costs = 2.0 * torch.rand((*batch, 4, 5), generator=generator, dtype=torch.float64)
    best = torch.rand((*batch, 5), generator=generator).argsort(-1)[..., :4]
    return (costs.scatter_add(-1, best.unsqueeze(-1), torch.full_like(costs, -2.5)).to(dtype),), {}


def _hard_matching(cost: Tensor, maximize: bool = False) -> Tensor:
    dtype = cost.dtype if cost.dtype.is_floating_point else torch.get_default_dtype()
    rows, columns = cost.shape[-2:]
    square = _squared(-cost if maximize else cost)
    chosen = cast(Tensor, _assign_op(square.detach()))[..., :rows]
    return (chosen.unsqueeze(-1) == torch.arange(columns, device=cost.device)).to(dtype)


def _squared(matrix: Tensor) -> Tensor:
    """Return a matrix with rows or columns of zeros, until it is square: whoever is assigned to one of these is left out."""
    rows, columns = matrix.shape[-2:]
    return torch.nn.functional.pad(matrix, (0, max(rows - columns, 0), 0, max(columns - rows, 0)))


@operation("matching", hard=_hard_matching, inputs=_example)
def matching(
    cost: Tensor, maximize: bool = False, *, temperature: Any = None, mode: Mode | None = None
) -> Tensor:
    """Return who is matched with whom at the least total cost: weights that become 0 and 1.

    Parameters
    ----------
    cost : (..., n, m), of matching row i with column j; `cost[i, j]` is not paid where i and j are not matched.
    maximize : look for the greatest total instead, as in `scipy.optimize.linear_sum_assignment`.
    temperature : positive number, in the units of the cost; by default that of the surrounding `hardgrad.mode` block, else 0.1.
    mode : "soft" (Sinkhorn's entropic relaxation), "st" (exact forward, relaxed backward) or "hard" (SciPy's assignment, on the host).

    Returns
    -------
    weights : (..., n, m). Rows sum to 1 and columns to at most 1 where n <= m, the other way round else.

    Raises
    ------
    InputError : fewer than two dimensions; NaN, or infinity in "soft".
    TemperatureError, ModeError, InputTypeError : an argument outside its range.

    Examples
    --------
    >>> cost = torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
    >>> matching(cost, mode="hard").tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    >>> round(float((matching(cost, temperature=0.2) * cost).sum()), 3)
    5.176

    Source: Cuturi, 2013, Sinkhorn Distances: Lightspeed Computation of Optimal Transport.
    """
    call = settle("matching", cost, temperature=temperature, mode=mode)
    if cost.dim() < 2:
        raise InputError(
            f"matching() got a cost of shape {tuple(cost.shape)}; expected (..., n, m): a cost for each pair."
        )
    rows, columns = cost.shape[-2:]

    def soft() -> Tensor:
        gains = call.tensors[0] if maximize else -call.tensors[0]
        return doubly_stochastic(_squared(gains / call.temperature))[..., :rows, :columns]

    return call.result(lambda: _hard_matching(cost, maximize), soft)


def gumbel_sinkhorn(
    logits: Tensor,
    *,
    temperature: Any = None,
    generator: torch.Generator | None = None,
    mode: Mode | None = None,
) -> Tensor:
    """Return a random matching that prefers pairs with large logits: the best one after Gumbel noise on all pairs.

    Parameters
    ----------
    logits : (..., n, m).
    temperature, mode : as for `matching`; in "st" and "hard" the result is a permutation matrix.
    generator : of the noise; torch's own by default.

    Examples
    --------
    >>> plan = gumbel_sinkhorn(torch.zeros(3, 3), generator=torch.Generator().manual_seed(0), mode="hard")
    >>> plan.sum(0).tolist(), plan.sum(1).tolist()
    ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])

    Source: Mena, Belanger, Linderman and Snoek, 2018, Learning Latent Permutations with Gumbel-Sinkhorn Networks.
    """
    settle("gumbel_sinkhorn", logits, temperature=temperature, mode=mode)
    noise = torch.empty(logits.shape, dtype=torch.float32, device=logits.device).exponential_(
        generator=generator
    )
    noise = -noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
    return matching(logits + noise.to(logits.dtype), maximize=True, temperature=temperature, mode=mode)
