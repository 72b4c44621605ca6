"""Row 101, modular implicit differentiation: Jacobians of ridge, Lasso, SVM and quadratic programs, memory, distilled digits."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from hardgrad.reproductions.registry import Measured, Scale, reproduction

FULL_DRAWS, SMOKE_DRAWS = 5, 1
SHARE = {20: 0.5, 50: 0.25, 100: 0.25}


@reproduction(
    row=101,
    slug="implicit-differentiation",
    title="Efficient and modular implicit differentiation",
    venue="NeurIPS 2022",
    claim=(
        "The Jacobian-error bound holds tightly on ridge regression; multiclass SVM, dataset distillation (MNIST), task-driven dictionary "
        "learning and molecular-dynamics sensitivity take a few lines; distillation about 4x faster than unrolling (recalled)"
    ),
)
def implicit_differentiation(scale: Scale) -> Sequence[Measured]:
    """Measure errors against closed forms, finite differences and unrolling; full: five draws and distilled digits."""
    draws = SMOKE_DRAWS if scale == "smoke" else FULL_DRAWS
    measured = [*_ridge(draws), *_lasso(), *_support_vectors(scale), _quadratic_program(), _memory()]
    if scale == "full":
        from hardgrad.reproductions.implicit_hyperparameters import distilled_digits

        measured += distilled_digits(100)
    return measured


# --- ridge -------------------------------------------------------------------------------------------------------------------------------
def _ridge(draws: int) -> list[Measured]:
    """Gradient descent, step 1 / lambda_max, theta = 1; the derivative of |x|^2 after T steps, implicit and unrolled."""
    shares: dict[int, list[float]] = {steps: [] for steps in SHARE}
    worst_iterate, worst_bound = 0.0, 0.0
    for draw in range(draws):
        for steps in (5, 10, 20, 50, 100):
            implicit, unrolled, iterate, bound = _ridge_errors(draw, steps)
            worst_iterate, worst_bound = max(worst_iterate, implicit / iterate), max(worst_bound, bound)
            if steps in shares:
                shares[steps].append(implicit / unrolled)
    figures = [
        Measured.at_most(
            f"ridge, error of implicit over unrolled after {steps} steps, worst draw",
            max(shares[steps]),
            bound,
        )
        for steps, bound in SHARE.items()
    ]
    return [
        *figures,
        Measured.at_most(
            "ridge, relative error of the derivative over that of the iterate", worst_iterate, 3.0
        ),
        Measured.at_most("ridge, Jacobian error over its bound", worst_bound, 1.0),
    ]


def _ridge_errors(draw: int, steps: int) -> tuple[float, float, float, float]:
    import torch

    from hardgrad.gradients import implicit_root

    generator = torch.Generator().manual_seed(draw)
    X = torch.randn(80, 20, generator=generator, dtype=torch.float64)
    y = torch.randn(80, generator=generator, dtype=torch.float64)
    gram, right, eye = X.T @ X, X.T @ y, torch.eye(20, dtype=torch.float64)
    theta = torch.tensor(1.0, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(gram + theta * eye)

    def gradient(x: Any, theta: Any) -> Any:
        return gram @ x - right + theta * x

    def descend(theta: Any) -> Any:
        x = torch.zeros(20, dtype=torch.float64)
        for _ in range(steps):
            x = x - gradient(x, theta) / eigenvalues[-1]
        return x

    def size(solve: Any) -> float:
        return float(torch.func.grad(lambda t: (solve(t) ** 2).sum())(theta))

    def closed(theta: Any) -> Any:
        return torch.linalg.solve(gram + theta * eye, right)

    implicit = implicit_root(gradient, descend, solve="dense")
    exact, best, reached = size(closed), closed(theta), descend(theta)
    jacobian = torch.func.jacfwd(implicit)(theta) - torch.func.jacfwd(closed)(theta)
    distance = (reached - best).norm()
    return (
        abs(size(implicit) - exact) / abs(exact),
        abs(size(descend) - exact) / abs(exact),
        float(distance / best.norm()),
        float(jacobian.norm() / (distance / eigenvalues[0])),
    )


# --- Lasso, SVM, quadratic program -------------------------------------------------------------------------------------------------------
def _lasso() -> list[Measured]:
    """d(validation loss)/d(log alpha) through scikit-learn's Lasso as the solver, against finite differences of scikit-learn alone."""
    import torch
    from sklearn.linear_model import Lasso

    from hardgrad.gradients import implicit_fixed_point, optimality, proxes

    rng = np.random.default_rng(0)
    X, X_valid = rng.normal(size=(60, 30)), rng.normal(size=(40, 30))
    true = np.where(np.arange(30) < 5, rng.normal(size=30) * 2, 0.0)
    y, y_valid = X @ true + 0.3 * rng.normal(size=60), X_valid @ true + 0.3 * rng.normal(size=40)
    tensors = [torch.from_numpy(a) for a in (X, y, X_valid, y_valid)]

    def fitted(log_alpha: float) -> Any:
        model = Lasso(alpha=float(np.exp(log_alpha)), fit_intercept=False, tol=1e-14, max_iter=100_000)
        return model.fit(X, y).coef_

    def loss(w: Any, log_alpha: Any) -> Any:
        return ((tensors[0] @ w - tensors[1]) ** 2).sum() / (2 * len(y))

    condition = optimality.proximal_gradient(
        loss, lambda v, step, log_alpha: proxes.soft_threshold(v, step * log_alpha.exp()), 0.5
    )
    solve = implicit_fixed_point(
        condition, lambda log_alpha: torch.from_numpy(fitted(float(log_alpha)).copy())
    )
    at = torch.tensor(-2.0, dtype=torch.float64)
    found = float(torch.func.grad(lambda t: ((tensors[2] @ solve(t) - tensors[3]) ** 2).mean())(at))

    def validation(log_alpha: float) -> float:
        return float(np.mean((X_valid @ fitted(log_alpha) - y_valid) ** 2))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at this tolerance scikit-learn says so where rounding stops it
        expected = (validation(-2.0 + 1e-4) - validation(-2.0 - 1e-4)) / 2e-4
    zeros = int((fitted(-2.0) == 0).sum())
    return [
        Measured.at_most(
            "Lasso, difference to finite differences of scikit-learn", abs(found - expected), 1e-4
        ),
        Measured.reported("Lasso, weights that are exactly 0, of 30", zeros),
    ]


