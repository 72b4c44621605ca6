"""The artifact contract: what is saved is what is loaded, a damaged file is an `ArtifactError` and nothing else, exports are exact."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import hardgrad
from contracts.examples import Example, contract_examples
from hardgrad.core.artifact import HEADER_KEY, Artifact, content_digest
from hardgrad.core.errors import ArtifactError, SchemaError
from hardgrad.core.files import WriteError
from hardgrad.core.registry import artifacts

KINDS = list(artifacts)
EXAMPLES = {
    f"{kind}: {example.name}": example
    for kind in KINDS
    if kind in contract_examples
    for example in contract_examples[kind]()
}
FIRST = {
    kind: next(name for name in EXAMPLES if name.startswith(f"{kind}: "))
    for kind in KINDS
    if kind in contract_examples
}
every_example = pytest.mark.parametrize("name", EXAMPLES)
json_values = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
)
# What breaks arithmetic on indices: the ends of every width, and numbers that are none.
EXTREMES = [
    0,
    1,
    -1,
    -2,
    3,
    127,
    -128,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    -1e300,
]


@cache
def payload(name: str) -> bytes:
    """The file of an example, as bytes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return EXAMPLES[name].artifact.save(Path(folder) / "model.safetensors").read_bytes()


def parts(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header of ours in a file, and its arrays."""
    data = payload(name)
    outer = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(outer["__metadata__"][HEADER_KEY]), dict(load_tensors(data))


def joined(header: Any, arrays: dict[str, np.ndarray]) -> bytes:
    """A file with a digest that fits, so that it is the contents that must be refused."""
    if isinstance(header, dict) and "digest" in header:
        header = header | {"digest": content_digest(header, arrays)}
    return save_tensors(arrays, metadata={HEADER_KEY: json.dumps(header)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


def refuses(data: bytes, folder: Path) -> None:
    (folder / "damaged.safetensors").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"damaged\.safetensors"):
        hardgrad.load(folder / "damaged.safetensors")


def refuses_or_answers(name: str, data: bytes, folder: Path) -> None:
    """Damage that leaves a valid model cannot be seen; then it must be one that answers. Anything else is an `ArtifactError`."""
    example = EXAMPLES[name]
    (folder / "damaged.safetensors").write_bytes(data)
    try:
        artifact: Any = hardgrad.load(folder / "damaged.safetensors")
    except ArtifactError:
        return
    assert type(artifact) is type(example.artifact)
    with contextlib.suppress(SchemaError):  # a column may have another name or kind now
        example.answers(artifact, example.rows(0))


# --- examples ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_examples(kind: str) -> None:
    assert kind in contract_examples, (
        f"add contract examples of artifact kind {kind!r} to tests/contracts/examples.py"
    )
    examples = contract_examples[kind]()
    assert examples and all(example.artifact.kind == kind for example in examples)


def answers_equal(example: Example, artifact: Artifact, seed: int) -> bool:
    rows = example.rows(seed)
    pairs = zip(example.answers(example.artifact, rows), example.answers(artifact, rows), strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


# --- saving and loading -----------------------------------------------------------------------------------------------------
@every_example
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    path = example.artifact.save(tmp_path / "model.safetensors")
    for loaded in (hardgrad.load(path), type(example.artifact).load(path)):
        assert type(loaded) is type(example.artifact) and loaded.equals(example.artifact)
        mine = example.artifact.arrays()
        assert loaded.arrays().keys() == mine.keys()
        for key, array in loaded.arrays().items():
            assert array.dtype == mine[key].dtype and array.shape == mine[key].shape
            assert array.tobytes() == mine[key].tobytes()
        assert loaded.metadata_to_json() == example.artifact.metadata_to_json()
        assert all(answers_equal(example, loaded, seed) for seed in range(3))
    again = hardgrad.load(path).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes() == payload(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", "model.safetensors"]


@every_example
def test_it_cannot_be_changed(name: str) -> None:
    artifact = EXAMPLES[name].artifact
    field = dataclasses.fields(artifact)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(artifact, field, None)
    for array in artifact.arrays().values():
        assert not array.flags.writeable


@every_example
def test_equality_sees_every_array_and_every_field(name: str) -> None:
    artifact = EXAMPLES[name].artifact
    others = [other.artifact for key, other in EXAMPLES.items() if key != name]
    assert artifact.equals(artifact) and not any(artifact.equals(other) for other in others)
    assert not artifact.equals(None)


@pytest.mark.parametrize("kind", FIRST)
def test_loading_and_answering_never_loads_torch(kind: str, tmp_path: Path) -> None:
    example = EXAMPLES[FIRST[kind]]
    path = example.artifact.save(tmp_path / "model.safetensors")
    code = f"import sys, hardgrad; a = hardgrad.load({str(path)!r}); assert a.kind == {kind!r}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, stdin=subprocess.DEVNULL)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "no.safetensors", tmp_path, tmp_path / "no" / "no"):
        with pytest.raises(ArtifactError, match="cannot read"):
            hardgrad.load(path)
    with pytest.raises(WriteError, match="no"):
        next(iter(EXAMPLES.values())).artifact.save(tmp_path / "no" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


# --- damage -----------------------------------------------------------------------------------------------------------------
@every_example
@given(data=st.data())
def test_truncated_and_extended_files_are_refused(name: str, folder: Path, data: st.DataObject) -> None:
    whole = payload(name)
    refuses(whole[: data.draw(st.integers(0, len(whole) - 1))], folder)
    refuses(whole + data.draw(st.binary(min_size=1, max_size=9)), folder)


@given(st.binary(max_size=200))
def test_foreign_files_are_refused(folder: Path, data: bytes) -> None:
    refuses(data, folder)
    refuses(len(data).to_bytes(8, "little") + data, folder)
    refuses(len(data).to_bytes(8, "little") + b"{" + data, folder)


@pytest.mark.parametrize(
    "start",
    [b"PK\x03\x04", b"\x80\x04\x95", b"PAR1", b"tree\nversion=v4\n", b'{"learner": {}}', b"<!doctype html>"],
)
def test_files_of_other_programs_are_refused(start: bytes, folder: Path) -> None:
    refuses(start + bytes(200), folder)
    refuses(save_tensors({"weight": np.zeros(3)}, metadata={"format": "pt"}), folder)
    refuses(save_tensors({"weight": np.zeros(3)}), folder)


@every_example
@given(data=st.data())
def test_flipped_bits_are_refused(name: str, folder: Path, data: st.DataObject) -> None:
    damaged = bytearray(payload(name))
    header = 8 + int.from_bytes(damaged[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        last = data.draw(st.sampled_from([8, header, len(damaged)])) - 1
        damaged[data.draw(st.integers(0, last))] ^= 1 << data.draw(st.integers(0, 7))
    path = folder / "damaged.safetensors"
    path.write_bytes(bytes(damaged))
    try:
        artifact = hardgrad.load(path)
    except ArtifactError:
        return
    assert artifact.equals(
        EXAMPLES[name].artifact
    )  # a bit flipped twice, or the case of a digit in "\\u00e9"


@every_example
@pytest.mark.parametrize("version", [2**31, None, "1", 1.0, [], math.inf])
def test_newer_and_strange_versions_are_refused(name: str, version: object, folder: Path) -> None:
    header, arrays = parts(name)
    refuses(joined(header | {"schema_version": version}, arrays), folder)
    refuses(joined(header | {"schema_version": artifacts[header["kind"]].schema_version + 1}, arrays), folder)


@every_example
@pytest.mark.parametrize("kind", ["no such kind", "", None, 3, [], {}])
def test_unknown_kinds_are_refused(name: str, kind: object, folder: Path) -> None:
    header, arrays = parts(name)
    refuses(joined(header | {"kind": kind}, arrays), folder)


@every_example
def test_headers_without_a_part_are_refused(name: str, folder: Path) -> None:
    header, arrays = parts(name)
    for strange in ([], "model", None, 3, {}):
        refuses(joined(strange, arrays), folder)
    for key in header:
        refuses(joined({k: v for k, v in header.items() if k != key}, arrays), folder)
    for strange in (None, [], "x"):
        refuses(joined(header | {"metadata": strange}, arrays), folder)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@every_example
@given(data=st.data())
def test_metadata_of_another_form_is_refused_or_leaves_a_model(
    name: str, folder: Path, data: st.DataObject
) -> None:
    header, arrays = parts(name)
    path = data.draw(st.sampled_from(places(header["metadata"])[1:]))
    inner: Any = header["metadata"]
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(json_values)
    refuses_or_answers(name, joined(header, arrays), folder)


@every_example
@given(data=st.data())
def test_arrays_of_another_form_are_refused(name: str, folder: Path, data: st.DataObject) -> None:
    header, arrays = parts(name)
    key = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[key]
    dtype = np.float32 if array.dtype == np.float64 else np.int64
    with np.errstate(over="ignore"):
        other = array.astype(dtype)
    strange = data.draw(st.sampled_from([other, array[None], array.reshape(-1)[:0].reshape(0, 1, 1)]))
    refuses(joined(header, {k: v for k, v in arrays.items() if k != key}), folder)
    refuses(joined(header, arrays | {key: np.ascontiguousarray(strange)}), folder)
    refuses(joined(header, arrays | {"another": array}), folder)


def fits(number: float, kind: np.dtype[Any]) -> bool:
    """Whether an array of integers can hold it, rounded down or not."""
    return number == number and np.iinfo(kind).min <= number <= min(np.iinfo(kind).max, 2**31 - 1)


@every_example
@given(data=st.data())
def test_extreme_numbers_are_refused_or_leave_a_model(name: str, folder: Path, data: st.DataObject) -> None:
    header, arrays = parts(name)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(k for k, v in arrays.items() if v.size)))
        array = arrays[key].copy()
        with np.errstate(all="ignore"):
            fitting = [e for e in EXTREMES if array.dtype.kind in "fb" or fits(e, array.dtype)]
        place, value = data.draw(st.integers(0, array.size - 1)), data.draw(st.sampled_from(fitting))
        with np.errstate(over="ignore"):  # a large double becomes an infinite float32
            array.reshape(-1)[place] = value
        arrays[key] = array
    refuses_or_answers(name, joined(header, arrays), folder)


# --- exports ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
@every_example
def test_every_export_equals_the_reference(name: str, seed: int) -> None:
    example = EXAMPLES[name]
    results = example.exports(example.artifact, seed)
    wrong = [result for result in results if result.skipped_reason is None and result.differing]
    assert not wrong
    assert not results or any(result.skipped_reason is None for result in results), [
        result.skipped_reason for result in results
    ]
