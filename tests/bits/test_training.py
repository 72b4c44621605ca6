"""Training of binary networks: the losses, the schedule of ReSTE, repeatable draws, the best hard state, resuming, the estimator."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

import hardgrad
from hardgrad.bits import (
    BinaryMLPClassifier,
    BinaryNetwork,
    PackedClassifier,
    Recipe,
    fit_network,
    network_equilibrium,
    reste_exponent,
)
from hardgrad.bits.training import losses
from hardgrad.core.errors import DataError, InputError, ParameterError
from hardgrad.core.schedule import Schedule
from hardgrad.functional import binary_surrogate
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen

X = torch.randn(240, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] * X[:, 1] > 0).long().numpy()


def network(seed: int = 0, **options: object) -> BinaryNetwork:
    return BinaryNetwork.mlp((5, 16, 2), generator=torch.Generator().manual_seed(seed), **options)


def state(model: BinaryNetwork) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def test_losses() -> None:
    scores, y = torch.tensor([[2.0, -0.5, 0.0]]), torch.tensor([0])
    assert losses(scores, y, "squared_hinge").item() == pytest.approx((0.0 + 0.25 + 1.0) / 3)
    assert losses(scores, y, "log_loss").item() == pytest.approx(-torch.log_softmax(scores, 1)[0, 0].item())


def test_the_exponent_rises_from_the_identity_along_a_quarter_of_a_cosine() -> None:
    found = [reste_exponent(3.0)(p) for p in (0.0, 1 / 3, 1.0)]
    assert found == pytest.approx([1.0, 1.0 + 2.0 * (1.0 - np.cos(np.pi / 6)), 3.0])
    with pytest.raises(ParameterError, match="got end=0.5"):
        reste_exponent(0.5)


@pytest.mark.parametrize(
    "options", [{}, {"sampling": "stochastic", "lr_scale": "glorot"}, {"activation_surrogate": "bireal"}]
)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(options: dict[str, object]) -> None:
    found = []
    for seed in (0, 0, 1):
        model = network(**options)
        torch.manual_seed(len(found))  # what torch draws elsewhere does not matter
        fit_network(model, X, Y, Recipe(epochs=2), random_state=seed)
        found.append(state(model))
        assert all(layer.generator is None for layer in model.modules() if hasattr(layer, "generator"))
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_latent_weights_stay_in_their_range() -> None:
    model = network()
    fit_network(model, X, Y, Recipe(epochs=2, learning_rate=Schedule.constant(0.5)))
    assert model.layers[0].weight.abs().max() == 1.0


def test_the_state_with_the_best_hard_accuracy_is_kept() -> None:
    model = network()
    seen = []
    with listen(seen.append):
        accuracies = fit_network(
            model, X[:160], Y[:160], Recipe(epochs=8, learning_rate=Schedule.constant(0.05)), validation=(X[160:], Y[160:])
        )  # fmt: skip
    packed = model.harden()
    assert (packed.scores(X[160:].numpy()).argmax(1) == Y[160:]).mean() == pytest.approx(max(accuracies))
    assert len(accuracies) == 8 and seen[-1].fraction == 1.0 and seen[-1].hard is not None


def test_reste_takes_over_the_surrogates_of_signs() -> None:
    model = network(activation_surrogate="clipped")
    fit_network(model, X, Y, Recipe(epochs=1, exponent=reste_exponent(2.0)))
    assert model.layers[0].weight_surrogate.options["o"] == pytest.approx(2.0)
    assert model.layers[0].activation_surrogate is None
    assert model.layers[2].activation_surrogate.name == "reste"


def test_a_weight_of_zero_leaves_the_labels_of_a_row_without_effect() -> None:
    weight, flipped = np.ones(240), Y.copy()
    weight[:200] = 0.0
    flipped[:200] = 1 - Y[:200]
    states = []
    for labels in (Y, flipped):
        model = network()
        fit_network(model, X, labels, Recipe(epochs=3), sample_weight=weight)
        states.append(state(model))
    assert same(*states)


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    recipe = Recipe(epochs=40, batch_size=48)
    whole = network(sampling="stochastic", lr_scale="glorot")
    accuracies = fit_network(whole, X, Y, recipe, validation=(X, Y))

    def interrupt(event: object) -> None:
        if event.fraction > 0.7:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    half = network(sampling="stochastic", lr_scale="glorot")
    with contextlib.suppress(KeyboardInterrupt), checkpointing(tmp_path), listen(interrupt):
        fit_network(half, X, Y, recipe, validation=(X, Y))
    again = network(sampling="stochastic", lr_scale="glorot")
    with checkpointing(tmp_path):
        assert fit_network(again, X, Y, recipe, validation=(X, Y)) == pytest.approx(accuracies)
    assert same(state(again), state(whole)) and not same(state(half), state(whole))


def test_equilibrium_of_a_network() -> None:
    model = network(activation_surrogate="clipped")
    before = state(model)
    known = {f"o={o}": binary_surrogate("reste", o=o) for o in (1.0, 2.0, 4.0)}
    report = network_equilibrium(model, X, Y, known)
    errors = [point.error for point in report.points]
    assert errors == sorted(errors, reverse=True) and all(point.instability > 0 for point in report.points)
    assert same(state(model), before) and model.layers[0].weight_surrogate == "clipped"
    with pytest.raises(ParameterError, match="binary layers"):
        network_equilibrium(torch.nn.Linear(5, 2), X, Y, known)


def test_bad_arguments_say_what_is_expected() -> None:
    for change, message in (
        ({"epochs": 0}, "epochs=0"), ({"batch_size": 1.5}, "batch_size=1.5"), ({"loss": "hinge"}, "loss='hinge'"),
        ({"optimizer": "lion"}, "optimizer='lion'"), ({"weight_decay": -1.0}, "weight_decay=-1.0"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=message):
            Recipe(**change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="got 1 rows"):
        fit_network(network(), X[:1], Y[:1])


# --- the estimator -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "sign", "surrogate": "reste", "scale": "mean"},
        {"sampling": "stochastic", "loss": "squared_hinge"},
    ],
)
def test_the_packed_model_is_small_exact_and_good(options: dict[str, object], tmp_path: Path) -> None:
    rows, labels = load_iris(return_X_y=True)
    model = BinaryMLPClassifier((64, 64), max_iter=100, batch_size=16, random_state=0, **options).fit(
        rows, labels
    )
    assert model.score(rows, labels) > 0.9 and model.gap_.hard > 0.8
    packed = hardgrad.load(model.harden().save(tmp_path / "model.safetensors"))
    assert isinstance(packed, PackedClassifier)
    for engine in ("auto", "numba", "numpy"):
        assert np.array_equal(packed.runtime(engine).predict_raw(rows), packed.predict_raw(rows))
    assert np.array_equal(packed.runtime().predict_proba(rows), model.predict_proba(rows))
    assert np.array_equal(packed.runtime().predict(rows), model.predict(rows))
    assert ((4 * 64 + 64 * 64 + 64 * 3), "one-bit weight") in packed.sizes()
    with pytest.raises(ParameterError, match="got engine='gpu'"):
        packed.runtime("gpu")


def test_missing_values_are_refused_by_the_artifact_too() -> None:
    rows, labels = load_iris(return_X_y=True)
    packed = BinaryMLPClassifier((4,), max_iter=2, random_state=0).fit(rows, labels).harden()
    with pytest.raises(DataError, match="column 'x1' has nan in row 0"):
        packed.predict(np.array([[5.0, np.nan, 1.0, 0.2]]))


def test_one_row_is_not_enough() -> None:
    with pytest.raises(DataError, match="at least 2"):
        BinaryMLPClassifier((4,)).fit([[0.0], [1.0]], [0, 1], sample_weight=[1.0, 0.0])
