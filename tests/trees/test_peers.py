"""The boosters behind one door: every installed one trains on mixed columns for every task and respects its size."""

from __future__ import annotations

import numpy as np
import pytest

from hardgrad.core.errors import ParameterError
from hardgrad.tabular.schema import Column
from hardgrad.trees.peers import (
    PACKAGES,
    PeerRows,
    PeerSize,
    installed_peers,
    peer_accuracy,
    peer_loss,
    peer_matrix,
    train_peer,
)

COLUMNS = (Column("x"), Column("state", "categorical", ("a", "b", "c")), Column("owner", "boolean"))


def raw_rows(n: int = 300) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    state = np.array(rng.choice(["a", "b", "c", "unseen", None], size=n), dtype=object)
    return [x, state, np.array(rng.choice([True, False, None], size=n), dtype=object)]


def rows_for(n_classes: int) -> PeerRows:
    raw = raw_rows()
    X = peer_matrix(COLUMNS, raw)
    signal = np.nan_to_num(X[:, 0]) + (X[:, 1] == 1) + 0.1 * np.random.default_rng(1).normal(size=len(X))
    y = (
        signal
        if not n_classes
        else np.digitize(signal, np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1]))
    )
    return PeerRows(X, y, np.ones(len(X)))


@pytest.mark.parametrize("name", [n for n in PACKAGES if n in installed_peers()])
@pytest.mark.parametrize("n_classes", [0, 2, 3])
@pytest.mark.parametrize("rounds", [3, None])
def test_a_booster_learns_at_its_size(name: str, n_classes: int, rounds: int | None) -> None:
    rows = rows_for(n_classes)
    peer = train_peer(name, rows, COLUMNS, PeerSize(rounds, 8), n_classes=n_classes)
    predicted = peer.predict(rows.X)
    assert predicted.shape == ((len(rows.y), n_classes) if n_classes else (len(rows.y),))
    if n_classes:
        assert np.allclose(predicted.sum(axis=1), 1.0, atol=1e-5)
        assert peer_accuracy(predicted, rows.y, rows.weight) > 0.75
    else:
        assert peer_loss(predicted, rows.y, rows.weight, 0) < 0.5 * np.var(rows.y)
    if rounds:
        assert peer.rounds == rounds
        assert peer.leaves is not None
        assert peer.leaves <= rounds * 8 * max(1, n_classes if n_classes > 2 else 1)


def test_matrix_marks_what_is_missing_or_unseen() -> None:
    raw = [np.array([1.0, np.inf]), np.array(["b", "?"], dtype=object), np.array([True, None], dtype=object)]
    X = peer_matrix(COLUMNS, raw)
    assert X[0].tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(X[1]).all()


def test_unknown_booster() -> None:
    with pytest.raises(ParameterError, match="Did you mean 'lightgbm'"):
        train_peer("lightgmb", rows_for(2), COLUMNS, PeerSize(1), n_classes=2)
