"""Points of a lattice near given points: Babai's two roundings, the closest point, and reduction of the basis they depend on.

A lattice is `{G z : z whole}`: the columns of the generator G are its basis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hardgrad.bits.lattice_kernels import sphere_decode
from hardgrad.core.errors import InputError, ParameterError, suggestion

ROUNDINGS = ("nearest_plane", "rounding")
SINGULAR = 1e-12  # of the largest diagonal element, in float64
BLOCK = 256  # points between two chances to interrupt


def babai_round(
    generator: Tensor, x: Tensor, *, method: str = "nearest_plane", bits: int | Tensor | None = None
) -> Tensor:
    """Return whole numbers z such that `G z` is near x: the closest point where G is orthogonal, a good guess elsewhere.

    Parameters
    ----------
    generator : (..., d, d), not singular.
    x : (..., n, d), or (d,).
    method : "nearest_plane" decides one coordinate at a time and corrects the others for it; "rounding" is round(G^-1 x). Both depend on
        the basis: see `lll_reduce`.
    bits : to stay within -2^(bits-1) to 2^(bits-1) - 1; a tensor of one number a generator for different ones.

    Returns
    -------
    z : of the shape and dtype of x.

    Raises
    ------
    InputError : NaN or infinity, shapes that do not fit, or a singular generator.
    ParameterError : another method.

    Examples
    --------
    >>> G = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    >>> babai_round(G, torch.tensor([1.4, 0.9])).tolist()
    [1.0, 1.0]

    Source: Babai, 1986, On Lovász' lattice reduction and the nearest lattice point problem.
    """
    check_rounding("babai_round", method)
    _check_points("babai_round", generator, x)
    points = x if x.dim() > 1 else x.unsqueeze(0)
    return _chosen(generator, points, method, torch.round, index_range(bits, points)).reshape(x.shape)


def closest_lattice_point(generator: Tensor, x: Tensor, *, bits: int | None = None) -> Tensor:
    """Return the whole numbers z for which `G z` is closest to x, by enumeration inside a shrinking sphere. Exact.

    The time grows exponentially with d: microseconds a point for 8 dimensions, too long for many more than 20. It runs on the CPU in
    float64 and can be interrupted.

    Parameters
    ----------
    generator : (d, d), not singular.
    x : (..., d).
    bits : the closest among -2^(bits-1) to 2^(bits-1) - 1 only.

    Returns
    -------
    z : of the shape, dtype and device of x.

    Raises
    ------
    InputError : as for `babai_round`.

    Examples
    --------
    >>> G = torch.tensor([[1.0, 4.0], [0.0, 0.5]])
    >>> x = torch.tensor([0.0, 0.4])
    >>> babai_round(G, x, method="rounding").tolist(), closest_lattice_point(G, x).tolist()
    ([-3.0, 1.0], [-4.0, 1.0])

    Source: Schnorr and Euchner, 1994, Lattice basis reduction: improved practical algorithms and solving subset sum problems.
    """
    _check_points("closest_lattice_point", generator, x, dims=2)
    G = generator.detach().cpu().double().numpy()
    d = len(G)
    Q, R = np.linalg.qr(G)
    signs = np.sign(np.diagonal(R))
    Y = x.detach().cpu().double().numpy().reshape(-1, d) @ (Q * signs)
    R = R * signs[:, None]
    low, high = (-np.inf, np.inf) if bits is None else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1.0)
    Z = np.empty_like(Y)
    for start in range(0, len(Y), BLOCK):
        sphere_decode(R, Y[start : start + BLOCK], low, high, Z[start : start + BLOCK])
    return torch.from_numpy(Z).reshape(x.shape).to(x)


def lll_reduce(generator: Tensor, *, delta: float = 0.75) -> tuple[Tensor, Tensor]:
    """Return a basis of the same lattice with short, nearly orthogonal columns, on which Babai's roundings err less.

    Parameters
    ----------
    generator : (d, d), not singular.
    delta : between 1/4 and 1; larger reduces more and takes longer.

    Returns
    -------
    reduced : (d, d), dtype of the generator.
    transform : whole numbers U with determinant 1 or -1, int64, such that `reduced = generator @ U`; so z becomes `U^-1 z`.

    Raises
    ------
    InputError : as for `babai_round`.
    ParameterError : delta out of range.

    Examples
    --------
    >>> reduced, transform = lll_reduce(torch.tensor([[1.0, 4.0], [0.0, 0.5]]))
    >>> reduced.tolist(), transform.tolist()
    ([[0.0, 1.0], [0.5, 0.0]], [[-4, 1], [1, 0]])

    Source: Lenstra, Lenstra and Lovász, 1982, Factoring polynomials with rational coefficients.
    """
    if not 0.25 < delta <= 1.0:
        raise ParameterError(f"lll_reduce got delta={delta!r}; expected a number above 1/4 and not above 1.")
    _check_points("lll_reduce", generator, generator.new_zeros(generator.shape[-1:]), dims=2)
    B = generator.detach().cpu().double().numpy().copy()
    U = np.eye(len(B), dtype=np.int64)
    k = 1
    while k < len(B):
        R = np.linalg.qr(B)[1]
        for j in range(k - 1, -1, -1):
            times = np.rint(R[j, k] / R[j, j])
            for columns in (B, R, U):
                columns[:, k] -= times.astype(columns.dtype) * columns[:, j]
        if R[k, k] ** 2 >= delta * R[k - 1, k - 1] ** 2 - R[k - 1, k] ** 2:
            k += 1
            continue
        for columns in (B, U):
            columns[:, [k - 1, k]] = columns[:, [k, k - 1]]
        k = max(k - 1, 1)
    return torch.from_numpy(B).to(generator), torch.from_numpy(U).to(generator.device)


Round = Callable[[Tensor], Tensor]


def _chosen(generator: Tensor, points: Tensor, method: str, round_: Round, limits: tuple[Any, Any]) -> Tensor:
    """Babai's rounding, as `babai_round`, by any function that rounds; differentiable where that is."""
    if method == "rounding":
        return round_(points @ torch.linalg.inv(generator).mT).clamp(*limits)
    Q, R = torch.linalg.qr(generator)
    rest = points @ Q
    chosen: list[Tensor] = []
    for k in range(R.shape[-1] - 1, -1, -1):
        z = round_(rest[..., k : k + 1] / R[..., k : k + 1, k : k + 1]).clamp(*limits)
        rest = rest[..., :k] - z * R[..., None, :k, k]
        chosen.append(z)
    return torch.cat(chosen[::-1], dim=-1)


