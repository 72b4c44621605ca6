"""Mode and temperature: contexts nest, threads do not leak, bad values teach."""

import contextvars

import pytest

import hardgrad
from hardgrad.core.errors import ModeError, TemperatureError
from hardgrad.core.mode import check_temperature, resolve_mode, resolve_temperature


def test_contexts_nest_and_arguments_win():
    assert resolve_mode(None) == "soft"
    with hardgrad.mode("hard"):
        assert resolve_mode(None) == "hard"
        with hardgrad.mode("st"):
            assert resolve_mode(None) == "st"
            assert resolve_mode("soft") == "soft"
        assert resolve_mode(None) == "hard"
    assert resolve_mode(None) == "soft"


def test_context_is_left_after_an_error():
    with pytest.raises(RuntimeError, match="inside"), hardgrad.mode("hard"):
        raise RuntimeError("inside")
    assert resolve_mode(None) == "soft"


def test_context_does_not_reach_other_contexts():
    with hardgrad.mode("hard"), hardgrad.temperature(0.25):
        fresh = contextvars.Context()
        assert fresh.run(resolve_mode, None) == "soft"
        assert fresh.run(resolve_temperature, None, 1.0) == 1.0
        assert resolve_temperature(None, 1.0) == 0.25
        assert resolve_temperature(2.0, 1.0) == 2.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "warm", None, [1.0, 2.0]])
def test_bad_temperatures_say_what_was_got(value):
    with pytest.raises(TemperatureError, match="temperature="):
        check_temperature(value)


def test_bad_mode_suggests_the_nearest():
    with pytest.raises(ModeError, match="Did you mean 'hard'"), hardgrad.mode("hrad"):
        pass
