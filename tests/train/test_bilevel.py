"""BilevelTrainer: reaches the known optimum, resumes to the same bits, keeps hyperparameters in their box, says when it diverges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hardgrad.core.errors import InputError, ParameterError
from hardgrad.train import loop
from hardgrad.train.bilevel import BilevelResult, BilevelTrainer
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import Event, listen


def train(w: Tensor, lam: Tensor, step: int) -> Tensor:
    return (w - 1) ** 2 + 0.5 * torch.exp(lam) * w**2


def valid(w: Tensor, lam: Tensor, step: int) -> Tensor:
    return 0.5 * (w - 0.5) ** 2


def _trainer(**options: Any) -> BilevelTrainer:
    return BilevelTrainer(
        lambda p: torch.optim.Adam(p, 0.1), lambda h: torch.optim.Adam(h, 0.1), **{"inner_steps": 5, "warmup": 20, "terms": 6, **options}
    )  # fmt: skip


def tree_losses() -> tuple[Any, Any]:
    return (lambda p, h, step: train(p["w"], h[0], step)), (lambda p, h, step: valid(p["w"], h[0], step))


@pytest.mark.parametrize(
    "options", [{}, {"method": "cg", "warm_start": True}, {"method": "unrolled"}, {"step": 0.2}]
)
def test_reaches_the_optimum(options: dict[str, Any]) -> None:
    inner, outer = tree_losses()
    start = torch.tensor(0.0, dtype=torch.float64)
    result = _trainer(**options).fit(inner, outer, {"w": start}, [start], outer_steps=60)
    assert math.isclose(float(result.hparams[0]), math.log(2), abs_tol=0.1)  # w = 2 / (2 + e^lam) = 1/2
    assert math.isclose(float(result.params["w"]), 0.5, abs_tol=0.05)
    assert not result.params["w"].requires_grad and float(start) == 0.0
    assert len(result.history["validation"]) == 60


class _StopError(Exception):
    pass


def _stop_late(event: Event) -> None:
    if event.fraction > 0.7:
        raise _StopError


def test_interrupted_work_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    inner, outer = tree_losses()
    start = torch.tensor(0.0, dtype=torch.float64)

    def run() -> BilevelResult:
        trainer = _trainer(method="neumann", warm_start=True)
        return trainer.fit(inner, outer, {"w": start}, [start], outer_steps=30)

    whole = run()
    with checkpointing(tmp_path), listen(_stop_late), pytest.raises(_StopError):
        run()
    with checkpointing(tmp_path):
        again = run()
    assert torch.equal(again.params["w"], whole.params["w"]) and torch.equal(
        again.hparams[0], whole.hparams[0]
    )
    for name, values in whole.history.items():
        assert torch.equal(values.nan_to_num(), again.history[name].nan_to_num())


def test_projection_best_step_and_progress() -> None:
    inner, outer = tree_losses()
    start = torch.tensor(0.0, dtype=torch.float64)
    events: list[Event] = []
    seen: list[float] = []

    def measure(params: Any, hparams: Any) -> float:
        seen.append(float(hparams[0]))
        return abs(float(hparams[0]) - 0.3)  # best on the way

    with listen(events.append):
        result = _trainer(project=lambda h: h[0].clamp_(max=0.5)).fit(
            inner, outer, {"w": start}, [start], outer_steps=20, measure=measure
        )
    assert events[-1].fraction == 1.0 and events[-1].soft is not None
    assert max(seen) <= 0.5
    assert float(result.hparams[0]) == min(seen, key=lambda value: abs(value - 0.3))
    assert torch.isfinite(result.history["measure"]).all()


def test_the_step_follows_a_growing_hessian() -> None:
    """lambda_max grows with the decay: a step of "auto" is measured anew before the series diverges."""

    def outer(p: Any, h: Any, step: int) -> Tensor:
        return 0.5 * p["w"] ** 2  # wants an infinite decay

    inner, _ = tree_losses()
    start = torch.tensor(0.0, dtype=torch.float64)
    trainer = BilevelTrainer(
        lambda p: torch.optim.SGD(p, 1e-3), lambda h: torch.optim.SGD(h, 20.0), inner_steps=5,
        project=lambda h: h[0].clamp_(max=6.0),
    )  # fmt: skip
    result = trainer.fit(inner, outer, {"w": start + 0.5}, [start], outer_steps=30)
    steps = result.history["step"]
    assert float(steps[-1]) < float(steps[0]) / 2 and torch.isfinite(result.history["residual"]).all()


def test_what_is_refused() -> None:
    inner, outer = tree_losses()
    start = torch.tensor(0.0)
    diverging = BilevelTrainer(
        lambda p: torch.optim.SGD(p, 1e3), lambda h: torch.optim.Adam(h, 0.1), inner_steps=100
    )
    with pytest.raises(InputError, match="inner optimiser diverges"):
        diverging.fit(inner, outer, {"w": start}, [start], outer_steps=1)
    with pytest.raises(ParameterError, match="outer_steps"):
        _trainer().fit(inner, outer, {"w": start}, [start], outer_steps=0)
    with pytest.raises(ParameterError, match="inner_steps"):
        _trainer(inner_steps=0)
    with pytest.raises(ParameterError, match="warm_start"):
        _trainer(method="nystrom", warm_start=True)
