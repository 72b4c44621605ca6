"""Schedules: ends, middles, bad shapes."""

import math

import pytest

from hardgrad import Schedule
from hardgrad.core.errors import ParameterError


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [
        (Schedule.constant(3.0), 3.0),
        (Schedule.linear(1.0, 0.0), 0.5),
        (Schedule.exponential(4.0, 1.0), 2.0),
        (Schedule.cosine(1.0, 0.0), 0.5),
        (Schedule.by(lambda p: p * p), 0.25),
    ],
)
def test_middle_and_clipping(schedule, middle):
    assert math.isclose(schedule(0.5), middle)
    assert schedule(-1.0) == schedule(0.0)
    assert schedule(2.0) == schedule(1.0)


def test_last_step_reaches_the_end():
    schedule = Schedule.exponential(0.4, 0.15)
    assert schedule.at(step=0, steps=600) == 0.4
    assert math.isclose(schedule.at(step=599, steps=600), 0.15)
    assert schedule.at(step=0, steps=1) == schedule(1.0)


@pytest.mark.parametrize("make", [lambda: Schedule("steps"), lambda: Schedule.exponential(1.0, 0.0),
                                  lambda: Schedule.linear(math.nan, 1.0), lambda: Schedule("callback")])  # fmt: skip
def test_bad_schedules(make):
    with pytest.raises(ParameterError):
        make()
