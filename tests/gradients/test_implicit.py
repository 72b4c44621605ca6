"""implicit_root and implicit_fixed_point against closed forms and finite differences, in every mode of differentiation; what is refused."""

from __future__ import annotations

import gc
import warnings
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardgrad.core.errors import (
    HardgradWarning,
    InputError,
    InputTypeError,
    ParameterError,
    UnsupportedError,
)
from hardgrad.gradients import implicit_fixed_point, implicit_root

torch.manual_seed(0)
X = torch.randn(30, 4, dtype=torch.float64)
y = torch.randn(30, dtype=torch.float64)
THETA = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def ridge_gradient(w: Tensor, theta: Tensor) -> Tensor:
    return X.T @ (X @ w - y) + theta * w


def ridge_solution(theta: Tensor) -> Tensor:
    A = X.T @ X + torch.diag_embed(theta * torch.ones(4, dtype=torch.float64))
    return torch.linalg.inv(A) @ (X.T @ y)


def descent(theta: Tensor, steps: int = 4000) -> Tensor:
    """A solver that autograd could not follow: it works in place and stops on a tolerance."""
    w = torch.zeros(4, dtype=torch.float64)
    for _ in range(steps):
        gradient = ridge_gradient(w, theta)
        if float(gradient.abs().max()) < 1e-13:
            break
        w -= 0.01 * gradient
    return w


solve = implicit_root(ridge_gradient, descent, symmetric=True)


