"""Truth tables: where they come from, what is refused, distances and classes against plain definitions and known counts."""

from itertools import permutations, product

import numpy as np
import pytest
from random_circuits import plain_evaluation, random_circuit

from hardgrad.core.bit_words import unpack_bits
from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import Circuit, Majority, TruthTable, bits_distance, npn_class
from hardgrad.logic.gate_ids import truth_rows

# --- making them -------------------------------------------------------------------------------------------------------------------


def test_bits_a_circuit_and_a_task_become_tables():
    table = TruthTable.of([0, 1, 1, 0])
    assert (table.n_inputs, table.n_outputs, table.n_bits) == (2, 1, 4)
    assert table.outputs.dtype == table.care.dtype == bool and table.care.all()
    circuit = Circuit.from_expression("s = a ^ b; c = a & b")
    made = TruthTable.of(circuit)
    np.testing.assert_array_equal(made.outputs, plain_evaluation(circuit, truth_rows(2)))
    assert (made.input_names, made.output_names) == (("a", "b"), ("s", "c"))
    assert TruthTable.of(circuit, output_names=("p", "q")).output_names == ("p", "q")
    votes = truth_rows(3).sum(axis=1) >= 2
    np.testing.assert_array_equal(TruthTable.of(Majority(3)).outputs[:, 0], votes)
    assert TruthTable.of([1.0]).n_inputs == 0 and str(TruthTable.of([1])) == "TruthTable(0 inputs, 1 outputs)"


def test_a_table_of_a_table_keeps_what_does_not_matter():
    table = TruthTable.of([0, 1, 1, 0], care=[1, 0, 1, 1], input_names=("a", "b"), output_names=("y",))
    again = TruthTable.of(table)
    np.testing.assert_array_equal(again.care[:, 0], [True, False, True, True])
    assert (again.input_names, again.output_names) == (("a", "b"), ("y",))
    assert TruthTable.of(table, care=np.ones((4, 1))).n_bits == 4
    assert str(table) == "TruthTable(2 inputs, 1 outputs, 1 free bits)"


@pytest.mark.parametrize("inputs", range(5))
def test_a_function_is_asked_for_all_rows_in_order(inputs):
    asked = []
    table = TruthTable.from_callable(lambda x: asked.append(x) or x.sum(axis=1) % 2 == 1, inputs)
    assert [tuple(row) for row in asked[0].astype(int)] == list(product((0, 1), repeat=inputs))
    assert asked[0].dtype == bool and len(asked) == 1
    assert table.outputs[:, 0].tolist() == [sum(row) % 2 == 1 for row in product((0, 1), repeat=inputs)]


def test_words_are_the_columns_packed():
    rng = np.random.default_rng(0)
    outputs, care = rng.random((2, 128, 3)) < 0.5
    table = TruthTable.of(outputs, care=care)
    np.testing.assert_array_equal(unpack_bits(table.words, 128).T, outputs)
    np.testing.assert_array_equal(unpack_bits(table.care_words, 128).T, care)
    assert table.words.shape == (3, 2) and table.n_bits == care.sum()


@pytest.mark.parametrize("inputs", [0, 1, 3, 7])
def test_a_table_as_a_circuit(inputs):
    rng = np.random.default_rng(inputs)
    names = tuple(f"a{i}" for i in range(inputs)), ("p", "q")
    table = TruthTable.of(
        rng.random((1 << inputs, 2)) < 0.5, care=rng.random((1 << inputs, 2)) < 0.5,
        input_names=names[0], output_names=names[1],
    )  # fmt: skip
    for circuit in (table.circuit(), Circuit.from_truth_table(table)):
        np.testing.assert_array_equal(plain_evaluation(circuit, truth_rows(inputs)), table.outputs)
        assert (circuit.input_names, circuit.output_names) == names
    assert Circuit.from_truth_table(table, output_names=("r", "s")).output_names == ("r", "s")


