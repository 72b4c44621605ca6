"""The contract of every registered operation and of each of its ways to relax: limits, gradients, transforms, dtypes, edges, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operation_inputs import cases, crisp, has_lists, has_truths, make
from torch import Tensor

import hardgrad
from hardgrad.core import registry
from hardgrad.core.errors import (
    InputError,
    InputTypeError,
    ModeError,
    ParameterError,
    TemperatureError,
    UnsupportedError,
)
from hardgrad.functional.results import Selection

CASES = list(cases())
EACH = pytest.mark.parametrize(("name", "method"), CASES)
RELAXED = [name for name in registry.operations if registry.operations[name].methods]
EACH_OPERATION = pytest.mark.parametrize("name", RELAXED)
SMOOTH = 0.7  # a temperature at which the curves bend where the examples lie


def call(name: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], **how: Any) -> Any:
    spec = registry.operations[name]
    option = {spec.option: method} if spec.option else {}
    if method in spec.methods and spec.methods[method].limit is None:
        how.pop("temperature", None)  # it has none
    return spec.function(*args, **kwargs, **option, **how)


def main_tensor(result: Any) -> Tensor:
    """What is compared: the values of a selection, the first field of a tuple, or the tensor itself."""
    if isinstance(result, Selection):
        return result.values
    return result[0] if isinstance(result, tuple) else result


def hard_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return main_tensor(registry.operations[name].hard(*args, **kwargs))


def floating(args: tuple[Any, ...]) -> list[int]:
    return [k for k, arg in enumerate(args) if isinstance(arg, Tensor) and arg.is_floating_point()]


def of_tensors(name: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], **how: Any) -> Any:
    """The operation as a function of its floating tensors alone."""
    places = floating(args)

    def function(*tensors: Tensor) -> Tensor:
        full = list(args)
        for place, tensor in zip(places, tensors, strict=True):
            full[place] = tensor
        return main_tensor(call(name, method, tuple(full), kwargs, **how))

    return function, [args[k] for k in places]


@EACH
def test_soft_becomes_exact_as_the_temperature_falls(name: str, method: str) -> None:
    way = registry.operations[name].methods[method]
    for seed in range(3):
        args, kwargs = make(registry.operations[name], seed=seed)
        if way.limit is None:
            args = crisp(args)
        exact = hard_of(name, args, kwargs).double()
        cold = main_tensor(call(name, method, args, kwargs, temperature=way.limit))
        assert torch.allclose(cold, exact, atol=2e-3, rtol=1e-3)


@EACH
def test_hard_is_what_torch_returns_and_straight_through_has_its_bits(name: str, method: str) -> None:
    args, kwargs = make(registry.operations[name], dtype=torch.float32)
    exact = hard_of(name, args, kwargs)
    hard = main_tensor(call(name, method, args, kwargs, mode="hard"))
    assert hard.dtype == exact.dtype and torch.equal(hard, exact)
    with hardgrad.mode("hard"):
        assert torch.equal(main_tensor(call(name, method, args, kwargs)), exact)
    through = main_tensor(call(name, method, args, kwargs, mode="st"))
    assert through.dtype == torch.float32 and torch.equal(through, exact.float())


@EACH
def test_gradients_are_those_of_finite_differences(name: str, method: str) -> None:
    way = registry.operations[name].methods[method]
    args, kwargs = make(registry.operations[name], batch=())
    function, tensors = of_tensors(name, method, args, kwargs, temperature=SMOOTH)
    leaves = [t.clone().requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(function, leaves, atol=1e-5, rtol=1e-3)
    if way.smooth:
        assert torch.autograd.gradgradcheck(function, leaves, atol=1e-4, rtol=1e-3)


@EACH
def test_straight_through_has_the_relaxed_gradient(name: str, method: str) -> None:
    args, kwargs = make(registry.operations[name])
    gradients = []
    for mode in ("soft", "st"):
        function, tensors = of_tensors(name, method, args, kwargs, temperature=SMOOTH, mode=mode)
        leaves = [t.clone().requires_grad_() for t in tensors]
        out = function(*leaves)
        gradients.append(
            torch.autograd.grad(out, leaves, torch.linspace(1, 2, out.numel()).reshape(out.shape).to(out))
        )
    for soft, through in zip(*gradients, strict=True):
        assert torch.allclose(soft, through)


@EACH
def test_the_temperature_has_a_gradient(name: str, method: str) -> None:
    if registry.operations[name].methods[method].limit is None:
        return
    args, kwargs = make(registry.operations[name], batch=())
    level = torch.tensor(SMOOTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda t: main_tensor(call(name, method, args, kwargs, temperature=t)), [level], atol=1e-5, rtol=1e-3
    )


@EACH
def test_transforms(name: str, method: str) -> None:
    args, kwargs = make(registry.operations[name], batch=(3,))
    function, tensors = of_tensors(name, method, args, kwargs, temperature=SMOOTH)
    if all(t.shape[:1] == (3,) for t in tensors) and len(tensors) == sum(isinstance(a, Tensor) for a in args):
        assert torch.allclose(torch.func.vmap(function)(*tensors), function(*tensors))
    args, kwargs = make(registry.operations[name], batch=())
    function, tensors = of_tensors(name, method, args, kwargs, temperature=SMOOTH)
    backward = torch.func.jacrev(function)(*tensors)
    forward = torch.func.jacfwd(function)(*tensors)
    assert torch.allclose(backward, forward)


@EACH
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's own, while it traces
def test_compiles_without_graph_breaks(name: str, method: str) -> None:
    spec = registry.operations[name]
    if spec.option == "kind" and method not in list(spec.methods)[:1]:
        return  # kinds differ in one elementary function
    args, kwargs = make(spec)
    torch.compiler.reset()
    for mode in ("soft", "st", "hard"):
        function, tensors = of_tensors(name, method, args, kwargs, temperature=SMOOTH, mode=mode)
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(*tensors).double(), function(*tensors).double())


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_are_kept(name: str, method: str, dtype: torch.dtype) -> None:
    args, kwargs = make(registry.operations[name], dtype=dtype)
    full = tuple(a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    out = main_tensor(call(name, method, args, kwargs, temperature=SMOOTH))
    exact = main_tensor(call(name, method, full, kwargs, temperature=SMOOTH))
    assert out.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps * max(1.0, float(exact.abs().max()))
    assert (out.double() - exact).abs().max() <= max(tolerance, 1e-5)


@EACH
def test_any_strides_and_batch_dimensions(name: str, method: str) -> None:
    args, kwargs = make(registry.operations[name], batch=(3, 2))
    strided = tuple(a.mT.contiguous().mT if isinstance(a, Tensor) and a.dim() > 1 else a for a in args)
    plain = main_tensor(call(name, method, args, kwargs, temperature=SMOOTH))
    assert torch.allclose(main_tensor(call(name, method, strided, kwargs, temperature=SMOOTH)), plain)
    if has_lists(registry.operations[name]):
        rows = torch.stack([
            torch.stack([main_tensor(call(name, method, (args[0][i, j],), kwargs, temperature=SMOOTH)) for j in range(2)])
            for i in range(3)
        ])  # fmt: skip
        assert torch.allclose(rows, plain)
        if rows.shape == args[0].shape:
            first = call(name, method, (args[0].movedim(-1, 0),), kwargs | {"dim": 0}, temperature=SMOOTH)
            assert torch.allclose(main_tensor(first).movedim(0, -1), plain)


@EACH
@pytest.mark.parametrize("n", [0, 1])
def test_no_element_and_one(name: str, method: str, n: int) -> None:
    spec = registry.operations[name]
    if callable(spec.inputs):
        return  # these say themselves what their sizes are
    args, kwargs = make(spec, n=n)
    if spec.methods[method].limit is None:
        args = crisp(args)
    try:
        exact = hard_of(name, args, kwargs)
    except (IndexError, RuntimeError, ValueError):
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            call(name, method, args, kwargs)
        return
    out = main_tensor(call(name, method, args, kwargs, temperature=1e-4))
    assert out.shape == exact.shape
    both_nan = torch.isnan(out) & torch.isnan(exact.double())
    assert torch.allclose(out[~both_nan], exact.double()[~both_nan], atol=1e-3)


@EACH
def test_laws(name: str, method: str) -> None:
    laws = registry.operations[name].methods[method].laws
    args, kwargs = make(registry.operations[name])
    places = floating(args)
    known = {
        "shift-equivariant": (1.0, 3.25, lambda out: out + 3.25),
        "shift-invariant": (1.0, 3.25, lambda out: out),
        "scale-equivariant": (4.0, 0.0, lambda out: out * 4.0),
        "scale-invariant": (4.0, 0.0, lambda out: out),
    }
    assert laws <= {*known, "symmetric"}, f"unknown laws {laws - {*known, 'symmetric'}}"
    plain = main_tensor(call(name, method, args, kwargs, temperature=SMOOTH))
    for law in laws - {"symmetric"}:
        scale, shift, expected = known[law]
        moved = tuple(scale * a + shift if k in places else a for k, a in enumerate(args))
        out = main_tensor(call(name, method, moved, kwargs, temperature=scale * SMOOTH))
        assert torch.allclose(out, expected(plain)), law


@EACH
def test_weights_mix_the_elements_and_ties_share_alike(name: str, method: str) -> None:
    way = registry.operations[name].methods[method]
    args, kwargs = make(registry.operations[name])
    result = call(name, method, args, kwargs, temperature=SMOOTH)
    if not isinstance(result, Selection):
        assert not way.weights
        return
    assert result.indices.dtype == torch.int64
    values, indices = result
    assert len(result) == 2 and result[0] is values and torch.equal(result[1], indices)
    if not way.weights:
        with pytest.raises(NotImplementedError, match="method"):
            _ = result.weights
        return
    weights = result.weights
    assert torch.allclose(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    exact = call(name, method, args, kwargs, mode="hard")
    assert torch.equal(exact.weights.argmax(-1).flatten(), exact.indices.flatten())
    through = call(name, method, args, kwargs, mode="st", temperature=SMOOTH)
    assert torch.equal(through.weights, exact.weights)
    if "symmetric" in way.laws:
        tied = args[0].clone()
        tied[..., 3] = tied[..., 0]
        shares = call(name, method, (tied, *args[1:]), kwargs, temperature=SMOOTH).weights
        assert torch.allclose(shares[..., 3], shares[..., 0])


@EACH
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_never_pass_silently(name: str, method: str, bad: float) -> None:
    args, kwargs = make(registry.operations[name])
    places = floating(args)
    spoilt = list(args)
    spoilt[places[0]] = args[places[0]].clone()
    spoilt[places[0]][(0,) * args[places[0]].dim()] = bad
    with pytest.raises(InputError, match=name):
        call(name, method, tuple(spoilt), kwargs)
    if bad != bad:
        with pytest.raises(InputError, match=name):
            call(name, method, tuple(spoilt), kwargs, mode="st")


@EACH_OPERATION
def test_bad_arguments_say_what_is_expected(name: str) -> None:
    spec = registry.operations[name]
    method = next(iter(spec.methods))
    args, kwargs = make(spec)
    nan, infinity = float("nan"), float("inf")
    bad_levels = (0.0, -1.0, nan, infinity, "warm", True, torch.tensor(0.0), torch.tensor(nan))
    for bad in bad_levels if spec.methods[method].limit is not None else ():
        with pytest.raises(TemperatureError, match=rf"{name}\(\) got temperature"):
            call(name, method, args, kwargs, temperature=bad)
    with pytest.raises(ModeError):
        call(name, method, args, kwargs, mode="softly")
    if spec.option:
        with pytest.raises(
            ParameterError, match=rf"{name}\(\) got {spec.option}='nonsense'; expected one of"
        ):
            call(name, "nonsense", args, kwargs)
    first = floating(args)[0]
    for dtype in (torch.complex64,) if has_truths(spec) else (torch.bool, torch.complex64):
        wrong = tuple(a.to(dtype) if k == first else a for k, a in enumerate(args))
        if dtype == torch.bool and not refuses(name, method, wrong, kwargs):
            # What takes degrees of truth may take Booleans, as degrees 0 and 1.
            degrees = tuple(a.double() if k == first else a for k, a in enumerate(wrong))
            taken, expected = (call(name, method, a, kwargs) for a in (wrong, degrees))
            assert torch.allclose(main_tensor(taken).double(), main_tensor(expected).double())
            continue
        with pytest.raises(InputTypeError, match=rf"{name}\(\) got a tensor of"):
            call(name, method, wrong, kwargs)


def refuses(name: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        call(name, method, args, kwargs)
    except InputTypeError:
        return True
    return False


@EACH_OPERATION
def test_whole_numbers_become_floating_where_they_must(name: str) -> None:
    spec = registry.operations[name]
    if callable(spec.inputs) or has_truths(spec):
        return
    args, kwargs = make(spec)
    whole = tuple((4 * a).round().long() for a in args)
    method = next(iter(spec.methods))
    assert main_tensor(call(name, method, whole, kwargs)).dtype == torch.get_default_dtype()
    exact = hard_of(name, whole, kwargs)
    kept = main_tensor(call(name, method, whole, kwargs, mode="hard"))
    assert kept.dtype == exact.dtype and torch.equal(kept, exact)


@EACH_OPERATION
def test_truths_may_be_boolean_and_nothing_outside_0_and_1(name: str) -> None:
    spec = registry.operations[name]
    if not has_truths(spec):
        return
    args, kwargs = make(spec)
    method = next(iter(spec.methods))
    booleans = tuple(a > 0.5 for a in args)
    crisp_result = main_tensor(call(name, method, crisp(args), kwargs))
    soft = main_tensor(call(name, method, booleans, kwargs))
    assert soft.dtype == torch.get_default_dtype() and torch.equal(soft.double(), crisp_result)
    for mode in ("soft", "st", "hard"):
        with pytest.raises(InputError, match=rf"{name}\(\) got values outside"):
            call(name, method, tuple(a + 0.5 for a in args), kwargs, mode=mode)


@pytest.mark.parametrize("name", [name for name in registry.operations if name not in RELAXED])
def test_what_has_no_relaxed_form_says_so(name: str) -> None:
    args, kwargs = make(registry.operations[name])
    assert torch.equal(call(name, "", args, kwargs, mode="hard"), hard_of(name, args, kwargs))
    for mode in ("soft", "st"):
        with pytest.raises(UnsupportedError, match=rf"{name}\(\) .* Use "):
            call(name, "", args, kwargs, mode=mode)


@pytest.mark.parametrize("name", list(registry.operations))
def test_documented(name: str) -> None:
    spec = registry.operations[name]
    text = spec.function.__doc__ or ""
    assert spec.name == name and spec.summary
    assert "Parameters" in text and ">>>" in text
    assert registry.operations[name] is spec
