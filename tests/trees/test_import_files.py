"""Damaged, foreign and truncated model files: one clear error that names the file, never another exception."""

from __future__ import annotations

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardgrad.core.errors import ArtifactError, HardgradError
from hardgrad.trees.importers import import_forest
from hardgrad.trees.importers_ubjson import UBJSONError, read_ubjson

lgb = pytest.importorskip("lightgbm")
xgb = pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def models() -> dict[str, bytes]:
    """One small model in each format."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 3)), rng.integers(0, 2, 100)
    light = lgb.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 5, "num_leaves": 4},
        lgb.Dataset(X, label=y),
        2,
    )
    extreme = xgb.train({"objective": "binary:logistic", "max_depth": 2}, xgb.DMatrix(X, label=y), 2)
    return {
        "m.txt": light.model_to_string().encode(),
        "m.json": bytes(extreme.save_raw("json")),
        "m.ubj": bytes(extreme.save_raw("ubj")),
    }


@pytest.mark.parametrize("name", ["m.txt", "m.json", "m.ubj"])
@given(where=st.floats(0, 1), change=st.integers(1, 255), cut=st.booleans())
def test_any_damage_is_an_error_or_a_valid_forest(tmp_path_factory, models, name, where, change, cut):
    payload = bytearray(models[name])
    at = int(where * (len(payload) - 1))
    if cut:
        del payload[at:]
    else:
        payload[at] ^= change
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(bytes(payload))
    message = None
    try:
        forest = import_forest(path)
    except HardgradError as error:
        message = str(error)
    if message is None:
        assert forest.n_trees <= 2 and (not cut or name == "m.txt")
    else:
        assert name in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a model that can be imported"),
        (b"\x80\x04\x95", "is a pickle"),
        (b"binf\x00", "old binary format"),
        (b"a,b\n1,2\n", "Expected LightGBM text"),
        (b"{}", "no 'learner'"),
        (b'{"a": [1, 2', "not valid JSON"),
        (b"{L\x00", "not valid UBJSON"),
        (b'{"name": "tree", "feature_names": [], "tree_info": []}', "Use save_model"),
        (b"tree\nversion=v4\n", "truncated"),
        (b"tree\nend of trees\n", "'feature_names' is missing"),
        (b"tree\ntree_sizes=1 2\nend of trees\n", "promises 2 trees and holds 0"),
        (b"tree\n\xff\n", "not UTF-8"),
        (b'{"learner": {}}', "'gradient_booster' is missing"),
    ],
)
def test_foreign_files(tmp_path, content, says):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=says) as caught:
        import_forest(path)
    assert "model.bin" in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(ArtifactError, match="cannot read"):
            import_forest(path)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.update(left_children=[1, 0, *t["left_children"][2:]]), "share a child"),
        (lambda t: t.update(left_children=[99, *t["left_children"][1:]]), "not in its tree"),
        (lambda t: t.update(split_indices=[99, *t["split_indices"][1:]]), "not there"),
        (lambda t: t.update(split_conditions=[float("nan"), *t["split_conditions"][1:]]), "threshold is NaN"),
        (lambda t: t.update(default_left=t["default_left"][1:]), "another length"),
        (lambda t: t.pop("right_children"), "'right_children' is missing"),
        (
            lambda t: t.update(
                left_children=[], right_children=[], split_indices=[], split_conditions=[], default_left=[]
            ),
            "without nodes",
        ),
    ],
)
def test_inconsistent_trees(tmp_path, models, edit, says):
    model = json.loads(models["m.json"])
    edit(model["learner"]["gradient_booster"]["model"]["trees"][0])
    path = tmp_path / "m.json"
    path.write_text(json.dumps(model))
    with pytest.raises(ArtifactError, match=says) as caught:
        import_forest(path)
    assert "m.json" in str(caught.value)


@given(st.binary(max_size=60))
def test_ubjson_never_fails_otherwise(payload):
    for start in (b"", b"{", b"[$d#", b"[#L"):
        with contextlib.suppress(UBJSONError):
            read_ubjson(start + payload)


def test_ubjson_values():
    assert read_ubjson(b"[ZTFCaSi\x02hi]") == [None, True, False, "a", "hi"]
    assert read_ubjson(b"{#i\x01i\x01kD" + struct.pack(">d", 0.1)) == {"k": 0.1}
    assert read_ubjson(b"[$l#i\x02" + struct.pack(">ii", 5, -6)).tolist() == [5, -6]
    with pytest.raises(UBJSONError, match="too deeply"):
        read_ubjson(b"[" * 200)
    with pytest.raises(UBJSONError, match="more were promised"):
        read_ubjson(b"[$d#L" + struct.pack(">q", 2**60))
