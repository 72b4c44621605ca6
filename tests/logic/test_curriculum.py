"""The curriculum: its balls, its state, the bits of a training that was interrupted, and that it learns."""

import numpy as np
import pytest
import torch
from torch import nn

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import (
    CurriculumSampler,
    DegreeCurriculum,
    Parity,
    cube,
    train_on_cube,
    truth_table,
)
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen


def network(n, seed=0, width=32):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, 1))


def bits(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


def test_balls_are_around_all_plus_one():
    X = cube(6)
    balls = DegreeCurriculum(step=2).balls(X)
    assert [ball.radius for ball in balls] == [2, 4, 6]
    assert [len(ball.rows) for ball in balls] == [1 + 6 + 15, 1 + 6 + 15 + 20 + 15, 64]
    for ball in balls:
        assert (np.count_nonzero(X[ball.rows] == -1, axis=1) <= ball.radius).all()
    assert [ball.radius for ball in DegreeCurriculum(step=4).balls(X)] == [4, 6]
    assert [ball.radius for ball in DegreeCurriculum(step=9).balls(X)] == [6]


def test_a_ball_without_new_points_is_passed_over():
    X = -np.ones((1, 6))
    X = np.vstack([X, [1, 1, 1, 1, 1, -1]])
    assert [(b.radius, b.rows.tolist()) for b in DegreeCurriculum(step=2).balls(X)] == [(2, [1]), (6, [0, 1])]
    assert [b.radius for b in DegreeCurriculum(step=2).balls(X[:1])] == [6]


def test_a_pass_shows_every_point_at_most_once_and_follows_from_step_and_state():
    sampler = CurriculumSampler(DegreeCurriculum(step=8), cube(8), batch_size=60, seed=3)
    passes = [np.concatenate([sampler.batch(step) for step in range(k, k + 4)]) for k in (0, 4)]
    assert all(len(set(rows)) == 240 for rows in passes)
    assert not np.array_equal(*passes)
    np.testing.assert_array_equal(sampler.batch(5), sampler.batch(5))
    whole = CurriculumSampler(DegreeCurriculum(step=8), cube(8), batch_size=None)
    assert len(whole.batch(0)) == 256


def test_a_ball_is_learned_when_the_average_of_enough_batches_is_small():
    sampler = CurriculumSampler(DegreeCurriculum(1, threshold=0.1, smoothing=0.5), cube(2), seed=0)
    assert not sampler.observe(0, 0.0)  # one lucky batch is not enough
    assert not sampler.observe(1, 1.0)  # average 0.5
    assert not sampler.observe(2, 0.0)  # 0.25
    assert not sampler.observe(3, 0.0)  # 0.125
    assert sampler.observe(4, 0.0) and sampler.stage == 1
    assert sampler.history.tolist() == [[5, 0.0625], [0, 0]]
    assert not sampler.observe(5, 0.0) and sampler.learned_after is None
    assert sampler.observe(6, 0.0) and sampler.learned_after == 7


def test_a_parity_is_learned_through_the_balls():
    X, y = cube(5), truth_table(Parity(5))
    model = network(5)
    report = train_on_cube(model, X, y, DegreeCurriculum(2, 0.01), max_steps=6000, learning_rate=0.01)
    assert report.verdict == "all points learned"
    assert report.radii == (2, 4, 5) and report.rows == (16, 31, 32)
    assert report.total_steps == sum(report.steps) < 6000 and max(report.losses) < 0.01
    with torch.no_grad():
        answers = model(torch.from_numpy(X).float())[:, 0].numpy()
    assert (np.sign(answers) == y).all()
    assert f"{report.total_steps:,} steps" in str(report)


def test_without_a_curriculum_all_steps_are_taken():
    X, y = cube(3), np.zeros(8)
    report = train_on_cube(network(3), X, y, max_steps=30)
    assert report.verdict == "out of steps"
    assert (report.radii, report.rows, report.steps) == ((3,), (8,), (30,))


def test_same_seed_same_bits_and_progress():
    X, y = Parity(5).sample(200)
    models, events = [network(5), network(5), network(5)], []
    with listen(events.append):
        train_on_cube(models[0], X, y, max_steps=40, batch_size=16, random_state=1)
    train_on_cube(models[1], X, y, max_steps=40, batch_size=16, random_state=1)
    train_on_cube(models[2], X, y, max_steps=40, batch_size=16, random_state=2)
    np.testing.assert_array_equal(bits(models[0]), bits(models[1]))
    assert not np.array_equal(bits(models[0]), bits(models[2]))
    assert events[-1].fraction == 1.0 and events[-1].soft is not None


def test_interrupted_training_goes_on_to_the_same_bits(tmp_path):
    X, y = Parity(6).sample(300)
    settings = {"max_steps": 1000, "batch_size": 32, "learning_rate": 5e-3}
    curriculum = DegreeCurriculum(3, 0.05)
    whole = network(6)
    expected = train_on_cube(whole, X, y, curriculum, **settings)
    assert len(expected.radii) == 2 and expected.verdict == "all points learned"

    def interrupt(event):
        if event.fraction >= 0.8 * expected.total_steps / 1000:
            raise KeyboardInterrupt

    with checkpointing(tmp_path):
        with listen(interrupt), pytest.raises(KeyboardInterrupt):
            train_on_cube(network(6), X, y, curriculum, **settings)
        resumed, again = network(6), network(6)
        assert train_on_cube(resumed, X, y, curriculum, **settings) == expected
        # What is finished is read back, and not trained a step further.
        assert train_on_cube(again, X, y, curriculum, **settings) == expected
    np.testing.assert_array_equal(bits(resumed), bits(whole))
    np.testing.assert_array_equal(bits(again), bits(whole))


def test_the_type_of_the_parameters_is_that_of_the_points():
    model = network(3).double()
    train_on_cube(model, cube(3), truth_table(Parity(3)), max_steps=3, optimizer=torch.optim.SGD)
    assert bits(model).dtype == np.float64


@pytest.mark.parametrize(
    "settings", [{"max_steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ParameterError):
        train_on_cube(network(2), cube(2), np.ones(4), **settings)


@pytest.mark.parametrize(
    "settings", [{"step": 0}, {"threshold": -1.0}, {"threshold": float("nan")}, {"smoothing": 1.0}]
)
def test_a_curriculum_out_of_range_is_refused(settings):
    with pytest.raises(ParameterError, match=next(iter(settings))):
        DegreeCurriculum(**settings)


def test_points_that_are_none_are_refused():
    with pytest.raises(DataError):
        train_on_cube(network(2), np.zeros((4, 2)), np.ones(4))


def test_the_report_draws_its_steps():
    pytest.importorskip("matplotlib").use("agg")
    axis = train_on_cube(network(2), cube(2), np.ones(4), max_steps=3).plot()
    assert [bar.get_height() for bar in axis.patches] == [3]