def _support_vectors(scale: Scale) -> list[Measured]:
    """Multiclass SVM in the dual: rows of x on the simplex; the derivative of a validation loss by both solvers and conditions."""
    import torch
    from sklearn.datasets import load_iris

    from hardgrad.gradients import projections, solvers

    data = load_iris()
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    rows = 5 if scale == "smoke" else 20
    train = np.concatenate([np.arange(50 * k, 50 * k + rows) for k in range(3)])
    valid = np.concatenate([np.arange(50 * k + 30, 50 * k + 40) for k in range(3)])
    X, Y, X_valid, Y_valid = (
        torch.from_numpy(a) for a in (features[train], np.eye(3)[data.target[train]], features[valid], np.eye(3)[data.target[valid]])
    )  # fmt: skip

    def weights(x: Any, theta: Any) -> Any:
        return X.T @ (Y - x) / theta

    def dual(x: Any, theta: Any) -> Any:
        return 0.5 * theta * (weights(x, theta) ** 2).sum() + (x * Y).sum()

    theta = torch.tensor(float(rows), dtype=torch.float64)
    start = torch.full_like(Y, 1 / 3)
    step = float(theta / torch.linalg.eigvalsh(X @ X.T)[-1])
    options: dict[str, Any] = {"tol": 1e-8 if scale == "smoke" else 1e-11, "maxiter": 20_000, "ridge": 1e-9}
    by_projection = solvers.projected_gradient(dual, lambda v, theta: projections.simplex(v), step, **options)
    by_mirror = solvers.mirror_descent(dual, 4 * step, **options)

    def value(solve: Any) -> float:
        def outer(theta: Any) -> Any:
            return ((X_valid @ weights(solve(start, theta), theta) - Y_valid) ** 2).mean()

        return float(torch.func.grad(outer)(theta))

    first, second = value(by_projection), value(by_mirror)
    return [
        Measured.at_most("SVM, relative difference of projected gradient and mirror descent", abs(first - second) / abs(first), 1e-4),
        Measured.reported("SVM, hypergradient", first),
    ]  # fmt: skip


def _quadratic_program() -> Measured:
    """min x'Qx/2 + c'x subject to Ax = b: derivatives in Q, c, A and b through the KKT conditions, against those of the closed form."""
    import torch

    from hardgrad.gradients import implicit_root, optimality

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root, c, A, b = normal(8, 8), normal(8), normal(3, 8), normal(3)
    theta = (root @ root.T + torch.eye(8, dtype=torch.float64), c, A, b)

    def closed(Q: Any, c: Any, A: Any, b: Any) -> Any:
        symmetric = (Q + Q.T) / 2
        matrix = torch.cat([torch.cat([symmetric, A.T], 1), torch.cat([A, A.new_zeros(3, 3)], 1)])
        point = torch.linalg.solve(matrix, torch.cat([-c, b]))
        return point[:8], point[8:], None

    condition = optimality.kkt(
        lambda x, Q, c, A, b: 0.5 * x @ Q @ x + c @ x, equality=lambda x, Q, c, A, b: A @ x - b
    )
    solve = implicit_root(condition, closed)
    worst = 0.0
    for argument in range(4):
        found = torch.func.jacrev(lambda *t: solve(*t)[0], argnums=argument)(*theta)
        expected = torch.func.jacrev(lambda *t: closed(*t)[0], argnums=argument)(*theta)
        worst = max(worst, float((found - expected).abs().max()))
    return Measured.at_most("KKT of an equality QP, largest error of a Jacobian", worst, 1e-8)


def _memory() -> Measured:
    """Bytes that the graph keeps after 1000 steps, less those after 10."""
    import torch

    from hardgrad.gradients import implicit_root

    def slope(x: Any, theta: Any) -> Any:
        return x - theta + 0.4 * x**3

    def kept(steps: int) -> int:
        alive: weakref.WeakSet[Any] = weakref.WeakSet()

        class Saved:
            def __init__(self, tensor: Any) -> None:
                self.tensor = tensor.detach()  # the tensor itself would keep its own graph alive
                alive.add(self)

        def descend(theta: Any) -> Any:
            x = torch.zeros_like(theta)
            for _ in range(steps):
                x = x - 1e-3 * slope(x, theta)
            return x

        theta = torch.ones(100, requires_grad=True)
        solve = implicit_root(slope, descend)
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            x = solve(theta)
        return sum(saved.tensor.nbytes for saved in alive) if x.requires_grad else 0

    ten = kept(10)
    return Measured.exactly("bytes kept after 1000 steps over those after 10", kept(1000) / ten, 1.0)