def test_finite_differences_of_first_and_second_order() -> None:
    theta = THETA.clone().requires_grad_()
    exact = implicit_root(ridge_gradient, ridge_solution)
    assert torch.autograd.gradcheck(exact, theta, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(exact, theta)


@pytest.mark.parametrize("method", ["dense", "cg", "normal_cg", "gmres", "bicgstab", "auto"])
def test_every_linear_solver_gives_the_closed_form(method: Any) -> None:
    function = implicit_root(ridge_gradient, descent, solve=method, tol=1e-12)
    assert torch.allclose(
        torch.func.jacrev(function)(THETA), torch.func.jacrev(ridge_solution)(THETA), atol=1e-9
    )
    report = function.report
    assert report is not None and report.residual is not None
    assert report.residual < 1e-10 and report.optimality < 1e-12
    assert report.method == (method if method != "auto" else "dense")


TRANSFORMS = {
    "grad": lambda f: torch.func.grad(lambda t: (f(t) ** 2).sum()),
    "jacrev": torch.func.jacrev,
    "jacfwd": torch.func.jacfwd,
    "hessian": lambda f: torch.func.hessian(lambda t: (f(t) ** 2).sum()),
    "jacrev of jacrev": lambda f: torch.func.jacrev(torch.func.jacrev(f)),
    "grad of jacfwd": lambda f: torch.func.grad(lambda t: torch.func.jacfwd(f)(t).pow(2).sum()),
    "jvp": lambda f: lambda t: torch.func.jvp(f, (t,), (torch.ones_like(t),))[1],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_agree_with_those_of_the_closed_form(name: str) -> None:
    transform = TRANSFORMS[name]
    expected = transform(ridge_solution)(THETA)
    assert torch.allclose(transform(solve)(THETA), expected, atol=1e-8)
    several = torch.stack([THETA, THETA / 2, THETA + 1])
    found = torch.func.vmap(transform(solve))(several)
    one_by_one = torch.stack([transform(ridge_solution)(theta) for theta in several])
    assert torch.allclose(found, one_by_one, atol=1e-8)


def test_forward_mode_of_autograd() -> None:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(THETA, torch.ones(4, dtype=torch.float64))
        tangent = torch.autograd.forward_ad.unpack_dual(solve(dual)).tangent
    expected = torch.func.jvp(ridge_solution, (THETA,), (torch.ones(4, dtype=torch.float64),))[1]
    assert torch.allclose(tangent, expected, atol=1e-8)


def test_a_batch_solved_together_has_a_system_each() -> None:
    several = torch.stack([THETA, THETA / 2]).requires_grad_()

    def together(theta: Tensor) -> Tensor:
        return ridge_solution(theta)

    def gradient(w: Tensor, theta: Tensor) -> Tensor:
        return (w @ X.T - y) @ X + theta * w

    for method in ("dense", "cg", "gmres"):
        function = implicit_root(gradient, together, batch_dims=1, solve=method, tol=1e-12)
        (found,) = torch.autograd.grad((function(several) ** 3).sum(), several)
        (expected,) = torch.autograd.grad((ridge_solution(several) ** 3).sum(), several)
        assert torch.allclose(found, expected, atol=1e-9)
        assert torch.autograd.gradgradcheck(function, several)


def test_pytrees_constants_and_nothing() -> None:
    """x and theta are nested; integers, None, text and tensors that need no gradient are constants."""

    def optimality(x: Any, theta: Any, count: Any, note: str) -> Any:
        scale = theta["scale"] if theta["bias"] is None else None
        return {"a": scale[0] * x["a"] - count, "b": [x["b"][0] - x["a"].sum() * theta["frozen"]]}

    def solver(theta: Any, count: Any, note: str) -> Any:
        assert note == "text"
        a = count / theta["scale"][0]
        return {"a": a, "b": [a.sum() * theta["frozen"]]}

    scale = torch.tensor([2.0, 5.0], requires_grad=True)
    theta = {"scale": (scale,), "frozen": torch.tensor(3.0), "bias": None}
    count = torch.tensor([4, 6])
    x = implicit_root(optimality, solver)(theta, count, "text")
    x["b"][0].backward()
    assert torch.allclose(scale.grad, -3.0 * count / scale.detach() ** 2)
    unused = torch.tensor(1.0, requires_grad=True)
    function = implicit_root(lambda x, a, b: x - a, lambda a, b: a.clone())
    assert torch.autograd.grad(function(scale[0], unused), unused)[0] == 0


def test_a_starting_point_and_options_are_for_the_solver_alone() -> None:
    @implicit_root(lambda x, theta: x**2 - theta, has_init=True, has_aux=True)
    def newton(x: Tensor, theta: Tensor, *, steps: int) -> tuple[Tensor, dict[str, Any]]:
        for _ in range(steps):
            x.copy_((x + theta / x) / 2)  # in place, on the caller's starting point
        return x, {"steps": torch.tensor(steps), "note": "done"}

    start = torch.tensor(1.0, requires_grad=True)
    theta = torch.tensor(9.0, requires_grad=True)
    root, aux = newton(start, theta, steps=30)
    root.backward()
    assert newton.__name__ == "newton"
    assert aux["note"] == "done" and not aux["steps"].requires_grad
    assert torch.isclose(theta.grad, torch.tensor(1 / 6)) and start.grad is None
    assert start.item() == 1.0
    with pytest.raises(UnsupportedError, match="no tensors"):
        torch.func.vmap(lambda t: newton(torch.tensor(1.0), t, steps=3)[0])(torch.ones(2))


def test_auxiliary_tensors_are_mapped() -> None:
    @implicit_root(lambda x, theta: x - theta**2, has_aux=True)
    def square(theta: Tensor) -> tuple[Tensor, Tensor]:
        return theta**2, theta.argmax()

    x, best = torch.func.vmap(square)(torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
    assert x.tolist() == [[1.0, 4.0], [16.0, 9.0]] and best.tolist() == [1, 0]


def test_fixed_points_need_not_be_the_steps_of_the_solver() -> None:
    def step(w: Tensor, theta: Tensor) -> Tensor:
        return w - 0.01 * ridge_gradient(w, theta)

    function = implicit_fixed_point(step, descent, solve="neumann", maxiter=2000, tol=1e-12)
    with pytest.raises(ParameterError):
        implicit_fixed_point(step, descent, solve="none")
    found = torch.func.grad(lambda t: function(t).sum())(THETA)
    assert torch.allclose(found, torch.func.grad(lambda t: ridge_solution(t).sum())(THETA), atol=1e-8)
    with pytest.raises(InputError, match="the form of x"):
        implicit_fixed_point(lambda x, theta: x[:2], descent)(THETA)


def test_solvers_that_differentiate_and_functions_that_call_autograd() -> None:
    def optimality(w: Tensor, theta: Tensor) -> Tensor:
        loss = 0.5 * ((X @ w - y) ** 2).sum() + 0.5 * (theta * w * w).sum()
        return torch.autograd.grad(loss, w, create_graph=True)[0]

    def lbfgs(theta: Tensor) -> Tensor:
        w = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [w], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = 0.5 * ((X @ w - y) ** 2).sum() + 0.5 * (theta * w * w).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return w

    function = implicit_root(optimality, lbfgs)
    expected = torch.func.jacrev(ridge_solution)(THETA)
    assert torch.allclose(torch.func.jacrev(function)(THETA), expected, atol=1e-8)
    assert torch.allclose(torch.func.jacfwd(function)(THETA), expected, atol=1e-8)


def test_a_ridge_makes_singular_systems_solvable_and_is_differentiated() -> None:
    function = implicit_root(lambda x, theta: 0 * x, lambda theta: theta.clone())
    theta = THETA.clone().requires_grad_()
    with pytest.raises(InputError, match="singular"):
        function(theta).sum().backward()
    ridged = implicit_root(lambda x, theta: x**2 - theta, torch.sqrt, ridge=0.5)
    (found,) = torch.autograd.grad(ridged(theta).sum(), theta, create_graph=True)
    assert torch.allclose(found, 1 / (2 * theta.sqrt() + 0.5))
    (second,) = torch.autograd.grad(found.sum(), theta)
    root = theta.detach().sqrt()  # d/dtheta of 1 / (2 x(theta) + r), where x' is itself ridged
    assert torch.allclose(second, -2 / (2 * root + 0.5) ** 2 / (2 * root + 0.5))


def test_a_bad_linear_solve_warns() -> None:
    theta = THETA.clone().requires_grad_()
    x = implicit_root(ridge_gradient, descent, solve="cg", maxiter=1)(theta)
    with pytest.warns(HardgradWarning, match="relative residual"):
        x.sum().backward()


def test_memory_does_not_depend_on_the_steps_of_the_solver() -> None:
    def saved_bytes(steps: int) -> int:
        saved: weakref.WeakSet[Any] = weakref.WeakSet()

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                self.tensor = tensor.detach()  # the tensor itself would keep its own graph alive
                saved.add(self)

        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda s: s.tensor):
            x = solve(THETA.clone().requires_grad_(), steps=steps)
        assert x.requires_grad
        return sum(s.tensor.nbytes for s in saved)

    assert saved_bytes(10) == saved_bytes(1000) == 2 * THETA.nbytes


def test_nothing_is_kept_alive_after_the_backward_pass() -> None:
    theta = THETA.clone().requires_grad_()
    x = solve(theta)
    reference = weakref.ref(theta)
    x.sum().backward()
    del x, theta
    gc.collect()
    assert reference() is None


def test_captured_tensors_are_refused() -> None:
    weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
    with pytest.raises(InputError, match=r"shape \(4,\) that a derivative is asked for"):
        implicit_root(lambda x, theta: x - weight * theta, lambda theta: weight.detach() * theta)(THETA)
    layer = nn.Linear(4, 4, dtype=torch.float64)
    with pytest.raises(InputError, match="functional_call"):
        implicit_fixed_point(
            lambda x, module, theta: module(x) * 0 + theta, lambda module, theta: theta.clone()
        )(layer, THETA)
    layer.requires_grad_(False)
    implicit_fixed_point(lambda x, theta: layer(x) * 0 + theta, torch.clone)(THETA)

    def captured(c: Tensor, theta: Tensor) -> Tensor:
        return implicit_root(lambda x, theta: x - c * theta, lambda theta: c.detach() * theta)(theta).sum()

    for transform in (torch.func.grad, torch.func.jacfwd):
        with pytest.raises(InputError, match="not among its arguments"):
            transform(lambda c: captured(c, THETA))(THETA)
        with pytest.raises(InputError, match="not among its arguments"):
            transform(lambda c: captured(c, c + THETA))(THETA)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="one equation for each unknown"):
        implicit_root(lambda x, theta: x[:2], descent)(THETA)
    with pytest.raises(InputError, match="in place"):
        implicit_root(lambda x, theta: x - theta, lambda theta: theta.mul_(1.0))(THETA.clone())
    with pytest.raises(InputError, match="NaN"):
        implicit_root(lambda x, theta: x - theta, lambda theta: theta * float("nan"))(THETA)
    with pytest.raises(InputTypeError, match="torch.int64"):
        implicit_root(lambda x, theta: x - theta, lambda theta: theta.long())(THETA)
    with pytest.raises(InputTypeError, match=r"\(x, aux\)"):
        implicit_root(lambda x, theta: x - theta, lambda theta: theta, has_aux=True)(THETA)
    with pytest.raises(InputTypeError, match="starting point"):
        implicit_root(lambda x, theta: x - theta, lambda x, theta: theta, has_init=True)()
    with pytest.raises(InputTypeError, match="two functions"):
        implicit_root(THETA, descent)  # type: ignore[call-overload]
    with pytest.raises(ParameterError, match="batch_dims"):
        implicit_root(ridge_gradient, descent, batch_dims=-1)
    x = solve(THETA.clone().requires_grad_())
    with pytest.raises(InputError, match="incoming gradient"):
        x.backward(torch.full((4,), float("inf"), dtype=torch.float64))


def test_float32_and_no_gradient_at_all() -> None:
    theta = torch.tensor([4.0], requires_grad=True)
    function = implicit_root(lambda x, theta: x**2 - theta, torch.sqrt, solve="cg")
    function(theta).backward()
    assert theta.grad.dtype == torch.float32 and torch.isclose(theta.grad, torch.tensor([0.25]))
    with torch.no_grad():
        assert not function(theta).requires_grad
    assert not function(theta.detach()).requires_grad


@pytest.mark.slow
def test_compiled_code_calls_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dynamo's own, about what it leaves to Python
        compiled = torch.compile(lambda t: solve(2 * t).sum(), backend="eager")
        theta = THETA.clone().requires_grad_()
        (found,) = torch.autograd.grad(compiled(theta), theta)
    (expected,) = torch.autograd.grad(ridge_solution(2 * theta).sum(), theta)
    assert torch.allclose(found, expected, atol=1e-8)
