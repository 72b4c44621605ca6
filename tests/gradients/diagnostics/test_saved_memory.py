"""saved_for_backward: storages counted once, parameters left out, modules named, verdicts, the forms of a report."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import nn

from hardgrad.core.errors import InputTypeError
from hardgrad.gradients.diagnostics import SavedTensorVerdict, saved_for_backward

X = torch.rand(4, 6, requires_grad=True)


def test_a_view_counts_once_with_its_base() -> None:
    report = saved_for_backward(lambda: [part.sin() for part in (X * 1).view(2, 12).split(6, dim=1)])
    assert (report.total_bytes, report.storages) == (X.numel() * 4, 1)


def test_what_the_graph_has_dropped_is_not_counted() -> None:
    def fn() -> torch.Tensor:
        X.sin().sum().backward()  # this graph is gone when fn returns
        return X.cos()

    assert saved_for_backward(fn).total_bytes == X.numel() * 4


def test_parameters_and_excluded_tensors_are_left_out() -> None:
    layer, weight = nn.Linear(6, 3), torch.rand(6, 6)
    assert saved_for_backward(lambda: layer.requires_grad_(False)(X)).total_bytes == 0
    assert saved_for_backward(lambda: X @ weight).total_bytes == weight.numel() * 4
    assert saved_for_backward(lambda: X @ weight, exclude=[weight]).total_bytes == 0


def test_modules_are_named_and_verdicts_given() -> None:
    net = nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.Sequential(nn.ReLU(), nn.GELU())).requires_grad_(
        False
    )
    x = torch.rand(1, 2, 32, requires_grad=True)
    report = saved_for_backward(lambda: net(x))
    assert report.by_module == {"Sequential.0 (Conv1d)": 256, "Sequential.1.0 (ReLU)": 256}
    # The ReLU's output is also the GELU's input, which is needed; the convolution's is not.
    assert (report.total_bytes, report.avoidable_bytes) == (512, 256)
    assert report.verdict is SavedTensorVerdict.AVOIDABLE
    assert saved_for_backward(lambda: nn.GELU()(x)).verdict is SavedTensorVerdict.NEEDED
    assert saved_for_backward(lambda: x.detach() * 2).verdict is SavedTensorVerdict.NOTHING


def test_forms_of_the_report() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    report = saved_for_backward(lambda: nn.Tanh()(X))
    assert json.loads(report.to_json())["by_shape"] == {"(4, 6) float32": 96}
    assert "total bytes" in report._repr_html_() and "96" in str(report)
    ax = report.plot()
    assert report.plot(ax=ax) is ax and ax.get_xlabel() == "MiB kept for backward"
    matplotlib.pyplot.close("all")
    with pytest.raises(FrozenInstanceError):
        report.total_bytes = 0  # type: ignore[misc]


def test_not_a_function() -> None:
    with pytest.raises(InputTypeError, match="lambda: model"):
        saved_for_backward(torch.ones(2))  # type: ignore[arg-type]
    # The hooks are gone, also after an error.
    with pytest.raises(ZeroDivisionError):
        saved_for_backward(lambda: 1 / 0)
    assert not nn.modules.module._global_forward_pre_hooks
