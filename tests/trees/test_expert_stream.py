"""Streaming experts: steps against autograd, choices against scikit-learn, what a step may change, streams that stop and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import FunctionTransformer

import hardgrad
from hardgrad import functional as HF
from hardgrad.core.errors import ArtifactError, DataError, HardgradWarning, SchemaError
from hardgrad.train.progress import Event, listen
from hardgrad.trees import RoutedExperts, StreamingExpertClassifier
from hardgrad.trees.expert_training import Experts, StepPlan, soft_shares
from hardgrad.trees.expert_votes import cosines, nearest, vote_weights, votes
from hardgrad.trees.forest_build import forest_from_trees

RNG = np.random.default_rng(0)
X, Y = make_blobs(n_samples=200, n_features=5, centers=4, random_state=0)
X = X / X.std(axis=0)


def small(**options: Any) -> StreamingExpertClassifier:
    return StreamingExpertClassifier(12, 3, **{"key_dim": 20, "random_state": 0, **options})


# --- a step ------------------------------------------------------------------------------------------------------------------
def test_a_step_follows_the_sign_of_the_gradient_that_autograd_finds() -> None:
    z, labels, weight = RNG.normal(size=(9, 6)), RNG.integers(0, 3, 9), RNG.uniform(0.5, 2.0, 9)
    experts = Experts.draw(0, 7, z, weight, key_dim=None, trainable_keys=False)
    experts.insert_classes(["a", "b", "c", "d"], np.zeros(4, dtype=np.int64))
    before = experts.weight.copy()

    W = torch.from_numpy(before.copy()).requires_grad_()
    rows = torch.from_numpy(z)
    unit = torch.nn.functional.normalize
    c = unit(rows, dim=1) @ unit(torch.from_numpy(experts.key), dim=1).T
    s = HF.topk_weights(1.0 - c, 3, largest=False, temperature=0.05)
    s = s * (s >= 0.3)
    said = 2.0 * torch.tanh(torch.einsum("bd,mcd->bmc", rows, W) / 2.0)
    near = (c * s).clamp_min(0.0)
    y = (said * (s * near / near.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)
    chosen = y.gather(1, torch.from_numpy(labels)[:, None])[:, 0]
    (-(chosen * torch.from_numpy(weight)).sum() / weight.sum()).backward()
    assert W.grad is not None
    gradient = W.grad.numpy()

    experts.step(z, labels, weight, StepPlan(3, 2.0, 0.25, 0.125, 0.05, False))
    expected = before + 0.25 * np.where(gradient != 0, -np.sign(gradient) - 0.125 * before, 0.0)
    assert np.array_equal(experts.weight, expected)
    assert np.array_equal(experts.weight[:, 3], before[:, 3])  # a class without a row
    assert (experts.weight != before).any(axis=(1, 2)).sum() == (s > 0).any(0).sum()


def test_decay_takes_away_or_adds() -> None:
    models = [
        small(decoupled_decay=flag, weight_decay=0.5, learning_rate=0.5).fit(X, Y) for flag in (True, False)
    ]
    lengths = [np.abs(model.artifact_.weight).mean() for model in models]
    assert lengths[0] < small(weight_decay=0.0, learning_rate=0.5).fit(X, Y).artifact_.weight.__abs__().mean()
    assert lengths[0] < lengths[1]


def test_votes_are_those_of_the_formula() -> None:
    z, keys, experts = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2, 3))
    c = cosines(z, keys)
    s = soft_shares(c, 2, 0.3)
    found = votes(z, vote_weights(s, c), experts, 1.0, 250.0)
    for row in range(4):
        near = np.maximum(c[row] * s[row], 0)
        o = 250.0 * np.tanh(experts @ z[row] / 250.0)
        assert found[row] == pytest.approx((o * (s[row] * near / near.sum())[:, None]).sum(axis=0))


def test_experts_without_a_positive_cosine_count_alike() -> None:
    cosine = np.array([[-0.5, -0.1, -0.9], [0.0, 0.0, 0.0], [0.5, -0.2, -0.9]])
    weights = vote_weights(nearest(cosine, 2), cosine)
    assert weights.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    assert np.array_equal(cosines(np.zeros((1, 3)), RNG.normal(size=(2, 3))), np.zeros((1, 2)))


@pytest.mark.parametrize("temperature", [1e-3, 0.05, 50.0])
def test_at_least_k_experts_have_a_share_at_any_temperature(temperature: float) -> None:
    cosine = cosines(RNG.normal(size=(30, 10)), RNG.normal(size=(40, 10)))
    share = soft_shares(cosine, 4, temperature)
    assert ((share > 0).sum(axis=1) >= 4).all() and share.max() <= 1.0
    assert (share[nearest(cosine, 4) == 1.0] > 0).all()
    if temperature == 50.0:  # all weights are near k / M, below the mask
        assert share == pytest.approx(nearest(cosine, 4), abs=0.05)


# --- what is hard ------------------------------------------------------------------------------------------------------------
def test_the_nearest_keys_are_those_of_scikit_learn() -> None:
    model = small(encoder=FunctionTransformer(), key_dim=None).fit(X, Y).harden()
    z = model.represent(X)
    expected = (
        NearestNeighbors(n_neighbors=3, metric="cosine", algorithm="brute").fit(model.key).kneighbors(z)[1]
    )
    assert np.array_equal(model.chosen(X), expected)


def test_hard_experts_are_sign_counts() -> None:
    model = small(weight_decay=0.0).fit(X, Y)
    hard = model.harden()
    assert np.abs(hard.count * 0.01 - hard.weight).max() <= 0.005 + 1e-12
    z = hard.represent(X)
    c = cosines(z, hard.key)
    exact = votes(z, vote_weights(nearest(c, 3), c), hard.count * 0.01, 1.0, 250.0)
    assert hard.predict_raw(X) == pytest.approx(exact)
    assert np.array_equal(hard.predict(X), model.predict(X))
    gap = model.gap_
    assert (
        gap is not None
        and gap.hard == model.score(X, Y)
        and gap.to_dict() == model.measure_gap(X, Y).to_dict()
    )


def test_digits_are_learned_class_by_class() -> None:
    digits, labels = load_digits(return_X_y=True)
    train, test = np.arange(0, len(labels), 2), np.arange(1, len(labels), 2)
    model = StreamingExpertClassifier(64, 8, random_state=0)
    for label in range(10):
        rows = train[labels[train] == label]
        model.partial_fit(digits[rows], labels[rows])
    assert model.score(digits[test], labels[test]) > 0.85
    assert model.expert_usage_.shape == (64,) and 7.9 < model.expert_usage_.sum() < 20


# --- classes -----------------------------------------------------------------------------------------------------------------
def test_new_classes_grow_in_sorted_order_and_leave_all_else_as_it_was() -> None:
    words = np.array(["oak", "elm", "ash", "fir"])[Y]
    model = small()
    for name in ("oak", "ash", "elm"):
        model.partial_fit(X[words == name], words[words == name])
    assert model.classes_.tolist() == ["ash", "elm", "oak"]
    before, used = model.artifact_, model.artifact_.usage
    rows = np.flatnonzero(words == "fir")[:1]
    model.partial_fit(X[rows], words[rows])
    after = model.artifact_
    assert model.classes_.tolist() == ["ash", "elm", "fir", "oak"]
    assert np.array_equal(after.weight[:, [0, 1, 3]], before.weight)
    idle = after.usage == used
    # What was announced, and never seen, stays at its first weights.
    announced = small().partial_fit(X[:1], words[:1], classes=["fir", "elm", "ash", "oak"]).artifact_
    assert words[0] != "fir" and 0 < idle.sum() < 12
    assert np.array_equal(after.weight[idle, 2], announced.weight[idle, 2])


def test_one_class_and_then_another() -> None:
    model = small().partial_fit(X[Y == 2], Y[Y == 2])
    assert (model.predict(X) == 2).all() and model.predict_proba(X).tolist() == [[1.0]] * 200
    model.partial_fit(X[Y == 0], Y[Y == 0])
    assert model.score(X[(Y == 0) | (Y == 2)], Y[(Y == 0) | (Y == 2)]) > 0.8


@pytest.mark.parametrize("labels", [["a", "b"], [0.5, 1.5]])
def test_labels_of_another_kind_are_refused(labels: list[Any]) -> None:
    with pytest.raises(ValueError, match="(?i)label"):
        small().fit(X, Y).partial_fit(X[:2], labels)
    with pytest.raises(ValueError, match="(?i)label"):
        small().partial_fit(X, Y, classes=labels)


def test_texts_of_a_data_frame_are_texts(tmp_path: Path) -> None:
    words = np.array(["oak", "elm", "ash", "fir"])[Y]
    model = small().partial_fit(X[:100], words[:100].astype(object), classes=np.unique(words).astype(object))
    resumed = StreamingExpertClassifier.load(model.save(tmp_path / "stream.safetensors"))
    resumed.partial_fit(X[100:], words[100:].astype(object))
    assert resumed.artifact_.equals(model.partial_fit(X[100:], words[100:]).artifact_)
    with pytest.raises(DataError, match="several types"):
        small().partial_fit(X[:2], np.array([1, "oak"], dtype=object))


def test_a_row_without_weight_is_a_row_that_is_not_there() -> None:
    weight = RNG.integers(0, 2, 200).astype(np.float64)
    kept = weight > 0
    left = small().partial_fit(X, Y, sample_weight=weight, classes=[0, 1, 2, 3]).artifact_
    there = small().partial_fit(X[kept], Y[kept], classes=[0, 1, 2, 3]).artifact_
    assert left.equals(there)


# --- streams -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options", [{}, {"trainable_keys": True, "learning_rate": 0.3}, {"decoupled_decay": False}]
)
def test_a_stream_that_stopped_goes_on_to_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    whole, first = small(**options), small(**options)
    for model, end in ((whole, 200), (first, 90)):
        for begin in range(0, end, 30):
            model.partial_fit(X[begin : begin + 30], Y[begin : begin + 30])
    resumed = StreamingExpertClassifier.load(first.save(tmp_path / "stream.safetensors"))
    assert np.array_equal(resumed.predict(X), first.predict(X))
    assert np.array_equal(resumed.expert_usage_, first.expert_usage_)
    for begin in range(90, 200, 30):
        resumed.partial_fit(X[begin : begin + 30], Y[begin : begin + 30])
    assert resumed.artifact_.equals(whole.artifact_)
    if "trainable_keys" in options:
        moved = np.linalg.norm(resumed.artifact_.key, axis=1)
        assert np.abs(moved - 1.0).max() > 1e-12, "keys that were trained are kept as they are"


def test_a_stream_of_tables_goes_on(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": X[:, 0], "state": np.where(X[:, 1] > X[:, 1].mean(), "NY", "TX")})
    model = small().partial_fit(frame[:100], Y[:100])
    resumed = StreamingExpertClassifier.load(model.save(tmp_path / "stream.safetensors"))
    assert resumed.partial_fit(frame[100:], Y[100:]).artifact_.equals(
        model.partial_fit(frame[100:], Y[100:]).artifact_
    )
    with pytest.raises(SchemaError, match="'state'"):
        resumed.predict(frame[["x"]])


def test_what_holds_no_stream_is_not_resumed(tmp_path: Path) -> None:
    shipped = small().fit(X, Y).harden().without_state()
    path = shipped.save(tmp_path / "model.safetensors")
    assert isinstance(hardgrad.load(path), RoutedExperts)
    with pytest.raises(DataError, match="without the state"):
        StreamingExpertClassifier.load(path)
    path = forest_from_trees([{"value": 1.0}], ["x"]).save(tmp_path / "forest.safetensors")
    with pytest.raises(DataError, match="'forest'"):
        StreamingExpertClassifier.load(path)
    with pytest.raises(ArtifactError, match="cannot read"):
        StreamingExpertClassifier.load(tmp_path / "nothing")


def test_an_encoder_reads_what_rows_are() -> None:
    texts = ["red apple", "green apple", "fast car", "old car"] * 10
    labels = ["fruit", "fruit", "machine", "machine"] * 10
    encoder = TfidfVectorizer().fit(texts)
    model = StreamingExpertClassifier(8, 2, encoder=encoder, learning_rate=0.3, random_state=0).fit(
        texts, labels
    )
    assert model.predict(["old car", "green apple"]).tolist() == ["machine", "fruit"]
    assert np.array_equal(model.harden().predict(encoder.transform(texts).toarray()), model.predict(texts))
    again = clone(model.set_params(encoder=FrozenEstimator(encoder))).fit(texts, labels)
    assert again.harden().equals(model.harden())


def test_an_interrupted_fit_is_a_fit_of_fewer_rows() -> None:
    def stop(event: Event) -> None:
        if event.fraction >= 0.5:
            raise KeyboardInterrupt

    with listen(stop), pytest.warns(HardgradWarning, match="after 100 of 200 rows"):
        model = small().fit(X, Y)
    # The centre is that of all rows of the fit, so that it is not the model of the first hundred alone.
    assert model.score(X, Y) > 0.8


def test_numbers_that_are_none_are_refused_by_the_artifact() -> None:
    with pytest.raises(DataError, match="column 'x1' holds nan in row 2"):
        small().fit(X, Y).harden().predict(np.where(np.arange(200)[:, None] == 2, [0, np.nan, 0, 0, 0], X))