def test_a_circuit_of_a_circuit_and_of_a_task():
    circuit = random_circuit(3, inputs=5, outputs=3)
    again = Circuit.from_truth_table(circuit)
    np.testing.assert_array_equal(again.truth_table(), circuit.truth_table())
    np.testing.assert_array_equal(
        Circuit.from_truth_table(Majority(5)).truth_table()[:, 0], truth_rows(5).sum(axis=1) >= 3
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TruthTable.of([0, 1, 1]), "shape \\(3, 1\\)"),
        (lambda: TruthTable.of(1), "shape \\(\\)"),
        (lambda: TruthTable.of([]), "shape \\(0,\\)"),
        (lambda: TruthTable.of(np.zeros((4, 0))), "shape \\(4, 0\\)"),
        (lambda: TruthTable.of(np.zeros((2, 2, 2))), "shape \\(2, 2, 2\\)"),
        (lambda: TruthTable.of(np.zeros(1 << 21, bool)), "at most 20"),
        (lambda: TruthTable.of([0, 2]), "other values than 0 and 1"),
        (lambda: TruthTable.of([0, np.nan]), "other values than 0 and 1"),
        (lambda: TruthTable.of(["0", "1"]), "other values than 0 and 1"),
        (lambda: TruthTable.of([0, 1], care=[1, 1, 1, 1]), "care mask of shape \\(4, 1\\)"),
        (lambda: TruthTable.of([0, 1], care=[1, 2]), "care mask with other values"),
        (lambda: TruthTable.of([0, 1], input_names=("a", "b")), "for 1 inputs"),
        (lambda: TruthTable.of([[0, 1]], output_names=("a", "a")), "for 2 outputs"),
        (lambda: TruthTable.of([0, 1], input_names=("",)), "not empty"),
        (lambda: TruthTable(np.zeros((2, 1)), np.ones((2, 1), bool)), "TruthTable.of"),
        (lambda: TruthTable(np.zeros((2, 1), bool), np.ones((4, 1), bool)), "care mask"),
        (lambda: TruthTable(np.zeros((3, 1), bool), np.ones((3, 1), bool)), "shape \\(3, 1\\)"),
        (lambda: TruthTable.from_callable(lambda x: x[:, 0], 21), "n_inputs=21"),
        (lambda: TruthTable.from_callable(lambda x: x[:, 0], -1), "n_inputs=-1"),
        (lambda: TruthTable.from_callable(lambda x: x[:3, 0], 2), "shape \\(3,\\) for 4 rows"),
        (lambda: TruthTable.from_callable(lambda x: 1, 2), "shape \\(\\)"),
        (lambda: npn_class([0, 1, 1]), "shape \\(3,\\)"),
        (lambda: npn_class(1), "shape \\(\\)"),
        (lambda: npn_class(np.zeros(64)), "at most 5"),
        (lambda: npn_class([0, 2]), "other values than 0 and 1"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(make, message):
    with pytest.raises(ParameterError, match=message):
        make()


# --- files -------------------------------------------------------------------------------------------------------------------------


def csv_file(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    return path


def test_a_file_in_any_order_with_a_mark_spaces_and_free_cells(tmp_path):
    text = "\ufeffa, b,s,c\r\n1,1,0,1\r\n\r\n0,0, 0 ,-\r\n0,1,1,x\r\n1,0,X,0\r\n"
    table = TruthTable.from_csv(csv_file(tmp_path, text), 2)
    assert (table.input_names, table.output_names) == (("a", "b"), ("s", "c"))
    np.testing.assert_array_equal(table.care, [[1, 0], [1, 0], [0, 1], [1, 1]])
    np.testing.assert_array_equal(table.outputs & table.care, [[0, 0], [1, 0], [0, 0], [0, 1]])
    named = TruthTable.from_csv(csv_file(tmp_path, "y,a,b\n1,0,1\n0,1,0\n0,0,0\n0,1,1\n"), ["y"])
    assert named.outputs[:, 0].tolist() == [False, True, False, False] and named.input_names == ("a", "b")
    one = TruthTable.from_csv(csv_file(tmp_path, "sum,a\n1,0\n0,1\n"), "sum")
    assert one.outputs[:, 0].tolist() == [True, False] and one.output_names == ("sum",)
    assert TruthTable.from_csv(csv_file(tmp_path, "y\n1\n")).outputs.tolist() == [[True]]


def test_rows_that_a_file_does_not_have(tmp_path):
    path = csv_file(tmp_path, "a,b,y\n1,1,1\n0,0,1\n")
    with pytest.raises(DataError, match=r"2 of 4 rows; \[0, 1\] is missing.*dont_care"):
        TruthTable.from_csv(path)
    table = TruthTable.from_csv(path, unlisted="dont_care")
    np.testing.assert_array_equal(table.care[:, 0], [True, False, False, True])
    with pytest.raises(ParameterError, match="unlisted='zero'"):
        TruthTable.from_csv(path, unlisted="zero")


@pytest.mark.parametrize(
    ("text", "outputs", "message"),
    [
        ("", 1, "is empty"),
        ("\n\n", 1, "is empty"),
        ("a,y\n0,1\n\n2,1\n", 1, "line 4: a is '2'; expected one of 0, 1"),
        ("a,y\n-,1\n", 1, "line 2: a is '-'"),
        ("a,y\n0,?\n", 1, "line 2: y is '\\?'; expected one of 0, 1, -, x, X"),
        ("a,y\n0\n", 1, "line 2: 1 cells; expected 2"),
        ("a,y\n0,1,1\n", 1, "line 2: 3 cells; expected 2"),
        ("a,y\n0,1\n1,0\n0,1\n", 1, "line 4: the inputs \\[0\\] stand twice"),
        ("a,a\n0,1\n", 1, "different names"),
        ("a,\n0,1\n", 1, "none of them empty"),
        ("a,y\n0,1\n", 0, "outputs=0"),
        ("a,y\n0,1\n", 3, "outputs=3"),
        ("a,y\n0,1\n", -1, "outputs=-1"),
        ("a,y\n0,1\n", ["z"], "outputs=\\['z'\\]"),
        ("a,y\n0,1\n", ["y", "y"], "different names"),
        ("a,y\n0,1\n", [], "outputs=\\[\\]"),
        (",".join(f"a{i}" for i in range(22)), 1, "21 input columns"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, outputs, message):
    with pytest.raises(DataError, match=message):
        TruthTable.from_csv(csv_file(tmp_path, text), outputs)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,y\n\xff\xfe\n")
    with pytest.raises(DataError, match="cannot be read as CSV in UTF-8"):
        TruthTable.from_csv(path)


# --- distances and classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", range(1, 8))
def test_the_distance_counts_wrong_bits_that_matter(inputs):
    rng = np.random.default_rng(inputs)
    circuit = random_circuit(inputs, inputs=inputs, gates=20, outputs=3)
    outputs, care = rng.random((2, 1 << inputs, 3)) < 0.5
    said = plain_evaluation(circuit, truth_rows(inputs))
    wrong = sum(bool(said[r, o] != outputs[r, o]) for r in range(1 << inputs) for o in range(3) if care[r, o])
    assert bits_distance(circuit, TruthTable.of(outputs, care=care)) == wrong
    assert bits_distance(circuit, TruthTable.of(circuit)) == 0


def test_the_distance_to_a_table_of_another_shape_is_refused():
    circuit = Circuit.from_expression("y = a & b")
    for table in ([0, 1], [[0, 1]] * 4):
        with pytest.raises(DataError, match="cannot compare a circuit of 2 inputs and 1 outputs"):
            bits_distance(circuit, TruthTable.of(table))


def plain_class(table, inputs):
    """The least of all variants, each written out as a function of its inputs."""
    rows = list(product((0, 1), repeat=inputs))
    value = dict(zip(rows, table, strict=True))
    return min(
        [value[tuple(row[order[i]] ^ flips[i] for i in range(inputs))] ^ turned for row in rows]
        for order in permutations(range(inputs))
        for flips in product((0, 1), repeat=inputs)
        for turned in (0, 1)
    )


@pytest.mark.parametrize("inputs", range(3))
def test_classes_of_all_functions_are_those_of_the_definition(inputs):
    tables = np.array(list(product((0, 1), repeat=1 << inputs)))
    expected = [plain_class(table, inputs) for table in tables.tolist()]
    np.testing.assert_array_equal(npn_class(tables), expected)


@pytest.mark.parametrize("inputs", [3, 4, 5])
def test_classes_of_some_functions_are_those_of_the_definition(inputs):
    tables = np.random.default_rng(inputs).integers(0, 2, (2, 1, 1 << inputs))
    found = npn_class(tables)
    assert found.shape == tables.shape and found.dtype == bool
    for table, least in zip(tables[:, 0].tolist(), found[:, 0].tolist(), strict=True):
        assert least == plain_class(table, inputs)


@pytest.mark.parametrize(("inputs", "classes"), [(0, 1), (1, 2), (2, 4), (3, 14), (4, 222)])
def test_the_number_of_classes_is_the_known_one(inputs, classes):
    rows = 1 << inputs
    every = np.arange(1 << rows)[:, None] >> np.arange(rows)[::-1] & 1
    found = npn_class(every)
    assert len(np.unique(found, axis=0)) == classes
    np.testing.assert_array_equal(npn_class(found[:: len(found) // 2]), found[:: len(found) // 2])