def lattice_index(
    generator: Tensor, points: Tensor, bits: Tensor, *, method: str, round_: Round = torch.round
) -> Tensor:
    """Return whole numbers k such that `G (k + 1/2)` is near the points, within the bits: the grid of `LatticeCodes`.

    Parameters
    ----------
    generator, points, method : as for `babai_round`; nothing is checked.
    bits : one number a generator.
    round_ : in place of torch.round, a relaxed one.
    """
    middle = generator.sum(dim=-1, keepdim=True).mT / 2
    return _chosen(generator, points - middle, method, round_, index_range(bits, points))


def index_range(bits: int | Tensor | None, like: Tensor) -> tuple[Any, Any]:
    """Return the least and the greatest index of so many bits, in the shape that clips (..., n, d)."""
    if bits is None:
        return -torch.inf, torch.inf
    half = 2.0 ** (torch.as_tensor(bits, device=like.device).to(like.dtype) - 1.0)
    half = half[..., None, None] if half.dim() else half
    return -half, half - 1.0


def check_rounding(where: str, method: str, known: tuple[str, ...] = ROUNDINGS) -> None:
    """Raise `ParameterError` for a rounding that is not known."""
    if method not in known:
        raise ParameterError(
            f"{where} got method {method!r}; expected one of {', '.join(known)}.{suggestion(str(method), known)}"
        )


def _check_points(where: str, generator: Tensor, x: Tensor, dims: int | None = None) -> None:
    square = generator.dim() >= 2 and generator.shape[-1] == generator.shape[-2] > 0
    if not square or (dims is not None and generator.dim() != dims) or not generator.is_floating_point():
        raise InputError(
            f"{where} got a generator of shape {tuple(generator.shape)}, {generator.dtype}; expected floating, "
            f"{'(d, d)' if dims else '(..., d, d)'}."
        )
    if not x.is_floating_point() or not x.dim() or x.shape[-1] != generator.shape[-1]:
        raise InputError(
            f"{where} got points of shape {tuple(x.shape)}, {x.dtype}; expected floating, (..., {generator.shape[-1]})."
        )
    if not (generator.isfinite().all() and x.isfinite().all()):
        raise InputError(f"{where} got NaN or infinity; expected finite numbers.")
    diagonal = torch.linalg.qr(generator.detach().cpu().double())[1].diagonal(dim1=-2, dim2=-1).abs()
    if (diagonal <= SINGULAR * diagonal.amax(dim=-1, keepdim=True)).any():
        raise InputError(
            f"{where} got a singular generator: its columns span no {generator.shape[-1]} dimensions. Add a little to its diagonal."
        )
