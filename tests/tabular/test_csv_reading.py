import gzip

import pyarrow as pa
import pytest

from hardgrad.core.errors import DataError
from hardgrad.tabular.csv_reading import read_csv


@pytest.fixture
def read(tmp_path):
    def write_and_read(content, name="table.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv(path, **options)

    return write_and_read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,x\n2,y\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("a;b\n1,5;x\n2;y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}),
        ("a;b\n1.5;x\n2;y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}),
        ("a\tb\n1\tx\n", {"a": [1], "b": ["x"]}),
        ("a|b\n1|x\n", {"a": [1], "b": ["x"]}),
        ("\ufeffa,b\n1,2\n", {"a": [1], "b": [2]}),
        ('"a, ""q""","two\nlines"\n1,"x\ny"\n', {'a, "q"': [1], "two\nlines": ["x\ny"]}),
        ('a,b\n,""\nNA,NA\n', {"a": [None, None], "b": ["", None]}),
        ("a\n 1\n2 \n", {"a": [1, 2]}),
        ("größe,州\n1,é\n", {"größe": [1], "州": ["é"]}),
        ("a\ntrue\nfalse\n", {"a": [True, False]}),
        ("only\n1\n", {"only": [1]}),
    ],
)
def test_csv_is_read(read, text, expected):
    assert read(text).to_pydict() == expected


def test_options(read):
    text = "a,b\n1,?\n?,07\n"
    assert read(text, missing=["?"]).to_pydict() == {"a": [1, None], "b": [None, 7]}
    assert read(text, missing=["?"], text=["b"])["b"].to_pylist() == [None, "07"]
    assert read(text, columns=["b"]).column_names == ["b"]
    assert read("1,x\n2,y\n", names=["n", "t"]).to_pydict() == {"n": [1, 2], "t": ["x", "y"]}


def test_packed_and_tab_separated(read):
    assert read(gzip.compress(b"a,b\n1,2\n"), "t.csv.gz").to_pydict() == {"a": [1], "b": [2]}
    assert read("a,x\tb\n1\t2\n", "t.tsv").column_names == ["a,x", "b"]


def test_dates_are_times(read):
    assert pa.types.is_timestamp(read("d\n2020-01-01 10:00:00\n")["d"].type)
    assert pa.types.is_date(read("d\n2020-01-01\n")["d"].type)


NUMBERS = "\n".join(map(str, range(50)))


@pytest.mark.parametrize(
    ("rows", "row", "value", "what"),
    [
        (f"{NUMBERS}\noops\n1\n", 50, "oops", "numbers"),
        (f"oops\n{NUMBERS}\n", 0, "oops", "numbers"),
        ("true\n" * 30 + "maybe\n", 30, "maybe", "booleans"),
        ("2020-01-01\n" * 30 + "soon\n", 30, "soon", "dates"),
    ],
)
def test_a_mixed_column_names_the_first_offending_row(read, rows, row, value, what):
    with pytest.raises(
        DataError, match=f"column 'x' mixes types: row {row} .* holds '{value}'.* rows hold {what}"
    ) as caught:
        read("x\n" + rows)
    assert f"missing=['{value}']" in str(caught.value)
    assert read("x\n" + rows, text=["x"])["x"].type == pa.string()


def test_text_with_some_numbers_stays_text(read):
    assert read("house\n1\n2\n3a\n4\n")["house"].to_pylist() == ["1", "2", "3a", "4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1\n", "Every line needs as many fields"),
        ("a,a\n1,2\n", "same name: 'a'"),
        ("\n1,2\n", "empty first line"),
        (b"a\n\xff\xfe\n", "not UTF-8"),
        (b"\xff\xfe,b\n1,2\n", "UTF-8"),
        (b"a\0b\n1\n", "no text file"),
        (b"\x1f\x8bjunk", "unpacked"),
    ],
)
def test_damaged_files(read, text, message):
    name = "t.csv.gz" if text[:2] == b"\x1f\x8b" else "t.csv"
    with pytest.raises(DataError, match=message):
        read(text, name)


def test_a_column_that_is_not_there(read):
    with pytest.raises(DataError, match="no column 'Age'.*Did you mean 'age'"):
        read("age\n1\n", columns=["Age"])
    with pytest.raises(DataError, match="no column 'x'"):
        read("age\n1\n", text=["x"])
